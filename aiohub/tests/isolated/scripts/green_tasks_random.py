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


"""Wakes, stops and times out green tasks, in any order and at any moment.

Hypothesis chooses. Tasks wait in places of every kind, under limits of both
worlds, one place after the other; others let them on, cancel and kill them,
let their limits fire, before, after and while they go on. A model of each task
says what it may see: each thing that was handed to it, each exception that was
thrown at it, once, and nothing else.

An argument is the seed to begin with, as printed by a run that failed.
"""

import asyncio
import gc
import random
import sys
from typing import Any

import cases
import green_places
import mode

import aiohub
import eventlet
from eventlet import greenthread
from eventlet import hubs
import greenlet
import hypothesis
from hypothesis import stateful
from hypothesis import strategies

EXAMPLES = 300
STEPS = 40

CancelledError = asyncio.CancelledError


class Custom(Exception):
    pass


class Limit:
    """A timeout around one wait, which fires by hand.

    :param kind: ``green``, ``silent``, ``custom`` or ``async``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fired = False
        self.left = False
        self.timeout: Any = None

    async def __aenter__(self) -> None:
        if self.kind == 'async':
            self.timeout = asyncio.timeout(1000)
            await self.timeout.__aenter__()
        else:
            self.timeout = eventlet.Timeout(1000, {
                'green': None, 'silent': False, 'custom': Custom}[self.kind])

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> Any:
        self.left = True
        if self.kind == 'async':
            return await self.timeout.__aexit__(kind, error, trace)
        return self.timeout.__exit__(kind, error, trace)

    def fire(self) -> bool:
        """Do what happens when it is due; in the hub's greenlet."""
        if self.left or self.fired or self.timeout is None:
            return False
        self.fired = True
        if self.kind == 'async':
            self.timeout.reschedule(0)
        else:
            self.timeout.timer()
        return True

    def is_mine(self, error: BaseException) -> bool:
        if self.kind == 'async':
            return isinstance(error, TimeoutError)
        if self.kind == 'custom':
            return isinstance(error, Custom) and not error.args
        return error is self.timeout


class Stop:
    """A cancel or a kill.

    :param at: How many waits the task had behind it.
    :ivar seen: Whether the task has got it.
    """

    def __init__(self, kind: str, at: int) -> None:
        self.kind = kind
        self.at = at
        self.seen = False
        self.error: Any = {'kill': greenlet.GreenletExit(),
                           'custom': Custom('kill'),
                           'timeout': eventlet.Timeout(None),
                           'cancel': None}[kind]

    def is_mine(self, error: BaseException) -> bool:
        if self.kind == 'cancel':
            return type(error) is CancelledError and error.__cause__ is None
        return self.error in (error, error.__cause__)


class Pause:
    """Where a task does not wait long, in both ways."""

    green = True

    def there(self) -> bool:
        return False

    def over(self) -> bool:
        return True

    async def wait(self) -> str:
        eventlet.sleep(0)
        await asyncio.sleep(0)
        return 'result'


#: What was put off is raised there.
PAUSES: list[Any] = [(Pause(), [])] * 10


