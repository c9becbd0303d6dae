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

"""Signals: each wakes the poll, and none is lost.

Python runs a signal handler in the main thread between two instructions, and
in a poll it then goes on polling (PEP 475): what the handler has spawned would
wait for the next timer or packet. If the kernel gives the signal to another
thread, the handler itself has to wait for that. So while a hub runs, the
*wake-up descriptor* of the process is the self-pipe of its loop: Python
writes the number of each signal there, at once and in whichever thread.

Orders of events. The handler runs before the hub has chosen how long to poll:
it finds what the handler has made. After that: the number is in the pipe
before Python runs the handler, and nobody reads it before the poll, which
returns at once. So does a poll that has begun.

asyncio knows the signals of ``add_signal_handler()`` by these numbers. But
the pipe takes a few hundred bytes, of which each ``call_soon_threadsafe()``
writes one. When it is full, which wakes as well as a number would, the
numbers are lost, and a SIGTERM with them. So here the numbers only wake, and
what calls the handlers of the loop is a handler of Python.
"""

import asyncio
import contextlib
import contextvars
import inspect
import signal
import sys
from typing import Any

from aiohub import _loop_state


class SignalsLoop(asyncio.SelectorEventLoop):
    """The part of :class:`aiohub.loop.EventLoop` that is about signals."""

    new_state = _loop_state.LoopState

    def __init__(self, selector: Any) -> None:
        #: What a loop of ours has beside the attributes of asyncio's.
        self.state = self.new_state()
        super().__init__(selector)

    def watch_signals(self) -> None:
        """Let every signal wake the poll, until :meth:`unwatch_signals`.

        In other threads than the main one this does nothing. To be called
        again when there is a new self-pipe.
        """
        # _csock, the write end of the self-pipe, is private to asyncio. A
        # pipe of our own would have to be read, and renewed in forked
        # processes, beside that one.
        wakeup_fd: int = self._csock.fileno()  # type: ignore[attr-defined]
        with contextlib.suppress(ValueError):  # not in the main thread
            former = _set_wakeup_fd(wakeup_fd)
            if self.state.wakeup_fd is None:
                self.state.former_wakeup_fd = former
            self.state.wakeup_fd = wakeup_fd

    def unwatch_signals(self) -> None:
        """Give the wake-up descriptor back to who had it before.

        Not if this loop handles signals; and not if somebody else has set it
        meanwhile.
        """
        if self.state.wakeup_fd is None or self.state.signals:
            return
        now = _set_wakeup_fd(self.state.former_wakeup_fd)
        if now != self.state.wakeup_fd:
            _set_wakeup_fd(now)
        self.state.wakeup_fd = None

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Any, *args: Any,
    ) -> None:
        """Have the loop call *callback* at each signal *sig*; see asyncio's.

        It takes the place of asyncio's rather than calling that, which would
        set a handler that does nothing: a signal that comes before we could
        set ours would be lost.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(
                callback):
            raise TypeError(
                'coroutines cannot be used with add_signal_handler()')
        _check(sig)
        if self.is_closed():
            raise RuntimeError('Event loop is closed')
        context = contextvars.copy_context()

        def handler(signum: int, frame: object) -> None:
            self.call_soon_threadsafe(callback, *args, context=context)

        try:
            signal.signal(sig, handler)
            signal.siginterrupt(sig, False)
        except (OSError, ValueError) as exc:  # SIGKILL; not the main thread
            raise RuntimeError(
                'signal %d cannot be caught here: %s' % (sig, exc)) from exc
        self.state.signals.add(sig)
        self.watch_signals()

    def remove_signal_handler(self, sig: int) -> bool:
        """Do with signal *sig* as Python does by default; see asyncio's."""
        _check(sig)
        if sig not in self.state.signals:
            return False
        signal.signal(sig, signal.default_int_handler
                      if sig == signal.SIGINT else signal.SIG_DFL)
        self.state.signals.discard(sig)
        if not self.is_running():
            self.unwatch_signals()
        return True

    def close(self) -> None:
        """Close the loop; see asyncio's."""
        if not self.is_running() and not sys.is_finalizing():
            for sig in list(self.state.signals):
                self.remove_signal_handler(sig)
            self.unwatch_signals()
        super().close()


def _check(sig: int) -> None:
    if not isinstance(sig, int):
        raise TypeError('sig must be an int, not %r' % (sig,))
    if sig not in signal.valid_signals():
        raise ValueError('invalid signal number %d' % sig)


def _set_wakeup_fd(fd: int) -> int:
    """Set the wake-up descriptor; return the one before.

    :raises ValueError: If this is not the main thread.
    """
    try:
        # Who reads from a full one is awake.
        return signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    except OSError:  # who had it has closed it
        return signal.set_wakeup_fd(-1)
