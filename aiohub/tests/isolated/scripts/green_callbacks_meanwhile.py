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

"""While a callback waits in a green call: green threads go on, asyncio does
not, and nothing that comes meanwhile is lost.
"""

import asyncio
import gc
import os
import signal
import sys
import time

import cases
import in_callback
import mode

import aiohub
from aiohub import from_thread
import eventlet
from eventlet import debug
from eventlet import event
from eventlet.green import socket
from eventlet import hubs
from eventlet import patcher
from eventlet import queue
from eventlet import tpool
import greenlet

native_os = patcher.original('os')
loop = aiohub.get_loop()
hub = hubs.get_hub()
tpool.execute(int)


class Standstill:
    """A callback that waits in a green call, between enter and exit.

    :param before: What the callback calls before it waits.
    :param after: What it calls when it goes on.
    """

    def __init__(self, way=None, before=None, after=None):
        self._way = way
        self._before = before
        self._after = after
        self._goes_on = event.Event()
        self._waits = event.Event()
        self.over = False

    def _wait(self):
        self.green = eventlet.getcurrent()
        if self._before is not None:
            self._before()
        self._waits.send()
        assert self._goes_on.wait() == 'go on'
        # Not before it was told to.
        self.over = True
        if self._after is not None:
            self._after()

    def __enter__(self):
        self._ended = in_callback.begin(self._wait, self._way)
        self._waits.wait()
        return self

    def __exit__(self, *exc_info):
        assert not self.over
        self.go_on()
        self._ended.wait()
        in_callback.warnings()

    def go_on(self):
        if not self._goes_on.ready():
            self._goes_on.send('go on')


# -- asyncio stands still

class Asyncio:
    """Work of each kind for the loop; notes what has been done."""

    def __init__(self):
        self.log = []
        self.left, self.right = in_callback.pair()
        self.kinds = 0
        for name, function in vars(type(self)).items():
            if name.startswith('by_'):
                function(self, name)
                self.kinds += 1

    def by_call_soon(self, name):
        loop.call_soon(self.log.append, name)

    def by_call_later(self, name):
        loop.call_later(0.0001, self.log.append, name)

    def by_call_at(self, name):
        loop.call_at(loop.time(), self.log.append, name)

    def by_thread(self, name):
        thread = mode.native.Thread(
            target=loop.call_soon_threadsafe, args=(self.log.append, name))
        thread.start()
        thread.join()

    def by_executor(self, name):
        future = loop.run_in_executor(None, self.log.append, 'thread')
        future.add_done_callback(lambda _: self.log.append(name))

    def by_future(self, name):
        future = loop.create_future()
        future.add_done_callback(lambda _: self.log.append(name))
        future.set_result(None)

    def by_task(self, name):
        async def work():
            self.log.append(name)

        loop.create_task(work())

    def by_waiting_task(self, name):
        async def work():
            await asyncio.sleep(0.0001)
            self.log.append(name)

        loop.create_task(work())

    def by_reader(self, name):
        def read():
            assert self.left.recv(1) == b'x'
            loop.remove_reader(self.left)
            self.log.append(name)

        self.right.send(b'x')
        loop.add_reader(self.left, read)

    def by_writer(self, name):
        def write():
            loop.remove_writer(self.right)
            self.log.append(name)

        loop.add_writer(self.right, write)

    def stands_still(self):
        return not self.log or self.log == ['thread']

    def check_done(self):
        cases.until(lambda: len(self.log) == self.kinds + 1)
        assert len(set(self.log)) == len(self.log), self.log
        self.left.close()
        self.right.close()


def stands_still(work, way):
    """All that was due before, and all that comes meanwhile."""
    work.extend(Asyncio() for _ in range(2))
    with Standstill(way, before=lambda: work.append(Asyncio())):
        work.append(Asyncio())
        ticks = []

        def tick():
            for _ in range(20):
                eventlet.sleep(0.001)
                ticks.append(True)
                work.append(Asyncio())

        eventlet.spawn(tick).wait()
        assert len(ticks) == 20
        for some in work[2:]:
            assert some.stands_still(), some.log
    for some in work:
        some.check_done()
    work.clear()


