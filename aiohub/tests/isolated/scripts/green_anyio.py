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

"""anyio in green tasks: scopes, groups and threads, with green calls in them.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
import sys
import tempfile
import threading
from typing import Any

import mode

import aiohub
import anyio
from anyio import from_thread
from anyio import to_thread
import cases
import eventlet
import green_calls

TASKS = 200


def add(function: Callable[[], Awaitable[None]]) -> Any:
    """Decorator: the coroutine function is a case."""
    cases.add(function.__name__, lambda: aiohub.await_(function()))
    return function


class Never:
    """Waits for ever, in one way or the other; tells how it ended."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: list[BaseException] = []

    def greenly(self) -> None:
        eventlet.Queue().get()

    async def in_green_call(self) -> None:
        self.begun += 1
        try:
            self.greenly()
        except BaseException as exc:
            self.ended.append(exc)
            raise
        raise AssertionError('nobody wakes it')

    async def in_await(self) -> None:
        self.begun += 1
        try:
            await anyio.sleep_forever()
        except BaseException as exc:
            self.ended.append(exc)
            raise

    def both(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return self.in_green_call, self.in_await


# -- cancel scopes

@add
async def deadlines() -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        for way in Never().both():
            with anyio.move_on_after(cases.SOON) as scope:
                who.call(n)
                await way()
            assert scope.cancelled_caught
            who.call(n)
            with contextlib.suppress(TimeoutError):
                with anyio.fail_after(cases.SOON):
                    await way()
                    raise AssertionError('it was not cancelled')
            who.call(n)
            # One that does not expire.
            with anyio.move_on_after(60) as scope:
                who.call(n)
                await anyio.sleep(0)
            assert not scope.cancel_called
        assert asyncio.current_task().cancelling() == 0

    await asyncio.gather(*(work(n) for n in range(50)))


@add
async def nested_scopes() -> None:
    for way in Never().both():
        who = green_calls.Identity()
        with anyio.CancelScope() as outer:
            with anyio.CancelScope() as inner:
                eventlet.spawn_n(outer.cancel)
                await way()
            raise AssertionError('the inner one took it')
        assert outer.cancelled_caught and not inner.cancelled_caught
        with anyio.CancelScope() as outer:
            with anyio.CancelScope() as inner:
                eventlet.spawn_n(inner.cancel)
                await way()
            assert inner.cancelled_caught
            who.call(1)
        assert not outer.cancelled_caught
        who.check()


@add
async def shields() -> None:
    """A green call in a shielded scope is let finish."""
    for way in Never().both():
        who = green_calls.Identity()
        finished = []
        with anyio.CancelScope() as outer:
            try:
                eventlet.spawn_n(outer.cancel)
                await way()
            finally:
                with anyio.CancelScope(shield=True):
                    for call in green_calls.CALLS:
                        assert call(7) == 7
                        await anyio.sleep(0)
                    who.check()
                    finished.append(True)
                # Here it is cancelled again, and again.
                for again in Never().both() * 3:
                    try:
                        await again()
                    except asyncio.CancelledError:
                        finished.append(True)
        assert outer.cancelled_caught
        assert len(finished) == 7
        who.call(1)
        await anyio.sleep(0)


@add
async def woken_and_cancelled() -> None:
    """Who gets an item from a green queue as it is cancelled, has it."""
    for order in (0, 1):
        queue = eventlet.Queue()
        got = []

        async def work(queue: Any = queue, got: Any = got) -> None:
            got.append(queue.get())
            await anyio.sleep(0)
            got.append('not cancelled')

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            cases.turns()
            steps = [lambda: queue.put('item'), group.cancel_scope.cancel]
            for step in reversed(steps) if order else steps:
                step()
        left = 0 if queue.empty() else 1
        assert len(got) + left == 1 and 'not cancelled' not in got, got


# -- task groups

@add
async def groups() -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        results = []

        async def child(m: int) -> None:
            own = green_calls.Identity()
            own.call(m)
            await anyio.sleep(0)
            results.append(own.call(m))

        async with anyio.create_task_group() as group:
            for m in range(5):
                group.start_soon(child, m)
            who.call(n)
        assert sorted(results) == list(range(5))
        who.check()

    await asyncio.gather(*(work(n) for n in range(TASKS // 5)))


@add
async def started() -> None:
    async def child(m: int, *, task_status: Any) -> None:
        own = green_calls.Identity()
        own.call(m)
        task_status.started(m)
        own.call(m)

    who = green_calls.Identity()
    async with anyio.create_task_group() as group:
        for n in range(50):
            assert await group.start(child, n) == n
            who.check()


@add
async def failures() -> None:
    """One fails, after a green call; the others are cancelled."""
    who = green_calls.Identity()
    for fails_in_group in (False, True):
        never = Never()

        async def fail() -> None:
            green_calls.by_event(1)
            raise ZeroDivisionError()

        try:
            async with anyio.create_task_group() as group:
                for way in never.both() * 10:
                    group.start_soon(way)
                while never.begun < 20:
                    await anyio.sleep(0)
                if fails_in_group:
                    await fail()
                group.start_soon(fail)
                never.greenly()
        except* ZeroDivisionError as errors:
            assert len(errors.exceptions) == 1
        assert len(never.ended) == 20
        assert all(isinstance(e, asyncio.CancelledError)
                   for e in never.ended)
        who.call(1)


@add
async def groups_are_cancelled() -> None:
    """From outside of them, in each way that there is."""
    async def group(never: Never, waits_greenly: bool) -> None:
        async with anyio.create_task_group() as group:
            for way in never.both() * 3:
                group.start_soon(way)
            if waits_greenly:
                never.greenly()

    async def by_scope(never: Never, greenly: bool) -> None:
        with anyio.move_on_after(cases.SOON) as scope:
            await group(never, greenly)
        assert scope.cancelled_caught

    async def by_timeout(never: Never, greenly: bool) -> None:
        with eventlet.Timeout(cases.SOON, False):
            await group(never, greenly)
            raise AssertionError('it ended')

    async def by_nested_timeout(never: Never, greenly: bool) -> None:
        with anyio.CancelScope() as scope, eventlet.Timeout(60):
            try:
                with eventlet.Timeout(cases.SOON) as inner:
                    await group(never, greenly)
            except eventlet.Timeout as error:
                assert error is inner
        assert not scope.cancelled_caught

    async def by_cancel(never: Never, greenly: bool) -> None:
        task = asyncio.create_task(group(never, greenly))
        cases.until(lambda: never.begun == 6)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    async def by_kill(never: Never, greenly: bool) -> None:
        greens = []

        async def victim() -> None:
            greens.append(eventlet.getcurrent())
            await group(never, greenly)

        task = asyncio.create_task(victim())
        cases.until(lambda: never.begun == 6)
        eventlet.kill(greens.pop())
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    async def work(way: Any, greenly: bool) -> None:
        who = green_calls.Identity()
        never = Never()
        await way(never, greenly)
        assert len(never.ended) == never.begun == 6, never.ended
        assert asyncio.current_task().cancelling() == 0
        who.call(1)

    ways = (by_scope, by_timeout, by_nested_timeout, by_cancel, by_kill)
    await asyncio.gather(*(
        work(way, greenly) for way in ways for greenly in (False, True)
        for _ in range(5)))


@add
async def eager_tasks() -> None:
    if sys.version_info < (3, 12):
        return  # they came with 3.12
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        await groups()
        await failures()
    finally:
        loop.set_task_factory(None)


# -- what tasks wait for

@add
async def locks() -> None:
    inside = []
    condition = anyio.Condition()
    turn = 0

    async def work(n: int, lock: Any, most: int) -> None:
        who = green_calls.Identity()
        async with lock:
            inside.append(n)
            assert len(inside) <= most
            who.call(n)
            await anyio.sleep(0)
            who.call(n)
            inside.remove(n)

    async def in_turn(n: int) -> None:
        nonlocal turn
        who = green_calls.Identity()
        async with condition:
            while turn != n:
                await condition.wait()
                who.check()
            who.call(n)
            turn += 1
            condition.notify_all()

    for lock, most in ((anyio.Lock(), 1), (anyio.Semaphore(3), 3),
                       (anyio.CapacityLimiter(4), 4)):
        await asyncio.gather(*(
            work(n, lock, most) for n in range(TASKS)))
    await asyncio.gather(*(in_turn(n) for n in reversed(range(30))))


@add
async def locks_given_up() -> None:
    """Who waits for a lock gives up; those behind it get it."""
    lock = anyio.Lock()
    got = []

    async def wait(n: int) -> None:
        with eventlet.Timeout(cases.SOON if n % 2 else None, False):
            async with lock:
                got.append(n)
                green_calls.call(n)

    await lock.acquire()
    tasks = [asyncio.create_task(wait(n)) for n in range(40)]
    await asyncio.wait(tasks[1::2])
    lock.release()
    await asyncio.gather(*tasks)
    assert got == list(range(0, 40, 2)), got


@add
async def streams() -> None:
    send, receive = anyio.create_memory_object_stream[int](3)

    async def sender(n: int, own: Any) -> None:
        who = green_calls.Identity()
        async with own:
            who.call(n)
            await own.send(n)
            who.check()

    async def receiver(own: Any) -> None:
        who = green_calls.Identity()
        async with own:
            async for item in own:
                got.append(who.call(item))

    got: list[int] = []
    async with anyio.create_task_group() as group:
        for n in range(TASKS):
            group.start_soon(sender, n, send.clone())
        for _ in range(3):
            group.start_soon(receiver, receive.clone())
        send.close()
        receive.close()
    assert sorted(got) == list(range(TASKS))


@add
async def sockets() -> None:
    async def serve(stream: Any) -> None:
        who = green_calls.Identity()
        async with stream:
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    data = await stream.receive()
                    who.call(1)
                    await stream.send(data.upper())

    async def ask(n: int, port: int) -> None:
        who = green_calls.Identity()
        async with await anyio.connect_tcp('127.0.0.1', port) as stream:
            for _ in range(3):
                await stream.send(b'x%d' % n)
                who.call(n)
                assert await stream.receive() == b'X%d' % n
        who.check()

    listener = await anyio.create_tcp_listener(
        local_host='127.0.0.1', backlog=500)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        await asyncio.gather(*(ask(n, port) for n in range(100)))
        group.cancel_scope.cancel()


@add
async def files_and_processes() -> None:
    async def work(n: int, folder: anyio.Path) -> None:
        who = green_calls.Identity()
        async with await anyio.open_file(folder / str(n), 'w') as file:
            who.call(n)
            await file.write('line %d\n' % n)
        who.call(n)
        assert await (folder / str(n)).read_text() == 'line %d\n' % n
        who.check()

    with tempfile.TemporaryDirectory() as name:
        await asyncio.gather(*(
            work(n, anyio.Path(name)) for n in range(30)))
    who = green_calls.Identity()
    done = await anyio.run_process(
        [sys.executable, '-c', 'print(input()[::-1])'], input=b'hello\n')
    who.call(1)
    assert done.stdout == b'olleh\n'


# -- threads: native ones, or green ones after patching

@add
async def workers() -> None:
    limiter = anyio.CapacityLimiter(5)
    running = []

    def function(n: int) -> int:
        running.append(n)
        assert len(running) <= 5
        if mode.PATCHED:
            green_calls.call(n)
        else:
            mode.native_time.sleep(0.001)
        running.remove(n)
        return n

    async def work(n: int) -> None:
        who = green_calls.Identity()
        assert await to_thread.run_sync(
            function, n, limiter=limiter) == n
        who.call(n)

    await asyncio.gather(*(work(n) for n in range(TASKS)))


@add
async def back_from_workers() -> None:
    loop_thread = mode.native.get_ident()

    async def in_loop(n: int) -> int:
        # In a task of its own: it may make green calls.
        assert mode.native.get_ident() == loop_thread
        who = green_calls.Identity()
        await anyio.sleep(0)
        return who.call(n)

    def function(n: int) -> int:
        result = from_thread.run(in_loop, n)
        assert from_thread.run_sync(
            mode.native.get_ident) == loop_thread
        try:
            from_thread.run(raising)
        except ZeroDivisionError:
            return result
        raise AssertionError('it was lost')

    async def raising() -> None:
        green_calls.by_queue(1)
        raise ZeroDivisionError()

    async def work(n: int) -> None:
        who = green_calls.Identity()
        assert await to_thread.run_sync(function, n) == n
        who.check()

    await asyncio.gather(*(work(n) for n in range(50)))


@add
async def cancelled_workers() -> None:
    """A worker is waited for, or told, or left alone."""
    go_on = threading.Event()
    told = []

    def function() -> str:
        go_on.wait(60)
        return 'done'

    def asks() -> None:
        while True:
            try:
                from_thread.check_cancelled()
            except asyncio.CancelledError:
                told.append(True)
                raise
            green_calls.sleep(0.001) if mode.PATCHED else (
                mode.native_time.sleep(0.001))

    with anyio.move_on_after(cases.SOON) as scope:
        await to_thread.run_sync(function, abandon_on_cancel=True)
    assert scope.cancelled_caught
    with anyio.move_on_after(cases.SOON) as scope:
        await to_thread.run_sync(asks)
    assert scope.cancel_called and told
    # Without abandon_on_cancel it is waited for.
    with anyio.move_on_after(cases.SOON) as scope:
        loop = asyncio.get_running_loop()
        loop.call_later(2 * cases.SOON, go_on.set)
        assert await to_thread.run_sync(function) == 'done'
    assert scope.cancel_called
    # eventlet's Timeout leaves it alone.
    go_on.clear()
    with eventlet.Timeout(cases.SOON, False):
        await to_thread.run_sync(function)
        raise AssertionError('it ended')
    go_on.set()
    green_calls.call(1)


@add
async def portals() -> None:
    async def in_loop(n: int) -> int:
        who = green_calls.Identity()
        await anyio.sleep(0)
        return who.call(n)

    def function(portal: Any, n: int) -> None:
        assert portal.call(in_loop, n) == n
        futures = [portal.start_task_soon(in_loop, m) for m in range(5)]
        assert [f.result(60) for f in futures] == list(range(5))

    async with from_thread.BlockingPortal() as portal:
        await asyncio.gather(*(
            to_thread.run_sync(function, portal, n) for n in range(20)))


cases.run_all()
mode.done()
