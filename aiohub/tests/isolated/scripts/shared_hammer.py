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

"""16 native threads, 400 green threads and 100 green tasks share primitives.

Eight of the native threads have no hub; eight have one, and work in four
green threads each. All do the same at once, and what they have done is
counted. Who is never woken hangs; after a long time the tracebacks of all
threads are printed then.
"""

import asyncio
from collections.abc import Callable
import concurrent.futures
import contextlib
import faulthandler
import io
import itertools
import logging
import queue
import random
import sys
import threading
from typing import Any

import mode

import aiohub
import eventlet
from eventlet import event
from eventlet.green import Queue as green_queue
from eventlet.green import threading as green_threading
from eventlet import hubs
from eventlet import queue as eventlet_queue
from eventlet import semaphore
from eventlet import tpool
import greenlet

faulthandler.dump_traceback_later(60, exit=True)
# Threads take turns in the middle of everything.
sys.setswitchinterval(1e-5)

green = threading if mode.PATCHED else green_threading
queues = queue if mode.PATCHED else green_queue
NATIVE, GREEN, TASKS = 16, 400, 100
ALL = NATIVE // 2 * (1 + 4) + GREEN + TASKS

Work = Callable[[int], object]


def together(work: Work) -> None:
    """Have everybody call *work* with a number of its own, all at once."""
    numbers = itertools.count()
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work(next(numbers))
        except BaseException as exc:
            failures.append(exc)

    async def in_task() -> None:
        guarded()

    def with_hub() -> None:
        for one in [eventlet.spawn(guarded) for _ in range(4)]:
            one.wait()

    threads = [mode.native.Thread(target=with_hub if n % 2 else guarded)
               for n in range(NATIVE)]
    greens = [eventlet.spawn(guarded) for _ in range(GREEN)]
    tasks = [aiohub.get_loop().create_task(in_task()) for _ in range(TASKS)]
    for thread in threads:
        thread.start()
    for one in greens:
        one.wait()
    aiohub.await_(asyncio.gather(*tasks))
    for thread in threads:
        tpool.execute(thread.join)
    if failures:
        raise failures[0]
    assert next(numbers) == ALL


def let_others() -> None:
    """Let others run, in this hub or in others, or go on."""
    choice = random.random()
    if choice < 0.3:
        mode.native_time.sleep(0)
    elif choice < 0.6 and hubs._threadlocal.__dict__.get('hub'):
        eventlet.sleep(0)


# -- locks

def exclude(lock: Any, times: int = 10, limit: int = 1) -> None:
    inside = []
    done = []

    def work(number: int) -> None:
        for _ in range(times):
            with lock:
                inside.append(number)
                assert len(inside) <= limit, 'too many are inside'
                let_others()
                inside.remove(number)
                done.append(number)

    together(work)
    assert len(done) == ALL * times


def lock() -> None:
    exclude(green.Lock())


def rlock() -> None:
    reentrant = green.RLock()

    class Twice:
        def __enter__(self) -> None:
            reentrant.acquire()
            let_others()
            reentrant.acquire()

        def __exit__(self, *exc_info: object) -> None:
            reentrant.release()
            let_others()
            reentrant.release()

    exclude(Twice(), times=5)


def semaphores() -> None:
    exclude(semaphore.Semaphore(1), times=5)
    exclude(semaphore.BoundedSemaphore(3), times=5, limit=3)
    exclude(green.Semaphore(3), times=5, limit=3)
    # Bounded at both ends: who releases waits, too.
    capped = semaphore.CappedSemaphore(2, 4)
    exclude(capped, times=2, limit=2)
    assert (capped.lower_bound.counter, capped.upper_bound.counter) == (
        2, 2), capped


def impatient_locks() -> None:
    """Many leave the line, and what was theirs is passed on."""
    shared = semaphore.Semaphore(2)
    got = []

    def work(number: int) -> None:
        for _ in range(5):
            if shared.acquire(timeout=random.random() / 500):
                let_others()
                got.append(number)
                shared.release()
            if shared.acquire(blocking=False):
                shared.release()
        with shared:
            got.append(number)

    together(work)
    assert len(got) >= ALL
    assert (shared.counter, shared.balance, len(shared._waiters)) == (2, 2, 0)


