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


"""Green tasks: several things happen at the same time, in each order.

A task is woken and stopped, stopped twice, cancelled and killed, in one turn.
Nothing is lost: not a thing that was handed to it, nor a cancel, nor an
exception, and nothing comes twice. Then what happens to tasks that kill, and
what ``KeyboardInterrupt`` does, and what becomes of those nobody refers to.
"""

import asyncio
import gc
import logging
import sys
from typing import Any
import weakref

import cases
import green_places
import green_stops
import mode

import aiohub
import eventlet
from eventlet import greenthread
from eventlet import hubs
import greenlet

CancelledError = asyncio.CancelledError
GreenletExit = greenlet.GreenletExit


Cancel = green_stops.Cancel
Custom = green_stops.Custom
Kill = green_stops.Kill
STOPS = green_stops.STOPS
Trial = green_stops.Trial
WAYS = green_stops.WAYS
matched = green_stops.matched


# -- two stops

#: Those that have a cleanup of their own see the next one in that, and a task
#: group drops it.
TWICE = [place for place in green_places.PLACES if not issubclass(
    place, (green_places.bridged, green_places.own_cleanup))
    and place.__name__ not in ('waited_for', 'waited_for_coroutine',
                               'group_end')]


def stopped_twice(place: Any, first: Any, second: Any, way: Any) -> None:
    """Both are seen, and the task is usable after that."""
    trial = Trial(place())
    trial.wait_until_there()
    stops = [first(trial), second(trial)]
    way(*stops)
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    matched(trial.seen(), stops)
    assert isinstance(trial.first, BaseException), trial.first
    cancels = sum(isinstance(stop, Cancel) for stop in stops)
    assert trial.task.cancelling() == cancels, trial.task


for _place in TWICE:
    for _first in STOPS:
        for _second in ('cancel', 'kill', 'kill with exception'):
            for _way in WAYS:
                cases.add('%s: %s, then %s, %s' % (
                    _place.__name__, _first, _second, _way), stopped_twice,
                    _place, STOPS[_first], STOPS[_second], WAYS[_way])


# -- stopped as the result comes

def stopped_and_let_on(place: Any, stop: Any, way: Any, order: bool,
                       pauses: bool) -> None:
    """It sees the result, and is stopped where it waits next; or only that.

    Where it does not wait any more, that is how it ends.
    """
    trial = Trial(place(), pauses)
    trial.wait_until_there()
    one = stop(trial)
    way(*([trial.place.open, one] if order else [one, trial.place.open]))
    cases.until(trial.task.done)
    ended = trial.task
    if trial.first == 'result':
        if not pauses and stop is Cancel:
            assert ended.cancelled() or not ended.cancelling(), ended
        elif not pauses and stop is Kill:
            assert ended.cancelled() or ended.result() == 'end', ended
        elif not trial.seen():
            # It may have been so late that the task had ended.
            error = ended.exception()
            assert ended.result() == 'end' if error is None else (
                not pauses and error is one.error), ended
        else:
            matched(trial.seen(), [one])
    else:
        matched(trial.seen(), [one])
        assert ended.result() == 'end'


#: Where letting on who has left is no mistake.
LATE = ('event_wait', 'queue_get', 'semaphore_acquire', 'lock_acquire',
        'condition_wait', 'bridged', 'child_event',
        'child_of_child', 'child_bridged', 'bare_yield', 'asyncio_queue',
        'asyncio_lock', 'task', 'task_green_cleanup', 'task_of_task',
        'gathered', 'waited_for', 'waited_for_coroutine', 'group_end',
        'group_body', 'awaited_green_thread', 'shielded')

for _place in green_places.PLACES:
    if _place.__name__ in LATE:
        for _stop in ('cancel', 'kill', 'kill with exception'):
            for _way in WAYS:
                for _order in (True, False):
                    for _pauses in (True, False):
                        cases.add('%s: result %s %s, %s%s' % (
                            _place.__name__, 'then' if _order else 'after',
                            _stop, _way, '' if _pauses else ', and ends'),
                            stopped_and_let_on, _place, STOPS[_stop],
                            WAYS[_way], _order, _pauses)


# -- what is handed to one that is stopped gets to somebody

