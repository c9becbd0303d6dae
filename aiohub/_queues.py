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

"""eventlet's queues, for several threads at once.

After monkey patching they are those of the module ``queue``, too.

Who finds no item, or no room, waits in line, and is woken to look again.
Nothing is handed over by the way, so that whoever is killed meanwhile loses
nothing: an item is in the queue until somebody returns it. As before, the
methods are exchanged in eventlet's classes, where other classes derive from
them.

A plain queue without a limit does without a mutex, which would make it 1.5
times as slow: its items are in a ``deque``, whose methods Python makes whole,
and who comes into line looks once more.
"""

from collections.abc import Callable
import os
import time
from typing import Any

from eventlet import queue

from aiohub import _events
from aiohub import _native
from aiohub import _waiters

Empty = queue.Empty
Full = queue.Full

# Around what a queue with a limit, or one that keeps its items otherwise,
# does with them; it is never held while somebody waits. A native one, since
# timers, which cannot wait, use queues too; one for all, so that a forked
# child can have a new one. It may be taken again by a signal handler or a
# finalizer that comes in the middle, which with the standard library's queues
# is a deadlock (bpo-14976).
_mutex = _native.threading.RLock()


def _renew_mutex() -> None:
    global _mutex
    _mutex = _native.threading.RLock()


if hasattr(os, 'register_at_fork'):
    # A thread that is not in the child may have held it.
    os.register_at_fork(after_in_child=_renew_mutex)


_NOTHING: Any = object()


class LightQueue(queue.LightQueue):  # type: ignore[misc]
    """The methods that eventlet's gets.

    :ivar getters: Who waits for an item; a set.
    :ivar putters: Who waits for room.
    :ivar _is_plain: Whether the class keeps its items in a deque, and does
        nothing else with them.
    """

    getters: set[Any]
    putters: set[Any]
    maxsize: int | None
    _is_plain: bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super(queue.LightQueue, cls).__init_subclass__(**kwargs)
        _mark(cls)

    def put(self, item: Any, block: bool = True,
            timeout: float | None = None) -> None:
        """Put an item into the queue; see eventlet's."""
        limit = self.maxsize
        if limit is None and self._is_plain:
            self._put(item)
        else:
            # A with statement takes 80 ns more, of 400 for a put and a get.
            # What a signal handler raises when the mutex is just taken must
            # not leave it so: that is part of what is tried.
            try:
                _mutex.acquire()
                # As _put_if_room() does.
                is_put = limit is None or (
                    self.qsize() < (limit or len(self.getters)))
                if is_put:
                    self._put(item)
            finally:
                _mutex.release()
            if not is_put:
                _wait(self, self.putters, _put_if_room, item, Full,
                      block, timeout, _wake_getter, _wake_putter)
        if self.getters:
            _wake_getter(self)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an item out of the queue; see eventlet's."""
        if self._is_plain:
            try:
                item = self.queue.popleft()
            except IndexError:
                item = _NOTHING
        else:
            with _mutex:
                item = _get_if_any(self, None)
        if item is _NOTHING:
            # In a queue without any room, who waits for an item makes some.
            item = _wait(self, self.getters, _get_if_any, None, Empty,
                         block, timeout, _wake_putter, _wake_getter)
        if self.putters:
            _wake_putter(self)
        return item

    def resize(self, size: int | None) -> None:
        """Change how many items there may be; see eventlet's."""
        self.maxsize = size
        for _ in range(len(self.putters)):
            _wake_putter(self)

    def _unlock(self) -> None:
        # Timers that eventlet has made call it.
        self._event_unlock = None
        for _ in range(len(self.getters)):
            _wake_getter(self)
        for _ in range(len(self.putters)):
            _wake_putter(self)


class Queue(queue.Queue):  # type: ignore[misc]
    """The methods that eventlet's gets.

    ``unfinished_tasks`` is changed by several threads at once. Python looks
    for other threads when it calls, returns or goes back, and does none of
    that between reading the number and storing it (CPython 3.11 to 3.14).
    """

    unfinished_tasks: int

    def _put(self, item: Any) -> None:
        # Before anybody can get it and say that it is done.
        self.unfinished_tasks += 1
        self.queue.append(item)

    def task_done(self) -> None:
        """Note that an item has been dealt with; see eventlet's."""
        if self.unfinished_tasks <= 0:
            raise ValueError('task_done() called too many times')
        self.unfinished_tasks -= 1
        if not self.unfinished_tasks:
            _events.wake(self._cond)

    def join(self) -> None:
        """Wait until all items have been dealt with; see eventlet's.

        The event has a line only: whether there is nothing left to do says
        the number.
        """
        line = self._cond._waiters
        while self.unfinished_tasks > 0:
            waiter = _waiters.new()
            line.add(waiter)
            try:
                if self.unfinished_tasks > 0:
                    waiter.wait()
            finally:
                line.discard(waiter)


