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

"""What becomes of hubs and loops in a forked child.

A child has copies of the parent's objects, and shares what these refer to in
the kernel: the set of descriptors that an epoll object waits for, and the
self-pipe that wakes the poll. Until it has its own, whatever it does to a
descriptor it does to the parent's poll, and every signal that it gets wakes
the parent, whose loop takes the number for a signal of its own (bpo-21998).

Other hooks come in between, and signals. Hooks called before a fork run in
the reverse order, so that ours, which were registered late, see the process
first, but in the child they come last. So from before the fork until a
process has its own again

* the thread that forks has all signals wait;
* a stand-in takes the place of its poll object, and notes what is asked for.

In the child there is only the thread that has forked. It goes on with its
hub, if it had one. The hubs of others are closed: their greenlets can never
be switched to again. That thread is the main one now, whatever it was before.
"""

import os
import signal
from types import ModuleType
from typing import Any
import weakref

import greenlet

from aiohub import _eventlet
from aiohub import _logging
from aiohub import _native

#: What runs a loop: hubs, and the green threads of loops.
_owners: 'weakref.WeakSet[Any]' = weakref.WeakSet()
_hooks: 'list[_Hooks]' = []


def mind(owner: Any) -> None:
    """Have *owner* survive forks."""
    import asyncio

    with _native.lock:
        _owners.add(owner)
    # Once for each asyncio: its own hook, which forgets the running loop,
    # has to come first, and hooks run in the order they were registered.
    if hasattr(os, 'register_at_fork') and (
            not _hooks or _hooks[0].asyncio is not asyncio):
        _hooks[:] = [_Hooks(asyncio)]


def forget(owner: Any) -> None:
    """Note that *owner* is closed."""
    with _native.lock:
        _owners.discard(owner)


def owners() -> list[Any]:
    """Return what runs a loop in this process, in all threads."""
    with _native.lock:
        return list(_owners)


def hold_for_ever(*things: Any) -> None:
    """Do not let this process free *things*: they are the parent's.

    A task that is freed in the middle runs its ``finally`` and complains, and
    a transport says that it was not closed. Nothing frees what a greenlet
    refers to that has begun and refers to itself.
    """
    def wait() -> None:
        greenlet.getcurrent().parent.switch()
        things, holder  # noqa: B018

    holder = greenlet.greenlet(wait)
    holder.switch()


def _own_loops() -> list[Any]:
    """Return the loops of this thread."""
    ident = _native.threading.get_ident()
    return [owner.loop for owner in owners()
            if owner.thread_id == ident and not owner.loop.is_closed()]


class _Hooks:
    """What is called at a fork, in the thread that forks."""

    def __init__(self, asyncio: ModuleType) -> None:
        self.asyncio = asyncio
        # Other threads may be about to fork, too.
        self._forking = _native.threading.local()
        os.register_at_fork(
            before=self._before, after_in_parent=self._after_in_parent,
            after_in_child=self._after_in_child)

    def _before(self) -> None:
        if self not in _hooks:
            return
        _eventlet.keep_green_threads()
        # Nobody else may be in the middle of changing sys.modules.
        _native.lock.acquire()
        self._forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        # As of 3.14.1 asyncio forgets both in a child (gh-139894), which then
        # does not know what tasks another thread makes from here on.
        self._forking.tasks = {
            owner.loop: self.asyncio.all_tasks(owner.loop)
            for owner in owners()}
        self._forking.current = {}
        for loop in _own_loops():
            if loop.is_running():
                self._forking.current[loop] = self.asyncio.current_task(loop)
            loop.detach()

    def _after_in_parent(self) -> None:
        if self in _hooks:
            for loop in _own_loops():
                loop.attach()
            self._go_on()

    def _after_in_child(self) -> None:
        if self in _hooks:
            _logging.renew_pipes()
            _eventlet.renew_pool()
            _eventlet.let_main_thread_go()
            own = _own_loops()
            tasks, current = self._forking.tasks, self._forking.current
            for owner in owners():
                loop = owner.loop
                if loop not in own and not loop.is_closed():
                    loop.close_in_child(tasks.get(loop, set()))
                    forget(owner)
            for loop in own:
                loop.renew_after_fork(
                    tasks.get(loop, set()), current.get(loop))
            del tasks, current
            self._go_on()

    def _go_on(self) -> None:
        self._forking.tasks = self._forking.current = {}
        _native.lock.release()
        # Last: it calls the handlers of those that have waited.
        signal.pthread_sigmask(signal.SIG_SETMASK, self._forking.mask)
