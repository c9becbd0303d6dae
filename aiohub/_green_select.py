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

"""A ``select()`` that does not wait is no green call in a green task.

eventlet's lets others run first, even with a timeout of 0. Code for asyncio
counts on not being interrupted between two ``await``: httpcore (of httpx) asks
in that way whether an idle connection of its pool has been closed, in the
middle of changing the pool, and another task that does the same is refused as
the second reader of the descriptor.
"""

import sys
from typing import Any

from eventlet.green import select as green_select
from eventlet import patcher
import greenlet

from aiohub import _task_greenlet

_green: Any = green_select.select


def _select(read_list: Any, write_list: Any, error_list: Any,
            timeout: float | None = None) -> Any:
    if timeout == 0 and _task_greenlet.driver_of(greenlet.getcurrent()):
        select: Any = patcher.original('select').select
        return select(read_list, write_list, error_list, 0)
    return _green(read_list, write_list, error_list, timeout)


def replace() -> None:
    """Use it where eventlet's is used, before and after patching."""
    green_select.select = _select
    module: Any = sys.modules.get('select')
    if getattr(module, 'select', None) is _green:
        module.select = _select
