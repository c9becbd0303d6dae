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

"""The hub's timers: when what is due, and in which order.

Other threads have one way in, :meth:`TimersHub.schedule_call_threadsafe`.
What they ask for waits in a queue of its own until the hub comes by, since
neither heap nor order may change while the hub looks at them.
"""

import collections
import heapq
import sys
import types
from typing import Any

from eventlet.hubs import asyncio as asyncio_hub
from eventlet.hubs import timer as timer_module
import greenlet

from aiohub import _task_greenlet
from aiohub import _thrown
from aiohub import exceptions

_METHOD = types.MethodType
_greenlet = greenlet.greenlet
_TaskGreenlet = _task_greenlet.TaskGreenlet


class _PlainTimer(timer_module.Timer):
    """eventlet's, made in 150 to 185 ns in place of 230, with arguments."""

    def __init__(self, seconds: float, cb: Any, args: tuple[Any, ...],
                 kwargs: dict[str, Any]) -> None:
        self.seconds = seconds
        self.tpl = cb, args, kwargs
        self.called = False

    def copy(self) -> timer_module.Timer:
        """Return another one that has not been called."""
        cb, args, kwargs = self.tpl
        return timer_module.Timer(self.seconds, cb, *args, **kwargs)


class TimersHub(asyncio_hub.Hub):
    """The part of :class:`aiohub.hub.Hub` that keeps the timers."""

    timers_canceled: int
    #: When the hub has begun to run green threads, in its last turn in which
    #: there were any to run.
    fired = 0.0
    #: None when the thread of the hub has ended.
    loop: Any = None

    def open(self) -> None:
        """Begin without timers."""
        #: What other threads have asked for.
        self._asked: collections.deque[
            tuple[float, float, Any, tuple[Any, ...], dict[str, Any]]] = (
                collections.deque())
        #: Whether one of them has woken the hub for it, or is about to.
        self.is_asked = False
        # Those without delay, in the order they were made: most are of this
        # kind, and a heap would sort what is sorted.
        self._soon: collections.deque[tuple[float, Any]] = (
            collections.deque())

    def forget_timers(self) -> None:
        """Drop all timers."""
        self._asked.clear()
        self._soon.clear()
        self.timers.clear()
        self.next_timers.clear()

    def schedule_call_global(self, seconds: float, cb: Any, *args: Any,
                             **kwargs: Any) -> Any:
        """Have *cb* called in so many *seconds*; see eventlet's hub."""
        timer: Any = None
        if args and isinstance(
                green := getattr(cb, '__self__', None), _greenlet):
            parent = green.parent
            # Not for green threads and the main one: it takes 200 ns.
            if type(green) is _TaskGreenlet or (
                    parent is not None and parent is not self.greenlet):
                timer = _task_greenlet.throw_timer(seconds, cb, args)
        if timer is None:
            timer = _PlainTimer(seconds, cb, args, kwargs)
        # As add_timer() does.
        when = self.clock() + seconds
        if seconds:
            self.next_timers.append((when, timer))
        else:
            self._soon.append((when, timer))
        return timer

    def schedule_call_threadsafe(self, seconds: float, cb: Any, *args: Any,
                                 **kwargs: Any) -> None:
        """Have *cb* called in the hub's thread; from any thread.

        As :meth:`schedule_call_global`, in the hub's greenlet: *cb* must not
        wait, and is most often the ``switch`` of a greenlet or spawns one.
        Calls of one thread with the same *seconds* are made in their order.
        It takes no lock, so that signal handlers and finalizers may use it.

        :param seconds: In how many seconds, from now; 0 for the next turn.
        :param cb: What to call, and its arguments after it.
        :raises aiohub.exceptions.HubClosedError: If the hub is closed. When
            it is closed later, what was asked for is dropped as its timers
            are.
        """
        # Orders of events. The hub looks at the flag before each poll, and we
        # when the call is in the queue. If the flag is up the hub takes it
        # down, and empties the queue then. So if we find it up, the hub has
        # yet to take it down, and finds the call; if it is down, we wake the
        # poll that comes. The hub does not look at the queue instead: it
        # could find a call whose thread has yet to come to the flag, which
        # would then stay up, and nobody would wake the hub any more. Two
        # threads that find it down both write, which is one wake-up too many
        # and no more.
        self._asked.append((self.clock() + seconds, seconds, cb, args, kwargs))
        loop = self.loop
        if loop is None or loop.is_closed():
            raise exceptions.HubClosedError(
                'The hub is closed and makes no more calls. Stop threads '
                'that use it before it is closed.')
        if not self.is_asked:
            self.is_asked = True
            loop.wake()

    def take_asked(self) -> None:
        """Make timers of what other threads have asked for."""
        self.is_asked = False
        asked = self._asked
        # As many as there are now: threads that ask faster than the hub
        # works must not keep it here.
        for _ in range(len(asked)):
            when, seconds, cb, args, kwargs = asked.popleft()
            timer = _task_greenlet.new_timer(seconds, cb, *args, **kwargs)
            if seconds > 0:
                self.next_timers.append((when, timer))
            else:
                self._soon.append((when, timer))

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

    def start_next(self, switch: Any, args: tuple[Any, ...]) -> None:
        """Have a green thread begin in the next turn.

        As with ``schedule_call_global(0, switch, *args)``, which has to look
        whether it is to throw into a task.
        """
        self._soon.append((self.clock(), _PlainTimer(0, switch, args, {})))

    def call_next(self, method: Any) -> None:
        """Have a bound method called in the next turn.

        As with ``schedule_call_global(0, method)``, but it cannot be
        cancelled, and takes 200 ns less.
        """
        self._soon.append((self.clock(), method))

    def take_next_call_of(
        self, green: Any,
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
        """Return what is to start *green*, if nothing is due before it.

        It is for the caller to call then: a function and its arguments.
        """
        soon = self._soon
        if len(soon) != 1:
            return None
        when, timer = soon[0]
        if (type(timer) is not _PlainTimer or timer.called
                or getattr(timer.tpl[0], '__self__', None) is not green
                or (self.timers and self.timers[0][0] <= when)):
            return None
        soon.clear()
        timer.called = True
        call = timer.tpl
        del timer.tpl
        return call

    def get_timers_count(self) -> int:
        """Return how many timers there are, canceled ones included."""
        return len(self._soon) + len(self.timers) + len(self.next_timers)

    def timer_canceled(self, timer: Any) -> None:
        """Note that *timer* will not be called; the timer calls it.

        When most timers are dead, they are taken out, in place: firing them
        may be under way.
        """
        self.timers_canceled += 1
        if self.timers_canceled < 500:
            return
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
            if not soon:
                # The hub was aborted by a callback, and this is the turn of
                # its deputy that is finished now.
                break
            due, timer = soon.popleft()
            if timers:
                while timers and timers[0][0] <= due:
                    self._fire(heapq.heappop(timers)[1])
            kind = type(timer)
            try:
                if kind is _METHOD:
                    timer()
                elif kind is _PlainTimer and not timer.called:
                    # What _fire() and Timer.__call__() do, without calling
                    # them: that would take 100 ns of the 2 us of a sleep(0).
                    timer.called = True
                    call, args, kwargs = timer.tpl
                    try:
                        if args or kwargs:
                            call(*args, **kwargs)
                        else:
                            call()
                    finally:
                        try:
                            del timer.tpl
                        except AttributeError:
                            pass
                else:
                    self._fire(timer)
                if self.woken_parks:
                    self.step_parks()
            except self.SYSTEM_EXCEPTIONS:
                raise
            except BaseException:
                self.squelch_timer_exception(timer, sys.exc_info())
                if self.woken_parks:
                    self.step_parks()
        while timers and timers[0][0] <= when:
            self._fire(heapq.heappop(timers)[1])

    def _fire(self, timer: Any) -> None:
        if timer.called:
            self.timers_canceled -= 1
            return
        try:
            timer()
            if self.woken_parks:
                self.step_parks()
        except self.SYSTEM_EXCEPTIONS:
            raise
        except BaseException:
            self.squelch_timer_exception(timer, sys.exc_info())
            if self.woken_parks:
                self.step_parks()

    def squelch_timer_exception(self, timer: Any, exc_info: Any) -> None:
        """Print what a timer has raised; see eventlet's hub."""
        state = self.loop.state
        # When a loop ends, it cancels its tasks. With that ends who waits for
        # one by eventlet.asyncio.spawn_for_awaitable(), and nobody wants to
        # know.
        if not (state.is_ending and issubclass(
                exc_info[0], self.loop.built_on.CancelledError)
                or _thrown.has_raised(state.awaited, exc_info[1])):
            super().squelch_timer_exception(timer, exc_info)
