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

"""Functions, context managers and iterators of one side, for the other.

Made of :mod:`aiohub.bridge`, and with its rules.
"""

import asyncio
from collections.abc import AsyncIterable
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import functools
import inspect
import sys
from typing import Any
from typing import overload
from typing import ParamSpec
from typing import TypeVar

import eventlet
from eventlet import event
import greenlet

from aiohub import _callers
from aiohub import _crossing
from aiohub import _green_loop
from aiohub import _request_context
from aiohub import _threads
from aiohub import bridge

_T = TypeVar('_T')
_P = ParamSpec('_P')


@overload
def async_to_sync(
    fn: Callable[_P, Awaitable[_T]], **options: Any,
) -> Callable[_P, _T]: ...


@overload
def async_to_sync(
    fn: None = None, **options: Any,
) -> Callable[[Callable[_P, Awaitable[_T]]], Callable[_P, _T]]: ...


def async_to_sync(fn: Any = None, **options: Any) -> Any:
    """Make a coroutine function a function for green code.

    As a decorator, with arguments or without::

        @async_to_sync
        async def get(url): ...

        body = get(url)        # in a green thread

    :param fn: The coroutine function.
    :param options: Those of :func:`~aiohub.future_to_greenlet`. With any of
        them, a cancelled coroutine counts as a kill, as it does there.
    :returns: A function that calls *fn* and waits as
        :func:`~aiohub.await_` does. It has the name, signature and docstring
        of *fn*.
    """
    if fn is None:
        return functools.partial(async_to_sync, **options)
    _check_options(options, bridge.future_to_greenlet)

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if options:
            return bridge.await_with_options(
                fn(*args, **kwargs), **options)
        return bridge.await_(fn(*args, **kwargs))

    return wrapper


@overload
def sync_to_async(
    fn: Callable[_P, _T], **options: Any,
) -> Callable[_P, Coroutine[Any, Any, _T]]: ...


@overload
def sync_to_async(
    fn: None = None, **options: Any,
) -> Callable[[Callable[_P, _T]], Callable[_P, Coroutine[Any, Any, _T]]]: ...


def sync_to_async(fn: Any = None, **options: Any) -> Any:
    """Make a function of green code a coroutine function.

    As a decorator, with arguments or without::

        @sync_to_async
        def get(url): ...

        body = await get(url)  # in a coroutine

    :param fn: The function; it may make any green call.
    :param options: Those of :func:`~aiohub.greenlet_to_future`.
    :returns: A coroutine function that calls *fn* in a new green thread and
        waits for it. It has the name, signature and docstring of *fn*.
    """
    if fn is None:
        return functools.partial(sync_to_async, **options)
    _check_options(options, bridge.greenlet_to_future)

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = functools.partial(fn, *args, **kwargs)
        return await bridge.greenlet_to_future(
            _threads.spawn(call), **options)

    return wrapper


def _check_options(options: dict[str, Any], target: Any) -> None:
    """Complain when decorating, not at the first call."""
    known = inspect.signature(target).parameters
    for name in options:
        if known.get(name) is None or known[name].kind is not (
                inspect.Parameter.KEYWORD_ONLY):
            raise TypeError('unknown option %r' % name)


# -- context managers
#
# What is entered must be left where it was entered: asyncio.timeout() and
# TaskGroup belong to a task, an RLock to a green thread. So each runs from
# beginning to end in one task, or one green thread, of its own.

def wrap_async_context_manager(
    cm: contextlib.AbstractAsyncContextManager[_T, bool | None],
) -> contextlib.AbstractContextManager[_T, bool | None]:
    """Make an ``async with`` a ``with``, for green code.

    :param cm: An asynchronous context manager. All of it runs in one task;
        the body does not, and so cannot be cancelled by it: a timeout that
        expires in the body is raised when the body ends.
    :returns: A context manager. If the green thread is killed while it
        enters or leaves, that is cancelled, and has ended before the kill
        goes on.
    """
    return _AsyncHeld(cm)


class _AsyncHeld(contextlib.AbstractContextManager[_T, bool | None]):
    def __init__(
        self, cm: contextlib.AbstractAsyncContextManager[_T, bool | None],
    ) -> None:
        self._cm = cm

    def __enter__(self) -> _T:
        loop = _callers.waiters_loop('wrap_async_context_manager()', None)
        self._leave: asyncio.Future[Any] = loop.create_future()
        entered = _crossing.DelegatingFuture(
            loop, lambda: self._task.cancel())
        _request_context.follow()
        self._task = loop.create_task(self._hold(entered))
        # If it is cancelled before it begins, nothing of it runs.
        self._task.add_done_callback(
            lambda _: entered.finish(error=asyncio.CancelledError()))
        try:
            value: _T = bridge.await_(entered)
        except BaseException:
            # Thrown into us just when it had been entered: leave it.
            if entered.done() and not (
                    entered.cancelled() or entered.exception()):
                self.__exit__(*sys.exc_info())
            raise
        return value

    def __exit__(self, *exc_info: Any) -> bool | None:
        if not self._leave.done():
            self._leave.set_result(exc_info)
        return bridge.await_(self._task)

    async def _hold(
        self, entered: _crossing.DelegatingFuture,
    ) -> bool | None:
        try:
            value = await self._cm.__aenter__()
        except BaseException as exc:
            entered.finish(error=exc)
            return None
        entered.finish(value)
        try:
            exc_info = await self._leave
        except asyncio.CancelledError:
            # By the manager itself, or by who ends all tasks: as if at the end
            # of the body, unless that has just failed.
            exc_info = sys.exc_info()
            if not self._leave.cancelled() and self._leave.result()[0]:
                exc_info = self._leave.result()
            if not await self._cm.__aexit__(*exc_info):
                raise
            return None
        return await self._cm.__aexit__(*exc_info)


