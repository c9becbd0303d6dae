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


"""Green tasks and timeouts: eventlet's, asyncio's, and both, nested.

A timer is not waited for: the timeouts are long, and what the hub or the loop
would do when they are due is done by hand. So two that are due in the same
turn really are, in a known order.
"""

import asyncio
from collections.abc import Callable
import contextlib
import functools
import sys
from typing import Any

import cases
import green_places
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs

CancelledError = asyncio.CancelledError


class Custom(Exception):
    pass


class OtherCustom(Exception):
    pass


# -- timeouts that fire by hand

class Green:
    """``with eventlet.Timeout()``."""

    def __init__(self, exception: Any = None) -> None:
        self.exception = exception
        self.silent = exception is False
        self.timeout: Any = None

    async def __aenter__(self) -> None:
        self.timeout = eventlet.Timeout(1000, self.exception)
        self.timeout.__enter__()

    async def __aexit__(self, *exc_info: Any) -> Any:
        return self.timeout.__exit__(*exc_info)

    def fire(self) -> None:
        hubs.get_hub().schedule_call_global(0, self.timeout.timer)

    def is_mine(self, error: BaseException) -> bool:
        if self.exception in (None, True, False):
            return error is self.timeout
        if isinstance(self.exception, type):
            return isinstance(error, self.exception)
        return error is self.exception


class Async:
    """``async with asyncio.timeout()``."""

    silent = False

    def __init__(self) -> None:
        self.timeout = asyncio.timeout(1000)

    async def __aenter__(self) -> None:
        await self.timeout.__aenter__()

    async def __aexit__(self, *exc_info: Any) -> Any:
        return await self.timeout.__aexit__(*exc_info)

    def fire(self) -> None:
        hubs.get_hub().schedule_call_global(0, self._fire)

    def _fire(self) -> None:
        with contextlib.suppress(RuntimeError):  # the block has been left
            # As it does when the time has come.
            self.timeout.reschedule(0)

    def is_mine(self, error: BaseException) -> bool:
        return isinstance(error, TimeoutError)


KINDS: dict[str, Callable[[Any], Any]] = {
    'Timeout': lambda _: Green(),
    'Timeout(True)': lambda _: Green(True),
    'silent Timeout': lambda _: Green(False),
    'Timeout with class': Green,
    'Timeout with exception': lambda custom: Green(custom('given')),
    'asyncio.timeout': lambda _: Async(),
}


async def pauses(log: list[Any]) -> None:
    """Wait in every way; nothing may be raised there."""
    try:
        for _ in range(3):
            eventlet.sleep(0)
            await asyncio.sleep(0)
        await asyncio.get_running_loop().create_task(asyncio.sleep(0))
        aiohub.await_(asyncio.sleep(0))
    except BaseException as exc:
        log.append(('late', exc))
        raise


# -- one, in every place

class Limited:
    """Limits how long a task may be in a place."""

    def __init__(self, limit: Any, place: Any) -> None:
        self.limit = limit
        self.place = place
        self.log: list[Any] = []
        self.task = aiohub.get_loop().create_task(self.run())

    async def inside(self) -> None:
        try:
            await self.place.wait()
        except BaseException as exc:
            self.log.append(exc)
            assert self.place.over(), 'it has not ended'
            raise

    async def run(self) -> str:
        try:
            async with self.limit:
                await self.inside()
        except BaseException as exc:
            assert self.limit.is_mine(exc), repr(exc)
            assert not self.limit.silent
        else:
            assert self.limit.silent
        await pauses(self.log)
        return 'went on'


def times_out(make: Any, place: Any) -> None:
    """It is raised where the task waits, leaves the block, and is over."""
    limit = make(Custom)
    limited = Limited(limit, place())
    cases.until(limited.place.there)
    cases.turns(2)
    limit.fire()
    cases.until(limited.task.done)
    assert limited.task.result() == 'went on'
    [error] = limited.log
    assert limit.is_mine(error) or isinstance(limit, Async), repr(error)
    assert limited.task.cancelling() == 0


def in_time(make: Any, place: Any) -> None:
    """It would be due when the task has gone on: nothing happens."""
    limit = make(Custom)
    log: list[Any] = []
    waits = place()

    async def run() -> str:
        async with limit:
            result = await waits.wait()
        await pauses(log)
        return result

    task = aiohub.get_loop().create_task(run())
    cases.until(waits.there)
    cases.turns(2)
    waits.open()
    cases.until(task.done)
    assert task.result() == 'result', task
    assert task.cancelling() == 0


for _kind, _make in KINDS.items():
    for _place in green_places.PLACES:
        cases.add('%s: %s' % (_place.__name__, _kind),
                  times_out, _make, _place)
        if _place.opens:
            cases.add('%s: %s, in time' % (_place.__name__, _kind),
                      in_time, _make, _place)


