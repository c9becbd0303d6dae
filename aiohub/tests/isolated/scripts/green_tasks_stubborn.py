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


"""Green tasks: what they await goes on in spite of a cancellation.

It may have taken one earlier, from somebody else, or that of the task that
awaits it, and is stopped again: as asyncio does it, with another cancellation.
What stops the task is seen there or at its next wait, and nothing hangs.
"""

import asyncio
from typing import Any

import cases
import green_places
import green_stops
import mode

import aiohub
import eventlet
from eventlet import event
import greenlet

Cancel = green_stops.Cancel
Trial = green_stops.Trial
STOPS = green_stops.STOPS
WAYS = green_stops.WAYS


class Stubborn(green_places.Place):
    """Somebody goes on waiting when cancelled, for some times.

    :param times: How often.
    """

    returns = False

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self.times = times
        #: How often it was cancelled.
        self.cancels = 0
        self.inner = asyncio.ensure_future(
            self.begin(), loop=aiohub.get_loop())

    def begin(self) -> Any:
        return self.go_on()

    async def go_on(self) -> str:
        while self.cancels <= self.times:
            self.reached = True
            try:
                await aiohub.get_loop().create_future()
            except asyncio.CancelledError:
                self.cancels += 1
                if self.cancels > self.times:
                    if self.returns:
                        return 'result'
                    raise
        raise AssertionError

    async def wait(self) -> Any:
        return await self.inner


class Returns(Stubborn):
    """It does not end cancelled even then."""

    returns = True


class Gathered(Stubborn):
    async def wait(self) -> Any:
        return (await asyncio.gather(self.inner))[0]


class InTheTask(Stubborn):
    """A coroutine, in the task itself, which awaits a future."""

    def begin(self) -> Any:
        return aiohub.get_loop().create_future()

    async def wait(self) -> Any:
        return await self.go_on()


class Green(Stubborn):
    """A green thread."""

    def begin(self) -> Any:
        return aiohub.greenlet_to_future(eventlet.spawn(self.go_on_green))

    def go_on_green(self) -> str:
        while True:
            self.reached = True
            try:
                event.Event().wait()
            except greenlet.GreenletExit:
                self.cancels += 1
                if self.cancels > self.times:
                    if self.returns:
                        return 'result'
                    raise


class GreenReturns(Green):
    returns = True


OTHERS = (Stubborn, Returns, Gathered, Green, GreenReturns)


def taken_before(place: Stubborn, cancel: Any) -> None:
    """Have it take a cancellation."""
    cases.until(lambda: place.reached)
    cases.turns(2)
    cancel()
    cases.until(lambda: place.cancels)
    cases.turns(2)


def saw(trial: Trial, stops: list[Any]) -> None:
    """Compare what a task saw with what has stopped it."""
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    if trial.place.returns:
        # asyncio forgets a cancellation that was taken in this way.
        assert (trial.first == 'result') == isinstance(stops[0], Cancel)
        stops = [stop for stop in stops if not isinstance(stop, Cancel)]
    green_stops.matched(trial.seen(), stops)


# -- it has taken one before, of somebody else

def stopped(kind: Any, stop: Any, way: Any) -> None:
    place = kind()
    taken_before(place, place.inner.cancel)
    trial = Trial(place)
    trial.wait_until_there()
    one = stop(trial)
    way(one)
    saw(trial, [one])
    assert place.cancels == 2


def timed_out(kind: Any) -> None:
    place = kind()
    taken_before(place, place.inner.cancel)

    async def wait() -> None:
        with eventlet.Timeout(0.001):
            await place.wait()

    task = aiohub.get_loop().create_task(wait())
    cases.until(task.done)
    assert isinstance(task.exception(), eventlet.Timeout)
    assert place.cancels == 2


for _kind in OTHERS:
    cases.add('%s: Timeout' % _kind.__name__, timed_out, _kind)
    for _stop in STOPS:
        for _way in WAYS:
            cases.add('%s: %s, %s' % (_kind.__name__, _stop, _way),
                      stopped, _kind, STOPS[_stop], WAYS[_way])


# -- it takes that of what stops the task which awaits it

def stopped_again(kind: Any, first: Any, second: Any, way: Any) -> None:
    trial = Trial(kind())
    trial.wait_until_there()
    stops = [first(trial), second(trial)]
    for stop in stops:
        cancels = trial.place.cancels
        way(stop)
        cases.until(lambda: trial.place.cancels > cancels)
        cases.turns(2)
        assert trial.place.cancels == cancels + 1
    saw(trial, stops)


for _kind in OTHERS:
    for _first in STOPS:
        for _second in STOPS:
            for _way in WAYS:
                cases.add('again, %s: %s, then %s, %s' % (
                    _kind.__name__, _first, _second, _way), stopped_again,
                    _kind, STOPS[_first], STOPS[_second], WAYS[_way])


# -- two at the same time are one to it

def stopped_twice(kind: Any, first: Any, second: Any, way: Any) -> None:
    trial = Trial(kind())
    trial.wait_until_there()
    stops = [first(trial), second(trial)]
    way(*stops)
    cases.until(lambda: trial.place.cancels)
    cases.turns(20)
    assert trial.place.cancels == 1 and not trial.task.done()
    trial.place.inner.cancel()
    saw(trial, stops)


for _kind in OTHERS:
    for _first in STOPS:
        for _second in STOPS:
            cases.add('two, %s: %s, then %s' % (
                _kind.__name__, _first, _second), stopped_twice, _kind,
                STOPS[_first], STOPS[_second], WAYS['in one turn'])


# -- the task has taken one itself

def stopped_after_own(stop: Any, way: Any) -> None:
    trial = Trial(InTheTask())
    trial.wait_until_there()
    taken_before(trial.place, trial.task.cancel)
    one = stop(trial)
    way(one)
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    green_stops.matched(trial.seen(), [one])


for _stop in STOPS:
    for _way in WAYS:
        cases.add('own: %s, %s' % (_stop, _way), stopped_after_own,
                  STOPS[_stop], WAYS[_way])

cases.run_all()
mode.done()
