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

"""asyncio's side: the event loop of a thread that has a hub.

:class:`EventLoop` is a stock ``asyncio.SelectorEventLoop`` on a selector of
ours: public API. What is added keeps it usable in a service: native threads
for its executor, a signal wake-up that stays on, and a way to go on in a
forked child. On the aiohub hub its selector is the hub.

On a hub that knows nothing of asyncio, :func:`get_loop` runs a
:class:`GreenEventLoop` in a green thread, whose ``select()`` waits as any
green thread does: an epoll object has a descriptor, and can itself be polled.
So code that uses asyncio goes on working with aiohub switched off.
"""

import asyncio
from collections.abc import Iterator
import contextlib
import contextvars
import logging
import signal
from typing import Any

import eventlet
from eventlet import hubs
from eventlet.hubs import asyncio as asyncio_hub
import greenlet

from aiohub import _eventlet
from aiohub import _lifetime
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
        self._wakes_on_signals = False
        self._native_executor: _native.Executor | None = None
        self._has_executor = False

    # -- threads

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any,
    ) -> 'asyncio.Future[Any]':
        """Call *func* in a thread; see asyncio's.

        Without an *executor* the thread is native, before and after monkey
        patching, unless :meth:`set_default_executor` was called.
        """
        if executor is None and not self._has_executor:
            self._native_executor = _native.new_executor()
            self.set_default_executor(self._native_executor)
        return super().run_in_executor(executor, func, *args)

    def set_default_executor(self, executor: Any) -> None:
        """Choose the threads for calls that do not; see asyncio's."""
        super().set_default_executor(executor)
        self._has_executor = True

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads, and start no more; see asyncio's."""
        self._has_executor = True
        await super().shutdown_default_executor(*args)

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
            signal.set_wakeup_fd(-1)
            with contextlib.suppress(OSError, ValueError):  # it was closed
                signal.set_wakeup_fd(self._old_wakeup_fd)

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Any, *args: Any,
    ) -> None:
        """Set a handler of signal *sig*; see asyncio's.

        Since every signal wakes the poll, the numbers of those that other
        handlers have dealt with may still be unread in the self-pipe. They
        are not for this one.
        """
        self._check_closed()  # type: ignore[attr-defined]
        self._read_from_self()  # type: ignore[attr-defined]
        super().add_signal_handler(sig, callback, *args)

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
        if self._native_executor is not None:
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
        if self._native_executor is not None:
            self._native_executor.forget()
        for name in ('_ssock', '_csock'):
            sock = getattr(self, name, None)
            if sock is not None:
                sock.close()




class GreenEventLoop(EventLoop):
    """An event loop for a green thread of a hub that is not ours.

    Green code of the same thread adds to it while its ``select()`` waits, so
    that has to be noticed, as asyncio's own loop notices other threads.

    :param hub: The hub of this thread.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        # The wait of select() that new work has to end, if it is in one.
        self._wait: object = None
        super().__init__(_selector.HubSelector({}, {}, self._turn))

    def _turn(self, timeout: float | None) -> list[tuple[Any, int]]:
        """``select()`` that lets other green threads run, at least once."""
        poll: Any = self._hub_selector.poll
        if timeout == 0:
            eventlet.sleep(0)
        else:
            self._wait = object()
            try:
                hubs.trampoline(
                    poll.fileno(), read=True, timeout=timeout,
                    timeout_exc=_Due)
            except _Due:
                pass
            finally:
                self._wait = None
        # Again: the process may have been forked meanwhile.
        poll = self._hub_selector.poll
        return list(self._hub_selector.asyncio_events(poll.poll(0)))

    def end_wait(self) -> None:
        """Have ``select()`` return soon: there is something new to do."""
        if self._wait is not None:
            self._hub.schedule_call_global(
                0, self._end_wait, self._wait, greenlet_of(self))

    def _end_wait(self, wait: object, runner: greenlet.greenlet) -> None:
        # Something else may have ended it, and there may be another one.
        if self._wait is wait:
            runner.switch()

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Call *callback* in the next turn; see asyncio's."""
        handle = super().call_soon(callback, *args, context=context)
        self.end_wait()
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call *callback* at a time of the loop's clock; see asyncio's."""
        handle = super().call_at(when, callback, *args, context=context)
        self.end_wait()
        return handle

    def renew_after_fork(self, task: asyncio.Task[Any] | None) -> None:
        super().renew_after_fork(task)
        # It waits for the poll object that it had before.
        self.end_wait()


class _Due(Exception):
    """The next timer of a :class:`GreenEventLoop` is due."""


class _Runner:
    """Runs a :class:`GreenEventLoop` in a green thread, as long as its hub.

    An exception that is meant for the main greenlet ends the green thread;
    another takes its place.
    """

    def __init__(self, hub: Any) -> None:
        self.thread_id = _native.threading.get_ident()
        self.hub = hub
        self.loop = GreenEventLoop(hub)
        self.start()
        _lifetime.keep(self)

    def start(self) -> None:
        self.greenlet = eventlet.spawn(self._run)

    def _run(self) -> None:
        try:
            self.loop.run_forever()
        finally:
            # A loop of the program's own may be running: then the next
            # get_loop() tries again.
            if self.is_current() and asyncio._get_running_loop() is None:
                self.start()

    @property
    def running(self) -> bool:
        return self.loop.is_running()

    def is_current(self) -> bool:
        return (self.hub is not None
                and _eventlet.current_hub() is self.hub)

    def close(self) -> None:
        """Stop and close the loop; what waits in it is not woken again."""
        _lifetime.forget(self)
        self.hub = None
        _eventlet.unwind(self.greenlet)
        if not self.loop.is_running():
            self.loop.close()


def get_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this thread, which runs beside green code.

    On the aiohub hub, and on eventlet's asyncio hub, it is the loop of the
    hub. On any other hub, with aiohub switched off, the first call starts a
    loop in a green thread of that hub; it runs as long as the hub does.

    :returns: The same loop each time, as long as the thread has this hub.
    """
    hub = hubs.get_hub()
    loop: asyncio.AbstractEventLoop
    if isinstance(hub, asyncio_hub.Hub):
        loop = hub.loop
    else:
        runner = getattr(hub, _RUNNER, None)
        if runner is None or runner.loop.is_closed():
            _native.unpatch_asyncio()
            runner = _Runner(hub)
            setattr(hub, _RUNNER, runner)
            asyncio.set_event_loop(runner.loop)
        if runner.greenlet.dead:
            runner.start()
        loop = runner.loop
    _lifetime.note_main_loop(loop)
    return loop




#: The attribute of a hub that is not ours which holds its runner.
_RUNNER = 'aiohub_runner'


def has_green_loop(hub: Any) -> bool:
    """Whether :func:`get_loop` has started a loop in a green thread."""
    return hasattr(hub, _RUNNER)


def greenlet_of(loop: asyncio.AbstractEventLoop) -> greenlet.greenlet | None:
    """Return the greenlet that runs callbacks and tasks of *loop*.

    :param loop: The loop of this thread.
    """
    hub = hubs.get_hub()
    runner = getattr(hub, _RUNNER, hub)
    return runner.greenlet if runner.loop is loop else None
