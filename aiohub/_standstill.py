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

"""Green calls in callbacks: the loop stands still, green threads do not.

A callback of the loop (``call_soon()``, a method of a protocol) runs in the
greenlet that runs the loop, and the hub. If it makes a green call, that
greenlet would have to wait for the hub, which it is itself. So meanwhile
another greenlet, the *deputy*, is the hub for green threads, and what the
callback waits for finds the callback as it finds any green thread. The loop
cannot go on before its callback returns: its callbacks count on not being
interrupted by others.

When the callback goes on, the deputy is in the middle of a turn: it has just
switched to who woke the callback. It is let finish that turn when the loop
asks for the next one.

eventlet's functions refuse to wait in ``hub.greenlet``. So while the loop
calls its callbacks, that is yet another one, the *front*: who switches to it
comes to the greenlet that does the work. It has ended, and greenlet switches
to the parent of one that has.
"""

import contextlib
import functools
import logging
import sys
import traceback
from typing import Any

import eventlet
import greenlet

from aiohub import _eventlet
from aiohub import _native

LOG = logging.getLogger(__name__)

_switch = greenlet.greenlet.switch


class HubGreenlet(greenlet.greenlet):
    """The greenlet that runs the loop and the hub.

    :ivar woken: Whether somebody has called ``switch()`` or ``throw()``.
        Control also comes here when a greenlet ends that has this one as its
        parent, and then it is meant for the hub.
    """

    __slots__ = ('_thread_id', 'woken')

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._thread_id = _native.threading.get_ident()
        self.woken = False

    def switch(self, *args: Any, **kwargs: Any) -> Any:
        self._note()
        return super().switch(*args, **kwargs)

    def throw(self, *args: Any) -> Any:
        self._note()
        return super().throw(*args)

    def _note(self) -> None:
        # In another thread there is an error, and nothing comes here.
        if _native.threading.get_ident() == self._thread_id:
            self.woken = True


class Standstill:
    """The greenlets that stand in for the one that runs a hub and its loop.

    :param hub: The :class:`aiohub.hub.Hub`.
    :ivar front: What ``hub.greenlet`` is during callbacks.
    :ivar deputy: What it is while a callback is in a green call. It ends by
        what is meant for the main greenlet, and then there is a new one.
    :ivar unfinished: Whether :meth:`finish` has something to do.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._root = _eventlet.root_greenlet()
        self.front = greenlet.greenlet(_nothing)
        self.front.switch()
        self.deputy = greenlet.greenlet(self._run_deputy, self._root)
        self.unfinished = False
        # Whether the deputy is in a turn.
        self._busy = False
        # Whether a callback waits, and more than that turn is to be made.
        self._waiting = False
        # The task that was current when the callback was woken.
        self._left_task: Any = None

    def close(self) -> None:
        """End the greenlets."""
        _eventlet.unwind(self.deputy)
        self.front.parent = self._root

    @property
    def is_on(self) -> bool:
        """Whether a callback waits, and the loop with it."""
        return self._waiting

    @property
    def greenlets(self) -> tuple[greenlet.greenlet, ...]:
        """What green threads may have as their parent."""
        return self.front, self.deputy

    def stand_by(self) -> None:
        """Begin to pass on to the current greenlet; it runs the loop."""
        self.front.parent = greenlet.getcurrent()

    def renew_deputy(self) -> greenlet.greenlet:
        """Return the deputy: a new one if it has ended."""
        old = self.deputy
        if old.dead:
            self.deputy = greenlet.greenlet(self._run_deputy, old.parent)
            # Green threads that are children of the old one end in it.
            old.parent = self.deputy
        return self.deputy

    # Control comes to the deputy when somebody switches to hub.greenlet, and
    # when a greenlet ends that was made, or has waited, while it was that.

    def _run_deputy(self, *_: Any) -> None:
        hub = self._hub
        # Whatever ended the one before may have swallowed events.
        hub.arm_all()
        while True:
            while not self._waiting:
                _switch(hub.loop_greenlet)
            self._busy = True
            try:
                events = hub.turn_of_green_side(None)
            finally:
                self._busy = False
            if self._waiting:
                hub.loop.hold(events)

    # -- in the greenlet that runs the loop

    def wait(self, current: HubGreenlet) -> Any:
        """``hub.switch()`` in a callback.

        Orders of events. Somebody wakes it: it goes on. A green thread ends
        that has it as its parent: the deputy goes on. The deputy gets an
        exception for the main greenlet: it ends with that, and another one
        takes its place when the main greenlet waits again. The hub is
        closed: this is unwound.
        """
        warn()
        hub = self._hub
        task = hub.loop.leave_task()
        self._begin(True)
        current.woken = False
        call = self._resume
        try:
            while True:
                try:
                    value = call()
                except BaseException as exc:
                    if current.woken:
                        raise
                    call = functools.partial(self._resume, exc)
                else:
                    if current.woken:
                        return value
                    call = self._resume
        finally:
            self._waiting = False
            self._end()
            # Whoever has woken us without the hub, as kill() does.
            self._left_task = hub.loop.leave_task()
            hub.loop.enter_task(task)

    def finish(self) -> None:
        """Let the deputy finish its turn."""
        self._begin(False)
        call = self._resume
        try:
            while self._busy:
                try:
                    call()
                except BaseException as exc:
                    if not self._busy or isinstance(exc, _eventlet.Unwind):
                        raise
                    call = functools.partial(self._resume, exc)
                else:
                    call = self._resume
        finally:
            self.unfinished = self._busy
            self._end()
            self._hub.loop.release()

    def _begin(self, waiting: bool) -> None:
        """Make the deputy the hub."""
        hub = self._hub
        self._waiting = waiting
        hub.greenlet = self.front.parent = deputy = self.renew_deputy()
        # What gets an exception that ends it.
        deputy.parent = self._root if waiting else hub.loop_greenlet
        hub.loop.enter_task(self._left_task)
        self._left_task = None
        self.unfinished = True

    def _end(self) -> None:
        """Make the deputy what takes exceptions to the loop, if it gets any.
        """
        hub = self._hub
        hub.greenlet = self.front
        with contextlib.suppress(ValueError):
            # It would be a cycle: a child of theirs closes the hub.
            self.deputy.parent = self.front.parent = hub.loop_greenlet

    def _resume(self, error: BaseException | None = None) -> Any:
        """Switch to the deputy.

        :param error: What a green thread has ended with that is a child of
            this greenlet; the deputy has switched to it.
        """
        deputy = self.renew_deputy()
        if error is None:
            return _switch(deputy)
        return deputy.throw(type(error), error, error.__traceback__)


def _nothing() -> None:
    pass


_warned: set[tuple[tuple[str, int | None], ...]] = set()


def warn() -> None:
    """Log where a green call is made in a callback; once for each place.

    Not now: a handler of the logger may be what makes the call, in the middle
    of a line, and would take another one.
    """
    stack = traceback.extract_stack(sys._getframe(2))
    place = tuple((frame.filename, frame.lineno) for frame in stack)
    if place not in _warned:
        _warned.add(place)
        eventlet.spawn_n(
            LOG.warning,
            'A callback of the event loop waits in a green call. Meanwhile '
            'the event loop stands still. Make the call in a coroutine, as '
            'part of a task, or in a green thread. Stack:\n%s',
            ''.join(traceback.format_list(stack)))