# -- two, nested

class Nested:
    """Waits in a place within two limits, then within the outer one."""

    def __init__(self, outer: Any, inner: Any, first: Any,
                 second: Any) -> None:
        self.outer, self.inner = outer, inner
        self.first, self.second = first, second
        self.log: list[Any] = []
        self.task = aiohub.get_loop().create_task(self.run())

    async def run(self) -> str:
        try:
            async with self.outer:
                try:
                    async with self.inner:
                        await self.first.wait()
                        self.log.append('result')
                except BaseException as exc:
                    if not self.inner.is_mine(exc):
                        raise
                    self.log.append('inner')
                self.log.append('between')
                await self.second.wait()
                self.log.append('second')
        except BaseException as exc:
            if not self.outer.is_mine(exc):
                raise
            self.log.append('outer')
        self.log.append('after')
        await pauses(self.log)
        return 'end'

    def there(self, place: Any) -> None:
        cases.until(lambda: place.there() or self.task.done())
        cases.turns(2)

    def end(self) -> list[Any]:
        for _ in range(200):
            cases.turns(1)
        if not self.task.done():
            self.task.cancel()
            cases.until(self.task.done)
            raise AssertionError('it waits, after %s' % self.log)
        assert self.task.result() == 'end'
        assert self.task.cancelling() == 0, self.task.cancelling()
        return [word for word in self.log if word != 'inner'
                or not self.inner.silent]


def nested(make_outer: Any, make_inner: Any, place: Any,
           order: str) -> None:
    outer, inner = make_outer(Custom), make_inner(OtherCustom)
    by_outer = ['outer'] * (not outer.silent) + ['after']
    by_inner = ['inner'] * (not inner.silent) + ['between']
    trial = Nested(outer, inner, place(), green_places.future())
    trial.there(trial.first)
    if order == 'second':
        trial.first.open()
        trial.there(trial.second)
        outer.fire()
        log = trial.end()
        assert log == ['result', 'between', *by_outer], log
        return
    for which in order.split():
        {'outer': outer, 'inner': inner}[which].fire()
    if order == 'inner':
        trial.there(trial.second)
        trial.second.open()
        log = trial.end()
        assert log == [*by_inner, 'second', 'after'], log
        return
    log = trial.end()
    possible = [by_outer]
    if order != 'outer':
        # The inner one was first: it ended its block as well.
        possible.append([*by_inner, *by_outer])
        if (order == 'inner outer' and isinstance(inner, Green)
                and isinstance(outer, Green)):
            del possible[0]
    if (order == 'outer inner' and isinstance(inner, Green)
            and isinstance(outer, Green)):
        # What has ended the outer block has ended the inner one.
        possible = [by_outer]
    assert log in possible, log


_CLEANS_UP = [green_places.bridged, green_places.own_cleanup]
if sys.version_info < (3, 12):
    # It waits for the end of what it has cancelled.
    _CLEANS_UP.append(green_places.waited_for)

for _place in (green_places.event_wait, green_places.future,
               green_places.task, green_places.bridged,
               green_places.own_cleanup, green_places.child_event,
               green_places.future_in_child, green_places.bare_yield,
               green_places.waited_for, green_places.queue_get):
    for _outer in KINDS:
        for _inner in KINDS:
            if _inner == _outer == 'asyncio.timeout':
                continue  # is_mine() cannot tell them
            for _order in ('outer', 'inner', 'inner outer', 'outer inner',
                           'second'):
                if ' ' in _order and _place in _CLEANS_UP:
                    # The second is raised in the cleanup after the first,
                    # and goes on in its place.
                    continue
                cases.add('%s in %s in %s: %s' % (
                    _place.__name__, _inner, _outer, _order), nested,
                    KINDS[_outer], KINDS[_inner], _place, _order)


# -- wait_for

async def _green(seconds: float) -> None:
    eventlet.sleep(seconds)


@cases.case
def wait_for_around_a_green_call() -> None:
    async def run() -> None:
        try:
            await asyncio.wait_for(_green(1000), 0.01)
        except TimeoutError:
            await pauses([])
            return
        raise AssertionError

    aiohub.await_(run())


@cases.case
def wait_for_in_time() -> None:
    async def run() -> str:
        await asyncio.wait_for(_green(0), 1000)
        await pauses([])
        return 'end'

    assert aiohub.await_(run()) == 'end'


@cases.case
def timeout_around_wait_for_around_a_green_call() -> None:
    ended = event.Event()

    async def work() -> None:
        try:
            eventlet.sleep(1000)
        finally:
            eventlet.sleep(0)
            ended.send()

    async def run() -> None:
        with eventlet.Timeout(0.01, Custom):
            await asyncio.wait_for(work(), 1000)

    try:
        aiohub.await_(run())
    except Custom:
        assert ended.ready()
    else:
        raise AssertionError


