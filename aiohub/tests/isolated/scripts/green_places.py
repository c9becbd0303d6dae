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


"""Where green tasks wait, and a task that waits there.

Used by scripts.
"""

import asyncio
import contextlib
from typing import Any

import cases

import aiohub
import eventlet
from eventlet import event
from eventlet.green import socket
from eventlet.green import threading
from eventlet import queue
from eventlet import semaphore
import greenlet


class Inner:
    """What a task waits for: a task or a green thread that cleans up."""

    def __init__(self, cleanup: str = 'await') -> None:
        self.gate = cases.Gate()
        self.cleanup = cleanup
        self.begun = self.clean = False

    async def in_task(self) -> str:
        self.begun = True
        try:
            await self.gate.in_task()
            return 'result'
        finally:
            try:
                for _ in range(2):
                    if self.cleanup == 'await':
                        await asyncio.sleep(0)
                    else:
                        eventlet.sleep(0)
            finally:
                self.clean = True

    def in_green(self) -> str:
        self.begun = True
        try:
            self.gate.in_green()
            return 'result'
        finally:
            try:
                eventlet.sleep(0)
                eventlet.sleep(0)
            finally:
                self.clean = True


class Place:
    """Where a task waits, until it is let on.

    :cvar green: Whether it waits there in a green call.
    :cvar opens: Whether it can be let on.
    :cvar at_once: Whether it is there no more when ``kill()`` returns.
    """

    green = False
    opens = True
    at_once = True

    def __init__(self) -> None:
        self.reached = False

    async def wait(self) -> Any:
        raise NotImplementedError

    def open(self) -> None:
        raise NotImplementedError

    def there(self) -> bool:
        return self.reached

    def over(self) -> bool:
        """Whether what it waited for has ended."""
        return True


PLACES: list[type[Place]] = []


def add(cls: type[Place]) -> type[Place]:
    PLACES.append(cls)
    return cls


# -- green calls

class Green(Place):
    green = True

    async def wait(self) -> Any:
        self.reached = True
        return self.call()

    def call(self) -> Any:
        raise NotImplementedError


@add
class sleep(Green):
    opens = False

    def call(self) -> Any:
        eventlet.sleep(1000)


@add
class event_wait(Green):
    def __init__(self) -> None:
        super().__init__()
        self.event = event.Event()

    def call(self) -> Any:
        return self.event.wait()

    def open(self) -> None:
        self.event.send('result')


@add
class queue_get(Green):
    def __init__(self) -> None:
        super().__init__()
        self.queue = queue.Queue()

    def call(self) -> Any:
        return self.queue.get()

    def open(self) -> None:
        self.queue.put('result')


@add
class queue_put(Green):
    def __init__(self) -> None:
        super().__init__()
        self.queue = queue.Queue(1)
        self.queue.put('first')

    def call(self) -> Any:
        self.queue.put('second')
        assert self.queue.get() == 'second'
        return 'result'

    def open(self) -> None:
        assert self.queue.get() == 'first'


@add
class semaphore_acquire(Green):
    def __init__(self) -> None:
        super().__init__()
        self.semaphore = semaphore.Semaphore(0)

    def call(self) -> Any:
        with self.semaphore:
            return 'result'

    def open(self) -> None:
        self.semaphore.release()


@add
class lock_acquire(Green):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.lock.acquire()

    def call(self) -> Any:
        with self.lock:
            return 'result'

    def open(self) -> None:
        self.lock.release()


@add
class condition_wait(Green):
    def __init__(self) -> None:
        super().__init__()
        self.condition = threading.Condition()

    def call(self) -> Any:
        with self.condition:
            self.condition.wait()
        return 'result'

    def open(self) -> None:
        with self.condition:
            self.condition.notify()


@add
class recv(Green):
    def call(self) -> Any:
        self.ours, self.theirs = socket.socketpair()
        try:
            return self.ours.recv(10).decode()
        finally:
            self.ours.close()
            self.theirs.close()

    def open(self) -> None:
        self.theirs.send(b'result')


@add
class green_thread(Green):
    """It is not killed with who waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.event = event.Event()
        self.thread = eventlet.spawn(self.event.wait)

    def call(self) -> Any:
        try:
            return self.thread.wait()
        finally:
            if not self.event.ready():
                self.event.send()

    def open(self) -> None:
        self.event.send('result')


@add
class bridged(Green):
    """``await_()`` in a plain function."""

    at_once = False

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def call(self) -> Any:
        return aiohub.await_(self.inner.in_task())

    def there(self) -> bool:
        return self.inner.begun

    def over(self) -> bool:
        return self.inner.clean or not self.inner.begun

    def open(self) -> None:
        self.inner.gate.open()


# -- greenlets that a library starts in the coroutine

class Child(greenlet.greenlet):
    """As SQLAlchemy's: it switches to its parent with what to await."""

    def __init__(self, function: Any) -> None:
        super().__init__(function, greenlet.getcurrent())


