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
nothing: an item is in the queue until somebody returns it. In a queue without
any room, a channel, it stays with who puts it, and who gets it takes it from
there. As before, the methods are exchanged in eventlet's classes, where other
classes derive from them.

A plain queue without a limit does without a mutex, which would make it 1.5
times as slow: its items are in a ``deque``, whose methods Python makes whole,
and who comes into line looks once more.
"""

from typing import Any

from eventlet import queue
import greenlet

from aiohub import _eventlet
from aiohub import _events
from aiohub import _queue_lines
from aiohub import _waiters

Empty = queue.Empty
Full = queue.Full

_NOTHING = _queue_lines.NOTHING


class LightQueue(queue.LightQueue):  # type: ignore[misc]
    """The methods that eventlet's gets.

    :ivar getters: Who waits for an item; a set.
    :ivar putters: Who waits for room, with its item.
    :ivar _called: Who waits for an item in a channel and has been woken to
        look, but has not yet.
    :ivar _is_plain: Whether the class keeps its items in a deque, and does
        nothing else with them.
    """

    getters: set[Any]
    putters: set[Any]
    maxsize: int | None
    _called: Any = frozenset()
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
            # A with statement takes 120 ns more, of 1200 for a put and a get.
            # What a signal handler raises when the mutex is just taken must
            # not leave it so: that is part of what is tried.
            mutex = _queue_lines.mutex
            try:
                mutex.acquire()
                is_put = limit is None or limit > (
                    len(self.queue) if self._is_plain else self.qsize())
                if is_put:
                    self._put(item)
            finally:
                mutex.release()
            if not is_put:
                if block:
                    _queue_lines.wait_for_room(self, item, timeout)
                elif limit == 0:
                    _offer(self, item)
                else:
                    raise Full
        if self.getters:
            _queue_lines.wake_getter(self)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an item out of the queue; see eventlet's."""
        if self._is_plain:
            try:
                item = self.queue.popleft()
            except IndexError:
                item = _NOTHING
        else:
            with _queue_lines.mutex:
                item = _queue_lines.get_if_any(self)
        try:
            if item is _NOTHING:
                if block:
                    item = _queue_lines.wait_for_item(self, timeout)
                else:
                    item = _take_now(self)
        finally:
            if self.putters:
                _queue_lines.wake_putter(self)
        return item

    def getting(self) -> int:
        """Return how many wait for an item; see eventlet's."""
        return len(self.getters) + len(self._called)

    def resize(self, size: int | None) -> None:
        """Change how many items there may be; see eventlet's."""
        self.maxsize = size
        for _ in range(len(self.putters)):
            _queue_lines.wake_putter(self)

    def _unlock(self) -> None:
        # Timers that eventlet has made call it.
        self._event_unlock = None
        for _ in range(len(self.getters)):
            _queue_lines.wake_getter(self)
        for _ in range(len(self.putters)):
            _queue_lines.wake_putter(self)
        _queue_lines.refuse(self)


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


# -- channels, without waiting for anybody to come


class _Offer:
    """What the hub puts into a channel; it cannot wait."""

    __slots__ = ('item', 'block')

    def __init__(self, item: Any) -> None:
        self.item = item
        self.block = False

    def wake(self) -> None:
        """Nobody waits."""


def _offer(self: Any, item: Any) -> None:
    """Give an item to one of those who wait for one now.

    One of them is woken, and takes it. Instead it may be killed, or its time
    be over; then the next one is woken, and if nobody is left, the offer is
    refused. It may also find that another one was faster.

    :raises queue.Full: If nobody has taken it.
    """
    if _is_in_hub():
        offer: Any = _Offer(item)
        try:
            self.putters.add(offer)
            for getter in [*self.getters, *self._called]:
                _look_now(self, getter)
                if offer.item is _NOTHING:
                    return
        finally:
            self.putters.discard(offer)
    elif self.getting():
        offer = _waiters.new()
        offer.item = item
        offer.block = False
        try:
            self.putters.add(offer)
            _queue_lines.wake_getter(self)
            # The last one may have gone before it saw us.
            _queue_lines.refuse(self)
            offer.wait()
        finally:
            self.putters.discard(offer)
    else:
        raise Full
    with _queue_lines.mutex:
        if offer.item is not _NOTHING:
            offer.item = _NOTHING
            raise Full


def _is_in_hub() -> bool:
    hub = _eventlet.current_hub()
    return hub is not None and hub.greenlet is greenlet.getcurrent()


def _look_now(self: Any, getter: Any) -> None:
    """Have who waits for an item look, if it waits in the calling hub."""
    if not isinstance(getter, queue.Waiter):
        getter.wake_now()
    elif (green := getter.greenlet) is not None and (
            _waiters.is_of_this_hub(green)):
        self.getters.discard(getter)
        _queue_lines.serve_old_getter(self, getter)


def _take_now(self: Any) -> Any:
    """Get an item without waiting, when there is none in the queue.

    In a channel the hub takes one from who puts it, and has it go on: the hub
    cannot wait for that. Others are told that it is empty, as it is.
    """
    if self.maxsize != 0 or not self.putters or not _is_in_hub():
        raise Empty
    with _queue_lines.mutex:
        item, putter = _queue_lines.take(self)
    if putter is None:
        raise Empty
    if isinstance(putter, queue.Waiter):
        if _waiters.is_of_this_hub(putter.greenlet):
            putter.switch(putter)
        else:
            _queue_lines.wake_who_has_put(putter)
    elif not putter.wake_now():
        putter.wake()
    return item


def replace() -> None:
    """Use these methods in eventlet's classes, in all threads."""
    for name in ('put', 'get', 'getting', 'resize', '_unlock', '_called',
                 '__init_subclass__'):
        setattr(queue.LightQueue, name, vars(LightQueue)[name])
    for name in ('_put', 'task_done', 'join'):
        setattr(queue.Queue, name, vars(Queue)[name])
    _mark(queue.LightQueue)
