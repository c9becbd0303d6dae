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

"""asgiref in green tasks: sync_to_async() and async_to_sync().

In thread-sensitive mode all synchronous code runs in one thread: a native one,
or after patching a green one.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
import contextvars
import threading
from typing import Any

import mode

import aiohub
from asgiref import local
from asgiref import sync
import cases
import eventlet
import green_calls

TASKS = 100

variable: contextvars.ContextVar[object] = contextvars.ContextVar('variable')


def add(function: Callable[[], Awaitable[None]]) -> Any:
    """Decorator: the coroutine function is a case."""
    cases.add(function.__name__, lambda: aiohub.await_(function()))
    return function


async def gather(function: Callable[[int], Awaitable[Any]],
                 count: int = TASKS) -> list[Any]:
    return await asyncio.gather(*(function(n) for n in range(count)))


def blocking(n: int) -> int:
    """What a synchronous function does in a thread."""
    if mode.PATCHED:
        green_calls.call(n)
    else:
        mode.native_time.sleep(0.0005)
    return n


@add
async def thread_sensitive() -> None:
    """All run in the same thread, one at a time."""
    inside = []
    threads = set()

    def function(n: int) -> int:
        inside.append(n)
        assert len(inside) == 1
        threads.add(threading.get_ident())
        blocking(n)
        assert variable.get() == n
        variable.set(-n)
        inside.remove(n)
        return n

    async def work(n: int) -> None:
        who = green_calls.Identity()
        variable.set(n)
        assert await sync.sync_to_async(function)(n) == n
        who.check()
        # asgiref brings back what it has set.
        assert variable.get() == -n
        who.call(n)

    await gather(work)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@add
async def not_thread_sensitive() -> None:
    """They run at the same time, in the threads of the loop: native ones."""
    barrier = mode.native.Barrier(4)
    loop_thread = mode.native.get_ident()

    def function(n: int) -> int:
        barrier.wait(60)
        assert mode.native.get_ident() != loop_thread
        return n

    async def work(n: int) -> None:
        who = green_calls.Identity()
        assert await sync.sync_to_async(
            function, thread_sensitive=False)(n) == n
        who.call(n)

    await gather(work, 4)


@add
async def failures() -> None:
    def function(n: int) -> None:
        blocking(n)
        raise ZeroDivisionError(n)

    async def work(n: int) -> None:
        who = green_calls.Identity()
        for sensitive in (True, False):
            if not sensitive and mode.PATCHED:
                continue  # green calls in a native thread
            try:
                await sync.sync_to_async(
                    function, thread_sensitive=sensitive)(n)
            except ZeroDivisionError as error:
                assert error.args == (n,)
                who.call(n)
            else:
                raise AssertionError('it was lost')

    await gather(work, 30)


@add
async def back_to_the_loop() -> None:
    """async_to_sync() in the thread runs a task of the loop it came from."""
    loop_thread = mode.native.get_ident()

    async def in_loop(n: int) -> int:
        task = asyncio.current_task()
        assert mode.native.get_ident() == loop_thread
        await asyncio.sleep(0)
        green_calls.call(n)
        # And to the thread once more, which waits meanwhile.
        assert await sync.sync_to_async(inner)(n) == n
        assert asyncio.current_task() is task
        return n

    def inner(n: int) -> int:
        return n

    def function(n: int) -> int:
        if not mode.PATCHED:
            return sync.async_to_sync(in_loop)(n)
        # In a green thread the loop runs, and asgiref refuses to wait.
        try:
            sync.async_to_sync(in_loop)(n)
        except RuntimeError as error:
            assert 'just await' in str(error)
        else:
            raise AssertionError('it ran')
        return aiohub.await_(green_only(n))

    async def green_only(n: int) -> int:
        await asyncio.sleep(0)
        return green_calls.call(n)

    async def work(n: int) -> None:
        who = green_calls.Identity()
        assert await sync.sync_to_async(function)(n) == n
        who.call(n)
        if not mode.PATCHED:
            assert await sync.sync_to_async(
                function, thread_sensitive=False)(n) == n
            who.call(n)

    await gather(work, 30)


@add
async def contexts() -> None:
    """A thread for each context of the program, a request for instance."""
    async def work(n: int) -> Any:
        who = green_calls.Identity()
        async with sync.ThreadSensitiveContext():
            first = await sync.sync_to_async(threading.get_ident)()
            who.call(n)
            assert await sync.sync_to_async(
                threading.get_ident)() == first
            who.check()
            await sync.sync_to_async(blocking)(n)
        who.check()

    await gather(work, 30)


@add
async def locals_() -> None:
    """asgiref's Local belongs to a task, and follows it into threads."""
    storage = local.Local()

    def function(n: int) -> None:
        assert storage.value == n
        blocking(n)
        assert storage.value == n

    async def work(n: int) -> None:
        who = green_calls.Identity()
        storage.value = n
        who.call(n)
        assert storage.value == n
        await sync.sync_to_async(function)(n)
        assert storage.value == n
        green_calls.call(n)
        assert storage.value == n

    await gather(work)


@add
async def cut_off() -> None:
    """Who waits for the thread gives up; the thread goes on."""
    go_on = threading.Event()

    def function() -> str:
        go_on.wait(60)
        return 'done'

    # The thread is busy from now on.
    first = asyncio.create_task(sync.sync_to_async(function)())

    async def by_timeout() -> None:
        with eventlet.Timeout(cases.SOON, False):
            await sync.sync_to_async(function)()
            raise AssertionError('it ended')

    async def by_timeout_with_exception() -> None:
        with contextlib.suppress(eventlet.Timeout):
            with eventlet.Timeout(cases.SOON):
                await sync.sync_to_async(function)()
            raise AssertionError('the timeout was lost')

    async def by_asyncio_timeout() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(cases.SOON):
                await sync.sync_to_async(function)()

    async def by_cancel() -> None:
        task = asyncio.create_task(sync.sync_to_async(function)())
        eventlet.sleep(cases.SOON)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    ways = (by_timeout, by_timeout_with_exception, by_asyncio_timeout,
            by_cancel)
    await asyncio.gather(*(
        way() for way in ways for _ in range(10)))
    go_on.set()
    assert await first == 'done'
    assert await sync.sync_to_async(blocking)(3) == 3
    green_calls.call(1)


@add
async def in_the_task_itself() -> None:
    """async_to_sync() in a task says what to do instead."""
    async def never() -> None:
        raise AssertionError('it ran')

    try:
        sync.async_to_sync(never)()
    except RuntimeError as error:
        assert 'just await' in str(error)
    else:
        raise AssertionError('it ran')
    # What waits in a task, in a function that is not async, is await_().
    def function(n: int) -> int:
        return aiohub.await_(sync.sync_to_async(blocking)(n))

    who = green_calls.Identity()
    assert function(7) == 7
    who.check()


cases.run_all()
mode.done()
