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

"""Green code that a task waits for, begun in the middle of the task's step.

A green thread begins in the next turn of the hub. A task that waits for one
has nothing to do until then, and most have no reason to wait for anything
else: so it runs before the task goes on, and another turn is made only if it
has to wait itself.
"""

import asyncio
from collections.abc import Callable
import contextvars
import sys
from typing import Any
import weakref

import greenlet

from aiohub import _eventlet
from aiohub import _first_step
from aiohub import _request_context
from aiohub import _spare_greenlets
from aiohub import _task_greenlet
from aiohub import _threads
from aiohub import _thrown

_getcurrent = greenlet.getcurrent
_getrefcount = sys.getrefcount
_getweakrefcount = weakref.getweakrefcount
# Not what HubGreenlet makes of it.
_switch = greenlet.greenlet.switch
_NOTHING = _threads.NOTHING


def hub_of_step() -> Any:
    """Return the hub of this thread if the caller is in a step of its loop.

    Then the greenlet of the loop is the current one, or has switched to it;
    and to that greenlet comes all that ends or waits. Or it is in its turn,
    and who waits for the task makes the step. Not a library's greenlet in a
    coroutine, nor a task that has begun eagerly in the step of another, or in
    a green thread: there somebody else has made the step. That a callback
    waits, and the loop with it, cannot be: it would do so in that greenlet.

    :returns: None if it is not.
    """
    hub: Any = _eventlet.current_hub()
    try:
        own = hub.loop_greenlet
    except AttributeError:
        return None  # another kind of hub, or none
    current = _getcurrent()
    if current is not own:
        if type(current) is not _task_greenlet.TaskGreenlet:
            return None
        state = current.state
        if not state.in_step:
            return None
        stepper = state.stepper
        if (stepper is not own
                and stepper is not hub.loop.state.callers_step.green):
            return None
    return hub if asyncio._get_running_loop() is hub.loop else None


def is_due(hub: Any) -> bool:
    """Whether the hub is to make a turn before green code begins.

    A task that never waits for anything else would keep all others from
    running.
    """
    state = hub.loop.state
    began: float | None = state.callbacks_began
    now: float = hub.clock()
    if began is None:
        began = state.callbacks_began = now
    return now >= began + _first_step.MOMENT


def run(
    hub: Any, function: Callable[[], Any],
) -> tuple[_threads.KeptThread | None, Any]:
    """Run a function in a green thread until it waits or ends.

    Each greenlet that begins to run makes Python map memory for its frames,
    which takes two thirds of the time of all; so one is kept for the next
    time. No more: a second function is not run in this way before the first
    has returned or waits.

    :param hub: What :func:`hub_of_step` has returned.
    :returns: None and the result; or the green thread, if it has not
        returned.
    """
    _request_context.follow()
    state = hub.loop.state
    green: _threads.KeptThread | None = state.kept_thread
    state.kept_thread = None
    # Whether what starts here has less room for nested calls, for good.
    is_deep = False
    if green is None or green.parent is not hub.loop_greenlet:
        current = _getcurrent()
        green = _threads.KeptThread(current)
        _switch(green)
        green.parent = hub.loop_greenlet
        is_deep = _spare_greenlets.below(current) == _spare_greenlets.DEEP
    green.gr_context = contextvars.copy_context()
    _switch_in_turn(hub, _switch, (green, function), {})
    result = green.outcome
    if result is _NOTHING:
        green.alone = True
        return green, None
    if is_deep or _traces(green.switch) != _NONE:
        green.alone = True
        _switch_in_turn(hub, _switch, (green,), {})
    else:
        green.outcome = _NOTHING
        green.gr_context = None
        hub.loop.state.kept_thread = green
    return None, result


def start_awaited(green: greenlet.greenlet) -> bool:
    """Run a green thread until it waits or ends, if it is the next to begin.

    Otherwise others would have been started before it, and begin after it.
    What it raises is not printed: who awaits it gets that.

    :returns: Whether it has begun now.
    """
    hub = hub_of_step()
    # One of another parent ends in that: somebody else is to go on then.
    if hub is None or green.parent is not hub.greenlet or is_due(hub):
        return False
    call = hub.take_next_call_of(green)
    if call is None:
        return False
    state = hub.loop.state
    # Another one if that has begun in a green thread that has begun so.
    before, state.awaited = state.awaited, green
    try:
        _switch_in_turn(hub, *call)
    finally:
        state.awaited = before
    return True


def _switch_in_turn(hub: Any, switch: Callable[..., Any],
                    args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Switch to a green thread; it waits or ends, and then control is back.

    Meanwhile the hub seems to be in its turn: no task is current, and
    ``hub.greenlet`` is where a green call goes, and not the front.

    Orders of events. It returns, or waits: control comes to the greenlet of
    the loop. That is the caller, or it has made the step that the caller is in
    (``GreenCoroutine.send()``), finds that the task is not the current one,
    and switches back; or it finds that somebody else makes the step
    (``CallersStep.step_now()``), and does the same. It kills another one, or
    switches to it: the same when that ends or waits, and it goes on itself in
    a later turn. It cancels or kills the task: that sees it where it waits
    next. It raises what is for the main greenlet: that gets it in the next
    turn of the loop, and the task, too. It closes the hub: that cancels the
    task, which kills it, and the hub is closed.
    """
    before = hub.greenlet
    loop = hub.loop
    step = loop.state.callers_step
    back = step.back
    current = _getcurrent()
    # Not by leave_task() and enter_task(), which take 100 ns more, of 10 us.
    task = asyncio.current_task(loop)
    if task is not None:
        asyncio._leave_task(loop, task)
    hub.greenlet = hub.loop_greenlet
    # If who waits for the task makes the step, the hub gets control. And in
    # the green thread nobody makes one so: it would not get it.
    step.back = current
    try:
        switch(*args, **kwargs)
    except BaseException as exc:
        # It comes here if the caller is the greenlet of the loop.
        _thrown.complain(hub, loop, exc)
    finally:
        step.back = back
        hub.greenlet = before
        if task is not None:
            asyncio._enter_task(loop, task)


def _traces(switch: Any) -> tuple[Any, ...]:
    """Return what shows that somebody can tell what a green thread runs next.

    Who has seen it in one function must not see it in another: somebody
    refers to it, as the variables of a ``threading.local`` do, or waits for
    its end.

    :param switch: Its own. As of 3.14 the same argument may be a reference or
        not, as the compiler sees fit (gh-130704); an attribute always is one.
    """
    green: _threads.KeptThread = switch.__self__
    return (_getrefcount(switch.__self__), _getweakrefcount(green),
            len(green.__dict__), green._exit_funcs)


def _traces_of_nobody() -> tuple[Any, ...]:
    green = _threads.KeptThread(_getcurrent())
    _switch(green)
    _switch(green, int)
    return _traces(green.switch)


#: What they are when there are none.
_NONE = _traces_of_nobody()
