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

"""What happens when green code and asyncio wait for each other.

The rows of the table in the design, one function each; cancellation and kill
at every moment are in bridge_cancel_*, contexts in bridge_contexts.
"""

import asyncio
import functools
import gc
import inspect

import mode
import rows

import aiohub
import eventlet
from eventlet import hubs
import greenlet

loop = aiohub.get_loop()


@rows.row
def results():
    assert aiohub.await_(rows.give(1)) == 1
    assert aiohub.future_to_greenlet(rows.give(2)).wait() == 2
    assert aiohub.spawn_for_awaitable(rows.give(3)).wait() == 3
    assert aiohub.await_(loop.create_task(rows.give(4))) == 4
    future = loop.create_future()
    loop.call_soon(future.set_result, 5)
    assert aiohub.await_(future) == 5
    assert aiohub.await_(eventlet.spawn(rows.green_give, 6)) == 6

    class Awaitable:
        def __await__(self):
            return (yield from rows.give(7).__await__())

    assert aiohub.await_(Awaitable()) == 7
    waiting = aiohub.future_to_greenlet(rows.give(8))
    assert isinstance(waiting, eventlet.greenthread.GreenThread)
    assert aiohub.await_(waiting) == 8

    async def from_asyncio():
        return [
            await aiohub.greenlet_to_future(
                eventlet.spawn(rows.green_give, 1)),
            await aiohub.greenlet_to_future(
                greenlet.greenlet(lambda: rows.green_give(2))),
            await aiohub.sync_to_async(rows.green_give)(3, turns=2),
            await aiohub.greenlet_to_future(
                eventlet.spawn_after(0.001, rows.green_give, 4)),
        ]

    assert aiohub.await_(from_asyncio()) == [1, 2, 3, 4]
    async_give = aiohub.async_to_sync(rows.give)
    assert async_give(9, turns=3) == 9


@rows.row
def exceptions_of_awaitables():
    """wait() raises the same; nothing is printed when someone takes it."""
    error = rows.Failure('this one')
    assert rows.raises(rows.Failure, aiohub.await_, rows.fail(error)) is error
    for function in (aiohub.future_to_greenlet, aiohub.spawn_for_awaitable):
        waiting = function(rows.fail(error))
        assert rows.raises(rows.Failure, waiting.wait) is error
        assert rows.raises(rows.Failure, waiting.wait) is error
    assert rows.raises(
        rows.Failure, aiohub.async_to_sync(rows.fail), error) is error
    assert rows.raises(
        RuntimeError, aiohub.await_, rows.fail(StopIteration(1))).__cause__
    error = greenlet.GreenletExit()
    assert rows.raises(
        greenlet.GreenletExit, aiohub.await_, rows.fail(error)) is error


@rows.row
def exceptions_of_green_threads():
    """Awaiting raises the same, StopIteration as RuntimeError."""
    error = rows.Failure('that one')

    async def main():
        for make in (
                lambda: aiohub.greenlet_to_future(
                    eventlet.spawn(rows.green_fail, error)),
                lambda: aiohub.greenlet_to_future(greenlet.greenlet(
                    functools.partial(rows.green_fail, error))),
                lambda: aiohub.sync_to_async(rows.green_fail)(error)):
            try:
                await make()
            except rows.Failure as exc:
                assert exc is error
            else:
                raise AssertionError('no exception')
        stop = StopIteration(3)
        try:
            await aiohub.sync_to_async(rows.green_fail)(stop)
        except RuntimeError as exc:
            assert exc.__cause__ is stop
        else:
            raise AssertionError('no exception')

    aiohub.await_(main())


@rows.row
def nobody_takes_it():
    """An exception that nobody takes is logged, once."""
    waiting = aiohub.future_to_greenlet(rows.fail())
    while not waiting.dead:
        eventlet.sleep(0)
    assert not rows.complaints
    del waiting
    gc.collect()
    assert len(rows.complaints) == 1, rows.complaints
    rows.complaints.clear()
    future = aiohub.greenlet_to_future(eventlet.spawn(rows.green_fail))
    while not future.done():
        eventlet.sleep(0)
    del future
    # asyncio logs it in one of the next turns of the loop.
    while not rows.complaints:
        eventlet.sleep(0)
        gc.collect()
    eventlet.sleep(0)
    assert len(rows.complaints) == 1, rows.complaints
    rows.complaints.clear()


@rows.row
def future_is_cancelled():
    """The green thread is killed; off: it gets CancelledError."""
    for options, kind in (
            ({}, greenlet.GreenletExit),
            ({'autokill_greenlet': False}, asyncio.CancelledError)):
        future = loop.create_future()
        waiting = aiohub.future_to_greenlet(future, **options)
        eventlet.sleep(0)
        future.cancel()
        rows.raises(kind, waiting.wait)
    future = loop.create_future()
    loop.call_soon(future.cancel)
    rows.raises(asyncio.CancelledError, aiohub.await_, future)


