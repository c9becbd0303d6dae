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

"""Green calls, for scripts that mix them into what libraries do.

Each waits at least once, and can be made in a green thread, in a coroutine
of a green task, and in a greenlet that a library runs in one.
"""

import asyncio
import contextvars
import itertools
import time

import mode

import aiohub
import eventlet
from eventlet import corolocal
from eventlet import event
from eventlet.green import threading
from eventlet import semaphore

sleep = time.sleep if mode.PATCHED else eventlet.sleep

_listener = eventlet.listen(('127.0.0.1', 0))
# As many tasks wait for it as want to: nobody gets it at once.
_lock = threading.Lock()
_permits = semaphore.Semaphore(2)


def _serve() -> None:
    while True:
        connection, _ = _listener.accept()
        eventlet.spawn_n(_echo, connection)


def _echo(connection) -> None:
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)


_server = eventlet.spawn(_serve)


def by_timer(value):
    sleep(0.001)
    return value


def by_queue(value):
    queue = eventlet.Queue()
    eventlet.spawn_n(lambda: (eventlet.sleep(0), queue.put(value)))
    return queue.get()


def by_event(value):
    done = event.Event()
    eventlet.spawn_n(done.send, value)
    return done.wait()


def by_lock(value):
    with _lock, _permits:
        eventlet.sleep(0)
    return value


def by_socket(value):
    data = b'%d' % value
    with eventlet.connect(_listener.getsockname()) as connection:
        connection.sendall(data)
        return int(connection.recv(100))


def by_green_thread(value):
    return eventlet.spawn(by_queue, value).wait()


def by_other_task(value):
    return aiohub.await_(_answer(value))


async def _answer(value):
    await asyncio.sleep(0)
    by_timer(None)
    return value


CALLS = (by_timer, by_queue, by_event, by_lock, by_socket, by_green_thread,
         by_other_task)
_next = itertools.cycle(CALLS)


def call(value: int) -> int:
    """Make one of the calls, the next one each time."""
    answer = next(_next)(value)
    assert answer == value, (answer, value)
    return answer


_variable: contextvars.ContextVar[object] = contextvars.ContextVar('who')
_thread_local = threading.local()
_green_local = corolocal.local()


class Identity:
    """What a task must find unchanged whenever it has waited."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self.green = eventlet.getcurrent()
        _variable.set(self)
        _green_local.who = _thread_local.who = self
        self.check()

    def check(self) -> None:
        self.check_in_child()
        assert eventlet.getcurrent() is self.green
        assert _green_local.who is self
        assert _thread_local.who is self

    def check_in_child(self) -> None:
        """The same in a greenlet that the task has started."""
        assert asyncio.current_task() is self.task
        assert _variable.get() is self

    def call(self, value: int) -> int:
        call(value)
        self.check()
        return value

    def call_in_child(self, value: int) -> int:
        call(value)
        self.check_in_child()
        return value


def current_identity() -> Identity:
    """Return the identity of the task that runs, from its context."""
    who = _variable.get()
    assert isinstance(who, Identity)
    return who
