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
import os
import signal
import time

import cases
import in_callback
import mode

import aiohub
from aiohub import from_thread
import eventlet
from eventlet import event
from eventlet.green import socket
from eventlet import hubs
from eventlet import tpool

loop = aiohub.get_loop()
hub = hubs.get_hub()
tpool.execute(int)


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
    with in_callback.Standstill(way, before=lambda: work.append(Asyncio())):
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
    with in_callback.Standstill():
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
        with in_callback.Standstill():
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

    with in_callback.Standstill():
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

    with in_callback.Standstill():
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
        with in_callback.Standstill():
            # It interrupts a poll that would go on for long.
            begun = time.monotonic()
            mode.when_polling(lambda: (
                os.kill(os.getpid(), signal.SIGUSR2),
                os.kill(os.getpid(), signal.SIGUSR1)))
            with eventlet.Timeout(60):
                happened.wait()
            assert time.monotonic() - begun < 15
            assert log == ['at once'], log
            with in_callback.Polls() as polls:
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

    with in_callback.Standstill():
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
