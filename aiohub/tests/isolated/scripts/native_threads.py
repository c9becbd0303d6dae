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

"""Every way in, from every kind of native thread, and back out again."""

import asyncio
from concurrent import futures
import functools
import itertools
import sys

import mode
import native_ways
from native_ways import hub
from native_ways import loop
import rows

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs
from eventlet import patcher
from eventlet import tpool

main = mode.native.get_ident()
native_queue = patcher.original('queue')


def join(thread):
    while thread.is_alive():
        eventlet.sleep(0.001)
    thread.join()


# -- kinds of threads; each runs a function and returns what it returns

def in_thread(function):
    answers = native_queue.SimpleQueue()
    thread = mode.native.Thread(target=lambda: answers.put(function()))
    thread.start()
    join(thread)
    return answers.get_nowait()


def in_thread_with_hub(function):
    def with_hub():
        eventlet.sleep(0)
        return function()

    return in_thread(with_hub)


def in_tpool(function):
    return tpool.execute(function)


def in_tpool_of_task(function):
    async def call():
        return tpool.execute(function)

    return aiohub.await_(call())


def in_to_thread(function):
    return aiohub.await_(asyncio.to_thread(function))


PLACES = [in_thread, in_tpool, in_tpool_of_task, in_to_thread]
if mode.MODE != 'epolls-patched':
    # There it would wait greenly for what another thread tells it, and
    # eventlet's hubs do not hear that.
    PLACES.append(in_thread_with_hub)


def where(value):
    if isinstance(value, BaseException):
        raise value
    return value, mode.native.get_ident()


@rows.row
def answers_and_errors():
    for place in PLACES:
        for way in native_ways.WAITING:
            assert place(lambda: way(where, 5)) == (5, main)  # noqa: B023
            error = rows.Failure('there')
            assert place(lambda: rows.raises(
                rows.Failure, way, where, error)) is error  # noqa: B023


@rows.row
def calls():
    for place in PLACES:
        for way in native_ways.OTHERS:
            called = event.Event()
            assert place(lambda: way(
                lambda value: called.send(where(value)),  # noqa: B023
                7)) is None
            assert called.wait() == (7, main)


@rows.row
def at_rest():
    """Nothing else ends the poll."""
    for way in native_ways.OTHERS:
        called = event.Event()
        mode.when_polling(
            lambda: way(called.send, 5))  # noqa: B023
        assert called.wait() == 5
    for way in native_ways.WAITING:
        answers = native_queue.SimpleQueue()
        called = event.Event()

        def work():
            answers.put(way(where, 5))  # noqa: B023
            loop.call_soon_threadsafe(called.send)  # noqa: B023

        mode.when_polling(work)
        called.wait()
        assert answers.get_nowait() == (5, main)


@rows.row
def both_ways():
    """Out of one world into a thread, into the other, and so on."""
    outs = itertools.cycle(PLACES)
    ins = itertools.cycle(native_ways.WAITING)

    def out(depth):
        assert mode.native.get_ident() == main
        if not depth:
            return 0
        place, way = next(outs), next(ins)
        return 1 + place(lambda: way(out, depth - 1))

    for _ in range(3):
        assert out(5) == 5
    # From many green threads and tasks at once.
    green = [eventlet.spawn(out, 3) for _ in range(5)]

    async def call():
        return out(3)

    async def tasks():
        return await asyncio.gather(*(call() for _ in range(5)))

    assert aiohub.await_(tasks()) == [3] * 5
    assert [one.wait() for one in green] == [3] * 5


@rows.row
def tpool_in_tasks():
    """A task that waits for a thread of the pool holds nobody up."""
    begun = native_queue.SimpleQueue()
    go_on = mode.native.Event()

    def wait(n):
        begun.put(n)
        go_on.wait()
        return n

    async def call(n):
        return tpool.execute(wait, n)

    async def let_go_on():
        while begun.qsize() < 10:
            await asyncio.sleep(0.001)
        go_on.set()

    async def both():
        *found, _ = await asyncio.gather(
            *(call(n) for n in range(10)), let_go_on())
        return found

    assert aiohub.await_(both()) == list(range(10))


@rows.row
def given_up():
    """Who waits with a timeout gets it, and the hub is not disturbed."""
    never = loop.create_future()

    async def wait():
        return await asyncio.shield(never)

    def work():
        future = asyncio.run_coroutine_threadsafe(wait(), loop)
        rows.raises(futures.TimeoutError, future.result, 0.001)
        assert future.cancel()
        rows.raises(futures.CancelledError, future.result)

    for place in PLACES:
        place(work)
    # The loop hears of it after that.
    heard = event.Event()
    loop.call_soon_threadsafe(heard.send)
    heard.wait()
    for task in asyncio.all_tasks(loop):
        rows.raises(asyncio.CancelledError, aiohub.await_, task)
    never.cancel()


