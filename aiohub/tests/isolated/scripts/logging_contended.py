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

"""Log handlers that block, and hundreds that write to them at once.

Every line arrives whole and once, and those of one writer in their order.
The handlers write to a pipe or a socket that is full from the beginning, as
its reader does not begin before, and stays full, as it reads small pieces:
another process does, or a green thread where the handler waits greenly.

Writers are green threads, tasks and callbacks. Native threads and tpool's
write too where the lock of the handlers is for them: before patching, and
with oslo.log. (After patching the lock of the standard handlers is green, and
two OS threads cannot wait for it, on any hub.)
"""

import asyncio
import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import faulthandler
import fcntl
import io
import itertools
import logging
from logging import handlers
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import termios
from typing import Any

import mode

import aiohub
import eventlet
from eventlet import greenio
from eventlet import hubs
from eventlet import patcher
from eventlet import tpool
from oslo_config import cfg
from oslo_log import log as oslo_logging

GREEN_THREADS = 200
NATIVE_THREADS = 10
LINES = 3
#: How long the lines are: more than the pipe holds, less than may be torn by
#: the kernel, and short.
LENGTHS = (6000, 40, 700)
PIPE_SIZE = 4096
WARNING = 'A callback of the event loop waits in a green call.'

native = patcher.original('threading')
native_os = patcher.original('os')
native_select = patcher.original('select')
native_socket = patcher.original('socket')
native_time = patcher.original('time')

LOG = logging.getLogger('contended')
directory = tempfile.TemporaryDirectory()


# -- what the handlers write to

class ProcessReader:
    """Another process reads *fd*."""

    def __init__(self, fd: int) -> None:
        self._copy = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, 'slow_reader.py', str(fd)], pass_fds=[fd],
            stdin=subprocess.PIPE, stdout=self._copy)
        native_os.close(fd)

    def go(self) -> None:
        native_os.write(self._process.stdin.fileno(), b'x')

    def result(self) -> bytes:
        assert self._process.wait() == 0
        self._process.stdin.close()
        with self._copy:
            self._copy.seek(0)
            return self._copy.read()


class GreenReader:
    """A green thread of this process reads *fd*."""

    def __init__(self, fd: int) -> None:
        self._go = native_os.pipe()
        self._thread = eventlet.spawn(self._read, fd)

    def go(self) -> None:
        native_os.write(self._go[1], b'x')

    def _read(self, fd: int) -> bytes:
        hubs.trampoline(self._go[0], read=True)
        native_os.set_blocking(fd, False)
        data = b''
        while True:
            try:
                piece = native_os.read(fd, 500)
            except BlockingIOError:
                hubs.trampoline(fd, read=True)
                continue
            if not piece:
                break
            data += piece
            eventlet.sleep(0)
        for end in (fd, *self._go):
            native_os.close(end)
        return data

    def result(self) -> bytes:
        return self._thread.wait()


