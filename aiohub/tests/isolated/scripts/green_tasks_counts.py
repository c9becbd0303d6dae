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


"""Green tasks: cancels are counted as in asyncio, and nothing is left of those
that have ended, or that nobody refers to.
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
import greenlet

CancelledError = asyncio.CancelledError
GreenletExit = greenlet.GreenletExit

Custom = green_stops.Custom
Trial = green_stops.Trial


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


async def _ends(end: str, green: bool) -> None:
    await asyncio.sleep(0)
    if green:
        eventlet.sleep(0)
    if end == 'raises':
        raise Custom
    if end == 'cancelled':
        await aiohub.get_loop().create_future()


async def _freed(end: str, green: bool) -> None:
    task = asyncio.create_task(_ends(end, green))
    if end == 'cancelled':
        await asyncio.wait([task], timeout=0.001)
        task.cancel()
    await asyncio.wait([task])
    assert task.done()
    if end == 'raises':
        assert type(task.exception()) is Custom
    ref = weakref.ref(task)
    del task
    assert ref() is None, gc.get_referrers(ref())


def freed_at_once(end: str, green: bool) -> None:
    """Who drops a task that has ended frees it: no cycle is left."""
    gc.disable()
    try:
        aiohub.await_(_freed(end, green))
    finally:
        gc.enable()


for _end in ('returns', 'raises', 'cancelled'):
    for _green in (False, True):
        cases.add('freed at once, %s, %s' % (_end, _green),
                  freed_at_once, _end, _green)


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
gc.collect()
cases.turns()
assert not asyncio.all_tasks(aiohub.get_loop())
mode.done()
