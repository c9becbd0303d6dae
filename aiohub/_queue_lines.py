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

"""Who waits for an item of a queue, or for room in it.

:mod:`aiohub._queues` has the methods of the queues. *self* is a queue here.
"""

from collections.abc import Callable
import os
import time
from typing import Any

from eventlet import queue

from aiohub import _native
from aiohub import _waiters

# Around what a queue with a limit, or one that keeps its items otherwise,
# does with them; it is never held while somebody waits. A native one, since
# timers, which cannot wait, use queues too; one for all, so that a forked
# child can have a new one. It may be taken again by a signal handler or a
# finalizer that comes in the middle, which with the standard library's queues
# is a deadlock (bpo-14976).
mutex = _native.threading.RLock()


def _renew_mutex() -> None:
    global mutex
    mutex = _native.threading.RLock()


if hasattr(os, 'register_at_fork'):
    # A thread that is not in the child may have held it.
    os.register_at_fork(after_in_child=_renew_mutex)


#: Private to eventlet, whose own put() looks for it where its item was.
NOTHING: Any = queue._NONE


def has_room(self: Any) -> bool:
    return self.maxsize is None or bool(self.qsize() < self.maxsize)


# -- what is looked for, with the mutex


def _put_if_room(self: Any, waiter: Any) -> Any:
    if waiter.item is not NOTHING:  # or somebody has taken it
        if not has_room(self):
            return NOTHING
        item, waiter.item = waiter.item, NOTHING
        self._put(item)
    return None


def get_if_any(self: Any) -> Any:
    try:
        return self._get() if self.qsize() else NOTHING
    except IndexError:
        if self._is_plain:
            return NOTHING  # another thread was faster, without the mutex
        raise


def _get_or_take(self: Any, _: Any) -> Any:
    item = get_if_any(self)
    if item is NOTHING and self.maxsize == 0:
        item, putter = take(self)
        if putter is not None:
            wake_who_has_put(putter)
    return item


def take(self: Any) -> tuple[Any, Any]:
    """Take what somebody waits with who puts it into a channel.

    :returns: The item and who it was, that is to be woken.
    """
    while self.putters:
        putter = self.putters.pop()
        item, putter.item = putter.item, NOTHING
        if item is NOTHING or not putter:
            continue  # it is gone
        self._put(item)
        item = get_if_any(self)
        if item is not NOTHING:
            return item, putter
        # Another thread was faster, without the mutex.
        wake_who_has_put(putter)
    return NOTHING, None


def wake_who_has_put(putter: Any) -> None:
    if not isinstance(putter, queue.Waiter):
        putter.wake()
    elif (green := putter.greenlet) is not None:
        _waiters.call_in_hub_of(green, putter.switch, putter)


# -- waiting


def wait_for_room(self: Any, item: Any, timeout: float | None) -> None:
    """Put an item into the queue as soon as there is room for it."""
    _wait(self, self.putters, _put_if_room, item, queue.Full, timeout,
          wake_getter, wake_putter)


def wait_for_item(self: Any, timeout: float | None) -> Any:
    """Get an item out of the queue as soon as there is one."""
    return _wait(self, self.getters, _get_or_take, None, queue.Empty, timeout,
                 wake_putter, wake_getter)


