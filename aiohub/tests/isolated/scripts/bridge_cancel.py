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

"""Cancellation and kill, in each direction, at each moment.

Who waits in green code is killed, who waits in asyncio is cancelled: before
what it waits for starts, between two waits of that, in its cleanup, after
the result is set but not taken, twice, and at the same time as the result.
"""

import asyncio
from collections.abc import Callable
import contextlib
from typing import Any

import cases
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import greenthread
from eventlet import hubs
import greenlet

CancelledError = asyncio.CancelledError
GreenletExit = greenlet.GreenletExit


class Custom(Exception):
    pass


class CustomBase(BaseException):
    pass


# -- what is waited for

class Work:
    """Waits twice, and once more in its cleanup; a coroutine or green."""

    def __init__(self, *, slow: bool = False, swallows: Any = None,
                 fails: BaseException | None = None) -> None:
        self.log: list[str] = []
        self.first = cases.Gate()
        self.second = cases.Gate()
        self.cleanup = cases.Gate()
        self.slow = slow
        self.swallows = swallows
        self.fails = fails

    def open(self) -> None:
        """Let it go on wherever it is."""
        for gate in (self.first, self.second, self.cleanup):
            gate.open()

    def _end(self) -> str:
        self.log.append('end')
        if self.fails is not None:
            raise self.fails
        return 'result'

    async def in_task(self) -> Any:
        self.log.append('start')
        try:
            await self.first.in_task()
            await self.second.in_task()
            return self._end()
        except CancelledError:
            self.log.append('stopped')
            if self.swallows is not None:
                return self.swallows
            raise
        finally:
            try:
                if self.slow:
                    await self.cleanup.in_task()
                else:
                    await asyncio.sleep(0)
            except BaseException:
                self.log.append('cleanup stopped')
                raise
            else:
                self.log.append('clean')

    def in_green(self) -> Any:
        self.log.append('start')
        try:
            self.first.in_green()
            self.second.in_green()
            return self._end()
        except GreenletExit:
            self.log.append('stopped')
            if self.swallows is not None:
                return self.swallows
            raise
        finally:
            try:
                if self.slow:
                    self.cleanup.in_green()
                else:
                    eventlet.sleep(0)
            except BaseException:
                self.log.append('cleanup stopped')
                raise
            else:
                self.log.append('clean')


# -- green code waits

class Waiter:
    """A green thread that waits, and how that ended."""

    def __init__(self, green: Any) -> None:
        self.green = green
        self.outcome: Any = None

    def kill(self, *throw: Any) -> None:
        self.green.kill(*throw)

    def ended(self) -> bool:
        if self.outcome is None and self.green.dead:
            try:
                self.outcome = self.green.wait()
            except BaseException as exc:
                self.outcome = exc
        return self.outcome is not None

    def saw(self, expected: Any) -> None:
        """Wait for the end, and compare."""
        cases.until(self.ended)
        if isinstance(expected, type):
            assert type(self.outcome) is expected, repr(self.outcome)
        elif isinstance(expected, BaseException):
            assert self.outcome is expected, repr(self.outcome)
        else:
            assert self.outcome == expected, repr(self.outcome)

    def saw_thrown(self, throw: tuple[Any, ...]) -> None:
        self.saw((*throw, None, None)[1] or (*throw, GreenletExit)[0])


class Caller(Waiter):
    """One whose green thread is the test's own, and calls the bridge."""

    def __init__(self, function: Callable[[], Any]) -> None:
        def call() -> None:
            try:
                self.outcome = function()
            except BaseException as exc:
                self.outcome = exc

        super().__init__(eventlet.spawn(call))

    def ended(self) -> bool:
        return self.outcome is not None


class Manager:
    """Does the work when it is entered or left; both ways."""

    def __init__(self, enter: Any = None, leave: Any = None) -> None:
        self.enter = enter
        self.leave = leave
        self.left: list[Any] = []

    async def __aenter__(self) -> Any:
        return await self.enter() if self.enter else 'entered'

    async def __aexit__(self, *exc_info: Any) -> None:
        self.left.append(exc_info[0])
        if self.leave:
            await self.leave()

    def __enter__(self) -> Any:
        return self.enter() if self.enter else 'entered'

    def __exit__(self, *exc_info: Any) -> None:
        self.left.append(exc_info[0])
        if self.leave:
            self.leave()


async def items(run: Any) -> Any:
    """Yield one thing at once, then what the work returns."""
    yield 'first'
    yield await run()


async def item(run: Any) -> Any:
    yield await run()


def enter(run: Any) -> Any:
    with aiohub.wrap_async_context_manager(Manager(run)) as value:
        return value


def leave(run: Any) -> Any:
    with aiohub.wrap_async_context_manager(Manager(leave=run)):
        pass
    return 'result'


def first_item(run: Any) -> Any:
    for value in aiohub.wrap_async_iterator(item(run)):
        return value


def second_item(run: Any) -> Any:
    iterator = aiohub.wrap_async_iterator(items(run))
    assert next(iterator) == 'first'
    return next(iterator)


