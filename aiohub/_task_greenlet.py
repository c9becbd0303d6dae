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

"""The greenlets that coroutines of green tasks run in.

See :mod:`aiohub.tasks` for what they are there for; here is what does not
depend on asyncio.

The garbage collector does not look into a greenlet that has begun. A task,
its coroutine and the future it waits for are often a cycle that nobody else
refers to, so between two steps a greenlet must not refer to any of them, and
its frames not even to itself: it could never be freed.
"""

from collections.abc import Callable
import functools
from typing import Any

from eventlet import greenthread
from eventlet import hubs
from eventlet.hubs import timer
import greenlet

# What TaskGreenlet overrides.
switch = greenlet.greenlet.switch


def throw(green: greenlet.greenlet, error: BaseException) -> Any:
    """Switch to *green* and raise *error* there, with the traceback it has.

    Without, greenlet's ``throw()`` drops that.
    """
    return _native_throw(green, type(error), error, error.__traceback__)


_native_throw = greenlet.greenlet.throw
_is_dead: Callable[[greenlet.greenlet], bool] = (
    greenlet.greenlet.dead.__get__)
_is_active: Callable[[greenlet.greenlet], bool] = greenlet.greenlet.__bool__

#: In place of what a step gave: nothing yet.
NOTHING: Any = object()


class State:
    """What a task's greenlet shares with who makes its steps.

    :ivar in_step: Whether the task makes a step: control is in its greenlet,
        or went from there to another one.
    :ivar outcome: What the step gave, for the task to wait for.
    :ivar error: With what the coroutine has ended.
    :ivar stepper: Who makes the step, to which control goes back: it is the
        greenlet's parent, too.
    :ivar driver: A weak reference to the task's coroutine object.
    :ivar below: How many frames are below its own; see :func:`below`.
    :ivar is_over: Whether the task has ended, and who still refers to the
        greenlet is to find it dead.
    """

    __slots__ = ('in_step', 'outcome', 'error', 'stepper', 'driver', 'below',
                 'is_over')

    def __init__(self) -> None:
        self.in_step = False
        self.outcome: Any = NOTHING
        self.error: BaseException | None = None
        self.stepper: greenlet.greenlet
        self.driver: Callable[[], Any]
        self.below = 0
        self.is_over = False


#: Switches to a :class:`TaskGreenlet`, whatever its task does.
Native = Callable[..., Any]


class TaskGreenlet(greenlet.greenlet):
    """The greenlet of a task: what ``eventlet.getcurrent()`` is in it."""

    __slots__ = ('state',)

    def __init__(self) -> None:
        self.state = State()
        super().__init__(functools.partial(_run, self.state))

    @property
    def dead(self) -> bool:
        """Whether its task has ended."""
        return self.state.is_over or _is_dead(self)

    def __bool__(self) -> bool:
        return not self.state.is_over and _is_active(self)

    @property
    def native_switch(self) -> Native:
        """Switches to this greenlet, whatever the task does."""
        native: Native = super().switch
        return native

    def switch(self, *args: Any, **kwargs: Any) -> Any:
        """Wake the task from a green call; see greenlet's.

        It goes on at once, in a step of its task. If it awaits, nothing
        happens. In its step this is a real switch: greenlets that the
        coroutine has started come back in this way.
        """
        if self.state.in_step:
            return switch(self, *args, **kwargs)
        driver = self.state.driver()
        if driver is not None:
            driver.wake(self, args, kwargs)
        _leave(driver)

    def throw(self, *args: Any) -> Any:
        """Raise an exception where the task waits; see greenlet's.

        In a green call at once. In an ``await``, what is awaited is
        cancelled first, and it is raised when that has ended.
        """
        driver = self.state.driver()
        error = exception(*args)
        if self.state.in_step and (driver is None or driver.is_current()):
            if driver is not None:
                driver.note_kill(error)
            return throw(self, error)
        if driver is not None:
            driver.interrupt(error)
        _leave(driver)

    def give_error(self, *args: Any) -> None:
        """Wake the task from a green call with an error as its result."""
        driver = self.state.driver()
        if self.state.in_step:
            throw(self, exception(*args))
        elif driver is not None:
            driver.give_error(self, exception(*args))

    def kill(self, *throw_args: Any) -> None:
        """Cancel the task; see ``eventlet.kill()``.

        ``GreenletExit``, or what is given, is raised where the task waits.
        A task that ends with ``GreenletExit`` is cancelled.
        """
        greenthread.kill(self, *throw_args)


