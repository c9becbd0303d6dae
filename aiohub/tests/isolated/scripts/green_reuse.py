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

"""Greenlets are used again for later tasks, and nobody can see it.

A task does not find anything that an earlier one has left, and is not reached
through what others have kept of that one.
"""

import asyncio
import contextvars
import gc
import sys
import threading
import weakref

import cases
import clean
import meanwhile
import mode

import aiohub
import eventlet
from eventlet import corolocal
from eventlet import event
from eventlet import greenthread
from eventlet import hubs
import greenlet

if not mode.PATCHED:
    from eventlet.green import threading


class Stop(Exception):
    pass


async def leave(keep):
    """End, after others have got hold of the greenlet."""
    await clean.be_clean()
    keep(eventlet.getcurrent())
    await clean.wait_both_ways()


async def end_at_once(keep):
    keep(eventlet.getcurrent())


async def check_away(is_left):
    """No later task has a greenlet that an earlier one has left."""
    for _ in range(5):
        assert not is_left(eventlet.getcurrent())
        await clean.be_clean()


@meanwhile.in_task
async def attributes():
    def keep(green):
        green.value = 1
        green.task_name = 'mine'

    async def check():
        assert not hasattr(eventlet.getcurrent(), 'value')
        await clean.be_clean()

    async def set_and_remove():
        await leave(keep)
        vars(eventlet.getcurrent()).clear()

    for function in (lambda: leave(keep), check, set_and_remove, check) * 5:
        await clean.run(function)
    await asyncio.gather(*(check() for _ in range(10)))


@meanwhile.in_task
async def references():
    kept = []
    for keep in (
            kept.append,
            lambda green: kept.append(green.switch),
            lambda green: kept.append(green.throw),
            lambda green: kept.append(
                greenlet.greenlet.switch.__get__(green)),
            lambda green: kept.append({green: 1}),
            lambda green: kept.append(contextvars.copy_context()),
            lambda green: clean.variable.set(green),
            lambda green: kept.append(greenlet.greenlet(parent=green))):
        await clean.run(leave, keep)
        await asyncio.gather(*(check_away(
            lambda green: green is kept[0]) for _ in range(5)))
    first = kept[0]
    assert first.dead
    ended = event.Event()

    async def later():
        ended.wait()
        await clean.be_clean()
        return 'done'

    task = asyncio.create_task(later())
    await clean.wait_both_ways()
    # That does nothing to it, nor to whoever calls it.
    first.kill()
    eventlet.kill(first, Stop)
    await clean.wait_both_ways()
    assert not task.done()
    ended.send()
    assert await task == 'done'


@meanwhile.in_task
async def switch_of_the_dead_in_others():
    """The same in a green thread, which goes on when it is woken."""
    kept = []
    await clean.run(leave, kept.append)
    for function in (
            kept[0].kill, lambda: eventlet.kill(kept[0], Stop),
            lambda: greenthread.kill(kept[0])):
        eventlet.spawn(function).wait()
    hub, called = hubs.get_hub(), []
    hub.schedule_call_global(0, kept[0].switch)
    hub.schedule_call_global(0, kept[0].throw, Stop)
    hub.schedule_call_global(0.001, kept[0].throw, Stop)
    hub.schedule_call_global(0.001, called.append, 1)
    while not called:
        await clean.wait_both_ways()


@meanwhile.in_task
async def weak_references():
    kept, died = [], []
    keys = weakref.WeakKeyDictionary()
    for keep in (
            lambda green: kept.append(weakref.ref(green)),
            lambda green: kept.append(weakref.ref(green, died.append)),
            lambda green: kept.append(weakref.WeakMethod(green.switch)),
            lambda green: kept.append(weakref.WeakSet([green])),
            lambda green: keys.update({green: 1})):
        await clean.run(leave, keep)
        await asyncio.gather(*(check_away(
            lambda green: green in keys) for _ in range(5)))
    gc.collect()
    assert kept[0]() is kept[1]() is kept[2]() is None
    assert died == [kept[1]] and not kept[3] and not keys


@meanwhile.in_task
async def weak_values():
    """Who keeps a value for as long as the greenlet lives."""
    finalized = []
    for _ in range(20):
        await clean.run(leave, lambda green: weakref.finalize(
            green, finalized.append, 1))
        await clean.run(clean.be_clean)
    gc.collect()
    assert len(finalized) == 20


