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

"""Green tasks: tasks whose coroutine may make green calls.

A task drives its coroutine: it calls ``send()``, waits for the future that
comes back, and calls again. Here it is given a :class:`GreenCoroutine`, which
makes each of these *steps* in a greenlet of its own: it switches into that
greenlet, which steps the real coroutine and comes back with what that yielded,
returned or raised. So the task sees an ordinary coroutine.

When the coroutine makes a green call, ``hub.switch()`` asks the
:class:`GreenCoroutine` to wait. It gives the task a ``Park`` to wait for, in
place of a future. Whoever wakes a greenlet calls its ``switch()`` or
``throw()``, as eventlet always does, and those of a task's greenlet have its
task make the next step, which then does the real switch. So the coroutine only
ever runs inside of steps of its task, with ``asyncio.current_task()``, the
context variables and the cancellation that asyncio promises; and as eventlet
promises, it runs at once when it is woken.

Greenlets that a library starts in a coroutine (SQLAlchemy, awaitlet) belong to
its task: a green call in one of them parks the task, too. As those are of
another class, they are woken outside of a step, and have one made for them
before they go on.
"""

import asyncio
from collections.abc import Callable
import functools
import types
from typing import Any
import weakref

from eventlet import hubs
import greenlet

from aiohub import _park
from aiohub import _stand_in
from aiohub import _task_greenlet
from aiohub import _thrown
from aiohub import exceptions

#: Whether tasks are green; :func:`aiohub.setup` reads it from the config. It
#: stays what it is when this module is loaded again.
enabled: bool = globals().get('enabled', True)

_NOTHING = _task_greenlet.NOTHING
_getcurrent = greenlet.getcurrent
# Not what TaskGreenlet makes of them.
_switch = _task_greenlet.switch
_throw = _task_greenlet.throw