@rows.row
def green_and_native():
    """A native and a green thread wait for one future."""
    go_on = loop.create_future()

    async def wait():
        return await go_on

    future = asyncio.run_coroutine_threadsafe(wait(), loop)
    native = [eventlet.spawn(tpool.execute, future.result) for _ in range(3)]
    # Not patched, it is a native wait anywhere.
    if mode.PATCHED:
        native += [eventlet.spawn(future.result) for _ in range(3)]
        native.append(eventlet.spawn(
            lambda: next(futures.as_completed([future])).result()))
    eventlet.sleep(0.001)
    go_on.set_result(5)
    assert [one.wait() for one in native] == [5] * len(native)


@rows.row
def delays():
    """What was asked for with a delay comes when it is due, not before."""
    if not mode.ON:
        return
    came = []
    done = event.Event()

    def come(seconds, due):
        assert hub.clock() >= due
        came.append(seconds)
        if len(came) == 3:
            done.send()

    def ask():
        for seconds in 0.02, 0.01, 0:
            hub.schedule_call_threadsafe(
                seconds, come, seconds, hub.clock() + seconds)

    mode.when_polling(ask)
    done.wait()
    # They may have been asked for later than others were due.
    assert sorted(came) == [0, 0.01, 0.02], came


class Stopped:
    """A thread that calls the hub and is stopped at a line of that."""

    def __init__(self, number, call):
        self.lines = number
        self.is_there = mode.native.Event()
        self.goes_on = mode.native.Event()
        self.thread = mode.native.Thread(target=self.run, args=[call])
        self.thread.start()

    def run(self, call):
        sys.settrace(self.trace)
        hub.schedule_call_threadsafe(0, call)
        sys.settrace(None)
        self.is_there.set()

    def trace(self, frame, kind, _):
        if frame.f_code is type(hub).schedule_call_threadsafe.__code__:
            return self.at_line

    def at_line(self, frame, kind, _):
        if kind == 'line':
            self.lines -= 1
            if not self.lines:
                self.is_there.set()
                self.goes_on.wait()
        return self.at_line


@rows.row
def stopped_at_each_line():
    """The hub goes on meanwhile; then it hears of that call, and of others."""
    if not mode.ON:
        return
    for number in itertools.count(1):
        called = event.Event()
        stopped = Stopped(number, called.send)
        while not stopped.is_there.is_set():
            eventlet.sleep(0.001)
        for _ in range(3):
            eventlet.sleep(0)
        stopped.goes_on.set()
        join(stopped.thread)
        called.wait()
        heard = event.Event()
        unheard = hub.schedule_call_global(30, int)
        mode.when_polling(functools.partial(
            hub.schedule_call_threadsafe, 0, heard.send))
        heard.wait()
        assert not unheard.called, 'the hub slept on, after line %d' % number
        unheard.cancel()
        if stopped.lines > 0:
            break
    assert number > 4


@rows.row
def another_hub():
    """A hub that has another thread than the main one; and its end."""
    if not mode.ON:
        return
    theirs = []
    stop = event.Event()

    def work():
        hubs.get_hub()
        theirs.append((hubs.get_hub(), mode.native.get_ident()))
        stop.wait()

    thread = mode.native.Thread(target=work)
    thread.start()
    while not theirs:
        eventlet.sleep(0.001)
    (their_hub, ident), = theirs
    called = event.Event()
    their_hub.schedule_call_threadsafe(
        0, lambda: hub.schedule_call_threadsafe(
            0, called.send, mode.native.get_ident()))
    assert called.wait() == ident
    their_hub.schedule_call_threadsafe(0, stop.send)
    join(thread)
    rows.raises(aiohub.HubClosedError,
                their_hub.schedule_call_threadsafe, 0, int)


@rows.row
def while_the_loop_stands_still():
    """A callback waits greenly; the hub goes on, and takes calls."""
    if not mode.ON:
        return
    called = event.Event()
    waited = []

    def callback():
        eventlet.spawn(in_thread, functools.partial(
            hub.schedule_call_threadsafe, 0, called.send, 5))
        waited.append(called.wait())

    loop.call_soon(callback)
    while not waited:
        eventlet.sleep(0.001)
    assert waited == [5]
    # It was said that a callback waits.
    eventlet.sleep(0)
    said = rows.complaints[:]
    rows.complaints.clear()
    assert all('waits in a green call' in line for line in said), said


rows.run_all()
mode.done()
