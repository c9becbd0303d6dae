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

"""What may happen in the first step of a coroutine that green code awaits.

On the aiohub hub it is made at once, by who waits or by the hub. What is seen
of it is the same on every hub, but for who has run meanwhile.
"""

import asyncio
from collections.abc import Callable
import contextvars
import gc
import os
import signal
import socket
from typing import Any
from unittest import mock

import cases
import mode

import eventlet
from eventlet import event
from eventlet import hubs
import greenlet

import aiohub
from aiohub import _first_step
from aiohub import _task_class

loop = aiohub.get_loop()
variable: contextvars.ContextVar[str] = contextvars.ContextVar('variable')
# As long as a case takes: the machine may be busy.
long_moment = mock.patch.object(_first_step, 'MOMENT', 3600)


async def answer(value: Any = 'answer') -> Any:
    return value


class Failure(Exception):
    pass


def expect(kind: type[BaseException], awaitable: Any) -> BaseException:
    try:
        aiohub.await_(awaitable)
    except kind as exc:
        return exc
    raise AssertionError('nothing was raised')


def in_each_way(function: Callable[[], None]) -> None:
    """Decorator: who waits makes the step in one case, the hub in another.

    The hub does if no greenlet is left for another task.
    """
    def run(by_hub: bool) -> None:
        if mode.ON:
            aiohub.await_(answer())
            if by_hub:
                loop.state.spare_greenlets.clear()
        function()

    for by_hub in (False, True):
        cases.add('%s, by %s' % (
            function.__name__, 'the hub' if by_hub else 'who waits'),
            run, by_hub)


# -- who runs meanwhile

@in_each_way
def nobody_else_runs() -> None:
    seen = []
    eventlet.spawn(seen.append, 'green')
    loop.call_soon(seen.append, 'callback')
    with long_moment:
        for _ in range(1000):
            assert aiohub.await_(answer()) == 'answer'
    if mode.ON:
        assert not seen, seen
    cases.until(lambda: sorted(seen) == ['callback', 'green'])


@in_each_way
def others_run_after_a_while() -> None:
    """Who awaits again and again holds nobody up."""
    seen: list[str] = []
    eventlet.spawn(seen.append, 'green')
    loop.call_soon(seen.append, 'callback')
    loop.call_later(0.001, seen.append, 'timer')
    while len(seen) < 3:
        aiohub.await_(answer())


@in_each_way
def others_run_at_once_if_it_took_long() -> None:
    seen: list[str] = []
    eventlet.spawn(seen.append, 'green')
    with mock.patch.object(_first_step, 'MOMENT', -1):
        aiohub.await_(answer())
    assert seen == ['green']


@in_each_way
def many_green_threads() -> None:
    def work(number: int) -> list[int]:
        return [aiohub.await_(answer(number)) for _ in range(20)]

    with long_moment:
        greens = [eventlet.spawn(work, number) for number in range(50)]
        for number, green in enumerate(greens):
            assert green.wait() == [number] * 20


# -- what the coroutine sees

@in_each_way
def what_it_sees() -> None:
    async def look() -> tuple[Any, ...]:
        task = asyncio.current_task()
        assert task is not None and task in asyncio.all_tasks()
        assert asyncio.get_running_loop() is loop
        seen = variable.get()
        variable.set('inner')
        return seen, task, greenlet.getcurrent()

    variable.set('outer')
    seen, task, green = aiohub.await_(look())
    assert seen == 'outer' and variable.get() == 'outer'
    assert task.done()
    if mode.ON:
        assert asyncio.current_task(loop) is None
        assert green is not greenlet.getcurrent()


@in_each_way
def it_awaits() -> None:
    async def wait() -> list[str]:
        seen = []
        for number in range(3):
            await asyncio.sleep(0)
            seen.append(await answer('%d' % number))
        return seen

    assert aiohub.await_(wait()) == ['0', '1', '2']


@in_each_way
def it_waits_greenly() -> None:
    async def wait() -> str:
        eventlet.sleep(0)
        here = greenlet.getcurrent()
        await asyncio.sleep(0)
        eventlet.sleep(0)
        assert here is greenlet.getcurrent()
        return 'answer'

    if mode.ON:  # elsewhere the loop would stand still
        assert aiohub.await_(wait()) == 'answer'


@in_each_way
def it_makes_tasks() -> None:
    async def make() -> list[Any]:
        return await asyncio.gather(answer(1), answer(2))

    assert aiohub.await_(make()) == [1, 2]


@in_each_way
def a_task_calls_it() -> None:
    """A plain function of a coroutine waits: that has a step under way."""
    async def outer() -> Any:
        return aiohub.await_(answer())

    if mode.ON:
        assert aiohub.await_(outer()) == 'answer'


# -- how it ends

