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


"""Green tasks: several things happen at the same time, in each order.

A task is woken and stopped, stopped twice, cancelled and killed, in one turn.
Nothing is lost: not a thing that was handed to it, nor a cancel, nor an
exception, and nothing comes twice.
"""

import asyncio
import gc
from typing import Any

import cases
import green_places
import green_stops
import mode

import aiohub
import eventlet
from eventlet import greenthread
from eventlet import hubs
import greenlet

Cancel = green_stops.Cancel
Kill = green_stops.Kill
STOPS = green_stops.STOPS
Trial = green_stops.Trial
WAYS = green_stops.WAYS
matched = green_stops.matched


# -- two stops

#: Those that have a cleanup of their own see the next one in that, and a task
#: group drops it.
TWICE = [place for place in green_places.PLACES if not issubclass(
    place, (green_places.bridged, green_places.own_cleanup))
    and place.__name__ not in ('waited_for', 'waited_for_coroutine',
                               'group_end')]


def stopped_twice(place: Any, first: Any, second: Any, way: Any) -> None:
    """Both are seen, and the task is usable after that."""
    trial = Trial(place())
    trial.wait_until_there()
    stops = [first(trial), second(trial)]
    way(*stops)
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    matched(trial.seen(), stops)
    assert isinstance(trial.first, BaseException), trial.first
    cancels = sum(isinstance(stop, Cancel) for stop in stops)
    assert trial.task.cancelling() == cancels, trial.task


for _place in TWICE:
    for _first in STOPS:
        for _second in ('cancel', 'kill', 'kill with exception'):
            for _way in WAYS:
                cases.add('%s: %s, then %s, %s' % (
                    _place.__name__, _first, _second, _way), stopped_twice,
                    _place, STOPS[_first], STOPS[_second], WAYS[_way])


# -- stopped as the result comes

def stopped_and_let_on(place: Any, stop: Any, way: Any, order: bool,
                       pauses: bool) -> None:
    """It sees the result, and is stopped where it waits next; or only that.

    Where it does not wait any more, that is how it ends.
    """
    trial = Trial(place(), pauses)
    trial.wait_until_there()
    one = stop(trial)
    way(*([trial.place.open, one] if order else [one, trial.place.open]))
    cases.until(trial.task.done)
    ended = trial.task
    if trial.first == 'result':
        if not pauses and stop is Cancel:
            assert ended.cancelled() or not ended.cancelling(), ended
        elif not pauses and stop is Kill:
            assert ended.cancelled() or ended.result() == 'end', ended
        elif not trial.seen():
            # It may have been so late that the task had ended.
            error = ended.exception()
            assert ended.result() == 'end' if error is None else (
                not pauses and error is one.error), ended
        else:
            matched(trial.seen(), [one])
    else:
        matched(trial.seen(), [one])
        assert ended.result() == 'end'


#: Where letting on who has left is no mistake.
LATE = ('event_wait', 'queue_get', 'semaphore_acquire', 'lock_acquire',
        'condition_wait', 'bridged', 'child_event',
        'child_of_child', 'child_bridged', 'bare_yield', 'asyncio_queue',
        'asyncio_lock', 'task', 'task_green_cleanup', 'task_of_task',
        'gathered', 'waited_for', 'waited_for_coroutine', 'group_end',
        'group_body', 'awaited_green_thread', 'shielded')

for _place in green_places.PLACES:
    if _place.__name__ in LATE:
        for _stop in ('cancel', 'kill', 'kill with exception'):
            for _way in WAYS:
                for _order in (True, False):
                    for _pauses in (True, False):
                        cases.add('%s: result %s %s, %s%s' % (
                            _place.__name__, 'then' if _order else 'after',
                            _stop, _way, '' if _pauses else ', and ends'),
                            stopped_and_let_on, _place, STOPS[_stop],
                            WAYS[_way], _order, _pauses)


# -- what is handed to one that is stopped gets to somebody

class Handed:
    """Several tasks wait for things; each has to get to one of them."""

    def __init__(self, make: Any) -> None:
        self.shared = make()
        self.got: list[Any] = []
        self.greenlets: list[Any] = []
        self.tasks = [aiohub.get_loop().create_task(self.run())
                      for _ in range(3)]
        cases.turns(3)
        assert len(self.greenlets) == 3

    async def run(self) -> None:
        self.greenlets.append(greenlet.getcurrent())
        self.got.append(await self.shared.take())
        # A cancel that was late comes here, or at the end.
        eventlet.sleep(0)

    def end(self) -> None:
        for task in self.tasks:
            cases.until(task.done)


class GreenQueue:
    def __init__(self) -> None:
        self.queue = eventlet.Queue()

    async def take(self) -> Any:
        return self.queue.get()

    def put(self) -> None:
        self.queue.put('item')

    def left(self) -> int:
        return self.queue.qsize()


class GreenSemaphore:
    def __init__(self) -> None:
        self.semaphore = eventlet.Semaphore(0)

    async def take(self) -> Any:
        self.semaphore.acquire()
        return 'item'

    def put(self) -> None:
        self.semaphore.release()

    def left(self) -> int:
        return self.semaphore.counter


class AsyncQueue(GreenQueue):
    def __init__(self) -> None:
        self.queue: Any = asyncio.Queue()

    async def take(self) -> Any:
        return await self.queue.get()

    def put(self) -> None:
        self.queue.put_nowait('item')


