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


"""The greenlets of tasks that have ended, for the next tasks.

Each greenlet that begins to run makes Python map 16 KiB for its frames, and
unmap them when it ends: two system calls, which take longer than all else that
a task of one step does.
"""

import sys
from typing import Any
import weakref

import greenlet

from aiohub import _task_greenlet


class Spare:
    """Those of a loop: as many as were needed of late."""

    #: How many at most; they take 7 KiB each.
    MOST = 10000
    #: After how many tasks half of those that were not needed are ended.
    PERIOD = 1024

    def __init__(self) -> None:
        #: The native switch of each.
        self.natives: list[_task_greenlet.Native] = []
        #: Those that refer to another greenlet; see :meth:`release`.
        self.nested: list[_task_greenlet.Native] = []
        #: Those that somebody referred to at the end of their tasks.
        self.left: list[_task_greenlet.Native] = []
        # The fewest that there were in this period, and its tasks.
        self._fewest = 0
        self._tasks = 0

    def __len__(self) -> int:
        return len(self.natives) + len(self.nested) + len(self.left)

    def clear(self) -> None:
        """End them all."""
        natives = [*self.natives, *self.nested, *self.left]
        self.natives, self.nested, self.left = [], [], []
        self._fewest = 0
        for native in natives:
            _end(native)

    def take(self) -> _task_greenlet.Native:
        """Return the native switch of one that is not in use."""
        if self.nested:
            return self.nested.pop()
        natives = self.natives
        if natives or self.left and self.sort_out():
            native = natives.pop()
            if len(natives) < self._fewest:
                self._fewest = len(natives)
            return native
        green = _task_greenlet.TaskGreenlet()
        current = greenlet.getcurrent()
        _task_greenlet.step_from(green, current)
        green.state.below = below(current)
        native = green.native_switch
        native()
        return native

    def give_back(self, native: Any,
                  caller: greenlet.greenlet | None = None) -> None:
        """Keep a greenlet that has made its last step, or end it.

        Who has seen it in a task must not see it in another: it is kept if
        nobody refers to it any more, as the variables of a
        ``threading.local`` do, and nobody has set attributes of it. If
        somebody does, :meth:`sort_out` looks once more.

        :param native: The only reference to it, but for those of others.
        :param caller: Who makes a first step; see :mod:`_callers_step`.
        """
        self._tasks += 1
        if self._tasks >= self.PERIOD:
            self._tasks = 0
            for _ in range(self._fewest // 2):
                _end(self.natives.pop())
            self._fewest = len(self.natives)
        green: _task_greenlet.TaskGreenlet = native.__self__
        state = green.state
        parent = green.parent
        if self.nested and _getrefcount(native.__self__) != _OURS:
            self.release(caller)
        if self.left:
            self.sort_out()
        if (state.below < DEEP and not _getweakrefcount(green)
                and not green.__dict__ and parent is state.stepper):
            is_free = _getrefcount(native.__self__) == _OURS
            if parent is caller or type(parent) is _TaskGreenlet:
                if is_free:
                    green.gr_context = None
                    self.nested.append(native)
                    return
            elif len(self.natives) < self.MOST:
                green.gr_context = None
                if is_free:
                    self.natives.append(native)
                else:
                    state.is_over = True
                    self.left.append(native)
                return
        del green
        _end(native)

    def sort_out(self) -> bool:
        """Look again at those that somebody referred to; end the others.

        Whoever wakes a task from a green call refers to its greenlet until
        that call is over, and if the task comes to its end in this step, then,
        too: a timer of the hub, which calls its ``switch()``. Nobody does any
        more when the next task begins or ends.

        Orders of events. The next task begins or ends before that call is
        over, as its function makes one: the greenlet is ended. It begins in a
        greenlet that was started by the one that has ended, and has it as its
        parent: it cannot be ended there, but later. Somebody kills or wakes
        it before: its task has ended, and nothing happens. The loop is closed,
        or forks, before: it is one of the spare ones there.

        :returns: Whether there is one now that is not in use.
        """
        left, self.left = self.left, []
        native: Any
        for native in left:
            green: _task_greenlet.TaskGreenlet = native.__self__
            green.state.is_over = False
            if (_getrefcount(native.__self__) == _OURS
                    and not _getweakrefcount(green)
                    and not green.__dict__):
                self.natives.append(native)
            elif not _end(native):
                green.state.is_over = True
                self.left.append(native)
        return bool(self.natives)

    def release(self, caller: greenlet.greenlet | None = None) -> None:
        """Have no spare greenlet refer to one that others are done with.

        One that has made its last step in the step of another task, where it
        has begun eagerly, refers to that task's greenlet until it is switched
        to again: the call that has left it is still going on. And so does one
        whose step was made by who waits for the task.

        :param caller: As for :meth:`give_back`.
        """
        nested, self.nested = self.nested, []
        current = greenlet.getcurrent()
        if type(current) is _TaskGreenlet or current is caller:
            natives = self.nested
        else:
            natives = self.natives
        native: Any
        for native in nested:
            state = native.__self__.state
            _task_greenlet.step_from(native.__self__, current)
            state.in_step = True
            native(bool, None)
            state.in_step = False
            state.outcome = _task_greenlet.NOTHING
            if state.error is not None:
                raise state.error  # KeyboardInterrupt came just there
            natives.append(native)


def _end(native: Any) -> bool:
    """End a greenlet; return whether that can be done here."""
    green: _task_greenlet.TaskGreenlet = native.__self__
    try:
        green.parent = greenlet.getcurrent()
    except ValueError:
        return False  # in a child of it, that its task has left behind
    green.state.in_step = True
    native(None, None)
    # Who still refers to it may switch to it, which then does nothing.
    green.state.in_step = False
    return True


#: As many frames are below one that makes a task, in a callback, in a green
#: thread or in another task, when nothing calls itself.
_SHALLOW = 50
#: What :func:`below` returns where there may be more than twice as many.
DEEP = 3


def below(starter: greenlet.greenlet) -> int:
    """Return how many frames are below a greenlet that starts here, in 50s.

    Each begins at the recursion depth of who starts it, for good.

    :param starter: The current greenlet.
    """
    count = 1
    if type(starter) is _task_greenlet.TaskGreenlet:
        # A task that begins eagerly, in a step of another.
        count += starter.state.below
    elif _task_greenlet.driver_of(starter) is not None:
        return DEEP  # nobody knows where the program has started that one
    try:
        sys._getframe(_SHALLOW)
    except ValueError:
        return min(count, DEEP)
    return DEEP


def _count_ours(native: Any) -> int:
    green = native.__self__  # as who asks has one
    count = _getrefcount(native.__self__)
    del green
    return count


_TaskGreenlet = _task_greenlet.TaskGreenlet
_getrefcount = sys.getrefcount
_getweakrefcount = weakref.getweakrefcount
#: How many there are when nobody else has one; the interpreter decides. All
#: ask for an attribute: as of 3.14 the same argument may be a reference or
#: not, as the compiler sees fit (gh-130704).
_OURS = _count_ours(_task_greenlet.TaskGreenlet().native_switch)
