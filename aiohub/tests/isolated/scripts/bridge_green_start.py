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

"""Green code that a task waits for begins at once, in the task's step.

On the aiohub hub. What is seen of it is the same on every hub, but for who has
run meanwhile, and whether the task is green or not.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
import contextvars
import functools
import gc
import os
import threading
from typing import Any
from unittest import mock
import weakref

import cases
import mode

import eventlet
from eventlet import event
from eventlet import hubs
import greenlet

import aiohub
from aiohub import _first_step
from aiohub import tasks

loop = aiohub.get_loop()
variable: contextvars.ContextVar[str] = contextvars.ContextVar('variable')
# As long as a case takes: the machine may be busy.
long_moment = mock.patch.object(_first_step, 'MOMENT', 3600)

#: How a coroutine waits for a function of green code.
Way = Callable[[Callable[[], Any]], Awaitable[Any]]
WAYS: dict[str, Way] = {
    'sync_to_async': lambda function: aiohub.sync_to_async(function)(),
    'await spawn': lambda function: eventlet.spawn(function),
    'greenlet_to_future': lambda function: aiohub.greenlet_to_future(
        eventlet.spawn(function)),
}


class Failure(Exception):
    pass


async def failing(kind: type[BaseException],
                  awaitable: Awaitable[Any]) -> BaseException:
    try:
        await awaitable
    except kind as exc:
        return exc
    raise AssertionError('nothing was raised')


async def let_go() -> None:
    """Have the hub let go of what it has called last."""
    for _ in range(3):
        await aiohub.greenlet_to_future(eventlet.spawn(eventlet.sleep, 0))


def in_each_way(function: Callable[[Way], Coroutine[Any, Any, None]]) -> None:
    """Decorator: a case for each way, in a green task and in one that is not.
    """
    def run(way: Way, green: bool) -> None:
        with mock.patch.object(tasks, 'enabled', green):
            task = loop.create_task(function(way))
        with long_moment:
            aiohub.await_(task)

    for name, way in WAYS.items():
        for green in (True, False):
            cases.add('%s, %s%s' % (
                function.__name__, name, '' if green else ', not green'),
                run, way, green)


# -- who runs meanwhile

@in_each_way
async def nobody_else_runs(way: Way) -> None:
    seen: list[str] = []
    asyncio.get_running_loop().call_soon(seen.append, 'callback')
    for number in range(100):
        assert await way(lambda number=number: number) == number
    if mode.ON:
        assert not seen, seen
    while not seen:
        await asyncio.sleep(0)


@in_each_way
async def in_their_order(way: Way) -> None:
    """Green threads begin in the order in which they were started."""
    seen: list[str] = []
    eventlet.spawn(seen.append, 'first')
    awaitable = eventlet.spawn(seen.append, 'second')
    eventlet.spawn(seen.append, 'third')
    await awaitable
    assert seen[:2] == ['first', 'second'], seen
    while len(seen) < 3:
        await asyncio.sleep(0)
    assert seen == ['first', 'second', 'third'], seen


@in_each_way
async def a_timer_is_due_before(way: Way) -> None:
    seen: list[str] = []
    eventlet.spawn_after(1e-9, seen.append, 'timer')
    await asyncio.sleep(0.01)
    await way(lambda: seen.append('green'))
    assert seen == ['timer', 'green'], seen


def others_run_after_a_while(way: Way) -> None:
    seen: list[str] = []

    async def repeat() -> None:
        eventlet.spawn(seen.append, 'green')
        loop.call_soon(seen.append, 'callback')
        loop.call_later(0.001, seen.append, 'timer')
        while len(seen) < 3:
            await way(int)

    aiohub.await_(repeat())


@cases.case
def cancelled_before_it_begins() -> None:
    """Others have to run first; then it never begins."""
    seen: list[str] = []

    async def wait() -> None:
        loop.call_soon(task.cancel)
        await aiohub.sync_to_async(seen.append)('begun')

    with mock.patch.object(_first_step, 'MOMENT', -1):
        task = loop.create_task(wait())
        cases.until(task.done)
    assert task.cancelled()
    if mode.ON:
        assert not seen, seen


for _name, _way in WAYS.items():
    cases.add('others_run_after_a_while, ' + _name,
              others_run_after_a_while, _way)


# -- what it sees

@in_each_way
async def what_it_sees(way: Way) -> None:
    here = greenlet.getcurrent()
    task = asyncio.current_task()
    variable.set('outside')

    def look() -> Any:
        seen = (variable.get(), asyncio.current_task(),
                asyncio.get_running_loop())
        variable.set('inside')
        eventlet.sleep(0)
        assert variable.get() == 'inside'
        return seen, greenlet.getcurrent()

    seen, green = await way(look)
    # eventlet's asyncio hub runs green threads in a task of its own.
    if mode.HUB != 'asyncio':
        assert seen == ('outside', None, loop), seen
    assert isinstance(green, eventlet.greenthread.GreenThread)
    assert green is not here
    assert green.dead
    assert variable.get() == 'outside'
    assert asyncio.current_task() is task
    assert greenlet.getcurrent() is here


@in_each_way
async def who_runs_after_another(way: Way) -> None:
    """It is another one for whoever can tell."""
    local = threading.local()

    def look() -> bool:
        had = hasattr(local, 'value')
        local.value = 1
        return had

    if mode.PATCHED:
        for _ in range(3):
            assert not await way(look)
    first = await way(greenlet.getcurrent)
    second = await way(greenlet.getcurrent)
    assert first is not second
    for green in (first, second):
        assert green.dead
        assert green.wait() is green
    refs = [await way(lambda: weakref.ref(greenlet.getcurrent()))
            for _ in range(3)]
    await let_go()
    assert [ref() for ref in refs] == [None] * 3
    seen: list[Any] = []

    def link() -> str:
        greenlet.getcurrent().link(lambda green: seen.append(green.wait()))
        return 'linked'

    assert await way(link) == 'linked'
    assert seen == ['linked']

    def mark() -> bool:
        green = greenlet.getcurrent()
        had = hasattr(green, 'mark')
        green.mark = 1
        return had

    for _ in range(3):
        assert not await way(mark)


@in_each_way
async def nested_calls(way: Way) -> None:
    """There is as much room for them as before."""
    def down(level: int) -> int:
        return level if not level else down(level - 1)

    async def deep(level: int) -> Any:
        if level:
            return await deep(level - 1)
        return await way(lambda: down(100))

    for level in (0, 100, 0, 300, 0):
        assert await deep(level) == 0
    assert await way(lambda: down(600)) == 0


@in_each_way
async def nothing_is_left(way: Way) -> None:
    class Token:
        alive = 0

        def __init__(self) -> None:
            Token.alive += 1

        def __del__(self) -> None:
            Token.alive -= 1

    def fail(token: Token) -> None:
        raise Failure(token)

    def wait(token: Token) -> Token:
        eventlet.sleep(0)
        return token

    gc.disable()
    try:
        for _ in range(3):
            await way(Token)
            await let_go()
            assert Token.alive == 0
            await way(functools.partial(wait, Token()))
            await let_go()
            assert Token.alive == 0
            await failing(Failure, way(functools.partial(fail, Token())))
            await let_go()
            gc.collect()
            assert Token.alive == 0
    finally:
        gc.enable()


# -- it waits, and fails

@in_each_way
async def it_waits(way: Way) -> None:
    gate = cases.Gate()

    def wait(number: int) -> int:
        gate.in_green()
        return number

    async def one(number: int) -> None:
        assert await way(lambda: wait(number)) == number

    some = [asyncio.ensure_future(one(number)) for number in range(10)]
    while gate.reached < 10:
        await asyncio.sleep(0)
    assert await way(lambda: 'meanwhile') == 'meanwhile'
    gate.open()
    await asyncio.gather(*some)


@in_each_way
async def it_awaits(way: Way) -> None:
    """Each waits for the other world, several times over."""
    async def down(level: int) -> int:
        if not level:
            return 0
        return await way(lambda: 1 + aiohub.await_(down(level - 1)))

    assert await down(20) == 20


@in_each_way
async def it_fails(way: Way) -> None:
    calls: list[str] = []

    def fail() -> None:
        calls.append('at once')
        raise Failure('at once')

    def fail_later() -> None:
        eventlet.sleep(0)
        raise Failure('later')

    def stop() -> None:
        raise StopIteration(1)

    def leave() -> None:
        raise greenlet.GreenletExit()

    def cancel() -> None:
        raise asyncio.CancelledError()

    for _ in range(2):
        calls.clear()
        assert str(await failing(Failure, way(fail))) == 'at once'
        assert len(calls) == 1
        # eventlet's own print what comes after they have begun.
        if way is WAYS['sync_to_async']:
            assert str(await failing(Failure, way(fail_later))) == 'later'
        exc = await failing(RuntimeError, way(stop))
        assert isinstance(exc.__cause__, StopIteration)
        await failing(asyncio.CancelledError, way(leave))
        await failing(asyncio.CancelledError, way(cancel))
        assert await way(lambda: 'answer') == 'answer'


@in_each_way
async def who_waits_is_cancelled(way: Way) -> None:
    """The green thread is killed, and has ended before that is seen."""
    seen: list[str] = []
    gate = cases.Gate()

    def wait() -> None:
        try:
            gate.in_green()
        except greenlet.GreenletExit:
            eventlet.sleep(0)
            seen.append('cleaned up')
            raise

    async def await_it() -> None:
        try:
            await way(wait)
        finally:
            seen.append('cancelled')

    with mock.patch.object(
            tasks, 'enabled', hasattr(asyncio.current_task().get_coro(),
                                      'can_wait')):
        task = asyncio.ensure_future(await_it())
    while not gate.reached:
        await asyncio.sleep(0)
    task.cancel()
    await failing(asyncio.CancelledError, task)
    assert seen == ['cleaned up', 'cancelled'], seen


# -- what it does to others

@in_each_way
async def it_cancels_who_waits(way: Way) -> None:
    task = asyncio.current_task()

    def cancel() -> str:
        task.cancel()
        return 'answer'

    try:
        await way(cancel)
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        task.uncancel()
    else:
        raise AssertionError('it was not cancelled')
    assert await way(lambda: 'answer') == 'answer'


@in_each_way
async def it_kills_who_waits(way: Way) -> None:
    """That is cancelled, if it is a greenlet of its own."""
    here = greenlet.getcurrent()
    if not hasattr(here, 'state'):
        return
    seen: list[str] = []

    def kill() -> None:
        try:
            eventlet.kill(here)
            seen.append('woken')
        finally:
            seen.append('over')

    try:
        await way(kill)
        await asyncio.sleep(0)
    except (asyncio.CancelledError, greenlet.GreenletExit):
        asyncio.current_task().uncancel()
    else:
        raise AssertionError('it was not killed')
    assert seen[-1] == 'over', seen
    assert await way(lambda: 'answer') == 'answer'


@in_each_way
async def it_kills_itself(way: Way) -> None:
    def kill() -> None:
        eventlet.kill(greenlet.getcurrent())

    await failing(asyncio.CancelledError, way(kill))
    assert await way(lambda: 'answer') == 'answer'


@in_each_way
async def it_kills_another(way: Way) -> None:
    """Control comes to the hub in the middle of it."""
    seen: list[str] = []
    waits = cases.Gate()

    def wait() -> None:
        try:
            waits.in_green()
        finally:
            seen.append('killed')

    other = eventlet.spawn(wait)
    while not waits.reached:
        await asyncio.sleep(0)

    def kill() -> str:
        eventlet.kill(other)
        seen.append('went on')
        return 'answer'

    assert await way(kill) == 'answer'
    assert seen == ['killed', 'went on'], seen


@in_each_way
async def it_switches_to_another(way: Way) -> None:
    seen: list[Any] = []
    hub = hubs.get_hub()

    def wait() -> None:
        seen.append(hub.switch())

    other = eventlet.spawn(wait)
    await asyncio.sleep(0)
    while not other:
        await asyncio.sleep(0)

    def switch() -> str:
        here = greenlet.getcurrent()
        hub.schedule_call_global(0, here.switch)
        other.switch('hello')
        return 'answer'

    assert await way(switch) == 'answer'
    assert seen == ['hello']


@in_each_way
async def it_has_a_greenlet_of_its_own(way: Way) -> None:
    """That waits, and ends after it; or is left where it is."""
    gate = cases.Gate()
    seen: list[str] = []

    def child() -> None:
        gate.in_green()
        seen.append('child')

    left: list[greenlet.greenlet] = []

    def start() -> str:
        raw = greenlet.greenlet(child)
        left.append(raw)
        hub = hubs.get_hub()
        hub.schedule_call_global(0, greenlet.getcurrent().switch)
        raw.switch()
        return 'answer'

    assert await way(start) == 'answer'
    assert await way(lambda: 'another') == 'another'
    gate.open()
    while not seen:
        await asyncio.sleep(0)
    assert await way(lambda: 'third') == 'third'

    def generate() -> Any:
        here = greenlet.getcurrent()
        raw = greenlet.greenlet(lambda: here.switch('first'))
        left.append(raw)
        return raw.switch()

    assert await way(generate) == 'first'
    # It ends where nobody is any more.
    raw = left.pop()
    hubs.get_hub().schedule_call_global(0, raw.switch)
    while not raw.dead:
        await asyncio.sleep(0)
    assert await way(lambda: 'answer') == 'answer'


@in_each_way
async def it_makes_tasks(way: Way) -> None:
    async def give(number: int) -> int:
        await asyncio.sleep(0)
        return number

    def make() -> list[Any]:
        return [loop.create_task(give(number)) for number in range(3)]

    assert await asyncio.gather(*await way(make)) == [0, 1, 2]


@in_each_way
async def a_timeout_fires(way: Way) -> None:
    def wait() -> str:
        limit = eventlet.Timeout(60)
        hubs.get_hub().schedule_call_global(0, limit.timer)
        try:
            event.Event().wait()
        except eventlet.Timeout as exc:
            assert exc is limit
            return 'timeout'
        finally:
            limit.cancel()
        return 'nothing'

    assert await way(wait) == 'timeout'


@in_each_way
async def it_forks(way: Way) -> None:
    if mode.HUB == 'asyncio':
        return  # eventlet's asyncio hub cannot run children
    patched = eventlet.patcher.original('os')

    def fork() -> int:
        pid = os.fork()
        if not pid:
            eventlet.sleep(0)
        return pid

    pid = await way(fork)
    if not pid:
        code = 1
        try:
            if (await way(lambda: 'child') == 'child'
                    and await way(lambda: eventlet.sleep(0)) is None):
                code = 0
        finally:
            patched._exit(code)
    assert patched.waitpid(pid, 0) == (pid, 0)


cases.run_all()


# -- what is for the main greenlet

async def leave(way: Way, how: BaseException) -> None:
    def raise_it() -> None:
        raise how

    await way(raise_it)


# Such an exception leaves eventlet's asyncio hub unusable.
for kind in (KeyboardInterrupt, SystemExit) if mode.HUB != 'asyncio' else ():
    for name, way in WAYS.items():
        for green in (True, False):
            with mock.patch.object(tasks, 'enabled', green):
                task = loop.create_task(leave(way, kind()))
            seen = []
            while not (task.done() and seen):
                try:
                    cases.until(task.done)
                    eventlet.sleep(0)
                except kind:
                    seen.append('main')
            assert isinstance(task.exception(), kind)
            # It may come out of the green thread, and of the task.
            for _ in range(5):
                try:
                    eventlet.sleep(0)
                except kind:
                    seen.append('main')
            assert 1 <= len(seen) <= 2, (name, green, seen)


# -- it closes the hub

def close_hub(seen: list[str]) -> None:
    try:
        hubs.get_hub().close()
    except greenlet.GreenletExit:
        seen.append('killed')
        raise


async def have_it_closed(way: Way, seen: list[str]) -> None:
    await way(functools.partial(close_hub, seen))


for way in WAYS.values() if mode.ON else ():
    for green in (True, False):
        seen = []
        hub = hubs.get_hub()
        with mock.patch.object(tasks, 'enabled', green):
            task = aiohub.get_loop().create_task(have_it_closed(way, seen))
        cases.until(hub.loop.is_closed)
        # Not later: nothing of that loop runs any more.
        assert task.cancelling()
        assert seen == ['killed'], seen
        assert hubs.get_hub() is not hub

mode.done()