def killed() -> None:
    """Green threads are killed, tasks cancelled, while they wait or have."""
    shared = semaphore.Semaphore(1)
    items: Any = eventlet_queue.Queue()
    kept: list[int] = []

    def victim() -> None:
        with shared:
            let_others()
        kept.append(items.get())

    async def task() -> None:
        victim()

    def work(number: int) -> None:
        if not hubs._threadlocal.__dict__.get('hub'):
            with shared:
                let_others()
            items.put(number)
            return
        for _ in range(3):
            one = eventlet.spawn(victim)
            for _ in range(random.randrange(4)):
                eventlet.sleep(0)
            items.put(number)
            one.kill()
            with contextlib.suppress(greenlet.GreenletExit):
                one.wait()
        if number % 5 == 0:
            tasked = aiohub.get_loop().create_task(task())
            for _ in range(random.randrange(4)):
                eventlet.sleep(0)
            items.put(number)
            tasked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                aiohub.await_(tasked)

    before = eventlet.spawn(victim)
    together(work)
    before.kill()
    assert (shared.counter, len(shared._waiters)) == (1, 0), shared
    assert not items.getting()
    # Each item is there, or somebody has got it. One who was killed between
    # getting it and keeping it would be neither; there is no such place.
    while True:
        try:
            kept.append(items.get_nowait())
        except queue.Empty:
            break
    assert items.qsize() == 0
    assert items.unfinished_tasks == len(kept), (
        items.unfinished_tasks, len(kept))


# -- conditions and events

def condition() -> None:
    """A buffer with room for three."""
    changed = green.Condition()
    buffer: list[int] = []
    got: list[int] = []

    def work(number: int) -> None:
        for _ in range(3):
            with changed:
                changed.wait_for(lambda: len(buffer) < 3)
                buffer.append(number)
                changed.notify_all()
            with changed:
                changed.wait_for(lambda: buffer)
                got.append(buffer.pop())
                changed.notify_all()

    together(work)
    assert sorted(got) == sorted(list(range(ALL)) * 3)


def one_notified() -> None:
    """Each notify() wakes one, and no more are needed."""
    changed = green.Condition()
    buffer: list[int] = []
    got: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            if number % 2:
                with changed:
                    buffer.append(number)
                    changed.notify()
            else:
                with changed:
                    while not buffer:
                        changed.wait()
                    got.append(buffer.pop())

    # An even number of participants: as many give as take.
    assert ALL % 2 == 0
    together(work)
    assert len(got) == ALL // 2 * 5 and not buffer


def threading_event() -> None:
    rounds = [green.Event() for _ in range(6)]
    arrived: list[int] = []

    def work(number: int) -> None:
        for index, one in enumerate(rounds):
            arrived.append(number)
            if len(arrived) >= ALL * (index + 1):
                one.set()  # the last one lets all go on
            assert one.wait()
            assert one.is_set()

    together(work)
    assert len(arrived) == ALL * len(rounds)


def eventlet_event() -> None:
    rounds = [event.Event() for _ in range(6)]
    failing = event.Event()
    arrived: list[int] = []
    last = green.Lock()

    def work(number: int) -> None:
        for index, one in enumerate(rounds):
            with last:
                arrived.append(number)
                is_last = len(arrived) == ALL * (index + 1)
            if is_last:
                one.send(index)
            while (got := one.wait(timeout=random.choice(
                    (None, 0.0001, 60)))) is None:
                pass
            assert got == index
        with last:
            arrived.append(number)
            is_last = len(arrived) == ALL * (len(rounds) + 1)
        if is_last:
            failing.send_exception(LookupError('for all'))
        try:
            failing.wait()
        except LookupError:
            pass
        else:
            raise AssertionError('nothing was raised')

    together(work)


