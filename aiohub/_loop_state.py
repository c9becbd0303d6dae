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

"""What an event loop of ours knows beside what asyncio's does.

In one object, for speed: CPython calls a method in 18 ns if the object has
fewer than 30 attributes, and in 32 if it has more, and the calls are asyncio's
own in each turn. Of the 30, asyncio's loop has up to 26. Nor in slots of the
loop: since CPython 3.13 an object that has slots beside its ``__dict__``
takes 56 ns.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any
import weakref

from aiohub import _spare_greenlets
from aiohub import _spare_threads

#: For :attr:`LoopState.ready`, where nobody knows.
SOMETHING: Sequence[object] = (None,)


@dataclasses.dataclass(slots=True, eq=False)
class LoopState:
    """The attribute ``state`` of :class:`aiohub.loop.EventLoop`."""

    # -- running

    #: The greenlet that runs the loop, and its callbacks.
    runs_in: Any = None
    #: Whether that is the greenlet of the hub, too.
    runs_in_hub: bool = True
    #: What the loop is to call in this turn: something, or nothing.
    ready: Any = SOMETHING
    #: Whether the hub may call what is in :attr:`ready`.
    calls_few: bool = False
    #: Whether ``call_soon()`` may put something there without asyncio: never
    #: in debug mode, in which asyncio notes who has called.
    calls_soon: bool = False
    #: Whether the loop has been given something since its turn began that
    #: :attr:`ready` does not show.
    needs_turn: bool = False
    #: Green tasks whose step the hub is to make next.
    woken_parks: list[Any] = dataclasses.field(default_factory=list)
    #: When a function has first begun in the loop's callbacks in this turn,
    #: and the green thread for the next; see _green_start.
    callbacks_began: float | None = None
    kept_thread: Any = None
    #: The green thread that a task awaits and has begun at once, meanwhile.
    awaited: Any = None
    #: Greenlets for the next tasks.
    spare_greenlets: _spare_greenlets.Spare = dataclasses.field(
        default_factory=_spare_greenlets.Spare)
    #: Green threads for the next ones; see _spare_threads.
    spare_threads: _spare_threads.Spare = dataclasses.field(
        default_factory=_spare_threads.Spare)
    #: Of a task that green code waits for; a
    #: :class:`~aiohub._callers_step.CallersStep`.
    callers_step: Any = None
    #: Whether the program makes its own tasks.
    has_task_factory: bool = False

    # -- threads and signals

    #: What ``run_in_executor()`` starts threads with.
    native_executor: Any = None
    #: Whether there is one, or one that the program has set.
    has_executor: bool = False
    #: The signals that the loop handles.
    signals: set[int] = dataclasses.field(default_factory=set)
    #: The wake-up descriptor that the loop has set, and the one before.
    wakeup_fd: int | None = None
    former_wakeup_fd: int = -1

    # -- the end, and forks

    #: Called with the loop when it ends, and when it has been closed.
    when_closed: set[Callable[[Any], object]] = dataclasses.field(
        default_factory=set)
    #: Whether tasks have been cancelled because the loop ends.
    is_ending: bool = False
    #: In a forked child, the tasks of the parent.
    inherited: 'weakref.WeakSet[Any]' = dataclasses.field(
        default_factory=weakref.WeakSet)
    #: Whether this is such a child.
    is_inherited: bool = False


def of(loop: Any) -> LoopState | None:
    """Return the state of a loop, None if the loop is not ours."""
    state = getattr(loop, 'state', None)
    return state if isinstance(state, LoopState) else None
