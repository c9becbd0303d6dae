#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.


"""Green tasks that kill, or are killed in a library's greenlet, or as they
begin; and what ``KeyboardInterrupt`` does.
"""

import asyncio
import gc
import sys
from typing import Any

import cases
import green_places
import green_stops
import mode

import aiohub
import eventlet
from eventlet import greenthread
from eventlet import hubs
import greenlet

GreenletExit = greenlet.GreenletExit

Cancel = green_stops.Cancel
Custom = green_stops.Custom
Kill = green_stops.Kill
STOPS = green_stops.STOPS
WAYS = green_stops.WAYS


# -- tasks that kill

class Killer:
    """A task that is woken in some way and kills a green thread."""

    def __init__(self, cleanup: int, *throw: Any) -> None:
        self.cleanup = cleanup
        self.throw = throw
        self.log: list[Any] = []
        self.current: list[Any] = []
        self.victim = eventlet.spawn(self._be_killed)
        self.greenlet: Any = None
        self.task = aiohub.get_loop().create_task(self._kill())
        self.others = [aiohub.get_loop().create_task(self._other())
                       for _ in range(3)]
        cases.turns(2)

    def _be_killed(self) -> None:
        try:
            eventlet.sleep(1000)
        except BaseException as exc:
            self.log.append(type(exc))
        for _ in range(self.cleanup):
            eventlet.sleep(0)
            self.current.append(asyncio.current_task(aiohub.get_loop()))
        self.log.append('dead')

    async def _kill(self) -> str:
        self.greenlet = greenlet.getcurrent()
        hubs.get_hub().switch()
        greenthread.kill(self.victim, *self.throw)
        self.log.append('killed')
        assert asyncio.current_task() is self.task
        await asyncio.sleep(0)
        eventlet.sleep(0)
        assert asyncio.current_task() is self.task
        return 'end'

    async def _other(self) -> str:
        for _ in range(20):
            await asyncio.sleep(0)
            eventlet.sleep(0)
        return 'other'


def kills_another(way: Any, cleanup: int) -> None:
    """It goes on after the victim has waited; others are not disturbed."""
    killer = Killer(cleanup)
    way(green_stops.Switch(killer, None))
    cases.until(killer.task.done)
    assert killer.task.result() == 'end'
    for other in killer.others:
        cases.until(other.done)
        assert other.result() == 'other'
    cases.until(lambda: killer.victim.dead)
    assert killer.log[0] is GreenletExit
    assert 'dead' in killer.log and 'killed' in killer.log
    # Green threads run in no task.
    assert set(killer.current) <= {None}, killer.current


Switch_place = green_places.Place
Killer.place = Switch_place()

for _way in WAYS:
    if _way in ('by callbacks', 'by turns'):
        continue
    for _cleanup in (0, 1, 3):
        cases.add('kills another, woken %s, %d' % (_way, _cleanup),
                  kills_another, WAYS[_way], _cleanup)


@cases.case
def tasks_kill_each_other() -> None:
    """Each at the same time."""
    greenlets: list[Any] = [None, None]

    async def run(number: int) -> str:
        greenlets[number] = greenlet.getcurrent()
        eventlet.sleep(0)
        greenthread.kill(greenlets[1 - number])
        return 'survived'

    tasks = [aiohub.get_loop().create_task(run(i)) for i in range(2)]
    for task in tasks:
        cases.until(task.done)
    assert sorted(task.cancelled() for task in tasks) == [False, True] or all(
        task.cancelled() for task in tasks), tasks


@cases.case
def killed_while_it_kills() -> None:
    """It gets it when the other has done its part."""
    killers: list[Any] = []
    log: list[Any] = []

    def victim() -> None:
        try:
            eventlet.sleep(1000)
        finally:
            log.append('victim')
            greenthread.kill(killers[0], Custom())
            log.append('victim went on')

    green = eventlet.spawn(victim)
    eventlet.sleep(0)

    async def run() -> None:
        killers.append(greenlet.getcurrent())
        try:
            greenthread.kill(green)
        except Custom:
            log.append('killer')
        eventlet.sleep(0)
        await asyncio.sleep(0)

    aiohub.await_(run())
    cases.until(lambda: green.dead)
    assert log == ['victim', 'killer', 'victim went on'], log


