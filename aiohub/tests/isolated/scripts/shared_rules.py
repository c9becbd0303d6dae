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

"""What locks, events and queues do in each order of two things that happen.

The other scripts have everything happen at once; here one thing happens after
the other: who waits is killed, or its hub closed, when it has been woken or
has not; the process forks; a signal handler or a finalizer comes in between.
"""

import gc
import os
import queue
import signal
import threading

import cases
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet.green import Queue as green_queue
from eventlet.green import threading as green_threading
from eventlet import greenpool
from eventlet import hubs
from eventlet import queue as eventlet_queue
from eventlet import semaphore
from eventlet import tpool
import greenlet

green = threading if mode.PATCHED else green_threading
queues = queue if mode.PATCHED else green_queue


class Native:
    """A function in a native thread; others run here meanwhile."""

    def __init__(self, function) -> None:
        self._failure: list[BaseException] = []
        self._function = function
        self.thread = mode.native.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as exc:
            self._failure.append(exc)

    def join(self) -> None:
        while self.thread.is_alive():
            eventlet.sleep(0.001)
        assert not self._failure, self._failure


def waiting(line) -> None:
    cases.until(lambda: len(line))


# -- who has been woken and goes away

@cases.case
def killed_with_a_permit() -> None:
    for before in (False, True):
        shared = semaphore.Semaphore(0)
        first, second = [
            eventlet.spawn(shared.acquire) for _ in range(2)]
        eventlet.sleep(0)
        if before:
            # The hub kills it in the same turn, and first.
            hubs.get_hub().schedule_call_global(
                0, first.throw, greenlet.GreenletExit)
        shared.release()  # it is the first one's now
        if not before:
            first.kill()
        assert second.wait() is True
        assert (shared.counter, shared.balance) == (0, 0)


@cases.case
def killed_with_an_item() -> None:
    for made in (queues.Queue, lambda: queues.Queue(1),
                 queues.PriorityQueue, eventlet_queue.LightQueue,
                 lambda: eventlet_queue.Queue(0)):
        shared = made()
        greens = {eventlet.spawn(shared.get) for _ in range(2)}
        eventlet.sleep(0)
        before = set(shared.getters)
        putting = eventlet.spawn(shared.put, 'item')
        cases.until(lambda shared=shared, before=before:
                    set(shared.getters) != before)
        woken = (before - shared.getters).pop()
        victim = woken._green
        greens.remove(victim)
        victim.kill()
        assert greens.pop().wait() == 'item'
        putting.wait()
        assert shared.empty() and not shared.getters


@cases.case
def killed_with_room() -> None:
    shared = queues.Queue(1)
    shared.put('first')
    greens = {eventlet.spawn(shared.put, n) for n in range(2)}
    eventlet.sleep(0)
    before = set(shared.putters)
    assert shared.get() == 'first'
    victim = (before - shared.putters).pop()._green
    greens.remove(victim)
    victim.kill()
    greens.pop().wait()
    assert shared.get() in (0, 1)
    assert shared.empty() and not shared.putters


@cases.case
def timed_out_when_it_is_woken() -> None:
    """Both in one turn: whoever waits next gets what it does not take."""
    shared = semaphore.Semaphore(0)
    got = []
    for _ in range(50):
        first = eventlet.spawn(shared.acquire, timeout=0.001)
        eventlet.sleep(0)
        second = eventlet.spawn(shared.acquire)
        mode.native_time.sleep(0.001)  # it is due, and nobody has looked
        shared.release()
        got.append(first.wait())
        if got[-1]:
            shared.release()
        assert second.wait() is True
    assert (shared.counter, len(shared._waiters)) == (0, 0)


@cases.case
def a_hub_is_closed_while_one_waits_there() -> None:
    """What it is given goes to the next one."""
    for end in ('thread', 'close'):
        shared = semaphore.Semaphore(0)
        items = queues.Queue()

        def begin(shared=shared, items=items, end=end) -> None:
            eventlet.spawn(shared.acquire)
            eventlet.spawn(items.get)
            eventlet.sleep(0)
            if end == 'close':
                hubs.get_hub().close()

        Native(begin).join()
        assert (len(shared._waiters), len(items.getters)) == (1, 1)
        mine = eventlet.spawn(shared.acquire), eventlet.spawn(items.get)
        eventlet.sleep(0)
        shared.release()
        # A set has no order: either of the two may be woken first.
        items.put('item')
        assert [one.wait() for one in mine] == [True, 'item']