CALLS: dict[str, Any] = {
    'await_': lambda run: aiohub.await_(run()),
    'await_ task': lambda run: aiohub.await_(
        aiohub.get_loop().create_task(run())),
    'await_ future of green thread': lambda run: aiohub.await_(
        aiohub.future_to_greenlet(run())),
    'async_to_sync': lambda run: aiohub.async_to_sync(run)(),
    'async_to_sync, options': lambda run: aiohub.async_to_sync(
        autocancel_future=True)(run)(),
    'enter': enter,
    'first item': first_item,
    'leave': leave,
    'second item': second_item,
}
THREADS: dict[str, Any] = {
    'future_to_greenlet': lambda run: aiohub.future_to_greenlet(run()),
    'future_to_greenlet of task': lambda run: aiohub.future_to_greenlet(
        aiohub.get_loop().create_task(run())),
    'spawn_for_awaitable': lambda run: aiohub.spawn_for_awaitable(run()),
}
WAYS: dict[str, Callable[[Any], Waiter]] = {
    **{name: lambda run, call=call: Caller(lambda: call(run))
       for name, call in CALLS.items()},
    **{name: lambda run, thread=thread: Waiter(thread(run))
       for name, thread in THREADS.items()},
}


def throws() -> list[tuple[Any, ...]]:
    """Return what to kill with, in each form that kill() takes."""
    return [(), (Custom('thrown'),), (Custom, Custom('thrown'), None),
            (CustomBase('thrown'),), (eventlet.Timeout(None),)]


def killed_in_the_turn_it_begins(way: Any, throw: Any) -> None:
    work = Work()
    waiter = way(work.in_task)
    # Runs after the waiter has, and before the loop.
    eventlet.spawn(waiter.kill, *throw)
    waiter.saw_thrown(throw)
    # A task that was made before the green thread began, begins before it.
    assert work.log == [] or (
        isinstance(waiter, Caller) is False
        and work.log == ['start', 'stopped', 'clean']), work.log


def killed_between_waits(way: Any, throw: Any) -> None:
    work = Work(slow=True)
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    waiter.kill(*throw)
    cases.until(lambda: work.cleanup.reached)
    cases.turns()
    assert not waiter.ended(), 'before the cleanup has'
    work.cleanup.open()
    waiter.saw_thrown(throw)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def killed_in_cleanup(way: Any, throw: Any) -> None:
    work = Work(slow=True)
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    cases.until(lambda: work.cleanup.reached)
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    assert work.log == ['start', 'end', 'cleanup stopped'], work.log


def killed_twice(way: Any, throw: Any) -> None:
    work = Work(slow=True)
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    waiter.kill(Custom('the first'))
    cases.until(lambda: work.cleanup.reached)
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    assert work.log == ['start', 'stopped', 'cleanup stopped'], work.log


def killed_twice_at_once(way: Any, throw: Any) -> None:
    work = Work()
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    waiter.kill(Custom('the first'))
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    assert work.log[:2] == ['start', 'stopped'], work.log


def killed_with_result_ready(way: Any, throw: Any) -> None:
    """The work can go on to its result, but has not."""
    work = Work()
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    # Later if there is another green thread between the two.
    assert work.log in (['start', 'stopped', 'clean'],
                        ['start', 'end', 'cleanup stopped']), work.log


def killed_and_swallowed(way: Any, throw: Any) -> None:
    work = Work(swallows='swallowed')
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def not_killed(way: Any, throw: Any) -> None:
    """What it is like without; and a kill afterwards does nothing."""
    for fails in (None, Custom('failed'), CustomBase('failed')):
        work = Work(fails=fails)
        waiter = way(work.in_task)
        cases.until(lambda work=work: work.first.reached)
        work.first.open()
        cases.until(lambda work=work: work.second.reached)
        work.second.open()
        waiter.saw(fails or 'result')
        waiter.kill(*throw)
        waiter.saw(fails or 'result')
        assert work.log == ['start', 'end', 'clean'], work.log


GREEN_MOMENTS = (
    killed_in_the_turn_it_begins, killed_between_waits, killed_in_cleanup,
    killed_twice, killed_twice_at_once, killed_with_result_ready,
    killed_and_swallowed, not_killed)


def add_green_waits() -> None:
    for name, way in WAYS.items():
        for moment in GREEN_MOMENTS:
            if name == 'leave' and moment is killed_in_the_turn_it_begins:
                continue  # a cleanup is not left out: see below
            for throw in throws():
                cases.add('%s, %s, %r' % (name, moment.__name__, throw),
                          moment, way, throw)


def timed_out(call: Any) -> None:
    work = Work(slow=True)

    def wait() -> Any:
        with eventlet.Timeout(cases.SOON) as timeout:
            try:
                call(work.in_task)
            except eventlet.Timeout as exc:
                assert exc is timeout
                return list(work.log)

    waiter = Caller(wait)
    cases.until(lambda: work.cleanup.reached)
    work.cleanup.open()
    waiter.saw(['start', 'stopped', 'clean'])


def timed_out_with_own_exception(call: Any) -> None:
    work = Work()
    custom = Custom('timeout')

    def wait() -> None:
        with eventlet.Timeout(cases.SOON, custom):
            call(work.in_task)

    Caller(wait).saw(custom)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def timed_out_silently(call: Any) -> None:
    work = Work()

    def wait() -> str:
        with eventlet.Timeout(cases.SOON, False):
            call(work.in_task)
        return 'went on'

    Caller(wait).saw('went on')


def add_timeouts() -> None:
    for name, call in CALLS.items():
        for moment in (timed_out, timed_out_with_own_exception,
                       timed_out_silently):
            cases.add('%s, %s' % (name, moment.__name__), moment, call)