for name, way in in_callback.WAYS.items():
    cases.add('stands_still_' + name, stands_still, [], way)


@cases.case
def order():
    """What came meanwhile is called in the order in which it came."""
    log = []
    with Standstill():
        for number in range(100):
            loop.call_soon(log.append, number)
            if number % 3 == 0:
                eventlet.sleep(0)
        now = loop.time()
        late = [loop.call_at(now - n, log.append, ('late', n))
                for n in range(5)]
        late[2].cancel()
        thread = mode.native.Thread(target=lambda: [
            loop.call_soon_threadsafe(log.append, ('thread', n))
            for n in range(100)])
        thread.start()
        thread.join()
        eventlet.sleep(0.002)
        assert not log
    cases.until(lambda: len(log) == 204)
    numbers = [n for n in log if isinstance(n, int)]
    assert numbers == list(range(100))
    assert [n for n in log if n in [('late', n) for n in range(5)]] == [
        ('late', n) for n in (4, 3, 1, 0)]
    assert [n for n in log if n in [('thread', n) for n in range(100)]] == [
        ('thread', n) for n in range(100)]


@cases.case
def server_with_clients():
    """A server stands still; then it gets every byte, in order."""
    got = {}

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            self.data = b''

        def data_received(self, data):
            self.data += data

        def eof_received(self):
            number, _, data = self.data.partition(b':')
            got[int(number)] = data
            self.transport.write(b'ok')

    server = aiohub.await_(
        loop.create_server(Protocol, '127.0.0.1', 0, backlog=100))
    address = server.sockets[0].getsockname()
    data = b''.join(b'%d,' % n for n in range(20000))

    def send(number):
        with eventlet.connect(address) as client:
            client.sendall(b'%d:' % number)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b'ok'
            assert client.recv(10) == b''

    before = [eventlet.spawn(send, n) for n in range(5)]
    cases.turns(3)
    for round_number in (1, 2):
        with Standstill():
            clients = [eventlet.spawn(send, n + 10 * round_number)
                       for n in range(5)]
            eventlet.sleep(0.002)
            assert not got or round_number == 2, got
        before += clients
        cases.turns(3)
    for client in before:
        client.wait()
    assert set(got.values()) == {data}
    assert len(got) == 15
    server.close()


@cases.case
def made_in_the_turn_that_wakes_it():
    """The loop does not poll for longer than it has nothing to do."""
    for make in (lambda call: loop.call_soon(call),
                 lambda call: loop.call_later(0.001, call),
                 lambda call: loop.create_task(asyncio.sleep(0))
                 .add_done_callback(lambda _: call())):
        done = event.Event()

        def callback(make=make, done=done):
            hub.schedule_call_global(0, eventlet.getcurrent().switch)
            # After it, in the same turn.
            eventlet.spawn_n(make, done.send)
            hub.switch()

        in_callback.begin(callback)
        done.wait()
    in_callback.warnings()


@cases.case
def callbacks_are_not_nested():
    """A callback that a green thread asks for meanwhile comes after."""
    log = []

    def inner(number):
        log.append(('begun', number))
        eventlet.sleep(0)
        if number < 3:
            loop.call_soon(inner, number + 1)
        eventlet.sleep(0)
        log.append(('ended', number))

    with Standstill():
        loop.call_soon(inner, 0)
        cases.turns()
        assert not log
    cases.until(lambda: len(log) == 8)
    assert log == [(what, number) for number in range(4)
                   for what in ('begun', 'ended')], log
    in_callback.warnings()


@cases.case
def callback_called_in_a_callback():
    """As a transport calls its protocol in the middle of a write."""
    log = []

    def inner():
        eventlet.sleep(0)
        log.append('inner')
        assert eventlet.spawn(lambda: 5).wait() == 5

    def outer():
        eventlet.sleep(0)
        handle = asyncio.Handle(inner, (), loop)
        handle._run()
        eventlet.sleep(0)
        log.append('outer')

    in_callback.call(outer)
    assert log == ['inner', 'outer'], log
    in_callback.warnings()


