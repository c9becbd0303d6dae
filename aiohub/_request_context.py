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

"""oslo.context's current request, kept where asyncio keeps its own.

oslo.context remembers the current request in a ``threading.local``. For green
threads that is right, once it is patched. All coroutines of a loop are one
thread, though, so each would see the request of another. A context variable
is what tells tasks apart; a greenlet and a thread have a context of their own
too, which begins empty as a thread's local variables do. So the request
context follows wherever context variables do: into tasks, callbacks,
``to_thread``, and across the bridge.
"""

import contextvars
from typing import Any

_current: 'contextvars.ContextVar[Any]' = contextvars.ContextVar(
    'oslo_context')


class _Store:
    """Takes the place of the ``threading.local``.

    :param old: What it replaces; what was set there is still found.
    """

    def __init__(self, old: Any) -> None:
        self._old = old

    @property
    def context(self) -> Any:
        try:
            return _current.get()
        except LookupError:
            # Moved, not copied: all that comes later in this thread, or in
            # the greenlet of the hub, would find it too.
            value = self._old.context
            del self._old.context
            _current.set(value)
            return value

    @context.setter
    def context(self, value: Any) -> None:
        _current.set(value)

    @context.deleter
    def context(self) -> None:
        _current.set(None)


def follow() -> None:
    """Let the request context of oslo.context follow context variables.

    ``_request_store`` is private to oslo.context; it has no other way in.
    Where the name is missing, nothing is changed: the request context then
    belongs to the thread or green thread, and coroutines share one.

    Called at each crossing, before the context of the caller is copied.
    """
    # Not at the top: what it makes when it is imported has to be patched.
    from oslo_context import context

    store = getattr(context, '_request_store', None)
    if store is not None and not isinstance(store, _Store):
        store = _Store(store)
        setattr(context, '_request_store', store)
    # What the caller set before that follows it from here on.
    getattr(store, 'context', None)
