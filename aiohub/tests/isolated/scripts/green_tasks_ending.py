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


"""Green tasks: stopped between the end of what they await and their step.

What a task awaits may have ended, turns before the task goes on, and not be
done yet: ``asyncio.gather()`` is done a turn after the last of its tasks, and
until then it can neither be cancelled nor does it say so. The stops come in
each of these turns, one or two of them. As anywhere, the task sees each once.
"""

import asyncio
import itertools
from typing import Any

import cases
import green_places
import green_stops
import mode

import eventlet

Cancel = green_stops.Cancel
Trial = green_stops.Trial
STOPS = green_stops.STOPS
WAYS = green_stops.WAYS


class gathered_twice(green_places.AwaitsInner):
    async def wait(self) -> Any:
        inner = asyncio.gather(self.inner.in_task())
        return (await asyncio.gather(inner))[0][0]


class gathered_by_a_task(green_places.AwaitsInner):
    """The task that it awaits awaits a ``gather()``."""

    async def wait(self) -> Any:
        async def gather() -> Any:
            return (await asyncio.gather(self.inner.in_task()))[0]

        return await asyncio.get_running_loop().create_task(gather())


class refuses(green_places.Awaits):
    """A future that cannot be cancelled, as asyncio allows."""

    def __init__(self) -> None:
        super().__init__()
        self.future = NoCancel(loop=self.future.get_loop())

    def over(self) -> bool:
        return self.future.done()


class NoCancel(asyncio.Future[Any]):
    def cancel(self, msg: Any = None) -> bool:
        return False


PLACES = [
    green_places.future, green_places.future_in_child,
    green_places.asyncio_queue, green_places.asyncio_lock, green_places.task,
    green_places.task_green_cleanup, green_places.task_of_task,
    green_places.gathered, green_places.shielded,
    green_places.awaited_green_thread, gathered_twice, gathered_by_a_task,
    refuses]


def ends(trial: Trial, turns: int) -> bool:
    """Let on what *trial* awaits; return whether it goes on until then."""
    trial.wait_until_there()
    trial.place.open()
    cases.turns(turns)
    return trial.first is not None


def stopped(place: Any, kinds: list[Any], way: Any) -> None:
    for turns in itertools.count():
        trial = Trial(place())
        if ends(trial, turns):
            assert turns and trial.first == 'result', trial.first
            cases.until(trial.task.done)
            return
        stops = [kind(trial) for kind in kinds]
        way(*stops)
        cases.until(trial.task.done)
        assert trial.task.result() == 'end'
        green_stops.matched(trial.seen(), stops)
        cancels = sum(isinstance(stop, Cancel) for stop in stops)
        assert trial.task.cancelling() == cancels, trial.task


for _place in PLACES:
    for _way in WAYS:
        for _first in STOPS:
            cases.add('%s: %s, %s' % (_place.__name__, _first, _way),
                      stopped, _place, [STOPS[_first]], WAYS[_way])
            for _second in STOPS:
                cases.add('%s: %s, then %s, %s' % (
                    _place.__name__, _first, _second, _way), stopped,
                    _place, [STOPS[_first], STOPS[_second]], WAYS[_way])


def refused(kinds: list[Any], way: Any) -> None:
    """They come while it cannot be cancelled, long before it ends."""
    trial = Trial(refuses())
    trial.wait_until_there()
    stops = [kind(trial) for kind in kinds]
    way(*stops)
    cases.turns(10)
    assert trial.first is None and not trial.task.done()
    trial.place.open()
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    green_stops.matched(trial.seen(), stops)


for _way in WAYS:
    for _first in STOPS:
        cases.add('refused: %s, %s' % (_first, _way), refused,
                  [STOPS[_first]], WAYS[_way])
        for _second in STOPS:
            cases.add('refused: %s, then %s, %s' % (_first, _second, _way),
                      refused, [STOPS[_first], STOPS[_second]], WAYS[_way])


class Limited(Trial):
    """Its wait has a limit, an ``eventlet.Timeout``."""

    limit: Any = None

    def __init__(self, place: Any) -> None:
        self.within = place
        super().__init__(self)

    async def wait(self) -> Any:
        with eventlet.Timeout(1000) as self.limit:
            return await self.within.wait()

    def there(self) -> Any:
        return self.within.there()

    def open(self) -> None:
        self.within.open()


def limited(place: Any, kind: Any, way: Any, order: bool) -> None:
    """The limit may come too late to be seen; nothing else is lost by it."""
    for turns in itertools.count():
        trial = Limited(place())
        if ends(trial, turns):
            assert turns and trial.first == 'result', trial.first
            cases.until(trial.task.done)
            return
        stop = kind(trial)

        def fire(trial: Any = trial) -> None:
            if trial.first is None:
                trial.limit.timer()

        way(*([stop, fire] if order else [fire, stop]))
        cases.until(trial.task.done)
        assert trial.task.result() == 'end'
        seen = trial.seen()
        if trial.first is trial.limit:
            seen.pop(0)
        green_stops.matched(seen, [stop])


for _place in PLACES:
    for _stop in STOPS:
        for _order in (True, False):
            # A timer calls from the hub.
            cases.add('%s: limit %s %s' % (
                _place.__name__, 'after' if _order else 'before', _stop),
                limited, _place, STOPS[_stop], WAYS['in one turn'], _order)

cases.run_all()
mode.done()