@cases.case
def bridge_waits():
    """For the loop; a green thread gets its answer after."""
    async def answer(value):
        await asyncio.sleep(0)
        return value

    async def fail():
        raise KeyError('x')

    with Standstill():
        answers = [eventlet.spawn(aiohub.await_, answer(n)) for n in range(9)]
        green = aiohub.future_to_greenlet(answer('future'))
        failing = eventlet.spawn(aiohub.sync_to_async(int), '7')
        failed = aiohub.future_to_greenlet(fail())
        killed = [eventlet.spawn(aiohub.await_, answer(n)) for n in range(3)]
        results = []
        thread = mode.native.Thread(target=lambda: results.extend([
            from_thread.run(answer, 'run'),
            from_thread.run_sync(lambda: 'run_sync')]))
        thread.start()
        eventlet.sleep(0.002)
        for one in killed:
            one.kill()
        cases.turns()
        assert not any(one.dead for one in answers)
        assert not results
        assert not green.dead
    assert [one.wait() for one in answers] == list(range(9))
    assert green.wait() == 'future'
    assert aiohub.await_(failing.wait()) == 7
    try:
        failed.wait()
    except KeyError:
        pass
    else:
        raise AssertionError('no exception')
    cases.until(lambda: len(results) == 2)
    thread.join()
    assert results == ['run', 'run_sync']
    assert all(one.dead for one in killed)


@cases.case
def callback_that_waits_for_the_loop():
    """It waits for ever, unless it has a timeout."""
    async def answer():
        return 'answer'

    def callback():
        green = eventlet.spawn(aiohub.await_, answer())
        with eventlet.Timeout(0.005, False):
            green.wait()
            raise AssertionError('the loop went on')
        return green

    assert in_callback.call(callback).wait() == 'answer'
    in_callback.warnings()


# -- busy descriptors

class Polls:
    """Counts how often the hub polls, and whether that is too often.

    eventlet's own hubs are busy in the last millisecond before a timer.
    """

    def __enter__(self):
        self.count = 0
        self._do_poll = hub.do_poll
        hub.do_poll = self._poll
        return self

    def _poll(self, timeout):
        self.count += 1
        return self._do_poll(timeout)

    def __exit__(self, *exc_info):
        del hub.do_poll

    def check(self, most):
        assert self.count <= most or not mode.ON, self.count


def does_not_spin(make_busy, when):
    """A descriptor that asyncio watches is ready, and stays so.

    :param make_busy: Makes one; returns what takes it back, and a list which
        the loop appends to when it is told.
    :param when: When it is made: before the callback waits, or meanwhile.
    """
    made = []

    def make():
        made.append(make_busy())

    with Standstill(before=make if when == 'before' else None):
        if when == 'meanwhile':
            make()
        eventlet.sleep(0.001)
        with Polls() as polls:
            eventlet.sleep(0.02)
        polls.check(5)
        end, told = made[0]
        assert not told
    cases.until(lambda: told)
    # It is watched as before.
    told.clear()
    cases.until(lambda: told)
    end()
    made.clear()
    cases.turns()


def readable():
    left, right = in_callback.pair()
    right.send(b'x')
    told = []
    loop.add_reader(left, told.append, True)

    def end():
        loop.remove_reader(left)
        left.close()
        right.close()

    return end, told


def writable():
    left, right = in_callback.pair()
    told = []
    loop.add_writer(left, told.append, True)

    def end():
        loop.remove_writer(left)
        left.close()
        right.close()

    return end, told


def both():
    left, right = in_callback.pair()
    right.send(b'x')
    told = []
    loop.add_writer(left, told.append, True)
    loop.add_reader(left, told.append, True)

    def end():
        loop.remove_writer(left)
        loop.remove_reader(left)
        left.close()
        right.close()

    return end, told