def await_in_child(awaitable: Any) -> Any:
    current: Any = greenlet.getcurrent()
    while not isinstance(current, Child):
        current = current.parent
    return current.parent.switch(awaitable)


async def greenlet_spawn(function: Any) -> Any:
    child = Child(function)
    result = child.switch()
    while not child.dead:
        try:
            value = await result
        except BaseException as exc:
            result = child.throw(exc)
        else:
            result = child.switch(value)
    return result


def _returning_exits(function: Any) -> Any:
    """A greenlet that ends with it returns it."""
    def call() -> Any:
        try:
            return function()
        except greenlet.GreenletExit as exc:
            return exc

    return call


async def spawn_child(function: Any) -> Any:
    result = await greenlet_spawn(_returning_exits(function))
    if isinstance(result, greenlet.GreenletExit):
        raise result
    return result


@add
class child_event(event_wait):
    async def wait(self) -> Any:
        self.reached = True
        return await spawn_child(self.call)


@add
class child_of_child(event_wait):
    async def wait(self) -> Any:
        self.reached = True
        return await spawn_child(self.start_another)

    def start_another(self) -> Any:
        child = greenlet.greenlet(
            _returning_exits(self.call), greenlet.getcurrent())
        result = child.switch()
        if isinstance(result, greenlet.GreenletExit):
            raise result
        return result


@add
class child_bridged(bridged):
    async def wait(self) -> Any:
        return await spawn_child(self.call)


# -- awaits

class Awaits(Place):
    def __init__(self) -> None:
        super().__init__()
        self.future = aiohub.get_loop().create_future()

    async def wait(self) -> Any:
        self.reached = True
        return await self.future

    def open(self) -> None:
        self.future.set_result('result')

    def over(self) -> bool:
        return self.future.cancelled()


@add
class future(Awaits):
    pass


@add
class future_in_coroutine(Awaits):
    async def wait(self) -> Any:
        return await self.nested()

    async def nested(self) -> Any:
        self.reached = True
        return await self.future


@add
class future_in_child(Awaits):
    async def wait(self) -> Any:
        self.reached = True
        return await spawn_child(lambda: await_in_child(self.future))


@add
class bare_yield(Place):
    def __init__(self) -> None:
        super().__init__()
        self.opened = False

    async def wait(self) -> Any:
        while not self.opened:
            self.reached = True
            await asyncio.sleep(0)
        return 'result'

    def open(self) -> None:
        self.opened = True


@add
class asyncio_sleep(Place):
    opens = False

    async def wait(self) -> Any:
        self.reached = True
        await asyncio.sleep(1000)


@add
class asyncio_timeout(Awaits):
    async def wait(self) -> Any:
        self.reached = True
        async with asyncio.timeout(1000):
            return await self.future


@add
class asyncio_queue(Place):
    def __init__(self) -> None:
        super().__init__()
        self.queue = asyncio.Queue()

    async def wait(self) -> Any:
        self.reached = True
        return await self.queue.get()

    def open(self) -> None:
        self.queue.put_nowait('result')


@add
class asyncio_lock(Place):
    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def wait(self) -> Any:
        async with contextlib.AsyncExitStack() as stack:
            if not self.reached:
                await self.lock.acquire()
            self.reached = True
            await stack.enter_async_context(self.lock)
            return 'result'

    def open(self) -> None:
        self.lock.release()


class AwaitsInner(Place):
    at_once = False
    cleanup = 'await'

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner(self.cleanup)

    def there(self) -> bool:
        return self.inner.begun

    def over(self) -> bool:
        return self.inner.clean or not self.inner.begun

    def open(self) -> None:
        self.inner.gate.open()


@add
class task(AwaitsInner):
    async def wait(self) -> Any:
        return await asyncio.get_running_loop().create_task(
            self.inner.in_task())


@add
class task_green_cleanup(task):
    cleanup = 'green'


@add
class task_of_task(AwaitsInner):
    async def wait(self) -> Any:
        create_task = asyncio.get_running_loop().create_task

        async def middle() -> Any:
            return await create_task(self.inner.in_task())

        return await create_task(middle())


@add
class shielded(AwaitsInner):
    """What it waits for goes on."""

    at_once = True

    async def wait(self) -> Any:
        self.task = asyncio.ensure_future(self.inner.in_task())
        try:
            return await asyncio.shield(self.task)
        except BaseException:
            self.inner.gate.open()
            raise

    def over(self) -> bool:
        return not self.task.cancelled()


