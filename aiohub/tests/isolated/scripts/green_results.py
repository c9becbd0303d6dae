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

"""Errors that a task gets: those it waits for, and those thrown into it.

What a green thread or an event gives it is a result, and stays what it is, for
this wait and for others that wait for the same. What a Timeout or a kill
throws is a reason for asyncio's code to clean up, whatever class it has.
"""

import asyncio
import gc
import sys
import weakref

import cases
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import greenthread
from eventlet import semaphore

#: Seconds of a timeout that is to fire.
SOON = 0.002


class Failure(Exception):
    pass


def case(function):
    """Decorator: the coroutine function is a case."""
    cases.add(function.__name__, lambda: aiohub.await_(function()))
    return function


async def never():
    await asyncio.get_running_loop().create_future()


async def both_ways():
    eventlet.sleep(0)
    await asyncio.sleep(0)


# -- results

@case
async def result_is_no_cancellation():
    error, done = Failure(), event.Event()
    eventlet.spawn_after(0, done.send_exception, error)
    try:
        done.wait()
    except asyncio.CancelledError:
        raise AssertionError('it is a cancellation')
    except Failure as exc:
        assert exc is error and type(exc) is Failure


@case
async def result_for_several():
    """In a task that deals with it and in others."""
    error, done = Failure(), event.Event()
    seen = []

    def wait():
        try:
            done.wait()
        except Exception as exc:
            assert not isinstance(exc, asyncio.CancelledError)
            seen.append(exc)

    async def in_task():
        wait()
        await asyncio.sleep(0)

    tasks = [asyncio.create_task(in_task()) for _ in range(2)]
    green = eventlet.spawn(wait)
    await both_ways()
    done.send_exception(error)
    await asyncio.gather(*tasks)
    green.wait()
    wait()
    assert seen == [error] * 4 and type(error) is Failure


@case
async def result_out_of_a_group():
    done = event.Event()
    eventlet.spawn_after(0, done.send_exception, Failure())
    try:
        async with asyncio.TaskGroup():
            done.wait()
    except ExceptionGroup as group:
        assert [type(exc) for exc in group.exceptions] == [Failure]
    else:
        raise AssertionError('it was lost')


def stopped_before_the_result(fail):
    """It is cancelled, and then what it waits for fails: only the first."""
    async def worker(done, log, wait):
        try:
            done.wait()
        except BaseException as exc:
            log.append(type(exc))
            raise
        finally:
            await wait()
            log.append('cleaned up')

    async def run():
        async def greenly():
            eventlet.sleep(0)

        for wait in (greenly, lambda: asyncio.sleep(0)):
            done, log = event.Event(), []
            task = asyncio.create_task(worker(done, log, wait))
            await asyncio.sleep(0)
            task.cancel()
            fail(done)
            await asyncio.wait([task])
            assert log == [asyncio.CancelledError, 'cleaned up'], log
            assert task.cancelled()

    aiohub.await_(run())


cases.add('cancelled before an error', stopped_before_the_result,
          lambda done: done.send_exception(Failure()))
cases.add('cancelled before an error, with its type',
          stopped_before_the_result,
          lambda done: done.send_exception(Failure, Failure(), None))
cases.add('cancelled before a kill', stopped_before_the_result,
          lambda done: done.send_exception(eventlet.greenlet.GreenletExit()))


# -- what is thrown

KINDS = (Failure, ValueError, TimeoutError)


async def raised_by(timeout, kind, wait):
    """Whether the timeout is raised as what was given, out of its block."""
    try:
        with timeout:
            await wait()
    except kind as exc:
        assert type(exc) is kind
        return True
    return False


def for_each_kind(function):
    for kind in KINDS:
        cases.add('%s: %s' % (function.__name__, kind.__name__),
                  lambda kind=kind: aiohub.await_(function(kind)))


@for_each_kind
async def group_ends_its_tasks(kind):
    async def group():
        async with asyncio.TaskGroup() as tasks:
            children.append(tasks.create_task(never()))

    children = []
    assert await raised_by(eventlet.Timeout(SOON, kind), kind, group)
    assert children[0].cancelled()


@for_each_kind
async def lock_wakes_the_next(kind):
    """It is released as who waits for it gives up."""
    async def first():
        async with lock:
            return 'got it'

    async def give_up():
        greens.append(eventlet.getcurrent())
        return await first()

    lock, greens = asyncio.Lock(), []
    await lock.acquire()
    killed = asyncio.create_task(give_up())
    await asyncio.sleep(0)
    last = asyncio.create_task(first())
    await asyncio.sleep(0)
    greenthread.kill(greens.pop(), kind())
    lock.release()
    assert await last == 'got it'
    # Thrown into it, and not cancelled.
    assert type(killed.exception()) is kind, killed


