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

"""What belongs to a task because it belongs to its greenlet.

``threading.local`` and ``corolocal``, ``getcurrent()``, idents, timers; of
1,000 tasks at once. Greenlets are used again for later tasks, which must not
find anything that an earlier one has left, and not be reached through what
others have kept of it.
"""

import asyncio
import contextvars
import gc
import sys
import threading
import weakref

import cases
import mode

import aiohub
import eventlet
from eventlet import corolocal
from eventlet import event
from eventlet import greenthread
from eventlet import hubs
import greenlet

if mode.PATCHED:
    import _thread
else:
    from eventlet.green import thread as _thread
    from eventlet.green import threading

TASKS = 1000

variable = contextvars.ContextVar('variable', default=None)


class Stop(Exception):
    pass


class Value:
    """What tasks set; it can be seen whether it is still there."""


class Counting(threading.local):
    def __init__(self, start):
        self.number = start
        self.made_in = id(eventlet.getcurrent())


class CountingGreen(corolocal.local):
    def __init__(self, start):
        self.number = start
        self.made_in = id(eventlet.getcurrent())


locals_ = (threading.local(), corolocal.local(), _thread._local())
counting = (Counting(7), CountingGreen(7))


def in_task(function):
    """Decorator: the coroutine function is a case, run as a task."""
    cases.add(function.__name__, lambda: aiohub.await_(function()))
    return function


async def run(function, *args):
    return await asyncio.create_task(function(*args))


async def wait_both_ways():
    await asyncio.sleep(0)
    eventlet.sleep(0)
    await asyncio.sleep(0)


def check_clean():
    """Nobody has been here before this task."""
    for local in locals_:
        assert not vars(local), vars(local)
        assert not hasattr(local, 'value')
    assert not vars(eventlet.getcurrent())
    assert variable.get() is None
    assert sys.exc_info() == (None, None, None)


async def be_clean():
    check_clean()
    await wait_both_ways()
    check_clean()


# -- values

@in_task
async def many_tasks():
    inside = []

    async def work(number):
        check_clean()
        for local in locals_:
            local.value = number
        for local in counting:
            assert local.number == 7
            assert local.made_in == id(eventlet.getcurrent())
            local.number += number
        inside.append(number)
        while len(inside) < TASKS:
            await wait_both_ways()
        for local in locals_:
            assert local.value == number
            local.value = Value()
        for local in counting:
            assert local.number == 7 + number
            assert local.made_in == id(eventlet.getcurrent())
        await wait_both_ways()
        return [weakref.ref(local.value) for local in locals_]

    for _ in range(2):
        values = await asyncio.gather(*map(work, range(TASKS)))
        inside.clear()
        # What they have set is gone. A local keeps the values of whoever has
        # used it last.
        check_clean()
        gc.collect()
        assert not any(value() for three in values for value in three)
    for _ in range(TASKS):
        await run(be_clean)


@in_task
async def one_after_the_other():
    async def work(number):
        await be_clean()
        for local in locals_[:1 + number % 3]:
            local.value = number
        await wait_both_ways()
        for local in locals_[:1 + number % 3]:
            assert local.value == number
            if number % 2:
                # Nothing is left but an empty dictionary.
                del local.value

    for number in range(TASKS):
        await run(work, number)
    await asyncio.gather(*(be_clean() for _ in range(TASKS)))


@in_task
async def of_others():
    """Green threads, callbacks and greenlets of a task have their own."""
    seen = []

    def look():
        seen.append([hasattr(local, 'value') for local in locals_])

    def look_and_set():
        look()
        for local in locals_:
            local.value = 'theirs'

    for local in locals_:
        local.value = 'mine'
    asyncio.get_running_loop().call_soon(look)
    eventlet.spawn(look_and_set).wait()
    greenlet.greenlet(look_and_set).switch()
    await run(asyncio.sleep, 0)
    await asyncio.sleep(0)
    assert seen == [[False] * 3] * 3
    assert {local.value for local in locals_} == {'mine'}
    aiohub.await_(be_clean())