def _mark(cls: Any) -> None:
    cls._is_plain = cls.qsize is queue.LightQueue.qsize and (
        cls._init is queue.LightQueue._init) and (
        cls._get is queue.LightQueue._get) and (
        cls._put in (queue.LightQueue._put, queue.Queue._put))
    for sub in cls.__subclasses__():
        _mark(sub)


def _has_room(self: Any) -> bool:
    return self.maxsize is None or bool(
        self.qsize() < (self.maxsize or len(self.getters)))


def _put_if_room(self: Any, item: Any) -> Any:
    if not _has_room(self):
        return _NOTHING
    self._put(item)
    return None


def _get_if_any(self: Any, _: Any) -> Any:
    try:
        return self._get() if self.qsize() else _NOTHING
    except IndexError:
        if self._is_plain:
            return _NOTHING  # another thread was faster, without the mutex
        raise


def _wait(self: Any, line: set[Any], look: Callable[[Any, Any], Any],
          item: Any, error: type[Exception], block: bool,
          timeout: float | None, tell: Callable[[Any], object],
          pass_on: Callable[[Any], object]) -> Any:
    """Wait in line until there is what is looked for.

    Orders of events. It comes before we are in line: we see it, since we look
    when we are. After that: we are woken, and find it, or that somebody was
    faster, and are in line again. The time is over: we are not in line any
    more and look once more. We leave with an exception, or have found it
    before anybody could wake us, and are woken then: the next one is woken in
    our place.

    :param look: Returns it, or ``_NOTHING``; is given the queue and *item*.
    :param error: What to raise if it is not there.
    :param tell: Called with the queue when we are in line.
    :param pass_on: Wakes another one in the same line.
    """
    if not block:
        raise error
    end = None if timeout is None else time.monotonic() + timeout
    waiter = None
    try:
        while True:
            waiter = _waiters.new()
            line.add(waiter)
            with _mutex:
                found = look(self, item)
            if found is not _NOTHING:
                break
            tell(self)
            block = waiter.wait(
                None if end is None else max(0, end - time.monotonic()))
            with _mutex:
                # Both at once: who puts into a queue without room sees that
                # we wait for it, and puts.
                line.discard(waiter)
                found = look(self, item)
            if found is not _NOTHING:
                return found
            if not block:
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
        pass_on(self)


def _wake_getter(self: Any) -> None:
    """Have one of those who wait for an item look, if there is one."""
    while self.getters and self.qsize():
        if _wake_one(self, self.getters, _serve_old_getter):
            return


def _wake_putter(self: Any) -> None:
    """Have one of those who wait for room look, if there is some."""
    while self.putters and _has_room(self):
        if _wake_one(self, self.putters, _serve_old_putter):
            return


def _wake_one(self: Any, line: set[Any],
              serve_old: Callable[[Any, Any], None]) -> bool:
    try:
        waiter = line.pop()
    except KeyError:
        return False  # another thread was faster
    if not isinstance(waiter, queue.Waiter):
        woken: bool = waiter.wake()
        return woken
    # It waits in eventlet's own get() or put(), which have to be told what
    # they return.
    green = waiter.greenlet
    if green is not None:
        _waiters.call_in_hub_of(green, serve_old, self, waiter)
    return green is not None


def _serve_old_getter(self: Any, waiter: queue.Waiter) -> None:
    with _mutex:
        item = _NOTHING
        if waiter.waiting and self.qsize():
            item = self._get()
        elif waiter.waiting:
            self.getters.add(waiter)
    if item is not _NOTHING:
        waiter.switch(item)
        _wake_putter(self)
    else:
        _wake_getter(self)


def _serve_old_putter(self: Any, waiter: queue.ItemWaiter) -> None:
    with _mutex:
        room = waiter.waiting and _has_room(self)
        if room:
            # For put() to see that this is done.
            item, waiter.item = waiter.item, queue._NONE
            self._put(item)
        elif waiter.waiting:
            self.putters.add(waiter)
    if room:
        waiter.switch(waiter)
        _wake_getter(self)
    else:
        _wake_putter(self)


def replace() -> None:
    """Use these methods in eventlet's classes, in all threads."""
    for name in ('put', 'get', 'resize', '_unlock', '__init_subclass__'):
        setattr(queue.LightQueue, name, vars(LightQueue)[name])
    for name in ('_put', 'task_done', 'join'):
        setattr(queue.Queue, name, vars(Queue)[name])
    _mark(queue.LightQueue)
