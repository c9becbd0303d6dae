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

"""Green calls in coroutines that wait for others: in time, queues, threads.

Each in two tasks and a green thread at once, while others go on. After
monkey patching with the names of the standard library; else with eventlet's.
"""

import asyncio
import threading
import time

import cases
import meanwhile
import mode

import eventlet
from eventlet import debug
from eventlet import queue as eventlet_queue

if mode.PATCHED:
    import queue
else:
    from eventlet.green import Queue as queue
    from eventlet.green import threading
    from eventlet.green import time

call = meanwhile.call


class Stop(Exception):
    pass


# -- sleep

def sleeping(sleep, others):
    def call(who):
        gone_on = others.since_now()
        for _ in range(5000):
            if gone_on():
                return
            sleep(0.001)
            who.check()
        raise AssertionError('nobody goes on')

    return call


@call
def time_sleep(others):
    return sleeping(time.sleep, others)


@call
def eventlet_sleep(others):
    return sleeping(eventlet.sleep, others)


@call
def eventlet_sleep_zero(others):
    return sleeping(lambda _: eventlet.sleep(0), others)


# -- queues

def getting(make, others):
    def call(who):
        items = make()
        others.then(items.put, who)
        assert items.get() is who
        others.then(items.put, who)
        assert items.get(timeout=60) is who
        try:
            items.get(timeout=0.001)
        except queue.Empty:
            pass
        else:
            raise AssertionError

    return call


@call
def queue_get(others):
    return getting(queue.Queue, others)


@call
def queue_lifo_get(others):
    return getting(queue.LifoQueue, others)


@call
def eventlet_queue_get(others):
    return getting(eventlet.Queue, others)


@call
def eventlet_light_queue_get(others):
    return getting(eventlet_queue.LightQueue, others)


def putting(make, others):
    items = make(1)
    taken = []

    def take():
        taken.append(items.get())
        items.task_done()

    def call(who):
        for _ in range(3):
            others.then(take)
            items.put(who)
            who.check()
        # All have been taken.
        items.join()
        assert taken.count(who) % 3 == 0 and who in taken

    return call


@call
def queue_put(others):
    return putting(queue.Queue, others)


@call
def eventlet_queue_put(others):
    return putting(eventlet.Queue, others)


@call
def eventlet_queue_of_size_zero(others):
    items = eventlet.Queue(0)

    def call(who):
        others.then(items.get)
        # It waits until somebody takes it.
        items.put(who)

    return call


@call
def queues_between_tasks(others):
    first, second = queue.Queue(1), queue.Queue(1)

    async def pass_on():
        for _ in range(5):
            second.put(first.get())

    async def call(who):
        task = asyncio.create_task(pass_on())
        # Between tasks alone, without any green thread.
        for number in range(5):
            first.put(number)
            who.check()
            await asyncio.sleep(0)
            second.get()
        await task

    return call


# -- green threads

@call
def green_thread_wait(others):
    def call(who):
        def run():
            mine = meanwhile.Who()
            others.go_on()
            mine.check()
            return who

        assert eventlet.spawn(run).wait() is who

    return call


@call
def green_thread_that_fails(others):
    def call(who):
        def run():
            others.go_on()
            debug.hub_exceptions(False)
            raise Stop(who)

        try:
            eventlet.spawn(run).wait()
        except Stop as exc:
            assert exc.args == (who,)
        else:
            raise AssertionError
        debug.hub_exceptions(True)

    return call


@call
def green_pool(others):
    shared = eventlet.GreenPool(2)

    def call(who):
        def double(value):
            others.go_on()
            return 2 * value

        # More than there is room for: spawn() waits, too.
        greens = [shared.spawn(double, n) for n in range(4)]
        assert [green.wait() for green in greens] == [0, 2, 4, 6]
        who.check()
        pool = eventlet.GreenPool(2)
        assert list(pool.imap(double, range(4))) == [0, 2, 4, 6]
        pool.spawn_n(double, 1)
        pool.waitall()
        pile = eventlet.GreenPile(pool)
        pile.spawn(double, 21)
        assert list(pile) == [42]

    return call


@call
def threading_thread(others):
    def call(who):
        seen = []

        def run():
            mine = meanwhile.Who()
            if mode.PATCHED:
                assert threading.current_thread() is thread
            others.go_on()
            mine.check()
            seen.append(who)

        thread = threading.Thread(target=run)
        thread.start()
        who.check()
        assert thread.is_alive() and not seen
        thread.join()
        assert seen == [who] and not thread.is_alive()

    return call


@call
def threading_timer(others):
    def call(who):
        seen = []
        timer = threading.Timer(0.001, seen.append, [who])
        timer.start()
        others.go_on()
        timer.join()
        assert seen == [who]

    return call


cases.run_all()
mode.done()
