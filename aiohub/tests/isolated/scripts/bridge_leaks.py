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

"""The bridge leaves nothing behind, however a crossing ends.

100,000 crossings each way, with results and errors, kills and cancels; then
there are as many objects, memory blocks, descriptors, tasks, timers and
listeners as before.
"""

import asyncio
import collections
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
import gc
import os
import sys
from typing import Any
import weakref

import mode

import eventlet
from eventlet import hubs

import aiohub
from aiohub import from_thread

loop = aiohub.get_loop()
hub = hubs.get_hub()
# So many green threads or tasks cross at the same time.
WORKERS = 50
# Less is no leak: each kind makes more crossings.
FEW = 100


class Failure(Exception):
    pass


# -- what is called

async def answer() -> int:
    return 1


async def answer_later() -> int:
    await asyncio.sleep(0)
    return 1


async def fail() -> None:
    await asyncio.sleep(0)
    raise Failure()


async def forever() -> None:
    try:
        await loop.create_future()
    finally:
        await asyncio.sleep(0)


def green_answer() -> int:
    return 1


def green_answer_later() -> int:
    eventlet.sleep(0)
    return 1


def green_fail() -> None:
    eventlet.sleep(0)
    raise Failure()


def green_forever() -> None:
    try:
        eventlet.Event().wait()
    finally:
        eventlet.sleep(0)


@contextlib.asynccontextmanager
async def manage():
    await asyncio.sleep(0)
    yield
    await asyncio.sleep(0)


@contextlib.contextmanager
def green_manage():
    eventlet.sleep(0)
    yield
    eventlet.sleep(0)


async def iterate():
    for number in range(3):
        await asyncio.sleep(0)
        yield number


def green_iterate():
    for number in range(3):
        eventlet.sleep(0)
        yield number


# -- from green code into asyncio

