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


"""Green tasks are cancelled and killed, wherever they wait, by everybody.

In every place where a task can wait, greenly or not; from callbacks, other
tasks, green threads, timers of the hub, the main greenlet and themselves; by
``cancel()``, ``kill()`` and ``throw()``, with every kind of exception. What
the task waited for has ended before the exception is raised, the task can go
on after it, and nothing else comes.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import cases
import green_places
import mode

import aiohub
import eventlet
from eventlet import greenthread
from eventlet import hubs
import greenlet

CancelledError = asyncio.CancelledError
GreenletExit = greenlet.GreenletExit


class Custom(Exception):
    pass


class CustomBase(BaseException):
    pass


# -- how

def _kill_with(*throw: Any) -> Any:
    def kill(trial: green_places.Trial) -> Any:
        error = throw[0]() if throw else GreenletExit
        if len(throw) > 1:
            greenthread.kill(trial.greenlet, type(error), error, None)
        elif throw:
            greenthread.kill(trial.greenlet, error)
        else:
            greenthread.kill(trial.greenlet)
        return error

    return kill


def cancel(trial: green_places.Trial) -> Any:
    assert trial.task.cancel()
    return CancelledError


def kill_method(trial: green_places.Trial) -> Any:
    trial.greenlet.kill()
    return GreenletExit


def throw_class(trial: green_places.Trial) -> Any:
    if greenlet.getcurrent() is not hubs.get_hub().greenlet:
        # Who throws is left, as by a switch, and has to see to that.
        hubs.get_hub().schedule_call_global(0, greenlet.getcurrent().switch)
    trial.greenlet.throw(Custom)
    return Custom


HOW: dict[str, Any] = {
    'cancel': cancel,
    'kill': _kill_with(),
    'kill method': kill_method,
    'kill with exception': _kill_with(lambda: Custom('thrown')),
    'kill with three': _kill_with(lambda: Custom('thrown'), None),
    'kill with base': _kill_with(lambda: CustomBase('thrown')),
    'kill with timeout': _kill_with(lambda: eventlet.Timeout(None)),
    'throw': throw_class,
}


# -- who

def by_callback(function: Callable[[], None]) -> None:
    aiohub.get_loop().call_soon(function)


def by_task(function: Callable[[], None]) -> None:
    async def call() -> None:
        function()

    # Nobody else refers to it, but it waits for nothing.
    aiohub.get_loop().create_task(call())


def by_green_thread(function: Callable[[], None]) -> None:
    eventlet.spawn(function)


def by_timer(function: Callable[[], None]) -> None:
    hubs.get_hub().schedule_call_global(0, function)


def here(function: Callable[[], None]) -> None:
    function()


WHO: dict[str, Any] = {
    'callback': by_callback,
    'task': by_task,
    'green thread': by_green_thread,
    'timer': by_timer,
    'here': here,
}


# -- the matrix

def stopped(place: type[green_places.Place], how: Any, who: Any,
            goes_on: bool) -> None:
    """It sees what was thrown, where it waits, once."""
    trial = green_places.Trial(place(), goes_on)
    trial.wait_until_there()
    errors = []
    who(lambda: errors.append(how(trial)))
    cases.until(lambda: errors and trial.task.done())
    trial.saw(errors[0])
    assert trial.task.cancelling() == (how is cancel), trial.task


def stopped_at_once(place: type[green_places.Place], how: Any) -> None:
    """When kill() returns, the task has run to where it waits next."""
    trial = green_places.Trial(place(), True)
    trial.wait_until_there()
    error = how(trial)
    assert trial.seen, trial.seen
    cases.until(trial.task.done)
    trial.saw(error)


for _place in green_places.PLACES:
    for _how in HOW:
        for _who in WHO:
            if _who not in ('here', 'timer') and _how not in (
                    'cancel', 'kill', 'kill with exception'):
                continue  # it is all the same who does it
            if not mode.ON and _who == 'callback' and _how != 'cancel':
                continue  # it makes the callback wait, with a warning
            for _on in (False, True):
                cases.add('%s: %s by %s%s' % (
                    _place.__name__, _how, _who, ', goes on' * _on),
                    stopped, _place, HOW[_how], WHO[_who], _on)
        if _how != 'cancel' and _place.at_once:
            cases.add('%s: %s at once' % (_place.__name__, _how),
                      stopped_at_once, _place, HOW[_how])


# -- by itself

def stops_itself(place: type[green_places.Place], how: Any) -> None:
    """A kill is raised by kill() itself, a cancel where it waits next."""
    errors = []

    def stop(trial: green_places.Trial) -> None:
        try:
            errors.append(how(trial))
        except BaseException as exc:
            errors.append(exc)
            raise

    trial = green_places.Trial(place(), False, before=stop)
    cases.until(trial.task.done)
    trial.saw(errors[0])


for _place in green_places.PLACES:
    for _how in HOW:
        cases.add('%s: %s by itself' % (_place.__name__, _how),
                  stops_itself, _place, HOW[_how])


# -- before its first step

def cancelled_unstarted(place: type[green_places.Place], who: Any) -> None:
    """Nothing of it runs."""
    trial = green_places.Trial(place(), False)
    assert trial.task.cancel()
    cases.until(trial.task.done)
    assert trial.task.cancelled()
    assert trial.begun == 0


for _place in green_places.PLACES:
    cases.add('%s: cancelled before it begins' % _place.__name__,
              cancelled_unstarted, _place, here)


# -- after it has ended

def killed_after_the_end(how: Any) -> None:
    """Nothing happens."""
    trial = green_places.Trial(green_places.future(), False)
    trial.wait_until_there()
    trial.place.open()
    cases.until(trial.task.done)
    if how is not cancel:
        how(trial)
    assert trial.task.result() == 'result'


for _how in HOW:
    if _how != 'throw':  # that is raised in who throws
        cases.add('%s after the end' % _how,
                  killed_after_the_end, HOW[_how])


# -- nobody stops it

def undisturbed(place: type[green_places.Place]) -> None:
    trial = green_places.Trial(place(), False)
    trial.wait_until_there()
    trial.place.open()
    cases.until(trial.task.done)
    assert trial.task.result() == 'result', trial.task
    assert not trial.seen


def switched_to(place: type[green_places.Place], who: Any) -> None:
    """A switch to a task that awaits does nothing."""
    trial = green_places.Trial(place(), False)
    trial.wait_until_there()

    def switch() -> None:
        if greenlet.getcurrent() is not hubs.get_hub().greenlet:
            hubs.get_hub().schedule_call_global(
                0, greenlet.getcurrent().switch)
        trial.greenlet.switch('wrong')

    who(switch)
    cases.turns()
    trial.place.open()
    cases.until(trial.task.done)
    assert trial.task.result() == 'result', trial.task


for _place in green_places.PLACES:
    if _place.opens:
        cases.add('%s: undisturbed' % _place.__name__, undisturbed, _place)
    if _place.opens and not _place.green:
        for _who in ('timer', 'here', 'green thread'):
            cases.add('%s: switched to by %s' % (_place.__name__, _who),
                      switched_to, _place, WHO[_who])


cases.run_all()
# Once more, the stops that are made here, in the main greenlet.
for place in green_places.PLACES:
    for name, how in HOW.items():
        try:
            stopped(place, how, here, True)
            if how is not cancel and place.at_once:
                stopped_at_once(place, how)
        except BaseException:
            print(place.__name__, name)
            raise
cases.turns()
assert not asyncio.all_tasks(aiohub.get_loop())
mode.done()