class Handed:
    """Several tasks wait for things; each has to get to one of them."""

    def __init__(self, make: Any) -> None:
        self.shared = make()
        self.got: list[Any] = []
        self.greenlets: list[Any] = []
        self.tasks = [aiohub.get_loop().create_task(self.run())
                      for _ in range(3)]
        cases.turns(3)
        assert len(self.greenlets) == 3

    async def run(self) -> None:
        self.greenlets.append(greenlet.getcurrent())
        self.got.append(await self.shared.take())
        # A cancel that was late comes here, or at the end.
        eventlet.sleep(0)

    def end(self) -> None:
        for task in self.tasks:
            cases.until(task.done)


class GreenQueue:
    def __init__(self) -> None:
        self.queue = eventlet.Queue()

    async def take(self) -> Any:
        return self.queue.get()

    def put(self) -> None:
        self.queue.put('item')

    def left(self) -> int:
        return self.queue.qsize()


class GreenSemaphore:
    def __init__(self) -> None:
        self.semaphore = eventlet.Semaphore(0)

    async def take(self) -> Any:
        self.semaphore.acquire()
        return 'item'

    def put(self) -> None:
        self.semaphore.release()

    def left(self) -> int:
        return self.semaphore.counter


class AsyncQueue(GreenQueue):
    def __init__(self) -> None:
        self.queue: Any = asyncio.Queue()

    async def take(self) -> Any:
        return await self.queue.get()

    def put(self) -> None:
        self.queue.put_nowait('item')


class AsyncSemaphore(GreenSemaphore):
    def __init__(self) -> None:
        self.semaphore: Any = asyncio.Semaphore(0)

    async def take(self) -> Any:
        await self.semaphore.acquire()
        return 'item'

    def left(self) -> int:
        return self.semaphore._value


class AsyncLock(AsyncSemaphore):
    """It is passed on by each that gets it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.lock._locked = True
        self.items = 0

    async def take(self) -> Any:
        async with self.lock:
            while not self.items:
                self.lock.release()
                await asyncio.sleep(0)
                await self.lock.acquire()
            self.items -= 1
            return 'item'

    def put(self) -> None:
        self.items += 1
        if self.lock.locked():
            self.lock.release()

    def left(self) -> int:
        return self.items


class AsyncLockOnce(AsyncSemaphore):
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.lock._locked = True

    async def take(self) -> Any:
        async with self.lock:
            return 'item'

    def put(self) -> None:
        if self.lock.locked():
            self.lock.release()

    def left(self) -> int:
        return not self.lock.locked()


SHARED = {'Queue': GreenQueue, 'Semaphore': GreenSemaphore,
          'asyncio.Queue': AsyncQueue, 'asyncio.Semaphore': AsyncSemaphore}


def handed(make: Any, stop: Any, way: Any, order: bool) -> None:
    """The first is stopped as one thing comes; then two more come."""
    trial = Handed(make)

    def stop_it() -> None:
        if stop is Cancel:
            trial.tasks[0].cancel()
        elif not trial.tasks[0].done():
            greenthread.kill(trial.greenlets[0], stop.kind())

    actions = [trial.shared.put, stop_it]
    way(*(actions if order else actions[::-1]))
    cases.turns(20)
    trial.shared.put()
    cases.turns(5)
    trial.shared.put()
    trial.end()
    assert len(trial.got) + trial.shared.left() == 3, (
        trial.got, trial.shared.left())
    assert len(trial.got) >= 2
    for task in trial.tasks[1:]:
        assert task.result() is None
    first = trial.tasks[0]
    if len(trial.got) == 2:
        assert first.cancelled() or isinstance(first.exception(), stop.kind)
    elif not first.cancelled():
        assert first.exception() is None or isinstance(
            first.exception(), stop.kind)


def lock_handed(stop: Any, way: Any, order: bool) -> None:
    """A lock passes to the next one if the first is stopped."""
    trial = Handed(AsyncLockOnce)

    def stop_it() -> None:
        if stop is Cancel:
            trial.tasks[0].cancel()
        elif not trial.tasks[0].done():
            greenthread.kill(trial.greenlets[0], stop.kind())

    actions = [trial.shared.put, stop_it]
    way(*(actions if order else actions[::-1]))
    trial.end()
    assert len(trial.got) >= 2
    assert not trial.shared.lock.locked()
    if not trial.tasks[0].cancelled():
        trial.tasks[0].exception()


for _way in WAYS:
    for _stop in STOPS:
        for _order in (True, False):
            for _shared in SHARED:
                cases.add('%s handed %s %s, %s' % (
                    _shared, 'before' if _order else 'after', _stop, _way),
                    handed, SHARED[_shared], STOPS[_stop], WAYS[_way], _order)
            cases.add('asyncio.Lock handed %s %s, %s' % (
                'before' if _order else 'after', _stop, _way),
                lock_handed, STOPS[_stop], WAYS[_way], _order)


# -- woken, and stopped before it runs

class Raw(green_places.Green):
    """In the hub itself; woken by a switch."""

    def call(self) -> Any:
        return hubs.get_hub().switch()


class RawInChild(Raw):
    async def wait(self) -> Any:
        self.reached = True
        return await green_places.spawn_child(self.call_in_child)

    def call_in_child(self) -> Any:
        self.child = greenlet.getcurrent()
        return self.call()


class Switch:
    """Wakes a task as eventlet's own code does."""

    def __init__(self, trial: Trial, value: Any) -> None:
        self.trial = trial
        self.value = value

    def __call__(self) -> None:
        if greenlet.getcurrent() is not hubs.get_hub().greenlet:
            # It is left.
            hubs.get_hub().schedule_call_global(
                0, greenlet.getcurrent().switch)
        target = getattr(self.trial.place, 'child', self.trial.greenlet)
        target.switch(self.value)