@in_each_way
def it_fails() -> None:
    async def fail() -> None:
        raise Failure('why')

    error = expect(Failure, fail())
    assert str(error) == 'why'


@in_each_way
def it_is_cancelled() -> None:
    async def cancel() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await answer()
        await asyncio.sleep(0)

    expect(asyncio.CancelledError, cancel())


@in_each_way
def it_ends_although_it_is_cancelled() -> None:
    """asyncio's task is cancelled, too, if nothing is left to throw at."""
    async def cancel() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    expect(asyncio.CancelledError, cancel())


@in_each_way
def it_was_awaited_before() -> None:
    coroutine = answer()
    assert aiohub.await_(coroutine) == 'answer'
    expect(RuntimeError, coroutine)


# -- who is interrupted

@in_each_way
def it_kills_who_waits() -> None:
    seen = []

    async def kill(green: Any) -> None:
        try:
            eventlet.kill(green)
            await asyncio.sleep(60)
        finally:
            await answer()
            seen.append('cleaned up')

    def work() -> None:
        try:
            aiohub.await_(kill(greenlet.getcurrent()))
        finally:
            seen.append('left')

    if mode.ON:  # elsewhere the loop would stand still
        green = eventlet.spawn(work)
        try:
            green.wait()
        except greenlet.GreenletExit:
            seen.append('killed')
        assert seen[:2] == ['cleaned up', 'left'], seen


@in_each_way
def it_kills_another() -> None:
    """Control comes to the hub in the middle of the step."""
    seen = []

    def wait() -> None:
        try:
            event.Event().wait()
        finally:
            seen.append('killed')

    async def kill(green: Any) -> str:
        eventlet.kill(green)
        assert asyncio.current_task() is not None
        await asyncio.sleep(0)
        return 'answer'

    async def meanwhile() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        seen.append('meanwhile')

    if mode.ON:
        green = eventlet.spawn(wait)
        eventlet.sleep(0)
        task = loop.create_task(meanwhile())
        assert aiohub.await_(kill(green)) == 'answer'
        aiohub.await_(task)
        assert seen == ['killed', 'meanwhile'], seen


@in_each_way
def it_switches_to_who_waits() -> None:
    """Somebody else's switch is not an answer."""
    async def switch(green: Any) -> str:
        here = greenlet.getcurrent()
        hubs.get_hub().schedule_call_global(0, here.switch)
        green.switch('no answer')
        return 'answer'

    if mode.ON:
        assert aiohub.await_(switch(greenlet.getcurrent())) == 'answer'


@in_each_way
def a_timeout_fires() -> None:
    seen = []

    async def wait() -> None:
        hubs.get_hub().schedule_call_global(0, limit.timer)
        try:
            await loop.create_future()
        finally:
            seen.append('cleaned up')

    limit = eventlet.Timeout(60)
    try:
        aiohub.await_(wait())
    except eventlet.Timeout as exc:
        assert exc is limit
    finally:
        limit.cancel()
    assert seen == ['cleaned up']


@in_each_way
def a_descriptor_was_closed() -> None:
    """Who is told so by the hub awaits; nothing else wakes that."""
    if mode.HUB == 'asyncio':
        return  # eventlet's tells nobody until something else wakes it
    left, right = socket.socketpair()

    def wait() -> Any:
        try:
            hubs.trampoline(left.fileno(), read=True)
        except hubs.IOClosed:
            return [aiohub.await_(answer()) for _ in range(3)]

    green = eventlet.spawn(wait)
    eventlet.sleep(0)
    hubs.notify_opened(left.fileno())
    # With timers, for epolls: it looks for those only when a turn begins, and
    # would end this one with its idle sleep, of a minute.
    cases.until(lambda: green.dead)
    assert green.wait() == ['answer'] * 3
    left.close()
    right.close()


@cases.case
def thrown_before_it_begins() -> None:
    """As Ctrl-C is, which may come anywhere: it is cancelled, and is over."""
    seen = []

    async def begin() -> None:
        seen.append('begun')

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    if mode.ON:
        loop.state.spare_greenlets.clear()  # the hub is to make it
        with mock.patch.object(_first_step, '_switch', interrupt):
            expect(KeyboardInterrupt, begin())
    # The hub has its turn, and makes no step of it.
    assert aiohub.await_(answer()) == 'answer'
    assert not seen, seen


@cases.case
def killed_while_the_task_is_made() -> None:
    """By a signal handler, in the hub: there is no task yet to cancel."""
    if not mode.ON or _first_step.KIND is not _first_step.EagerStep:
        return
    seen = []

    async def wait() -> None:
        try:
            await loop.create_future()
        finally:
            seen.append('cleaned up')

    class Killer(_task_class.PlainTask):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            assert greenlet.getcurrent() is hubs.get_hub().greenlet
            eventlet.kill(green)
            super().__init__(*args, **kwargs)

    loop.state.spare_greenlets.clear()  # the hub is to make it
    green = eventlet.spawn(lambda: aiohub.await_(wait()))
    with mock.patch.object(_task_class, 'PlainTask', Killer):
        try:
            green.wait()
        except greenlet.GreenletExit:
            seen.append('killed')
    assert seen == ['cleaned up', 'killed'], seen