def expect(error: type[BaseException], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError('did not raise %s' % error)


def done_future() -> None:
    future = loop.create_future()
    future.set_result(1)
    assert aiohub.await_(future) == 1


def timeout() -> None:
    with eventlet.Timeout(0, False):
        aiohub.await_(forever())


def killed(started: bool) -> None:
    green = aiohub.future_to_greenlet(forever())
    if started:
        eventlet.sleep(0)
        eventlet.sleep(0)
    green.kill()
    expect(eventlet.greenlet.GreenletExit, green.wait)


def killed_in_await() -> None:
    green = eventlet.spawn(aiohub.await_, forever())
    eventlet.sleep(0)
    green.kill()
    expect(eventlet.greenlet.GreenletExit, green.wait)


def cancelled() -> None:
    task = loop.create_task(forever())
    green = aiohub.future_to_greenlet(task)
    eventlet.sleep(0)
    task.cancel()
    expect(eventlet.greenlet.GreenletExit, green.wait)


def context_manager() -> None:
    with aiohub.wrap_async_context_manager(manage()):
        pass


def context_manager_fails() -> None:
    with aiohub.wrap_async_context_manager(manage()):
        raise Failure()


def iterator() -> None:
    assert list(aiohub.wrap_async_iterator(iterate())) == [0, 1, 2]


def iterator_left() -> None:
    for _ in aiohub.wrap_async_iterator(iterate()):
        break


GREEN_KINDS: dict[str, tuple[int, Callable[[], object]]] = {
    'await_': (30000, lambda: aiohub.await_(answer())),
    'await_ later': (20000, lambda: aiohub.await_(answer_later())),
    'await_ error': (
        10000, lambda: expect(Failure, lambda: aiohub.await_(fail()))),
    'await_ done': (5000, done_future),
    'await_ timeout': (5000, timeout),
    'await_ killed': (3000, killed_in_await),
    'future_to_greenlet': (
        10000, lambda: aiohub.future_to_greenlet(answer_later()).wait()),
    'future_to_greenlet error': (
        5000,
        lambda: expect(Failure, aiohub.future_to_greenlet(fail()).wait)),
    'future_to_greenlet killed': (3000, lambda: killed(True)),
    'future_to_greenlet killed at once': (3000, lambda: killed(False)),
    'future_to_greenlet cancelled': (3000, cancelled),
    'context manager': (1000, context_manager),
    'context manager error': (
        1000, lambda: expect(Failure, context_manager_fails)),
    'iterator': (500, iterator),
    'iterator left': (500, iterator_left),
}


# -- from asyncio into green code

async def aexpect(error: type[BaseException],
                  awaitable: Awaitable[object]) -> None:
    try:
        await awaitable
    except error:
        return
    raise AssertionError('did not raise %s' % error)


async def to_green_thread(function: Callable[[], object]) -> None:
    await aiohub.greenlet_to_future(eventlet.spawn(function))


async def to_greenlet(function: Callable[[], object]) -> None:
    await aiohub.greenlet_to_future(eventlet.greenlet.greenlet(function))


async def cancelled_task(turns: int) -> None:
    task = asyncio.create_task(aiohub.sync_to_async(green_forever)())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await aexpect(asyncio.CancelledError, task)


async def cancelled_future(start: bool) -> None:
    raw = eventlet.greenlet.greenlet(green_forever)
    future = aiohub.greenlet_to_future(raw)
    if start:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    future.cancel()
    await aexpect(asyncio.CancelledError, future)


async def timeout_async() -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await aiohub.sync_to_async(green_forever)()


async def killed_green() -> None:
    green = eventlet.spawn(green_forever)
    future = aiohub.greenlet_to_future(green)
    await asyncio.sleep(0)
    hub.schedule_call_global(0, eventlet.kill, green)
    await aexpect(asyncio.CancelledError, future)


async def context_manager_async() -> None:
    async with aiohub.wrap_sync_context_manager(green_manage()):
        pass


async def context_manager_fails_async() -> None:
    async with aiohub.wrap_sync_context_manager(green_manage()):
        raise Failure()


async def iterator_async() -> None:
    items = aiohub.wrap_sync_iterator(green_iterate())
    assert [item async for item in items] == [0, 1, 2]


async def iterator_left_async() -> None:
    async with contextlib.aclosing(
            aiohub.wrap_sync_iterator(green_iterate())) as items:
        async for _ in items:
            break


ASYNC_KINDS: dict[str, tuple[int, Callable[[], Awaitable[object]]]] = {
    'sync_to_async': (30000, aiohub.sync_to_async(green_answer)),
    'sync_to_async later': (20000, aiohub.sync_to_async(green_answer_later)),
    'sync_to_async error': (
        10000,
        lambda: aexpect(Failure, aiohub.sync_to_async(green_fail)())),
    'green thread': (10000, lambda: to_green_thread(green_answer_later)),
    'green thread error': (
        5000, lambda: aexpect(Failure, to_green_thread(green_fail))),
    'green thread killed': (2000, killed_green),
    'greenlet': (5000, lambda: to_greenlet(green_answer_later)),
    'greenlet error': (
        3000, lambda: aexpect(Failure, to_greenlet(green_fail))),
    'cancelled': (4000, lambda: cancelled_task(3)),
    'cancelled at once': (2000, lambda: cancelled_task(0)),
    'cancelled before start': (2000, lambda: cancelled_task(1)),
    'future cancelled': (2000, lambda: cancelled_future(True)),
    'future cancelled at once': (1000, lambda: cancelled_future(False)),
    'timeout': (1000, timeout_async),
    'context manager': (1000, context_manager_async),
    'context manager error': (
        1000, lambda: aexpect(Failure, context_manager_fails_async())),
    'iterator': (500, iterator_async),
    'iterator left': (500, iterator_left_async),
}


# -- counting

def in_green_threads(count: int, call: Callable[[], object]) -> None:
    def work() -> None:
        for _ in range(count // WORKERS):
            call()

    for green in [eventlet.spawn(work) for _ in range(WORKERS)]:
        green.wait()


def in_tasks(count: int, call: Callable[[], Awaitable[object]]) -> None:
    async def work() -> None:
        for _ in range(count // WORKERS):
            await call()

    async def gather() -> None:
        await asyncio.gather(*(work() for _ in range(WORKERS)))

    aiohub.await_(gather())


def from_native_threads(count: int) -> None:
    def work() -> None:
        for _ in range(count // 4):
            assert from_thread.run(answer) == 1
            assert from_thread.run_sync(green_answer) == 1
            expect(Failure, lambda: from_thread.run(fail))
            expect(Failure, lambda: from_thread.run_sync(green_fail))

    aiohub.await_(asyncio.to_thread(work))


def count_all() -> 'collections.Counter[str]':
    """Count what there is, by kind."""
    for _ in range(2):
        # Greenlets that the loop keeps for its next tasks, up to a number.
        if hasattr(loop, 'state'):
            loop.state.spare_greenlets.clear()
        gc.collect()
        eventlet.sleep(0)
    counts = collections.Counter(
        'object ' + type(thing).__qualname__ for thing in gc.get_objects())
    counts['blocks'] = sys.getallocatedblocks()
    counts['descriptors'] = len(os.listdir('/proc/self/fd'))
    counts['tasks'] = len(asyncio.all_tasks(loop))
    # Cancelled timers stay until they are due, and the hub throws them out.
    counts['timers'] = len(
        [timer for _, timer in hub.timers + hub.next_timers
         if not timer.called])
    counts['listeners'] = sum(
        map(len, [*hub.listeners.values(), *hub.secondaries.values()]))
    return counts


def check(
    name: str, before: 'collections.Counter[str]',
) -> 'collections.Counter[str]':
    """Make sure that there is no more than before; return the count."""
    after = count_all()
    grown = {
        kind: (before[kind], after[kind]) for kind in before | after
        if after[kind] - before[kind] > (
            FEW * 5 if kind == 'blocks' else
            FEW if kind.startswith('object ') else 0)}
    assert not grown, (name, grown)
    return after


for name, (_, call) in GREEN_KINDS.items():
    in_green_threads(2 * WORKERS, call)
for name, (_, acall) in ASYNC_KINDS.items():
    in_tasks(2 * WORKERS, acall)
from_native_threads(40)
count_all()
# What modules consist of need not be looked at each time.
gc.freeze()

assert sum(count for count, _ in GREEN_KINDS.values()) == 100000
assert sum(count for count, _ in ASYNC_KINDS.values()) == 100000

first = before = count_all()
for name, (count, call) in GREEN_KINDS.items():
    in_green_threads(count, call)
    before = check(name, before)
for name, (count, acall) in ASYNC_KINDS.items():
    in_tasks(count, acall)
    before = check(name, before)
from_native_threads(4000)
check('from_thread', before)
check('all', first)


# -- without the garbage collector
#
# What ends well makes no reference cycle, neither does an error that comes
# out of await_().

def garbage(run: Callable[..., None], call: Callable[[], Any]) -> int:
    """Return how much has to be collected after a hundred crossings."""
    count_all()
    gc.disable()
    try:
        run(2 * WORKERS, call)
        return gc.collect()
    finally:
        gc.enable()


for name in ('await_', 'await_ later', 'await_ error', 'await_ done',
             'future_to_greenlet', 'context manager', 'iterator',
             'iterator left'):
    found = garbage(in_green_threads, GREEN_KINDS[name][1])
    assert found < WORKERS, (name, found)
for name in ('sync_to_async', 'sync_to_async later', 'green thread',
             'greenlet', 'cancelled at once', 'context manager', 'iterator'):
    found = garbage(in_tasks, ASYNC_KINDS[name][1])
    assert found < WORKERS, (name, found)


# -- who waits and is dropped

class Token:
    """Held by what should go."""


def gone(references: 'list[weakref.ref[Any]]') -> bool:
    for _ in range(5):
        gc.collect()
        eventlet.sleep(0)
    return not any(reference() for reference in references)


before = count_all()

# A greenlet that is never started, and who waits for it: all of it goes.
def wait_for_unstarted() -> 'list[weakref.ref[Any]]':
    token = Token()

    def run() -> Token:
        return token

    async def wait() -> None:
        await aiohub.greenlet_to_future(raw, autostart_greenlet=False)

    raw = eventlet.greenlet.greenlet(run)
    task = loop.create_task(wait())
    # asyncio would log that it was pending when it was destroyed.
    task._log_destroy_pending = False
    eventlet.sleep(0)
    eventlet.sleep(0)
    return [weakref.ref(thing) for thing in (token, raw, task)]


assert gone([
    reference for _ in range(100) for reference in wait_for_unstarted()])


# A future for a green thread that nobody awaits: the green thread ends, and
# both go.
def unawaited() -> 'list[weakref.ref[Any]]':
    green = eventlet.spawn(green_answer_later)
    future = aiohub.greenlet_to_future(green)
    return [weakref.ref(green), weakref.ref(future)]


assert gone([reference for _ in range(100) for reference in unawaited()])


# A green thread that would start its awaitable when somebody waits for it.
def never_started() -> 'list[weakref.ref[Any]]':
    future = loop.create_future()
    green = aiohub.future_to_greenlet(future, autostart_future=False)
    return [weakref.ref(green), weakref.ref(future)]


assert gone([reference for _ in range(100) for reference in never_started()])


# Iterators that are left without being closed.
def drop_iterators() -> None:
    for _ in aiohub.wrap_async_iterator(iterate()):
        break

    async def drop() -> None:
        async for _ in aiohub.wrap_sync_iterator(green_iterate()):
            break

    aiohub.await_(drop())


for _ in range(100):
    drop_iterators()


# The same, collected where nobody can wait: in a callback.
class Cycle:
    def __init__(self) -> None:
        self.me = self
        self.iterator = aiohub.wrap_async_iterator(iterate())
        next(self.iterator)


def collect_in_callback() -> None:
    collected = loop.create_future()

    def collect() -> None:
        gc.collect()
        collected.set_result(None)

    gc.disable()
    try:
        for _ in range(10):
            Cycle()
        loop.call_soon(collect)
        aiohub.await_(collected)
    finally:
        gc.enable()


collect_in_callback()
check('dropped', before)


# What waits in a greenlet that runs cannot be collected: frames of greenlets
# are invisible to the collector, in eventlet as here. It goes when it is
# killed or cancelled, and all that it held does.
def drop_waiter() -> 'list[weakref.ref[Any]]':
    green = eventlet.spawn(aiohub.await_, forever())
    eventlet.sleep(0)
    return [weakref.ref(green)]


def drop_task() -> 'list[weakref.ref[Any]]':
    green = eventlet.spawn(green_forever)
    task = loop.create_task(wait_for(green))
    eventlet.sleep(0)
    eventlet.sleep(0)
    return [weakref.ref(task)]


async def wait_for(green: eventlet.greenthread.GreenThread) -> None:
    await aiohub.greenlet_to_future(green)


waiters = [reference for _ in range(100) for reference in drop_waiter()]
tasks = [reference for _ in range(100) for reference in drop_task()]
gone(waiters + tasks)
for reference in waiters:
    green = reference()
    assert green is not None and not green.dead
    green.kill()
    del green
for reference in tasks:
    task = reference()
    assert task is not None and not task.done()
    task.cancel()
    del task
assert gone(waiters + tasks)
del waiters, tasks, reference
check('dropped and ended', before)
mode.done()
