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

"""Has the event loop call a function, in each of the ways that it has.

Used by scripts.
"""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Callable
import contextlib
import logging
import os
import signal
import sys
from typing import Any

import cases
import mode

import aiohub
from aiohub import tasks
import eventlet
from eventlet import event
from eventlet import hubs
from eventlet import patcher

native_socket = patcher.original('socket')
loop = aiohub.get_loop()

Callback = Callable[[], object]


# -- the warnings

class _Records(logging.Handler):
    """Keeps what is logged, and can be made to wait as a full pipe does."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.gate: cases.Gate | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the handler's lock: all of them wait at the gate.
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        if self.gate is not None:
            self.gate.in_green()
        self.records.append(record)


_handler = _Records()
_logger = logging.getLogger('aiohub._standstill')
_logger.addHandler(_handler)
_logger.propagate = False


def warnings() -> list[str]:
    """Return what was warned of since the last time; in a green thread."""
    # A green thread logs it, in the next turn.
    cases.turns()
    records = _handler.records[:]
    _handler.records.clear()
    for record in records:
        assert record.levelno == logging.WARNING, record
    return [record.getMessage() for record in records]


def new_logger() -> logging.Logger:
    """Return another logger whose lines go where the warnings go."""
    logger = _logger.getChild('of_test')
    logger.propagate = True
    return logger


@contextlib.contextmanager
def slow_log():
    """Let the handler of the warnings wait; gives the gate where it does."""
    _handler.gate = gate = cases.Gate()
    try:
        yield gate
    finally:
        _handler.gate = None
        gate.open()


# -- calling

def greenlet_of_loop() -> Any:
    """Return the greenlet in which the loop calls what it calls."""
    hub = hubs.get_hub()
    return getattr(hub, 'aiohub_runner', hub).loop_greenlet


def begin(function: Callable[[], Any],
          how: Callable[[Callback], None] | None = None) -> event.Event:
    """Have the loop call a function, soon.

    :param how: One of :data:`WAYS`.
    :returns: What is sent its result, or exception, when it has ended.
    """
    ended = event.Event()

    def callback() -> None:
        try:
            assert eventlet.getcurrent() is greenlet_of_loop()
            result = function()
        except BaseException:
            ended.send_exception(*sys.exc_info())
        else:
            ended.send(result)

    (how or by_call_soon)(callback)
    return ended


def call(function: Callable[[], Any],
         how: Callable[[Callback], None] | None = None) -> Any:
    """Have the loop call a function; return its result.

    In a green thread.
    """
    return begin(function, how).wait()


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
        self._ended = begin(self._wait, self._way)
        self._waits.wait()
        return self

    def __exit__(self, *exc_info):
        assert not self.over
        self.go_on()
        self._ended.wait()
        warnings()

    def go_on(self):
        if not self._goes_on.ready():
            self._goes_on.send('go on')


class Polls:
    """Counts how often the hub polls, and whether that is too often.

    eventlet's own hubs are busy in the last millisecond before a timer.
    """

    def __enter__(self):
        self.count = 0
        self._hub = hubs.get_hub()
        self._do_poll = self._hub.do_poll
        self._hub.do_poll = self._poll
        return self

    def _poll(self, timeout):
        self.count += 1
        return self._do_poll(timeout)

    def __exit__(self, *exc_info):
        del self._hub.do_poll

    def check(self, most):
        assert self.count <= most or not mode.ON, self.count


# -- the ways

def by_call_soon(callback: Callback) -> None:
    loop.call_soon(callback)


def by_call_later(callback: Callback) -> None:
    loop.call_later(0.001, callback)


def by_call_at(callback: Callback) -> None:
    loop.call_at(loop.time() + 0.001, callback)


def by_call_soon_threadsafe(callback: Callback) -> None:
    mode.native.Thread(
        target=loop.call_soon_threadsafe, args=(callback,)).start()


def by_result_of_thread(callback: Callback) -> None:
    future = loop.run_in_executor(None, int)
    future.add_done_callback(lambda _: callback())


def pair() -> tuple[Any, Any]:
    """Return two sockets that are not green."""
    left, right = native_socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


def by_add_reader(callback: Callback) -> None:
    left, right = pair()
    right.send(b'x')

    def read() -> None:
        # It stays readable while the callback waits.
        callback()
        loop.remove_reader(left)
        left.close()
        right.close()

    loop.add_reader(left, read)


def by_add_writer(callback: Callback) -> None:
    left, right = pair()

    def write() -> None:
        callback()
        loop.remove_writer(left)
        left.close()
        right.close()

    loop.add_writer(left, write)


def by_done_future(callback: Callback) -> None:
    future = loop.create_future()
    future.add_done_callback(lambda _: callback())
    future.set_result(None)


def by_done_task(callback: Callback) -> None:
    task = loop.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: callback())


def by_signal(callback: Callback) -> None:
    def handle() -> None:
        loop.remove_signal_handler(signal.SIGUSR1)
        callback()

    loop.add_signal_handler(signal.SIGUSR1, handle)
    os.kill(os.getpid(), signal.SIGUSR1)


def by_exception_handler(callback: Callback) -> None:
    def handle(loop: object, context: dict[str, Any]) -> None:
        assert isinstance(context['exception'], ZeroDivisionError), context
        aiohub.get_loop().set_exception_handler(None)
        callback()

    loop.set_exception_handler(handle)
    loop.call_soon(lambda: 1 / 0)


async def _numbers() -> AsyncIterator[int]:
    yield 1
    yield 2


def by_finalizer_hook(callback: Callback) -> None:
    def collect() -> None:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=lambda _: callback())
        try:
            numbers = _numbers()
            try:
                numbers.asend(None).send(None)
            except StopIteration as exc:
                assert exc.value == 1
            del numbers
        finally:
            sys.set_asyncgen_hooks(*hooks)

    loop.call_soon(collect)


class _Protocol(asyncio.Protocol):
    """Calls back in one of its methods; the first that is called last."""

    def __init__(self, method: str, callback: Callback) -> None:
        self.method = method
        self.callback = callback

    def _called(self, method: str) -> None:
        if method == self.method:
            self.callback()

    def connection_made(self, transport: Any) -> None:
        self._called('connection_made')
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._called('data_received')
        self.transport.write(data)

    def eof_received(self) -> None:
        self._called('eof_received')

    def connection_lost(self, exc: BaseException | None) -> None:
        assert exc is None, exc
        self._called('connection_lost')


def by_method_of_protocol(method: str) -> Callable[[Callback], None]:
    """Return a way: a method of a protocol, of a server with a client."""

    def serve(callback: Callback) -> None:
        server = aiohub.await_(loop.create_server(
            lambda: _Protocol(method, callback), '127.0.0.1', 0))
        eventlet.spawn(visit, server)

    def visit(server: Any) -> None:
        address = server.sockets[0].getsockname()
        with eventlet.connect(address) as client:
            client.sendall(b'x')
            assert client.recv(1) == b'x'
            client.shutdown(native_socket.SHUT_WR)
            assert client.recv(1) == b''
        server.close()

    return serve


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, callback: Callback) -> None:
        self.callback = callback

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        self.callback()
        self.transport.close()


def by_datagram(callback: Callback) -> None:
    transport, _ = aiohub.await_(loop.create_datagram_endpoint(
        lambda: _Datagrams(callback), ('127.0.0.1', 0)))
    with native_socket.socket(type=native_socket.SOCK_DGRAM) as client:
        client.sendto(b'x', transport.get_extra_info('sockname'))


async def _coroutine(callback: Callback) -> None:
    task = asyncio.current_task()
    assert task is not None
    await asyncio.sleep(0)
    callback()
    assert asyncio.current_task() is task
    await asyncio.sleep(0)


def plain_task(coroutine: Any, make: Any = loop.create_task) -> Any:
    """Make a task that is not green."""
    tasks.enabled = False
    try:
        return make(coroutine)
    finally:
        tasks.enabled = True


def by_plain_task(callback: Callback) -> None:
    plain_task(_coroutine(callback))


def by_plain_task_made_directly(callback: Callback) -> None:
    plain_task(_coroutine(callback), lambda coroutine: asyncio.Task(
        coroutine, loop=loop))


TASKS = (by_plain_task, by_plain_task_made_directly)

WAYS: dict[str, Callable[[Callback], None]] = {
    way.__name__[3:]: way for way in (
        by_call_soon, by_call_later, by_call_at, by_call_soon_threadsafe,
        by_result_of_thread, by_add_reader, by_add_writer, by_done_future,
        by_done_task, by_signal, by_exception_handler, by_finalizer_hook,
        by_datagram, *TASKS)}
WAYS.update(
    (method, by_method_of_protocol(method)) for method in (
        'connection_made', 'data_received', 'eof_received',
        'connection_lost'))