@in_task
async def in_functions():
    """Also of plain functions that are called, and of what they wait for."""
    async def set_value():
        locals_[0].value = 'inner'

    locals_[0].value = 'outer'
    await set_value()
    assert locals_[0].value == 'inner'
    # A task of its own.
    aiohub.await_(run(set_value))
    locals_[0].value = 'outer'
    aiohub.await_(set_value())
    assert locals_[0].value == 'outer'


# -- getcurrent()

@in_task
async def identity():
    inside, idents = [], set()

    async def work():
        green, ident = eventlet.getcurrent(), threading.get_ident()
        assert ident == _thread.get_ident() == corolocal.get_ident()
        assert ident == id(green)
        idents.add(ident)
        inside.append(1)
        while len(inside) < TASKS:
            await wait_both_ways()
            assert eventlet.getcurrent() is green is greenlet.getcurrent()
            assert greenthread.getcurrent() is green and not green.dead
            assert threading.get_ident() == ident

    await asyncio.gather(*(work() for _ in range(TASKS)))
    assert len(idents) == TASKS


async def leave(keep):
    """End, after others have got hold of the greenlet."""
    await be_clean()
    keep(eventlet.getcurrent())
    await wait_both_ways()


async def check_away(is_left):
    """No later task has a greenlet that an earlier one has left."""
    for _ in range(5):
        assert not is_left(eventlet.getcurrent())
        await be_clean()


@in_task
async def attributes():
    def keep(green):
        green.value = 1
        green.task_name = 'mine'

    async def check():
        assert not hasattr(eventlet.getcurrent(), 'value')
        await be_clean()

    async def set_and_remove():
        await leave(keep)
        vars(eventlet.getcurrent()).clear()

    for function in (lambda: leave(keep), check, set_and_remove, check) * 5:
        await run(function)
    await asyncio.gather(*(check() for _ in range(10)))


@in_task
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
            lambda green: variable.set(green),
            lambda green: kept.append(greenlet.greenlet(parent=green))):
        await run(leave, keep)
        await asyncio.gather(*(check_away(
            lambda green: green is kept[0]) for _ in range(5)))
    first = kept[0]
    assert first.dead
    ended = event.Event()

    async def later():
        ended.wait()
        await be_clean()
        return 'done'

    task = asyncio.create_task(later())
    await wait_both_ways()
    # That does nothing to it, nor to whoever calls it.
    first.kill()
    eventlet.kill(first, Stop)
    await wait_both_ways()
    assert not task.done()
    ended.send()
    assert await task == 'done'


@in_task
async def switch_of_the_dead_in_others():
    """The same in a green thread, which goes on when it is woken."""
    kept = []
    await run(leave, kept.append)
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
        await wait_both_ways()


@in_task
async def weak_references():
    kept, died = [], []
    keys = weakref.WeakKeyDictionary()
    for keep in (
            lambda green: kept.append(weakref.ref(green)),
            lambda green: kept.append(weakref.ref(green, died.append)),
            lambda green: kept.append(weakref.WeakMethod(green.switch)),
            lambda green: kept.append(weakref.WeakSet([green])),
            lambda green: keys.update({green: 1})):
        await run(leave, keep)
        await asyncio.gather(*(check_away(
            lambda green: green in keys) for _ in range(5)))
    gc.collect()
    assert kept[0]() is kept[1]() is kept[2]() is None
    assert died == [kept[1]] and not kept[3] and not keys


@in_task
async def weak_values():
    """Who keeps a value for as long as the greenlet lives."""
    finalized = []
    for _ in range(20):
        await run(leave, lambda green: weakref.finalize(
            green, finalized.append, 1))
        await run(be_clean)
    gc.collect()
    assert len(finalized) == 20


@in_task
async def local_timers():
    """A timer of a green thread is not called when that has ended."""
    hub, called = hubs.get_hub(), []
    for _ in range(10):
        await run(leave, lambda green: hub.schedule_call_local(
            0.0001, called.append, 'local'))
        await run(leave, lambda green: greenthread.spawn_after_local(
            0.0001, called.append, 'local'))
        await asyncio.gather(*(be_clean() for _ in range(5)))
    hub.schedule_call_global(0.001, called.append, 'global')
    while not called:
        await wait_both_ways()
    assert called == ['global']


