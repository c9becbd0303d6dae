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

"""The lock of oslo.log's handlers.

After monkey patching, oslo.log gives log handlers locks for which green
threads and native threads can wait together. It has two kinds. One is a pipe
with a byte in it, and who waits is one of several readers. The other is for
eventlet's asyncio hub, which does not take several readers on a descriptor:
an ``asyncio.Lock``, taken in a task each time, free or not. oslo.log chooses
while it is imported, by the class of the hub; ours derives from eventlet's
asyncio hub, but takes several readers.

A forked child has the pipe of its parent, and so have its brothers: who is
killed while it writes a line takes the byte with it, and all of them wait for
ever before their next line. Therefore a child gets pipes of its own, as the
standard handlers have new locks there.

The names used here are private to oslo.log, which has no other way to choose:
``PipeMutex``, ``_ReallyPipeMutex``, of which ``rfd``, ``wfd`` and ``owner``,
and ``_AsyncioMutex`` of ``oslo_log.pipe_mutex``. Where they are missing
nothing is changed. A test notices when they go.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import importlib.abc
import importlib.machinery
import logging
import sys
from types import ModuleType
from typing import Any

from eventlet import patcher
import greenlet

# Of the patched module, write() would run the hub.
os = patcher.original('os')

_MODULE = 'oslo_log.pipe_mutex'


def use_pipe_mutex() -> None:
    """Let oslo.log's handlers have the pipe, now and when it is imported.

    Called for each aiohub hub, which must be able to serve already.
    """
    # Not imported from here: eventlet makes the hub when it begins to patch,
    # and what oslo.log makes when it is imported has to be patched.
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    module = sys.modules.get(_MODULE)
    if module is not None:
        _choose_pipe(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Has the pipe chosen right after oslo.log has chosen."""

    def find_spec(
            self, fullname: str, path: Sequence[str] | None,
            target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(
            fullname, path, target)
        if spec is not None and spec.loader is not None:
            exec_module = spec.loader.exec_module

            def exec_and_choose(module: ModuleType) -> None:
                exec_module(module)
                _choose_pipe(module)

            setattr(spec.loader, 'exec_module', exec_and_choose)
        return spec


_finder = _Finder()


def _choose_pipe(module: Any) -> None:
    pipe = getattr(module, '_ReallyPipeMutex', None)
    other = getattr(module, '_AsyncioMutex', None)
    if pipe is None or other is None:
        return
    if not hasattr(module, 'PipeMutex'):
        # The module is being imported, and asks for the hub in order to
        # choose: this is the thread's first. It is about to choose this name.
        module._AsyncioMutex = pipe
        return
    module.PipeMutex = pipe
    for handler in _handlers():
        lock: Any = handler.lock
        # Who holds it will release the one that it has taken.
        if isinstance(lock, other) and lock.owner is None:
            handler.createLock()


def renew_pipes() -> None:
    """Give the handlers of a forked child pipes that are not its parent's.

    Called before its poll is made, which may have to wait for these.
    """
    module = sys.modules.get(_MODULE)
    pipe = getattr(module, '_ReallyPipeMutex', None)
    if pipe is None:
        return
    for handler in _handlers():
        lock: Any = handler.lock
        # One that another greenlet holds remains shared: if that is of
        # another thread, only the parent can give the byte back.
        if isinstance(lock, pipe) and getattr(lock, 'owner', -1) in (
                None, id(greenlet.getcurrent())):
            _renew(lock)


def _renew(lock: Any) -> None:
    rfd, wfd = getattr(lock, 'rfd', None), getattr(lock, 'wfd', None)
    if rfd is None or wfd is None:
        return  # it is closed
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    if lock.owner is None:
        os.write(writer, b'-')
    # With the same numbers, for which others may be waiting.
    for new, old in ((reader, rfd), (writer, wfd)):
        os.dup2(new, old, inheritable=False)
        os.close(new)


def _handlers() -> Iterator[logging.Handler]:
    root = logging.getLogger()
    # Some are placeholders, which have no handlers.
    for logger in [root, *root.manager.loggerDict.values()]:
        yield from getattr(logger, 'handlers', ())
