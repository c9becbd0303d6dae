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

"""The first step of a task that green code waits for, made at once.

A task asks its loop to call its first step in the next turn. Green code that
waits for a coroutine has nothing to do until then, and most coroutines that
it waits for have no reason to wait: so it makes that step itself (see
:mod:`aiohub._callers_step`), or has the hub make it before anything else.
"""

import contextvars
import sys
from typing import Any

import greenlet

from aiohub import _thrown

_getcurrent = greenlet.getcurrent
# Not what HubGreenlet makes of it.
_switch = greenlet.greenlet.switch

#: For how many seconds green code may go on in this way, at most, until the
#: hub makes a turn: others would not run meanwhile.
MOMENT = 0.0005


class FirstStep:
    """The first step of a task, which is to be made now.

    Dense: each call of a Python function takes 100 ns, of 7 us.

    :ivar task: The task, as soon as there is one.
    :ivar coroutine: What it runs.
    """

    __slots__ = ('task', 'coroutine', '_hub', '_context', '_green', '_begun',
                 '_made')

    task: Any
    coroutine: Any
    _hub: Any
    _context: Any
    _green: greenlet.greenlet | None
    _begun: bool
    _made: bool

    def make(self) -> None:
        """Make the step, or have it made; there is a task then.

        The hub makes it if others have waited for some time, if the hub is
        not where control can come back from, and if a new greenlet is needed:
        that would have the recursion depth of who waits, for good.
        """
        hub = self._hub
        step = hub.loop.state.callers_step
        spares = step.spares
        if (step.back is not None
                or not (spares.nested or spares.natives
                        or spares.left and spares.sort_out())
                or hub.clock() >= hub.fired + MOMENT):
            self._have_it_made()
            return
        green = _getcurrent()
        woken_parks = hub.woken_parks
        if not woken_parks or woken_parks[0] is not step:
            woken_parks.insert(0, step)
        try:
            step.green = step.back = green
            self._step()
        except BaseException as exc:
            self._make_sure_of_it()
            if not self._has_raised(exc):
                # Ctrl-C came just before the step, or after it.
                step.thrown = None
                raise
            leaves = isinstance(exc, hub.SYSTEM_EXCEPTIONS)
            if leaves and green.parent is not None:
                # The main greenlet gets it first, as from the hub. Who waits
                # has it from the task.
                hub.schedule_call_global(0, _thrown.raise_, exc)
                if step.thrown is None:
                    hub.call_next(self._resume)
                    self._green = green
        finally:
            step.green = step.back = None
        if step.thrown is not None:
            step.raise_thrown()
        if self._green is not None:
            self._wait()

    def _have_it_made(self) -> None:
        """Have the hub make the step, and wait for that.

        Orders of events. The step comes to its end, or to where the task
        waits: the hub switches back, at once, or in its next turn. The step
        kills who waits here, or another one is killed in it, so that control
        comes back to the hub in the middle of it: what is thrown is raised
        here, when the task is there to be cancelled, and nobody switches to
        who has left. The step ends with what is for the main greenlet: that
        gets it, and who waits goes on in the next turn. Something is thrown
        into who waits before the step is made, as Ctrl-C does: the loop makes
        it, with the cancellation that comes.
        """
        hub = self._hub
        green = self._green = _getcurrent()
        hub.woken_parks.append(self)
        thrown: BaseException | None = None
        try:
            if getattr(green, 'switch_out', None) is None:
                # What hub.switch() does for who may come here; it takes
                # 250 ns more.
                _switch(hub.greenlet)
            # A greenlet may be switched to by anybody.
            while not self._made:
                hub.switch()
        except BaseException as exc:
            thrown = exc
            self._make_sure_of_it()
            while self.task is None:
                # The hub is in the step, and goes on when it gets control.
                try:
                    hub.switch()
                except BaseException as newer:
                    thrown = newer
            raise thrown
        finally:
            # The traceback of what it raises refers to this frame.
            self._green = thrown = None

    def _wait(self) -> None:
        """Wait for :meth:`_resume`."""
        try:
            # A greenlet may be switched to by anybody.
            while not self._made:
                self._hub.switch()
        finally:
            self._green = None

    def step_now(self) -> None:
        """Make the step; the hub calls it."""
        if self._begun:
            return
        hub = self._hub
        try:
            self._step()
        except BaseException:
            # It is for the main greenlet, and the task has it, too.
            self._make_sure_of_it()
            hub.call_next(self._resume)
            raise
        if hub.clock() < hub.fired + MOMENT:
            self._made = True
            if self._green is not None:
                self._green.switch()
        else:
            hub.call_next(self._resume)

    def _step(self) -> None:
        """Begin."""
        raise NotImplementedError

    def _has_raised(self, error: BaseException) -> bool:
        """Return whether it is what the task has ended with."""
        task = self.task
        return (task.done() and not task.cancelled()
                and task.exception() is error)

    def _make_sure_of_it(self) -> None:
        """Have the loop make the step, if something was faster than we."""
        if not self._begun:
            self._begun = True
            self._leave_to_loop()

    def _leave_to_loop(self) -> None:
        """Have the loop make the step in its next turn."""
        raise NotImplementedError

    def _resume(self) -> None:
        self._made = True
        if self._green is not None:
            self._green.switch()


