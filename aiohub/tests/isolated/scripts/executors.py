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

"""The service's executors are as green as ever, the loop's are native."""

import asyncio
from concurrent import futures
import threading

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import patcher
import futurist

native = patcher.original('threading')
main_ident = native.get_ident()


def in_executor() -> int:
    """Return the OS thread; a green one can wait greenly in between."""
    eventlet.sleep(0)
    return native.get_ident()


def of_service() -> None:
    """What patched code did on epolls it does here."""
    with futures.ThreadPoolExecutor(4) as executor:
        # In a green thread, where it hangs on eventlet's asyncio hub.
        future = eventlet.spawn(lambda: executor.submit(in_executor).result())
        ident = future.wait()
        assert (ident == main_ident) is mode.PATCHED
        if mode.PATCHED:
            # Passes only if all four wait at once.
            barrier = threading.Barrier(4)
            list(executor.map(barrier.wait, [60] * 4))
        assert sorted(executor.map(abs, range(-50, 0))) == list(range(1, 51))
        many = [executor.submit(pow, n, 2) for n in range(50)]
        done, not_done = futures.wait(many)
        assert len(done) == 50 and not not_done
        assert {f.result() for f in futures.as_completed(many)} == {
            n * n for n in range(50)}
        failed = executor.submit(int, 'x')
        assert isinstance(failed.exception(), ValueError)
    with futurist.ThreadPoolExecutor(4) as executor:
        assert (executor.submit(in_executor).result()
                == main_ident) is mode.PATCHED
    with futurist.GreenThreadPoolExecutor(4) as executor:
        assert executor.submit(in_executor).result() == main_ident
        assert [f.result() for f in [
            executor.submit(pow, n, 2) for n in range(50)]] == [
                n * n for n in range(50)]
    with futurist.SynchronousExecutor() as executor:
        assert executor.submit(in_executor).result() == main_ident


async def of_loop() -> None:
    """The loop's threads are native, patched or not."""
    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(native.get_ident) != main_ident
    assert await loop.run_in_executor(
        None, native.get_ident) != main_ident
    first = await asyncio.gather(*(
        asyncio.to_thread(native.get_ident) for _ in range(100)))
    assert main_ident not in first
    await loop.getaddrinfo('localhost', 80)


async def both_in_loop(executor: futures.Executor) -> None:
    """An executor of the service's own, used by the loop."""
    loop = asyncio.get_running_loop()
    ident = await loop.run_in_executor(executor, native.get_ident)
    assert (ident == main_ident) is mode.PATCHED
    assert await asyncio.wrap_future(executor.submit(pow, 2, 3)) == 8


def run(coroutine):
    return eventlet_asyncio.spawn_for_awaitable(coroutine).wait()


of_service()
if mode.ON:
    run(of_loop())
    of_service()
    with futures.ThreadPoolExecutor(1) as executor:
        # Its thread is started here: starting a green one is a green call,
        # which a coroutine cannot make yet.
        executor.submit(int).result()
        run(both_in_loop(executor))
    at_once = [eventlet.spawn(of_service) for _ in range(3)]
    for _ in range(3):
        run(of_loop())
    for green in at_once:
        green.wait()

    async def shut_down() -> None:
        loop = asyncio.get_running_loop()
        busy = asyncio.ensure_future(asyncio.to_thread(native.get_ident))
        await asyncio.sleep(0)
        await loop.shutdown_default_executor()
        assert await busy != main_ident
        try:
            await asyncio.to_thread(int)
        except RuntimeError:
            pass
        else:
            raise AssertionError('ran after the shutdown')

    run(shut_down())
mode.done()
