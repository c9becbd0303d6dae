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
at every moment are in bridge_cancel, contexts in bridge_contexts.
"""

import asyncio
import contextlib
import functools
import gc
import inspect
import logging
import urllib.request
import warnings

import mode

import aiohttp
from aiohttp import web
import aiohub
from aiohub import from_thread
import eventlet
from eventlet.green.urllib import request as green_request
from eventlet import hubs
from eventlet import patcher
from eventlet import tpool
from eventlet import wsgi
import greenlet

native = patcher.original('threading')
urlopen = urllib.request.urlopen if mode.PATCHED else green_request.urlopen
loop = aiohub.get_loop()
complaints: list[object] = []


class Complaints(logging.Handler):
    """What asyncio logs: exceptions never retrieved, tasks destroyed."""

    def emit(self, record: logging.LogRecord) -> None:
        complaints.append(record.getMessage())


logging.getLogger('asyncio').addHandler(Complaints())
logging.getLogger('aiohub').addHandler(Complaints())


class Failure(Exception):
    pass


async def give(value, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def fail(exc=None):
    await asyncio.sleep(0)
    raise exc or Failure('async')


def green_give(value, turns=1):
    for _ in range(turns):
        eventlet.sleep(0)
    return value


def green_fail(exc=None):
    eventlet.sleep(0)
    raise exc or Failure('green')


def raises(kind, call, *args, **kwargs):
    """Call; return the exception of that kind that comes out."""
    try:
        result = call(*args, **kwargs)
    except kind as exc:
        return exc
    raise AssertionError('returned %r instead of raising' % (result,))


def in_green_thread(check):
    """Run a check in the main greenlet, and in a green thread."""
    check()
    eventlet.spawn(check).wait()


# -- the rows

def results():
    assert aiohub.await_(give(1)) == 1
    assert aiohub.future_to_greenlet(give(2)).wait() == 2
    assert aiohub.spawn_for_awaitable(give(3)).wait() == 3
    assert aiohub.await_(loop.create_task(give(4))) == 4
    future = loop.create_future()
    loop.call_soon(future.set_result, 5)
    assert aiohub.await_(future) == 5
    assert aiohub.await_(eventlet.spawn(green_give, 6)) == 6

    class Awaitable:
        def __await__(self):
            return (yield from give(7).__await__())

    assert aiohub.await_(Awaitable()) == 7
    waiting = aiohub.future_to_greenlet(give(8))
    assert isinstance(waiting, eventlet.greenthread.GreenThread)
    assert aiohub.await_(waiting) == 8

    async def from_asyncio():
        return [
            await aiohub.greenlet_to_future(eventlet.spawn(green_give, 1)),
            await aiohub.greenlet_to_future(
                greenlet.greenlet(lambda: green_give(2))),
            await aiohub.sync_to_async(green_give)(3, turns=2),
            await aiohub.greenlet_to_future(
                eventlet.spawn_after(0.001, green_give, 4)),
        ]

    assert aiohub.await_(from_asyncio()) == [1, 2, 3, 4]
    async_give = aiohub.async_to_sync(give)
    assert async_give(9, turns=3) == 9


def exceptions_of_awaitables():
    """wait() raises the same; nothing is printed when someone takes it."""
    error = Failure('this one')
    assert raises(Failure, aiohub.await_, fail(error)) is error
    for function in (aiohub.future_to_greenlet, aiohub.spawn_for_awaitable):
        waiting = function(fail(error))
        assert raises(Failure, waiting.wait) is error
        assert raises(Failure, waiting.wait) is error
    assert raises(Failure, aiohub.async_to_sync(fail), error) is error
    assert raises(
        RuntimeError, aiohub.await_, fail(StopIteration(1))).__cause__
    assert isinstance(
        raises(BaseException, aiohub.await_, fail(greenlet.GreenletExit())),
        greenlet.GreenletExit)


def exceptions_of_green_threads():
    """Awaiting raises the same, StopIteration as RuntimeError."""
    error = Failure('that one')

    async def main():
        for make in (
                lambda: aiohub.greenlet_to_future(
                    eventlet.spawn(green_fail, error)),
                lambda: aiohub.greenlet_to_future(greenlet.greenlet(
                    functools.partial(green_fail, error))),
                lambda: aiohub.sync_to_async(green_fail)(error)):
            try:
                await make()
            except Failure as exc:
                assert exc is error
            else:
                raise AssertionError('no exception')
        stop = StopIteration(3)
        try:
            await aiohub.sync_to_async(green_fail)(stop)
        except RuntimeError as exc:
            assert exc.__cause__ is stop
        else:
            raise AssertionError('no exception')

    aiohub.await_(main())


def nobody_takes_it():
    """An exception that nobody takes is logged, once."""
    waiting = aiohub.future_to_greenlet(fail())
    while not waiting.dead:
        eventlet.sleep(0)
    assert not complaints
    del waiting
    gc.collect()
    assert len(complaints) == 1, complaints
    complaints.clear()
    future = aiohub.greenlet_to_future(eventlet.spawn(green_fail))
    while not future.done():
        eventlet.sleep(0)
    del future
    # asyncio logs it in one of the next turns of the loop.
    while not complaints:
        eventlet.sleep(0)
        gc.collect()
    eventlet.sleep(0)
    assert len(complaints) == 1, complaints
    complaints.clear()


def future_is_cancelled():
    """The green thread is killed; off: it gets CancelledError."""
    for options, kind in (
            ({}, greenlet.GreenletExit),
            ({'autokill_greenlet': False}, asyncio.CancelledError)):
        future = loop.create_future()
        waiting = aiohub.future_to_greenlet(future, **options)
        eventlet.sleep(0)
        future.cancel()
        raises(kind, waiting.wait)
    future = loop.create_future()
    loop.call_soon(future.cancel)
    raises(asyncio.CancelledError, aiohub.await_, future)


def green_thread_is_killed():
    """Started or not, with any exception: the awaitable is cancelled."""
    for started in (False, True):
        for throw in ((), (Failure('kill'),)):
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
            kind = Failure if throw else greenlet.GreenletExit
            raises(kind, waiting.wait)
            if started:
                assert log == ['started', 'cleaned up'], log
            else:
                assert not log
    # The coroutine has not even been started when its green thread is.
    coroutine = give(1)
    waiting = aiohub.future_to_greenlet(coroutine, autostart_future=False)
    waiting.kill()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    raises(greenlet.GreenletExit, waiting.wait)
    # Off: it goes on.
    future = loop.create_future()
    waiting = aiohub.future_to_greenlet(future, autocancel_future=False)
    eventlet.sleep(0)
    waiting.kill()
    raises(greenlet.GreenletExit, waiting.wait)
    assert not future.done()
    future.cancel()


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


def timeout_in_await():
    """The awaitable is cancelled and has cleaned up before it propagates."""
    log = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.001)
            log.append('cleaned up')

    timeout = eventlet.Timeout(0.001)
    try:
        aiohub.await_(work())
    except eventlet.Timeout as exc:
        assert exc is timeout
        assert log == ['cleaned up']
    else:
        raise AssertionError('no Timeout')
    with eventlet.Timeout(0.001, False):
        aiohub.await_(work())
    assert log == ['cleaned up'] * 2


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
        raises(asyncio.CancelledError, aiohub.await_, task)
        assert log == ['started', 'cleaned up', 'cancelled']
    # Off: the green thread goes on.
    green = eventlet.spawn(eventlet.sleep, 0.002)
    future = aiohub.greenlet_to_future(green, autokill_greenlet=False)
    eventlet.sleep(0)
    future.cancel()
    assert future.cancelled()
    assert green.wait() is None


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
        raises(kind, aiohub.await_, future)


def done_already():
    """The answer comes at once, with no turn of the loop."""
    turns = []
    future = loop.create_future()
    future.set_result(5)
    task = loop.create_task(give(6))
    green = eventlet.spawn(green_give, 7)
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


def misuse():
    """An error that says what to write; the coroutine is closed."""

    def refused(call, *words):
        exc = raises(aiohub.AiohubError, call)
        for word in words:
            assert word in str(exc), (word, str(exc))
        assert str(exc).endswith('.'), str(exc)

    async def in_coroutine():
        refused(lambda: aiohub.await_(give(1)), 'coroutine', '"await"')
        refused(lambda: aiohub.async_to_sync(give)(1), '"await"')
        waiting = aiohub.future_to_greenlet(give(1))
        refused(waiting.wait, 'wait()', 'coroutine', '"await"')
        assert await waiting == 1 if mode.HUB != 'epolls' else True
        refused(lambda: aiohub.async_to_sync(
            give, autokill_greenlet=False)(1), '"await"')

    aiohub.await_(in_coroutine())
    called = []

    def callback():
        try:
            refused(lambda: aiohub.await_(give(1)), 'callback')
            called.append(True)
        except BaseException as exc:
            called.append(exc)

    loop.call_soon(callback)
    while not called:
        eventlet.sleep(0)
    assert called == [True], called

    for value in (5, None, 'x', give, lambda: 1):
        refused(lambda: aiohub.await_(value), repr(value)[:5], 'coroutine')
        refused(lambda: aiohub.future_to_greenlet(value), repr(value)[:5])
    refused(lambda: aiohub.await_(give), 'Call it')
    refused(lambda: aiohub.greenlet_to_future(give), 'sync_to_async')

    # A greenlet waits for itself.
    refused(lambda: aiohub.greenlet_to_future(greenlet.getcurrent()),
            'itself')
    # A raw greenlet that runs already.
    raw = []
    eventlet.spawn_n(lambda: (
        raw.append(greenlet.getcurrent()), eventlet.sleep(0.001)))
    while not raw:
        eventlet.sleep(0)
    refused(lambda: aiohub.greenlet_to_future(raw[0]), 'eventlet.spawn()')
    refused(lambda: aiohub.await_(raw[0]), 'eventlet.spawn()')

    # What belongs to a closed loop.
    other = asyncio.SelectorEventLoop()
    future = other.create_future()
    task = other.create_task(give(1))
    other.close()
    refused(lambda: aiohub.await_(future), 'closed')
    refused(lambda: aiohub.await_(task), 'closed')
    refused(lambda: aiohub.future_to_greenlet(give(1), loop=other), 'closed')
    task._log_destroy_pending = False
    task.get_coro().close()

    # A thread that has no hub.
    in_thread = []

    def work():
        try:
            refused(lambda: aiohub.await_(give(1)), 'from_thread')
            in_thread.append('refused')
        except BaseException as exc:
            in_thread.append(exc)

    thread = native.Thread(target=work)
    thread.start()
    thread.join()
    assert in_thread == ['refused'], in_thread

    # Unknown options, when decorating.
    for decorator in (aiohub.async_to_sync, aiohub.sync_to_async):
        exc = raises(TypeError, decorator, give, autofoo=True)
        assert 'autofoo' in str(exc)


def other_thread():
    """A loop of another thread: it works there, the caller waits greenly."""
    theirs = asyncio.SelectorEventLoop()
    thread = native.Thread(target=theirs.run_forever)
    thread.start()
    try:
        async def where(value):
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is theirs
            if isinstance(value, Exception):
                raise value
            return value, native.get_ident()

        turned = eventlet.spawn(green_give, 1, turns=3)
        waiting = aiohub.future_to_greenlet(where(5), loop=theirs)
        assert waiting.wait() == (5, thread.ident)
        assert turned.dead
        error = Failure('there')
        assert raises(Failure, aiohub.future_to_greenlet(
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
        raises(greenlet.GreenletExit, waiting.wait)
        assert log == [thread.ident]

        # And the other way: a future of theirs for a green thread here.
        future = aiohub.greenlet_to_future(
            eventlet.spawn(green_give, 8, turns=2), loop=theirs)

        async def wait_there():
            return await future, native.get_ident()

        assert aiohub.future_to_greenlet(
            wait_there(), loop=theirs).wait() == (8, thread.ident)
    finally:
        theirs.call_soon_threadsafe(theirs.stop)
        tpool.execute(thread.join)
        theirs.close()


def functions():
    """Decorators keep the name, signature and docstring."""

    @aiohub.async_to_sync
    async def get(url: str, *, again: bool = False) -> str:
        """Get it."""
        return await give(url)

    @aiohub.async_to_sync(autokill_greenlet=False)
    async def get_more(url: str) -> str:
        return await give(url)

    @aiohub.sync_to_async
    def fetch(url: str, *, again: bool = False) -> str:
        """Fetch it."""
        return green_give(url)

    @aiohub.sync_to_async(autocancel_future=False)
    def fetch_more(url: str) -> str:
        return green_give(url)

    assert (get.__name__, get.__doc__) == ('get', 'Get it.')
    assert str(inspect.signature(get)) == (
        '(url: str, *, again: bool = False) -> str')
    assert not inspect.iscoroutinefunction(get)
    assert inspect.iscoroutinefunction(fetch)
    assert str(inspect.signature(fetch)) == str(inspect.signature(get))
    assert (fetch.__name__, fetch.__doc__) == ('fetch', 'Fetch it.')
    assert get('a', again=True) == get_more('a') == 'a'
    assert aiohub.await_(fetch('b')) == aiohub.await_(fetch_more('b')) == 'b'

    class Client:
        @aiohub.async_to_sync
        async def get(self, url):
            return await give((self, url))

        @aiohub.sync_to_async
        def fetch(self, url):
            return green_give((self, url))

    client = Client()
    assert client.get(1) == (client, 1)
    assert aiohub.await_(client.fetch(2)) == (client, 2)


def context_managers():
    log = []

    @contextlib.asynccontextmanager
    async def async_cm():
        task = asyncio.current_task()
        await asyncio.sleep(0)
        try:
            yield 5
        except Failure:
            await asyncio.sleep(0)
            log.append('swallowed')
        finally:
            await asyncio.sleep(0)
            assert asyncio.current_task() is task
            log.append('left')

    with aiohub.wrap_async_context_manager(async_cm()) as value:
        assert value == 5
        eventlet.sleep(0)
        assert not log
        # The body may cross again.
        assert aiohub.await_(give(6)) == 6
    assert log == ['left']
    with aiohub.wrap_async_context_manager(async_cm()):
        raise Failure()
    assert log == ['left', 'swallowed', 'left']

    def in_body(exc):
        with aiohub.wrap_async_context_manager(async_cm()):
            raise exc

    error = ValueError('body')
    assert raises(ValueError, in_body, error) is error

    @contextlib.asynccontextmanager
    async def fails_to_enter():
        raise Failure('enter')
        yield

    def enter():
        with aiohub.wrap_async_context_manager(fails_to_enter()):
            raise AssertionError('entered')

    raises(Failure, enter)

    def expire():
        timeout = asyncio.timeout(0.001)
        with aiohub.wrap_async_context_manager(timeout):
            while not timeout.expired():
                eventlet.sleep(0.001)

    raises(TimeoutError, expire)

    def group():
        with aiohub.wrap_async_context_manager(asyncio.TaskGroup()) as tasks:
            tasks.create_task(give(1))
            tasks.create_task(fail())
            eventlet.sleep(0.001)

    exc = raises(ExceptionGroup, group)
    assert isinstance(exc.exceptions[0], Failure)
    with aiohub.wrap_async_context_manager(asyncio.TaskGroup()) as tasks:
        task = tasks.create_task(give(3))
    assert task.result() == 3

    # The other way.
    log.clear()

    @contextlib.contextmanager
    def green_cm():
        green = greenlet.getcurrent()
        eventlet.sleep(0)
        try:
            yield 7
        except Failure:
            log.append('swallowed')
        finally:
            eventlet.sleep(0)
            assert greenlet.getcurrent() is green
            log.append('left')

    @contextlib.contextmanager
    def fails_to_enter_green():
        eventlet.sleep(0)
        raise Failure('enter')
        yield

    lock = eventlet.semaphore.Semaphore()

    async def main():
        async with aiohub.wrap_sync_context_manager(green_cm()) as value:
            assert value == 7
            await asyncio.sleep(0)
            assert not log
        assert log == ['left']
        async with aiohub.wrap_sync_context_manager(green_cm()):
            raise Failure()
        assert log == ['left', 'swallowed', 'left']
        try:
            async with aiohub.wrap_sync_context_manager(green_cm()):
                raise error
        except ValueError as exc:
            assert exc is error
        else:
            raise AssertionError('swallowed')
        try:
            async with aiohub.wrap_sync_context_manager(
                    fails_to_enter_green()):
                raise AssertionError('entered')
        except Failure:
            pass
        async with aiohub.wrap_sync_context_manager(lock):
            assert lock.locked()
            other = eventlet.spawn(lock.acquire)
            await asyncio.sleep(0.001)
            assert not other.dead
        assert await aiohub.greenlet_to_future(other)

    aiohub.await_(main())


def iterators():
    log = []

    async def numbers():
        task = asyncio.current_task()
        try:
            for n in range(3):
                await asyncio.sleep(0)
                yield n
                assert asyncio.current_task() is task
        finally:
            await asyncio.sleep(0)
            log.append('closed')

    assert list(aiohub.wrap_async_iterator(numbers())) == [0, 1, 2]
    assert log.pop() == 'closed'
    for n in aiohub.wrap_async_iterator(numbers()):
        assert n == 0
        break
    # for drops the iterator, and so closes it.
    assert log.pop() == 'closed'

    async def failing():
        yield 1
        raise Failure('second')

    iterator = aiohub.wrap_async_iterator(failing())
    assert next(iterator) == 1
    raises(Failure, next, iterator)
    assert list(iterator) == []

    def green_numbers():
        green = greenlet.getcurrent()
        try:
            for n in range(3):
                eventlet.sleep(0)
                yield n
                assert greenlet.getcurrent() is green
        finally:
            eventlet.sleep(0)
            log.append('closed')

    def green_failing():
        yield 1
        raise Failure('second')

    async def main():
        wrap = aiohub.wrap_sync_iterator
        assert [n async for n in wrap(green_numbers())] == [0, 1, 2]
        assert log.pop() == 'closed'
        assert [n async for n in wrap([1, 2])] == [1, 2]
        assert [n async for n in wrap([])] == []
        async with contextlib.aclosing(wrap(green_numbers())) as items:
            async for n in items:
                break
        assert log.pop() == 'closed'
        got = []
        try:
            async for n in wrap(green_failing()):
                got.append(n)
        except Failure:
            assert got == [1]
        else:
            raise AssertionError('no exception')

    aiohub.await_(main())


def from_native_threads():
    async def where(value, fails=False):
        await asyncio.sleep(0)
        if fails:
            raise Failure('there')
        return value, native.get_ident()

    def green_where(value, fails=False):
        eventlet.sleep(0)
        if fails:
            raise Failure('there')
        return value, native.get_ident()

    main = native.get_ident()

    def work(n):
        assert native.get_ident() != main
        assert from_thread.run(where, n) == (n, main)
        assert from_thread.run_sync(green_where, n) == (n, main)
        raises(Failure, from_thread.run, where, n, fails=True)
        raises(Failure, from_thread.run_sync, green_where, n, fails=True)
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
    exc = raises(aiohub.AiohubError, from_thread.run, give, 1)
    assert 'await_()' in str(exc)
    raises(aiohub.AiohubError, from_thread.run_sync, green_give, 1)


def many_at_once():
    """A thousand await_ calls do not hold up other green threads."""
    ticks = [0]

    def tick():
        while True:
            ticks[0] += 1
            eventlet.sleep(0)

    async def work(n):
        # All are under way until the green thread has had its turns.
        while ticks[0] < 20:
            await asyncio.sleep(0.001)
        if n % 100 == 0 and mode.MANY_NATIVE_THREADS:
            await asyncio.to_thread(int)
            await loop.getaddrinfo('localhost', 80)
        return n

    ticking = eventlet.spawn(tick)
    pool = eventlet.GreenPool(1000)
    calls = [pool.spawn(aiohub.await_, work(n)) for n in range(1000)]
    assert [call.wait() for call in calls] == list(range(1000))
    ticking.kill()


def examples_of_readme():
    async def get_url_body(url):
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                return await response.text()

    def eventlet_code(url):
        return aiohub.future_to_greenlet(get_url_body(url)).wait()

    def green_get_url_body(url):
        return urlopen(url).read()

    async def asyncio_code(url):
        return await aiohub.greenlet_to_future(
            eventlet.spawn(green_get_url_body, url))

    def application(environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/plain')])
        eventlet.sleep(0)
        return [b'green server']

    async def hello(request):
        await asyncio.sleep(0)
        return web.Response(text='asyncio server')

    async def serve():
        app = web.Application()
        app.router.add_get('/', hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, '127.0.0.1', 0).start()
        return runner

    listener = eventlet.listen(('127.0.0.1', 0))
    green_server = eventlet.spawn(
        wsgi.server, listener, application, log_output=False)
    runner = aiohub.await_(serve())
    green_url = 'http://127.0.0.1:%d/' % listener.getsockname()[1]
    async_url = 'http://127.0.0.1:%d/' % runner.addresses[0][1]
    for _ in range(5):
        assert eventlet_code(green_url) == 'green server'
        assert eventlet_code(async_url) == 'asyncio server'
        assert aiohub.await_(asyncio_code(green_url)) == b'green server'
        assert aiohub.await_(asyncio_code(async_url)) == b'asyncio server'
    aiohub.await_(runner.cleanup())
    green_server.kill()


ROWS = (
    results, exceptions_of_awaitables, exceptions_of_green_threads,
    nobody_takes_it, future_is_cancelled, green_thread_is_killed,
    not_started_until_waited_for, timeout_in_await, task_is_cancelled,
    kill_is_swallowed, done_already, misuse, other_thread, functions,
    context_managers, iterators, from_native_threads, many_at_once,
    examples_of_readme)

warnings.simplefilter('error', RuntimeWarning)
assert aiohub.get_loop() is loop
for row in ROWS:
    try:
        with eventlet.Timeout(60):
            in_green_thread(row)
        gc.collect()
        assert not complaints, complaints
        pending = asyncio.all_tasks(loop)
        if mode.HUB == 'asyncio':
            # That hub is a task itself.
            pending = {t for t in pending
                       if t.get_coro().__name__ != 'async_run'}
        assert not pending, pending
    except BaseException:
        print('in', row.__name__)
        raise
mode.done()
