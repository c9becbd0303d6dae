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

"""Futures that native threads wait for, and green threads too.

After monkey patching, what guards a ``concurrent.futures.Future`` is green,
and green locks know one thread. ``asyncio.run_coroutine_threadsafe()`` makes
such a future: a native thread that called its ``result()`` stalled, and the
loop, which gives it the result in a callback, might have had to wait there.

Here the lock is native. Nobody keeps it for longer than some instructions, and
no green call is among them. Only the wait differs: in a thread that has a hub
it is green.
"""

import concurrent.futures
import contextlib
from typing import Any

from eventlet import patcher
from eventlet import semaphore

from aiohub import _eventlet
from aiohub import _native

_Future: Any = concurrent.futures.Future
_plain_init = _Future.__init__
_threading = _native.threading
_NativeCondition: Any = _threading.Condition


class Condition(_NativeCondition):  # type: ignore[misc]
    """A native condition that green threads wait for greenly."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; see that of ``threading``."""
        if (_eventlet.current_hub() is None
                and _threading.get_ident()
                != _threading.main_thread().ident):
            notified: bool = super().wait(timeout)
            return notified
        # As that does with a lock. These names of threading are private; it
        # is the only way for both to be notified in one order.
        waiter = semaphore.Semaphore(0)
        self._waiters.append(waiter)
        state = self._release_save()
        try:
            return bool(waiter.acquire(timeout=timeout))
        finally:
            self._acquire_restore(state)
            with contextlib.suppress(ValueError):  # it was notified
                self._waiters.remove(waiter)


def _init(self: 'concurrent.futures.Future[Any]') -> None:
    _plain_init(self)
    if patcher.is_monkey_patched('thread'):
        # Private to concurrent.futures, which has no other way to give a
        # future another lock. A test notices when it goes.
        self._condition = Condition()


def replace() -> None:
    """Guard all futures that are made from now on so, if it is patched."""
    _Future.__init__ = _init