# -- threads

@cases.case
def woken_where_they_wait() -> None:
    """Each goes on in its own thread, whoever wakes it."""
    for with_hub in (False, True):
        shared = green.Lock()
        happened = event.Event()
        items = queues.Queue()
        places: list[bool] = []

        def wait(shared=shared, happened=happened, items=items,
                 places=places) -> None:
            ident = mode.native.get_ident()
            with shared:
                places.append(mode.native.get_ident() == ident)
            assert happened.wait() == 'sent'
            assert items.get() == 'item'
            places.append(mode.native.get_ident() == ident)

        def begin(wait=wait, with_hub=with_hub) -> None:
            if with_hub:
                eventlet.spawn(wait).wait()
            else:
                wait()
                assert hubs._threadlocal.__dict__.get('hub') is None

        shared.acquire()
        native = Native(begin)
        waiting(shared._waiters)
        shared.release()
        waiting(happened._waiters)
        happened.send('sent')
        waiting(items.getters)
        items.put('item')
        native.join()
        assert places == [True, True]


@cases.case
def native_threads_wait_for_a_time() -> None:
    def wait() -> None:
        assert semaphore.Semaphore(0).acquire(timeout=0.001) is False
        assert event.Event().wait(timeout=0.001) is None
        for call in (lambda: queues.Queue().get(timeout=0.001),
                     lambda: queues.Queue().get_nowait()):
            try:
                call()
            except queue.Empty:
                pass
            else:
                raise AssertionError('it got something')
        full = queues.Queue(1)
        full.put(1)
        for call in (lambda: full.put(2, timeout=0.001),
                     lambda: full.put_nowait(2)):
            try:
                call()
            except queue.Full:
                pass
            else:
                raise AssertionError('there was room')
        assert not full.putters

    Native(wait).join()


# -- what eventlet makes of them

@cases.case
def counters() -> None:
    shared = semaphore.Semaphore(2)
    assert (shared.counter, shared.balance, shared.locked()) == (2, 2, False)
    shared.counter -= 3
    assert (shared.counter, shared.balance, shared.locked()) == (-1, -1, True)
    one = eventlet.spawn(shared.acquire)
    eventlet.sleep(0)
    assert (shared.counter, shared.balance) == (-1, -2)
    shared.release()
    eventlet.sleep(0)
    assert not one.dead and (shared.counter, shared.balance) == (0, -1)
    shared.counter += 2
    assert one.wait() is True
    assert (shared.counter, shared.balance) == (1, 1)
    for wrong, error in ((-1, ValueError), ('many', TypeError)):
        try:
            semaphore.Semaphore(wrong)
        except error:
            pass
        else:
            raise AssertionError('%r was taken' % wrong)
    many = semaphore.Semaphore(10 ** 12)
    assert many.acquire() and many.acquire(False)
    assert many.counter == 10 ** 12 - 2
    many.release()
    assert many.counter == 10 ** 12 - 1
    bounded = semaphore.BoundedSemaphore(1)
    try:
        bounded.release()
    except ValueError:
        pass
    else:
        raise AssertionError('it was released too often')
    lock = green.Lock()
    try:
        lock.release()
    except RuntimeError:
        pass
    else:
        raise AssertionError('it was not locked')


@cases.case
def pools() -> None:
    pool = greenpool.GreenPool(2)
    held = event.Event()
    for _ in range(2):
        pool.spawn(held.wait)
    eventlet.sleep(0)
    assert (pool.free(), pool.waiting()) == (0, 0)
    pool.resize(1)
    late = eventlet.spawn(pool.spawn, int)
    eventlet.sleep(0)
    assert pool.free() == -1 and not late.dead
    pool.resize(3)
    late.wait()
    held.send()
    pool.waitall()
    assert pool.free() == 3


