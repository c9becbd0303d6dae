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

"""The eventlet hub that asyncio drives.

eventlet calls a hub to wait; asyncio's loop calls a selector to wait. Here
they are the same call. The hub's greenlet runs ``loop.run_forever()``, the
loop asks its selector for events once each turn, and that is the hub's turn:
it polls for both worlds, switches to the green threads whose descriptor is
ready or whose timer is due, and returns asyncio's events to the loop.

So green threads run *inside* ``select()``: outside of any task, with the loop
running. Nobody can cancel the hub, and it costs neither a task nor a timer to
wait.
"""

import contextlib
import sys
from types import ModuleType
from typing import Any

from eventlet.hubs import hub as base_hub
import greenlet

from aiohub import _at_exit
from aiohub import _eventlet
from aiohub import _events
from aiohub import _lifetime
from aiohub import _logging
from aiohub import _native
from aiohub import _queues
from aiohub import _selector
from aiohub import _semaphores
from aiohub import _spare_threads
from aiohub import _standstill
from aiohub import _task_greenlet
from aiohub import _turns
from aiohub import exceptions

_getcurrent = greenlet.getcurrent
# Not what HubGreenlet makes of it.
_switch = greenlet.greenlet.switch


def is_available() -> bool:
    """Return True; eventlet asks. What the hub needs, asyncio needs, too."""
    return True


def _loop_module() -> ModuleType:
    """Return :mod:`aiohub.loop`, built on the asyncio that is imported now.

    Not at the top of this module: a program may take asyncio out of
    ``sys.modules`` between importing eventlet and patching (eventlet's own
    tests do), and the hub must not keep the old one alive.
    """
    import asyncio
    import importlib

    from aiohub import loop

    if vars(loop)['asyncio'] is not asyncio:
        for module in loop.BUILT_ON_ASYNCIO:
            importlib.reload(module)
        loop = importlib.reload(loop)
        importlib.reload(sys.modules['aiohub._green_loop'])
    return loop