class Worker:
    """A task that waits in one place after the other.

    :param places: Where it waits, and with which limits around that.
    """

    def __init__(self, places: list[Any]) -> None:
        self.waits = [(place(), [Limit(kind) for kind in limits])
                      for place, limits in places]
        self.at = -1
        self.greenlet: Any = None
        self.stops: list[Stop] = []
        #: What it saw at each place.
        self.seen: list[Any] = []
        #: What no stop and no limit accounts for.
        self.wrong: list[Any] = []
        #: Whether it is to end, since the example has failed.
        self.given_up = False
        self.task = aiohub.get_loop().create_task(self.run())

    async def run(self) -> str:
        self.greenlet = greenlet.getcurrent()
        for self.at, (place, limits) in enumerate(self.waits + PAUSES):
            try:
                await self._within(place, limits)
            except BaseException as exc:
                if self.given_up:
                    raise
                self.note(exc, limits)
        return 'end'

    async def _within(self, place: Any, limits: list[Limit]) -> None:
        if limits:
            async with limits[0]:
                await self._within(place, limits[1:])
            return
        try:
            result = await place.wait()
        except BaseException as exc:
            self.seen.append(exc)
            if not place.over():
                self.wrong.append(('not over', place, exc))
            raise
        self.seen.append(result)
        if result != 'result':
            self.wrong.append(result)

    def note(self, error: BaseException, limits: list[Limit]) -> None:
        """Find who has thrown what came out of a wait."""
        for stop in self.stops:
            if not stop.seen and stop.is_mine(error):
                stop.seen = True
                return
        for limit in limits:
            if limit.fired and limit.is_mine(error):
                return
        self.wrong.append(error)

    # -- what happens to it

    def place(self) -> Any:
        return (self.waits + PAUSES)[self.at][0] if self.at >= 0 else None

    def is_there(self) -> bool:
        return (self.at >= 0 and not self.task.done()
                and self.place().there())

    def let_on(self) -> None:
        place = self.place()
        if self.is_there() and not getattr(place, 'was_opened', False):
            place.was_opened = True
            place.open()

    def stop(self, kind: str) -> None:
        if self.task.done() or self.greenlet is None:
            return
        stop = Stop(kind, self.at)
        self.stops.append(stop)
        if kind == 'cancel':
            self.task.cancel()
        else:
            greenthread.kill(self.greenlet, stop.error)

    def fire(self, number: int) -> None:
        if self.is_there():
            _, limits = self.waits[self.at]
            if limits:
                limits[number % len(limits)].fire()


# -- who does it

def in_hub(function: Any) -> None:
    hubs.get_hub().schedule_call_global(0, function)


def in_green_thread(function: Any) -> None:
    eventlet.spawn_n(function)


def in_task(function: Any) -> None:
    async def call() -> None:
        function()

    aiohub.get_loop().create_task(call())


def here(function: Any) -> None:
    function()


def in_callback(function: Any) -> None:
    aiohub.get_loop().call_soon(function)


WHO = {'hub': in_hub, 'green thread': in_green_thread, 'task': in_task,
       'here': here}
if mode.ON:
    # A kill makes a callback wait, if the loop is itself a green thread.
    WHO['callback'] = in_callback

#: What has a cleanup of its own may see several exceptions there; asyncio's
#: code too. And letting on twice must be no mistake.
PLACES = [place for place in green_places.PLACES
          if place.opens and place.__name__ not in (
              'bridged', 'child_bridged', 'own_cleanup',
              'own_green_cleanup', 'waited_for', 'waited_for_coroutine',
              'condition_wait', 'group_end', 'group_body',
              'green_thread', 'future', 'future_in_coroutine',
              'future_in_child', 'asyncio_timeout', 'recv', 'queue_put')]

LIMITS = ['green', 'silent', 'custom']
if sys.version_info >= (3, 11, 3):
    # Before, one in a task that has been cancelled, and has gone on, raises
    # CancelledError (gh-102780).
    LIMITS.append('async')

pick = strategies.integers(0, 7)
who = strategies.sampled_from(sorted(WHO))
kinds = strategies.sampled_from(['cancel', 'kill', 'custom', 'timeout'])