def small_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that is soon full."""
    rfd, wfd = native_os.pipe()
    fcntl.fcntl(wfd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return rfd, wfd


def small_fifo() -> tuple[int, str]:
    """Return the read end and the path of one."""
    path = os.path.join(directory.name, 'fifo')
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path)
    rfd = native_os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(rfd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return rfd, path


class SmallSocketHandler(handlers.SocketHandler):
    """A standard handler whose socket is soon full, and has no timeout."""

    def makeSocket(self, timeout: float | None = None) -> Any:
        sock = super().makeSocket(timeout)
        sock.setsockopt(
            native_socket.SOL_SOCKET, native_socket.SO_SNDBUF, PIPE_SIZE)
        return sock


def is_full(handler: Any) -> bool:
    sock = getattr(handler, 'sock', None)
    if sock is not None:
        return not native_select.select([], [sock.fileno()], [], 0)[1]
    there = fcntl.ioctl(handler.stream.fileno(), termios.FIONREAD, b'1234')
    return struct.unpack('i', there)[0] == PIPE_SIZE


# -- who writes

class Writers:
    """Runs all writers at once."""

    def __init__(self, with_native: bool) -> None:
        self._loop = aiohub.get_loop()
        self._with_native = with_native
        self.begun: collections.deque[str] = collections.deque()
        self.ended: collections.deque[str] = collections.deque()
        self.failures: list[BaseException] = []
        #: How many have to begin before anything is read.
        self.blocking = GREEN_THREADS
        if with_native:
            self.blocking += 2 * NATIVE_THREADS
        self.names: list[str] = []

    def _line(self, name: str, number: int) -> None:
        try:
            self.begun.append(name)
            LOG.info('%s', text(name, number))
            self.ended.append(name)
        except BaseException as exc:
            self.failures.append(exc)

    def _lines(self, name: str) -> None:
        for number in range(LINES):
            self._line(name, number)

    def _tpool_lines(self, name: str) -> None:
        tpool.execute(self._lines, name)

    async def _task_lines(self, name: str) -> None:
        for number in range(LINES):
            self._line(name, number)
            await asyncio.sleep(0)

    def _callback_lines(self, name: str, number: int, done: Any) -> None:
        self._line(name, number)
        if number + 1 < LINES:
            self._loop.call_soon(
                self._callback_lines, name, number + 1, done)
        else:
            done.set_result(None)

    def _named(self, kind: str, count: int) -> Iterator[str]:
        for number in range(count):
            self.names.append('%s-%d' % (kind, number))
            yield self.names[-1]

    async def _in_loop(self) -> None:
        waits = []
        for name in self._named('task', GREEN_THREADS // 2):
            waits.append(self._loop.create_task(self._task_lines(name)))
        for name in self._named('callback', GREEN_THREADS // 2):
            waits.append(self._loop.create_future())
            self._loop.call_soon(self._callback_lines, name, 0, waits[-1])
        await asyncio.gather(*waits)

    def run(self) -> None:
        """Write all lines, and wait until they are written."""
        threads = []
        if self._with_native:
            for name in self._named('native', NATIVE_THREADS):
                threads.append(
                    native.Thread(target=self._lines, args=[name]))
                threads[-1].start()
        greens = [
            eventlet.spawn(self._lines, name)
            for name in self._named('green', GREEN_THREADS)]
        if self._with_native:
            greens += [
                eventlet.spawn(self._tpool_lines, name)
                for name in self._named('tpool', NATIVE_THREADS)]
        greens.append(aiohub.spawn_for_awaitable(self._in_loop()))
        for green in greens:
            green.wait()
        while any(thread.is_alive() for thread in threads):
            eventlet.sleep(0.001)


def text(name: str, number: int) -> str:
    length = LENGTHS[number % len(LENGTHS)]
    return '%s %d %s' % (name, number, chr(ord('a') + number) * length)


# -- one case

def check(handler: Any, reader: Any, with_native: bool, is_green: bool,
          close: Callable[[], None]) -> None:
    """Write to *handler* and see what arrives at *reader*.

    :param is_green: Whether a full pipe stops only the one who writes.
    :param close: Closes what the handler writes to.
    """
    writers = Writers(with_native)
    stuck = []

    def go_when_stuck() -> None:
        while (not is_full(handler)
               or is_green and len(writers.begun) < writers.blocking):
            native_time.sleep(0.001)
        stuck.append(len(writers.begun) - len(writers.ended))
        reader.go()

    starter = native.Thread(target=go_when_stuck, daemon=True)
    starter.start()
    writers.run()
    assert not writers.failures, (
        len(writers.failures), writers.failures[0])
    close()
    data = reader.result()
    while starter.is_alive():
        eventlet.sleep(0.001)
    if is_green:
        assert stuck[0] > GREEN_THREADS * 0.9, stuck
    if isinstance(handler, handlers.SocketHandler):
        lines = list(unpickled(data))
    else:
        assert data.endswith(b'\n')
        lines = data.decode().split('\n')[:-1]
    arrived = collections.defaultdict(list)
    for line in lines:
        arrived[line.partition(' ')[0]].append(line)
    for name in writers.names:
        of_one = arrived.pop(name, [])
        assert of_one == [text(name, number) for number in range(LINES)], (
            name, [line[:20] for line in of_one])
    # A callback that waits is warned of, to the same handler.
    for line in itertools.chain(*arrived.values()):
        assert line.startswith(('  ', WARNING)) or not line, line


def unpickled(data: bytes) -> Iterator[str]:
    """Return what a SocketHandler sent."""
    stream = io.BytesIO(data)
    while prefix := stream.read(4):
        length, = struct.unpack('>L', prefix)
        record = logging.makeLogRecord(pickle.loads(stream.read(length)))
        yield record.getMessage()


def readers(is_green: bool) -> list[type]:
    return [ProcessReader, GreenReader] if is_green else [ProcessReader]


@contextlib.contextmanager
def attached(handler: logging.Handler) -> Iterator[None]:
    loggers = [LOG, logging.getLogger('aiohub')]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    yield
    for logger in loggers:
        logger.removeHandler(handler)
        logger.propagate = True
    handler.close()


def standard_stream(is_green: bool, with_native: bool) -> None:
    for reader in readers(is_green):
        rfd, wfd = small_pipe()
        stream: Any = (greenio.GreenPipe(wfd, 'w') if is_green
                       else open(wfd, 'w'))
        handler = logging.StreamHandler(stream)
        with attached(handler):
            check(handler, reader(rfd), with_native, is_green, stream.close)


def standard_file(with_native: bool) -> None:
    rfd, path = small_fifo()
    handler = logging.FileHandler(path)
    with attached(handler):
        check(handler, ProcessReader(rfd), with_native, False, handler.close)


def standard_socket(with_native: bool) -> None:
    for reader in readers(mode.PATCHED):
        listener = native_socket.socket()
        with contextlib.closing(listener):
            listener.setsockopt(
                native_socket.SOL_SOCKET, native_socket.SO_RCVBUF, PIPE_SIZE)
            listener.bind(('127.0.0.1', 0))
            listener.listen()
            handler = SmallSocketHandler(*listener.getsockname())
            handler.createSocket()
            rfd = listener.accept()[0].detach()
        with attached(handler):
            check(handler, reader(rfd), with_native, mode.PATCHED,
                  handler.close)


def oslo_set_up(**options: Any) -> Any:
    """Set up oslo.log; return the handler that it has made."""
    conf = cfg.ConfigOpts()
    oslo_logging.register_options(conf)
    conf([])
    conf.set_override('logging_default_format_string', '%(message)s')
    for name, value in options.items():
        conf.set_override(name, value)
    oslo_logging.setup(conf, 'contended')
    # It logs what ends the script, to a pipe that is full.
    sys.excepthook = sys.__excepthook__
    handler, = logging.getLogger().handlers
    if mode.PATCHED:
        # On aiohub not the one that takes a task each time.
        kind = type(handler.lock).__name__
        assert 'Mutex' in kind and 'Asyncio' not in kind, kind
    return handler


def oslo_file() -> None:
    rfd, path = small_fifo()
    handler = oslo_set_up(log_file=path)
    check(handler, ProcessReader(rfd), True, False, handler.close)


def oslo_stderr(is_green: bool) -> None:
    for reader in readers(is_green):
        rfd, wfd = small_pipe()
        stream: Any = (greenio.GreenPipe(wfd, 'w') if is_green
                       else open(wfd, 'w'))
        # What fails in a handler is printed there, and found.
        with contextlib.redirect_stderr(stream):
            handler = oslo_set_up(use_stderr=True)
            check(handler, reader(rfd), True, is_green, stream.close)
        logging.getLogger().removeHandler(handler)


def standard(with_native: bool) -> None:
    if mode.PATCHED:
        standard_stream(True, with_native)
    standard_stream(False, with_native)
    standard_file(with_native)
    standard_socket(with_native)


faulthandler.dump_traceback_later(240, exit=True, file=sys.__stderr__)
LOG.setLevel(logging.INFO)
if mode.MODE.startswith('setup-later'):
    oslo_set_up()
    mode.set_up()
else:
    standard(not mode.PATCHED)
if mode.PATCHED:
    oslo_stderr(True)
oslo_stderr(False)
oslo_file()
# With the lock that oslo.log gives every new handler.
standard(True)
tpool.killall()
faulthandler.cancel_dump_traceback_later()
logging.getLogger().handlers.clear()
directory.cleanup()
mode.done()