def woken_and_stopped(place: Any, stop: Any, way: Any) -> None:
    """What it was woken with is not lost, nor is the exception."""
    trial = Trial(place())
    trial.wait_until_there()
    one = stop(trial)
    way(Switch(trial, 'value'), one)
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    assert trial.first == 'value', trial.first
    matched(trial.seen(), [one])


def woken_twice(place: Any, way: Any) -> None:
    """The first counts, and the second is nothing to what comes then."""
    trial = Trial(place())
    trial.wait_until_there()
    way(Switch(trial, 'value'), Switch(trial, 'again'))
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    assert trial.first == 'value', trial.first
    assert not trial.later


for _way in WAYS:
    if _way in ('by callbacks', 'by turns'):
        continue  # a callback that switches is left
    for _place in (Raw, RawInChild):
        for _stop in STOPS:
            cases.add('%s woken, then %s, %s' % (
                _place.__name__, _stop, _way), woken_and_stopped,
                _place, STOPS[_stop], WAYS[_way])
    cases.add('Raw woken twice, %s' % _way, woken_twice, Raw, WAYS[_way])


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
    way(Switch(killer, None))
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


# -- counts

@cases.case
def cancels_are_counted() -> None:
    async def run() -> list[int]:
        task = asyncio.current_task()
        assert task is not None
        counts = []
        for number in (1, 2):
            try:
                eventlet.sleep(1000)
            except CancelledError:
                counts.append(task.cancelling())
        counts += [task.uncancel(), task.uncancel()]
        eventlet.sleep(0)
        await asyncio.sleep(0)
        return counts

    task = aiohub.get_loop().create_task(run())
    for _ in range(2):
        cases.turns()
        assert task.cancel()
    cases.until(task.done)
    assert task.result() == [1, 2, 1, 0]


@cases.case
def message_of_a_cancel() -> None:
    async def run() -> Any:
        try:
            eventlet.sleep(1000)
        except CancelledError as exc:
            return exc.args

    task = aiohub.get_loop().create_task(run())
    cases.turns()
    task.cancel('why')
    cases.until(task.done)
    assert task.result() == ('why',)


@cases.case
def cancelled_while_it_ends() -> None:
    """As in plain asyncio, who cancels itself and returns is cancelled."""
    async def run() -> str:
        task = asyncio.current_task()
        assert task is not None
        eventlet.sleep(0)
        task.cancel()
        return 'end'

    task = aiohub.get_loop().create_task(run())
    cases.until(task.done)
    assert task.cancelled()