@for_each_kind
async def wait_for_ends_what_it_waits_for(kind):
    async def inner():
        try:
            await never()
        finally:
            await both_ways()
            ended.append(sys.exc_info()[0])

    ended = []
    assert await raised_by(
        eventlet.Timeout(SOON, kind), kind,
        lambda: asyncio.wait_for(inner(), 1000))
    [typ] = ended
    assert issubclass(typ, asyncio.CancelledError)


@for_each_kind
async def cleanup_fails(kind):
    """What it raises takes the place of what was thrown."""
    async def fail():
        try:
            await never()
        finally:
            await both_ways()
            raise kind

    async def work():
        greens.append(eventlet.getcurrent())
        try:
            await asyncio.create_task(fail())
        except Exception as exc:
            return type(exc)

    greens = []
    for error in (Failure(), eventlet.greenlet.GreenletExit()):
        task = asyncio.create_task(work())
        for _ in range(3):
            await both_ways()
        greenthread.kill(greens.pop(), error)
        assert await task is kind


@for_each_kind
async def green_call_gets_it_as_it_is(kind):
    with eventlet.Timeout(SOON, kind):
        try:
            event.Event().wait()
        except asyncio.CancelledError:
            raise AssertionError('it is a cancellation')
        except kind as exc:
            assert type(exc) is kind
            return
    raise AssertionError('it was lost')


@case
async def timeout_is_itself_outside():
    with eventlet.Timeout(SOON) as limit:
        try:
            await never()
        except eventlet.Timeout:
            pass
    try:
        with eventlet.Timeout(SOON) as limit:
            await never()
    except eventlet.Timeout as exc:
        assert exc is limit and type(exc) is eventlet.Timeout


@case
async def timeout_behind_another_cancellation():
    async def relay():
        try:
            await never()
        except asyncio.CancelledError:
            raise asyncio.CancelledError()

    try:
        with eventlet.Timeout(SOON) as limit:
            await relay()
    except eventlet.Timeout as exc:
        assert exc is limit and type(exc) is eventlet.Timeout
    # But one that came from elsewhere goes on.
    task = asyncio.create_task(relay())
    await asyncio.sleep(0)
    task.cancel()
    try:
        with eventlet.Timeout(1000):
            await task
    except asyncio.CancelledError as exc:
        assert not isinstance(exc, eventlet.Timeout)


@case
async def timeout_of_no_seconds():
    """It does not come when its block has ended."""
    for seconds in (0, 1e-9):
        future = asyncio.get_running_loop().create_future()
        eventlet.spawn(future.set_result, 'got it')
        try:
            with eventlet.Timeout(seconds):
                assert await future == 'got it'
        except eventlet.Timeout:
            pass
        for _ in range(3):
            await both_ways()
        with eventlet.Timeout(seconds, False):
            async with asyncio.TaskGroup():
                await never()


@case
async def classes_of_exceptions_go():
    async def one():
        class Local(Exception):
            pass

        assert await raised_by(
            eventlet.Timeout(SOON, Local), Local, never)
        return weakref.ref(Local)

    references = [await asyncio.create_task(one()) for _ in range(3)]
    await both_ways()
    gc.collect()
    assert not any(reference() for reference in references)


# -- control that goes elsewhere in a step

@case
async def lock_is_got_back_after_a_kill():
    """Killing a green thread lets others run, in the middle of a step."""
    lock = semaphore.Semaphore(1)
    log = []

    async def first():
        lock.acquire()
        green = eventlet.spawn(event.Event().wait)
        await both_ways()
        await both_ways()
        lock.release()
        greenthread.kill(green)
        lock.acquire()
        log.append('first again')
        await both_ways()
        lock.release()

    async def second():
        lock.acquire()
        log.append('second')
        lock.release()

    await asyncio.gather(first(), second())
    assert sorted(log) == ['first again', 'second'], log


if sys.version_info >= (3, 12):
    @case
    async def eager_task_kills():
        """A task that begins in a step of another, and goes elsewhere."""
        async def kill():
            assert asyncio.current_task() is not outer
            greenthread.kill(green)
            await both_ways()
            return asyncio.current_task()

        outer = asyncio.current_task()
        green = eventlet.spawn(event.Event().wait)
        await both_ways()
        task = asyncio.eager_task_factory(
            asyncio.get_running_loop(), kill())
        assert asyncio.current_task() is outer
        await both_ways()
        assert await task is task
        assert green.dead


cases.run_all()
mode.done()
