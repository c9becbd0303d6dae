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

"""The asyncio event loop of a hub.

A stock ``asyncio.SelectorEventLoop`` on the hub's selector: public API. What
is added keeps it usable in a service: native threads for its executor, a
signal wake-up that stays on, and a way to go on in a forked child.
"""

import asyncio
from collections.abc import Iterator
import contextlib
import logging
import signal
from typing import Any

from aiohub import _native
from aiohub import _selector


@contextlib.contextmanager
def _not_logging() -> Iterator[None]:
    """Drop what this thread logs for asyncio.

    A new loop logs the name of its selector. At that time the hub of the
    thread cannot wait yet, and a log handler may want to: the lock of
    oslo.log's handlers is waited for greenly, in native threads too.
    """
    get_ident = _native.threading.get_ident
    ident = get_ident()

    def is_other_thread(record: logging.LogRecord) -> bool:
        return bool(get_ident() != ident)

    logger = logging.getLogger('asyncio')
    logger.addFilter(is_other_thread)
    try:
        yield
    finally:
        logger.removeFilter(is_other_thread)


class EventLoop(asyncio.SelectorEventLoop):
    """The event loop that a hub drives, and that drives the hub.

    :param selector: The selector of the hub.
    """

    def __init__(self, selector: _selector.HubSelector) -> None:
        with _not_logging():
            super().__init__(selector)
        self._hub_selector = selector
        self._native_executor = _native.Executor()
        self.set_default_executor(self._native_executor)
        self._wakes_on_signals = False

    # -- signals

    def watch_signals(self) -> None:
        """Let every signal wake the poll, until :meth:`unwatch_signals`.

        Python runs signal handlers in the main thread between two
        instructions, and then goes on polling (PEP 475): what the handler
        has spawned would wait for the next timer or packet. The wake-up
        descriptor ends the poll. In other threads this does nothing.
        """
        with contextlib.suppress(ValueError):  # not in the main thread
            # A full buffer means that the poll is awake already.
            self._old_wakeup_fd = signal.set_wakeup_fd(
                self._wakeup_fileno(), warn_on_full_buffer=False)
            self._wakes_on_signals = True

    def unwatch_signals(self) -> None:
        """Give the wake-up descriptor back to who had it before."""
        if self._wakes_on_signals:
            self._wakes_on_signals = False
            signal.set_wakeup_fd(self._old_wakeup_fd)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of signal *sig*; see asyncio's.

        asyncio turns the wake-up descriptor off with the last handler; the
        hub still needs it.
        """
        removed = super().remove_signal_handler(sig)
        if self._wakes_on_signals:
            signal.set_wakeup_fd(
                self._wakeup_fileno(), warn_on_full_buffer=False)
        return removed

    def _wakeup_fileno(self) -> int:
        # _csock, the write end of the self-pipe, is private to asyncio. It
        # has to be this one and no pipe of our own: the numbers of the
        # signals that add_signal_handler() handles must arrive there, and
        # there is one wake-up descriptor in a process.
        fileno: int = self._csock.fileno()  # type: ignore[attr-defined]
        return fileno

    # -- fork

    def renew_after_fork(self, task: asyncio.Task[Any] | None) -> None:
        """Stop sharing with the parent process, in a child just forked.

        The poll object and the self-pipe belong to both after a fork: each
        process would take the other's events and wake-ups.

        :param task: What :func:`asyncio.current_task` was in the parent.
        """
        self._hub_selector.renew()
        # Private to asyncio, which has no other way to replace the self-pipe
        # (bpo-21998).
        self._close_self_pipe()  # type: ignore[attr-defined]
        self._make_self_pipe()  # type: ignore[attr-defined]
        self._native_executor.forget()
        if self.is_running():
            # asyncio forgets the running loop in a child (gh-66285), and
            # since 3.14.1 the current task (eventlet #1083); here they go on.
            asyncio._set_running_loop(self)
            if task is not None and asyncio.current_task(self) is not task:
                asyncio._enter_task(self, task)
        if self._wakes_on_signals:
            # It was the old self-pipe, or off: asyncio turns it off too.
            signal.set_wakeup_fd(
                self._wakeup_fileno(), warn_on_full_buffer=False)

    def close_in_child(self) -> None:
        """Close what a forked child inherited of another thread's loop."""
        self._hub_selector.poll.close()
        for name in ('_ssock', '_csock'):
            sock = getattr(self, name, None)
            if sock is not None:
                sock.close()