def result_set_and_killed(wait: Any, throw: Any) -> None:
    """The future is done, and who waits is not woken before the kill."""
    for fails in (None, Custom('failed')):
        future = aiohub.get_loop().create_future()
        waiter = wait(future)
        cases.turns()
        if fails is None:
            future.set_result('lost')
        else:
            future.set_exception(fails)
        waiter.kill(*throw)
        if fails is None:
            waiter.saw_thrown(throw)
        else:
            waiter.saw(fails)


def cancelled_and_killed(wait: Any, throw: Any) -> None:
    for kill_first in (True, False):
        future = aiohub.get_loop().create_future()
        waiter = wait(future)
        cases.turns()
        if kill_first:
            waiter.kill(*throw)
            future.cancel()
        else:
            future.cancel()
            waiter.kill(*throw)
        waiter.saw_thrown(throw)
        assert future.cancelled()


def add_futures() -> None:
    for throw in throws():
        for name, wait in {
                'await_': lambda f: Caller(lambda: aiohub.await_(f)),
                'future_to_greenlet': lambda f: Waiter(
                    aiohub.future_to_greenlet(f)),
        }.items():
            for moment in (result_set_and_killed, cancelled_and_killed):
                cases.add('%s, %s, %r' % (name, moment.__name__, throw),
                          moment, wait, throw)


# -- the options of future_to_greenlet

FLAGS = [{'autostart_future': start, 'autocancel_future': cancel,
          'autokill_greenlet': kill}
         for start in (True, False) for cancel in (True, False)
         for kill in (True, False)]


def killed_before_it_runs(throw: Any, kill: Any, flags: Any) -> None:
    """The green thread is killed before its first switch, in each way."""
    work = Work()
    coroutine = work.in_task()
    green = aiohub.future_to_greenlet(coroutine, **flags)
    kill(green, *throw)
    waiter = Waiter(green)
    waiter.saw_thrown(throw)
    # Again: nothing more happens.
    kill(green, *throw)
    waiter.saw_thrown(throw)
    if flags['autocancel_future']:
        assert work.log == [], work.log
    elif flags['autostart_future']:
        cases.until(lambda: work.first.reached)
        work.first.open()
        cases.until(lambda: work.second.reached)
        work.open()
        cases.until(lambda: 'clean' in work.log)
    else:
        coroutine.close()


def killed_and_dropped(flags: Any) -> None:
    """Nobody asks for what a killed one was killed with."""
    work = Work()
    coroutine = work.in_task()
    green = aiohub.future_to_greenlet(coroutine, **flags)
    green.kill()
    if flags['autocancel_future']:
        cases.turns()
        assert work.log == []
    elif flags['autostart_future']:
        cases.until(lambda: work.first.reached)
        work.first.open()
        cases.until(lambda: work.second.reached)
        work.open()
        cases.until(lambda: 'clean' in work.log)
    else:
        coroutine.close()


def killed_while_it_waits(flags: Any) -> None:
    work = Work(slow=True)
    waiter = Waiter(aiohub.future_to_greenlet(work.in_task(), **flags))
    caller = Caller(waiter.green.wait)
    cases.until(lambda: work.first.reached)
    waiter.kill(custom := Custom('thrown'))
    if flags['autocancel_future']:
        cases.until(lambda: work.cleanup.reached)
        assert not waiter.ended()
        work.cleanup.open()
        waiter.saw(custom)
        assert work.log == ['start', 'stopped', 'clean']
    else:
        waiter.saw(custom)
        assert work.log == ['start']
        work.first.open()
        cases.until(lambda: work.second.reached)
        work.second.open()
        cases.until(lambda: work.cleanup.reached)
        work.cleanup.open()
        cases.until(lambda: 'clean' in work.log)
        assert work.log == ['start', 'end', 'clean']
    caller.saw(custom)


def future_cancelled(flags: Any) -> None:
    """Somebody else cancels the task that the green thread waits for."""
    loop = aiohub.get_loop()
    for moment in ('before start', 'waiting', 'cleanup', 'twice'):
        work = Work(slow=True)
        task = loop.create_task(work.in_task())
        waiter = Waiter(aiohub.future_to_greenlet(task, **flags))
        caller = Caller(waiter.green.wait)
        if moment != 'before start':
            cases.until(lambda work=work: work.first.reached)
        if moment == 'cleanup':
            work.first.open()
            cases.until(lambda work=work: work.second.reached)
            work.second.open()
            cases.until(lambda work=work: work.cleanup.reached)
        task.cancel()
        if moment == 'waiting':
            cases.until(lambda work=work: work.cleanup.reached)
            cases.turns()
            assert not caller.ended()
            work.cleanup.open()
        elif moment == 'twice':
            cases.until(lambda work=work: work.cleanup.reached)
            task.cancel()
        caller.saw(GreenletExit if flags['autokill_greenlet']
                   else CancelledError)
        waiter.saw(type(caller.outcome))
        assert task.cancelled()


def future_cancelled_and_dropped(flags: Any) -> None:
    """asyncio prints nothing of a task that was cancelled; nor do we."""
    future = aiohub.get_loop().create_future()
    green = aiohub.future_to_greenlet(future, **flags)
    if flags['autostart_future']:
        cases.turns()
        future.cancel()
        cases.until(lambda: green.dead)
    else:
        future.cancel()


