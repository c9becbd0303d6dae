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

"""The turn of the hub: what the loop's ``select()`` does.

It polls for both worlds, switches to the green threads whose descriptor is
ready or whose timer is due, and returns asyncio's events to the loop.
"""

from collections.abc import Callable
from typing import Any

from aiohub import _descriptors
from aiohub import _selector
from aiohub import _thrown
from aiohub import _timers

#: How many callbacks the hub may call before a poll: as many as one poll may
#: find for a connection or two. A ready socket has to wait for them.
FEW = 4


class TurnsHub(_descriptors.DescriptorsHub, _timers.TimersHub):
    """The part of :class:`aiohub.hub.Hub` that makes the turns."""

    # Of the whole.
    _standstill: Any
    do_poll: Callable[[float | None], _selector.Events]
    loop_greenlet: Any
    woken_parks: list[Any]

    def turn(
        self, timeout: float | None,
    ) -> list[tuple[Any, int]]:
        """One turn of both worlds: the ``select()`` of the loop's selector.

        :param timeout: How long the loop would wait for its own next timer,
            in seconds; None for ever.
        :returns: What the loop is to call: pairs of selector key and events.
        """
        state = self.loop.state
        selector = self._selector
        if (timeout == 0 and selector.has_found and state.calls_few
                and 0 < len(state.ready) <= FEW and not (
                    self._soon or self.next_timers or self.woken_parks
                    or self.is_asked or self.closed or self.debug_blocking
                    or self._standstill.unfinished
                    or self.timers and self.timers[0][0] <= self.clock())):
            # What the last poll has found has given the loop something more
            # to do: a stream that was read wakes a task. Called before the
            # next poll, and not after it, that needs no turn of its own,
            # which saves 3 to 4 % of a line there and back. A callback may
            # do here what it may do in the loop: either way it is followed
            # by the rest of this function.
            state.callbacks_began = None
            ready = state.ready
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
            del handle
        selector.has_found = False
        if self._standstill.unfinished:
            self._standstill.finish()
            # Green threads have run, and may have made work for the loop
            # since it chose the timeout.
            timeout = 0
        self.greenlet = self.loop_greenlet
        state.needs_turn = False
        until = self.clock() + timeout if timeout else None
        events: list[tuple[Any, int]] = []
        soon = self._soon
        try:
            while True:
                if soon and timeout is None and not (
                        self._readers or self._writers
                        or len(selector.keys) > 1 or self.next_timers
                        or self.woken_parks or self.is_asked or self.closed
                        or self.debug_blocking):
                    # The same where there is nothing to poll for: 8 % less
                    # instructions for a sleep(0), 5 % for spawn().wait().
                    self.fired = now = self.clock()
                    self.fire_timers(now)
                elif found := self.turn_of_green_side(timeout):
                    events = selector.tell(found)
                    if events:
                        break
                if timeout == 0 or state.ready or state.needs_turn:
                    break
                # There is nothing for the loop to do. As long as there is not,
                # green threads go on without a turn of the loop.
                if until is not None:
                    timeout = until - self.clock()
                    if timeout <= 0:
                        break
        except self.SYSTEM_EXCEPTIONS as exc:
            if state.callers_step.green is None:
                raise
            # Of a green thread that has run in the middle of a step. That has
            # to come to its end before the main greenlet gets it.
            self.loop.call_soon(_thrown.raise_, exc)
        if state.callers_step.green is not None:
            # Or the handler of a signal has switched to a green thread.
            state.callers_step.step_now()
        # Callbacks come next.
        state.callbacks_began = None
        self.greenlet = self._standstill.front
        return events

    def turn_of_green_side(self, timeout: float | None) -> _selector.Events:
        """Poll for both worlds, and run what is due in green threads.

        :returns: What the poll has found. It is for the caller to tell the
            loop, now that green threads may have unregistered some of it.
        """
        if (self.woken_parks or self.closed or self.is_asked
                or self.next_timers):
            timeout = self._prepare(timeout)
        soon = self._soon
        timers = self.timers
        selector = self._selector
        if soon:
            timeout = 0
        elif timers:
            delay = timers[0][0] - self.clock()
            if delay <= 0:
                timeout = 0
            elif timeout is None or delay < timeout:
                timeout = delay
        try:
            if timeout != 0:
                events = self.do_poll(timeout)
            elif self._readers or self._writers or len(selector.keys) > 1:
                # Not by do_poll(): that takes 25 ns more, of 300.
                events = selector.poll.poll(0)
            else:
                # There is the self-pipe only: who writes to it notes what for.
                events = []
        except InterruptedError:
            # A signal handler ended the poll (oslo.service's does); what the
            # poll had found may be lost with it.
            self.arm_all()
            events = []
        if self.woken_parks:
            # The handler of a signal has switched to a green thread.
            self.step_parks()
        if not (events or soon or timers):
            return events
        debug_blocking = self.debug_blocking
        if debug_blocking:
            self.block_detect_pre()
        if events:
            if len(events) > 1 or events[0][0] in selector.keys:
                if self._readers or self._writers:
                    self.fired = self.clock()
                    self.wake(events)
                if self.is_asked:
                    # What has woken the poll, most likely.
                    self.take_asked()
            else:
                # One that the loop does not wait for: as there is no more to
                # do, a wait for a socket takes 0.3 us less, of 3.
                fileno, mask = events[0]
                events = []
                self.fired = self.clock()
                self.wake_one(fileno, mask)
        if soon or timers:
            now = self.clock()
            if soon or timers[0][0] <= now:
                self.fired = now
                self.fire_timers(now)
        if debug_blocking:
            self.block_detect_post()
        return events

    def _prepare(self, timeout: float | None) -> float | None:
        """Do what comes before the poll; return how long that may take."""
        if self.woken_parks:
            self.step_parks()
            # It may have made work for the loop, which must not wait.
            timeout = 0
        while self.closed:
            self.close_next()
            timeout = 0
        if self.is_asked:
            self.take_asked()
        if self.next_timers:
            self.prepare_timers()
        return timeout

    def step_parks(self) -> None:
        """Go on with green tasks whose child greenlet was just woken."""
        while self.woken_parks:
            # Taken out one by one: what a step raises may go to the main
            # greenlet, and the others make theirs in the next turn.
            try:
                self.woken_parks.pop(0).step_now()
            except self.SYSTEM_EXCEPTIONS:
                raise
            except BaseException as exc:
                _thrown.complain(self, self.loop, exc)