class AsyncSemaphore(GreenSemaphore):
    def __init__(self) -> None:
        self.semaphore: Any = asyncio.Semaphore(0)

    async def take(self) -> Any:
        await self.semaphore.acquire()
        return 'item'

    def left(self) -> int:
        return self.semaphore._value


class AsyncLock(AsyncSemaphore):
    """It is passed on by each that gets it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.lock._locked = True
        self.items = 0

    async def take(self) -> Any:
        async with self.lock:
            while not self.items:
                self.lock.release()
                await asyncio.sleep(0)
                await self.lock.acquire()
            self.items -= 1
            return 'item'

    def put(self) -> None:
        self.items += 1
        if self.lock.locked():
            self.lock.release()

    def left(self) -> int:
        return self.items


class AsyncLockOnce(AsyncSemaphore):
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.lock._locked = True

    async def take(self) -> Any:
        async with self.lock:
            return 'item'

    def put(self) -> None:
        if self.lock.locked():
            self.lock.release()

    def left(self) -> int:
        return not self.lock.locked()


SHARED = {'Queue': GreenQueue, 'Semaphore': GreenSemaphore,
          'asyncio.Queue': AsyncQueue, 'asyncio.Semaphore': AsyncSemaphore}


def handed(make: Any, stop: Any, way: Any, order: bool) -> None:
    """The first is stopped as one thing comes; then two more come."""
    trial = Handed(make)

    def stop_it() -> None:
        if stop is Cancel:
            trial.tasks[0].cancel()
        elif not trial.tasks[0].done():
            greenthread.kill(trial.greenlets[0], stop.kind())

    actions = [trial.shared.put, stop_it]
    way(*(actions if order else actions[::-1]))
    cases.turns(20)
    trial.shared.put()
    cases.turns(5)
    trial.shared.put()
    trial.end()
    assert len(trial.got) + trial.shared.left() == 3, (
        trial.got, trial.shared.left())
    assert len(trial.got) >= 2
    for task in trial.tasks[1:]:
        assert task.result() is None
    first = trial.tasks[0]
    if len(trial.got) == 2:
        assert first.cancelled() or isinstance(first.exception(), stop.kind)
    elif not first.cancelled():
        assert first.exception() is None or isinstance(
            first.exception(), stop.kind)


def lock_handed(stop: Any, way: Any, order: bool) -> None:
    """A lock passes to the next one if the first is stopped."""
    trial = Handed(AsyncLockOnce)

    def stop_it() -> None:
        if stop is Cancel:
            trial.tasks[0].cancel()
        elif not trial.tasks[0].done():
            greenthread.kill(trial.greenlets[0], stop.kind())

    actions = [trial.shared.put, stop_it]
    way(*(actions if order else actions[::-1]))
    trial.end()
    assert len(trial.got) >= 2
    assert not trial.shared.lock.locked()
    if not trial.tasks[0].cancelled():
        trial.tasks[0].exception()


for _way in WAYS:
    for _stop in STOPS:
        for _order in (True, False):
            for _shared in SHARED:
                cases.add('%s handed %s %s, %s' % (
                    _shared, 'before' if _order else 'after', _stop, _way),
                    handed, SHARED[_shared], STOPS[_stop], WAYS[_way], _order)
            cases.add('asyncio.Lock handed %s %s, %s' % (
                'before' if _order else 'after', _stop, _way),
                lock_handed, STOPS[_stop], WAYS[_way], _order)


# -- woken, and stopped before it runs

class Raw(green_places.Green):
    """In the hub itself; woken by a switch."""

    def call(self) -> Any:
        return hubs.get_hub().switch()


class RawInChild(Raw):
    async def wait(self) -> Any:
        self.reached = True
        return await green_places.spawn_child(self.call_in_child)

    def call_in_child(self) -> Any:
        self.child = greenlet.getcurrent()
        return self.call()


def woken_and_stopped(place: Any, stop: Any, way: Any) -> None:
    """What it was woken with is not lost, nor is the exception."""
    trial = Trial(place())
    trial.wait_until_there()
    one = stop(trial)
    way(green_stops.Switch(trial, 'value'), one)
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    assert trial.first == 'value', trial.first
    matched(trial.seen(), [one])


def woken_twice(place: Any, way: Any) -> None:
    """The first counts, and the second is nothing to what comes then."""
    trial = Trial(place())
    trial.wait_until_there()
    way(green_stops.Switch(trial, 'value'), green_stops.Switch(trial, 'again'))
    cases.until(trial.task.done)
    assert trial.task.result() == 'end'
    assert trial.first == 'value', trial.first
    assert not trial.later


for _way in WAYS:
    if _way in ('by callbacks', 'by turns'):
        continue  # a callback that switches is left
    for _place in (Raw, RawInChild):
        for _stop in STOPS:
            cases.add('%s woken, then %s, %s' % (
                _place.__name__, _stop, _way), woken_and_stopped,
                _place, STOPS[_stop], WAYS[_way])
    cases.add('Raw woken twice, %s' % _way, woken_twice, Raw, WAYS[_way])

cases.run_all()
gc.collect()
cases.turns()
assert not asyncio.all_tasks(aiohub.get_loop())
mode.done()