class ThrowTimer(timer.Timer):
    """A timer that calls ``throw()`` of a greenlet of a task.

    ``eventlet.Timeout`` makes them. What has been thrown may have to wait
    until it can be raised, and the Timeout be cancelled until then.

    :ivar given_up: Whether it was cancelled, after it was due, too.
    :ivar error: What it has thrown.
    :ivar cancellations: How often the task had been cancelled until then.
    """

    def __init__(self, seconds: float, green: greenlet.greenlet,
                 *args: Any) -> None:
        super().__init__(seconds, self._throw, green, *args)
        self.given_up = False
        self.error: BaseException | None = None
        self.cancellations = 0

    # eventlet's shows the callback, which shows this.
    __repr__ = object.__repr__

    def cancel(self) -> None:
        self.given_up = True
        super().cancel()

    def _throw(self, green: greenlet.greenlet, *args: Any) -> None:
        driver = driver_of(green)
        if driver is None:
            green.throw(*args)
        else:
            driver.throw_into(green, self, *args)


def throw_timer(seconds: float, throw: Any,
                args: tuple[Any, ...]) -> ThrowTimer | None:
    """Return the timer that is to call a ``throw()`` of a task's greenlet.

    :param throw: What is to be called. None is returned if it is not that.
    """
    green = getattr(throw, '__self__', None)
    if (isinstance(green, greenlet.greenlet) and throw.__name__ == 'throw'
            and driver_of(green) is not None):
        return ThrowTimer(seconds, green, *args)
    return None


def new_timer(seconds: float, call: Callable[..., Any],
              *args: Any, **kwargs: Any) -> timer.Timer:
    """Return a timer: what ``hub.schedule_call_global()`` makes."""
    if args:
        throws = throw_timer(seconds, call, args)
        if throws is not None:
            return throws
    return timer.Timer(seconds, call, *args, **kwargs)


def _leave(driver: Any) -> None:
    """Do what a switch to another greenlet does to the caller.

    It goes on when somebody wakes it, which it has seen to before:
    eventlet.kill() does. The hub goes on at once, and so does a callback that
    the hub runs.
    """
    hub = hubs.get_hub()
    current = greenlet.getcurrent()
    if current is not hub.greenlet and (
            driver is None or current is not driver.loop.state.runs_in
            or not driver.loop.state.runs_in_hub):
        hub.switch()
        if driver is not None and not driver.loop.state.runs_in_hub:
            # It was woken in the turn in which the loop was, and before it.
            # eventlet's kill() promises that the other one has seen it.
            hub.schedule_call_global(0, current.switch)
            hub.switch()


def exception(typ: Any = greenlet.GreenletExit, value: Any = None,
              trace: Any = None) -> BaseException:
    """Return the exception that the arguments of a ``throw()`` mean."""
    error: BaseException
    if isinstance(typ, BaseException):
        error = typ
    elif isinstance(value, BaseException):
        error = value
    elif value is None:
        error = typ()
    else:
        error = typ(*(value if isinstance(value, tuple) else (value,)))
    return error if trace is None else error.with_traceback(trace)


def _run(state: State) -> None:
    """Make the steps of coroutines, one after the other.

    It is switched to with ``send`` or ``throw`` of a coroutine, or None to
    end, and its argument. Not for the first time: what that gives is kept
    until the greenlet ends.
    """
    function, argument = switch(state.stepper)
    while function is not None:
        try:
            state.outcome = function(argument)
        except StopIteration as exc:
            # Who makes the step takes the value out of it, and drops it.
            state.error = exc
        except BaseException as exc:
            # Without this frame, which goes on.
            assert exc.__traceback__ is not None
            state.error = exc.with_traceback(exc.__traceback__.tb_next)
        function = argument = None
        if not state.in_step:
            _rejoin(state)
        try:
            step = switch(state.stepper)
        except greenlet.GreenletExit:
            return  # nobody refers to it any more
        except BaseException as exc:
            step = _astray(state, exc)
        if not state.in_step:
            step = _astray(state, None)
        function, argument = step
        step = None


def _rejoin(state: State) -> None:
    """Have the task make a step if it was woken outside of one."""
    driver = state.driver()
    if driver is not None:
        driver.rejoin()


def _astray(state: State, error: BaseException | None) -> Any:
    """Send control back, which came when a child of the greenlet ended.

    A greenlet that was started in a coroutine, and went on after that, has
    this one as its parent. It ends in the hub, as a green thread does.

    :param error: With what it ended.
    :returns: The next step.
    """
    while True:
        hub = hubs.get_hub().greenlet
        try:
            if error is None:
                step = switch(hub)
            else:
                step = throw(hub, error)
        except greenlet.GreenletExit:
            raise
        except BaseException as exc:
            error = exc
        else:
            error = None
            if state.in_step:
                return step


def driver_of(green: greenlet.greenlet) -> Any:
    """Return what drives the task that a greenlet belongs to, if any.

    A greenlet that was started in a coroutine has the task's greenlet among
    its ancestors.
    """
    node: greenlet.greenlet | None = green
    while node is not None:
        if type(node) is TaskGreenlet:
            return node.state.driver()
        node = node.parent
    return None


def step_from(green: TaskGreenlet, stepper: greenlet.greenlet) -> None:
    """Have *green* come back to *stepper* at the end of a step."""
    green.parent = green.state.stepper = stepper