def wrap_sync_context_manager(
    cm: contextlib.AbstractContextManager[_T, bool | None],
) -> contextlib.AbstractAsyncContextManager[_T, bool | None]:
    """Make a ``with`` an ``async with``, for coroutines.

    :param cm: A context manager that makes green calls when it is entered or
        left. All of it runs in one green thread, which is not that of the
        body.
    :returns: An asynchronous context manager. If the task is cancelled while
        it enters or leaves, the green thread is killed, and has ended before
        ``CancelledError`` goes on.
    """
    return _SyncHeld(cm)


class _SyncHeld(contextlib.AbstractAsyncContextManager[_T, bool | None]):
    def __init__(
        self, cm: contextlib.AbstractContextManager[_T, bool | None],
    ) -> None:
        self._cm = cm

    async def __aenter__(self) -> _T:
        self._leave = event.Event()
        green = _threads.spawn(lambda: self._hold(entered))
        loop = _green_loop.get_loop()
        entered = _crossing.GreenFuture(loop, loop, green)
        self._ended = bridge.greenlet_to_future(green)
        try:
            value: _T = await entered
        except BaseException:
            # Cancelled just when it had been entered: leave it.
            if not (entered.cancelled() or entered.exception()):
                await self.__aexit__(*sys.exc_info())
            raise
        return value

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        self._leave.send(exc_info)
        result: bool | None = await self._ended
        return result

    def _hold(self, entered: _crossing.GreenFuture) -> bool | None:
        try:
            value = self._cm.__enter__()
            if entered.take_cancel():
                # Just when it had been entered: the body does not begin.
                late = eventlet.greenlet.GreenletExit()
                self._cm.__exit__(type(late), late, None)
                raise late
        except eventlet.greenlet.GreenletExit:
            entered.finish(error=asyncio.CancelledError())
            return None
        except BaseException as exc:
            entered.finish(error=exc)
            return None
        entered.finish(value)
        try:
            exc_info = self._leave.wait()
        except BaseException:
            if not self._cm.__exit__(*sys.exc_info()):
                raise
            return None
        return self._cm.__exit__(*exc_info)


# -- iterators

def wrap_async_iterator(iterable: AsyncIterable[_T]) -> Iterator[_T]:
    """Make an ``async for`` a ``for``, for green code.

    :param iterable: An asynchronous iterable. All of it runs in one task.
    :returns: An iterator. If the green thread is killed while it waits for
        an item, the iterable is cancelled. When the loop over it is left
        early, a generator is closed.
    """
    loop = _callers.waiters_loop('wrap_async_iterator()', None)
    questions: asyncio.Queue[Any] = asyncio.Queue()

    async def produce() -> None:
        iterator = aiter(iterable)
        try:
            while (answer := await questions.get()) is not None:
                try:
                    answer.finish(await anext(iterator))
                except StopAsyncIteration:
                    answer.finish(_END)
                except BaseException as exc:
                    answer.finish(error=exc)
                    if isinstance(exc, asyncio.CancelledError):
                        raise
        finally:
            if inspect.isasyncgen(iterator):
                await iterator.aclose()

    def ended(task: asyncio.Task[None]) -> None:
        # Without an answer: it was cancelled, or is no iterable.
        answer.finish(error=_crossing.outcome(task)[1])

    _request_context.follow()
    producer = loop.create_task(produce())
    # The loop refers to it weakly: with this iterator it would be collected
    # before it has left the iterable.
    _producers.add(producer)
    producer.add_done_callback(_producers.discard)
    answer = _crossing.DelegatingFuture(loop, producer.cancel)
    producer.add_done_callback(ended)
    try:
        while True:
            if producer.done():
                ended(producer)
            questions.put_nowait(answer)
            item = bridge.await_(answer)
            if item is _END:
                break
            yield item
            answer = _crossing.DelegatingFuture(loop, producer.cancel)
    finally:
        questions.put_nowait(None)
        # Who is collected where nobody can wait leaves the rest to the task.
        if not _callers.runs_loop(greenlet.getcurrent(), loop):
            with contextlib.suppress(asyncio.CancelledError):
                bridge.await_(producer)


async def wrap_sync_iterator(iterable: Iterable[_T]) -> AsyncIterator[_T]:
    """Make a ``for`` an ``async for``, for coroutines.

    :param iterable: An iterable that makes green calls. All of it runs in
        one green thread.
    :returns: An asynchronous iterator. If the task is cancelled while it
        waits for an item, the green thread is killed. When the loop over it
        is left early, a generator is closed; write
        ``async with contextlib.aclosing(...)`` to have that done at once.
    """
    loop = _green_loop.get_loop()
    questions = eventlet.Queue()

    def produce() -> None:
        answer = questions.get()
        try:
            for item in iterable:
                answer.finish(item)
                answer = questions.get()
            answer.finish(_END)
        except eventlet.greenlet.GreenletExit:
            answer.finish(error=asyncio.CancelledError())
            raise
        except BaseException as exc:
            answer.finish(error=exc)
        finally:
            if inspect.isgenerator(iterable):
                iterable.close()

    producer = _threads.spawn(produce)
    ended = bridge.greenlet_to_future(producer)
    try:
        while True:
            answer = _crossing.GreenFuture(loop, loop, producer)
            questions.put(answer)
            item = await answer
            if item is _END:
                break
            yield item
    finally:
        ended.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ended


_END: Any = object()
_producers: 'set[asyncio.Task[None]]' = set()
