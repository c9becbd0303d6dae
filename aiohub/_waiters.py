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

"""Who waits for a lock, an event or a queue, and how any thread wakes them.

eventlet's primitives switch to the greenlet that waits, which only works in
the thread that it belongs to, and nowhere else is it noticed that the two
differ (eventlet #432, #662). Here a wait is an object that knows how it is
ended: :class:`GreenWaiter` through the hub that owns the greenlet, by that
hub's thread-safe way in; :class:`NativeWaiter` for a thread that has no hub,
and so nobody else to let run meanwhile. It is for one wait, and woken once, by
whoever takes it out of the line that it stands in.
"""

from typing import Any

from eventlet import hubs
import greenlet

from aiohub import _eventlet
from aiohub import _green_loop
from aiohub import _lifetime
from aiohub import _native
from aiohub import _task_greenlet
from aiohub import exceptions

_allocate_lock = _native.threading.Lock
_getcurrent = greenlet.getcurrent
_current_hub = _eventlet.current_hub


class GreenWaiter:
    """A greenlet that lets others run until it is woken.

    :param hub: The hub of this thread.
    :ivar woken: Whether somebody has called :meth:`wake`.
    :ivar answer: What for; who wakes it sets it before.
    :ivar error: What the wait is to raise, with the answer. In a task it is a
        result, which a cancellation goes before; see
        :mod:`aiohub._green_event`.
    :ivar item: What it has for others; who waits sets it before.
    :ivar block: Whether it waits for anything to come, or only for others to
        look what it has.
    """

    __slots__ = ('woken', 'answer', 'error', 'item', 'block', '_hub',
                 '_green')

    item: Any

    def __init__(self, hub: Any) -> None:
        self.block = True
        self.woken = False
        self.answer: Any = None
        self.error: Any = None
        self._hub = hub
        self._green: Any = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is woken; not again after that.

        :param timeout: For how many seconds at the most; None for ever.
        :returns: Whether it was woken.
        """
        self._green = _getcurrent()
        timer = None
        if timeout is not None:
            timer = self._hub.schedule_call_global(timeout, self._resume)
        try:
            # A greenlet may be switched to by anybody.
            while not self.woken and (timer is None or not timer.called):
                self._hub.switch()
        finally:
            # From here on it is left alone; that is for this thread to say,
            # as _resume() is called in it.
            self._green = None
            if timer is not None:
                timer.cancel()
        return self.woken

    def wake(self) -> bool:
        """End the wait; in any thread.

        :returns: Whether that will be seen: not if its hub is closed.
        """
        self.woken = True
        hub = self._hub
        if hub is _current_hub():
            hub.call_next(self._resume)
            return True
        try:
            hub.schedule_call_threadsafe(0, self._resume)
        except (exceptions.HubClosedError, RuntimeError):
            return False
        return True

    def wake_now(self) -> bool:
        """End the wait before this returns; in the greenlet of a hub.

        :returns: Whether it has: not if it waits elsewhere.
        """
        if self._green is None or self._hub is not _eventlet.current_hub():
            return False
        self.woken = True
        self._resume()
        return True

    def _resume(self) -> None:
        green = self._green
        if green is None:
            return
        if (self.error is not None
                and type(green) is _task_greenlet.TaskGreenlet):
            green.give_error(*self.error)
        else:
            # One reference to it is what a green thread expects that is to
            # be used again; see _spare_threads.
            switch = green.switch
            del green
            switch()


class OtherGreenWaiter(GreenWaiter):
    """A greenlet of a thread that has another hub.

    It had that before aiohub was switched on in the main thread. A loop beside
    it is a thread-safe way in.
    """

    __slots__ = ('_loop',)

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._loop: Any = (
            _green_loop.get_loop() if _lifetime.has_hubs() else None)

    def wake(self) -> bool:
        self.woken = True
        call = self._hub.schedule_call_global
        if self._hub is _current_hub():
            call(0, self._resume)
            return True
        if self._loop is None:
            return False  # no aiohub hub was there: nothing is thread-safe
        try:
            self._loop.call_soon_threadsafe(call, 0, self._resume)
        except RuntimeError:
            return False
        return True


class NativeWaiter:
    """A thread that has no hub; see :class:`GreenWaiter`."""

    __slots__ = ('woken', 'answer', 'error', 'item', 'block', '_lock')

    item: Any

    def __init__(self) -> None:
        self.block = True
        self.woken = False
        self.answer: Any = None
        self.error: Any = None  # who waits finds it in the answer
        self._lock = _allocate_lock()
        self._lock.acquire()

    def wait(self, timeout: float | None = None) -> bool:
        """See :meth:`GreenWaiter.wait`."""
        if timeout is None:
            self._lock.acquire()
        else:
            self._lock.acquire(
                timeout=min(timeout, _native.threading.TIMEOUT_MAX))
        return self.woken

    def wake(self) -> bool:
        """See :meth:`GreenWaiter.wake`."""
        self.woken = True
        self._lock.release()
        return True

    def wake_now(self) -> bool:
        """See :meth:`GreenWaiter.wake_now`: it waits elsewhere."""
        return False


Waiter = GreenWaiter | NativeWaiter


def new() -> Waiter:
    """Return what the calling greenlet, or thread, is to wait with."""
    hub = _current_hub()
    if hub is None:
        threading = _native.threading
        if threading.get_ident() != threading.main_thread().ident:
            return NativeWaiter()
        hub = hubs.get_hub()
    if hasattr(hub, 'call_next'):
        return GreenWaiter(hub)
    return OtherGreenWaiter(hub)


def call_in_hub_of(green: greenlet.greenlet, function: Any,
                   *args: Any) -> None:
    """Have the hub of *green* call a function.

    For greenlets that have begun to wait in eventlet's own code, before
    aiohub was switched on. Those of the main thread are in the hub that was
    handed over; others are taken for this thread's, as eventlet does.
    """
    hub: Any = _lifetime.hub_of(green)
    if is_of_this_hub(green):
        hubs.get_hub().schedule_call_global(0, function, *args)
    else:
        hub.schedule_call_threadsafe(0, function, *args)


def is_of_this_hub(green: greenlet.greenlet) -> bool:
    """Return whether the calling thread's hub is taken for that of *green*."""
    hub = _lifetime.hub_of(green)
    return hub is None or hub is _eventlet.current_hub()