@cases.case
def stopped_while_it_ends() -> None:
    """What comes when the task waits no more is how it ends."""
    async def run() -> str:
        greens.append(greenlet.getcurrent())
        try:
            await asyncio.get_running_loop().create_future()
        except CancelledError:
            return 'end'
        raise AssertionError

    greens: list[Any] = []
    for error in (GreenletExit(), Custom(), eventlet.Timeout(None)):
        task = aiohub.get_loop().create_task(run())
        cases.turns(2)
        task.cancel()
        greenthread.kill(greens.pop(), error)
        cases.until(task.done)
        if isinstance(error, GreenletExit):
            assert task.cancelled(), task
        else:
            assert task.exception() is error, task


@cases.case
def taken_back_before_it_comes() -> None:
    """Python 3.13 began to drop a cancel that was taken back in time."""
    async def run() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        task.uncancel()
        eventlet.sleep(0)
        await asyncio.sleep(0)
        return 'end'

    task = aiohub.get_loop().create_task(run())
    cases.until(task.done)
    assert task.cancelled() or task.result() == 'end'
    assert task.cancelled() <= (sys.version_info < (3, 13))


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


# -- garbage

class Held:
    """Something whose end is seen."""


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def greenlets() -> int:
    gc.collect()
    return sum(isinstance(thing, greenlet.greenlet)
               for thing in gc.get_objects())


async def _waits_for_nobody(held: Any, green_before: bool,
                            refs: list[Any]) -> None:
    mine = Held()
    refs.append(weakref.ref(mine))
    if green_before:
        eventlet.sleep(0)
    await asyncio.get_running_loop().create_future()


def forgotten(green_before: bool, nested: bool) -> None:
    """A task that awaits what nobody else refers to is collected."""
    loop = aiohub.get_loop()
    log = Log()
    logger = logging.getLogger('asyncio')
    logger.addHandler(log)
    logger.propagate = False
    refs: list[Any] = []
    try:
        before = greenlets()

        async def outer() -> None:
            await _waits_for_nobody(None, green_before, refs)

        make = outer if nested else (
            lambda: _waits_for_nobody(None, green_before, refs))
        task = loop.create_task(make())
        cases.turns()
        refs.append(weakref.ref(task))
        del task
        gc.collect()
        cases.turns()
        assert [ref() for ref in refs] == [None, None], refs
        assert greenlets() <= before + 1, (before, greenlets())
    finally:
        logger.removeHandler(log)
        logger.propagate = True
    assert log.lines == [line for line in log.lines if line.startswith(
        'Task was destroyed but it is pending!')] and log.lines, log.lines


for _green in (False, True):
    for _nested in (False, True):
        cases.add('forgotten%s%s' % (', after a green call' * _green,
                                     ', nested' * _nested),
                  forgotten, _green, _nested)


def ended(end: str) -> None:
    """Tasks that have ended leave greenlets, but only for the next tasks."""
    loop = aiohub.get_loop()

    async def run(gate: asyncio.Event) -> None:
        eventlet.sleep(0)
        await gate.wait()
        if end == 'raises':
            raise Custom

    async def together(count: int) -> None:
        gate = asyncio.Event()
        tasks = [loop.create_task(run(gate)) for _ in range(count)]
        for _ in range(3):
            eventlet.sleep(0)
            await asyncio.sleep(0)
        if end == 'cancelled':
            for task in tasks:
                task.cancel()
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    before = greenlets()
    aiohub.await_(together(300))
    after = greenlets()
    assert after <= before + 301
    for _ in range(3):
        aiohub.await_(together(300))
    assert greenlets() <= after, (after, greenlets())
    # They are not kept for ever.
    for _ in range(1000):
        aiohub.await_(together(10))
    assert greenlets() < before + 50, (before, greenlets())


for _end in ('returns', 'raises', 'cancelled'):
    cases.add('ended: %s' % _end, ended, _end)


def killed_leave_nothing() -> None:
    """Nor do those that were killed; a Timeout may refer to them a while."""
    before = greenlets()
    refs = []
    for place in (green_places.event_wait, green_places.future,
                  green_places.task):
        trial = Trial(place(), False)
        trial.wait_until_there()
        refs.append(weakref.ref(trial.greenlet))
        greenthread.kill(trial.greenlet)
        cases.until(trial.task.done)
        del trial
    gc.collect()
    assert [ref() for ref in refs] == [None] * 3, refs
    assert greenlets() <= before + 3


cases.add('killed_leave_nothing', killed_leave_nothing)

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
