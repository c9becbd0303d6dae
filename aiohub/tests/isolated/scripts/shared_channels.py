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

"""Queues without room: who puts an item gives it to who gets it.

Nothing is ever in the queue. Each order of events: who comes first; who is
killed or out of time when an item is offered to it; and in which thread.
"""

import queue

import cases
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs
from eventlet import pools
from eventlet import queue as eventlet_queue
from eventlet import tpool
import greenlet

KINDS = (eventlet_queue.LightQueue, eventlet_queue.Queue,
         eventlet_queue.PriorityQueue, eventlet_queue.LifoQueue)


def raises(error, function, *args, **kwargs) -> None:
    try:
        function(*args, **kwargs)
    except error:
        return
    raise AssertionError('nothing was raised')


def is_unused(channel) -> None:
    assert (channel.qsize(), channel.getting(), channel.putting()) == (
        0, 0, 0)
    assert channel.empty() and channel.full()


def in_hub(function, *args):
    """Call a function in a timer, where nobody can wait."""
    done = event.Event()

    def call() -> None:
        try:
            result = function(*args)
        except Exception as exc:
            result = type(exc)
        done.send(result)

    hubs.get_hub().schedule_call_global(0, call)
    return done.wait()


@cases.case
def who_gets_goes_on_first() -> None:
    for kind in KINDS:
        for getter_first in (True, False):
            channel = kind(0)
            order: list[object] = []

            def get(channel=channel, order=order) -> None:
                for _ in range(2):
                    order.append(channel.get())

            def put(channel=channel, order=order) -> None:
                for item in (1, 2):
                    channel.put(item)
                    order.append('put')

            ways = [get, put] if getter_first else [put, get]
            greens = [eventlet.spawn(way) for way in ways]
            eventlet.sleep(0)
            assert channel.empty() and channel.full()
            for one in greens:
                one.wait()
            if getter_first:
                assert order == [1, 'put', 2, 'put'], order
            else:
                # The second one is not there yet when the first is got.
                assert order[0] == 1 and order.index(2) < 3, order
            is_unused(channel)


@cases.case
def nobody_comes() -> None:
    for kind in KINDS:
        channel = kind(0)
        raises(queue.Full, channel.put, 1, timeout=0.001)
        raises(queue.Empty, channel.get, timeout=0.001)
        raises(queue.Full, channel.put_nowait, 1)
        raises(queue.Empty, channel.get_nowait)
        assert in_hub(channel.put_nowait, 1) is queue.Full
        assert in_hub(channel.get_nowait) is queue.Empty
        is_unused(channel)
    counted = eventlet_queue.Queue(0)
    raises(queue.Full, counted.put, 1, timeout=0.001)
    assert counted.unfinished_tasks == 0


@cases.case
def who_puts_is_killed() -> None:
    """Nobody gets what it had."""
    channel = eventlet_queue.Queue(0)
    gone, other = [eventlet.spawn(channel.put, item) for item in 'ab']
    eventlet.sleep(0)
    assert channel.putting() == 2
    gone.kill()
    assert channel.get() == 'b'
    other.wait()
    assert channel.unfinished_tasks == 1
    is_unused(channel)


@cases.case
def who_is_offered_an_item_is_killed() -> None:
    """Before it has looked, so that another one gets the item, or nobody."""
    for others in (1, 0):
        for late in (True, False):
            channel = eventlet_queue.LightQueue(0)
            getters = [eventlet.spawn(channel.get) for _ in range(3)]
            eventlet.sleep(0)
            for getter in getters[others:]:
                # In the turn in which those who are woken look, but first.
                hubs.get_hub().schedule_call_global(
                    0, getter.throw, greenlet.GreenletExit)
            if not late:
                eventlet.sleep(0)
            if others:
                channel.put_nowait('item')
                assert getters[0].wait() == 'item'
            else:
                raises(queue.Full, channel.put_nowait, 'item')
            is_unused(channel)


@cases.case
def offers_find_each_one() -> None:
    """As many as wait, no matter how many are on their way to look."""
    channel = eventlet_queue.LightQueue(0)
    getters = [eventlet.spawn(channel.get) for _ in range(3)]
    eventlet.sleep(0)
    refused: list[int] = []

    def offer(number: int) -> None:
        try:
            channel.put_nowait(number)
        except queue.Full:
            refused.append(number)

    for one in [eventlet.spawn(offer, n) for n in range(4)]:
        one.wait()
    assert len(refused) == 1
    got = [one.wait() for one in getters]
    assert sorted(got + refused) == list(range(4))
    is_unused(channel)


@cases.case
def an_offer_is_withdrawn() -> None:
    """Who offers is killed before anybody has looked."""
    channel = eventlet_queue.LightQueue(0)
    getter = eventlet.spawn(channel.get)
    eventlet.sleep(0)
    offer = eventlet.spawn(channel.put_nowait, 'lost')
    hubs.get_hub().schedule_call_global(
        0, offer.throw, greenlet.GreenletExit)
    cases.turns()
    assert not getter.dead and channel.getting() == 1
    channel.put('item')
    assert getter.wait() == 'item'
    is_unused(channel)