def threads_joined() -> None:
    """GreenThread.wait(), from everywhere."""
    held = event.Event()
    begun: Any = eventlet_queue.Queue()

    def waited_for() -> str:
        begun.put(None)
        return held.wait()

    one = eventlet.spawn(waited_for)
    begun.get()
    arrived: list[int] = []
    last = green.Lock()

    def work(number: int) -> None:
        with last:
            arrived.append(number)
            is_last = len(arrived) == ALL
        if is_last:
            held.send('result')
        assert one.wait() == 'result'

    together(work)


# -- queues

def conveyed(between: Any, times: int = 6) -> None:
    """Half of all put, the others get, and nothing is lost or doubled."""
    got: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for time in range(times):
            if number % 2:
                between.put((number, time))
            else:
                got.append(between.get())
                if hasattr(between, 'task_done'):
                    between.task_done()

    together(work)
    assert sorted(got) == sorted(
        (number, time) for number in range(1, ALL, 2)
        for time in range(times)), len(got)
    assert between.empty()


def plain_queue() -> None:
    conveyed(queues.Queue())
    conveyed(eventlet_queue.LightQueue())


def simple_queue() -> None:
    conveyed(queue.SimpleQueue() if mode.PATCHED else queues.Queue())


def bounded_queues() -> None:
    conveyed(queues.Queue(3))
    conveyed(eventlet_queue.LightQueue(1))


def channel() -> None:
    conveyed(eventlet_queue.Queue(0))


def ordered_queues() -> None:
    conveyed(queues.PriorityQueue())
    conveyed(queues.LifoQueue(2))


def queue_joined() -> None:
    """join() returns for everybody once all is done, and not before."""
    for limit in (0, 4):
        work_queue = queues.Queue(limit)
        done: list[int] = []
        expected = 0

        def work(number: int) -> None:
            for _ in range(3):
                work_queue.put(number)
                item = work_queue.get()
                let_others()
                done.append(item)
                work_queue.task_done()
            work_queue.join()

        together(work)
        expected += ALL * 3
        assert len(done) == expected and work_queue.unfinished_tasks == 0


def impatient_queues() -> None:
    """Many go away with nothing; what was put is there for others."""
    for between in (queues.Queue(), queues.Queue(2), queues.LifoQueue(),
                    eventlet_queue.Queue(0)):
        given: list[int] = []
        got: list[int] = []

        def work(number: int) -> None:
            for _ in range(4):
                try:
                    between.put(number, timeout=random.random() / 500)
                    given.append(number)
                except queue.Full:
                    pass
                try:
                    got.append(between.get(timeout=random.random() / 500))
                except queue.Empty:
                    pass
                try:
                    between.put_nowait(number)
                    given.append(number)
                except queue.Full:
                    pass
                try:
                    got.append(between.get_nowait())
                except queue.Empty:
                    pass

        together(work)
        while True:
            try:
                got.append(between.get_nowait())
            except queue.Empty:
                break
        assert sorted(got) == sorted(given), (len(got), len(given))
        assert not between.getters and not between.putters


# -- what is made of them

def futures() -> None:
    """Results go from everybody to everybody."""
    made = [concurrent.futures.Future() for _ in range(ALL)]

    def work(number: int) -> None:
        other = (number * 7 + 1) % ALL
        made[number].set_result(number)
        assert made[other].result() == other
        assert made[(number + 1) % ALL].result(timeout=60) is not None
        done, _ = concurrent.futures.wait(made[number:number + 5])
        assert len(done) == len(made[number:number + 5])

    together(work)


def logs() -> None:
    """A handler whose stream lets others run in the middle of a line."""
    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            for character in text:
                super().write(character)
            let_others()
            return len(text)

    stream = Slow()
    handler = logging.StreamHandler(stream)
    if not mode.PATCHED:
        handler.lock = green.RLock()
    logger = logging.getLogger('hammered')
    logger.propagate = False
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def work(number: int) -> None:
        for _ in range(3):
            logger.info('line of %d', number)

    together(work)
    assert sorted(stream.getvalue().splitlines()) == sorted(
        ['line of %d' % number for number in range(ALL)] * 3)


for name in sys.argv[1:]:
    print(name, flush=True)
    globals()[name]()
print('pass')