@cases.case
def queues_in_their_classes() -> None:
    """Classes that keep items otherwise, or look at them, do so still."""
    class Once(eventlet_queue.Queue):
        def _init(self, maxsize):
            self.queue = {}

        def _put(self, item):
            self.queue[item] = None
            self._put_bookkeeping()

        def _get(self):
            return self.queue.popitem()[0]

    class Upper(eventlet_queue.LightQueue):
        def _get(self):
            return super()._get().upper()

    once = Once()
    for item in ('a', 'a', 'b'):
        once.put(item)
    assert sorted(once.get() for _ in range(2)) == ['a', 'b']
    upper = Upper()
    upper.put('a')
    assert upper.get() == 'A'
    ordered = queues.PriorityQueue()
    for number in (3, 1, 2):
        ordered.put(number)
    assert [ordered.get() for _ in range(3)] == [1, 2, 3]
    last = queues.LifoQueue()
    for number in (1, 2):
        last.put(number)
    assert [last.get(), last.get()] == [2, 1]
    ordered.put(1)
    try:
        ordered.put('not to be compared')
    except TypeError:
        pass
    else:
        raise AssertionError('it was compared')
    assert ordered.get() == 1
    resized = eventlet_queue.Queue(1)
    resized.put(1)
    putting = [eventlet.spawn(resized.put, number) for number in (2, 3)]
    eventlet.sleep(0)
    assert resized.putting() == 2
    resized.resize(None)
    for one in putting:
        one.wait()
    assert resized.qsize() == 3


# -- what comes in between

@cases.case
def from_a_signal_handler() -> None:
    """At rest: nothing else would wake the hub before long."""
    shared = semaphore.Semaphore(0)
    happened = event.Event()
    items = queues.Queue()

    def handler(signum, frame) -> None:
        shared.release()
        happened.send('sent')
        items.put('item')

    before = signal.signal(signal.SIGUSR1, handler)
    far = hubs.get_hub().schedule_call_global(1000, int)
    greens = [eventlet.spawn(wait) for wait in (
        shared.acquire, happened.wait, items.get)]
    mode.when_polling(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert [one.wait() for one in greens] == [True, 'sent', 'item']
    far.cancel()
    signal.signal(signal.SIGUSR1, before)


@cases.case
def in_finalizers() -> None:
    """They use what the code that they interrupt is using."""
    shared = semaphore.Semaphore(1)
    items = {kind: kind() for kind in (
        queues.Queue, queues.PriorityQueue, eventlet_queue.LightQueue)}
    limited = queues.Queue(10 ** 9)
    made = 0
    freed = []

    class Garbage:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            for one in (*items.values(), limited):
                one.put(-1)
            if shared.acquire(False):
                shared.release()
            freed.append(None)

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(2000):
            Garbage()
            made += 1
            for one in (*items.values(), limited):
                one.put(number)
            with shared:
                pass
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert len(freed) == made
    for one in (*items.values(), limited):
        got = [one.get() for _ in range(one.qsize())]
        assert sorted(got) == sorted([-1] * made + list(range(made)))
    assert shared.counter == 1


@cases.case
def a_fork_in_between() -> None:
    """Other threads hold what they hold, and the child can go on."""
    shared = queues.Queue(2)
    stop: list[None] = []

    def busy() -> None:
        while not stop:
            shared.put(1)
            shared.get()

    threads = [Native(busy) for _ in range(3)]
    try:
        for _ in range(20):
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    own = queues.Queue(1)
                    reading = eventlet.spawn(own.get)
                    eventlet.sleep(0)
                    own.put('item')
                    assert reading.wait() == 'item'
                    lock = green.Lock()
                    with lock:
                        late = eventlet.spawn(lock.acquire)
                        eventlet.sleep(0)
                    assert late.wait() is True
                    lock._at_fork_reinit()
                    assert not lock.locked()
                    status = 0
                finally:
                    os._exit(status)
            # Others run: it is the threads' hub that waits here.
            assert tpool.execute(os.waitpid, pid, 0)[1] == 0
    finally:
        stop.append(None)
    for one in threads:
        one.join()


assert aiohub.enabled()
tpool.execute(int)  # its reader stays
cases.run_all()
mode.done()