def done_already(flags: Any) -> None:
    loop = aiohub.get_loop()
    for end, expected in (
            (lambda f: f.set_result('result'), 'result'),
            (lambda f: f.cancel(), GreenletExit
             if flags['autokill_greenlet'] else CancelledError),
            (lambda f: f.set_exception(Custom()), Custom)):
        future = loop.create_future()
        end(future)
        Caller(aiohub.future_to_greenlet(future, **flags).wait).saw(expected)


KILLS: dict[str, Any] = {
    'GreenThread.kill': lambda green, *throw: green.kill(*throw),
    'eventlet.kill': greenthread.kill,
    'greenthread.cancel': greenthread.cancel,
}


def add_future_to_greenlet() -> None:
    for flags in FLAGS:
        text = ', '.join(name for name, value in flags.items() if value)
        for moment in (killed_and_dropped, killed_while_it_waits,
                       future_cancelled, future_cancelled_and_dropped,
                       done_already):
            cases.add('%s, %s' % (moment.__name__, text), moment, flags)
        for name, kill in KILLS.items():
            for throw in throws():
                cases.add('killed_before_it_runs, %s, %r, %s' % (
                    name, throw, text),
                    killed_before_it_runs, throw, kill, flags)


# -- asyncio waits

class Waiting:
    """A task that waits for green work; how that ended."""

    def __init__(self, way: Any, run: Any, around: Any = None) -> None:
        async def wait() -> Any:
            if around is None:
                return await way(run)
            return await around(way(run))

        self.task = aiohub.get_loop().create_task(wait())

    def ended(self) -> bool:
        return self.task.done()

    def saw(self, expected: Any) -> None:
        cases.until(self.task.done)
        if expected is CancelledError:
            assert self.task.cancelled(), self.task
            return
        assert not self.task.cancelled(), self.task
        outcome = self.task.exception() or self.task.result()
        if isinstance(expected, type):
            assert type(outcome) is expected, repr(outcome)
        elif isinstance(expected, BaseException):
            assert outcome is expected, repr(outcome)
        else:
            assert outcome == expected, repr(outcome)


async def spawned_long_ago(run: Any) -> Any:
    green = eventlet.spawn(run)
    while not green:
        await asyncio.sleep(0)
    return await aiohub.greenlet_to_future(green)


async def bridge_thread(run: Any) -> Any:
    async def nested() -> Any:
        return await aiohub.sync_to_async(run)()

    green = aiohub.future_to_greenlet(nested())
    return await aiohub.greenlet_to_future(green)


async def raw_started_by_hand(run: Any) -> Any:
    green = greenlet.greenlet(run)
    future = aiohub.greenlet_to_future(green, autostart_greenlet=False)
    await asyncio.sleep(0)
    assert not green
    hubs.get_hub().schedule_call_global(0, green.switch)
    return await future


async def async_enter(run: Any) -> Any:
    async with aiohub.wrap_sync_context_manager(Manager(run)) as value:
        return value


async def async_leave(run: Any) -> Any:
    async with aiohub.wrap_sync_context_manager(Manager(leave=run)):
        pass
    return 'result'


def green_items(run: Any, first: bool) -> Any:
    if first:
        yield 'first'
    yield run()


async def async_first_item(run: Any) -> Any:
    async with contextlib.aclosing(
            aiohub.wrap_sync_iterator(green_items(run, False))) as iterator:
        async for value in iterator:
            return value


async def async_second_item(run: Any) -> Any:
    async with contextlib.aclosing(
            aiohub.wrap_sync_iterator(green_items(run, True))) as iterator:
        assert await anext(iterator) == 'first'
        return await anext(iterator)


ASYNC_WAYS: dict[str, Any] = {
    'greenlet_to_future of spawn': lambda run: aiohub.greenlet_to_future(
        eventlet.spawn(run)),
    'greenlet_to_future of raw': lambda run: aiohub.greenlet_to_future(
        greenlet.greenlet(run)),
    'greenlet_to_future, autocancel off': (
        lambda run: aiohub.greenlet_to_future(
            eventlet.spawn(run), autocancel_future=False)),
    'greenlet_to_future of running': spawned_long_ago,
    'greenlet_to_future of raw by hand': raw_started_by_hand,
    'greenlet_to_future of bridge thread': bridge_thread,
    'sync_to_async': lambda run: aiohub.sync_to_async(run)(),
    'sync_to_async, options': lambda run: aiohub.sync_to_async(
        autocancel_future=False)(run)(),
    'async enter': async_enter,
    'async leave': async_leave,
    'async first item': async_first_item,
    'async second item': async_second_item,
}


def cancelled_before_start(way: Any) -> None:
    """What was never begun never begins."""
    work = Work()
    waiting = Waiting(way, work.in_green)
    aiohub.get_loop().call_soon(waiting.task.cancel)
    waiting.saw(CancelledError)
    assert work.log == [], work.log


def cancelled_before_it_could_end(way: Any) -> None:
    """It would not have waited; the cancel is not lost."""
    waiting = Waiting(way, lambda: 'at once')
    aiohub.get_loop().call_soon(waiting.task.cancel)
    waiting.saw(CancelledError)


def cancelled_between_waits(way: Any) -> None:
    work = Work(slow=True)
    waiting = Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    waiting.task.cancel()
    cases.until(lambda: work.cleanup.reached)
    cases.turns()
    assert not waiting.ended(), 'before the cleanup has'
    work.cleanup.open()
    waiting.saw(CancelledError)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def cancelled_in_cleanup(way: Any) -> None:
    work = Work(slow=True)
    waiting = Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    cases.until(lambda: work.cleanup.reached)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert work.log == ['start', 'end', 'cleanup stopped'], work.log


