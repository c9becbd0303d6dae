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

import collections
import heapq
import sys
from types import ModuleType
from typing import Any

from eventlet.hubs import asyncio as asyncio_hub
from eventlet.hubs import hub as base_hub
import greenlet

from aiohub import _eventlet
from aiohub import _lifetime
from aiohub import _native
from aiohub import _selector
from aiohub import exceptions

READ = base_hub.READ
WRITE = base_hub.WRITE
_READABLE = _selector.GREEN_READ | _selector.POLL_ERROR
_WRITABLE = _selector.GREEN_WRITE | _selector.POLL_ERROR


def is_available() -> bool:
    """Return whether this system can run the hub; eventlet asks.

    :returns: True: every system that has ``poll`` or ``epoll`` can, and
        asyncio needs no less.
    """
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
        loop = importlib.reload(loop)
    return loop


class Hub(asyncio_hub.Hub):
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

    timers_canceled: int
    running: bool

    def __init__(self) -> None:
        base_hub.BaseHub.__init__(self)
        # eventlet's choice, the current greenlet, may be a green thread:
        # that could then never become a child of the hub, and the hub would
        # raise SystemExit in it instead of in the main greenlet.
        self.greenlet.parent = _eventlet.root_greenlet()

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
        # Timers without delay, in the order they were made: most timers are
        # of this kind, and a heap would sort what is sorted.
        self._soon: collections.deque[tuple[float, Any]] = collections.deque()
        self._readers: dict[int, Any] = self.listeners[READ]
        self._writers: dict[int, Any] = self.listeners[WRITE]
        self._always_ready: set[Any] = set()
        _native.unpatch_asyncio()
        loop_module = _loop_module()
        self._asyncio = loop_module.asyncio
        self._selector = _selector.HubSelector(
            self._readers, self._writers, self.turn)
        try:
            self.loop = loop_module.EventLoop(self._selector)
        except BaseException:
            self._selector.close()
            raise
        self._asyncio.set_event_loop(self.loop)
        _lifetime.keep(self)

    # -- file descriptors

    def add(self, evtype: str, fileno: int, cb: Any, tb: Any,
            mark_as_closed: Any) -> Any:
        """Wait for *fileno*; see eventlet's hub.

        :raises OSError: If *fileno* is not open.
        :raises ValueError: If *fileno* is negative.
        :raises RuntimeError: If another green thread waits for the same,
            unless ``hub_prevent_multiple_readers(False)`` was called.
        """
        bucket = self.listeners[evtype]
        if fileno in bucket:
            # The kernel is asked for the first of several already; when that
            # one is removed, the next is armed.
            return base_hub.BaseHub.add(
                self, evtype, fileno, cb, tb, mark_as_closed)
        listener = self.lclass(evtype, fileno, cb, tb, mark_as_closed)
        bucket[fileno] = listener
        try:
            self._selector.arm(fileno)
        except PermissionError:
            self._wake_soon(fileno)
        except BaseException:
            del bucket[fileno]
            raise
        return listener

    def _wake_soon(self, fileno: int) -> None:
        """Wake who waits for a regular file.

        It is always ready, and epoll does not take it.
        """
        for bucket in (self._readers, self._writers):
            listener = bucket.get(fileno)
            if listener is not None and listener not in self._always_ready:
                self._always_ready.add(listener)
                self.schedule_call_global(0, self._wake_now, listener)

    def _wake_now(self, listener: Any) -> None:
        self._always_ready.discard(listener)
        bucket = self.listeners[listener.evtype]
        if bucket.get(listener.fileno) is listener:
            listener.cb(listener.fileno)
            if bucket.get(listener.fileno) is listener:
                self._wake_soon(listener.fileno)

    def remove(self, listener: Any) -> None:
        """Stop waiting; see eventlet's hub."""
        if listener.spent:
            return
        fileno = listener.fileno
        bucket = self.listeners[listener.evtype]
        others = self.secondaries[listener.evtype].get(fileno)
        if others is not None:
            base_hub.BaseHub.remove(self, listener)
        elif bucket.get(fileno) is listener:
            del bucket[fileno]
        else:
            return  # the hub was closed, and has forgotten it
        if (fileno in self._readers or fileno in self._writers
                or fileno in self._selector.keys):
            self._arm_again(fileno)

    def remove_descriptor(self, fileno: int) -> None:
        """Forget *fileno*, waking who waits for it; see eventlet's hub."""
        base_hub.BaseHub.remove_descriptor(self, fileno)
        if fileno in self._selector.keys:
            self._arm_again(fileno)

    def _arm_again(self, fileno: int) -> None:
        try:
            self._selector.arm(fileno)
        except PermissionError:
            self._wake_soon(fileno)
        except OSError:
            # It was closed: who waits for it still waits, as on epolls,
            # until the number is opened again (mark_as_reopened).
            pass

    def _arm_all(self) -> None:
        for fileno in self._selector.arm_all():
            self._wake_soon(fileno)

    # -- timers

    def add_timer(self, timer: Any) -> float:
        """Have *timer* called when its seconds have passed.

        :returns: When that will be, by the hub's clock.
        """
        when: float = self.clock() + timer.seconds
        if timer.seconds:
            self.next_timers.append((when, timer))
        else:
            self._soon.append((when, timer))
        return when

    def get_timers_count(self) -> int:
        """Return how many timers there are, canceled ones included."""
        return len(self._soon) + len(self.timers) + len(self.next_timers)

    def timer_canceled(self, timer: Any) -> None:
        """Note that *timer* will not be called; the timer calls it.

        When most timers are dead, they are taken out, in place: firing them
        may be under way.
        """
        self.timers_canceled += 1
        count = self.get_timers_count()
        if count > 1000 and count / 2 <= self.timers_canceled:
            self.timers_canceled = 0
            self.timers[:] = [t for t in self.timers if not t[1].called]
            self.next_timers[:] = [
                t for t in self.next_timers if not t[1].called]
            heapq.heapify(self.timers)

    def fire_timers(self, when: float) -> None:
        """Call the timers due at *when*, in the order of their times.

        Timers made meanwhile wait for the next turn.
        """
        soon = self._soon
        timers = self.timers
        for _ in range(len(soon)):
            if not soon:  # the hub was closed or aborted on the way
                break
            due, timer = soon.popleft()
            while timers and timers[0][0] <= due:
                self._fire(heapq.heappop(timers)[1])
            self._fire(timer)
        while timers and timers[0][0] <= when:
            self._fire(heapq.heappop(timers)[1])

    def _fire(self, timer: Any) -> None:
        if timer.called:
            self.timers_canceled -= 1
            return
        try:
            timer()
        except self.SYSTEM_EXCEPTIONS:
            raise
        except BaseException:
            self.squelch_timer_exception(timer, sys.exc_info())

    # -- the turn

    def turn(
        self, timeout: float | None,
    ) -> list[tuple[Any, int]]:
        """One turn of both worlds: the ``select()`` of the loop's selector.

        :param timeout: How long the loop would wait for its own next timer,
            in seconds; None for ever.
        :returns: What the loop is to call: pairs of selector key and events.
        """
        while self.closed:
            self._close_one()
        if self.next_timers:
            self.prepare_timers()
        if self._soon:
            timeout = 0
        elif self.timers:
            delay = self.timers[0][0] - self.clock()
            if timeout is None or delay < timeout:
                timeout = delay if delay > 0 else 0
        try:
            events = self.do_poll(timeout)
        except InterruptedError:
            # A signal handler ended the poll (oslo.service's does); what the
            # poll had found may be lost with it.
            self._arm_all()
            events = []
        if self.debug_blocking:
            self.block_detect_pre()
        if events:
            self._wake(events)
        if self._soon or self.timers:
            self.fire_timers(self.clock())
        if self.debug_blocking:
            self.block_detect_post()
        # Now, not before: green threads may have unregistered some of it.
        return list(self._selector.asyncio_events(events))

    def do_poll(self, timeout: float | None) -> _selector.Events:
        """Wait for events.

        oslo.service looks for a function of this name, in the file of the
        hub's class, to see whether a signal came while the hub was polling.
        """
        return self._selector.poll.poll(timeout)

    def _wake(self, events: _selector.Events) -> None:
        """Switch to the green threads that wait for *events*."""
        readers = self._readers
        writers = self._writers
        # First note whom to wake: one that runs may close a descriptor and
        # open another of the same number, which this event is not about.
        found = []
        for fileno, mask in events:
            if mask & _READABLE and fileno in readers:
                found.append(readers[fileno])
            if mask & _WRITABLE and fileno in writers:
                found.append(writers[fileno])
        for listener in found:
            fileno = listener.fileno
            bucket = self.listeners[listener.evtype]
            if bucket.get(fileno) is not listener:
                continue
            try:
                listener.cb(fileno)
            except self.SYSTEM_EXCEPTIONS:
                raise
            except BaseException:
                self.squelch_exception(fileno, sys.exc_info())
            if bucket.get(fileno) is listener:
                # It stays: one-shot interest has to be renewed.
                self._arm_again(fileno)

    def _close_one(self) -> None:
        try:
            self.close_one()
        except self.SYSTEM_EXCEPTIONS:
            raise
        except BaseException:
            self.squelch_generic_exception(sys.exc_info())

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
        other = self._asyncio._get_running_loop()
        if other is not None:
            raise exceptions.AiohubError(
                'A green call in a thread where %r runs: the hub cannot run '
                'its own loop meanwhile. Run the coroutine on the loop of '
                'the hub instead, with eventlet.asyncio.spawn_for_awaitable.'
                % (other,))
        self.running = True
        self.stopping = False
        try:
            self.loop.watch_signals()
            # Whatever ended the last run may have swallowed events.
            self._arm_all()
            while not self.stopping:
                # loop.stop() by somebody else does not stop green threads.
                self.loop.run_forever()
            self.timers_canceled = 0
            self._soon.clear()
            del self.timers[:]
            del self.next_timers[:]
        finally:
            self.loop.unwatch_signals()
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

    def close(self) -> None:
        """Close the hub, its loop, and every descriptor they hold.

        What waits in it is not woken again: green threads, tasks, timers.
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
        if greenlet.getcurrent() is self.greenlet:
            raise exceptions.HubClosedError(
                'Hub.close() was called from a callback or coroutine that '
                'the hub is running. Call it from the main greenlet, or '
                'with eventlet.spawn(hub.close).')
        if self.loop.is_closed():
            return
        _lifetime.forget(self)
        _eventlet.unwind(self.greenlet)
        self.loop.close()
        for bucket in (*self.listeners.values(), *self.secondaries.values()):
            bucket.clear()
        self._soon.clear()
        self.timers.clear()
        self.next_timers.clear()
        self.closed.clear()
        _eventlet.forget_hub(self)