class Machine(stateful.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.workers: list[Worker] = []

    def worker(self, number: int) -> Worker:
        return self.workers[number % len(self.workers)]

    @stateful.rule(places=strategies.lists(strategies.tuples(
        strategies.sampled_from(PLACES),
        strategies.lists(strategies.sampled_from(LIMITS), max_size=2,
                         unique=True)), min_size=1, max_size=4))
    def start(self, places: Any) -> None:
        if len(self.workers) < 4:
            self.workers.append(Worker(places))

    @stateful.precondition(lambda self: self.workers)
    @stateful.rule(number=pick, who=who)
    def let_on(self, number: int, who: str) -> None:
        WHO[who](self.worker(number).let_on)

    @stateful.precondition(lambda self: self.workers)
    @stateful.rule(number=pick, who=who, kind=kinds)
    def stop(self, number: int, who: str, kind: str) -> None:
        worker = self.worker(number)
        WHO[who](lambda: worker.stop(kind))

    @stateful.precondition(lambda self: self.workers)
    @stateful.rule(number=pick, which=pick)
    def time_out(self, number: int, which: int) -> None:
        worker = self.worker(number)
        in_hub(lambda: worker.fire(which))

    @stateful.precondition(lambda self: self.workers)
    @stateful.rule(number=pick, first=who, second=who, kind=kinds,
                   turned=strategies.booleans(), which=pick,
                   what=strategies.sampled_from(['let on', 'fire', 'stop']))
    def at_the_same_time(self, number: int, first: str, second: str,
                         kind: str, turned: bool, which: int,
                         what: str) -> None:
        worker = self.worker(number)
        two = [lambda: worker.stop(kind),
               {'let on': worker.let_on,
                'fire': lambda: worker.fire(which),
                'stop': lambda: worker.stop('custom')}[what]]
        if what == 'fire' and first != second:
            second = first = 'hub'
        if turned:
            two.reverse()
        if what == 'fire':
            first = second = 'hub'
        WHO[first](two[0])
        WHO[second](two[1])

    @stateful.precondition(lambda self: self.workers)
    @stateful.rule(number=pick)
    def switch_to(self, number: int) -> None:
        """What wakes nobody: it awaits, or has ended."""
        worker = self.worker(number)

        def switch() -> None:
            if worker.is_there() and not worker.place().green:
                worker.greenlet.switch('wrong')

        in_hub(switch)

    @stateful.rule(count=strategies.integers(1, 3))
    def turn(self, count: int) -> None:
        cases.turns(count)

    @stateful.rule()
    def settle(self) -> None:
        """What has happened to one that waits is seen, but for cancels."""
        cases.turns(20)
        for worker in self.workers:
            if worker.task.done() or not worker.is_there():
                continue
            assert all(stop.seen for stop in worker.stops
                       if stop.kind != 'cancel'), worker.seen
            assert (any(stop.seen for stop in worker.stops)
                    or not worker.stops), worker.seen
            _, limits = worker.waits[worker.at]
            assert not any(limit.fired for limit in limits), limits

    @stateful.invariant()
    def nothing_wrong(self) -> None:
        for worker in self.workers:
            assert not worker.wrong, (worker.wrong, worker.seen)

    def teardown(self) -> None:
        try:
            cases.turns(10)
            for worker in self.workers:
                for _ in range(200):
                    if worker.task.done():
                        break
                    worker.let_on()
                    cases.turns(4)
                assert worker.task.done(), (worker.place(), worker.seen)
                self.check(worker)
        finally:
            for worker in self.workers:
                worker.given_up = True
                while not worker.task.done():
                    worker.task.cancel()
                    cases.turns()
            self.workers = []
            gc.collect(0)

    def check(self, worker: Worker) -> None:
        assert not worker.wrong, (worker.wrong, worker.seen)
        task = worker.task
        unseen = [stop for stop in worker.stops if not stop.seen]
        cancels = [stop for stop in worker.stops if stop.kind == 'cancel']
        if task.cancelled():
            # By one that came too late for any wait, or was never begun.
            assert any(stop.kind in ('cancel', 'kill') for stop in unseen)
            return
        error = task.exception()
        assert error is None or any(error is stop.error for stop in unseen)
        # Cancels that met are one; all else has been seen, or came as the
        # last wait was over.
        assert not cancels or any(stop.seen for stop in cancels), worker.seen
        for stop in unseen:
            assert stop.kind == 'cancel' or self.came_last(worker, stop), (
                stop.kind, worker.seen)
        assert task.cancelling() == len(cancels), (task, len(cancels))

    def came_last(self, worker: Worker, stop: Stop) -> bool:
        """Whether no wait was left for *stop* when its turn came."""
        return (stop.at + len(worker.stops)
                >= len(worker.waits) + len(PAUSES) - 1)


def play() -> None:
    seed = int(sys.argv[1]) if sys.argv[1:] else random.randrange(2 ** 32)
    print('seed', seed)
    stateful.run_state_machine_as_test(
        hypothesis.seed(seed)(Machine), settings=hypothesis.settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None,
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            database=None, derandomize=False,
            suppress_health_check=list(hypothesis.HealthCheck)))


watch = cases.Watch()
aiohub.await_(asyncio.sleep(0))
wrong = watch.run(play, None)
gc.collect()
sys.stderr = sys.__stderr__
assert not wrong, '\n'.join(wrong)
mode.done()
