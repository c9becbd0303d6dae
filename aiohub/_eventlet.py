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

"""What aiohub needs of eventlet and greenlet below their public functions.

Everything private of eventlet that aiohub touches is in this module.
"""

from collections.abc import Callable
import contextlib
import functools
import sys
import threading
from typing import Any

import eventlet.debug
from eventlet import hubs
from eventlet.hubs import hub as base_hub
import greenlet


class Unwind(SystemExit):
    """Ends a hub's greenlet.

    A ``SystemExit``, because that is what neither eventlet's hubs nor
    asyncio's callbacks and tasks hold up.
    """


#: Returns the hub of this thread, or None; makes none.
#: ``eventlet.hubs.get_hub()`` is the public way, which makes one. Called for
#: each wait: as a Python function it would take 62 ns, not 50.
current_hub: Callable[[], Any] = functools.partial(
    getattr, hubs._threadlocal, 'hub', None)


def current_hub_class() -> Any:
    """Return what this thread makes its hub of, or None if not chosen yet."""
    return getattr(hubs._threadlocal, 'Hub', None)


def set_hub_class(hub_class: type) -> None:
    """Choose what this thread makes its next hub of; keep the one it has.

    ``eventlet.hubs.use_hub()`` is the public way, which drops it.
    """
    hubs._threadlocal.Hub = hub_class


def set_hub(hub: Any) -> None:
    """Have *hub* be this thread's once more, or none if it is None.

    When a thread ends, its variables go one after the other.
    """
    hubs._threadlocal.hub = hub
    if hub is None:
        del hubs._threadlocal.hub


def forget_hub(hub: base_hub.BaseHub) -> None:
    """Let the next ``get_hub()`` make a new hub if *hub* is this thread's."""
    if current_hub() is hub:
        del hubs._threadlocal.hub


def root_greenlet() -> greenlet.greenlet:
    """Return the greenlet that this thread began in."""
    root = greenlet.getcurrent()
    while root.parent is not None:
        root = root.parent
    return root


def unwind(target: greenlet.greenlet) -> None:
    """End the greenlet of a hub, which is not the current one.

    Its frames are left by an exception, so that what they hold is let go.
    Green threads that are its children end in what becomes its parent.
    """
    root = root_greenlet()
    current = greenlet.getcurrent()
    if not target.dead:
        # A greenlet that ends by an exception raises it in its parent, so
        # that has to be this one; and it is not yet if this is a green
        # thread, which descends from the hub's greenlet.
        node = current
        while node.parent is not None:
            if node.parent is target:
                node.parent = root
                break
            node = node.parent
        target.parent = current
        try:
            target.throw(Unwind())
        except Unwind:
            pass
    target.parent = root


# -- forks

class _NoSocket:
    """What a thread of a pool that is no more tells of its results."""

    def sendall(self, data: bytes) -> None:
        pass


def renew_pool() -> None:
    """Let ``eventlet.tpool`` begin anew.

    Its native threads do not exist in a child. What tells of their results is
    a socket that belongs to the parent too, and who reads in the child takes
    from the parent.
    """
    pool: Any = sys.modules.get('eventlet.tpool')
    if pool is None or not pool._setup_already:
        return
    pool._setup_already = False
    del pool._threads[:]
    hub = current_hub()
    if hub is not None and pool._rsock is not None:
        # Its reader is not woken any more. Not by hub.remove(): other hubs
        # still share the parent's poll object.
        listener = hub.listeners[hub.READ].pop(pool._rsock.fileno(), None)
        if listener is not None:
            listener.spent = True
    for sock in (pool._rsock, pool._wsock):
        if sock is not None:
            sock.close()
    pool._rsock = pool._coro = None
    # For the one thread of the pool that is there if it has forked: it comes
    # to its end when its function returns.
    pool._reqq = None
    pool._rspq = pool.Queue()
    pool._wsock = _NoSocket()


def let_main_thread_go() -> None:
    """Have ``threading`` not wait for the main green thread, in a child.

    A process of ``multiprocessing`` waits for all threads but its own when it
    ends. After monkey patching, and before Python 3.13, it does so for the
    main one if it was started in a green thread, and for ever: that is still
    in ``start()``.
    """
    names = getattr(getattr(threading, '_shutdown', None), '__globals__', {})
    lock = getattr(names.get('_main_thread'), '_tstate_lock', None)
    names.get('_shutdown_locks', set()).discard(lock)


def keep_green_threads() -> None:
    """Have ``eventlet.green.threading`` know that they survive a fork.

    ``threading`` counts all threads but one as ended in a child, by a hook.
    Monkey patching makes that one do nothing; without it eventlet's own copy
    of the module still does it, and on Python 3.13.0 fails (eventlet #1030).
    """
    hook = getattr(sys.modules.get('eventlet.green.threading'),
                   '_after_fork', None)
    if hook is not None:
        hook.__code__ = _do_nothing.__code__


def _do_nothing() -> None:
    pass


_replaced: list[Callable[[], None]] = []
_choosing: list[
    Callable[[Any], contextlib.AbstractContextManager[None]]] = []


def on_use_hub(callback: Callable[[], None]) -> None:
    """Have *callback* called, in its thread, when a thread drops its hub.

    ``use_hub()`` drops the hub of the thread without telling it, and a hub
    whose greenlet has started is never collected. So its module's function
    is wrapped, by the first aiohub hub of the process, or by the first call
    of :func:`around_use_hub`, and not before. The same goes for
    ``eventlet.debug.hub_prevent_multiple_readers()``, which refuses every hub
    that derives from eventlet's asyncio hub.
    """
    _replaced[:] = [callback]
    _watch_use_hub()
    if not hasattr(eventlet.debug.hub_prevent_multiple_readers,
                   '__wrapped__'):
        eventlet.debug.hub_prevent_multiple_readers = _wrap_prevent(
            eventlet.debug.hub_prevent_multiple_readers)


def around_use_hub(
    choosing: Callable[[Any], contextlib.AbstractContextManager[None]],
) -> None:
    """Have every ``use_hub(mod)`` happen inside of ``choosing(mod)``."""
    _choosing[:] = [choosing]
    _watch_use_hub()


def _watch_use_hub() -> None:
    if not hasattr(hubs.use_hub, '__wrapped__'):
        hubs.use_hub = _wrap_use_hub(hubs.use_hub)


def _wrap_use_hub(use_hub: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(use_hub)
    def wrapper(mod: Any = None) -> None:
        with contextlib.ExitStack() as stack:
            for choosing in _choosing:
                stack.enter_context(choosing(mod))
            # Before: what ends with the hub may still call it, and get_hub()
            # would make the next one in the wrong greenlet.
            for callback in _replaced:
                callback()
            use_hub(mod)

    return wrapper


def _wrap_prevent(prevent: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(prevent)
    def wrapper(state: bool = True) -> None:
        if getattr(hubs.get_hub(), 'takes_several_readers', False):
            base_hub.g_prevent_multiple_readers = state
        else:
            prevent(state)

    return wrapper
