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

"""What a green task waits for while its coroutine is in a green call."""

import asyncio
from collections.abc import Callable
import contextvars
import functools
from typing import Any

from eventlet import hubs
import greenlet

from aiohub import _task_greenlet


class Park:
    """What a task waits for while its coroutine is in a green call.

    To the task it is a future. But it makes the next step at once when the
    coroutine is woken, and not in the next turn of the loop: eventlet's code
    counts on that. A turn later a Timeout could fire too, although the wait
    that it was for has got what it wanted.

    :param driver: The :class:`aiohub.tasks.GreenCoroutine` of the task.
    :param current: What is resumed: the task's greenlet, or another one that
        belongs to the task.
    :param loop: The loop of the task.
    """

    __slots__ = ('_asyncio_future_blocking', '_driver', 'loop', '_callback',
                 '_context', '_call', '_error', '_timer', '_cancelled',
                 '_cancellations', '_handle', 'greenlet')

    def __init__(self, driver: Any, current: greenlet.greenlet,
                 loop: Any) -> None:
        self._asyncio_future_blocking = True
        self._driver = driver
        self.greenlet = current
        self.loop = loop
        self._callback: Callable[[Any], Any] | None = None
        #: What resumes the greenlet, when it has been woken; and what that
        #: raises in it.
        self._call: Callable[[], Any] | None = None
        self._error: BaseException | None = None
        self._timer: Any = None
        self._cancelled = False
        #: How often the task had been cancelled then.
        self._cancellations: int | None = None
        self._handle: asyncio.Handle | None = None

    # -- what a task calls

    def get_loop(self) -> Any:
        return self.loop

    def add_done_callback(
        self, callback: Callable[[Any], Any], *,
        context: contextvars.Context | None = None,
    ) -> None:
        self._callback = callback
        # Who is no task need not give one.
        self._context = (
            contextvars.copy_context() if context is None else context)
        if self._call is not None:
            self._step_soon()

    def cancel(self, msg: Any = None) -> bool:
        if self._cancelled or self._call is not None:
            # The task notes it, and throws it at its next step.
            return False
        self._cancelled = True
        self._cancellations = self._driver.cancellations()
        self._error = asyncio.CancelledError(*([] if msg is None else [msg]))
        self._step_soon()
        return True

    def result(self) -> None:
        if self._cancelled:
            assert self._error is not None
            raise self._error

    def done(self) -> bool:
        return self._cancelled or self._call is not None

    def cancelled(self) -> bool:
        return self._cancelled

    # -- waking

    def wake(self, call: Callable[[], Any],
             error: BaseException | None = None, timer: Any = None) -> None:
        """Have the task make a step that begins with *call*.

        At once if the hub does it; otherwise in the next turn of the loop.

        :param error: What *call* raises in the greenlet.
        :param timer: The timer that has raised it.
        """
        if not self._note(call, error, timer) or self._callback is None:
            return
        current = greenlet.getcurrent()
        hub = hubs.get_hub().greenlet
        state = self.loop.state
        if self._is_step_possible() and current in (hub, state.runs_in):
            self.step_now()
        elif (current is hub and not state.runs_in_hub
                and self.loop.is_running()):
            # With the toggle off the hub goes on while a task, in its step,
            # kills a green thread.
            task = asyncio.current_task(self.loop)
            assert task is not None
            asyncio._leave_task(self.loop, task)
            try:
                self.step_now()
            finally:
                asyncio._enter_task(self.loop, task)
        else:
            # In other greenlets not: a switch out of the step may end in the
            # hub, and not there.
            self._step_soon()

    def wake_from_child(self, child: greenlet.greenlet) -> None:
        """Have the task make a step that goes on in *child*.

        That calls it, when it was woken by somebody who does not know that it
        belongs to a task. eventlet's semaphores count on that it goes on at
        once, so the hub is asked to make the step next.
        """
        self.greenlet = child
        self._note(functools.partial(_task_greenlet.switch, child))
        hub = hubs.get_hub().greenlet
        if self._callback is None or not self._is_step_possible():
            self._step_soon()
        elif self.loop.state.runs_in_hub:
            self.loop.state.woken_parks.append(self)
        else:
            # eventlet's hub cannot be asked.
            greenlet.greenlet(self.step_now, parent=hub).switch()
            return
        _task_greenlet.switch(hub)

    def _is_step_possible(self) -> bool:
        return (asyncio.current_task(self.loop) is None
                and self.loop.is_running())

    def _note(self, call: Callable[[], Any],
              error: BaseException | None = None, timer: Any = None) -> bool:
        """Note what the next step begins with; return whether it does."""
        if self.done():
            if error is not None:
                self._driver.put_off(error, timer)
                return False
            if self._error is None:
                return False
            # It has not been raised yet. What the greenlet is woken with
            # may be lost if it does not get it now.
            # And if it is woken after a second cancellation, one that is
            # taken back by then is that, not this.
            self._driver.put_off(
                self._error, self._timer, self._cancellations)
            self._cancelled = False
        self._call = call
        self._error = error
        self._timer = timer
        return True

    def _step_soon(self) -> None:
        if self._handle is None and self._callback is not None:
            self._handle = self.loop.call_soon(
                self._callback, self, context=self._context)

    def step_now(self) -> None:
        """Have the task make a step."""
        assert self._callback is not None and self._context is not None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        try:
            self._context.run(self._callback, self)
        except RuntimeError:
            # Its context is in use: some tasks share one.
            if self._driver.park is not self:
                raise
            self._step_soon()

    def resume(self, function: Callable[[Any], Any], argument: Any) -> None:
        """Go on in the greenlet; called in the step."""
        driver = self._driver
        driver.unpark()
        # It refers to the task. The frame that has called it may be kept, with
        # this, by the traceback of what the task ends with.
        self._callback = None
        call = self._call
        if call is None:
            _task_greenlet.throw(self.greenlet, argument)
            return
        if isinstance(argument, BaseException):
            # Cancelled after it was woken.
            if self._error is not None:
                # asyncio.timeout() takes the first that comes for its own.
                driver.put_off(self._error, self._timer)
                _task_greenlet.throw(self.greenlet, argument)
                return
            driver.put_off(argument)
        call()