@meanwhile.in_task
async def local_timers():
    """A timer of a green thread is not called when that has ended."""
    hub, called = hubs.get_hub(), []
    for _ in range(10):
        await clean.run(end_at_once, lambda green: hub.schedule_call_local(
            0, called.append, 'local'))
        await clean.run(
            end_at_once, lambda green: greenthread.spawn_after_local(
                0, called.append, 'local'))
        await asyncio.gather(*(clean.be_clean() for _ in range(5)))
    hub.schedule_call_global(0.001, called.append, 'global')
    while not called:
        await clean.wait_both_ways()
    assert called == ['global']


@meanwhile.in_task
async def timers_that_wake():
    """Of an earlier task: a later one sleeps as long as it has to."""
    hub = hubs.get_hub()
    timers, ended = [], event.Event()

    def keep(green):
        timers.append(hub.schedule_call_global(0, green.switch, 'wrong'))
        timers.append(hub.schedule_call_global(0.0001, green.switch, 1))
        timers.append(hub.schedule_call_global(0.0001, green.throw, Stop))

    async def sleep():
        assert ended.wait() == 'right'
        await asyncio.sleep(0)
        eventlet.sleep(0)

    tasks = []
    for _ in range(10):
        await clean.run(end_at_once, keep)
        tasks.append(asyncio.create_task(sleep()))
        await asyncio.sleep(0)
    while not all(timer.called for timer in timers):
        await clean.wait_both_ways()
    assert not any(task.done() for task in tasks)
    ended.send('right')
    await asyncio.gather(*tasks)


@meanwhile.in_task
async def exceptions():
    """A task that ends while it handles one leaves nothing."""
    kept = []

    async def fail():
        try:
            raise Stop
        except Stop as exc:
            await clean.wait_both_ways()
            assert sys.exc_info()[1] is exc
            kept.append(weakref.ref(exc))
            raise ValueError from None

    async def end():
        try:
            raise Stop
        except Stop as exc:
            await clean.wait_both_ways()
            kept.append(weakref.ref(exc))
            return

    for function in (fail, clean.be_clean, end, clean.be_clean) * 5:
        await asyncio.gather(function(), return_exceptions=True)
    gc.collect()
    assert not any(error() for error in kept)


@meanwhile.in_task
async def recursion():
    """A later task can call as deep as the first."""
    def depth(count=0):
        try:
            return depth(count + 1)
        except RecursionError:
            return count

    async def measure():
        return depth()

    async def start(depth):
        if depth:
            await start(depth - 1)
        else:
            await asyncio.gather(*(clean.wait_both_ways() for _ in range(5)))
            aiohub.await_(clean.wait_both_ways())

    first = await clean.run(measure)
    for _ in range(20):
        await clean.run(start, 100)
        assert abs(await clean.run(measure) - first) < 20


local = corolocal.local()


async def eager():
    """The greenlets of tasks that begin in a step are used again, too.

    And so is that of the task whose step it is: nothing refers to it.
    """
    spare = asyncio.get_running_loop().state.spare_greenlets
    kept = weakref.WeakSet()

    async def start(levels, value=None):
        if value is not None:
            kept.add(value)
            local.value = value
        for _ in range(3 if levels else 0):
            await asyncio.Task(
                start(levels - 1), loop=asyncio.get_running_loop(),
                eager_start=True)

    # The third of a step in a step in a step has less room for calls.
    for levels, count in ((0, 1), (1, 2), (2, 2), (6, 2)):
        spare.clear()
        for _ in range(3):
            await clean.run(start, levels)
            assert len(spare) == count, (levels, len(spare))
    # One that has locals is not used again, and they are dropped.
    for _ in range(3):
        await clean.run(lambda: start(1, Stop()))
        # The local refers to those of who has looked at it last.
        assert not hasattr(local, 'value')
        gc.collect()
        assert not kept


if hasattr(asyncio, 'eager_task_factory'):  # since Python 3.12
    meanwhile.in_task(eager)


async def threads():
    """Nothing is left in the lists of threads."""
    async def look():
        thread = threading.current_thread()
        await clean.wait_both_ways()
        assert threading.current_thread() is thread
        threading.Thread(target=str).start()

    await clean.run(look)
    before = len(threading.enumerate()), len(threading._active)
    for _ in range(100):
        await asyncio.gather(*(look() for _ in range(10)))
    await clean.wait_both_ways()
    after = len(threading.enumerate()), len(threading._active)
    assert after == before, (before, after)


# Of eventlet's own module, current_thread() adds to the list each time.
if mode.PATCHED:
    meanwhile.in_task(threads)


cases.run_all()
mode.done()
