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

"""What the kernel is asked with: ``select.epoll``, and what stands in for it.
"""

from typing import Protocol

from eventlet import patcher

_select = patcher.original('select')

POLL_ERROR: int = _select.POLLERR | _select.POLLHUP
ONESHOT: int = getattr(_select, 'EPOLLONESHOT', 1 << 30)

Events = list[tuple[int, int]]


class Poll(Protocol):
    """What a selector of ours needs of the kernel: ``select.epoll``."""

    def modify(self, fd: int, mask: int) -> None: ...
    def register(self, fd: int, mask: int) -> None: ...
    def unregister(self, fd: int) -> None: ...
    def poll(self, timeout: float | None) -> Events: ...
    def close(self) -> None: ...


class OneShotPoll:
    """``select.poll`` in the clothes of ``select.epoll``.

    For systems without epoll. One-shot interest is taken back when its event
    is reported, and a descriptor that was closed is reported once as broken,
    so that whoever waits for it finds out by using it.
    """

    def __init__(self) -> None:
        self._poll = _select.poll()
        self._oneshot: set[int] = set()

    def register(self, fd: int, mask: int) -> None:
        self._poll.register(fd, mask & ~ONESHOT)
        self._note(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        self._poll.modify(fd, mask & ~ONESHOT)
        self._note(fd, mask)

    def _note(self, fd: int, mask: int) -> None:
        if mask & ONESHOT:
            self._oneshot.add(fd)
        else:
            self._oneshot.discard(fd)

    def unregister(self, fd: int) -> None:
        self._oneshot.discard(fd)
        try:
            self._poll.unregister(fd)
        except KeyError as exc:
            raise FileNotFoundError(*exc.args) from None

    def poll(self, timeout: float | None) -> Events:
        # Round up, or the last millisecond before a timer is spent spinning.
        wait = None if timeout is None else -int(-timeout * 1000 // 1)
        events = []
        for fd, mask in self._poll.poll(wait):
            if mask & _select.POLLNVAL:
                mask = POLL_ERROR
                self.unregister(fd)
            elif fd in self._oneshot:
                self.unregister(fd)
            events.append((fd, mask))
        return events

    def close(self) -> None:
        self._oneshot.clear()


class DetachedPoll:
    """Stands in for a poll object that must be left alone for a while.

    It notes what would have been changed, and never has an event.
    """

    def __init__(self, poll: Poll) -> None:
        self.poll_object = poll
        self.changed: set[int] = set()

    def register(self, fd: int, mask: int) -> None:
        self.changed.add(fd)

    def modify(self, fd: int, mask: int) -> None:
        self.changed.add(fd)

    def unregister(self, fd: int) -> None:
        self.changed.add(fd)

    def poll(self, timeout: float | None) -> Events:
        return []

    def close(self) -> None:
        self.poll_object.close()


def new_poll() -> Poll:
    """Return the best poll object that the system has."""
    poll: Poll
    if hasattr(_select, 'epoll'):
        poll = _select.epoll()
    else:
        poll = OneShotPoll()
    return poll