@in_task
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

    async def end_at_once(keep):
        keep(eventlet.getcurrent())

    tasks = []
    for _ in range(10):
        await run(end_at_once, keep)
        tasks.append(asyncio.create_task(sleep()))
        await asyncio.sleep(0)
    while not all(timer.called for timer in timers):
        await wait_both_ways()
    assert not any(task.done() for task in tasks)
    ended.send('right')
    await asyncio.gather(*tasks)


@in_task
async def exceptions():
    """A task that ends while it handles one leaves nothing."""
    kept = []

    async def fail():
        try:
            raise Stop
        except Stop as exc:
            await wait_both_ways()
            assert sys.exc_info()[1] is exc
            kept.append(weakref.ref(exc))
            raise ValueError from None

    async def end():
        try:
            raise Stop
        except Stop as exc:
            await wait_both_ways()
            kept.append(weakref.ref(exc))
            return

    for function in (fail, be_clean, end, be_clean) * 5:
        await asyncio.gather(function(), return_exceptions=True)
    gc.collect()
    assert not any(error() for error in kept)


@in_task
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
            await asyncio.gather(*(wait_both_ways() for _ in range(5)))
            aiohub.await_(wait_both_ways())

    first = await run(measure)
    for _ in range(20):
        await run(start, 100)
        assert abs(await run(measure) - first) < 20


async def threads():
    """Nothing is left in the lists of threads."""
    async def look():
        thread = threading.current_thread()
        await wait_both_ways()
        assert threading.current_thread() is thread
        threading.Thread(target=str).start()

    await run(look)
    before = len(threading.enumerate()), len(threading._active)
    for _ in range(100):
        await asyncio.gather(*(look() for _ in range(10)))
    await wait_both_ways()
    after = len(threading.enumerate()), len(threading._active)
    assert after == before, (before, after)


# Of eventlet's own module, current_thread() adds to the list each time.
if mode.PATCHED:
    in_task(threads)


# -- kill()

async def waiting():
    """Return a task that waits in a green call, and its greenlet."""
    started = []

    async def wait():
        started.append(eventlet.getcurrent())
        try:
            event.Event().wait()
        finally:
            await wait_both_ways()
            started.append('clean')

    task = asyncio.create_task(wait())
    while not started:
        await wait_both_ways()
    return task, started


@in_task
async def kill():
    for function in (
            lambda green: green.kill(), eventlet.kill, greenthread.kill,
            lambda green: eventlet.spawn(green.kill).wait(),
            lambda green: eventlet.spawn(eventlet.kill, green).wait(),
            lambda green: eventlet.spawn_after(0, green.kill).wait(),
            lambda green: hubs.get_hub().schedule_call_global(
                0, green.throw)):
        task, started = await waiting()
        function(started[0])
        await asyncio.wait([task])
        assert task.cancelled() and started[1:] == ['clean']
    await wait_both_ways()


@in_task
async def kill_with():
    for function in (
            lambda green: green.kill(Stop), lambda green: green.kill(Stop()),
            lambda green: eventlet.kill(green, Stop),
            lambda green: eventlet.kill(green, Stop, Stop('why'), None),
            lambda green: eventlet.spawn(eventlet.kill, green, Stop).wait(),
            lambda green: hubs.get_hub().schedule_call_global(
                0, green.throw, Stop)):
        task, started = await waiting()
        function(started[0])
        await asyncio.wait([task])
        assert isinstance(task.exception(), Stop)
        assert started[1:] == ['clean']
    await wait_both_ways()


@in_task
async def kill_itself():
    for function in (lambda: eventlet.getcurrent().kill(),
                     lambda: eventlet.kill(eventlet.getcurrent()),
                     lambda: eventlet.getcurrent().throw()):
        async def end(function=function):
            await wait_both_ways()
            function()
            await asyncio.sleep(0)
            raise AssertionError

        task = asyncio.create_task(end())
        await asyncio.wait([task])
        assert task.cancelled()
    await wait_both_ways()


cases.run_all()
mode.done()
