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

"""Green calls in coroutines that wait for locks, conditions and events.

Each in two tasks and a green thread at once, while others go on. After
monkey patching with the names of the standard library; else with eventlet's.
"""

import asyncio
import threading

import cases
import meanwhile
import mode

from eventlet import event
from eventlet import semaphore

if not mode.PATCHED:
    from eventlet.green import threading

call = meanwhile.call


class Stop(Exception):
    pass


# -- locks

def holding(lock, others):
    """Hold a lock until others have gone on; everybody else waits for it."""
    holders = []

    def call(who):
        with lock:
            assert not holders
            holders.append(who)
            who.check()
            others.go_on()
            who.check()
            assert holders == [who]
            holders.clear()
        assert lock.acquire(timeout=60)
        assert not holders
        lock.release()

    return call


@call
def threading_lock(others):
    return holding(threading.Lock(), others)


@call
def threading_rlock(others):
    return holding(threading.RLock(), others)


@call
def threading_semaphore(others):
    return holding(threading.Semaphore(), others)


@call
def eventlet_semaphore(others):
    return holding(semaphore.Semaphore(), others)


@call
def eventlet_bounded_semaphore(others):
    return holding(semaphore.BoundedSemaphore(), others)


@call
def eventlet_capped_semaphore(others):
    capped = semaphore.CappedSemaphore(0, 1)

    def call(who):
        others.then(capped.release)
        capped.acquire()

    return call


@call
def lock_held_in_await(others):
    lock, holders = threading.Lock(), []

    async def call(who):
        with lock:
            holders.append(who)
            await asyncio.sleep(0)
            others.go_on()
            await asyncio.sleep(0)
            assert holders == [who]
            holders.clear()

    return call


@call
def lock_timeout(others):
    lock = threading.Lock()
    lock.acquire()

    def call(who):
        assert not lock.acquire(blocking=False)
        gone_on = others.since_now()
        while not gone_on():
            assert not lock.acquire(timeout=0.001)
            who.check()

    return call


@call
def rlock_belongs_to_the_task(others):
    lock = threading.RLock()

    async def call(who):
        with lock:
            await asyncio.sleep(0)
            others.go_on()
            with lock:
                await asyncio.sleep(0)
                assert not await asyncio.create_task(attempt())
            others.go_on()
            who.check()

    async def attempt():
        try:
            lock.release()
        except RuntimeError:
            return lock.acquire(blocking=False)
        raise AssertionError('a task has released what another holds')

    return call


# -- conditions and events

@call
def condition(others):
    changed = threading.Condition()

    def call(who):
        done = []

        def change():
            with changed:
                done.append(who)
                changed.notify_all()

        others.then(change)
        with changed:
            # Nobody else holds it while this one looks.
            assert changed.wait_for(lambda: who.check() and done)
        never = threading.Condition()
        with never:
            assert not never.wait(0.001)

    return call


@call
def threading_event(others):
    def call(who):
        done = threading.Event()
        assert not done.wait(0.001)
        others.then(done.set)
        assert done.wait()
        assert done.wait(60)

    return call


@call
def threading_barrier(others):
    barrier = threading.Barrier(4)

    def call(who):
        others.then(lambda: barrier.n_waiting == 3 and barrier.wait())
        barrier.wait(60)

    return call


@call
def eventlet_event(others):
    def call(who):
        done, failed = event.Event(), event.Event()
        others.then(done.send, who)
        assert done.wait() is who
        others.then(failed.send_exception, Stop(who))
        try:
            failed.wait()
        except Stop as exc:
            assert exc.args == (who,)
        else:
            raise AssertionError

    return call

cases.run_all()
mode.done()
