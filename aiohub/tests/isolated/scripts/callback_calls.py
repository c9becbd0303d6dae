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

"""The green calls that there are.

Used by scripts.
"""

import contextlib
import time

import cases
import mode

import eventlet
from eventlet import event
from eventlet.green import Queue as queue
from eventlet.green import socket
from eventlet.green import subprocess
from eventlet.green import threading
from eventlet.green import time as green_time
from eventlet import queue as eventlet_queue
from eventlet import semaphore
from eventlet import tpool
from eventlet import wsgi

if mode.PATCHED:
    import requests

# It listens from the first use on.
tpool.execute(int)
CALLS = {}


def green_call(function):
    """Decorator: the function makes a green call."""
    CALLS[function.__name__] = function
    return function


class Failure(Exception):
    pass


@contextlib.contextmanager
def raises(error):
    try:
        yield
    except error:
        return
    raise AssertionError('did not raise %s' % error)


@green_call
def sleep_zero():
    eventlet.sleep(0)


@green_call
def sleep():
    begun = time.monotonic()
    eventlet.sleep(0.002)
    assert time.monotonic() - begun >= 0.002


@green_call
def time_sleep():
    begun = time.monotonic()
    green_time.sleep(0.002)
    assert time.monotonic() - begun >= 0.002


@green_call
def wait_for_event():
    happened = event.Event()
    eventlet.spawn_n(happened.send, 'sent')
    assert happened.wait() == 'sent'
    assert happened.wait() == 'sent'


@green_call
def wait_for_event_that_fails():
    happened = event.Event()
    eventlet.spawn_n(happened.send_exception, Failure())
    with raises(Failure):
        happened.wait()


@green_call
def wait_for_event_that_is_late():
    assert event.Event().wait(0.002) is None


@green_call
def get_from_queue():
    numbers = eventlet_queue.Queue()
    eventlet.spawn_n(lambda: [(eventlet.sleep(0), numbers.put(n))
                              for n in range(5)])
    assert [numbers.get() for _ in range(5)] == list(range(5))
    with raises(eventlet_queue.Empty):
        numbers.get(timeout=0.002)


@green_call
def put_into_full_queue():
    numbers = eventlet_queue.Queue(1)
    got = []
    eventlet.spawn_n(lambda: got.extend(numbers.get() for _ in range(5)))
    for number in range(6):
        numbers.put(number)
    cases.until(lambda: len(got) == 5)
    assert got == list(range(5)), got
    with raises(eventlet_queue.Full):
        numbers.put(6, timeout=0.002)


@green_call
def use_queue_of_threads():
    numbers = queue.Queue(1)
    eventlet.spawn_n(lambda: [numbers.put(n) for n in range(5)])
    assert [numbers.get() for _ in range(5)] == list(range(5))
    with raises(queue.Empty):
        numbers.get(timeout=0.002)


@green_call
def acquire_semaphore():
    permits = semaphore.Semaphore(0)
    eventlet.spawn_n(permits.release)
    assert permits.acquire()
    assert not permits.acquire(timeout=0.002)


@green_call
def contend_for_lock():
    for lock in (threading.Lock(), threading.RLock()):
        lock_is_held = event.Event()

        def hold(lock=lock, lock_is_held=lock_is_held):
            with lock:
                lock_is_held.send()
                cases.turns()

        eventlet.spawn_n(hold)
        lock_is_held.wait()
        with lock:
            pass


@green_call
def wait_for_condition():
    condition = threading.Condition()
    ready = []

    def notify():
        with condition:
            ready.append(True)
            condition.notify()

    with condition:
        eventlet.spawn_n(notify)
        while not ready:
            condition.wait()
        assert not condition.wait(0.002)


@green_call
def join_thread():
    done = []
    thread = threading.Thread(
        target=lambda: (eventlet.sleep(0), done.append(True)))
    thread.start()
    thread.join()
    assert done


@green_call
def receive():
    left, right = socket.socketpair()
    with left, right:
        eventlet.spawn_n(lambda: (eventlet.sleep(0), right.sendall(b'x')))
        assert left.recv(1) == b'x'
        left.settimeout(0.002)
        with raises(socket.timeout):
            left.recv(1)