@cases.case
def wait_for_around_timeout_around_a_green_call() -> None:
    async def work() -> str:
        with eventlet.Timeout(0.01, False):
            eventlet.sleep(1000)
        return 'result'

    async def run() -> str:
        return await asyncio.wait_for(work(), 1000)

    assert aiohub.await_(run()) == 'result'


# -- and a cancellation

@cases.case
def cancelled_and_woken_when_it_is_due() -> None:
    """All in one turn: asyncio.timeout() takes back its own, and no more."""
    woken = event.Event()
    limits: list[asyncio.Timeout] = []
    log: list[Any] = []

    async def run() -> None:
        async with asyncio.timeout(1000) as limit:
            limits.append(limit)
            log.append(woken.wait())
        log.append('left')
        await asyncio.sleep(0)
        log.append('went on')

    loop = aiohub.get_loop()
    task = loop.create_task(run())
    cases.until(lambda: woken._waiters)
    cases.turns(2)

    def at_once() -> None:
        # The loop calls what it calls next in the same turn, in this order.
        limits[0].reschedule(0)
        loop.call_soon(task.cancel)
        loop.call_soon(woken.send, 'result')

    loop.call_soon(at_once)
    cases.until(task.done)
    assert task.cancelled(), task
    assert log == ['result', 'left'], log


# -- eventlet's own uses of it

def with_timeout(function: Any) -> None:
    async def run() -> Any:
        result = eventlet.with_timeout(
            0.01, function, timeout_value='too late')
        await pauses([])
        return result

    assert aiohub.await_(run()) == 'too late'


cases.add('with_timeout of sleep', with_timeout,
          functools.partial(eventlet.sleep, 1000))
cases.add('with_timeout of await_', with_timeout,
          lambda: aiohub.await_(asyncio.sleep(1000)))


@cases.case
def queue_get_with_timeout() -> None:
    """What the queue itself limits; twice, as its timer could be left."""
    async def run() -> str:
        empty = eventlet.Queue()
        for _ in range(2):
            try:
                empty.get(timeout=0.01)
            except eventlet.queue.Empty:
                await pauses([])
            else:
                raise AssertionError
        return 'end'

    assert aiohub.await_(run()) == 'end'


@cases.case
def semaphore_with_timeout() -> None:
    async def run() -> str:
        semaphore = eventlet.Semaphore(0)
        assert not semaphore.acquire(timeout=0.01)
        await pauses([])
        semaphore.release()
        assert semaphore.acquire(timeout=1000)
        return 'end'

    assert aiohub.await_(run()) == 'end'


# -- a timeout of somebody else

@cases.case
def timeout_of_who_waits_for_the_task() -> None:
    """It is for who made it, not for the task that it waits for."""
    future = aiohub.get_loop().create_future()
    log: list[Any] = []

    async def work() -> str:
        try:
            await future
        except BaseException as exc:
            log.append(type(exc))
            raise
        return 'result'

    task = aiohub.get_loop().create_task(work())

    def wait() -> None:
        with eventlet.Timeout(0.01, Custom):
            aiohub.await_(task)

    try:
        wait()
    except Custom:
        assert log == [CancelledError], log
        assert task.cancelled()
    else:
        raise AssertionError


@cases.case
def made_in_one_task_for_another() -> None:
    """It is thrown into the greenlet that made it."""
    seen: list[Any] = []

    async def made() -> None:
        with eventlet.Timeout(0.01) as timeout:
            try:
                await asyncio.get_running_loop().create_task(waits())
            except eventlet.Timeout as exc:
                assert exc is timeout
                seen.append('made')

    async def waits() -> None:
        try:
            eventlet.sleep(1000)
        except CancelledError:
            seen.append('waits')
            raise

    aiohub.await_(made())
    assert seen == ['waits', 'made'], seen


@cases.case
def left_pending_at_the_end() -> None:
    """It is never raised, and not in another task of the same greenlet."""
    timeouts = []

    async def forgets() -> None:
        timeouts.append(eventlet.Timeout(1000))
        eventlet.sleep(0)

    async def next_one(number: int) -> int:
        eventlet.sleep(0)
        await asyncio.sleep(0)
        return number

    aiohub.await_(forgets())
    tasks = [aiohub.get_loop().create_task(next_one(i)) for i in range(5)]
    hubs.get_hub().schedule_call_global(0, timeouts[0].timer)
    assert aiohub.await_(asyncio.gather(*tasks)) == [0, 1, 2, 3, 4]
    # eventlet prints it, as it does for a green thread that has ended.
    sys.stderr.seek(0)
    sys.stderr.truncate()


cases.run_all()
mode.done()