def cancelled_twice(way: Any) -> None:
    work = Work(slow=True)
    waiting = Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    cases.until(lambda: work.cleanup.reached)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert work.log == ['start', 'stopped', 'cleanup stopped'], work.log


def cancelled_twice_at_once(way: Any) -> None:
    work = Work()
    waiting = Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert work.log[:2] == ['start', 'stopped'], work.log


def cancelled_with_result_ready(way: Any) -> None:
    """As it gets its result: the cancel is not lost."""
    work = Work()
    waiting = Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert work.log[-1] == 'clean' or (
        work.log[-1] == 'cleanup stopped'), work.log


def cancelled_and_swallowed(way: Any) -> None:
    work = Work(swallows='swallowed')
    waiting = Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    waiting.saw('swallowed' if way is not async_leave else 'result')
    assert work.log == ['start', 'stopped', 'clean'], work.log


def cancelled_and_failed(way: Any) -> None:
    """The cleanup fails: that is not lost."""

    def fail_in_cleanup() -> None:
        try:
            work.in_green()
        finally:
            raise Custom('cleanup')

    work = Work()
    waiting = Waiting(way, fail_in_cleanup)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    waiting.saw(Custom)


def not_cancelled(way: Any) -> None:
    for fails in (None, Custom('failed'), CustomBase('failed')):
        if fails is not None and way is spawned_long_ago:
            continue  # eventlet prints the traceback of such a one
        work = Work(fails=fails)
        waiting = Waiting(way, work.in_green)
        cases.until(lambda work=work: work.first.reached)
        work.first.open()
        cases.until(lambda work=work: work.second.reached)
        work.second.open()
        waiting.saw(fails or 'result')
        assert not waiting.task.cancel()
        assert work.log == ['start', 'end', 'clean'], work.log


def with_timeout(way: Any) -> None:
    async def around(awaitable: Any) -> Any:
        async with asyncio.timeout(cases.SOON):
            return await awaitable

    work = Work()
    waiting = Waiting(way, work.in_green, around)
    waiting.saw(TimeoutError)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def with_wait_for(way: Any) -> None:
    async def around(awaitable: Any) -> Any:
        return await asyncio.wait_for(awaitable, cases.SOON)

    work = Work()
    waiting = Waiting(way, work.in_green, around)
    waiting.saw(TimeoutError)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def with_wait_for_and_result(way: Any) -> None:
    async def around(awaitable: Any) -> Any:
        return await asyncio.wait_for(awaitable, 1000)

    work = Work()
    waiting = Waiting(way, work.in_green, around)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    waiting.saw('result')


def in_task_group(way: Any) -> None:
    """The failure of one task cancels the other, which cleans up."""

    async def around(awaitable: Any) -> Any:
        async def wait() -> None:
            await awaitable

        async def fail() -> None:
            while not work.first.reached:
                await asyncio.sleep(0)
            raise Custom('other')

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait())
                group.create_task(fail())
        except* Custom:
            pass
        return list(work.log)

    work = Work()
    waiting = Waiting(way, work.in_green, around)
    waiting.saw(['start', 'stopped', 'clean'])


def under_shield(way: Any) -> None:
    """It goes on, and its result can be had later."""
    inner: list[Any] = []

    async def around(awaitable: Any) -> Any:
        inner.append(asyncio.ensure_future(awaitable))
        return await asyncio.shield(inner[0])

    work = Work()
    waiting = Waiting(way, work.in_green, around)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    cases.until(inner[0].done)
    assert inner[0].result() == 'result'
    assert work.log == ['start', 'end', 'clean'], work.log


def cancelled_by_who_ends_all_tasks(way: Any) -> None:
    work = Work()
    before = asyncio.all_tasks(aiohub.get_loop())
    waiting = Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    for task in asyncio.all_tasks(aiohub.get_loop()) - before:
        task.cancel()
    waiting.saw(CancelledError)
    assert work.log[:2] == ['start', 'stopped'], work.log


STARTS_LATER = (spawned_long_ago, raw_started_by_hand, async_leave,
                async_second_item, bridge_thread)


def add_asyncio_waits() -> None:
    for name, way in ASYNC_WAYS.items():
        for moment in (
                cancelled_before_start, cancelled_before_it_could_end,
                cancelled_between_waits, cancelled_in_cleanup,
                cancelled_twice, cancelled_twice_at_once,
                cancelled_with_result_ready, cancelled_and_swallowed,
                cancelled_and_failed, not_cancelled, with_timeout,
                with_wait_for, with_wait_for_and_result, in_task_group,
                under_shield, cancelled_by_who_ends_all_tasks):
            if way in STARTS_LATER and moment in (
                    cancelled_before_start, cancelled_before_it_could_end):
                continue
            if moment is cancelled_and_failed and way is spawned_long_ago:
                continue  # eventlet prints the traceback of such a one
            if moment is cancelled_and_swallowed and way is bridge_thread:
                continue  # the green thread between does not swallow it
            cases.add('%s, %s' % (name, moment.__name__), moment, way)


# -- the options of greenlet_to_future

def green_killed(make: Any) -> None:
    """Somebody else kills the green thread that a task waits for."""
    for autocancel in (True, False):
        for begun in (True, False):
            work = Work()
            green = make(work.in_green)
            future = aiohub.greenlet_to_future(
                green, autocancel_future=autocancel)
            waiting = Waiting(lambda _, future=future: future, None)
            if begun:
                cases.until(lambda work=work: work.first.reached)
            # With its own exception eventlet prints the traceback.
            eventlet.kill(green)
            waiting.saw(CancelledError if autocancel else GreenletExit)
            assert ('start' in work.log) is begun