@rows.row
def green_thread_is_killed():
    """Started or not, with any exception: the awaitable is cancelled."""
    for started in (False, True):
        for throw in ((), (rows.Failure('kill'),)):
            log = []

            async def work():
                log.append('started')
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    await asyncio.sleep(0)
                    log.append('cleaned up')
                    raise

            waiting = aiohub.future_to_greenlet(work())
            if started:
                while not log:
                    eventlet.sleep(0)
            waiting.kill(*throw)
            kind = rows.Failure if throw else greenlet.GreenletExit
            rows.raises(kind, waiting.wait)
            if started:
                assert log == ['started', 'cleaned up'], log
            else:
                assert not log
    # The coroutine has not even been started when its green thread is.
    coroutine = rows.give(1)
    waiting = aiohub.future_to_greenlet(coroutine, autostart_future=False)
    waiting.kill()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    rows.raises(greenlet.GreenletExit, waiting.wait)
    # Off: it goes on.
    future = loop.create_future()
    waiting = aiohub.future_to_greenlet(future, autocancel_future=False)
    eventlet.sleep(0)
    waiting.kill()
    rows.raises(greenlet.GreenletExit, waiting.wait)
    assert not future.done()
    future.cancel()


@rows.row
def not_started_until_waited_for():
    started = []

    async def work():
        started.append(True)
        return 5

    waiting = aiohub.future_to_greenlet(work(), autostart_future=False)
    for _ in range(5):
        eventlet.sleep(0)
    assert not started
    assert waiting.wait() == 5
    # A greenlet likewise: only if it is told not to start it.
    green = greenlet.greenlet(lambda: started.append(2))
    future = aiohub.greenlet_to_future(green, autostart_greenlet=False)
    for _ in range(5):
        eventlet.sleep(0)
    assert 2 not in started
    hubs.get_hub().schedule_call_global(0, green.switch)
    assert aiohub.await_(future) is None
    assert 2 in started


@rows.row
def timeout_in_await():
    """The awaitable is cancelled and has cleaned up before it propagates."""
    log = []

    async def work():
        # It fires when this waits, however long the machine takes to begin.
        hubs.get_hub().schedule_call_global(0, timeout.timer)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.001)
            log.append('cleaned up')

    timeout = eventlet.Timeout(60)
    try:
        aiohub.await_(work())
    except eventlet.Timeout as exc:
        assert exc is timeout
        assert log == ['cleaned up']
    else:
        raise AssertionError('no Timeout')
    with eventlet.Timeout(60, False) as timeout:
        aiohub.await_(work())
    assert log == ['cleaned up'] * 2


@rows.row
def task_is_cancelled():
    """The green thread is killed, its finally has run before."""
    log = []

    def work():
        log.append('started')
        try:
            eventlet.sleep(60)
        finally:
            eventlet.sleep(0.001)
            log.append('cleaned up')

    async def wait(make):
        try:
            await make()
        except asyncio.CancelledError:
            assert log == ['started', 'cleaned up'], log
            log.append('cancelled')
            raise

    for make in (
            lambda: aiohub.greenlet_to_future(eventlet.spawn(work)),
            lambda: aiohub.greenlet_to_future(greenlet.greenlet(work)),
            lambda: aiohub.sync_to_async(work)()):
        log.clear()
        task = loop.create_task(wait(make))
        while not log:
            eventlet.sleep(0)
        task.cancel()
        rows.raises(asyncio.CancelledError, aiohub.await_, task)
        assert log == ['started', 'cleaned up', 'cancelled']
    # Off: the green thread goes on.
    green = eventlet.spawn(eventlet.sleep, 0.002)
    future = aiohub.greenlet_to_future(green, autokill_greenlet=False)
    eventlet.sleep(0)
    future.cancel()
    assert future.cancelled()
    assert green.wait() is None


@rows.row
def kill_is_swallowed():
    """The waiter sees what the green thread returned."""

    def work():
        try:
            eventlet.sleep(60)
        except greenlet.GreenletExit:
            return 'swallowed'

    async def main():
        future = aiohub.greenlet_to_future(eventlet.spawn(work))
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        loop.call_soon(future.cancel)
        return await future

    assert aiohub.await_(main()) == 'swallowed'
    # And a green thread that is killed by somebody else is cancelled for
    # who awaits it; off: GreenletExit.
    for options, kind in (
            ({}, asyncio.CancelledError),
            ({'autocancel_future': False}, greenlet.GreenletExit)):
        green = eventlet.spawn(eventlet.sleep, 60)
        future = aiohub.greenlet_to_future(green, **options)
        eventlet.sleep(0)
        green.kill()
        rows.raises(kind, aiohub.await_, future)


@rows.row
def done_already():
    """The answer comes at once, with no turn of the loop."""
    turns = []
    future = loop.create_future()
    future.set_result(5)
    task = loop.create_task(rows.give(6))
    green = eventlet.spawn(rows.green_give, 7)
    aiohub.await_(task)
    green.wait()
    loop.call_soon(turns.append, 1)
    eventlet.spawn(turns.append, 2)
    assert aiohub.await_(future) == 5
    assert aiohub.await_(task) == 6
    assert aiohub.await_(green) == 7
    assert aiohub.greenlet_to_future(green).result() == 7
    assert not turns
    eventlet.sleep(0)


rows.run_all()
mode.done()
