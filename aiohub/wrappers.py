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
from typing import Any
from typing import overload
from typing import ParamSpec
from typing import TypeVar

import eventlet
import greenlet

from aiohub import _callers
from aiohub import _crossing
from aiohub import _green_loop
from aiohub import _green_start
from aiohub import _held
from aiohub import _request_context
from aiohub import _threads
from aiohub import bridge
from aiohub import exceptions

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
    :raises aiohub.AiohubError: If *fn* is no function.
    """
    if fn is None:
        return functools.partial(async_to_sync, **options)
    _callers.check_function('async_to_sync()', fn)
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
        waits for it. It has the name, signature and docstring of *fn*. On the
        aiohub hub *fn* begins at once, and if it does not wait, nobody else
        may have run before its result is there.
    :raises aiohub.AiohubError: If *fn* is no function, or a coroutine
        function.
    """
    if fn is None:
        return functools.partial(sync_to_async, **options)
    _callers.check_function('sync_to_async()', fn)
    _check_options(options, bridge.greenlet_to_future)
    if inspect.iscoroutinefunction(fn):
        raise exceptions.AiohubError(
            'sync_to_async() takes a function of green code, and %r is a '
            'coroutine function already: call it as it is.' % (fn,))

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = functools.partial(fn, *args, **kwargs)
        green: Any
        hub = _green_start.hub_of_step()
        if hub is not None and _green_start.is_due(hub):
            await asyncio.sleep(0)
            hub = _green_start.hub_of_step()
        if hub is not None:
            green, result = _green_start.run(hub, call)
            if green is None:
                return result
        else:
            green = _threads.spawn(call)
        return await bridge.greenlet_to_future(green, **options)

    return wrapper


def _check_options(options: dict[str, Any], target: Any) -> None:
    """Complain when decorating, not at the first call."""
    if not options:
        return  # 20 us, and some decorate for one call
    known = inspect.signature(target).parameters
    for name in options:
        if known.get(name) is None or known[name].kind is not (
                inspect.Parameter.KEYWORD_ONLY):
            raise TypeError('unknown option %r' % name)


# -- context managers

def wrap_async_context_manager(
    cm: contextlib.AbstractAsyncContextManager[_T, bool | None],
) -> contextlib.AbstractContextManager[_T, bool | None]:
    """Make an ``async with`` a ``with``, for green code.

    :param cm: An asynchronous context manager. Each entry runs in one task of
        its own; the body does not, and so cannot be cancelled by it: a
        timeout that expires in the body is raised when the body ends.
    :returns: A context manager, which can be entered again, and by several
        at once, if *cm* can. If the green thread is killed while it enters or
        leaves, that is cancelled, and has ended before the kill goes on.
    """
    return _held.AsyncHeld(cm)


def wrap_sync_context_manager(
    cm: contextlib.AbstractContextManager[_T, bool | None],
) -> contextlib.AbstractAsyncContextManager[_T, bool | None]:
    """Make a ``with`` an ``async with``, for coroutines.

    :param cm: A context manager that makes green calls when it is entered or
        left. Each entry runs in one green thread of its own, which is not
        that of the body.
    :returns: An asynchronous context manager, which can be entered again, and
        by several at once, if *cm* can. If the task is cancelled while it
        enters or leaves, the green thread is killed, and has ended before
        ``CancelledError`` goes on.
    """
    return _held.SyncHeld(cm)


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
    # With this iterator it would be collected before it has left the iterable.
    _held.keep(producer)
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