def green_not_killed_by_cancel(make: Any) -> None:
    for begun in (True, False):
        work = Work()
        future = aiohub.greenlet_to_future(
            make(work.in_green), autokill_greenlet=False)
        waiting = Waiting(lambda _, future=future: future, None)
        cases.until(lambda work=work: work.first.reached or not begun)
        waiting.task.cancel()
        cases.until(waiting.task.done)
        assert future.cancelled() or not begun
        cases.until(lambda work=work: work.first.reached)
        assert work.log == ['start']
        work.first.open()
        cases.until(lambda work=work: work.second.reached)
        work.second.open()
        cases.until(lambda work=work: 'clean' in work.log)
        assert work.log == ['start', 'end', 'clean']


@cases.case
def raw_never_started_is_cancelled():
    """Nobody starts it; whoever waits for it can still be cancelled."""
    for options in ({}, {'autocancel_future': False}):
        work = Work()
        green = greenlet.greenlet(work.in_green)
        future = aiohub.greenlet_to_future(
            green, autostart_greenlet=False, **options)
        waiting = Waiting(lambda _, future=future: future, None)
        cases.turns()
        waiting.task.cancel()
        waiting.saw(CancelledError)
        assert green.dead and not work.log


@cases.case
def raw_never_started_is_killed():
    work = Work()
    green = greenlet.greenlet(work.in_green)
    future = aiohub.greenlet_to_future(green, autostart_greenlet=False)
    waiting = Waiting(lambda _: future, None)
    cases.turns()
    eventlet.kill(green)
    waiting.saw(CancelledError)
    assert green.dead and not work.log


@cases.case
def spawned_for_later_is_cancelled():
    """A green thread that has not begun is never begun."""
    work = Work()
    green = eventlet.spawn_after(0.001, work.in_green)
    waiting = Waiting(lambda _: aiohub.greenlet_to_future(green), None)
    cases.turns(1)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    # Until after the time at which it would have begun.
    eventlet.sleep(0.002)
    assert not work.log


def add_greenlet_to_future() -> None:
    for name, make in {
            'spawn': eventlet.spawn,
            'raw': greenlet.greenlet,
    }.items():
        cases.add('green_not_killed_by_cancel, ' + name,
                  green_not_killed_by_cancel, make)
        cases.add('green_killed, ' + name, green_killed, make)


@cases.case
def bridge_thread_killed_before_it_runs():
    """The bridge's own green thread, by all forms of kill."""
    for throw in throws()[1:]:
        for kill in KILLS.values():
            green = aiohub.future_to_greenlet(asyncio.sleep(0))
            waiting = Waiting(
                lambda _, green=green: aiohub.greenlet_to_future(green),
                None)
            future = aiohub.greenlet_to_future(green)
            kill(green, *throw)
            waiting.saw((*throw, None)[1] or throw[0])
            Caller(lambda future=future: aiohub.await_(future)).saw(
                (*throw, None)[1] or throw[0])


# -- context managers and iterators

@cases.case
def killed_in_the_body():
    """What was entered is left, with what was thrown."""
    for throw in throws():
        manager = Manager()
        reached = cases.Gate()

        def body(manager=manager, reached=reached):
            with aiohub.wrap_async_context_manager(manager):
                reached.in_green()

        waiter = Caller(body)
        cases.until(lambda reached=reached: reached.reached)
        waiter.kill(*throw)
        waiter.saw_thrown(throw)
        assert len(manager.left) == 1
        assert issubclass(type(waiter.outcome), manager.left[0])


@cases.case
def killed_just_when_entered():
    """It is left again if the body does not begin."""
    for throw in throws():
        # In its last step __aenter__ does not wait: it cannot be cancelled.
        gate = cases.Gate()
        manager = Manager(gate.in_task)
        begun: list[int] = []
        killer: list[Any] = []

        async def enter(gate=gate, killer=killer, throw=throw):
            await gate.in_task()
            killer.append(eventlet.spawn(waiter.kill, *throw))

        def body(manager=manager, begun=begun):
            with aiohub.wrap_async_context_manager(manager):
                begun.append(1)
                eventlet.sleep(0)

        manager.enter = enter
        waiter = Caller(body)
        cases.until(lambda gate=gate: gate.reached)
        gate.open()
        waiter.saw_thrown(throw)
        # The order of the two wake-ups is the hub's affair.
        assert len(manager.left) == 1, (manager.left, begun)


@cases.case
def killed_in_the_turn_it_leaves():
    """A cleanup is not left out."""
    for throw in throws():
        work = Work()
        manager = Manager(leave=work.in_task)
        gate = cases.Gate()

        def body(manager=manager, gate=gate):
            with aiohub.wrap_async_context_manager(manager):
                gate.in_green()

        waiter = Caller(body)
        cases.until(lambda gate=gate: gate.reached)
        gate.open()
        eventlet.spawn(waiter.kill, *throw)
        cases.until(lambda work=work, waiter=waiter:
                    work.first.reached or waiter.ended())
        work.first.open()
        cases.until(lambda work=work, waiter=waiter:
                    work.second.reached or waiter.ended())
        work.second.open()
        waiter.saw_thrown(throw)
        assert len(manager.left) == 1 and work.log[-1] == 'clean'


