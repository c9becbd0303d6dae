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

"""One poll for both worlds.

:class:`HubSelector` is a :class:`selectors.BaseSelector` that asyncio's event
loop polls, and that knows the file descriptors of the hub's listeners too.
For each descriptor there is one registration with the kernel, which merges
what both wait for:

* asyncio's interest is *level-triggered* and lasts, as in any selector;
* green interest is *one-shot*: a wait arms the descriptor by one system call
  and nothing has to be undone when the wait ends, as eventlet's hubs do with
  an ``ADD`` and a ``DEL`` for each wait.

Nothing here remembers what the kernel was told. ``GreenSocket.close`` is
``socket.close``: descriptors close, and their numbers are used again, without
any notice. So arming first tries to modify the registration and adds one
where there is none.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import selectors
from typing import Any

from eventlet import patcher

from aiohub import _poll

_select = patcher.original('select')

# The poll and epoll constants have the same values (eventlet relies on that
# too); POLLRDHUP is never asked for.
POLLIN: int = _select.POLLIN
POLLOUT: int = _select.POLLOUT
#: What a green reader (writer) asks for, and what wakes it.
GREEN_READ: int = _select.POLLIN | _select.POLLPRI
GREEN_WRITE: int = _select.POLLOUT
POLL_ERROR = _poll.POLL_ERROR
_READABLE = POLLIN | POLL_ERROR
_WRITABLE = POLLOUT | POLL_ERROR
_EVENT_READ = selectors.EVENT_READ
_EVENT_WRITE = selectors.EVENT_WRITE
_ALL = GREEN_READ | GREEN_WRITE | POLL_ERROR
#: What asyncio makes of each mask.
_MEANS = tuple(
    _EVENT_READ * bool(mask & _READABLE)
    | _EVENT_WRITE * bool(mask & _WRITABLE) for mask in range(_ALL + 1))
ONESHOT = _poll.ONESHOT

Fileobj = Any
Events = _poll.Events


class KeyMap(Mapping[Fileobj, selectors.SelectorKey]):
    """Finds selector keys by file object, too.

    :param keys: The keys by descriptor.
    """

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Fileobj]:
        return iter(self._keys)

    def __getitem__(self, fileobj: Fileobj) -> selectors.SelectorKey:
        fd = self.fileno(fileobj)
        if fd in self._keys:
            return self._keys[fd]
        raise KeyError('%r is not registered' % (fileobj,))

    def get(self, fileobj: Fileobj, default: Any = None) -> Any:
        if isinstance(fileobj, int):
            return self._keys.get(fileobj, default)
        try:
            return self[fileobj]
        except KeyError:
            return default

    def fileno(self, fileobj: Fileobj) -> int:
        """Return the descriptor of *fileobj*, even of one that was closed.

        :raises ValueError: If it has none.
        """
        if isinstance(fileobj, int):
            fd = fileobj
        else:
            try:
                fd = int(fileobj.fileno())
            except (AttributeError, TypeError, ValueError):
                raise ValueError(
                    'Invalid file object: %r' % (fileobj,)) from None
        if fd < 0:
            for key in self._keys.values():
                if key.fileobj is fileobj:
                    return key.fd
            raise ValueError('Invalid file descriptor: %d' % fd)
        return fd


class HubSelector(selectors.BaseSelector):
    """The selector of a hub's event loop.

    :param readers: The hub's listeners for reading, by descriptor; the
        selector looks into it and never changes it.
    :param writers: The same for writing.
    :param turn: What the loop's call of ``select(timeout)`` does: the hub's
        turn, which ends in :meth:`tell`.
    """

    def __init__(
        self,
        readers: Mapping[int, object],
        writers: Mapping[int, object],
        turn: Callable[
            [float | None], list[tuple[selectors.SelectorKey, int]]],
    ) -> None:
        self._readers = readers
        self._writers = writers
        # Not a kind of dict: in one of those Python takes twice as long to
        # find something.
        self.keys: dict[int, selectors.SelectorKey] = {}
        self._map = KeyMap(self.keys)
        self.poll = _poll.new_poll()
        #: Whether the last poll has found something for asyncio.
        self.has_found = False
        #: What the loop is to call, if that can be known; see :meth:`tell`.
        self.ready: Any = None
        self._held: set[int] = set()
        # Once each turn of the loop: the loop calls the hub without a method
        # in between.
        self.select = turn  # type: ignore[method-assign,assignment]

    # -- green interest

    def arm(self, fd: int) -> None:
        """Tell the kernel what is now waited for at *fd*, by either world.

        :raises PermissionError: If *fd* is a regular file, which is always
            ready and which epoll does not take.
        :raises OSError: If *fd* is not open.
        :raises ValueError: If *fd* is negative.
        """
        mask = GREEN_READ if fd in self._readers else 0
        if fd in self._writers:
            mask |= GREEN_WRITE
        if fd not in self.keys or fd in self._held:
            # A registration that is left behind when a green wait ends
            # early reports at most one event, which finds no listener. That
            # also holds where the descriptor was closed while a duplicate
            # keeps its registration alive: only one-shot makes that safe.
            mask |= ONESHOT
        else:
            events = self.keys[fd].events
            if events & selectors.EVENT_READ:
                mask |= POLLIN
            if events & selectors.EVENT_WRITE:
                mask |= POLLOUT
        try:
            self.poll.modify(fd, mask)
        except FileNotFoundError:
            self.poll.register(fd, mask)

    def arm_all(self) -> list[int]:
        """Tell the kernel everything again.

        For when one-shot events may have been lost: after an exception out
        of the poll, in a new poll object, after a handover. What is ready is
        reported again.

        :returns: The descriptors of regular files.
        """
        regular = []
        for fd in {*self._readers, *self._writers, *self.keys}:
            try:
                self.arm(fd)
            except PermissionError:
                regular.append(fd)
            except (OSError, ValueError):
                pass  # closed meanwhile: the kernel does not end such a wait
        return regular

    def detach(self) -> None:
        """Leave the poll object alone until :meth:`attach` or :meth:`renew`.
        """
        self.poll = _poll.DetachedPoll(self.poll)

    def attach(self) -> None:
        """Go on with the poll object, and tell it what was asked for since.
        """
        detached = self.poll
        if isinstance(detached, _poll.DetachedPoll):
            self.poll = detached.poll_object
            for fd in detached.changed:
                with contextlib.suppress(OSError, ValueError):  # closed
                    self._tell(fd)

    def _tell(self, fd: int) -> None:
        """Tell the kernel what is waited for at *fd*, if anything is."""
        if (fd in self._readers or fd in self._writers or fd in self.keys):
            self.arm(fd)
        else:
            self.poll.unregister(fd)

    def renew(self) -> None:
        """Get a poll object of our own, after a fork."""
        self.poll.close()
        self.poll = _poll.new_poll()
        self.arm_all()

    def hold(self, fd: int) -> None:
        """Do not report *fd* to asyncio until :meth:`release`.

        What asyncio waits for is reported as long as it is so, and would
        keep the hub busy while the loop cannot be told.
        """
        if fd not in self._held:
            # Once: what is held still reports that the peer has hung up.
            self._held.add(fd)
            with contextlib.suppress(OSError):  # closed meanwhile
                self.arm(fd)

    def release(self) -> None:
        """Report everything to asyncio again."""
        held, self._held = self._held, set()
        for fd in held & self.keys.keys():
            with contextlib.suppress(OSError):  # closed meanwhile
                self.arm(fd)

    # -- asyncio's interest

    def register(
        self, fileobj: Fileobj, events: int, data: Any = None,
    ) -> selectors.SelectorKey:
        fd = self._checked_fileno(fileobj, events)
        if fd in self.keys:
            raise KeyError('%r (FD %d) is already registered' % (fileobj, fd))
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self.keys[fd] = key
        try:
            self.arm(fd)
        except BaseException:
            del self.keys[fd]
            raise
        return key

    def unregister(self, fileobj: Fileobj) -> selectors.SelectorKey:
        key = self.keys.pop(self._map[fileobj].fd)
        # The descriptor may have been closed and be unknown by now.
        with contextlib.suppress(OSError, ValueError):
            self._tell(key.fd)
        return key

    def modify(
        self, fileobj: Fileobj, events: int, data: Any = None,
    ) -> selectors.SelectorKey:
        fd = self._checked_fileno(fileobj, events)
        old = self._map[fd]
        key = selectors.SelectorKey(old.fileobj, fd, events, data)
        self.keys[fd] = key
        if events != old.events:
            try:
                self.arm(fd)
            except BaseException:
                del self.keys[fd]
                raise
        return key

    def _checked_fileno(self, fileobj: Fileobj, events: int) -> int:
        if not events or events & ~(
                selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError('Invalid events: %r' % (events,))
        return self._map.fileno(fileobj)

    def get_map(self) -> Mapping[Fileobj, selectors.SelectorKey]:
        return self._map

    def get_key(self, fileobj: Fileobj) -> selectors.SelectorKey:
        return self._map[fileobj]

    def asyncio_events(
        self, events: Events,
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Translate those of the poll's *events* that asyncio waits for."""
        found = []
        keys = self.keys
        for fd, mask in events:
            if fd in keys:
                key = keys[fd]
                ready = key.events & _MEANS[mask & _ALL]
                if ready:
                    found.append((key, ready))
        if found:
            self.has_found = True
        return found

    def tell(
        self, events: Events,
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Have the loop call what waits for *events*.

        Saves it a list and two calls for each, 0.2 us. That the data of a key
        are a handle for reading and one for writing is private to asyncio, so
        what is different is left to the loop, as are handles that it has to
        remove.

        :returns: What is left, as :meth:`asyncio_events` does.
        """
        ready = self.ready
        if ready is None:
            return self.asyncio_events(events)
        keys = self.keys
        left: Events = []
        for event in events:
            fd, mask = event
            if fd in keys:
                key = keys[fd]
                means = key.events & _MEANS[mask & _ALL]
                try:
                    if means == _EVENT_READ:
                        handle = key.data[0]
                    elif means == _EVENT_WRITE:
                        handle = key.data[1]
                    else:  # both, or nothing
                        left.append(event)
                        continue
                    if handle._cancelled:
                        left.append(event)
                        continue
                except (AttributeError, LookupError, TypeError):
                    left.append(event)
                    continue
                ready.append(handle)
                self.has_found = True
        return self.asyncio_events(left) if left else []

    def select(
        self, timeout: float | None = None,
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """One turn of the hub; see :meth:`aiohub.hub.Hub.turn`."""
        raise NotImplementedError

    def close(self) -> None:
        self.poll.close()
        self.keys.clear()