def hung_up():
    left, right = in_callback.pair()
    right.close()
    told = []
    loop.add_reader(left, told.append, True)

    def end():
        loop.remove_reader(left)
        left.close()

    return end, told


def in_error():
    """The reading end of a pipe is gone."""
    read, write = native_os.pipe()
    native_os.close(read)
    told = []
    loop.add_writer(write, told.append, True)

    def end():
        loop.remove_writer(write)
        native_os.close(write)

    return end, told


def shared_with_green_thread():
    """A green thread reads what is there, again and again, and waits."""
    left, right = socket.socketpair()
    told = []
    loop.add_writer(left.fileno(), told.append, True)
    right.sendall(b'x')
    assert left.recv(1) == b'x'
    reading = eventlet.spawn(left.recv, 1)

    def end():
        loop.remove_writer(left.fileno())
        right.sendall(b'x')
        assert reading.wait() == b'x'
        left.close()
        right.close()

    return end, told


def changed():
    """The descriptor is given other callbacks, by who is in a green thread."""
    left, right = in_callback.pair()
    right.send(b'x')
    told = []
    loop.add_reader(left, told.append, False)
    loop.add_writer(left, told.append, False)

    def change():
        for _ in range(3):
            eventlet.sleep(0)
            loop.remove_reader(left)
            loop.remove_writer(left)
            eventlet.sleep(0)
            loop.add_reader(left, told.append, True)

    changing = eventlet.spawn(change)

    def end():
        changing.wait()
        assert False not in told
        loop.remove_reader(left)
        left.close()
        right.close()

    return end, told


def reopened():
    """The descriptor is closed, and its number is another's."""
    left, right = in_callback.pair()
    right.send(b'x')
    told = []
    loop.add_reader(left, told.append, False)

    def reopen():
        eventlet.sleep(0)
        loop.remove_reader(left)
        new, peer = in_callback.pair()
        native_os.dup2(new.fileno(), left.fileno())
        new.close()
        loop.add_reader(left, told.append, True)
        peer.send(b'y')
        return peer

    reopening = eventlet.spawn(reopen)

    def end():
        reopening.wait().close()
        assert False not in told
        loop.remove_reader(left)
        left.close()
        right.close()

    return end, told


for make_busy in (readable, writable, both, hung_up, in_error,
                  shared_with_green_thread, changed, reopened):
    for when in ('before', 'meanwhile'):
        cases.add('busy_%s_%s' % (make_busy.__name__, when), does_not_spin,
                  make_busy, when)


@cases.case
def woken_by_threads():
    """Each wake-up is a few polls and no more."""
    with Standstill(), Polls() as polls:
        for _ in range(20):
            thread = mode.native.Thread(
                target=loop.call_soon_threadsafe, args=(int,))
            thread.start()
            thread.join()
            eventlet.sleep(0.001)
        polls.check(150)


@cases.case
def both_worlds_read_one_descriptor():
    """A green thread reads from what asyncio watches."""
    left, right = socket.socketpair()
    told = []
    loop.add_reader(left.fileno(), told.append, True)
    with Standstill():
        for number in range(20):
            reading = eventlet.spawn(left.recv, 10)
            eventlet.sleep(0)
            right.sendall(b'%d' % number)
            assert reading.wait() == b'%d' % number
        assert not told
        right.sendall(b'last')
        eventlet.sleep(0.001)
    cases.until(lambda: told)
    loop.remove_reader(left.fileno())
    assert left.recv(10) == b'last'
    left.close()
    right.close()


@cases.case
def closed_while_it_is_watched():
    """Whatever becomes of the descriptor, nobody else is to suffer."""
    left, right = in_callback.pair()
    copy = native_os.dup(left.fileno())
    told = []

    def close():
        right.send(b'x')
        native_os.close(left.fileno())

    loop.add_reader(left, told.append, True)
    with Standstill(before=close):
        for _ in range(5):
            eventlet.sleep(0)
        assert eventlet.spawn(lambda: 5).wait() == 5
        native_os.dup2(copy, left.fileno())
        native_os.close(copy)
    loop.remove_reader(left)
    left.close()
    right.close()