@green_call
def accept_and_connect():
    with eventlet.listen(('127.0.0.1', 0)) as listener:
        def echo():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(10))

        server = eventlet.spawn(echo)
        with eventlet.connect(listener.getsockname()) as client:
            client.sendall(b'hello')
            assert client.recv(10) == b'hello'
            assert client.recv(10) == b''
        server.wait()


@green_call
def send_much():
    left, right = socket.socketpair()
    with left, right:
        data = b'x' * 1000000
        got = []

        def read():
            while len(b''.join(got)) < len(data):
                got.append(right.recv(100000))

        reading = eventlet.spawn(read)
        left.sendall(data)
        reading.wait()


@green_call
def call_in_native_thread():
    assert tpool.execute(pow, 2, 3) == 8
    with raises(ZeroDivisionError):
        tpool.execute(lambda: 1 / 0)


@green_call
def run_program():
    done = subprocess.run(['echo', 'hello'], capture_output=True, check=True)
    assert done.stdout == b'hello\n'


@green_call
def timeout_that_fires():
    for wait in (lambda: eventlet.sleep(60), event.Event().wait,
                 eventlet_queue.Queue().get, semaphore.Semaphore(0).acquire):
        with raises(eventlet.Timeout), eventlet.Timeout(0.001):
            wait()
    with eventlet.Timeout(0.001, False):
        eventlet.sleep(60)
        raise AssertionError('it did not fire')
    with raises(Failure), eventlet.Timeout(0.001, Failure):
        eventlet.sleep(60)


@green_call
def timeout_that_does_not_fire():
    with eventlet.Timeout(60):
        eventlet.sleep(0.001)
    assert eventlet.with_timeout(60, eventlet.spawn(int, 5).wait) == 5


@green_call
def nested_timeouts():
    with eventlet.Timeout(60), raises(eventlet.Timeout):
        with eventlet.Timeout(0.001) as inner:
            with eventlet.Timeout(50):
                try:
                    eventlet.sleep(60)
                except eventlet.Timeout as exc:
                    assert exc is inner
                    # What waits in a handler waits.
                    eventlet.sleep(0.001)
                    raise


@green_call
def wait_for_green_thread():
    def double(number):
        eventlet.sleep(0)
        return number * 2

    assert eventlet.spawn(double, 4).wait() == 8
    assert eventlet.spawn(lambda: double(4)).wait() == 8
    assert eventlet.spawn_after(0.001, double, 4).wait() == 8
    late = eventlet.spawn(double, 3)
    with raises(eventlet.greenlet.GreenletExit):
        killed = eventlet.spawn(eventlet.sleep, 60)
        eventlet.spawn_n(killed.kill)
        killed.wait()
    assert late.wait() == 6


@green_call
def use_pool():
    pool = eventlet.GreenPool(2)

    def double(number):
        eventlet.sleep(0)
        return number * 2

    waiting = [pool.spawn(double, n) for n in range(6)]
    assert [green.wait() for green in waiting] == [0, 2, 4, 6, 8, 10]
    assert list(pool.imap(double, range(6))) == [0, 2, 4, 6, 8, 10]
    for number in range(6):
        pool.spawn_n(double, number)
    pool.waitall()
    assert pool.running() == 0
    pile = eventlet.GreenPile(2)
    for number in range(6):
        pile.spawn(double, number)
    assert list(pile) == [0, 2, 4, 6, 8, 10]


@green_call
def kill_green_thread():
    """What kill() arranges to be woken by does not wake what comes next."""
    cleaned_up = []

    def work():
        try:
            eventlet.sleep(60)
        finally:
            eventlet.sleep(0)
            cleaned_up.append(True)

    killed = [eventlet.spawn(work) for _ in range(3)]
    eventlet.sleep(0)
    for green in killed:
        green.kill()
    eventlet.kill(eventlet.spawn(work))
    begun = time.monotonic()
    eventlet.sleep(0.01)
    assert time.monotonic() - begun >= 0.01
    assert event.Event().wait(0.002) is None
    assert len(cleaned_up) == 3


if mode.PATCHED:
    @green_call
    def fetch_page():
        with eventlet.listen(('127.0.0.1', 0)) as listener:
            server = eventlet.spawn(
                wsgi.server, listener, answer, log_output=False)
            page = requests.get(
                'http://127.0.0.1:%d/' % listener.getsockname()[1],
                headers={'Connection': 'close'})
            assert page.text == 'hello'
            server.kill()

    def answer(environ, start_response):
        eventlet.sleep(0.001)
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [b'hello']