@cases.case
def killed_in_a_task_group() -> None:
    """It is cancelled, although the group makes a group of it."""
    async def inner() -> None:
        await asyncio.sleep(1000)

    greenlets: list[Any] = []

    async def run() -> None:
        greenlets.append(greenlet.getcurrent())
        async with asyncio.TaskGroup() as group:
            group.create_task(inner())
            eventlet.sleep(1000)

    task = aiohub.get_loop().create_task(run())
    cases.turns()
    greenthread.kill(greenlets[0])
    cases.until(task.done)
    assert task.cancelled(), task


# -- a library's greenlet is stopped, and not that of the task

class InChild:
    """A task with a child greenlet that waits.

    :param awaits: Whether it has the task await something.
    """

    def __init__(self, awaits: bool) -> None:
        self.future = aiohub.get_loop().create_future()
        self.awaits = awaits
        self.child: Any = None
        self.seen: list[BaseException] = []
        self.task = aiohub.get_loop().create_task(self.run())
        cases.turns(2)

    async def run(self) -> str:
        await green_places.spawn_child(self.in_child)
        eventlet.sleep(0)
        await asyncio.sleep(0)
        return 'end'

    def in_child(self) -> None:
        self.child = greenlet.getcurrent()
        try:
            if self.awaits:
                green_places.await_in_child(self.future)
            else:
                eventlet.sleep(1000)
        except BaseException as exc:
            assert asyncio.current_task() is self.task
            assert greenlet.getcurrent() is self.child
            self.seen.append(exc)
            eventlet.sleep(0)
            raise


def child_killed(who: Any, throw: tuple[Any, ...]) -> None:
    """It is raised in a step of the task, and is its library's business."""
    trial = InChild(False)
    who(lambda: greenthread.kill(trial.child, *throw))
    cases.until(trial.task.done)
    [error] = trial.seen
    if throw:
        assert error is throw[0]
        assert trial.task.exception() is error
    else:
        assert isinstance(error, GreenletExit)
        assert trial.task.cancelled(), trial.task


def child_times_out(awaits: bool, kind: Any) -> None:
    """A Timeout that the child has made is raised in it."""
    trial: Any = None

    class Limited(InChild):
        def in_child(self) -> None:
            with eventlet.Timeout(1000, kind) as self.timeout:
                super().in_child()

    trial = Limited(awaits)
    hubs.get_hub().schedule_call_global(0, trial.timeout.timer)
    cases.until(trial.task.done)
    assert len(trial.seen) == 1, trial.seen
    if kind is False:
        assert trial.task.result() == 'end'
    elif kind is None:
        assert trial.task.exception() is trial.timeout
    else:
        assert type(trial.task.exception()) is kind
    assert trial.future.cancelled() == awaits


for _who in ('in one turn', 'by a green thread', 'by a task'):
    cases.add('child killed %s' % _who, child_killed, WAYS[_who], ())
    cases.add('child killed %s, with exception' % _who, child_killed,
              WAYS[_who], (Custom(),))
for _kind in (None, False, Custom):
    for _awaits in (False, True):
        cases.add('child times out, %s%s' % (_kind, ', awaits' * _awaits),
                  child_times_out, _awaits, _kind)


# -- tasks that begin at once

def eager(stop: Any, green: bool) -> None:
    """Stopped after the step that was made in who has made the task."""
    trial: list[Any] = []
    seen: list[BaseException] = []

    async def run() -> None:
        trial.append(greenlet.getcurrent())
        try:
            if green:
                eventlet.sleep(1000)
            else:
                await asyncio.sleep(1000)
        except BaseException as exc:
            seen.append(exc)
            assert asyncio.current_task() is task
            eventlet.sleep(0)
            raise

    async def make() -> None:
        nonlocal task
        task = asyncio.eager_task_factory(asyncio.get_running_loop(), run())
        assert trial
        if stop is Cancel:
            task.cancel()
        else:
            greenthread.kill(trial[0], stop.kind())
        await asyncio.wait([task])

    task: Any = None
    aiohub.await_(make())
    assert len(seen) == 1, seen
    if stop in (Cancel, Kill):
        assert task.cancelled(), task
    else:
        assert isinstance(task.exception(), stop.kind)


