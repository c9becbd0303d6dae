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

"""eventlet's events, for several threads at once.

Also what is made of them: ``GreenThread.wait()``, and with it ``join()`` of
patched threads. As with :mod:`aiohub._semaphores` there is no lock, and the
methods are exchanged in eventlet's class.
"""

from typing import Any

from eventlet import event
import greenlet

from aiohub import _waiters

_NOT_USED = event.NOT_USED


class Event(event.Event):  # type: ignore[misc]
    """The methods that eventlet's gets."""

    _result: Any
    _exc: Any
    _waiters: set[Any]

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for what is sent; see eventlet's.

        Orders of events. It is sent before we are among those who wait, and
        not seen by who sends: we look again when we are. After that: we are
        woken. We leave, and are woken too: what is sent stays.
        """
        # In this order; see send().
        result, exc = self._result, self._exc
        if result is _NOT_USED:
            waiter = _waiters.new()
            self._waiters.add(waiter)
            try:
                result, exc = self._result, self._exc
                if result is _NOT_USED:
                    if not waiter.wait(timeout):
                        return None
                    # It may have been reset since.
                    result, exc = waiter.answer
            finally:
                self._waiters.discard(waiter)
        if exc is not None:
            greenlet.getcurrent().throw(*exc)
        return result

    def send(self, result: Any = None, exc: Any = None) -> None:
        """Wake all who wait; see eventlet's."""
        assert self._result is _NOT_USED, (
            'Trying to re-send() an already-triggered event.')
        if exc is not None and not isinstance(exc, tuple):
            exc = (exc,)
        # In this order: who finds a result takes the other for its kind.
        self._exc = exc
        self._result = result
        if self._waiters:
            wake(self)


def wake(self: Any) -> None:
    """Wake all who wait for an event.

    Each once: it may be reset and sent again before they have left.
    """
    result, exc = answer = self._result, self._exc
    line = self._waiters
    for waiter in list(line):
        if isinstance(waiter, greenlet.greenlet):
            # In eventlet's own wait().
            _waiters.call_in_hub_of(waiter, self._do_send, result, exc, waiter)
            continue
        try:
            line.remove(waiter)
        except KeyError:
            continue  # it has left, or another thread was faster
        waiter.answer = answer
        waiter.error = exc
        waiter.wake()


def replace() -> None:
    """Use these methods in eventlet's class, in all threads."""
    for name in ('wait', 'send'):
        setattr(event.Event, name, vars(Event)[name])
