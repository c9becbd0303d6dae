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

"""setup() while green threads of every kind wait: none lost, early, twice.

A thousand of each kind wait on the epolls hub; setup() hands over; then each
is woken, and must wake once, with what it waited for, and not before.
"""

import queue
import socket
import sys
import threading
import time

import mode

import eventlet
from eventlet import event
from eventlet.green import socket as green_socket
from eventlet import greenpool
from eventlet import hubs
from eventlet import patcher
from eventlet import semaphore
from eventlet import tpool

N = 1000
Socket = socket if mode.PATCHED else green_socket
native = patcher.original('threading')
native_time = patcher.original('time')
sleep = time.sleep if mode.PATCHED else eventlet.sleep

woken: dict[tuple[str, int], int] = {}
main = eventlet.getcurrent()


class Kind:
    """Green threads that wait for one kind of thing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.greens: list[eventlet.greenthread.GreenThread] = []
        self.free = False

    def start(self, number: int, wait, expected: object) -> None:
        def run() -> int:
            got = wait()
            assert self.free, 'early: %s %d' % (self.name, number)
            assert got == expected, (self.name, number, got)
            key = (self.name, number)
            woken[key] = woken.get(key, 0) + 1
            return number

        self.greens.append(eventlet.spawn(run))

    def check(self) -> None:
        for number, green in enumerate(self.greens):
            assert green.wait() == number


def raise_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


raise_limit()
kinds = {name: Kind(name) for name in (
    'sleep', 'read', 'write', 'accept', 'event', 'queue',
    'semaphore', 'tpool', 'timeout', 'pool', 'spawn_after', 'chained')}
if mode.PATCHED:
    kinds.update({name: Kind(name) for name in (
        'queue.Queue', 'threading.Lock', 'threading.Event')})

# -- start them

BEGAN = time.monotonic()
START = 0.0
# When the first is due, in seconds after START; set below.
DUE = 0.0


def sleeper(number: int):
    def wait() -> bool:
        due = DUE + number / N
        sleep(START + due - time.monotonic())
        return time.monotonic() >= START + due

    return wait


reads = [Socket.socketpair() for _ in range(N)]
writes = []
for _ in range(N):
    left, right = Socket.socketpair()
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    left.settimeout(None)
    writes.append((left, right))
listeners = [eventlet.listen(('127.0.0.1', 0)) for _ in range(N)]
events = [event.Event() for _ in range(N)]
queues = [eventlet.Queue() for _ in range(N)]
semaphores = [semaphore.Semaphore(0) for _ in range(N)]
gate = native.Event()
pool = greenpool.GreenPool(N)
pool_gate = event.Event()
chain = [event.Event() for _ in range(N)]


def timed_out(number: int):
    def wait() -> bool:
        due = START + DUE + number / N
        with eventlet.Timeout(due - time.monotonic(), False):
            event.Event().wait()
        return time.monotonic() >= due

    return wait


def accept(number: int):
    def wait() -> bytes:
        conn, _ = listeners[number].accept()
        data = conn.recv(10)
        conn.close()
        return data

    return wait


BIG = b'z' * 200000


def write(number: int):
    def wait() -> int:
        writes[number][0].sendall(BIG)
        return 1

    return wait


def follow(number: int):
    # Waits for another green thread, which waits for an event.
    def wait() -> object:
        return eventlet.spawn(chain[number].wait).wait()

    return wait


def in_pool(number: int):
    def wait() -> object:
        return pool.spawn(pool_gate.wait).wait()

    return wait


def in_tpool() -> bool:
    return tpool.execute(gate.wait, 120)


for n in range(N):
    kinds['read'].start(n, lambda s=reads[n][0]: s.recv(10), b'%d' % n)
    kinds['write'].start(n, write(n), 1)
    kinds['accept'].start(n, accept(n), b'%d' % n)
    kinds['event'].start(n, events[n].wait, n)
    kinds['queue'].start(n, queues[n].get, n)
    kinds['semaphore'].start(n, semaphores[n].acquire, True)
    kinds['pool'].start(n, in_pool(n), 'go')
    kinds['chained'].start(n, follow(n), n)
    kinds['tpool'].start(n, in_tpool, True)
if mode.PATCHED:
    std_queues = [queue.Queue() for _ in range(N)]
    locks = [threading.Lock() for _ in range(N)]
    std_events = [threading.Event() for _ in range(N)]
    for n in range(N):
        assert locks[n].acquire()
        kinds['queue.Queue'].start(n, std_queues[n].get, n)
        kinds['threading.Lock'].start(n, locks[n].acquire, True)
        kinds['threading.Event'].start(n, std_events[n].wait, True)

for _ in range(3):
    eventlet.sleep(0)
# Last, those that look at the clock themselves. None may be due before the
# hand-over, which takes less than what has been done until here.
START = time.monotonic()
DUE = max(3.0, 5 * (START - BEGAN))
after = kinds['spawn_after']
for name in ('sleep', 'timeout', 'spawn_after'):
    kinds[name].free = True
for n in range(N):
    kinds['sleep'].start(n, sleeper(n), True)
    kinds['timeout'].start(n, timed_out(n), True)

    def late(n: int = n) -> int:
        assert time.monotonic() >= START + DUE + n / N
        woken['spawn_after', n] = woken.get(('spawn_after', n), 0) + 1
        return n

    after.greens.append(eventlet.spawn_after(
        START + DUE + n / N - time.monotonic(), late))

for _ in range(3):
    eventlet.sleep(0)
assert not woken
assert all(not g.dead for kind in kinds.values() for g in kind.greens)
assert time.monotonic() - START < DUE, 'too slow a machine for DUE'

# -- hand over. The old hub is inside the call of a timer now, which resumed
# the main greenlet; or let it be inside that of a listener.
if len(sys.argv) > 1 and sys.argv[1] == 'from-descriptor':
    left, right = Socket.socketpair()
    eventlet.spawn_after(0.01, right.sendall, b'now')
    assert left.recv(3) == b'now'
before = hubs.get_hub()
old_greenlet = before.greenlet
mode.set_up()
assert hubs.get_hub() is before
assert old_greenlet.dead
mode.check_hub()
mode.set_up()

for _ in range(3):
    eventlet.sleep(0)
assert not woken, list(woken)[:5]

# -- wake them


def free(name: str) -> Kind:
    kinds[name].free = True
    return kinds[name]


for name in ('event', 'queue', 'semaphore', 'chained', 'read', 'write',
             'accept', 'pool', 'tpool'):
    free(name)
    for n in range(N):
        if name == 'event':
            events[n].send(n)
        elif name == 'queue':
            queues[n].put(n)
        elif name == 'semaphore':
            semaphores[n].release()
        elif name == 'chained':
            chain[n].send(n)
        elif name == 'read':
            reads[n][1].sendall(b'%d' % n)
        elif name == 'write':
            got = 0
            while got < len(BIG):
                got += len(writes[n][1].recv(65536))
        elif name == 'accept':
            conn = Socket.create_connection(listeners[n].getsockname())
            conn.sendall(b'%d' % n)
            conn.close()
    if name == 'pool':
        pool_gate.send('go')
    if name == 'tpool':
        gate.set()
    kinds[name].check()
if mode.PATCHED:
    for name in ('queue.Queue', 'threading.Lock', 'threading.Event'):
        free(name)
    for n in range(N):
        std_queues[n].put(n)
        locks[n].release()
        std_events[n].set()
    for name in ('queue.Queue', 'threading.Lock', 'threading.Event'):
        kinds[name].check()
for name in ('sleep', 'timeout', 'spawn_after'):
    kinds[name].check()

expected = {(name, n) for name in kinds for n in range(N)}
assert set(woken) == expected, sorted(expected - set(woken))[:5]
assert set(woken.values()) == {1}, 'woken twice'

# A green thread that ends, of those made before, never wakes the main
# greenlet, which would have returned from one of its waits too early and with
# the wrong result: see also handover_parents.
assert eventlet.getcurrent() is main
for sock in [s for pair in reads + writes for s in pair] + listeners:
    sock.close()
hub = hubs.get_hub()
assert not list(hub.get_readers()) or list(
    hub.get_readers())[0].greenlet is tpool._coro
tpool.killall()
mode.done()