@add
class gathered(AwaitsInner):
    async def wait(self) -> Any:
        return (await asyncio.gather(self.inner.in_task()))[0]


@add
class waited_for(AwaitsInner):
    async def wait(self) -> Any:
        return await asyncio.wait_for(
            asyncio.ensure_future(self.inner.in_task()), 1000)


@add
class waited_for_coroutine(AwaitsInner):
    async def wait(self) -> Any:
        return await asyncio.wait_for(self.inner.in_task(), 1000)


@add
class group_end(AwaitsInner):
    """At the end of a task group."""

    async def wait(self) -> Any:
        async with asyncio.TaskGroup() as group:
            child = group.create_task(self.inner.in_task())
        return child.result()


@add
class group_body(AwaitsInner):
    """In a task group, which ends its tasks then.

    Before 3.13 it makes a group of all that is no plain ``CancelledError``.
    """

    async def wait(self) -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                return await group.create_task(self.inner.in_task())
        except BaseExceptionGroup as errors:
            [error] = errors.exceptions
            raise error from None


@add
class awaited_green_thread(AwaitsInner):
    async def wait(self) -> Any:
        return await aiohub.greenlet_to_future(
            eventlet.spawn(self.inner.in_green))


@add
class own_cleanup(Place):
    """An ``await`` in a coroutine that itself awaits when it is left."""

    at_once = False
    pause = 'await'

    def __init__(self) -> None:
        super().__init__()
        self.future = aiohub.get_loop().create_future()
        self.clean = False

    async def wait(self) -> Any:
        self.reached = True
        try:
            return await self.future
        finally:
            if self.pause == 'await':
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            else:
                eventlet.sleep(0)
                eventlet.sleep(0)
            self.clean = True

    def over(self) -> bool:
        return self.clean

    def open(self) -> None:
        self.future.set_result('result')


@add
class own_green_cleanup(own_cleanup):
    pause = 'green'


# -- who waits

class Trial:
    """A task that waits in a place, and what it sees there.

    :param goes_on: Whether it goes on after the exception.
    :param before: What it calls before it waits.
    """

    def __init__(self, place: Place, goes_on: bool,
                 before: Any = None) -> None:
        self.place = place
        self.goes_on = goes_on
        self.before = before
        self.begun = 0
        self.seen: list[BaseException] = []
        self.greenlet: Any = None
        self.task = aiohub.get_loop().create_task(self.run())

    async def run(self) -> Any:
        self.begun += 1
        self.greenlet = greenlet.getcurrent()
        if self.before is not None:
            self.before(self)
        try:
            return await self.place.wait()
        except BaseException as exc:
            self.seen.append(exc)
            assert asyncio.current_task() is self.task
            assert greenlet.getcurrent() is self.greenlet
            if self.before is None:
                assert self.place.over(), 'it has not ended'
            if not self.goes_on:
                raise
        # Nothing else comes.
        for _ in range(3):
            eventlet.sleep(0)
            await asyncio.sleep(0)
        async with asyncio.timeout(1000):
            await asyncio.sleep(0)
        with eventlet.Timeout(1000):
            eventlet.sleep(0)
        return 'went on'

    def wait_until_there(self) -> None:
        cases.until(self.place.there)
        cases.turns(2)
        assert not self.task.done()

    def saw(self, expected: Any) -> None:
        """Compare what it saw and how it ended with what was thrown."""
        if self.seen:
            assert len(self.seen) == 1, self.seen
            assert is_thrown(self.seen[0], expected, self.place), self.seen
        if self.goes_on:
            assert self.seen
            assert self.task.result() == 'went on'
        elif expected in (asyncio.CancelledError, greenlet.GreenletExit) or (
                isinstance(expected, greenlet.GreenletExit)):
            assert self.task.cancelled(), self.task
        else:
            assert _is(self.task.exception(), expected), self.task


def _is(error: BaseException | None, expected: Any) -> bool:
    return (isinstance(error, expected) if isinstance(expected, type)
            else error is expected)


def is_thrown(error: BaseException, expected: Any, place: Place) -> bool:
    """Whether *error* is what was thrown at a task in *place*.

    ``GreenletExit`` is raised as a ``CancelledError`` at an ``await``, and in
    greenlets of a library: there it would end them as if nothing were wrong.
    """
    if not _is(error, expected) and (
            not place.green or place.__class__.__name__.startswith('child')):
        return (type(error) is asyncio.CancelledError
                and isinstance(error.__cause__, greenlet.GreenletExit)
                and _is(error.__cause__, expected))
    return _is(error, expected)
