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

"""One wrapped context manager, entered by several or several times.

A wrapper is as reusable as its manager. And coroutines that are closed, by
hand or because they are collected, while they enter, in the body and while
they leave.
"""

import asyncio
from collections.abc import Callable
import contextlib
import gc
from typing import Any

import cases
import mode
import waiters

import aiohub
from aiohub import tasks
import eventlet
from eventlet import semaphore
import greenlet

CancelledError = asyncio.CancelledError

# eventlet's asyncio hub makes the tasks of its loop itself: they are those of
# asyncio, and a green call in one is an error.
GREEN_TASKS = mode.HUB != 'asyncio'


class Many:
    """May be entered by many at once; both ways.

    Each entry has a number and a gate that it waits at while it leaves.
    """

    def __init__(self) -> None:
        self.entered: list[Any] = []
        #: Number of an entry and what it was left with.
        self.left: list[tuple[int, Any]] = []
        self.leaving = [cases.Gate() for _ in range(3)]

    def _enter(self, who: Any) -> int:
        self.entered.append(who)
        return len(self.entered) - 1

    def _leave(self, who: Any, exc_info: Any) -> None:
        # Where it was entered. The wrong one would have been for another.
        self.left.append((self.entered.index(who), exc_info[0]))

    async def __aenter__(self) -> int:
        return self._enter(asyncio.current_task())

    async def __aexit__(self, *exc_info: Any) -> None:
        who = asyncio.current_task()
        await self.leaving[self.entered.index(who)].in_task()
        self._leave(who, exc_info)

    def __enter__(self) -> int:
        return self._enter(greenlet.getcurrent())

    def __exit__(self, *exc_info: Any) -> None:
        who = greenlet.getcurrent()
        self.leaving[self.entered.index(who)].in_green()
        self._leave(who, exc_info)


class Users:
    """Green threads, or tasks, that use one wrapper.

    :param shared: The wrapper.
    """

    def __init__(self, shared: Any) -> None:
        #: What each got when it entered, by the order of their start.
        self.inside: dict[int, Any] = {}
        self.gates: list[cases.Gate] = []
        self.users: list[Any] = []
        self._shared = shared

    def start(self, fails: BaseException | None = None) -> Any:
        """Have one more enter, stay inside up to its gate, and leave."""
        number = len(self.gates)
        gate = cases.Gate()
        self.gates.append(gate)

        def body() -> str:
            with self._shared as value:
                self.inside[number] = value
                try:
                    gate.in_green()
                finally:
                    del self.inside[number]
                if fails:
                    raise fails
            return 'left'

        async def async_body(_: object) -> str:
            async with self._shared as value:
                self.inside[number] = value
                try:
                    await gate.in_task()
                finally:
                    del self.inside[number]
                if fails:
                    raise fails
            return 'left'

        self.users.append(
            waiters.Waiting(async_body, None)
            if hasattr(self._shared, '__aenter__') else waiters.Caller(body))
        return self.users[-1]

    def stop(self, number: int) -> None:
        """Kill it, or cancel it."""
        user = self.users[number]
        if isinstance(user, waiters.Caller):
            eventlet.spawn(user.kill)
        else:
            user.task.cancel()

    def stopped(self, number: int) -> None:
        """Wait for the end of one that was killed or cancelled."""
        self.users[number].saw(
            greenlet.GreenletExit
            if isinstance(self.users[number], waiters.Caller)
            else CancelledError)

    def until_inside(self, *numbers: int) -> None:
        cases.until(lambda: sorted(self.inside) == sorted(numbers))
        cases.turns()
        assert sorted(self.inside) == sorted(numbers), self.inside

    def leave(self, number: int) -> None:
        self.gates[number].open()
        self.users[number].saw('left')


async def _made(make: Callable[[], Any]) -> Any:
    return make()


def async_wrapper(make: Callable[[], Any]) -> Any:
    """Return the wrapper of a manager that is made in a coroutine."""
    return aiohub.wrap_async_context_manager(aiohub.await_(_made(make)))


