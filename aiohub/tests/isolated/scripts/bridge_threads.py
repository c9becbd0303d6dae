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

"""Other threads, their loops, and many who wait at once."""

import asyncio
import functools

import mode
import rows

import aiohub
from aiohub import from_thread
import eventlet
from eventlet import patcher
from eventlet import tpool
import greenlet

native = patcher.original('threading')
loop = aiohub.get_loop()


@rows.row
def other_thread():
    """A loop of another thread: it works there, the caller waits greenly."""
    theirs = asyncio.SelectorEventLoop()
    thread = native.Thread(target=theirs.run_forever)
    thread.start()
    try:
        async def where(value):
            while not turned.dead:
                await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is theirs
            if isinstance(value, Exception):
                raise value
            return value, native.get_ident()

        turned = eventlet.spawn(rows.green_give, 1, turns=3)
        waiting = aiohub.future_to_greenlet(where(5), loop=theirs)
        assert waiting.wait() == (5, thread.ident)
        error = rows.Failure('there')
        assert rows.raises(rows.Failure, aiohub.future_to_greenlet(
            where(error), loop=theirs).wait) is error
        future = asyncio.run_coroutine_threadsafe(where(6), theirs)
        theirs_future = theirs.create_future()
        theirs.call_soon_threadsafe(theirs_future.set_result, 7)
        assert aiohub.await_(theirs_future) == 7
        assert aiohub.await_(theirs_future) == 7
        del future

        # A kill here is a cancellation there, cleanup included.
        log = []
        begun = native.Event()

        async def endless():
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.001)
                log.append(native.get_ident())

        waiting = aiohub.future_to_greenlet(endless(), loop=theirs)
        tpool.execute(begun.wait)
        waiting.kill()
        rows.raises(greenlet.GreenletExit, waiting.wait)
        assert log == [thread.ident]

        # And the other way: a future of theirs for a green thread here.
        future = aiohub.greenlet_to_future(
            eventlet.spawn(rows.green_give, 8, turns=2), loop=theirs)

        async def wait_there():
            return await future, native.get_ident()

        assert aiohub.future_to_greenlet(
            wait_there(), loop=theirs).wait() == (8, thread.ident)
    finally:
        theirs.call_soon_threadsafe(theirs.stop)
        tpool.execute(thread.join)
        theirs.close()


@rows.row
def from_native_threads():
    async def where(value, fails=False):
        await asyncio.sleep(0)
        if fails:
            raise rows.Failure('there')
        return value, native.get_ident()

    def green_where(value, fails=False):
        eventlet.sleep(0)
        if fails:
            raise rows.Failure('there')
        return value, native.get_ident()

    main = native.get_ident()

    def work(n):
        assert native.get_ident() != main
        assert from_thread.run(where, n) == (n, main)
        assert from_thread.run_sync(green_where, n) == (n, main)
        rows.raises(rows.Failure, from_thread.run, where, n, fails=True)
        rows.raises(
            rows.Failure, from_thread.run_sync, green_where, n, fails=True)
        return n

    def work_deeper(n):
        # From a thread of eventlet's pool into one of the loop's.
        assert from_thread.run(asyncio.to_thread, native.get_ident) != main
        assert from_thread.run(asyncio.to_thread, work, n) == n

    pool = eventlet.GreenPool(20)
    assert sorted(pool.imap(functools.partial(tpool.execute, work),
                            range(50))) == list(range(50))

    for n in range(5):
        tpool.execute(work_deeper, n)

    async def main_task():
        return await asyncio.gather(*(
            asyncio.to_thread(work, n) for n in range(20)))

    if mode.MANY_NATIVE_THREADS:
        assert aiohub.await_(main_task()) == list(range(20))
    exc = rows.raises(aiohub.AiohubError, from_thread.run, rows.give, 1)
    assert 'await_()' in str(exc)
    rows.raises(aiohub.AiohubError, from_thread.run_sync, rows.green_give, 1)


@rows.row
def many_at_once():
    """A thousand await_ calls do not hold up other green threads.

    Nor do threads and look-ups of names that some of them wait for.
    """
    ticks = [0]
    sockets = asyncio.base_events.socket
    getaddrinfo = sockets.getaddrinfo

    def let_tick(call, *args, **kwargs):
        """Call a function in a thread, when green threads have gone on."""
        due = ticks[0] + 20
        while ticks[0] < due:
            mode.native_time.sleep(0.001)
        return call(*args, **kwargs)

    def tick():
        while True:
            ticks[0] += 1
            eventlet.sleep(0)

    async def work(n):
        # All are under way until the green thread has had its turns.
        while ticks[0] < 20:
            await asyncio.sleep(0.001)
        if n % 100 == 0 and mode.MANY_NATIVE_THREADS:
            await asyncio.to_thread(let_tick, int)
            await loop.getaddrinfo('localhost', 80)
        return n

    sockets.getaddrinfo = functools.partial(let_tick, getaddrinfo)

    ticking = eventlet.spawn(tick)
    pool = eventlet.GreenPool(1000)
    calls = [pool.spawn(aiohub.await_, work(n)) for n in range(1000)]
    assert [call.wait() for call in calls] == list(range(1000))
    ticking.kill()
    sockets.getaddrinfo = getaddrinfo


rows.run_all()
mode.done()