# -- green threads end

class Failure(Exception):
    pass


def return_at_once(_):
    return 'result'


def return_later(gate):
    gate.in_green()
    return 'result'


def fail_at_once(_):
    raise Failure()


def fail_later(gate):
    gate.in_green()
    raise Failure()


def leave_later(gate):
    gate.in_green()
    raise greenlet.GreenletExit()


BODIES = (return_at_once, return_later, fail_at_once, fail_later,
          leave_later)


def spawn_n(body, gate):
    eventlet.spawn_n(body, gate)


def spawn_after(body, gate):
    eventlet.spawn_after(0, body, gate)


def raw(body, gate):
    """A greenlet whose parent is that of the loop."""
    green = greenlet.greenlet(body, in_callback.greenlet_of_loop())
    hub.schedule_call_global(0, green.switch, gate)


def ends(start, opened):
    """Those that end wake neither the callback nor the main greenlet.

    :param start: How they are started: before the callback, in it before and
        after a green call, and while it waits.
    :param opened: When those that wait go on: while the callback waits, when
        it goes on, and after it.
    """
    gate = cases.Gate()
    later = [body for body in BODIES if body.__name__.endswith('later')]

    def begin():
        for body in BODIES:
            start(body, gate)

    def in_callback_twice():
        begin()
        eventlet.sleep(0)
        begin()

    def go_on():
        cases.turns(2)
        if opened == 'after':
            gate.open()

    begin()
    standstill = Standstill(before=in_callback_twice, after=go_on)
    with standstill:
        begin()
        cases.until(lambda: gate.reached == 4 * len(later))
        if opened == 'meanwhile':
            gate.open()
            cases.turns()
        elif opened == 'going on':
            # In the turn in which the callback is woken: before and after.
            gate.open()
            standstill.go_on()
            gate.open()
        if opened != 'going on':
            assert not standstill.over
        else:
            standstill.over = False
    gate.open()
    cases.turns()
    gc.collect()
    sys.stderr.seek(0)
    lines = sys.stderr.read().splitlines()
    sys.stderr.seek(0)
    sys.stderr.truncate()
    # Each failure is printed, with the place.
    for body in (fail_at_once, fail_later):
        places = [line for line in lines if line.strip().endswith(
            'in ' + body.__name__)]
        assert len(places) == 4, (body, len(places), lines)
    failures = [line for line in lines if line.endswith('Failure')]
    assert len(failures) == 8, lines


# With the toggle off the greenlet of the loop is a green thread: one that ends
# as its child wakes it.
for start in (spawn_n, spawn_after, *([raw] if mode.ON else [])):
    for opened in ('meanwhile', 'going on', 'after', 'last'):
        cases.add('ends_%s_%s' % (start.__name__, opened.replace(' ', '_')),
                  ends, start, opened)


@cases.case
def results_of_green_threads():
    """Their links are called, and their results are there."""
    gate = cases.Gate()
    log = []

    def link(green, where):
        try:
            log.append((where, green.wait()))
        except BaseException as exc:
            log.append((where, type(exc)))

    def begin(where):
        for body in BODIES:
            eventlet.spawn(body, gate).link(link, where)

    debug.hub_exceptions(False)
    begin(1)
    with Standstill(before=lambda: (begin(2), eventlet.sleep(0), begin(3))):
        begin(4)
        cases.turns()
        gate.open()
        cases.turns()
    debug.hub_exceptions(True)
    assert sorted(log, key=str) == sorted([
        (where, what) for where in (1, 2, 3, 4) for what in (
            'result', 'result', Failure, Failure,
            greenlet.GreenletExit)], key=str), log