if sys.version_info >= (3, 12):
    for _stop in STOPS:
        for _green in (False, True):
            cases.add('eager, %s%s' % (_stop, ', green' * _green), eager,
                      STOPS[_stop], _green)


# -- the exceptions that are for the main greenlet

def _interrupts() -> dict[str, Any]:
    async def raises(kind: Any) -> None:
        await asyncio.sleep(0)
        raise kind

    async def raises_after_green_call(kind: Any) -> None:
        eventlet.sleep(0)
        raise kind

    async def kills_with(kind: Any) -> None:
        green = eventlet.spawn(eventlet.sleep, 1000)
        eventlet.sleep(0)
        eventlet.sleep(0)
        greenthread.kill(green, kind('here'))
        eventlet.sleep(0)

    async def kills_one_that_raises(kind: Any) -> None:
        def victim() -> None:
            try:
                eventlet.sleep(1000)
            finally:
                raise kind

        green = eventlet.spawn(victim)
        eventlet.sleep(0)
        await asyncio.sleep(0)
        eventlet.sleep(0)
        greenthread.kill(green)
        await asyncio.sleep(0)

    async def in_child(kind: Any) -> None:
        def child() -> None:
            eventlet.sleep(0)
            raise kind

        await green_places.spawn_child(child)

    async def switches_to_one(kind: Any) -> None:
        def raises() -> None:
            raise kind

        hub = hubs.get_hub()
        hub.schedule_call_global(0, greenlet.getcurrent().switch)
        greenlet.greenlet(raises, hub.greenlet).switch()

    async def is_killed_with(kind: Any) -> None:
        current = greenlet.getcurrent()
        eventlet.spawn(greenthread.kill, current, kind('here'))
        eventlet.sleep(1000)

    async def is_killed_with_at_await(kind: Any) -> None:
        current = greenlet.getcurrent()
        eventlet.spawn(greenthread.kill, current, kind('here'))
        await asyncio.sleep(1000)

    return {function.__name__: function for function in (
        raises, raises_after_green_call, kills_with, kills_one_that_raises,
        in_child, switches_to_one, is_killed_with, is_killed_with_at_await)}


def interrupted(function: Any, kind: Any) -> None:
    """It comes to the main greenlet, which this is; all goes on after it."""
    hub = hubs.get_hub()
    loop = aiohub.get_loop()
    turned: list[int] = []

    async def other() -> str:
        for _ in range(30):
            eventlet.sleep(0)
            await asyncio.sleep(0)
        return 'other'

    task = loop.create_task(function(kind))
    another = loop.create_task(other())
    try:
        while not (task.done() and another.done()):
            eventlet.sleep(0)
            turned.append(1)
            assert len(turned) < 10000, task
    except kind:
        pass
    else:
        raise AssertionError('it did not come')
    # Once, and the hub goes on.
    assert hubs.get_hub() is hub
    assert aiohub.get_loop() is loop
    cases.until(another.done)
    assert another.result() == 'other'
    cases.until(task.done)
    if not task.cancelled():
        error = task.exception()
        assert error is None or isinstance(error, kind), error
    green = eventlet.spawn(asyncio.current_task, loop)
    assert green.wait() is None
    assert aiohub.await_(asyncio.sleep(0, 'after')) == 'after'

cases.run_all()
for _name, _function in _interrupts().items():
    for _kind in (KeyboardInterrupt, SystemExit):
        if sys.argv[1:] and not any(arg in _name for arg in sys.argv[1:]):
            continue
        try:
            interrupted(_function, _kind)
        except BaseException:
            print('in', _name, _kind)
            raise
gc.collect()
cases.turns()
assert not asyncio.all_tasks(aiohub.get_loop())
mode.done()
