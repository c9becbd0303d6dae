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

"""What the bridge is built of: futures that stand for something else.

An ``asyncio.Task`` does not wait for a cancelled future: it is cancelled at
once. But it leaves that to the future, because what it waits for may be
another task, which has a cleanup to do and may even decide to go on. A
:class:`DelegatingFuture` behaves as such a task: ``cancel()`` asks whom it
stands for, and it is done when that one is.
"""

import asyncio
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Generator
import contextlib
import contextvars
from typing import Any
from typing import NoReturn
from typing import TypeVar

from eventlet import greenthread
from eventlet import hubs
import greenlet

from aiohub import _eventlet
from aiohub import _first_step
from aiohub import _green_start
from aiohub import _loop_state
from aiohub import _request_context
from aiohub import _task_greenlet
from aiohub import _threads
from aiohub import _waiters
from aiohub import exceptions

_T = TypeVar('_T')


class DelegatingFuture(asyncio.Future[Any]):
    """A future that stands for what somebody else does.

    :param loop: The loop of those who wait for it.
    :param cancel: Called once for each ``cancel()`` while it is not done; it
        has to bring about that the future is finished, sooner or later.
    """

    #: How often it was asked for.
    cancels = 0
    _ask: Callable[[], object] | None

    def __init__(self, loop: asyncio.AbstractEventLoop,
                 cancel: Callable[[], object]) -> None:
        super().__init__(loop=loop)
        self._ask = cancel

    def cancel(self, msg: Any = None) -> bool:
        """Ask for an end; who waits sees it when it has come."""
        if self.done():
            return False
        self.cancels += 1
        self._end_soon()
        return True

    def _end_soon(self) -> None:
        assert self._ask is not None
        self._ask()

    def finish(self, result: Any = None,
               error: BaseException | None = None) -> bool:
        """Become done: cancelled for a ``CancelledError``.

        :returns: Whether it became so now; False if it was done already.
        """
        if self.done():
            return False
        # It refers to this future, most often; end the cycle.
        self._ask = None
        if error is None:
            self.set_result(result)
        elif isinstance(error, asyncio.CancelledError):
            super().cancel(*error.args[:1])
        else:
            if isinstance(error, StopIteration):
                # Not allowed in a future: it would end who awaits it.
                stop, error = error, RuntimeError(
                    'a green thread raised StopIteration')
                error.__cause__ = stop
            self.set_exception(error)
            # If nobody waits, asyncio logs it when this is let go. Not where
            # a green thread is about to end: there eventlet's
            # threading.current_thread() fails, and with it logging.
            if not self.get_loop().is_closed():
                self.get_loop().call_soon(id, self)
        return True