class GreenCoroutine(_stand_in.StandIn):
    """Makes the steps of a coroutine in a greenlet; what a task is given.

    :param coro: The coroutine.
    :param loop: The loop of the task.
    """

    __slots__ = ('loop', '_send', '_state', '_native', '_resume', '_awaits',
                 '_later', '_task', '_cancelling', '_killed', 'waiter',
                 'first', '__weakref__')

    def __init__(self, coro: Any, loop: Any) -> None:
        self._coro = coro
        self.loop = loop
        try:
            self.__name__ = coro.__name__
            self.__qualname__ = coro.__qualname__
        except AttributeError:
            pass  # one of another kind need not have any
        self._send = coro.send
        #: How to resume: called with what the step is to do, a function and
        #: its argument. None before the first step and after the last.
        self._resume: Callable[[Any, Any], Any] | None = None
        self.park = None
        self._later: _thrown.Later | None = None
        #: Whether it got a ``GreenletExit``.
        self._killed = False
        #: Who is to be woken in the turn after it has ended, if anybody.
        self.waiter: Any = None
        #: Who makes the task, while it begins eagerly: told if it fails.
        self.first: Any = None
        # The rest is set when there is a greenlet.

    # -- what a task calls

    def send(self, value: Any) -> Any:
        """Make a step; see :pep:`492`."""
        stepper = _getcurrent()
        resume = self._resume or self._start(stepper)
        state = self._state
        if stepper is not state.stepper:
            _task_greenlet.step_from(self._greenlet, stepper)
        state.in_step = True
        try:
            resume(self._send, value)
        except BaseException as exc:
            _thrown.complain(hubs.get_hub(), self.loop, exc)
        outcome = state.outcome
        if outcome is _NOTHING:
            if state.error is None:
                self._let_others_wait()
            state.in_step = False
            if state.error is not None:
                raise self._end()
            # The coroutine has switched to some other greenlet, which came
            # here when it ended or waited. Whoever wakes the coroutine calls
            # switch() of its greenlet.
            outcome = (self._new_park(self._greenlet)
                       if state.outcome is _NOTHING else state.outcome)
        state.in_step = False
        state.outcome = _NOTHING
        self._awaits: Any = outcome
        if self._later:
            self._interrupt_again()
        return outcome

    def _let_others_wait(self) -> None:
        """Have the tasks wait that have begun in this step.

        One that has begun eagerly has switched to another greenlet, which
        came here. That task waits first: its send() goes on in our greenlet.
        """
        state = self._state
        while (state.outcome is _NOTHING and state.error is None
               and asyncio.current_task(self.loop) is not self._task):
            try:
                self._native()
            except BaseException as exc:
                _thrown.complain(hubs.get_hub(), self.loop, exc)

    def throw(self, typ: Any, value: Any = None, trace: Any = None) -> Any:
        """Make a step that begins with an exception; see :pep:`492`."""
        try:
            if self._resume is None:
                # It has not begun, or has ended: nothing of it runs.
                return self._coro.throw(typ)
            self._resume = functools.partial(
                self._resume_throwing, self._resume,
                _task_greenlet.exception(typ, value, trace))
            return self.send(None)
        finally:
            # The traceback of what comes out refers to this frame.
            del typ, value, trace

    def _resume_throwing(
        self, resume: Callable[[Any, Any], Any], error: BaseException,
        *_: Any,
    ) -> None:
        self._resume = resume
        resume(self._coro.throw, error)

    def _start(self, stepper: greenlet.greenlet) -> Any:
        native: Any = self.loop.state.spare_greenlets.take()
        self._native = self._resume = native
        green: _task_greenlet.TaskGreenlet = native.__self__
        state: Any = green.state
        self._state = state
        state.driver = weakref.ref(self)
        # That of the step, which is the task's.
        green.gr_context = stepper.gr_context
        self._awaits = None
        # Until it ends. As a weak reference, it would take 1,200 instructions.
        self._task: Any = asyncio.current_task(self.loop)
        return native

    @property
    def _greenlet(self) -> _task_greenlet.TaskGreenlet:
        # Not kept: Spare.give_back() counts who refers to it.
        native: Any = self._native
        green: _task_greenlet.TaskGreenlet = native.__self__
        return green

    def _end(self) -> BaseException:
        """Let go of the greenlet; return what the coroutine ended with."""
        error: BaseException | None = self._state.error
        self._state.error = None
        later, native, task = self._later, self._native, self._task
        self._native = self._state = self._awaits = None  # del takes longer
        self._resume = self.park = self._task = None
        state = self.loop.state
        state.spare_greenlets.give_back(native, state.callers_step.green)
        if self.waiter is not None:
            # Its turn comes after this step, and so when the task is done.
            self.waiter.wake()
        if later is None and type(error) is StopIteration:
            return error
        self._later = None
        if self.first is not None:
            self.first.task = task
        assert error is not None
        error = _thrown.undisguise(error)
        if self._killed and _thrown.is_exit(error):
            cancelled = asyncio.CancelledError()
            cancelled.__cause__ = error
            return cancelled
        if later and isinstance(error, StopIteration):
            # As asyncio does with a task that is cancelled while it makes its
            # last step.
            missed = later.take_missed(
                0 if task is None else task.cancelling())
            if missed is not None:
                return missed
        return error

    # -- green calls

    def wait(self, current: greenlet.greenlet) -> Any:
        """Wait for a wake-up, in a green call; see ``hub.switch()``.

        Orders of events. It is woken with ``TaskGreenlet.switch()``, by the
        hub: the task makes a step at once, and that goes on here. The task
        is cancelled: the step raises here. It is cancelled, then woken,
        before that step: it goes on with what it was woken with, which may
        be an item of a queue, and the cancellation is raised where it waits
        next. *current* is not the task's greenlet but a child of it: then it
        is woken outside of a step, and has the task make one.

        :param current: The greenlet that waits: the task's, or another that
            belongs to it.
        """
        state = self._state
        if not state.in_step:
            self.rejoin()
        elif not self.is_current():
            # To park this task would take the other's step for its own, and
            # leave asyncio with a task that never ends its step.
            raise exceptions.AiohubError(
                'A task that is not green has begun eagerly in a step of '
                'another task, and makes a green call there. Use Task and '
                'eager_task_factory as they are in asyncio after aiohub has '
                'made its event loop.')
        state.outcome = self._new_park(current)
        try:
            return _switch(state.stepper)
        except greenlet.GreenletExit:
            # It may have been thrown into a child, which is no TaskGreenlet.
            self._killed = True
            raise
        finally:
            if not state.in_step:
                self.rejoin()

    def can_wait(self) -> bool:
        """Whether :meth:`wait` can be called: the task is at a step or can be.

        It cannot while it awaits: then a greenlet that belongs to it has
        gone on alone.
        """
        return self._resume is not None and (
            self._state.in_step or self.park is not None)

    def rejoin(self) -> None:
        """Have the task make a step that goes on here."""
        park = self.park
        if park is not None:
            park.wake_from_child(_getcurrent())
            while not self._state.in_step:
                _switch(hubs.get_hub().greenlet)

    def _new_park(self, current: greenlet.greenlet) -> _park.Park:
        park = self.park = _park.Park(self, current, self.loop)
        self._resume = park.resume
        return park

    def unpark(self) -> None:
        """Be in a step again; the park calls it."""
        self.park = None
        self._resume = self._native

    def wake(self, green: greenlet.greenlet, args: tuple[Any, ...],
             kwargs: dict[str, Any]) -> None:
        """Wake the task if *green* is in a green call."""
        park = self.park
        if park is not None and park.greenlet is green:
            park.wake(functools.partial(_switch, green, *args, **kwargs))

    def give_error(self, green: greenlet.greenlet,
                   error: BaseException) -> None:
        """Wake the task with a result that is to be raised.

        If it has been cancelled it does not get that: as with the exception
        of a future, which is for this wait and no other.
        """
        park = self.park
        if park is not None and park.greenlet is green and not park.done():
            self.note_kill(error)
            park.wake(functools.partial(_throw, green, error))

    def interrupt(self, error: BaseException, timer: Any = None) -> None:
        """Raise *error* where the task waits.

        :param timer: The timer that does it. What it has raised is dropped
            if it is cancelled before the task has got that.
        """
        self.note_kill(error)
        park = self.park
        if self._resume is not None and self._state.in_step:
            # See is_current(). There is nothing else to wake it with.
            if self._task is not None:
                self._task.cancel()
        elif park is not None:
            park.wake(functools.partial(
                self._raise_in, park.greenlet, error), error, timer)
        elif self._resume is None:
            pass  # it has ended
        elif self._cancel_awaited() and self._resume is self._native:
            self._resume = functools.partial(
                self._raise_at_await, error, timer)
        else:
            # What is awaited ends already, since it was cancelled or with a
            # result, or another is on its way: that comes first, not alone.
            self.put_off(error, timer)

    def _cancel_awaited(self) -> bool:
        """Cancel what is awaited; return whether that may end it.

        Again if it was before, as asyncio does: it may have gone on.
        """
        awaited = self._awaits
        if self._resume is self._native:
            # How often the task was cancelled by others. In an await of
            # nothing, as of asyncio.sleep(0), nothing is cancelled here.
            cancelling = -1 if awaited is None else self.cancellations()
            if cancelling > 0 and _thrown.is_cancelled(awaited):
                cancelling = -1
            self._cancelling = cancelling
        return awaited is None or not awaited.done() and bool(awaited.cancel())

    def throw_into(self, green: greenlet.greenlet, timer: Any,
                   *args: Any) -> None:
        """Do what a timer does that was to call ``green.throw``.

        If *green* is one that belongs to the task, it is outside of any step,
        and may wait for the task. So this is raised where the task waits, and
        from there gets to *green*.
        """
        if self._resume is None or (
                self._state.in_step and self.is_current()):
            green.throw(*args)
        else:
            timer.error = _task_greenlet.exception(*args)
            timer.cancellations = self.cancellations()
            self.interrupt(timer.error, timer)

    def is_current(self) -> bool:
        """Whether the task is the one that makes a step now.

        It need not be while this one seems to be in a step. With
        ``greenback.ensure_portal()`` the greenlet of the task switches to
        another one below, which has the task wait before the step has ended;
        and a task that begins eagerly does so in the step of another task.
        """
        return asyncio.current_task(self.loop) is self._task

    def note_kill(self, error: BaseException) -> None:
        """Note that *error* is about to be raised in the task."""
        if isinstance(error, greenlet.GreenletExit):
            self._killed = True

    def _raise_in(self, green: greenlet.greenlet,
                  error: BaseException) -> None:
        """Resume *green* with *error*, in its green call."""
        if green is not self._greenlet:
            error = _thrown.survive_greenlet(error)
        _throw(green, error)

    def _raise_at_await(self, error: BaseException, timer: Any,
                        function: Callable[[Any], Any],
                        argument: Any) -> None:
        """Resume with *error*, when what was awaited has ended."""
        self._resume = self._native
        if function == self._send:
            # Of one that was cancelled twice the result is not lost.
            is_late = self._cancelling < 0 and self._awaits is not None
        elif isinstance(argument, asyncio.CancelledError):
            # asyncio.timeout() takes the first that comes for its own.
            is_late = self.cancellations() > self._cancelling
        else:
            # What the cleanup raises replaces it, as out of any finally.
            self._native(function, argument)
            return
        if is_late:
            self.put_off(error, timer)
            self._native(function, argument)
        else:
            self._native(self._coro.throw, _thrown.at_await(error))

    def put_off(self, error: BaseException, timer: Any = None,
                cancellations: int | None = None) -> None:
        """Raise *error* where the task waits next.

        :param timer: As for :meth:`interrupt`.
        :param cancellations: How often the task had been cancelled when it
            came; None for now.
        """
        if self._later is None:
            self._later = _thrown.Later()
        if cancellations is None:
            cancellations = self.cancellations()
        self._later.add(error, timer, cancellations)

    def _interrupt_again(self) -> None:
        assert self._later is not None
        late = self._later.take(self.cancellations())
        if late is not None:
            self.interrupt(late.error, late.timer)

    def cancellations(self) -> int:
        """How often the task was cancelled, and not uncancelled."""
        task = self._task
        return 0 if task is None else task.cancelling()


class _OfOtherKind(GreenCoroutine):
    """The same for Cython's, for generators, and for those of libraries."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coro, name)


#: What a green task is given.
KINDS = frozenset((GreenCoroutine, _OfOtherKind))


def green(coro: Any, loop: Any) -> Any:
    """Return what a green task gets; *coro* if it is that, or none."""
    kind = type(coro)
    if kind is types.CoroutineType:
        return GreenCoroutine(coro, loop)
    if kind in KINDS or not asyncio.iscoroutine(coro):
        return coro
    return _OfOtherKind(coro, loop)
