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

"""Green threads whose end somebody else waits for.

eventlet prints the exception of every green thread that fails. That of one
which the bridge waits for is for who waits.
"""

import asyncio
from collections.abc import Callable
import contextvars
import logging
import sys
import traceback
import types
from typing import Any

from eventlet import event
from eventlet import greenthread
from eventlet import hubs
import greenlet

from aiohub import _eventlet
from aiohub import _request_context
from aiohub import _spare_threads
from aiohub import _task_greenlet
from aiohub import exceptions

LOG = logging.getLogger(__name__)

_switch = greenlet.greenlet.switch
#: In place of a result: there is none yet.
NOTHING: Any = object()

#: Told how something ended, with its result or with what it raised; returns
#: whether that is for somebody.
Ended = Callable[[Any, BaseException | None], bool]


def tell(green: greenthread.GreenThread, ended: Ended) -> None:
    """Link of a green thread: pass on how it ended.

    What it raised is not printed if somebody takes it; see end_quietly().
    """
    try:
        result = greenthread.GreenThread.wait(green)
    except BaseException as exc:
        if not ended(None, exc.with_traceback(_inside(exc.__traceback__))):
            return
        if isinstance(green, BridgeThread):
            green.taken = True
        if not isinstance(exc, (KeyboardInterrupt, SystemExit)):
            # Once, and after the links that are there.
            green.unlink(end_quietly)
            green.link(end_quietly)
    else:
        ended(result, None)


def _inside(
    trace: types.TracebackType | None,
) -> types.TracebackType | None:
    """Return the part of a traceback that is in the green thread's code.

    Before it come the frames of this wait, which is nobody's.
    """
    inner = trace
    while inner is not None:
        code = inner.tb_frame.f_code
        inner = inner.tb_next
        if code in (greenthread.GreenThread.main.__code__,
                    _spare_threads.main.__code__,
                    _spare_threads.main_again.__code__,
                    KeptThread.main.__code__):
            return inner
    return trace


def end_quietly(green: greenthread.GreenThread) -> None:
    """Link of a green thread whose exception somebody takes, if it raises.

    eventlet calls the links and then raises the exception again, which ends
    the green thread and arrives in the hub's greenlet, and that prints it. A
    link that raises takes its place, and a ``GreenletExit`` ends a greenlet
    without being raised in another.

    To make a greenlet of ours its parent would do the same, but each green
    wait makes the hub the parent again, and nothing is told after the last
    one; it would need a greenlet for each hub, too.

    Orders of events: who takes it came before the green thread began, later,
    or while another link of it waits: each is told first, since this link
    goes to the end again as long as there are others. Several took it: one
    such link is enough. Nobody took it (its future was done already): there
    is no such link, and eventlet prints it. It was killed: what with is
    taken like what it raises. It had ended before, or is killed before it
    begins: links are called by somebody else, whom this must not end. Its
    hub was replaced: it ends in what became the parent, and raises nothing
    there either.
    """
    error = sys.exception()
    if error is None or green is not greenlet.getcurrent() or isinstance(
            error, (KeyboardInterrupt, SystemExit)):
        return
    if green._exit_funcs:
        green.link(end_quietly)
    else:
        raise greenlet.GreenletExit()


def result_of(green: greenthread.GreenThread) -> Any:
    """Return what a green thread has returned, :data:`NOTHING` if it has not.

    As its ``wait()`` does, in one call in place of three.
    """
    ended = green._exit_event
    if ended._exc is not None or ended._result is event.NOT_USED:
        return NOTHING
    return ended._result if green.dead else NOTHING