class GreenFuture(DelegatingFuture):
    """A future for what a green thread does: ``cancel()`` kills that.

    A kill takes a turn of the hub. Orders of events: the green thread has not
    begun, then it never will; it waits, and the kill arrives there; it gets
    what it waits for first and comes to a result, or to where it waits for
    somebody else. asyncio loses no cancellation in that way: the future is
    cancelled then, and the kill is not thrown any more.

    :param loop: The loop of those who wait for it.
    :param own: The loop of the green thread's thread.
    :param green: The green thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop,
                 own: asyncio.AbstractEventLoop,
                 green: greenlet.greenlet) -> None:
        # Not DelegatingFuture's, which takes 300 ns, for each call of a
        # function that was made with sync_to_async().
        asyncio.Future.__init__(self, loop=loop)
        self._own = own
        self._green = green

    def __await__(self) -> Generator[Any, Any, Any]:
        green = self._green
        # One that has begun is woken by the hub.
        if not (self.done() or green or green.dead):
            _green_start.start_awaited(green)
        return super().__await__()

    # How many cancels have been thrown. Counted in the green thread's thread
    # only, as the others are in that of the loop.
    _thrown = 0

    def take_cancel(self) -> bool:
        """Return whether one has not been thrown yet, and do not throw it."""
        if self._thrown == self.cancels:
            return False
        self._thrown = self.cancels
        return True

    def finish(self, result: Any = None,
               error: BaseException | None = None) -> bool:
        """Become done; cancelled in place of a result that came too late."""
        if error is None and self._thrown < self.cancels:
            error = asyncio.CancelledError()
        return super().finish(result, error)

    def _end_soon(self) -> None:
        if self.get_loop() is self._own:
            self._prepare()
        else:
            try:
                self._own.call_soon_threadsafe(self._prepare)
            except RuntimeError:  # closed: it does not run any more
                self.finish(error=asyncio.CancelledError())

    def _prepare(self) -> None:
        if self._green or self._green.dead:
            hubs.get_hub().schedule_call_global(0, self._kill)
        else:
            _end_unstarted(self._green)
            self._ended_unstarted()

    def _ended_unstarted(self) -> None:
        error = asyncio.CancelledError()
        if self.get_loop() is self._own:
            self.finish(error=error)
        else:
            with contextlib.suppress(RuntimeError):
                self.get_loop().call_soon_threadsafe(
                    self.finish, None, error)

    def _kill(self) -> None:
        # In the hub's greenlet, which kill() does not make wait.
        if (self._thrown < self.cancels and not self.done()
                and not self._green.dead):
            # For all that have come until now: so a task takes them, too.
            self._thrown = self.cancels
            greenthread.kill(self._green)


def _end_unstarted(green: greenlet.greenlet) -> None:
    """End a greenlet that has not begun, and tell who waits; at once.

    eventlet's kill() would make the caller wait for a turn of the hub, and
    in a callback nobody can.
    """
    if isinstance(green, greenthread.GreenThread) and not isinstance(
            green, _threads.KillableThread):

        def just_raise() -> None:
            raise greenlet.GreenletExit()

        with contextlib.suppress(greenlet.GreenletExit):
            green.main(just_raise, (), {})
    # The switch into it comes back here; later ones go to the hub again.
    green.parent = greenlet.getcurrent()
    green.throw()
    green.parent = hubs.get_hub().greenlet


def outcome(future: 'asyncio.Future[Any]') -> tuple[
        Any, BaseException | None]:
    """Return result and exception of a future that is done."""
    if future.cancelled():
        return None, asyncio.CancelledError()
    error = future.exception()
    return (None, error) if error is not None else (future.result(), None)


def remote(start: Callable[[], 'asyncio.Future[Any]'],
           theirs: asyncio.AbstractEventLoop,
           ours: asyncio.AbstractEventLoop,
           give_up: Callable[[], object]) -> DelegatingFuture:
    """Have the loop of another thread do something; return a future of ours.

    :param start: What makes a future of *theirs*; called in its thread.
    :param give_up: Called in place of *start* if it was closed before that.
    :raises aiohub.exceptions.AiohubError: If *theirs* is closed.
    """
    begun: list[asyncio.Future[Any]] = []

    def ask() -> None:
        try:
            # It comes there after begin().
            theirs.call_soon_threadsafe(cancel)
        except RuntimeError:  # closed meanwhile: nothing comes any more
            if not begun:
                give_up()
            proxy.finish(error=asyncio.CancelledError())

    def begin() -> 'asyncio.Future[Any]':
        begun.append(start())
        return begun[0]

    def cancel() -> None:
        for future in begun:
            future.cancel()

    def deliver(result: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            ours.call_soon_threadsafe(proxy.finish, result, error)

    proxy = DelegatingFuture(ours, ask)
    try:
        begin_there(theirs, begin, deliver)
    except RuntimeError as exc:
        raise exceptions.AiohubError(
            'The event loop given is closed. Leave out loop= to use the loop '
            'of this thread.') from exc
    return proxy


def begin_there(
    loop: asyncio.AbstractEventLoop,
    start: Callable[[], 'asyncio.Future[Any]'],
    deliver: Callable[[Any, BaseException | None], object],
) -> None:
    """Have the loop of another thread do something, and say how it ended.

    :param start: What makes a future of *loop*; called in its thread, in a
        copy of the current context.
    :param deliver: Called with result and exception; in that thread, too.
    :raises RuntimeError: If *loop* is closed.
    """
    def begin() -> None:
        try:
            future = start()
        except BaseException as exc:
            deliver(None, exc)
        else:
            future.add_done_callback(lambda done: deliver(*outcome(done)))

    loop.call_soon_threadsafe(begin, context=contextvars.copy_context())


def first_step_of(
    coroutine: Coroutine[Any, Any, Any],
) -> '_first_step.FirstStep | None':
    """Make a task whose first step can be made at once, or nothing.

    If it can be made, who calls may wait for it.
    """
    hub: Any = _eventlet.current_hub()
    try:
        own = hub.loop_greenlet
    except AttributeError:
        return None  # another kind of hub, or none
    # It has another one while a callback waits, and none before it has run.
    if hub.greenlet is not own or not hub.running:
        return None
    # Other greenlets than green threads and the main one, which may belong to
    # a task.
    parent = greenlet.getcurrent().parent
    running: Any = asyncio._get_running_loop()
    if (parent is not own and parent is not None
            or running is not hub.loop):
        return None
    _request_context.follow()
    first: _first_step.FirstStep | None = running.first_step_of(
        coroutine, hub)
    return first


def wait(future: 'asyncio.Future[_T]') -> _T:
    """Have the calling greenlet wait for a future of this thread's loop.

    Orders of events: the future is done when we come (no wait); it becomes
    done, then we are woken; something is thrown into us first, then we
    cancel, wait for the end of the cleanup, and let it go on; it becomes
    done and something is thrown before we are woken: nothing is left to
    cancel, and what was thrown goes on, as nobody wakes who has left.
    """
    if not future.done():
        try:
            _wait_until_done(future)
        except BaseException as thrown:
            _give_up(future, thrown)
    try:
        if future.cancelled() and _ends_with_loop(future):
            raise greenlet.GreenletExit()
        return future.result()
    finally:
        # The traceback of what it raises refers to this frame.
        del future


def wait_for_first(first: _first_step.FirstStep) -> Any:
    """Have a task begin now, and wait for it as :func:`wait` does."""
    try:
        first.make()
        task = first.task
        if not task.done():
            _wait_for_end(first.coroutine)
    except BaseException as thrown:
        _give_up(first.task, thrown)
    finally:
        # The hub is in step_now() until it gets control, and what the task
        # has ended with would be kept until then.
        first.task = None
        del first
    try:
        # Not by wait(), which takes 100 ns more, of 7 us.
        return (task.result() if task.done() and not task.cancelled()
                else wait(task))
    finally:
        # The traceback of what it raises refers to this frame.
        del task


def _ends_with_loop(future: 'asyncio.Future[Any]') -> bool:
    """Whether who waits is to be killed as the future was cancelled.

    At the end of a loop its tasks are cancelled, and green threads that wait
    for them are not: eventlet would print a ``CancelledError``, which nobody
    has asked for.
    """
    current = greenlet.getcurrent()
    state = _loop_state.of(future.get_loop())
    return (state is not None and state.is_ending
            and current.parent is not None
            and _task_greenlet.driver_of(current) is None)


def _wait_for_end(coroutine: Any) -> None:
    """Wait for a green coroutine that has begun.

    The task is done then. It tells those who wait for it a turn later.
    """
    coroutine.waiter = waiter = _waiters.new()
    try:
        waiter.wait()
    finally:
        coroutine.waiter = None


def _wait_until_done(future: 'asyncio.Future[Any]') -> None:
    waiter = _waiters.new()

    def wake(_: object) -> None:
        waiter.wake()

    future.add_done_callback(wake)
    try:
        waiter.wait()
    finally:
        if not waiter.woken:
            future.remove_done_callback(wake)


def _give_up(future: 'asyncio.Future[Any]',
             thrown: BaseException) -> NoReturn:
    """Cancel *future*, and raise when its cleanup has ended.

    What the cleanup raises goes first, as out of any ``finally``.
    """
    # Not for ever: a hub that cannot switch raises each time too.
    for _ in range(1000):
        if future.done():
            break
        future.cancel()
        try:
            _wait_until_done(future)
        except (KeyboardInterrupt, SystemExit):
            # The second time somebody wants to leave: now, and how the
            # future ends is of no interest any more.
            future.add_done_callback(outcome)
            raise
        except BaseException as newer:
            thrown = newer
    else:
        raise thrown
    if not future.cancelled() and (error := future.exception()) is not None:
        raise error
    raise thrown
