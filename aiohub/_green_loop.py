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

"""The event loop of a thread, whatever its hub is.

On a hub that knows nothing of asyncio, :func:`get_loop` runs a
:class:`GreenEventLoop` in a green thread, whose ``select()`` waits as any
green thread does: an epoll object has a descriptor, and can itself be polled.
So code that uses asyncio goes on working with aiohub switched off.
"""

import asyncio
import contextvars
import dataclasses
from typing import Any

import eventlet
from eventlet import hubs
from eventlet.hubs import asyncio as asyncio_hub
import greenlet

from aiohub import _at_exit
from aiohub import _eventlet
from aiohub import _handles
from aiohub import _lifetime
from aiohub import _loop_state
from aiohub import _native
from aiohub import _selector
from aiohub import _standstill
from aiohub import _task_greenlet
from aiohub import exceptions
from aiohub import loop


@dataclasses.dataclass(slots=True, eq=False)
class GreenLoopState(_loop_state.LoopState):
    """The attribute ``state`` of :class:`GreenEventLoop`."""

    #: The hub of the thread.
    hub: Any = None
    #: The wait of ``select()`` that new work has to end, if it is in one.
    wait: object = None
    #: Whether the loop is in ``select()``.
    selecting: bool = False


class GreenEventLoop(loop.EventLoop):
    """An event loop for a green thread of a hub that is not ours.

    Green code of the same thread adds to it while its ``select()`` waits, so
    that has to be noticed, as asyncio's own loop notices other threads.

    :param hub: The hub of this thread.
    """

    new_state = GreenLoopState
    state: GreenLoopState

    def __init__(self, hub: Any) -> None:
        super().__init__(_selector.HubSelector({}, {}, self._turn))
        self.state.hub = hub
        self.state.runs_in_hub = False

    def _turn(self, timeout: float | None) -> list[tuple[Any, int]]:
        """``select()`` that lets other green threads run, at least once."""
        poll: Any = self._hub_selector.poll
        self.state.selecting = True
        try:
            if timeout == 0:
                eventlet.sleep(0)
            else:
                self.state.wait = object()
                hubs.trampoline(
                    poll.fileno(), read=True, timeout=timeout,
                    timeout_exc=_Due)
        except _Due:
            pass
        finally:
            self.state.wait = None
            self.state.selecting = False
        # Again: the process may have been forked meanwhile.
        poll = self._hub_selector.poll
        return list(self._hub_selector.asyncio_events(poll.poll(0)))

    def end_wait(self) -> None:
        """Have ``select()`` return soon: there is something new to do."""
        if self.state.wait is not None:
            self.state.hub.schedule_call_global(
                0, self._end_wait, self.state.wait,
                greenlet_of(self, hubs.get_hub()))

    def _end_wait(self, wait: object, runner: greenlet.greenlet) -> None:
        # Something else may have ended it, and there may be another one.
        if self.state.wait is wait:
            runner.switch()

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Call *callback* in the next turn; see asyncio's."""
        handle = super().call_soon(callback, *args, context=context)
        if not self.state.calls_soon:
            _handles.leave_out_caller(handle)
        self.end_wait()
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call *callback* at a time of the loop's clock; see asyncio's."""
        handle = super().call_at(when, callback, *args, context=context)
        if not self.state.calls_soon:
            _handles.leave_out_caller(handle)
        self.end_wait()
        return handle

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of signal *sig*; see asyncio's."""
        removed = super().remove_signal_handler(sig)
        # The hub that runs is another one, which may need the descriptor.
        self.unwatch_signals()
        return removed

    def renew_after_fork(self, inherited: set[asyncio.Task[Any]],
                         task: asyncio.Task[Any] | None) -> None:
        super().renew_after_fork(inherited, task)
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
        self._left_task: asyncio.Task[Any] | None = None
        #: Whether a callback waits, and the loop with it.
        self.stands_still = False
        self.start()
        # The aiohub hub does this itself.
        hub.switch = self._switch
        hub.schedule_call_global = self._schedule_call_global
        _lifetime.keep(self)

    def start(self) -> None:
        _at_exit.mind()
        self.loop_greenlet = eventlet.spawn(self._run)

    def _run(self) -> None:
        self.loop.state.runs_in = greenlet.getcurrent()
        try:
            self.loop.run_forever()
        finally:
            # A loop of the program's own may be running: then the next
            # get_loop() tries again.
            if self.is_current() and asyncio._get_running_loop() is None:
                self.start()

    def _schedule_call_global(self, seconds: float, cb: Any, *args: Any,
                              **kwargs: Any) -> Any:
        """``hub.schedule_call_global()``."""
        timer = _task_greenlet.new_timer(seconds, cb, *args, **kwargs)
        self.hub.add_timer(timer)
        return timer

    def _switch(self) -> Any:
        """``hub.switch()``; green tasks wait in their own way."""
        hub: Any = self.hub
        current = greenlet.getcurrent()
        driver = _task_greenlet.driver_of(current)
        if driver is not None and driver.can_wait():
            return driver.wait(current)
        if current is not self.loop_greenlet:
            return type(hub).switch(hub)
        # Otherwise a callback, or a task that is not green.
        self.stands_still = not self.loop.state.selecting
        if self.stands_still:
            _standstill.warn()
        task = self._leave_task()
        # That of who has woken us last without the hub, as kill() does.
        self._enter_task(self._left_task)
        self._left_task = None
        try:
            return type(hub).switch(hub)
        finally:
            self.stands_still = False
            self._left_task = self._leave_task()
            self._enter_task(task)

    def _leave_task(self) -> 'asyncio.Task[Any] | None':
        task = asyncio.current_task(self.loop)
        if task is not None:
            asyncio._leave_task(self.loop, task)
        return task

    def _enter_task(self, task: 'asyncio.Task[Any] | None') -> None:
        if task is not None:
            asyncio._enter_task(self.loop, task)

    @property
    def eventlet_hub(self) -> Any:
        return self.hub

    @property
    def running(self) -> bool:
        return self.loop.is_running()

    def is_current(self) -> bool:
        return (self.hub is not None
                and _eventlet.current_hub() is self.hub)

    def close(self) -> None:
        """Stop and close the loop; what waits in it is not woken again."""
        if self.hub is None:
            return
        try:
            _lifetime.end_work(self)
        finally:
            self._close()

    def _close(self) -> None:
        _lifetime.forget(self)
        for name in ('switch', 'schedule_call_global'):
            self.hub.__dict__.pop(name, None)
        self.hub = None
        _eventlet.unwind(self.loop_greenlet)
        if not self.loop.is_running():
            self.loop.close()