class Hub(_turns.TurnsHub):
    """eventlet's hub with an asyncio event loop in the same thread.

    Selected by ``EVENTLET_HUB=aiohub.hub``, by
    ``eventlet.hubs.use_hub('aiohub.hub')``, or by :func:`aiohub.setup`; not
    to be made directly. It derives from eventlet's asyncio hub, which is how
    eventlet and other libraries tell that green code may use asyncio.

    :ivar loop: The ``asyncio`` event loop of the thread.
    :ivar thread_id: What :func:`threading.get_ident` is in the thread.
    """

    #: Whether ``eventlet.debug.hub_prevent_multiple_readers(False)`` works.
    takes_several_readers = True

    running: bool

    def __init__(self) -> None:
        base_hub.BaseHub.__init__(self)
        # eventlet's choice of the parent, the current greenlet, may be a
        # green thread: that could then never become a child of the hub, and
        # the hub would raise SystemExit in it instead of in the main
        # greenlet.
        self.greenlet = self.loop_greenlet = _standstill.HubGreenlet(
            self.run, _eventlet.root_greenlet())

    def leave_children_to(self, hub: 'Hub') -> None:
        """Have green threads that this closed hub has left end in *hub*."""
        for green in (self.loop_greenlet, *self._standstill.greenlets):
            if green.dead:
                green.parent = hub.greenlet

    def _post_initialize(self) -> None:
        """Make what the hub waits with; eventlet calls it after __init__."""
        try:
            self.open()
        except BaseException:
            # get_hub() would go on giving what cannot run.
            _eventlet.forget_hub(self)
            raise

    def open(self) -> None:
        """Make the selector and the loop.

        :raises OSError: If they cannot be had; then nothing is left of them.
        """
        self.thread_id = _native.threading.get_ident()
        super().open()
        self._standstill = _standstill.Standstill(self)
        _native.unpatch_asyncio()
        loop_module = _loop_module()
        self._selector = _selector.HubSelector(
            self._readers, self._writers, self.turn)
        try:
            self.loop = loop_module.EventLoop(self._selector)
        except BaseException:
            self._selector.close()
            raise
        self.woken_parks: list[Any] = self.loop.state.woken_parks
        loop_module.asyncio.set_event_loop(self.loop)
        previous = _lifetime.keep(self)
        if isinstance(previous, Hub) and previous is not self:
            previous.leave_children_to(self)
        _semaphores.replace()
        _events.replace()
        _queues.replace()
        _spare_threads.replace()
        _logging.use_pipe_mutex()

    # -- the turn

    def do_poll(self, timeout: float | None) -> _selector.Events:
        """Wait for events.

        oslo.service looks for a function of this name, in the file of the
        hub's class, to see whether a signal came while the hub was polling.
        """
        return self._selector.poll.poll(timeout)

    # -- waiting

    def switch(self) -> Any:
        """Let others run until somebody wakes the calling greenlet.

        :returns: What it is woken with.
        """
        current = _getcurrent()
        hub = self.greenlet
        parent = current.parent
        # The main greenlet has no parent.
        if ((parent is not hub and parent is not None)
                or type(current) is _task_greenlet.TaskGreenlet):
            driver = _task_greenlet.driver_of(current)
            if driver is not None and driver.can_wait():
                return driver.wait(current)
            if current is self.loop_greenlet:
                assert current is not self.greenlet, (
                    'Cannot switch to MAINLOOP from MAINLOOP')
                return self._standstill.wait(current)
            hub = self.living_greenlet()
            with contextlib.suppress(ValueError):  # it would be a cycle
                current.parent = hub
        switch_out = getattr(current, 'switch_out', None)
        if switch_out is not None:
            self._call_switch_out(switch_out)
            hub = self.living_greenlet()
        return _switch(self.living_greenlet() if hub.dead else hub)

    def _call_switch_out(self, switch_out: Any) -> None:
        try:
            switch_out()
        except BaseException:
            self.squelch_generic_exception(sys.exc_info())

    def living_greenlet(self) -> greenlet.greenlet:
        """Return the greenlet of the hub: a new one if that has ended."""
        if self.greenlet.dead:
            self.ensure_greenlet()
        return self.greenlet

    def ensure_greenlet(self) -> None:
        """Make a new greenlet for the hub if the one it had has ended."""
        old = self.greenlet
        if (old is self._standstill.front
                and _getcurrent() is self.loop_greenlet):
            # eventlet.kill() in a callback, which next arranges to be woken
            # when the one that it kills has run. Here control comes back at
            # once, and that would wake the next green call.
            nothing: Any = self._schedule_nothing
            self.schedule_call_global = nothing  # type: ignore[method-assign]
            return
        if old is self._standstill.deputy:
            self.greenlet = self._standstill.renew_deputy()
        elif old.dead and old is not self._standstill.front:
            self.greenlet = self.loop_greenlet = _standstill.HubGreenlet(
                self.run, _eventlet.root_greenlet())
            # Green threads that are children of the old one end in it.
            old.parent = self.greenlet

    def _schedule_nothing(self, *_: Any) -> None:
        del self.schedule_call_global

    @property
    def stands_still(self) -> bool:
        """Whether a callback waits, and the loop with it."""
        return bool(self._standstill.is_on)

    # -- running

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run both worlds until :meth:`abort`; the hub's greenlet does.

        ``KeyboardInterrupt`` and ``SystemExit`` from a green thread, a task
        or a callback come out of here, into the main greenlet; the next
        green wait runs the hub again.
        """
        if self.running:
            raise RuntimeError('Already running!')
        if self.loop.is_closed():
            raise exceptions.HubClosedError(
                'This hub was closed. Call eventlet.hubs.get_hub() for a new '
                'one instead of keeping the old.')
        other = self.loop.built_on._get_running_loop()
        if other is not None:
            raise exceptions.AiohubError(
                'A green call in a thread where %r runs: the hub cannot run '
                'its own loop meanwhile. Run the coroutine on the loop of '
                'the hub instead, with aiohub.await_().' % (other,))
        _at_exit.mind()
        self.running = True
        self.stopping = False
        self._standstill.stand_by()
        self.loop.state.runs_in = _getcurrent()
        try:
            self.loop.watch_signals()
            # Whatever ended the last run may have swallowed events.
            self.arm_all()
            self.greenlet = self._standstill.front
            while not self.stopping:
                # loop.stop() by somebody else does not stop green threads.
                self.loop.run_forever()
            self.timers_canceled = 0
            self.forget_timers()
        finally:
            self.loop.unwatch_signals()
            self.greenlet = self.loop_greenlet
            self.running = False
            self.stopping = False

    def abort(self, wait: bool = False) -> None:
        """Stop the hub at the end of its turn; see eventlet's hub."""
        if self.running:
            self.stopping = True
            self.loop.stop()
        if wait:
            # The base class asks for one more turn and waits for it.
            base_hub.BaseHub.abort(self, wait=True)

    @property
    def eventlet_hub(self) -> 'Hub':
        """Itself: what eventlet knows as the hub of the thread."""
        return self

    def is_current(self) -> bool:
        """Return whether this is what green calls of this thread wait in."""
        return _eventlet.current_hub() is self

    def close(self) -> None:
        """Close the hub, its loop, and every descriptor they hold.

        Tasks and asynchronous generators clean up first, as at the end of
        ``asyncio.run()``. Green threads and timers are not woken again.
        The next ``eventlet.hubs.get_hub()`` of the thread makes a new hub.
        A hub is also closed when its thread ends and when ``use_hub()``
        replaces it. Closing twice is fine.

        :raises aiohub.exceptions.HubClosedError: If called from a callback
            or a coroutine, which the hub itself runs, or from another
            thread. Call it from the main greenlet or a green thread.
        """
        if self.thread_id != _native.threading.get_ident():
            raise exceptions.HubClosedError(
                'Only the thread of the hub can close it.')
        if (greenlet.getcurrent() in (self.greenlet, self.loop_greenlet)
                or self.loop.built_on.current_task(self.loop) is not None):
            raise exceptions.HubClosedError(
                'Hub.close() was called from a callback or coroutine that '
                'the hub is running. Call it from the main greenlet, or '
                'with eventlet.spawn(hub.close).')
        if self.loop.is_closed():
            return
        try:
            _lifetime.end_work(self)
        finally:
            self._close()

    def _close(self) -> None:
        _lifetime.forget(self)
        self.loop.state.kept_thread = None
        self.loop.state.spare_threads.greens.clear()
        _eventlet.unwind(self.loop_greenlet)
        self._standstill.close()
        self.loop.close()
        self.forget_listeners()
        self.forget_timers()
        self.closed.clear()
        _eventlet.forget_hub(self)