def in_each_world(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """Decorator: a case for each kind of those who share a wrapper."""
    def in_plain_tasks() -> None:
        # All of them have one greenlet, then.
        tasks.enabled = False
        try:
            check(aiohub.wrap_sync_context_manager)
        finally:
            tasks.enabled = True

    cases.add(check.__name__, check, aiohub.wrap_async_context_manager)
    cases.add(check.__name__ + '_tasks', check,
              aiohub.wrap_sync_context_manager)
    cases.add(check.__name__ + '_plain_tasks', in_plain_tasks)
    return check


def semaphore_of(wrap: Any, count: int) -> Any:
    """Return the wrapper of a semaphore that lets in so many."""
    if wrap is aiohub.wrap_async_context_manager:
        return async_wrapper(lambda: asyncio.Semaphore(count))
    return wrap(semaphore.Semaphore(count))


# -- several at once

@in_each_world
def one_at_a_time(wrap):
    """A lock's wrapper lets in one, and the next when that has left."""
    users = Users(async_wrapper(asyncio.Lock)
                  if wrap is aiohub.wrap_async_context_manager
                  else wrap(semaphore.Semaphore()))
    for _ in range(3):
        users.start()
    for number in range(3):
        users.until_inside(number)
        users.leave(number)


@in_each_world
def as_many_as_the_manager_lets_in(wrap):
    users = Users(semaphore_of(wrap, 2))
    for _ in range(3):
        users.start()
    users.until_inside(0, 1)
    # The one that came first does not wait for the one that came last.
    users.leave(0)
    users.until_inside(1, 2)
    users.leave(2)
    users.until_inside(1)
    users.leave(1)


@in_each_world
def each_leaves_its_own_entry(wrap):
    """In any order, and with what its own body raised."""
    manager = Many()
    users = Users(wrap(manager))
    error = waiters.Custom('body')
    first = users.start(error)
    users.until_inside(0)
    users.start()
    users.until_inside(0, 1)
    third = users.start(KeyError('third'))
    users.until_inside(0, 1, 2)
    assert users.inside == {0: 0, 1: 1, 2: 2}
    users.gates[1].open()
    cases.until(lambda: manager.leaving[1].reached)
    users.gates[0].open()
    cases.until(lambda: manager.leaving[0].reached)
    users.gates[2].open()
    cases.until(lambda: manager.leaving[2].reached)
    for number in (2, 0, 1):
        # Nobody has ended because of another.
        assert not users.users[number].ended()
        manager.leaving[number].open()
        cases.until(users.users[number].ended)
    third.saw(KeyError)
    first.saw(error)
    users.users[1].saw('left')
    assert manager.left == [(2, KeyError), (0, waiters.Custom), (1, None)]


@in_each_world
def stopped_while_another_is_inside(wrap):
    """One that is killed, or cancelled, while it enters takes nothing away."""
    users = Users(semaphore_of(wrap, 1))
    for _ in range(3):
        users.start()
    users.until_inside(0)
    users.stop(1)
    users.stopped(1)
    users.until_inside(0)
    users.leave(0)
    users.until_inside(2)
    users.stop(2)
    users.stopped(2)
    users.start()
    users.until_inside(3)
    users.leave(3)


@in_each_world
def stopped_while_it_leaves(wrap):
    """The other one is inside as before, and leaves as it should."""
    manager = Many()
    users = Users(wrap(manager))
    users.start()
    users.until_inside(0)
    users.start()
    users.until_inside(0, 1)
    users.gates[0].open()
    cases.until(lambda: manager.leaving[0].reached)
    users.stop(0)
    users.stopped(0)
    users.until_inside(1)
    assert not manager.left
    users.gates[1].open()
    cases.until(lambda: manager.leaving[1].reached)
    manager.leaving[1].open()
    users.users[1].saw('left')
    assert manager.left == [(1, None)]


@in_each_world
def entering_fails_for_one(wrap):
    """For the second: the first leaves its own entry."""
    manager = waiters.Manager()
    users = Users(wrap(manager))
    users.start()
    users.until_inside(0)

    async def fail():
        raise waiters.Custom('entering')

    def fail_green():
        raise waiters.Custom('entering')

    manager.enter = (
        fail if wrap is aiohub.wrap_async_context_manager else fail_green)
    users.start().saw(waiters.Custom)
    assert not manager.left
    users.leave(0)
    assert manager.left == [None]


# -- again by the same one

def _left_in_turn(manager: Many) -> None:
    for number in (1, 0):
        cases.until(lambda number=number: manager.leaving[number].reached)
        cases.turns()
        # The outer one is left when the inner one has been.
        assert sum(gate.reached for gate in manager.leaving) == 2 - number
        manager.leaving[number].open()


@cases.case
def entered_again_in_the_body():
    manager = Many()
    shared = aiohub.wrap_async_context_manager(manager)

    def body():
        with shared as outer:
            with contextlib.suppress(waiters.Custom):
                with shared as inner:
                    assert (outer, inner) == (0, 1)
                    raise waiters.Custom('inner')
        return 'left'

    waiter = waiters.Caller(body)
    _left_in_turn(manager)
    waiter.saw('left')
    assert manager.left == [(1, waiters.Custom), (0, None)]


@cases.case
def entered_again_in_the_async_body():
    manager = Many()
    shared = aiohub.wrap_sync_context_manager(manager)

    async def body(_):
        async with shared as outer:
            with contextlib.suppress(waiters.Custom):
                async with shared as inner:
                    assert (outer, inner) == (0, 1)
                    raise waiters.Custom('inner')
        return 'left'

    waiting = waiters.Waiting(body, None)
    _left_in_turn(manager)
    waiting.saw('left')
    assert manager.left == [(1, waiters.Custom), (0, None)]


@in_each_world
def entered_again_later(wrap):
    users = Users(semaphore_of(wrap, 1))
    for number in range(3):
        users.start()
        users.until_inside(number)
        users.leave(number)


# -- left by another than has entered

@cases.case
def exit_stack_passed_on():
    """It leaves for one who is gone, and not what others have entered."""
    manager = Many()
    shared = aiohub.wrap_async_context_manager(manager)
    stack = contextlib.ExitStack()
    waiter = waiters.Caller(lambda: stack.enter_context(shared))
    waiter.saw(0)
    del waiter
    gc.collect()
    users = Users(shared)
    users.start()
    users.until_inside(0)
    closer = waiters.Caller(lambda: stack.close() or 'closed')
    cases.until(lambda: manager.leaving[0].reached)
    manager.leaving[0].open()
    closer.saw('closed')
    assert manager.left == [(0, None)]
    users.gates[0].open()
    cases.until(lambda: manager.leaving[1].reached)
    manager.leaving[1].open()
    users.users[0].saw('left')
    assert manager.left == [(0, None), (1, None)]


@cases.case
def async_generator_begun_in_another_task():
    """As asyncio.wait_for() of Python 3.11 begins it."""
    lock = semaphore.Semaphore()
    shared = aiohub.wrap_sync_context_manager(lock)

    async def items():
        async with shared:
            yield 'first'

    async def begun_elsewhere(gone):
        iterator = items()

        async def begin():
            return await anext(iterator)

        begun = asyncio.ensure_future(begin())
        assert await begun == 'first'
        if gone:
            del begun
            # The step that it has woken us with refers to it.
            await asyncio.sleep(0)
            gc.collect()
        assert lock.locked()
        await iterator.aclose()
        return lock.locked()

    for enabled, gone in [(True, False), (True, True), (False, False),
                          (False, True)]:
        tasks.enabled = enabled
        try:
            waiting = waiters.Waiting(begun_elsewhere, gone)
            cases.until(waiting.ended)
        finally:
            tasks.enabled = True
        cases.until(lambda: not lock.locked())
        # Asyncio's own tasks do not know then whether somebody waits.
        if not gone or (enabled and GREEN_TASKS):
            waiting.saw(False)


@cases.case
def left_more_often_than_entered():
    shared = aiohub.wrap_async_context_manager(waiters.Manager())
    waiters.Caller(
        lambda: shared.__exit__(None, None, None)).saw(aiohub.AiohubError)
    async_shared = aiohub.wrap_sync_context_manager(waiters.Manager())
    waiters.Waiting(lambda _: async_shared.__aexit__(None, None, None),
                    None).saw(aiohub.AiohubError)


# -- coroutines that are closed

async def _body(shared: Any, gate: cases.Gate | None = None) -> None:
    async with shared:
        if gate is not None:
            await gate.in_task()


def _drive(coro: Any) -> Any:
    """Have a coroutine go on to where it awaits, as a task does."""
    future = coro.send(None)
    future._asyncio_future_blocking = False
    return future


@cases.case
def closed_while_it_enters():
    """Before the green thread has begun, and while that waits."""
    for begun in (False, True):
        lock = semaphore.Semaphore()
        lock.acquire()
        coro = _body(aiohub.wrap_sync_context_manager(lock))
        entering = _drive(coro)
        if begun:
            cases.until(lambda lock=lock: lock.balance < 0)
        coro.close()
        cases.until(entering.done)
        assert entering.cancelled()
        lock.release()
        cases.turns()
        # It has not been taken by who nobody waits for.
        assert not lock.locked()


@cases.case
def closed_while_it_enters_and_does_not_stop():
    """The green thread catches the kill and enters: it leaves again."""
    gate = cases.Gate()

    def enter():
        with contextlib.suppress(greenlet.GreenletExit):
            gate.in_green()

    manager = waiters.Manager(enter)
    coro = _body(aiohub.wrap_sync_context_manager(manager))
    _drive(coro)
    cases.until(lambda: gate.reached)
    coro.close()
    cases.until(lambda: manager.left)
    assert manager.left == [GeneratorExit]


@cases.case
def closed_just_when_entered():
    manager = waiters.Manager()
    coro = _body(aiohub.wrap_sync_context_manager(manager))
    entering = _drive(coro)
    cases.until(entering.done)
    coro.close()
    assert manager.left == [GeneratorExit]


def _in_the_body(manager: Any) -> Any:
    """Return a coroutine that has entered and awaits in the body."""
    gate = cases.Gate()
    coro = _body(aiohub.wrap_sync_context_manager(manager), gate)

    async def drive():
        awaits = _drive(coro)
        if not gate.reached:  # otherwise it has been entered at once
            await asyncio.wait([awaits])
            awaits = _drive(coro)
        return awaits

    aiohub.await_(drive())
    assert gate.reached
    return coro


@cases.case
def closed_in_the_body():
    """It has been left when close() returns."""
    left: list[int] = []

    def leave():
        eventlet.sleep(0)
        left.append(1)

    coro = _in_the_body(waiters.Manager(leave=leave))
    coro.close()
    assert left

    async def close(_):
        coro.close()
        return list(left)

    if GREEN_TASKS:
        left.clear()
        coro = _in_the_body(waiters.Manager(leave=leave))
        waiters.Waiting(close, None).saw([1])


@cases.case
def leaving_fails_when_closed():
    def fail():
        raise waiters.Custom('leaving')

    coro = _in_the_body(waiters.Manager(leave=fail))
    waiters.Caller(coro.close).saw(waiters.Custom)


@cases.case
def closed_while_it_leaves():
    """The green thread goes on to leave."""
    work = waiters.Work()
    coro = _body(aiohub.wrap_sync_context_manager(
        waiters.Manager(leave=work.in_green)))
    entering = _drive(coro)
    cases.until(entering.done)
    _drive(coro)
    cases.until(lambda: work.first.reached)
    coro.close()
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    cases.until(lambda: 'clean' in work.log)
    assert work.log == ['start', 'end', 'clean']


@cases.case
def async_generator_closed_in_the_body():
    """aclose() ends when it has been left, and raises what that raises."""
    left: list[Any] = []

    def leave():
        eventlet.sleep(0)
        left.append(1)
        raise waiters.Custom('leaving')

    shared = aiohub.wrap_sync_context_manager(waiters.Manager(leave=leave))

    async def items():
        async with shared:
            yield 1

    async def loop(_):
        async with contextlib.aclosing(items()) as iterator:
            async for _ in iterator:
                assert not left
                break

    for enabled in (True, False):
        tasks.enabled = enabled
        try:
            waiters.Waiting(loop, None).saw(waiters.Custom)
        finally:
            tasks.enabled = True
        assert left.pop()


def _drop(body: Callable[[cases.Gate], Any]) -> None:
    """Start a task, and when it is in its body let go of it."""
    gate = cases.Gate()
    task = aiohub.get_loop().create_task(body(gate))
    cases.until(lambda: gate.reached)
    # What asyncio says of it is not what this is about.
    task._log_destroy_pending = False
    # The only one who knows what the task waits for.
    gate._waiting.clear()


@cases.case
def collected_in_the_body():
    """Others get in."""
    for enabled in (True, False):
        tasks.enabled = enabled
        try:
            lock = semaphore.Semaphore()
            shared = aiohub.wrap_sync_context_manager(lock)
            _drop(lambda gate, shared=shared: _body(shared, gate))
            gc.collect()
            cases.until(lambda lock=lock: not lock.locked())
            waiters.Waiting(_body, shared).saw(None)
        finally:
            tasks.enabled = True


def collected_in_a_green_body():
    """The task of a green ``with``."""
    lock = aiohub.await_(_made(asyncio.Lock))
    shared = aiohub.wrap_async_context_manager(lock)

    async def body(gate):
        with shared:
            await gate.in_task()

    _drop(body)
    gc.collect()
    cases.until(lambda: not lock.locked())


if GREEN_TASKS:
    cases.case(collected_in_a_green_body)


@cases.case
def generator_dropped_where_nobody_can_wait():
    """In a callback: it is left all the same, and nothing is printed."""
    lock = aiohub.await_(_made(asyncio.Lock))
    shared = aiohub.wrap_async_context_manager(lock)

    def items():
        with shared:
            yield 1

    kept = [items()]
    assert next(kept[0]) == 1
    aiohub.get_loop().call_soon(kept.clear)
    cases.until(lambda: not lock.locked())


cases.run_all()
mode.done()
