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

"""awaitlet and greenback in green tasks: they wait in plain functions.

Both start a greenlet in the coroutine, as SQLAlchemy does, and switch to the
greenlet below it when the function has to wait. aiohub.await_() needs no such
thing, but a program may have them.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
from typing import Any

import mode

import aiohub
import awaitlet
import cases
import eventlet
import green_calls
import greenback

TASKS = 100


def add(function: Callable[[], Awaitable[None]]) -> Any:
    """Decorator: the coroutine function is a case."""
    cases.add(function.__name__, lambda: aiohub.await_(function()))
    return function


async def gather(function: Callable[[int], Awaitable[Any]],
                 count: int = TASKS) -> list[Any]:
    return await asyncio.gather(*(function(n) for n in range(count)))


async def answer(n: int) -> int:
    """What is awaited: it waits in both ways."""
    task = asyncio.current_task()
    await asyncio.sleep(0)
    green_calls.call(n)
    await asyncio.sleep(0)
    assert asyncio.current_task() is task
    return n


async def fail() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError()


async def never() -> None:
    await asyncio.Event().wait()
    raise AssertionError('nobody wakes it')


class Bridge:
    """One of them.

    :ivar run: Calls a function that is not async, in a coroutine.
    :ivar wait: Waits for an awaitable in such a function.
    :ivar takes: Whether a Timeout is raised in such a wait. It is not in a
        portal around the whole task: greenback then stands between the task
        and the coroutine, and all that can be done is to cancel the task.
    """

    def __init__(self, run: Callable[..., Awaitable[Any]],
                 wait: Callable[[Awaitable[Any]], Any],
                 takes: bool = True) -> None:
        self.run = run
        self.wait = wait
        self.takes = takes


async def _in_portal(function: Callable[..., Any], *args: Any) -> Any:
    await greenback.ensure_portal()
    return function(*args)


async def _in_new_portal(function: Callable[..., Any], *args: Any) -> Any:
    async def run() -> Any:
        return function(*args)

    return await greenback.with_portal_run(run)


BRIDGES = {
    'awaitlet': Bridge(awaitlet.async_def, awaitlet.awaitlet),
    'with_portal_run_sync': Bridge(
        greenback.with_portal_run_sync, greenback.await_),
    'with_portal_run': Bridge(_in_new_portal, greenback.await_),
    'aiohub': Bridge(awaitlet.async_def, aiohub.await_),
}
if mode.ON:
    # Such a portal is around the whole task, and has to be entered from the
    # same greenlet each time. With aiohub off, that is the loop's or the
    # hub's.
    BRIDGES['ensure_portal'] = Bridge(
        _in_portal, greenback.await_, takes=False)
    # What can be used in it instead.
    BRIDGES['aiohub in a portal'] = Bridge(_in_portal, aiohub.await_)


def add_for_each(function: Callable[[Bridge], Awaitable[None]]) -> None:
    """Decorator: the coroutine function is a case for each bridge."""
    for name, bridge in BRIDGES.items():
        cases.add('%s: %s' % (name, function.__name__),
                  lambda bridge=bridge: aiohub.await_(
                      asyncio.get_running_loop().create_task(
                          function(bridge))))


@add_for_each
async def many(bridge: Bridge) -> None:
    def function(who: Any, n: int) -> int:
        for _ in range(3):
            who.call_in_child(n)
            assert bridge.wait(answer(n)) == n
            who.check_in_child()
        return n + 1

    async def work(n: int) -> None:
        who = green_calls.Identity()
        assert await bridge.run(function, who, n) == n + 1
        who.check_in_child()
        await asyncio.sleep(0)
        who.call_in_child(n)
        assert await bridge.run(function, who, n) == n + 1

    await gather(work)


@add_for_each
async def errors(bridge: Bridge) -> None:
    def function(n: int) -> None:
        green_calls.call(n)
        try:
            bridge.wait(fail())
        except ZeroDivisionError:
            green_calls.call(n)
            raise
        raise AssertionError('it was lost')

    async def work(n: int) -> None:
        with contextlib.suppress(ZeroDivisionError):
            await bridge.run(function, n)
            raise AssertionError('it was lost')
        green_calls.call(n)
        await asyncio.sleep(0)

    await gather(work, 30)


@add_for_each
async def cancelled(bridge: Bridge) -> None:
    """In a green call and in an await of the function."""
    for greenly in (False, True):
        for kill in (False, True):
            seen: list[BaseException] = []
            greens: list[Any] = []

            def function(greenly: bool = greenly, seen: Any = seen) -> None:
                seen.append(StopIteration())
                try:
                    if greenly:
                        eventlet.Queue().get()
                    else:
                        bridge.wait(never())
                except BaseException as exc:
                    # The cleanup waits in both ways.
                    green_calls.call(1)
                    bridge.wait(answer(1))
                    seen.append(exc)
                    raise

            async def work(function: Any = function,
                           greens: Any = greens) -> None:
                greens.append(eventlet.getcurrent())
                await bridge.run(function)
                raise AssertionError('it went on')

            task = asyncio.create_task(work())
            cases.until(lambda seen=seen: seen)
            if kill:
                eventlet.kill(greens.pop())
            else:
                task.cancel()
            await asyncio.wait([task])
            assert task.cancelled(), task
            assert len(seen) == 2


@add_for_each
async def timeouts(bridge: Bridge) -> None:
    """Around a green call, around an await, and around both."""
    def function(who: Any) -> str:
        with eventlet.Timeout(cases.SOON, False):
            eventlet.Queue().get()
            raise AssertionError('it got something')
        who.check_in_child()
        if not bridge.takes:
            return 'done'
        with eventlet.Timeout(cases.SOON, False):
            bridge.wait(never())
            raise AssertionError('it went on')
        who.check_in_child()
        with eventlet.Timeout(60):
            with eventlet.Timeout(cases.SOON) as inner:
                try:
                    green_calls.call(1)
                    bridge.wait(answer(1))
                    bridge.wait(never())
                except eventlet.Timeout as error:
                    assert error is inner
        who.check_in_child()
        assert bridge.wait(answer(3)) == 3
        return 'done'

    async def work(n: int) -> None:
        who = green_calls.Identity()
        assert await bridge.run(function, who) == 'done'
        if bridge.takes:
            with eventlet.Timeout(cases.SOON, False):
                await bridge.run(bridge.wait, never())
                raise AssertionError('it went on')
        who.check_in_child()
        async with asyncio.timeout(60):
            assert await bridge.run(function, who) == 'done'

    await gather(work, 20)


@add_for_each
async def timeout_in_a_portal(bridge: Bridge) -> None:
    """Where a Timeout cannot be raised, the task is cancelled."""
    def function() -> str:
        with eventlet.Timeout(cases.SOON, False):
            bridge.wait(never())
        return 'silenced'

    task = asyncio.create_task(
        bridge.run(function))  # type: ignore[arg-type]
    await asyncio.wait([task])
    if bridge.takes:
        assert await task == 'silenced'
    else:
        assert task.cancelled()


@add
async def awaitlet_in_greenback() -> None:
    """Each in the other."""
    def outer(who: Any, n: int) -> int:
        result = greenback.await_(awaitlet.async_def(inner, who, n))
        who.call_in_child(n)
        return result

    def inner(who: Any, n: int) -> int:
        who.call_in_child(n)
        assert awaitlet.awaitlet(answer(n)) == n
        who.check_in_child()
        # Over the greenlet between.
        assert greenback.await_(answer(n)) == n
        return n

    async def work(n: int) -> None:
        who = green_calls.Identity()
        assert await greenback.with_portal_run_sync(outer, who, n) == n
        who.check()

    await gather(work, 30)


cases.run_all()
mode.done()