# -- who makes the tasks

@in_each_way
def the_program_makes_its_tasks() -> None:
    made = []

    def factory(its_loop: Any, coro: Any, **kwargs: Any) -> Any:
        made.append(coro)
        return asyncio.Task(coro, loop=its_loop, **kwargs)

    loop.set_task_factory(factory)
    try:
        assert aiohub.await_(answer()) == 'answer'
    finally:
        loop.set_task_factory(None)
    # eventlet's asyncio hub makes some, too.
    assert len(made) == 1 or mode.HUB == 'asyncio'


@in_each_way
def call_soon_is_what_it_was() -> None:
    aiohub.await_(answer())
    assert 'call_soon' not in vars(loop)
    with mock.patch.object(loop, 'call_soon', wraps=loop.call_soon) as patched:
        aiohub.await_(asyncio.sleep(0, 'answer'))
        assert loop.call_soon is patched


@in_each_way
def a_signal_while_the_task_is_made() -> None:
    """Its handler uses the loop; nothing of it is taken for the step."""
    if not mode.ON:
        return
    seen: list[str] = []

    async def note(what: str) -> str:
        seen.append(what)
        return what

    def never() -> None:
        raise AssertionError('it was cancelled')

    tasks = []
    signals: list[str] = []

    def handler(*_: Any) -> None:
        # Each asks for the same call of the loop.
        tasks.append(loop.create_task(note('task')))
        loop.call_soon(seen.append, 'callback')
        handle = loop.call_soon(never)
        handle.cancel()

    class Interrupted(_task_class.PlainTask):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            moment, signals[:] = signals[:], []
            if moment == ['before']:
                signal.raise_signal(signal.SIGUSR1)
            super().__init__(*args, **kwargs)
            if moment == ['after']:
                signal.raise_signal(signal.SIGUSR1)

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        for when in ('before', 'after'):
            signals = [when]
            with mock.patch.object(_task_class, 'PlainTask', Interrupted):
                assert aiohub.await_(note('awaited')) == 'awaited'
            cases.until(lambda: len(seen) == 3)
            assert sorted(seen) == ['awaited', 'callback', 'task'], seen
            seen.clear()
    finally:
        signal.signal(signal.SIGUSR1, old)
    for task in tasks:
        aiohub.await_(task)


@in_each_way
def nothing_is_left() -> None:
    class Token:
        alive = 0

        def __init__(self) -> None:
            Token.alive += 1

        def __del__(self) -> None:
            Token.alive -= 1

    async def use(token: Token) -> None:
        raise Failure(token)

    gc.disable()
    try:
        try:
            aiohub.await_(use(Token()))
        except Failure:
            pass
        assert Token.alive == 0
    finally:
        gc.enable()


cases.run_all()


# -- what is for the main greenlet

async def leave(how: BaseException) -> None:
    raise how


# Such an exception leaves eventlet's asyncio hub unusable.
for kind in (KeyboardInterrupt, SystemExit) if mode.HUB != 'asyncio' else ():
    # The main greenlet waits for it itself, and gets it once.
    expect(kind, leave(kind()))
    for _ in range(5):
        eventlet.sleep(0)

    # A green thread does; it is seen in the main greenlet, too.
    seen = []

    def wait_for_leave(kind: Any = kind, seen: Any = seen) -> None:
        try:
            aiohub.await_(leave(kind()))
        except kind:
            seen.append('green')

    eventlet.spawn(wait_for_leave)
    try:
        for _ in range(10):
            eventlet.sleep(0)
    except kind:
        seen.append('main')
    cases.until(lambda seen=seen: len(seen) == 2)


# -- Ctrl-C

def interrupted_before_the_step() -> None:
    """The hub is interrupted when it has yet to make the step."""
    hub = hubs.get_hub()
    step_parks = hub.step_parks

    def interrupt() -> None:
        del hub.step_parks
        hub.woken_parks.clear()
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
        raise AssertionError('no interrupt')

    seen = []

    async def note() -> None:
        seen.append('begun')
        await asyncio.sleep(0)
        seen.append('went on')

    assert step_parks is not None
    eventlet.sleep(0)  # the hub has ended with what was for us
    loop.state.spare_greenlets.clear()  # the hub is to make it
    hub.step_parks = interrupt
    expect(KeyboardInterrupt, note())
    # As with any task that is cancelled before it has begun.
    assert seen == [], seen
    assert aiohub.await_(answer()) == 'answer'


if mode.ON:
    interrupted_before_the_step()

mode.done()