@cases.case
def entering_fails():
    async def fail():
        raise Custom('entering')

    def fail_green():
        raise Custom('entering')

    Caller(lambda: enter(fail)).saw(Custom)
    Waiting(async_enter, fail_green).saw(Custom)


@cases.case
def leaving_fails_after_kill():
    """What the cleanup raises goes first, as out of any finally."""
    async def fail():
        raise Custom('leaving')

    gate = cases.Gate()

    def body():
        with aiohub.wrap_async_context_manager(Manager(leave=fail)):
            gate.in_green()

    waiter = Caller(body)
    cases.until(lambda: gate.reached)
    waiter.kill()
    waiter.saw(Custom)
    assert isinstance(waiter.outcome.__context__, GreenletExit)


@cases.case
def task_of_the_manager_is_cancelled_in_the_body():
    """By its own timeout; the body goes on, and its end raises."""
    reached: list[int] = []

    def body():
        timeout = asyncio.timeout(0.001)
        with aiohub.wrap_async_context_manager(timeout):
            cases.until(timeout.expired)
            reached.append(1)

    Caller(body).saw(TimeoutError)
    assert reached


@cases.case
def task_of_the_manager_is_cancelled_before_it_enters():
    """By who ends all tasks; who enters does not wait for ever."""
    work = Work()
    before = asyncio.all_tasks(aiohub.get_loop())
    waiter = Caller(lambda: enter(work.in_task))

    def cancel():
        for task in asyncio.all_tasks(aiohub.get_loop()) - before:
            task.cancel()

    eventlet.spawn(cancel)
    waiter.saw(CancelledError)
    assert not work.log


@cases.case
def task_of_the_iterator_is_cancelled():
    """By who ends all tasks, between two items or while one is waited for."""
    for between in (True, False):
        gate = cases.Gate()
        work = Work()
        before = asyncio.all_tasks(aiohub.get_loop())

        def loop(gate=gate, work=work, between=between):
            iterator = aiohub.wrap_async_iterator(items(work.in_task))
            next(iterator)
            if between:
                gate.in_green()
            next(iterator)

        waiter = Caller(loop)
        cases.until(lambda gate=gate, work=work:
                    gate.reached or work.first.reached)
        for task in asyncio.all_tasks(aiohub.get_loop()) - before:
            task.cancel()
        cases.turns()
        gate.open()
        waiter.saw(CancelledError)


@cases.case
def what_cannot_be_iterated_or_entered():
    """An error comes out, instead of a wait without end."""
    def loop():
        for _ in aiohub.wrap_async_iterator([1]):
            pass

    def body():
        with aiohub.wrap_async_context_manager(1):
            pass

    async def async_loop(_):
        async for _ in aiohub.wrap_sync_iterator(1):
            pass

    async def async_body(_):
        async with aiohub.wrap_sync_context_manager(1):
            pass

    Caller(loop).saw(TypeError)
    Caller(body).saw(AttributeError)
    Waiting(async_loop, None).saw(TypeError)
    Waiting(async_body, None).saw(AttributeError)


@cases.case
def entering_in_a_coroutine():
    """Says what to write instead, and leaves no task."""
    async def enter_wrongly(_):
        with aiohub.wrap_async_context_manager(Manager()):
            pass

    async def iterate_wrongly(_):
        for _ in aiohub.wrap_async_iterator(items(None)):
            pass

    Waiting(enter_wrongly, None).saw(aiohub.AiohubError)
    Waiting(iterate_wrongly, None).saw(aiohub.AiohubError)


@cases.case
def cancelled_in_the_async_body():
    manager = Manager()
    gate = cases.Gate()

    async def body(_):
        async with aiohub.wrap_sync_context_manager(manager):
            await gate.in_task()

    waiting = Waiting(body, None)
    cases.until(lambda: gate.reached)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert manager.left == [CancelledError]


@cases.case
def cancelled_just_when_entered():
    """The body never runs with what has been left already."""
    for order in (0, 1):
        gate = cases.Gate()
        manager = Manager(gate.in_green)
        wrong: list[int] = []

        async def body(_, manager=manager, wrong=wrong):
            async with aiohub.wrap_sync_context_manager(manager):
                wrong.extend(manager.left)
                await asyncio.sleep(0)

        waiting = Waiting(body, None)
        cases.until(lambda gate=gate: gate.reached)
        if order:
            waiting.task.cancel()
            gate.open()
        else:
            gate.open()
            waiting.task.cancel()
        waiting.saw(CancelledError)
        assert not wrong
        assert len(manager.left) < 2


@cases.case
def iterated_after_the_cancel_was_swallowed():
    """Who catches CancelledError and goes on does not wait for ever."""
    for ready in (True, False):
        gate = cases.Gate()

        def green(gate=gate):
            for number in range(3):
                gate.in_green()
                yield number

        async def loop(_):
            iterator = aiohub.wrap_sync_iterator(green())
            try:
                await anext(iterator)
            except CancelledError:
                pass
            try:
                await anext(iterator)
            except StopAsyncIteration:
                return 'ended'
            except CancelledError:
                return 'ended'

        waiting = Waiting(loop, None)
        cases.until(lambda gate=gate: gate.reached)
        if ready:
            gate.open()
        waiting.task.cancel()
        cases.turns()
        waiting.saw('ended')