@cases.case
def the_hub_cannot_wait() -> None:
    """It hands over at once, past those who are killed, or takes."""
    for kind in KINDS:
        channel = kind(0)
        getters = [eventlet.spawn(channel.get) for _ in range(2)]
        eventlet.sleep(0)
        assert in_hub(channel.put_nowait, 'item') is None
        assert channel.getting() == 1
        channel.put('other')
        assert sorted(one.wait() for one in getters) == ['item', 'other']
        putter = eventlet.spawn(channel.put, 'back')
        eventlet.sleep(0)
        raises(queue.Empty, channel.get_nowait)  # it is empty
        assert in_hub(channel.get_nowait) == 'back'
        assert putter.dead
        is_unused(channel)


@cases.case
def the_hub_finds_tasks() -> None:
    channel = eventlet_queue.LightQueue(0)

    async def get() -> str:
        return channel.get()

    task = aiohub.get_loop().create_task(get())
    cases.until(channel.getting)
    assert in_hub(channel.put_nowait, 'item') is None
    assert aiohub.await_(task) == 'item'
    is_unused(channel)


@cases.case
def threads_offer() -> None:
    """Both ways: a thread without a hub, and the hub of this one."""
    channel = eventlet_queue.LightQueue(0)
    native = mode.native.Thread(target=lambda: channel.put('from a thread'))
    getter = eventlet.spawn(channel.get)
    eventlet.sleep(0)
    native.start()
    assert getter.wait() == 'from a thread'
    tpool.execute(native.join)

    getter = eventlet.spawn(channel.get)
    eventlet.sleep(0)
    native = mode.native.Thread(target=lambda: channel.put_nowait('offered'))
    native.start()
    assert getter.wait() == 'offered'
    tpool.execute(native.join)

    got: list[object] = []
    native = mode.native.Thread(target=lambda: got.append(channel.get()))
    native.start()
    cases.until(channel.getting)
    channel.put_nowait('to a thread')
    tpool.execute(native.join)
    assert got == ['to a thread']

    native = mode.native.Thread(target=lambda: channel.put('taken'))
    native.start()
    cases.until(channel.putting)
    assert in_hub(channel.get_nowait) == 'taken'
    tpool.execute(native.join)

    # The hub cannot wait until a thread has looked.
    native = mode.native.Thread(target=lambda: got.append(channel.get()))
    native.start()
    cases.until(channel.getting)
    assert in_hub(channel.put_nowait, 'lost') is queue.Full
    assert channel.getting() == 1
    channel.put('found')
    tpool.execute(native.join)
    assert got == ['to a thread', 'found']
    is_unused(channel)


@cases.case
def the_last_one_in_a_thread_goes() -> None:
    """An offer to who is out of time just then has an end, and is right."""
    for number in range(200):
        channel = eventlet_queue.LightQueue(0)
        got: list[object] = []

        def get(channel=channel, got=got, number=number) -> None:
            try:
                got.append(channel.get(timeout=number % 10 / 10000))
            except queue.Empty:
                pass

        native = mode.native.Thread(target=get)
        native.start()
        cases.until(lambda channel=channel, native=native:
                    channel.getting() or not native.is_alive())
        try:
            channel.put_nowait('item')
            given = ['item']
        except queue.Full:
            given = []
        tpool.execute(native.join)
        assert got == given
        is_unused(channel)


@cases.case
def room_is_made() -> None:
    channel = eventlet_queue.Queue(0)
    putters = [eventlet.spawn(channel.put, n) for n in range(3)]
    eventlet.sleep(0)
    channel.resize(2)
    cases.until(lambda: channel.qsize() == 2)
    assert channel.putting() == 1
    channel.resize(0)
    assert {channel.get() for _ in range(3)} == {0, 1, 2}
    for one in putters:
        one.wait()
    is_unused(channel)


@cases.case
def a_pool_loses_nothing() -> None:
    """Its users wait in a channel, with time limits that come to an end."""
    pool = pools.Pool(max_size=2, create=object)
    used: list[object] = []

    def use(number: int) -> None:
        for _ in range(10):
            item = None
            with eventlet.Timeout(0.001 * (number % 5), False):
                item = pool.get()
            if item is not None:
                used.append(item)
                eventlet.sleep(0.0005 * (number % 3))
                # Not in the time limit: what ends an offer loses the item.
                pool.put(item)

    greens = [eventlet.spawn(use, number) for number in range(20)]
    for one in greens:
        one.wait()
    assert pool.free() == 2 and pool.waiting() == 0
    assert len(set(used)) <= 2
    is_unused(pool.channel)


assert aiohub.enabled()
tpool.execute(int)  # its reader stays
cases.run_all()
mode.done()