@cases.case
def direct_switches():
    """Who switches to a greenlet in a callback goes on when that waits."""
    log = []

    def work():
        log.append('begun')
        eventlet.sleep(0)
        log.append('ended')

    def callback():
        for _ in range(2):
            green = greenlet.greenlet(work)
            green.switch()
            log.append('back')
            eventlet.sleep(0)

    if mode.ON:  # elsewhere nobody wakes who switches to another
        in_callback.call(callback)
        cases.turns()
        assert log == ['begun', 'back', 'ended'] * 2, log
        in_callback.warnings()


@cases.case
def switched_to_from_another_thread():
    """That is an error there, and is no wake-up here."""
    errors = []

    def switch(green):
        try:
            green.switch()
        except greenlet.error as exc:
            errors.append(exc)

    with Standstill() as standstill:
        thread = mode.native.Thread(target=switch, args=(standstill.green,))
        thread.start()
        thread.join()
        for _ in range(3 if mode.ON else 0):
            # This is none either.
            child = greenlet.greenlet(int, standstill.green)
            hub.schedule_call_global(0, child.switch)
            cases.turns()
    assert len(errors) == 1


# -- green tasks

@cases.case
def parked_tasks_go_on():
    """Those that are woken from a green call; up to their next await."""
    log = []
    items = queue.Queue()

    async def get(number):
        me = asyncio.current_task()
        item = items.get()
        assert asyncio.current_task() is me
        log.append(('got', item))
        eventlet.sleep(0.001)
        assert asyncio.current_task() is me
        log.append(('slept', item))
        await asyncio.sleep(0)
        log.append(('awaited', item))
        eventlet.sleep(0)
        return number, item

    tasks = [loop.create_task(get(n)) for n in range(5)]
    cases.turns()
    with Standstill(in_callback.by_plain_task):
        for item in range(5):
            items.put(item)
        cases.until(lambda: len(log) == 10)
        eventlet.sleep(0.001)
        assert asyncio.current_task() is None
        assert {what for what, _ in log} == {'got', 'slept'}, log
    answers = [aiohub.await_(task) for task in tasks]
    assert [number for number, _ in answers] == list(range(5))
    assert sorted(item for _, item in answers) == list(range(5)), answers
    assert len(log) == 15


@cases.case
def tasks_that_the_callback_waits_for():
    """A green call of a task can be what a callback waits for."""
    done = event.Event()
    begun = []

    async def work():
        begun.append(True)
        eventlet.sleep(0.001)
        done.send('sent')
        return 'ended'

    task = loop.create_task(work())
    cases.until(lambda: begun)
    assert in_callback.call(done.wait) == 'sent'
    assert aiohub.await_(task) == 'ended'
    in_callback.warnings()


@cases.case
def cancelled_meanwhile():
    """The loop throws it, so it comes after; what the hub throws does not."""
    log = []
    greens = []
    expected = (asyncio.CancelledError, greenlet.GreenletExit, KeyError)

    async def wait(number):
        greens.append(eventlet.getcurrent())
        try:
            eventlet.sleep(60)
        except BaseException as exc:
            assert isinstance(exc, expected[number]), exc
            log.append(number)
            raise

    tasks = [loop.create_task(wait(n)) for n in range(3)]
    cases.until(lambda: len(greens) == 3)
    with Standstill():
        tasks[0].cancel()
        greens[1].kill()
        hub.schedule_call_global(0, greens[2].throw, KeyError('x'))
        greens.clear()
        cases.turns()
        assert 2 in log, log
        assert 0 not in log, log
    cases.until(lambda: all(task.done() for task in tasks))
    assert tasks[0].cancelled()
    assert tasks[1].cancelled()
    assert isinstance(tasks[2].exception(), KeyError)
    assert sorted(log) == [0, 1, 2], log
    tasks.clear()


