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

"""The hub's file descriptors: which green threads wait for what."""

import sys
from typing import Any

from eventlet.hubs import asyncio as asyncio_hub
from eventlet.hubs import hub as base_hub

from aiohub import _selector
from aiohub import _thrown

READ = base_hub.READ
WRITE = base_hub.WRITE
_READABLE = _selector.GREEN_READ | _selector.POLL_ERROR
_WRITABLE = _selector.GREEN_WRITE | _selector.POLL_ERROR
#: What one green thread alone asks the kernel for.
_ONCE = {READ: _selector.GREEN_READ | _selector.ONESHOT,
         WRITE: _selector.GREEN_WRITE | _selector.ONESHOT}


class DescriptorsHub(asyncio_hub.Hub):
    """The part of :class:`aiohub.hub.Hub` that keeps the listeners."""

    def open(self) -> None:
        """Begin to keep listeners; those that there are stay."""
        super().open()
        self._selector: _selector.HubSelector
        self._readers: dict[int, Any] = self.listeners[READ]
        self._writers: dict[int, Any] = self.listeners[WRITE]
        self._always_ready: set[Any] = set()

    def forget_listeners(self) -> None:
        """Drop all listeners."""
        for bucket in (*self.listeners.values(), *self.secondaries.values()):
            bucket.clear()

    def add(self, evtype: str, fileno: int, cb: Any, tb: Any,
            mark_as_closed: Any) -> Any:
        """Wait for *fileno*; see eventlet's hub.

        :raises OSError: If *fileno* is not open.
        :raises ValueError: If *fileno* is negative.
        :raises RuntimeError: If another green thread waits for the same,
            unless ``hub_prevent_multiple_readers(False)`` was called.
        """
        if evtype == READ:
            bucket, other = self._readers, self._writers
        else:
            bucket, other = self._writers, self._readers
        if fileno in bucket:
            # The kernel is asked for the first of several already; when that
            # one is removed, the next is armed.
            return base_hub.BaseHub.add(
                self, evtype, fileno, cb, tb, mark_as_closed)
        listener = self.lclass(evtype, fileno, cb, tb, mark_as_closed)
        bucket[fileno] = listener
        selector = self._selector
        try:
            if fileno in other or fileno in selector.keys:
                selector.arm(fileno)
            else:
                # What arm() would do, in 0.1 us less.
                mask = _ONCE[evtype]
                try:
                    selector.poll.modify(fileno, mask)
                except FileNotFoundError:
                    selector.poll.register(fileno, mask)
        except PermissionError:
            self._wake_soon(fileno)
        except BaseException:
            del bucket[fileno]
            raise
        return listener

    def _wake_soon(self, fileno: int) -> None:
        """Wake who waits for a regular file.

        It is always ready, and epoll does not take it.
        """
        for bucket in (self._readers, self._writers):
            listener = bucket.get(fileno)
            if listener is not None and listener not in self._always_ready:
                self._always_ready.add(listener)
                self.schedule_call_global(0, self._wake_now, listener)

    def _wake_now(self, listener: Any) -> None:
        self._always_ready.discard(listener)
        bucket = self.listeners[listener.evtype]
        if bucket.get(listener.fileno) is listener:
            listener.cb(listener.fileno)
            if bucket.get(listener.fileno) is listener:
                self._wake_soon(listener.fileno)

    def remove(self, listener: Any) -> None:
        """Stop waiting; see eventlet's hub."""
        if listener.spent:
            return
        fileno = listener.fileno
        evtype = listener.evtype
        if evtype == READ:
            bucket, other = self._readers, self._writers
        else:
            bucket, other = self._writers, self._readers
        others = self.secondaries[evtype]
        if others and fileno in others:
            base_hub.BaseHub.remove(self, listener)
            if fileno in bucket:
                self._arm_again(fileno)
                return
        elif fileno in bucket and bucket[fileno] is listener:
            del bucket[fileno]
        else:
            return  # the hub was closed, and has forgotten it
        if not self.closed:
            # One of a closed descriptor is still to be called. Others refer
            # no more to whoever has waited: a green thread may be used again
            # if it ends before the hub lets go of this.
            listener.cb = listener.tb = listener.greenlet = None
        if fileno in other or fileno in self._selector.keys:
            self._arm_again(fileno)

    def remove_descriptor(self, fileno: int) -> None:
        """Forget *fileno*, waking who waits for it; see eventlet's hub."""
        base_hub.BaseHub.remove_descriptor(self, fileno)
        if fileno in self._selector.keys:
            self._arm_again(fileno)

    def _arm_again(self, fileno: int) -> None:
        try:
            self._selector.arm(fileno)
        except PermissionError:
            self._wake_soon(fileno)
        except OSError:
            # It was closed: who waits for it still waits, as on epolls,
            # until the number is opened again (mark_as_reopened).
            pass

    def close_next(self) -> None:
        """Have who waits for a descriptor that was closed know it."""
        try:
            self.close_one()
            if self.woken_parks:
                self.step_parks()
        except self.SYSTEM_EXCEPTIONS:
            raise
        except BaseException as exc:
            _thrown.complain(self, self.loop, exc)
            if self.woken_parks:
                self.step_parks()

    def arm_all(self) -> None:
        """Wait for everything again: events may have been lost."""
        for fileno in self._selector.arm_all():
            self._wake_soon(fileno)

    def wake_one(self, fileno: int, mask: int) -> None:
        """Switch to the green threads that wait for an event.

        What :meth:`wake` does, for one: without lists, in 0.2 us less.
        """
        readers = self._readers
        if fileno in readers and mask & _READABLE:
            if fileno in self._writers and mask & _WRITABLE:
                self.wake([(fileno, mask)])
            else:
                self._call(readers, fileno, readers[fileno])
        elif fileno in self._writers and mask & _WRITABLE:
            self._call(self._writers, fileno, self._writers[fileno])

    def wake(self, events: _selector.Events) -> None:
        """Switch to the green threads that wait for *events*."""
        readers = self._readers
        writers = self._writers
        # First note whom to wake: one that runs may close a descriptor and
        # open another of the same number, which this event is not about.
        found = []
        for fileno, mask in events:
            if mask & _READABLE and fileno in readers:
                found.append((readers, fileno, readers[fileno]))
            if mask & _WRITABLE and fileno in writers:
                found.append((writers, fileno, writers[fileno]))
        for bucket, fileno, listener in found:
            if fileno in bucket and bucket[fileno] is listener:
                self._call(bucket, fileno, listener)

    def _call(self, bucket: dict[int, Any], fileno: int,
              listener: Any) -> None:
        try:
            listener.cb(fileno)
            if self.woken_parks:
                self.step_parks()
        except self.SYSTEM_EXCEPTIONS:
            raise
        except BaseException as exc:
            if not _thrown.has_raised(self.loop.state.awaited, exc):
                self.squelch_exception(fileno, sys.exc_info())
            if self.woken_parks:
                self.step_parks()
        if fileno in bucket and bucket[fileno] is listener:
            # It stays: one-shot interest has to be renewed.
            self._arm_again(fileno)
