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

"""Cancellation and kill where the loop belongs to another thread.

That thread is a native one with a plain asyncio loop, and no hub.
"""

import asyncio
from collections.abc import Callable
import contextlib
import itertools
from typing import Any

import cases
import mode

import aiohub
import eventlet
from eventlet import patcher
import greenlet

native = patcher.original('threading')
CancelledError = asyncio.CancelledError
GreenletExit = greenlet.GreenletExit


class Custom(Exception):
    pass


class Other:
    """The other thread; as a context manager, one for each case."""

    def __enter__(self) -> 'Other':
        started = native.Event()

        def run() -> None:
            async def main() -> None:
                self.loop = asyncio.get_running_loop()
                self.end = asyncio.Event()
                started.set()
                await self.end.wait()
                self.left = asyncio.all_tasks() - {asyncio.current_task()}

            asyncio.run(main())

        self.left: Any = None
        self.thread = native.Thread(target=run, daemon=True)
        self.thread.start()
        started.wait()
        return self

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something there, and wait for what it returns."""
        done = native.Event()
        result: list[Any] = []

        def call() -> None:
            try:
                result.append(function(*args))
            finally:
                done.set()

        self.loop.call_soon_threadsafe(call)
        done.wait()
        return result[0]

    def turn(self) -> None:
        """Wait until what is under way has come there, and come back."""
        for _ in range(5):
            self.call(int)
            eventlet.sleep(0)

    def close(self) -> None:
        """End its loop, with whatever runs there cancelled."""
        self.loop.call_soon_threadsafe(self.end.set)
        # Greenly: what is cancelled there may be green work here.
        until(lambda: not self.thread.is_alive())

    def __exit__(self, kind: Any, *args: Any) -> None:
        if self.thread.is_alive():
            self.close()
            assert kind or not self.left, self.left


def until(condition: Callable[[], object]) -> None:
    """As in cases, but what is waited for comes from another thread."""
    with eventlet.Timeout(cases.DEADLINE / 2):
        while not condition():
            eventlet.sleep(0.0005)


class Work:
    """A coroutine for the other thread."""

    def __init__(self, slow: bool = False, swallows: Any = None) -> None:
        self.log: list[str] = []
        self.slow = slow
        self.swallows = swallows
        self.waiting: Any = None

    async def run(self) -> Any:
        self.log.append('start')
        try:
            await self._wait('first')
            await self._wait('second')
            self.log.append('end')
            return 'result'
        except CancelledError:
            self.log.append('stopped')
            if self.swallows is not None:
                return self.swallows
            raise
        finally:
            if self.slow:
                try:
                    await self._wait('cleanup')
                except CancelledError:
                    self.log.append('cleanup stopped')
                    raise
            else:
                await asyncio.sleep(0)
            self.log.append('clean')

    async def _wait(self, where: str) -> None:
        self.waiting = where, (
            future := asyncio.get_running_loop().create_future())
        await future

    def at(self, where: str) -> None:
        until(lambda: self.waiting and self.waiting[0] == where)

    def go_on(self) -> None:
        """Called in the thread of the loop."""
        future = self.waiting[1]
        if not future.done():
            future.set_result(None)

    def to_second(self, other: Other) -> None:
        cases.turns()
        self.at('first')
        other.call(self.go_on)
        self.at('second')


class Caller:
    def __init__(self, function: Callable[[], Any]) -> None:
        def call() -> None:
            try:
                self.outcome = function()
            except BaseException as exc:
                self.outcome = exc

        self.outcome: Any = None
        self.green = eventlet.spawn(call)

    def saw(self, expected: Any) -> None:
        until(lambda: self.outcome is not None)
        if isinstance(expected, type):
            assert type(self.outcome) is expected, repr(self.outcome)
        elif isinstance(expected, BaseException):
            assert self.outcome is expected, repr(self.outcome)
        else:
            assert self.outcome == expected, repr(self.outcome)


# -- green code waits for the loop of another thread

def by_thread(other: Other, work: Work) -> Any:
    """The green thread of future_to_greenlet() is killed itself."""
    green = aiohub.future_to_greenlet(work.run(), loop=other.loop)
    caller = Caller(green.wait)
    return caller, green


def by_decorator(other: Other, work: Work) -> Any:
    caller = Caller(aiohub.async_to_sync(work.run, loop=other.loop))
    return caller, caller.green


def by_task(other: Other, work: Work) -> Any:
    """A task that the other thread has made."""
    task = other.call(lambda: other.loop.create_task(work.run()))
    caller = Caller(lambda: aiohub.await_(task))
    return caller, caller.green


def by_task_thread(other: Other, work: Work) -> Any:
    task = other.call(lambda: other.loop.create_task(work.run()))
    green = aiohub.future_to_greenlet(task)
    return Caller(green.wait), green


WAYS = (by_thread, by_decorator, by_task, by_task_thread)


def ends(way: Any) -> None:
    with Other() as other:
        work = Work()
        caller, _ = way(other, work)
        work.to_second(other)
        other.call(work.go_on)
        caller.saw('result')


def killed_between_waits(way: Any) -> None:
    for throw in ((), (Custom('thrown'),), (eventlet.Timeout(None),)):
        with Other() as other:
            work = Work(slow=True)
            caller, green = way(other, work)
            work.to_second(other)
            eventlet.spawn(green.kill, *throw)
            work.at('cleanup')
            other.turn()
            assert caller.outcome is None, 'before the cleanup has ended'
            other.call(work.go_on)
            caller.saw(throw[0] if throw else GreenletExit)
            assert work.log == ['start', 'stopped', 'clean'], work.log


def killed_twice(way: Any) -> None:
    with Other() as other:
        work = Work(slow=True)
        caller, green = way(other, work)
        work.to_second(other)
        eventlet.spawn(green.kill, Custom('first'))
        work.at('cleanup')
        eventlet.spawn(green.kill, second := Custom('second'))
        caller.saw(second)
        assert work.log == ['start', 'stopped', 'cleanup stopped'], work.log


def killed_at_once(way: Any) -> None:
    """Before the other thread can have begun it, or while it begins."""
    for turns in range(3):
        with Other() as other:
            work = Work()
            caller, green = way(other, work)
            cases.turns(turns)
            if green is not caller.green or turns:
                green.kill()
            else:
                eventlet.spawn(green.kill)
            caller.saw(GreenletExit)
            other.turn()
            assert work.log in (
                [], ['start', 'stopped', 'clean']), work.log


def killed_as_the_result_comes(way: Any) -> None:
    with Other() as other:
        work = Work()
        caller, green = way(other, work)
        work.to_second(other)
        other.loop.call_soon_threadsafe(work.go_on)
        green.kill()
        caller.saw(GreenletExit)


def killed_and_swallowed(way: Any) -> None:
    with Other() as other:
        work = Work(swallows='swallowed')
        caller, green = way(other, work)
        work.to_second(other)
        green.kill()
        caller.saw(GreenletExit)
        assert work.log == ['start', 'stopped', 'clean'], work.log


def cancelled_there(way: Any) -> None:
    """The other thread cancels its own task."""
    with Other() as other:
        work = Work(slow=True)
        caller, _ = way(other, work)
        work.to_second(other)
        other.call(lambda: [
            task.cancel() for task in asyncio.all_tasks()
            if task.get_coro().__qualname__ == 'Work.run'])
        work.at('cleanup')
        other.turn()
        assert caller.outcome is None
        other.call(work.go_on)
        caller.saw(CancelledError if way is by_task else GreenletExit)


def ended_with_its_loop(way: Any) -> None:
    """asyncio.run() ends there, and cancels what runs."""
    with Other() as other:
        work = Work()
        caller, _ = way(other, work)
        work.to_second(other)
        other.close()
        caller.saw(CancelledError if way is by_task else GreenletExit)
        assert work.log == ['start', 'stopped', 'clean'], work.log


for way, moment in itertools.product(WAYS, (
        ends, killed_between_waits, killed_twice, killed_at_once,
        killed_as_the_result_comes, killed_and_swallowed, cancelled_there,
        ended_with_its_loop)):
    cases.add('%s, %s' % (way.__name__, moment.__name__), moment, way)


@cases.case
def timeout_around():
    for way in ('coroutine', 'task'):
        with Other() as other:
            work = Work()
            if way == 'task':
                task = other.call(
                    lambda other=other, work=work:
                    other.loop.create_task(work.run()))
                function = lambda task=task: aiohub.await_(task)  # noqa: E731
            else:
                function = aiohub.async_to_sync(work.run, loop=other.loop)
            timeout = eventlet.Timeout(0.01)
            try:
                function()
            except eventlet.Timeout as exc:
                assert exc is timeout
            else:
                raise AssertionError('no timeout')
            assert work.log in (
                [], ['start', 'stopped', 'clean']), work.log


@cases.case
def not_cancelled_with_autocancel_off():
    with Other() as other:
        work = Work()
        green = aiohub.future_to_greenlet(
            work.run(), loop=other.loop, autocancel_future=False)
        caller = Caller(green.wait)
        work.to_second(other)
        green.kill()
        caller.saw(GreenletExit)
        assert work.log == ['start']
        other.call(work.go_on)
        until(lambda: 'clean' in work.log)
        assert work.log == ['start', 'end', 'clean']


@cases.case
def killed_before_it_is_started():
    """It is closed, or cancelled in its own thread, and never begins."""
    with Other() as other:
        work = Work()
        green = aiohub.future_to_greenlet(
            work.run(), loop=other.loop, autostart_future=False)
        green.kill()
        assert work.log == []
        ident: list[int] = []
        future = other.call(other.loop.create_future)
        future.add_done_callback(
            lambda _: ident.append(native.get_ident()))
        green = aiohub.future_to_greenlet(future, autostart_future=False)
        green.kill()
        until(lambda: ident)
        assert ident == [other.thread.ident]


@cases.case
def killed_after_the_loop_was_closed():
    """A loop that was stopped and closed says nothing more; a kill ends."""
    for begun in (True, False):
        loop = asyncio.new_event_loop()
        work = Work()
        future = loop.create_future()

        async def wait(future=future):
            await future

        coroutine = wait()
        green = aiohub.future_to_greenlet(coroutine, loop=loop)
        caller = Caller(green.wait)
        cases.turns()
        if begun:
            # In a native thread: one that has a hub cannot run two loops.
            thread = native.Thread(
                target=loop.run_until_complete, args=(asyncio.sleep(0),))
            thread.start()
            until(lambda thread=thread: not thread.is_alive())
            # It has begun, and would be destroyed while it is pending.
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False
        loop.close()
        green.kill(custom := Custom())
        caller.saw(custom)
        del work
        if begun:
            coroutine.close()


# -- the loop of another thread waits for green code

def green_work(log: list[str], gates: list[cases.Gate],
               swallows: Any = None) -> Any:
    log.append('start')
    try:
        gates[0].in_green()
        log.append('end')
        return 'result'
    except GreenletExit:
        log.append('stopped')
        if swallows is not None:
            return swallows
        raise
    finally:
        gates[1].in_green()
        log.append('clean')


class Waiting:
    """A task of the other thread that waits for a green thread of ours."""

    def __init__(self, other: Other, around: Any = None, *,
                 swallows: Any = None, begin: bool = True,
                 **options: Any) -> None:
        self.other = other
        self.log: list[str] = []
        self.gates = [cases.Gate(), cases.Gate()]
        self.green = eventlet.spawn(
            green_work, self.log, self.gates, swallows)
        self.future = aiohub.greenlet_to_future(
            self.green, loop=other.loop, **options)

        async def wait() -> Any:
            if around is None:
                return await self.future
            return await around(self.future)

        if begin:
            until(lambda: self.gates[0].reached)
        self.task = other.call(lambda: other.loop.create_task(wait()))
        if begin:
            other.turn()

    def cancel(self) -> None:
        self.other.call(self.task.cancel)

    def clean(self) -> None:
        until(lambda: self.gates[1].reached)
        self.other.turn()
        assert not self.task.done(), 'before the cleanup has ended'
        self.gates[1].open()

    def saw(self, expected: Any) -> None:
        until(self.task.done)
        if expected is CancelledError:
            assert self.task.cancelled(), self.task
            return
        outcome = self.task.exception() or self.task.result()
        if isinstance(expected, type):
            assert type(outcome) is expected, repr(outcome)
        else:
            assert outcome == expected, repr(outcome)


@cases.case
def green_ends():
    with Other() as other:
        waiting = Waiting(other)
        waiting.gates[0].open()
        waiting.clean()
        waiting.saw('result')


@cases.case
def cancelled_from_the_other_thread():
    for swallows, options, expected in (
            (None, {}, CancelledError),
            (None, {'autocancel_future': False}, CancelledError),
            ('swallowed', {}, 'swallowed')):
        with Other() as other:
            waiting = Waiting(other, swallows=swallows, **options)
            waiting.cancel()
            waiting.clean()
            waiting.saw(expected)
            assert waiting.log == ['start', 'stopped', 'clean']


@cases.case
def cancelled_twice_from_the_other_thread():
    with Other() as other:
        waiting = Waiting(other)
        waiting.cancel()
        until(lambda: waiting.gates[1].reached)
        waiting.cancel()
        waiting.saw(CancelledError)
        assert waiting.log == ['start', 'stopped']


@cases.case
def cancelled_as_the_result_comes():
    """The cancel is not lost."""
    with Other() as other:
        waiting = Waiting(other)
        waiting.gates[0].open()
        until(lambda: waiting.gates[1].reached)
        # No turn of ours between the two.
        waiting.gates[1].open()
        waiting.cancel()
        waiting.saw(CancelledError)


@cases.case
def cancelled_before_it_begins():
    with Other() as other:
        waiting = Waiting(other, begin=False)
        other.call(int)
        waiting.cancel()
        waiting.saw(CancelledError)
        assert waiting.log in ([], ['start', 'stopped']), waiting.log
        waiting.gates[1].open()


@cases.case
def killed_here():
    for options, expected in (({}, CancelledError),
                              ({'autocancel_future': False}, GreenletExit)):
        with Other() as other:
            waiting = Waiting(other, **options)
            waiting.green.kill()
            waiting.clean()
            waiting.saw(expected)


@cases.case
def timeouts_there():
    async def timeout(future):
        async with asyncio.timeout(cases.SOON):
            return await future

    async def wait_for(future):
        return await asyncio.wait_for(future, cases.SOON)

    async def group(future):
        async def fail():
            raise Custom()

        async def wait():
            await future

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(wait())
                tasks.create_task(fail())
        except* Custom:
            pass
        return 'others'

    for around, expected in ((timeout, TimeoutError),
                             (wait_for, TimeoutError), (group, 'others')):
        with Other() as other:
            waiting = Waiting(other, around)
            waiting.clean()
            waiting.saw(expected)
            assert waiting.log == ['start', 'stopped', 'clean']


@cases.case
def green_goes_on_after_the_loop_is_closed():
    """Nobody can be told any more, and nothing is printed."""
    with Other() as other:
        waiting = Waiting(other, autokill_greenlet=False)
        waiting.cancel()
        waiting.saw(CancelledError)
        other.close()
        waiting.gates[0].open()
        until(lambda: waiting.gates[1].reached)
        waiting.gates[1].open()
        assert waiting.green.wait() == 'result'


@cases.case
def result_after_the_loop_is_closed():
    with Other() as other:
        gate = cases.Gate()
        green = eventlet.spawn(gate.in_green)
        future = aiohub.greenlet_to_future(green, loop=other.loop)
        until(lambda: gate.reached)
        other.close()
        gate.open()
        green.wait()
        assert not future.done()


@cases.case
def both_ways():
    """Green here waits for there, which waits for green here."""
    for kill in (True, False):
        with Other() as other:
            gate = cases.Gate()
            inner: list[Any] = []

            def work(gate=gate, inner=inner):
                try:
                    gate.in_green()
                    return 'result'
                except BaseException as exc:
                    inner.append(type(exc))
                    raise

            green = eventlet.spawn(work)
            future = aiohub.greenlet_to_future(green, loop=other.loop)

            async def wait(future=future):
                return await future

            caller = Caller(aiohub.async_to_sync(wait, loop=other.loop))
            until(lambda gate=gate: gate.reached)
            other.turn()
            if kill:
                caller.green.kill(custom := Custom())
                caller.saw(custom)
                assert inner == [GreenletExit]
            else:
                gate.open()
                caller.saw('result')


@cases.case
def many_at_once():
    """Kills and results from both threads, with no order between them."""
    with Other() as other:
        callers = []
        for number in range(300):
            async def run(number=number):
                await asyncio.sleep(0.0001 * (number % 7))
                return number

            callers.append(Caller(
                aiohub.async_to_sync(run, loop=other.loop)))
        for number, caller in enumerate(callers):
            if number % 3 == 0:
                eventlet.sleep(0)
                with contextlib.suppress(GreenletExit):
                    caller.green.kill(Custom())
        for number, caller in enumerate(callers):
            until(lambda caller=caller: caller.outcome is not None
                  or caller.green.dead)
            assert caller.outcome == number or number % 3 == 0 and (
                caller.outcome is None
                or isinstance(caller.outcome, Custom)), caller.outcome


cases.run_all()
mode.done()