@cases.case
def deadlines_in_tasks():
    """asyncio's stand still; eventlet's do not."""
    log = []
    limits = []

    async def with_eventlet():
        with eventlet.Timeout(60, False) as limit:
            limits.append(limit)
            eventlet.sleep(60)
        log.append('eventlet')

    async def with_asyncio():
        try:
            async with asyncio.timeout(60) as limit:
                limits.append(limit)
                eventlet.sleep(60)
        except TimeoutError:
            log.append('asyncio')

    tasks = [loop.create_task(with_eventlet()),
             loop.create_task(with_asyncio())]
    cases.until(lambda: len(limits) == 2)
    with Standstill(in_callback.by_done_future):
        limits[1].reschedule(loop.time())
        hub.schedule_call_global(0, limits[0].timer)
        cases.until(lambda: log)
        cases.turns()
        assert log == ['eventlet'], log
    for task in tasks:
        aiohub.await_(task)
    assert log == ['eventlet', 'asyncio'], log


@cases.case
def killed_by_a_green_task():
    """The callback goes on in the middle of a step of that task."""
    victims = []
    log = []

    async def killer():
        me = asyncio.current_task()
        eventlet.sleep(0.001)
        cases.until(lambda: victims)
        eventlet.kill(victims.pop())
        assert asyncio.current_task() is me
        log.append('killer')
        await asyncio.sleep(0)
        return 'killer'

    async def other():
        eventlet.sleep(0)
        log.append('other')
        await asyncio.sleep(0)
        return 'other'

    def callback():
        victims.append(eventlet.getcurrent())
        try:
            event.Event().wait()
        except greenlet.GreenletExit:
            assert asyncio.current_task() is None
            log.append('killed')

    for _ in range(3):
        killing = loop.create_task(killer())
        cases.turns(1)
        ended = in_callback.begin(callback)
        # The steps of these come after it, in the same turn.
        others = [loop.create_task(other()) for _ in range(3)]
        ended.wait()
        assert aiohub.await_(killing) == 'killer'
        assert [aiohub.await_(task) for task in others] == ['other'] * 3
        assert log[0] == 'killed', log
        assert sorted(log[1:]) == ['killer', *['other'] * 3], log
        log.clear()
    in_callback.warnings()


# -- signals

@cases.case
def signals():
    """A handler of Python acts at once, asyncio's when the loop goes on."""
    log = []

    def handle(signum, frame):
        log.append('at once')
        eventlet.spawn_n(lambda: happened.send())

    def tick():
        while True:
            eventlet.sleep(0.001)

    # eventlet's own hubs go on with the poll that a handler interrupts.
    ticking = eventlet.spawn(int if mode.ON else tick)
    before = signal.signal(signal.SIGUSR1, handle)
    loop.add_signal_handler(signal.SIGUSR2, log.append, 'asyncio')
    for _ in range(3):
        log.clear()
        happened = event.Event()
        with Standstill():
            # It interrupts a poll that would go on for long.
            begun = time.monotonic()
            mode.when_polling(lambda: (
                os.kill(os.getpid(), signal.SIGUSR2),
                os.kill(os.getpid(), signal.SIGUSR1)))
            with eventlet.Timeout(60):
                happened.wait()
            assert time.monotonic() - begun < 15
            assert log == ['at once'], log
            with Polls() as polls:
                eventlet.sleep(0.01)
            polls.check(5)
        cases.until(lambda: len(log) == 2)
        assert log == ['at once', 'asyncio'], log
    loop.remove_signal_handler(signal.SIGUSR2)
    signal.signal(signal.SIGUSR1, before)
    ticking.kill()


# -- another thread

@cases.case
def in_two_threads():
    """Hubs of two threads stand still at the same time."""
    log = []

    def in_thread():
        if mode.MODE.startswith('env'):
            hubs.use_hub('aiohub.hub')
        theirs = aiohub.get_loop()
        done = event.Event()

        def callback():
            log.append('begun')
            while 'go on' not in log:
                eventlet.sleep(0.001)
            log.append('ended')
            done.send()

        theirs.call_soon(callback)
        done.wait()
        hubs.use_hub()

    with Standstill():
        thread = mode.native.Thread(target=in_thread)
        thread.start()
        cases.until(lambda: log)
        cases.turns()
        assert log == ['begun'], log
        log.append('go on')
        cases.until(lambda: 'ended' in log)
    thread.join()


cases.run_all()
mode.done()
