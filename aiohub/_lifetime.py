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

"""When hubs end.

A hub whose greenlet has started is referred to by the frames of that
greenlet, so it is never collected, and nobody tells it that ``use_hub()``
has replaced it or that its thread has ended. What holds descriptors has to
find out by itself.
"""

import contextlib
# greenlet imports it when a thread has ended, in the middle of looking for
# references to its main greenlet. What the import runs may have the garbage
# collector end that, with a hub of eventlet's, and greenlet goes on with freed
# memory. Nothing runs if it is imported already; see ended_threads.py.
import gc  # noqa: F401
from typing import Any
from typing import Protocol
import weakref

from eventlet import event
import greenlet

from aiohub import _at_exit
from aiohub import _eventlet
from aiohub import _fork
from aiohub import _native
from aiohub import _task_greenlet


class Owner(Protocol):
    """Who runs a loop: :class:`aiohub.hub.Hub`, or a green thread's."""

    loop: Any
    loop_greenlet: Any
    thread_id: int

    @property
    def eventlet_hub(self) -> Any: ...

    @property
    def running(self) -> bool: ...

    @property
    def stands_still(self) -> bool: ...

    def is_current(self) -> bool: ...

    def close(self) -> None: ...


_main_loop: 'list[tuple[int, weakref.ref[Any]]]' = []


def note_main_loop(loop: Any) -> None:
    """Note the loop of this thread if it is the main one."""
    if _main_loop and _main_loop[0][1]() is loop:
        return
    ident = _native.threading.get_ident()
    if _native.threading.main_thread().ident == ident:
        _main_loop[:] = [(ident, weakref.ref(loop))]


def main_loop() -> Any:
    """Return the event loop of the main thread, or None."""
    for ident, loop in _main_loop:
        # In a forked child another thread may be the main one.
        if _native.threading.main_thread().ident == ident:
            return loop()
    return None


def keep(hub: Owner) -> Owner | None:
    """Close *hub* when it is replaced or its thread ends; mind forks.

    A hub of this thread from before is closed now.

    :returns: The hub of this thread from before, if there was one.
    """
    _fork.mind(hub)
    note_main_loop(hub.loop)
    keeper = getattr(_local, 'keeper', None)
    _local.keeper = _Keeper(hub)
    if keeper is not None:
        keeper.close()
    _eventlet.on_use_hub(_close_hub)
    return None if keeper is None else keeper.hub


def has_hubs() -> bool:
    """Return whether a thread of this process has an aiohub hub."""
    return any(map(_is_hub, _fork.owners()))


def hub_of(green: greenlet.greenlet) -> Owner | None:
    """Return the aiohub hub that a green thread waits in, if it is known."""
    hubs: list[Owner] = list(filter(_is_hub, _fork.owners()))
    node: greenlet.greenlet | None = green
    while node is not None:
        for hub in hubs:
            if hub.loop_greenlet is node:
                return hub
        node = node.parent
    return None


def _is_hub(hub: Owner) -> bool:
    return hasattr(hub, 'schedule_call_threadsafe')


def forget(hub: Owner) -> None:
    """Note that *hub* is closed."""
    _fork.forget(hub)


def end_work(owner: Owner) -> None:
    """Have tasks of a loop that ends clean up; see ``EventLoop.end_work()``.

    The hub runs meanwhile: a clean-up may make green calls, and wait for
    green threads. Not where that is impossible: in what runs the loop, while
    a callback makes it stand still, which may be for ever, and where the
    thread has another hub already. ``KeyboardInterrupt``, and what
    is thrown into the caller, end the wait; ``SystemExit`` comes after it.
    """
    current = greenlet.getcurrent()
    loop = owner.loop
    if (loop.is_closed() or not owner.is_current() or not loop.has_work()
            or current is owner.loop_greenlet or owner.stands_still):
        return
    left = None
    ended = event.Event()
    task = loop.create_task(loop.end_work())
    task.add_done_callback(ended.send)
    while not task.done():
        try:
            ended.wait()
        except SystemExit as exc:
            left = exc
    if left is not None:
        raise left


def _end_at_exit() -> None:
    keeper = getattr(_local, 'keeper', None)
    if keeper is not None:
        with contextlib.suppress(SystemExit):  # as happens already
            end_work(keeper.hub)
        keeper.hub.loop.hold_inherited()


_at_exit.functions.append(_end_at_exit)


class _Keeper:
    """A local variable of the thread of a hub.

    It goes when the thread's variables do, still in that thread and while
    its greenlets can still be switched to.
    """

    def __init__(self, hub: Owner) -> None:
        self.hub = hub
        main = _native.threading.main_thread()
        self._at_thread_end = main.ident != hub.thread_id

    def close(self) -> None:
        # A hub cannot end itself: what replaces it in a callback or a task of
        # its own leaves it to the end of the thread.
        current = greenlet.getcurrent()
        if (current is not self.hub.loop_greenlet
                and _task_greenlet.driver_of(current) is None):
            self.hub.close()

    def __del__(self) -> None:
        # Not the main thread's, which goes while the interpreter does; and
        # not in a forked child, where those of other threads go in this one.
        hub = self.hub
        if (self._at_thread_end
                and hub.thread_id == _native.threading.get_ident()):
            # There may be another hub: when this one is replaced, and when a
            # later thread has got the number of the one that has ended.
            if (_eventlet.current_hub() is None
                    and not hub.loop.is_closed() and hub.loop.has_work()):
                _eventlet.set_hub(hub.eventlet_hub)
            hub.close()
            if _eventlet.current_hub() is hub.eventlet_hub:
                _eventlet.set_hub(None)
            # Green threads that waited can be neither woken nor freed any
            # more, and their frames refer to the hub.
            hub.__dict__.pop('_selector', None)
            del hub.loop
            _native.forget_dummy_thread()


_local = _native.threading.local()


def _close_hub() -> None:
    keeper = getattr(_local, 'keeper', None)
    if keeper is not None:
        keeper.close()
