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

"""What asyncio does with the handles of callbacks, where nobody may ask.

A loop that knows it can do the same in fewer calls. Where it looks otherwise
than here, that is left to asyncio.
"""

import asyncio
from typing import Any


def can_be_called() -> bool:
    """Whether a handle is called by ``_run()`` unless it is cancelled."""
    return (hasattr(asyncio.Handle, '_run')
            and hasattr(asyncio.Handle, '_cancelled'))


def can_be_queued() -> bool:
    """Whether to make a handle and append it to ``_ready`` is all there is.

    That is, for ``call_soon()``, outside of debug mode.
    """
    return all(_names_in(method) == names
               for method, names in _CALL_SOON.items())


#: What the methods of asyncio's loop make use of, as known here.
_CALL_SOON = {
    'call_soon': ('_check_closed', '_debug', '_check_thread',
                  '_check_callback', '_call_soon', '_source_traceback'),
    '_call_soon': ('events', 'Handle', '_source_traceback', '_ready',
                   'append'),
}


def _names_in(method: str) -> tuple[str, ...]:
    code = getattr(
        getattr(asyncio.BaseEventLoop, method, None), '__code__', None)
    names: tuple[str, ...] = getattr(code, 'co_names', ())
    return names


def leave_out_caller(made: Any) -> None:
    """Do not show who calls this as the place where *made* was made.

    asyncio notes in debug mode who has called it. Methods of ours that take
    the place of asyncio's, and call it, are not what anybody looks for.

    :param made: A handle or a task.
    """
    trace = getattr(made, '_source_traceback', None)
    if trace:
        del trace[-1]