class EagerStep(FirstStep):
    """Has the hub make the task, which begins eagerly.

    What ends in that step is never entered in the set of all tasks, which
    takes an eighth of the time of all.

    :param hub: The hub of this thread.
    :param kind: The class of the task.
    :param coroutine: What it is to run.
    """

    __slots__ = ('_kind',)

    def __init__(self, hub: Any, kind: Any, coroutine: Any) -> None:
        self._hub = hub
        self._kind = kind
        self._context = contextvars.copy_context()
        self._green = self.task = None
        self._begun = self._made = False
        self.coroutine = coroutine

    def _step(self) -> None:
        self._begun = True
        self.coroutine.first = self
        try:
            self.task = self._kind(
                self.coroutine, loop=self._hub.loop, context=self._context,
                eager_start=True)
        except BaseException as exc:
            if self.task is None:  # nothing has begun
                self.task = self._hub.loop.create_future()
                self.task.set_exception(exc)
            # Otherwise the task has it, although the constructor does not
            # return that.
            raise
        finally:
            self.coroutine.first = None

    def _leave_to_loop(self) -> None:
        self.task = self._kind(
            self.coroutine, loop=self._hub.loop, context=self._context)


class CalledStep(FirstStep):
    """Makes the task, and keeps what that asks its loop to call for the hub.

    There is no eager start in Python 3.11.

    :param hub: The hub of this thread.
    :param kind: The class of the task.
    :param coroutine: What it is to run.
    """

    __slots__ = ('_call',)

    def __init__(self, hub: Any, kind: Any, coroutine: Any) -> None:
        self._hub = hub
        self._call: Any = None
        self._context = self._green = None
        self._begun = self._made = False
        self.coroutine = coroutine
        loop = hub.loop
        # What a task calls to be run; there is no other way to be told.
        loop.call_soon = self._call_soon
        try:
            self.task = kind(coroutine, loop=loop)
        finally:
            del loop.call_soon
        if getattr(self._call, '__self__', None) is not self.task:
            # That of another one: a signal handler has made it meanwhile.
            call, self._call = self._call, None
            if call is not None:
                loop.call_soon(call, context=self._context)

    def _call_soon(self, callback: Any, *args: Any, **kwargs: Any) -> Any:
        if self._call is None and hasattr(
                getattr(callback, '__self__', None), 'get_coro'):
            self._call = callback
            self._context = kwargs['context']
            return None
        # Of a signal handler, or of an object that happens to be collected.
        loop = self._hub.loop
        return type(loop).call_soon(loop, callback, *args, **kwargs)

    def make(self) -> None:
        """Have the hub make the step; see :class:`FirstStep`."""
        if self._call is not None:
            try:
                super().make()
            finally:
                # The hub is in step_now() until it gets control, and what
                # these refer to would be kept until then.
                self._call = self._context = None

    def _step(self) -> None:
        self._begun = True
        self._context.run(self._call)

    def _leave_to_loop(self) -> None:
        self._hub.loop.call_soon(self._call, context=self._context)


#: Which of them there is.
KIND: type[CalledStep] | type[EagerStep] = (
    CalledStep if sys.version_info < (3, 12) else EagerStep)