class KillableThread(greenthread.GreenThread):
    """A green thread that can be killed before it begins, with anything.

    eventlet's own prints then what it is killed with, and tells those who
    wait of an ``IndexError`` if that is an exception and no tuple.
    """

    def main(self, function: Callable[..., Any], args: Any,
             kwargs: Any) -> None:
        # eventlet's kill() of one that has not begun calls it from outside.
        # What it is killed with comes by the throw() that follows.
        if greenlet.getcurrent() is self:
            super().main(function, args, kwargs)

    def throw(self, *throw_args: Any) -> Any:
        if self or self.dead:
            return super().throw(*throw_args)
        # It has not begun, and never will. Those who wait are told here: the
        # exception would go through the hub's greenlet, which prints it.
        try:
            raise _task_greenlet.exception(*throw_args)
        except BaseException:
            self._exit_event.send_exception(*sys.exc_info())
        self._resolve_links()
        return super().throw()


class BridgeThread(KillableThread):
    """A green thread whose exception is for those who wait, not for stderr.

    eventlet prints the traceback of every green thread that fails. Here that
    is done when nobody can take the exception any more, as asyncio does.
    """

    taken = False

    def main(self, function: Callable[..., Any], args: Any,
             kwargs: Any) -> None:
        try:
            super().main(function, args, kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise  # for the main greenlet
        except BaseException:
            pass  # wait() raises it

    def wait(self) -> Any:
        self.taken = True
        return super().wait()

    def link(self, func: Callable[..., Any], *args: Any,
             **kwargs: Any) -> Any:
        if func is not tell:  # which says so when it is
            self.taken = True
        return super().link(func, *args, **kwargs)

    def __del__(self) -> None:
        error = self._exit_event._exc
        if error is None or self.taken:
            return
        exception = _task_greenlet.exception(*error)
        if not isinstance(
                exception, (greenlet.GreenletExit, asyncio.CancelledError)):
            try:
                LOG.error(
                    'The exception of a green thread was never retrieved',
                    exc_info=exception)
            except Exception:
                # When the interpreter ends, logging may already not work;
                # that is not what is to be shown.
                traceback.print_exception(exception)


class KeptThread(BridgeThread):
    """A green thread that runs one function after the other.

    It is switched to with a function, and comes back to its parent: with
    :attr:`outcome` when that has returned; without, if it waits. Then it is
    to be left :attr:`alone`, and ends as others do. For the first time it is
    switched to with nothing: greenlet refers to what that is until the end.

    :ivar outcome: What the function has returned.
    :ivar alone: Whether this is its last function.
    """

    def __init__(self, parent: greenlet.greenlet) -> None:
        super().__init__(parent)
        self.outcome = NOTHING
        self.alone = False

    def main(self, function: Any = None, *_: Any) -> None:
        outcome = NOTHING
        try:
            while not self.alone:
                if function is not None:
                    outcome = function()
                    function = None
                    if self.alone:
                        break
                self.outcome = outcome
                del outcome
                try:
                    function = _switch(self.parent)
                except greenlet.GreenletExit:
                    return  # nobody refers to it any more
                outcome, self.outcome = self.outcome, NOTHING
        except BaseException as exc:
            self._exit_event.send_exception(*sys.exc_info())
            self._resolve_links()
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise  # for the main greenlet
        else:
            self._exit_event.send(outcome)
            self._resolve_links()


def spawn(function: Callable[..., Any], *args: Any) -> BridgeThread:
    """Start a :class:`BridgeThread`, in a copy of the current context.

    :raises aiohub.AiohubError: If the hub of this thread would not run it
        now; no hub is made then.
    """
    running = asyncio._get_running_loop()
    if running is not None and running is not _hubs_loop():
        raise exceptions.AiohubError(
            'Green code was called by a coroutine of a loop (%r) that is not '
            'the one of a hub. In a native thread call aiohub.from_thread.'
            'run_sync(); in the main thread run the coroutine with '
            'aiohub.await_() instead of asyncio.run().' % (running,))
    _request_context.follow()
    hub = hubs.get_hub()
    green = BridgeThread(hub.greenlet)
    green.gr_context = contextvars.copy_context()
    hub.schedule_call_global(0, green.switch, function, args, {})
    return green


def _hubs_loop() -> object:
    """Return the loop beside the hub of this thread, if it has both."""
    hub = _eventlet.current_hub()
    return getattr(getattr(hub, 'aiohub_runner', hub), 'loop', None)
