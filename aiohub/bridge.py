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

"""Green code waits for asyncio, and asyncio waits for green code.

Everything here works on every hub: on aiohub's, on eventlet's asyncio hub,
and, with aiohub switched off, on any other (see :func:`aiohub.get_loop`).

Exceptions cross as they are. Context variables, and the request context of
oslo.context, are seen by the code called on the other side; what that code
sets does not come back. Whoever is cancelled or killed while it waits first
ends what it waits for, cleanup included.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Generator
import contextlib
import contextvars
import inspect
import types
from typing import Any
from typing import TypeVar
import weakref

from eventlet import greenthread
from eventlet import hubs
import greenlet

from aiohub import _callers
from aiohub import _crossing
from aiohub import _green_loop
from aiohub import _green_start
from aiohub import _request_context
from aiohub import _threads
from aiohub import exceptions

_T = TypeVar('_T')


# -- green code waits for asyncio

def await_(awaitable: Awaitable[_T]) -> _T:
    """Wait for *awaitable*, in green code: ``await`` without ``async``.

    Blocks only the calling green thread, or the main greenlet. On the aiohub
    hub a coroutine begins at once, and if it does not wait, nobody else may
    have run before its result is there, as with ``await``. If something
    is thrown into that meanwhile (it is killed, or an ``eventlet.Timeout``
    fires), the awaitable is cancelled, and its cleanup has ended before what
    was thrown goes on. A future or task that others wait for too is
    cancelled for them as well; ``asyncio.shield()`` keeps it.

    :param awaitable: A coroutine, future, task, green thread, or anything
        else with ``__await__``. A future of another thread's loop is waited
        for there.
    :returns: Its result.
    :raises BaseException: What it raises: ``asyncio.CancelledError`` if it
        is cancelled.
    :raises aiohub.AiohubError: If the caller cannot wait: it is a coroutine
        or a callback, or a thread without a hub. The awaitable is closed.
    """
    if type(awaitable) is types.CoroutineType:
        first = _crossing.first_step_of(awaitable)
        if first is not None:
            try:
                result: _T = _crossing.wait_for_first(first)
                return result
            finally:
                # The traceback of what it raises refers to this frame.
                del first
    loop = _callers.waiters_loop('await_()', awaitable)
    result = _crossing.wait(_as_future(awaitable, loop))
    return result


def future_to_greenlet(
    awaitable: Awaitable[_T],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    autostart_future: bool = True,
    autocancel_future: bool = True,
    autokill_greenlet: bool = True,
) -> greenthread.GreenThread:
    """Return a green thread that has the result of *awaitable*.

    Its ``wait()`` returns the result, or raises what the awaitable raised.

    :param awaitable: As for :func:`await_`.
    :param loop: Where to run a coroutine; by default the loop of this
        thread. The loop of another thread runs it in that thread.
    :param autostart_future: Whether a coroutine starts now; otherwise it
        starts when somebody calls ``wait()``.
    :param autocancel_future: Whether the awaitable is cancelled if the green
        thread is killed, started or not, with any exception. The green
        thread then ends when the awaitable's cleanup has; if it had not
        begun to wait yet, it ends at once.
    :param autokill_greenlet: Whether the green thread counts as killed
        (``wait()`` raises ``GreenletExit``) if the awaitable is cancelled;
        otherwise ``wait()`` raises ``asyncio.CancelledError``.
    :returns: A green thread that has been started.
    :raises aiohub.AiohubError: If there is no loop that could run it, or it
        is no awaitable.
    """
    own = _callers.own_loop('future_to_greenlet()', awaitable)
    waiter = _FutureThread(
        lambda: _as_future(awaitable, own, loop), awaitable,
        autocancel_future, autokill_greenlet)
    _callers.check_awaitable(awaitable)
    if autostart_future:
        waiter.start_future()
    return waiter


def spawn_for_awaitable(awaitable: Awaitable[_T]) -> greenthread.GreenThread:
    """Return a started green thread that has the result of *awaitable*.

    eventlet's function of this name, on every hub;
    :func:`future_to_greenlet` with the defaults.
    """
    return future_to_greenlet(awaitable)


class _FutureThread(_threads.BridgeThread):
    """The green thread of :func:`future_to_greenlet`.

    Orders of events: it is killed before its future is made (the coroutine
    is closed), before it has run (its link cancels), or while it waits (the
    wait cancels); the future is cancelled by somebody else at any time (the
    wait raises, and that counts as a kill).
    """

    def __init__(
        self, make: Callable[[], 'asyncio.Future[Any]'],
        awaitable: Awaitable[Any], autocancel: bool, autokill: bool,
    ) -> None:
        hub = hubs.get_hub()
        super().__init__(hub.greenlet)
        self._make = make
        self._awaitable: Awaitable[Any] | None = awaitable
        self._future: asyncio.Future[Any] | None = None
        self._autocancel = autocancel
        self._autokill = autokill
        super().link(_FutureThread._ended)
        self.taken = False

    def start_future(self) -> None:
        """Make the future, and wait for it."""
        self._future = self._make()
        self._awaitable = None
        hubs.get_hub().schedule_call_global(
            0, self.switch, self._wait_for_it, (), {})

    def wait(self) -> Any:
        if not self._exit_event.ready():
            _callers.waiters_loop('wait()')
            if self._future is None:
                self.start_future()
        return super().wait()

    def link(self, func: Callable[..., Any], *args: Any,
             **kwargs: Any) -> Any:
        if self._future is None and not self.dead:
            self.start_future()
        return super().link(func, *args, **kwargs)

    def _wait_for_it(self) -> Any:
        assert self._future is not None
        return _wait_for_future(
            self._future, self._autocancel, self._autokill)

    def _ended(self) -> None:
        if not self._autocancel:
            return
        if self._future is not None:
            self._future.cancel()
        elif self._awaitable is not None:
            _close(self._awaitable)


def _wait_for_future(future: 'asyncio.Future[Any]', autocancel: bool,
                     autokill: bool) -> Any:
    if not autocancel:
        future = asyncio.shield(future)
    try:
        return _crossing.wait(future)
    except asyncio.CancelledError:
        if autokill:
            raise greenlet.GreenletExit() from None
        raise


def await_with_options(
    awaitable: Awaitable[Any],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    autostart_future: bool = True,
    autocancel_future: bool = True,
    autokill_greenlet: bool = True,
) -> Any:
    """Wait as the green thread of :func:`future_to_greenlet` does."""
    own = _callers.waiters_loop('async_to_sync()', awaitable)
    return _wait_for_future(
        _as_future(awaitable, own, loop), autocancel_future,
        autokill_greenlet)


# -- asyncio waits for green code

def greenlet_to_future(
    green: greenlet.greenlet,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    autostart_greenlet: bool = True,
    autocancel_future: bool = True,
    autokill_greenlet: bool = True,
) -> 'asyncio.Future[Any]':
    """Return a future that has the result of a green thread.

    Awaiting it returns what the green thread returns, or raises what it
    raises, ``StopIteration`` as ``RuntimeError``. If the task that awaits it
    is cancelled, the green thread is killed, and its ``finally`` has run
    before ``CancelledError`` goes on; if the green thread swallows the kill
    and returns, that is the result.

    :param green: A green thread of this thread, or a greenlet that has not
        been started.
    :param loop: The loop of the future; by default that of this thread.
    :param autostart_greenlet: Whether a greenlet that has not been started
        is. (A green thread has been, by ``eventlet.spawn()``.)
    :param autocancel_future: Whether the future is cancelled if the green
        thread is killed; otherwise it raises ``GreenletExit``.
    :param autokill_greenlet: Whether the green thread is killed if the
        future is cancelled; otherwise it goes on, and the future is
        cancelled at once.
    :returns: A future of *loop*.
    :raises aiohub.AiohubError: If *green* is a greenlet that runs already:
        nothing tells when that ends. ``eventlet.spawn()`` makes those that
        tell. Also if it is the caller, which would wait for itself.
    """
    if not isinstance(green, greenlet.greenlet):
        raise exceptions.AiohubError(
            'greenlet_to_future() takes a green thread and got %r. To run a '
            'function, write sync_to_async(function)().' % (green,))
    if green is greenlet.getcurrent():
        raise exceptions.AiohubError(
            'A green thread cannot wait for itself. Pass it to whoever is to '
            'wait, and return.')
    own = (_callers.awaiters_loop if loop is None else _callers.own_loop)(
        'greenlet_to_future()')
    future: _crossing.DelegatingFuture
    if autokill_greenlet:
        future = _crossing.GreenFuture(loop or own, own, green)
    else:
        future = _crossing.DelegatingFuture(
            loop or own,
            lambda: future.finish(error=asyncio.CancelledError()))

    def ended(result: Any, error: BaseException | None) -> bool:
        if isinstance(error, greenlet.GreenletExit) and (
                autocancel_future or future.cancels):
            error = asyncio.CancelledError()
        if future.get_loop() is own and not own.is_closed():
            return future.finish(result, error)
        if future.done():
            return False
        try:
            future.get_loop().call_soon_threadsafe(
                future.finish, result, error)
        except RuntimeError:  # nobody waits any more
            return False
        return True

    if isinstance(green, greenthread.GreenThread):
        if not green and not green.dead:
            if type(green) is greenthread.GreenThread:
                green.__class__ = _threads.KillableThread
            if green.gr_context is None:
                green.gr_context = contextvars.copy_context()
        green.link(_threads.tell, ended)
    elif green or green.dead:
        raise exceptions.AiohubError(
            'A greenlet that runs already (%r) cannot be waited for: nothing '
            'tells when it ends. Start it with eventlet.spawn(), or pass it '
            'before it is started.' % (green,))
    else:
        future.watched = _watch_greenlet(  # type: ignore[attr-defined]
            green, ended, autostart_greenlet)
    return future


def _watch_greenlet(
    green: greenlet.greenlet, ended: _threads.Ended, start: bool,
) -> object:
    """Tell how a greenlet ends that has not started.

    :returns: What has to be kept as long as somebody wants to be told.
    """
    run = green.run

    def run_and_tell(*args: Any, **kwargs: Any) -> None:
        try:
            result = run(*args, **kwargs)
        except BaseException as exc:
            taken = ended(None, exc)
            if not taken or isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise
        else:
            ended(result, None)

    green.run = run_and_tell
    hub = hubs.get_hub()
    green.parent = hub.greenlet
    if green.gr_context is None:
        green.gr_context = contextvars.copy_context()

    if start:
        hub.schedule_call_global(0, green.switch)
    # eventlet's kill() of a greenlet that has not begun gives it another
    # function: then nothing of it has run, or will.
    return weakref.ref(
        run_and_tell, lambda _: ended(None, greenlet.GreenletExit()))


def _await_green_thread(
    self: greenthread.GreenThread,
) -> Generator[Any, Any, Any]:
    """``GreenThread.__await__``: as with :func:`greenlet_to_future`.

    eventlet's raises ``CancelledError`` before the green thread has ended,
    and works on its own asyncio hub only. Most green threads that are awaited
    have just been started for that, and need no future: they have ended when
    this comes to one.
    """
    # Not those of the bridge, which log what nobody takes.
    if type(self) is greenthread.GreenThread and not (self or self.dead):
        if self.gr_context is None:
            _request_context.follow()
            self.gr_context = contextvars.copy_context()
        if _green_start.start_awaited(self):
            result = _threads.result_of(self)
            if result is not _threads.NOTHING:
                return result
    return (yield from greenlet_to_future(self).__await__())


greenthread.GreenThread.__await__ = _await_green_thread


# -- both

def _as_future(
    awaitable: Any, own: asyncio.AbstractEventLoop,
    loop: asyncio.AbstractEventLoop | None = None,
) -> 'asyncio.Future[Any]':
    """Return a future of *own* for *awaitable*, to be run by *loop*.

    A coroutine starts in the next turn, in a copy of the current context.
    """
    if isinstance(awaitable, greenlet.greenlet):
        return greenlet_to_future(awaitable)
    if asyncio.isfuture(awaitable):
        future: asyncio.Future[Any] = awaitable
        if future.done():
            return future
        loop = future.get_loop()
    theirs = loop or own
    if theirs.is_closed():
        _callers.misuse(awaitable, (
            'The event loop of %r is closed: it will never be done. Use '
            'aiohub.get_loop(), which is open as long as the hub is.'
            % (awaitable,)))
    _callers.check_awaitable(awaitable)
    if theirs is own:
        future = asyncio.ensure_future(awaitable, loop=own)
        return future
    return _crossing.remote(
        lambda: asyncio.ensure_future(awaitable, loop=theirs), theirs, own,
        lambda: _close(awaitable))


def _close(awaitable: object) -> None:
    """Give an awaitable up: no "never awaited" for what never ran."""
    if inspect.iscoroutine(awaitable):
        if inspect.getcoroutinestate(awaitable) != inspect.CORO_RUNNING:
            awaitable.close()
    elif asyncio.isfuture(awaitable):
        loop = awaitable.get_loop()
        if loop is _green_loop.get_loop():
            awaitable.cancel()
        else:
            with contextlib.suppress(RuntimeError):  # closed
                loop.call_soon_threadsafe(awaitable.cancel)
    elif isinstance(awaitable, greenlet.greenlet):
        greenlet_to_future(awaitable).cancel()
