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

"""What a green thread has raised is a result to the task that waits for it.

``eventlet.Event`` throws it into who waits, as ``eventlet.kill()`` does. But
who is killed in the same turn in which it is cancelled gets both, one after
the other; a result, of a task that was cancelled, is nobody's any more.
"""

from typing import Any

from eventlet import event

from aiohub import _task_greenlet

# Private to eventlet. Without it the error is thrown, as by eventlet.kill().
_NAME = '_do_send'
_plain: Any = getattr(event.Event, _NAME, None)
_plain = getattr(_plain, 'aiohub_plain', _plain)


def _do_send(self: Any, result: Any, exc: Any, waiter: Any) -> None:
    if exc is None or type(waiter) is not _task_greenlet.TaskGreenlet:
        _plain(self, result, exc, waiter)
    elif waiter in self._waiters:
        waiter.give_error(*exc)


def replace() -> None:
    """Use it in ``eventlet.Event``."""
    if _plain is not None:
        setattr(_do_send, 'aiohub_plain', _plain)
        setattr(event.Event, _NAME, _do_send)
