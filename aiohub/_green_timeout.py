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

"""The end of ``with eventlet.Timeout()`` in a green task.

A ``Timeout`` knows itself by identity: only if what comes out of its block is
what it has raised, it is silenced, or caught by who looks for it. Code written
for asyncio may hand on something else in its place. asgiref and others answer
a ``CancelledError`` with a new one, and an ``asyncio.TaskGroup`` of Python
3.11 and 3.12 puts it into a group. ``asyncio.timeout()`` and anyio's scopes
see to that for themselves; here the same is done for eventlet's: what stands
for the exception that was raised becomes that one again.
"""

import asyncio
from typing import Any

from eventlet import timeout

from aiohub import _task_greenlet
from aiohub import _thrown

_plain: Any = getattr(timeout.Timeout.__exit__, 'aiohub_plain',
                      timeout.Timeout.__exit__)


def _exit(self: timeout.Timeout, typ: Any, value: Any, trace: Any) -> Any:
    if value is None:
        # What eventlet's does; to call it takes 60 ns more.
        self.cancel()
        return None
    timer = self.timer
    if type(timer) is _task_greenlet.ThrowTimer:
        error = timer.error
        if error is not None and (
                error is value or _thrown.stands_for(value, error)
                and not _is_cancelled_since(timer)):
            # Nobody outside of the block is to take it for a cancellation.
            _thrown.undisguise(error)
            suppress = _plain(self, type(error), error, trace)
            if suppress or error is value:
                return suppress
            raise error
    return _plain(self, typ, value, trace)


def _is_cancelled_since(timer: _task_greenlet.ThrowTimer) -> bool:
    """Whether the task was cancelled after the timer has raised something.

    Then it is to go on as cancelled.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > timer.cancellations


def replace() -> None:
    """Use it in ``eventlet.Timeout``."""
    kind: Any = timeout.Timeout
    kind.__exit__ = _exit
    kind.__exit__.aiohub_plain = _plain