def get_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this thread, which runs beside green code.

    On the aiohub hub, and on eventlet's asyncio hub, it is the loop of the
    hub. On any other hub, with aiohub switched off, the first call starts a
    loop in a green thread of that hub; it runs as long as the hub does.

    :returns: The same loop each time, as long as the thread has this hub.
    :raises aiohub.AiohubError: If the thread has no hub, is not the main
        thread, and runs another loop now.
    """
    hub = _eventlet.current_hub() or _new_hub()
    own: asyncio.AbstractEventLoop
    if isinstance(hub, asyncio_hub.Hub):
        own = hub.loop
    else:
        runner = getattr(hub, _RUNNER, None)
        if runner is None or runner.loop.is_closed():
            _native.unpatch_asyncio()
            runner = _Runner(hub)
            setattr(hub, _RUNNER, runner)
            asyncio.set_event_loop(runner.loop)
        if runner.loop_greenlet.dead:
            runner.start()
        own = runner.loop
    _lifetime.note_main_loop(own)
    return own


def _new_hub() -> Any:
    running = asyncio._get_running_loop()
    threading = _native.threading
    if running is not None and (
            threading.get_ident() != threading.main_thread().ident):
        raise exceptions.AiohubError(
            'The event loop of a hub was asked for in a native thread that '
            'has no hub, and runs another loop (%r). Call '
            'aiohub.from_thread.run() or run_sync().' % (running,))
    return hubs.get_hub()


#: The attribute of a hub that is not ours which holds its runner.
_RUNNER = 'aiohub_runner'


def has_green_loop(hub: Any) -> bool:
    """Whether :func:`get_loop` has started a loop in a green thread."""
    return hasattr(hub, _RUNNER)


def greenlet_of(
    own: asyncio.AbstractEventLoop, hub: Any,
) -> greenlet.greenlet | None:
    """Return the greenlet that runs callbacks and tasks of *own*.

    :param own: The loop of this thread.
    :param hub: The hub of this thread.
    """
    runner = getattr(hub, _RUNNER, hub)
    if runner.loop is not own:
        return None
    # eventlet's asyncio hub has only the other.
    return getattr(runner, 'loop_greenlet', hub.greenlet)
