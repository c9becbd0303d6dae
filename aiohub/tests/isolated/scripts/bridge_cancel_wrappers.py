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

"""Context managers and iterators of the other side, and who uses them leaves.

Killed or cancelled while they are entered, in the body, and when they are
left; what fails on the way; and iterators that are not used up.
"""

import asyncio
import contextlib
from typing import Any

import cases
import mode
import waiters

import aiohub
from aiohub import tasks
import eventlet
import greenlet

CancelledError = asyncio.CancelledError
GreenletExit = greenlet.GreenletExit


# -- entered and left by green code

@cases.case
def killed_in_the_body():
    """What was entered is left, with what was thrown."""
    for throw in waiters.throws():
        manager = waiters.Manager()
        reached = cases.Gate()

        def body(manager=manager, reached=reached):
            with aiohub.wrap_async_context_manager(manager):
                reached.in_green()

        waiter = waiters.Caller(body)
        cases.until(lambda reached=reached: reached.reached)
        waiter.kill(*throw)
        waiter.saw_thrown(throw)
        assert len(manager.left) == 1
        assert issubclass(type(waiter.outcome), manager.left[0])


@cases.case
def killed_just_when_entered():
    """It is left again if the body does not begin."""
    for throw in waiters.throws():
        # In its last step __aenter__ does not wait: it cannot be cancelled.
        gate = cases.Gate()
        manager = waiters.Manager(gate.in_task)
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
        waiter = waiters.Caller(body)
        cases.until(lambda gate=gate: gate.reached)
        gate.open()
        waiter.saw_thrown(throw)
        # The order of the two wake-ups is the hub's affair.
        assert len(manager.left) == 1, (manager.left, begun)


@cases.case
def killed_in_the_turn_it_leaves():
    """A cleanup is not left out."""
    for throw in waiters.throws():
        work = waiters.Work()
        manager = waiters.Manager(leave=work.in_task)
        gate = cases.Gate()

        def body(manager=manager, gate=gate):
            with aiohub.wrap_async_context_manager(manager):
                gate.in_green()

        waiter = waiters.Caller(body)
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
        raise waiters.Custom('entering')

    def fail_green():
        raise waiters.Custom('entering')

    waiters.Caller(lambda: waiters.enter(fail)).saw(waiters.Custom)
    waiters.Waiting(waiters.async_enter, fail_green).saw(waiters.Custom)


@cases.case
def leaving_fails_after_kill():
    """What the cleanup raises goes first, as out of any finally."""
    async def fail():
        raise waiters.Custom('leaving')

    gate = cases.Gate()

    def body():
        with aiohub.wrap_async_context_manager(waiters.Manager(leave=fail)):
            gate.in_green()

    waiter = waiters.Caller(body)
    cases.until(lambda: gate.reached)
    waiter.kill()
    waiter.saw(waiters.Custom)
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

    waiters.Caller(body).saw(TimeoutError)
    assert reached


@cases.case
def task_of_the_manager_is_cancelled_before_it_enters():
    """By who ends all tasks; who enters does not wait for ever."""
    work = waiters.Work()
    before = asyncio.all_tasks(aiohub.get_loop())
    waiter = waiters.Caller(lambda: waiters.enter(work.in_task))

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
        work = waiters.Work()
        before = asyncio.all_tasks(aiohub.get_loop())

        def loop(gate=gate, work=work, between=between):
            iterator = aiohub.wrap_async_iterator(waiters.items(work.in_task))
            next(iterator)
            if between:
                gate.in_green()
            next(iterator)

        waiter = waiters.Caller(loop)
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

    waiters.Caller(loop).saw(TypeError)
    waiters.Caller(body).saw(AttributeError)
    waiters.Waiting(async_loop, None).saw(TypeError)
    waiters.Waiting(async_body, None).saw(AttributeError)


@cases.case
def entering_in_a_coroutine():
    """Says what to write instead, and leaves no task."""
    async def enter_wrongly(_):
        with aiohub.wrap_async_context_manager(waiters.Manager()):
            pass

    async def iterate_wrongly(_):
        for _ in aiohub.wrap_async_iterator(waiters.items(None)):
            pass

    # Where it has no greenlet of its own.
    tasks.enabled = False
    try:
        waiters.Waiting(enter_wrongly, None).saw(aiohub.AiohubError)
        waiters.Waiting(iterate_wrongly, None).saw(aiohub.AiohubError)
    finally:
        tasks.enabled = True


# -- entered and left by a coroutine

@cases.case
def cancelled_in_the_async_body():
    manager = waiters.Manager()
    gate = cases.Gate()

    async def body(_):
        async with aiohub.wrap_sync_context_manager(manager):
            await gate.in_task()

    waiting = waiters.Waiting(body, None)
    cases.until(lambda: gate.reached)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert manager.left == [CancelledError]


@cases.case
def cancelled_just_when_entered():
    """The body never runs with what has been left already."""
    for order in (0, 1):
        gate = cases.Gate()
        manager = waiters.Manager(gate.in_green)
        wrong: list[int] = []

        async def body(_, manager=manager, wrong=wrong):
            async with aiohub.wrap_sync_context_manager(manager):
                wrong.extend(manager.left)
                await asyncio.sleep(0)

        waiting = waiters.Waiting(body, None)
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

        waiting = waiters.Waiting(loop, None)
        cases.until(lambda gate=gate: gate.reached)
        if ready:
            gate.open()
        waiting.task.cancel()
        cases.turns()
        waiting.saw('ended')


# -- iterators that are not used up

@cases.case
def loops_left_early():
    """A generator is closed; its cleanup may wait."""
    work = waiters.Work()

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

    waiters.Caller(loop).saw(['clean'])

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

    waiters.Waiting(async_loop, None).saw(['clean', 'green clean'])


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


cases.run_all()
mode.done()
