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

"""eventlet's semaphores and locks, for several threads at once.

After monkey patching they are what ``threading`` is made of: ``Lock``,
``RLock``, ``Condition``, ``Event``, ``Semaphore``, and with them
``concurrent.futures.Future`` and ``queue.SimpleQueue``. There is no lock
around what they do, not even a native one: a signal handler or a finalizer
may come in the middle of it and take another one, or the same, which would
then wait for the code that it has interrupted (eventlet #742). Instead each
step is one call of a method of ``list`` or ``deque`` that Python makes whole:
permits are the items of a list, and to take one is ``pop()``.

The methods are exchanged in eventlet's classes, for there are objects of
these everywhere before aiohub is switched on. What they hold is taken over
when they are used next.
"""

import collections
import itertools
import operator
from typing import Any

from eventlet import lock
from eventlet import semaphore
import greenlet

from aiohub import _waiters


class _Many(list[None]):
    """Many permits; those that nobody has taken yet are only counted."""

    #: From how many on that is worth while.
    MANY = 10000

    def __init__(self, count: int) -> None:
        super().__init__()
        self.untaken = itertools.repeat(None, count)

    def __len__(self) -> int:
        return super().__len__() + operator.length_hint(self.untaken)

    def pop(self, index: Any = -1) -> None:
        try:
            super().pop(index)
        except IndexError:
            for _ in self.untaken:
                return
            raise


def _permits(count: int) -> list[None]:
    return [None] * count if count < _Many.MANY else _Many(count)


class _Debt:
    """Waits for a permit and keeps it.

    It is in line where somebody has set ``counter`` to less than nothing, as
    ``GreenPool.resize()`` does when all are at work.
    """

    def wake(self) -> bool:
        return True


_DEBT = _Debt()


class Semaphore(semaphore.Semaphore):  # type: ignore[misc]
    """The methods that eventlet's gets.

    :ivar _permits: A list with an item for each permit there is to take.
    :ivar _waiters: Who waits, in order. Who takes one out of it owns a permit,
        and gives it to that one.
    """

    _permits: list[None]
    _waiters: Any

    def __init__(self, value: int = 1) -> None:
        if value != 1:
            try:
                value = int(value)
            except ValueError:
                raise TypeError('A semaphore is made with a number, not with '
                                '%r.' % (value,))
            if value < 0:
                raise ValueError('A semaphore is made with 0 or more, not '
                                 'with %s.' % value)
        self._permits = [None] if value == 1 else _permits(value)
        self._waiters = collections.deque()

    def acquire(self, blocking: bool = True,
                timeout: float | None = None) -> bool:
        """Take a permit; see eventlet's."""
        if timeout is not None:
            if timeout == -1:
                timeout = None
            elif timeout < 0:
                raise ValueError('timeout value must be strictly positive')
            elif not blocking:
                raise ValueError(
                    "can't specify timeout for non-blocking acquire")
        try:
            permits = self._permits
        except AttributeError:
            permits = _take_over(self)
        if permits and not (blocking and self._waiters):
            try:
                permits.pop()
                return True
            except IndexError:
                pass  # another thread was faster
        return blocking and _wait(self, timeout)

    def release(self, blocking: bool = True) -> bool:
        """Give a permit back; see eventlet's."""
        try:
            permits = self._permits
        except AttributeError:
            permits = _take_over(self)
        permits.append(None)
        if self._waiters:
            _grant(self)
        return True

    def _do_acquire(self) -> None:
        # Timers that eventlet's release() has made call it.
        if self.counter > 0:
            _grant(self)

    @property
    def counter(self) -> int:
        """How many permits there are to take; see eventlet's."""
        try:
            permits = self._permits
        except AttributeError:
            permits = _take_over(self)
        line = self._waiters
        return len(permits) - (line.count(_DEBT) if line else 0)

    @counter.setter
    def counter(self, count: int) -> None:
        for _ in range(count - self.counter):
            self.release()
        for _ in range(self.counter - count):
            try:
                self._permits.pop()
            except IndexError:
                self._waiters.appendleft(_DEBT)

    @property
    def balance(self) -> int:
        """How many permits there are more than are waited for."""
        counter = self.counter
        return max(counter, 0) - len(self._waiters)


class Lock(lock.Lock):  # type: ignore[misc]
    """The methods that eventlet's gets."""

    _permits: list[None]
    _waiters: Any

    def release(self, blocking: bool = True) -> bool:
        """Unlock it; see eventlet's."""
        try:
            permits = self._permits
        except AttributeError:
            permits = _take_over(self)
        if permits:
            raise RuntimeError('release unlocked lock')
        permits.append(None)
        if self._waiters:
            _grant(self)
        return True

    def _at_fork_reinit(self) -> None:
        # Called in a child, for locks that a thread may hold that is not
        # there.
        self._waiters.clear()
        self._permits = [None]


def _take_over(self: Any) -> list[None]:
    """Make permits of the count that eventlet's own methods have left.

    Two threads may do so at once; ``setdefault()`` lets one be the first.
    """
    own: dict[str, Any] = self.__dict__
    mine = _permits(max(own['counter'], 0))
    permits: list[None] = own.setdefault('_permits', mine)
    if permits is mine:
        self._waiters.extendleft([_DEBT] * -own['counter'])
    return permits


def _wait(self: Any, timeout: float | None) -> bool:
    """Wait for a permit.

    Orders of events. A permit is given before we are in line: then the
    _grant() here finds both. After that: the one of who gives it does. We
    leave, because the time is over or an exception is raised, and are in line
    no more: somebody has a permit for us, and has woken us or is about to, so
    it is ours. We return it to the caller, or, with the exception on its way,
    pass it on.
    """
    waiter = _waiters.new()
    self._waiters.append(waiter)
    try:
        _grant(self)
        if waiter.woken or waiter.wait(timeout):
            return True
    except BaseException:
        if not _leave(self, waiter):
            self.release()
        raise
    return not _leave(self, waiter)


def _leave(self: Any, waiter: _waiters.Waiter) -> bool:
    """Leave the line; return whether we were in it."""
    try:
        self._waiters.remove(waiter)
    except ValueError:
        return False
    return True


def _grant(self: Any) -> None:
    """Bring permits and those who wait together.

    Orders of events, with another thread here. It has the last permit and we
    find none: it goes on as long as somebody waits, so we need not. It has
    taken the last one out of the line: the permit that we have is given back,
    and the line looked at again, for who has come meanwhile found no permit.
    """
    line = self._waiters
    while line:
        try:
            if isinstance(line[0], greenlet.greenlet):
                # In eventlet's own acquire(), which takes it itself. There
                # are none behind ours.
                _waiters.call_in_hub_of(line[0], _wake_old, self, line[0])
                return
            self._permits.pop()
        except IndexError:
            if self._permits:
                continue  # it was the line that is empty now
            return
        try:
            waiter = line.popleft()
        except IndexError:
            self._permits.append(None)
        else:
            if not waiter.wake():
                self._permits.append(None)  # its thread has ended


def _wake_old(self: Any, waiter: greenlet.greenlet) -> None:
    if self.counter > 0 and waiter in self._waiters:
        self._waiters.remove(waiter)
        waiter.switch()
        _grant(self)


def replace() -> None:
    """Use these methods in eventlet's classes, in all threads."""
    for name in ('__init__', 'acquire', 'release', '_do_acquire', 'counter',
                 'balance'):
        setattr(semaphore.Semaphore, name, vars(Semaphore)[name])
    for name in ('release', '_at_fork_reinit'):
        setattr(lock.Lock, name, vars(Lock)[name])