def _wait(self: Any, line: set[Any], look: Callable[[Any, Any], Any],
          item: Any, error: type[Exception], timeout: float | None,
          tell: Callable[[Any], object],
          pass_on: Callable[[Any], object]) -> Any:
    """Wait in line until there is what is looked for.

    Orders of events. It comes before we are in line: we see it, since we look
    when we are. After that: we are woken, and find it, or that somebody was
    faster, and are in line again. The time is over: we are not in line any
    more and look once more. We leave with an exception, or have found it
    before anybody could wake us, and are woken then: the next one is woken in
    our place.

    A channel: who gets an item takes it, with the mutex, out of the line of
    those who put. If that one is killed before it has been woken, its item is
    gone nevertheless; if its time is over, it sees that it has put.

    :param look: Returns it, or ``NOTHING``; is given the queue and what is in
        line.
    :param item: What to put, for others to see.
    :param error: What to raise if it is not there.
    :param tell: Called with the queue when we are in line.
    :param pass_on: Wakes another one in the same line.
    """
    end = None if timeout is None else time.monotonic() + timeout
    waiter = None
    try:
        while True:
            waiter = _waiters.new()
            waiter.item = item
            line.add(waiter)
            # No with statements: see LightQueue.put(). In a child that is
            # forked meanwhile there is another mutex.
            taken = mutex
            try:
                taken.acquire()
                found = look(self, waiter)
            finally:
                taken.release()
            if found is not NOTHING:
                break
            tell(self)
            in_time = waiter.wait(
                None if end is None else max(0, end - time.monotonic()))
            taken = mutex
            try:
                taken.acquire()
                # At once: who offers an item sees us in line until we take it.
                line.discard(waiter)
                if self._called:
                    self._called.discard(waiter)
                found = look(self, waiter)
            finally:
                taken.release()
            if found is not NOTHING:
                return found
            if not in_time:
                raise error
    except BaseException:
        _leave(self, line, waiter, pass_on)
        raise
    _leave(self, line, waiter, pass_on)
    return found


def _leave(self: Any, line: set[Any], waiter: _waiters.Waiter | None,
           pass_on: Callable[[Any], object]) -> None:
    try:
        line.remove(waiter)
    except KeyError:
        # Somebody has taken it out and woken it, or is about to.
        if self._called:
            with mutex:
                self._called.discard(waiter)
        pass_on(self)


def refuse(self: Any) -> None:
    """Refuse what is offered in a channel, if nobody waits for an item."""
    if not self.putters:
        return
    with mutex:
        refused = [] if self.getting() else [
            putter for putter in list(self.putters) if not putter.block]
        self.putters.difference_update(refused)
    for putter in refused:
        if not isinstance(putter, queue.Waiter):
            putter.wake()
        elif (green := putter.greenlet) is not None:
            _waiters.call_in_hub_of(green, putter.throw, queue.Full)


# -- waking


def wake_getter(self: Any) -> None:
    """Have one of those who wait for an item look, if there is one."""
    while self.getters and (
            self.qsize() or self.putters and self.maxsize == 0):
        if _wake_one(self, self.getters, serve_old_getter):
            return


def wake_putter(self: Any) -> None:
    """Have one of those who wait for room look, if there is some."""
    while self.putters and has_room(self):
        if _wake_one(self, self.putters, _serve_old_putter):
            return
    if self.maxsize == 0:
        refuse(self)


def _wake_one(self: Any, line: set[Any],
              serve_old: Callable[[Any, Any], None]) -> bool:
    try:
        if self.maxsize == 0:
            with mutex:
                waiter = line.pop()
                if not self._called:
                    self._called = set()
                self._called.add(waiter)
        else:
            waiter = line.pop()
    except KeyError:
        return False  # another thread was faster
    woken: bool
    if not isinstance(waiter, queue.Waiter):
        woken = waiter.wake()
    else:
        # It waits in eventlet's own get() or put(), which have to be told
        # what they return.
        green = waiter.greenlet
        woken = green is not None
        if woken:
            _waiters.call_in_hub_of(green, serve_old, self, waiter)
    if not woken and self._called:
        with mutex:
            self._called.discard(waiter)
    return woken


def serve_old_getter(self: Any, waiter: queue.Waiter) -> None:
    with mutex:
        if self._called:
            self._called.discard(waiter)
        item = NOTHING
        if waiter.waiting:
            item = _get_or_take(self, waiter)
            if item is NOTHING:
                self.getters.add(waiter)
    if item is not NOTHING:
        waiter.switch(item)
        wake_putter(self)
    else:
        wake_getter(self)
        refuse(self)


def _serve_old_putter(self: Any, waiter: queue.ItemWaiter) -> None:
    with mutex:
        room = waiter.waiting and has_room(self)
        if room:
            # For put() to see that this is done.
            item, waiter.item = waiter.item, NOTHING
            self._put(item)
        elif waiter.waiting:
            self.putters.add(waiter)
    if room:
        waiter.switch(waiter)
        wake_getter(self)
    else:
        wake_putter(self)