@cases.case
def loops_left_early():
    """A generator is closed; its cleanup may wait."""
    work = Work()

    async def agen():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            work.log.append('clean')

    def loop():
        for _ in aiohub.wrap_async_iterator(agen()):
            break
        return list(work.log)

    Caller(loop).saw(['clean'])

    def gen():
        try:
            yield 1
        finally:
            eventlet.sleep(0)
            work.log.append('green clean')

    async def async_loop(_):
        async with contextlib.aclosing(
                aiohub.wrap_sync_iterator(gen())) as iterator:
            async for _ in iterator:
                break
        return list(work.log)

    Waiting(async_loop, None).saw(['clean', 'green clean'])


@cases.case
def iterator_dropped_where_nobody_can_wait():
    """In a callback: it is closed all the same, and nothing is printed."""
    log: list[str] = []

    async def agen():
        try:
            yield 1
            yield 2
        finally:
            log.append('clean')

    kept = [aiohub.wrap_async_iterator(agen())]
    assert next(kept[0]) == 1
    aiohub.get_loop().call_soon(kept.clear)
    cases.until(lambda: log)


# -- both at once, and the rest of the list

@cases.case
def kill_reaches_through_levels():
    """Green waits for a task that waits for green that waits for a task."""
    for levels in (1, 2, 5):
        work = Work(slow=True)

        def down(level, work=work):
            run = work.in_task
            if level:
                run = aiohub.sync_to_async(lambda: down(level - 1))
            return aiohub.await_(run())

        waiter = Caller(lambda levels=levels: down(levels))
        cases.until(lambda work=work: work.first.reached)
        waiter.kill(custom := Custom('thrown'))
        cases.until(lambda work=work: work.cleanup.reached)
        cases.turns()
        assert not waiter.ended()
        work.cleanup.open()
        waiter.saw(custom)
        assert work.log == ['start', 'stopped', 'clean'], work.log


@cases.case
def shield_keeps_the_task():
    """await_() of a shielded task ends at once, and the task goes on."""
    work = Work()
    task = aiohub.get_loop().create_task(work.in_task())
    waiter = Caller(lambda: aiohub.await_(asyncio.shield(task)))
    cases.until(lambda: work.first.reached)
    waiter.kill()
    waiter.saw(GreenletExit)
    assert work.log == ['start']
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    Caller(lambda: aiohub.await_(task)).saw('result')


@cases.case
def two_wait_for_one():
    """The kill of one cancels it for both."""
    work = Work()
    task = aiohub.get_loop().create_task(work.in_task())
    one = Caller(lambda: aiohub.await_(task))
    other = Caller(lambda: aiohub.await_(task))
    cases.until(lambda: work.first.reached)
    one.kill()
    one.saw(GreenletExit)
    other.saw(CancelledError)


@cases.case
def two_tasks_wait_for_one_green_thread():
    work = Work()
    green = eventlet.spawn(work.in_green)
    one = Waiting(lambda _: aiohub.greenlet_to_future(green), None)
    other = Waiting(lambda _: aiohub.greenlet_to_future(green), None)
    cases.until(lambda: work.first.reached)
    cases.turns()
    one.task.cancel()
    one.saw(CancelledError)
    other.saw(CancelledError)


@cases.case
def main_greenlet_times_out():
    """The main greenlet has no kill, but it has timeouts."""
    for way in ('await_', 'async_to_sync'):
        work = Work()
        try:
            with eventlet.Timeout(cases.SOON):
                CALLS[way](work.in_task)
        except eventlet.Timeout:
            assert work.log == ['start', 'stopped', 'clean']
        else:
            raise AssertionError(way)


@cases.case
def asyncio_timeout_inside():
    """A timeout of asyncio inside what green code waits for."""
    async def run():
        async with asyncio.timeout(cases.SOON):
            await asyncio.get_running_loop().create_future()

    for call in CALLS.values():
        Caller(lambda call=call: call(run)).saw(TimeoutError)


@cases.case
def eventlet_timeout_inside():
    """A timeout of eventlet inside what a task waits for."""
    def run():
        with eventlet.Timeout(cases.SOON):
            event.Event().wait()

    for way in ASYNC_WAYS.values():
        if way is not spawned_long_ago:
            Waiting(way, run).saw(eventlet.Timeout)


@cases.case
def killed_by_what_it_waits_for():
    """A coroutine kills the green thread that waits for it."""
    for throw in throws():
        done: list[int] = []

        async def run(throw=throw, done=done):
            eventlet.spawn(waiter.kill, *throw)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                done.append(1)

        waiter = Caller(lambda run=run: aiohub.await_(run()))
        waiter.saw_thrown(throw)
        assert done


@cases.case
def who_waited_is_gone():
    """A future that is done after all have left wakes nobody else."""
    future = aiohub.get_loop().create_future()
    woken: list[Any] = []

    def wait():
        try:
            aiohub.await_(asyncio.shield(future))
        except Custom:
            # Waits for something else when the future is done.
            opened = event.Event()
            eventlet.spawn(opened.send, 'mine')
            cases.turns()
            woken.append(opened.wait())

    waiter = Caller(lambda: wait() or 'ended')
    cases.turns()
    waiter.kill(Custom())
    future.set_result('of others')
    waiter.saw('ended')
    assert woken == ['mine']


add_green_waits()
add_timeouts()
add_futures()
add_future_to_greenlet()
add_asyncio_waits()
add_greenlet_to_future()
cases.run_all()
mode.done()
