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

"""Waiting for descriptors: closed, used again, shared, regular, several."""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import tempfile

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import debug
from eventlet import hubs
from eventlet import patcher

native_socket = patcher.original('socket')
native_os = patcher.original('os')
hub = hubs.get_hub()


def check_clean() -> None:
    """No listener is left behind."""
    assert not list(hub.get_readers()), list(hub.get_readers())
    assert not list(hub.get_writers()), list(hub.get_writers())
    assert not any(hub.secondaries.values()), hub.secondaries


def run(coroutine):
    return eventlet_asyncio.spawn_for_awaitable(coroutine).wait()


def pair() -> tuple[socket.socket, socket.socket]:
    left, right = native_socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


def wait_read(fd: int, timeout: float | None = None) -> str:
    try:
        hubs.trampoline(fd, read=True, timeout=timeout)
    except eventlet.Timeout:
        return 'timeout'
    except hubs.IOClosed:
        return 'closed'
    return 'ready'


def closed() -> None:
    left, right = pair()
    fd = left.fileno()
    left.close()
    for how in ({'read': True}, {'write': True}):
        try:
            hubs.trampoline(fd, **how)
        except OSError as exc:
            assert exc.errno == errno.EBADF, exc
        else:
            raise AssertionError('waited for a closed fd')
        if mode.ON:
            check_clean()
        else:
            # epolls leaves a listener behind.
            hub.remove_descriptor(fd)
    try:
        hubs.trampoline(-1, read=True)
    except ValueError:
        pass
    else:
        raise AssertionError('waited for -1')
    check_clean()
    right.close()


def closed_while_waiting() -> None:
    """As on epolls: who waits finds out when the number is opened again."""
    left, right = pair()
    fd = left.fileno()
    waiting = eventlet.spawn(wait_read, fd)
    eventlet.sleep(0)
    left.close()
    eventlet.sleep(0)
    assert not waiting.dead
    again, other = pair()
    assert again.fileno() == fd
    hubs.notify_opened(fd)
    assert waiting.wait() == 'closed'
    check_clean()
    # And the number works.
    waiting = eventlet.spawn(wait_read, fd)
    eventlet.sleep(0)
    other.send(b'x')
    assert waiting.wait() == 'ready'
    for sock in (right, again, other):
        sock.close()
    check_clean()


def used_again() -> None:
    """A number that is used again, with and without a wait that ended."""
    for end in ('ready', 'timeout'):
        for _ in range(20):
            left, right = pair()
            fd = left.fileno()
            waiting = eventlet.spawn(wait_read, fd, 0.001)
            eventlet.sleep(0)
            if end == 'ready':
                right.send(b'x')
            assert waiting.wait() == end
            # Data for the old one must not wake the new one's reader.
            right.send(b'x')
            left.close()
            again, other = pair()
            assert again.fileno() == fd
            assert wait_read(fd, 0.002) == 'timeout'
            waiting = eventlet.spawn(wait_read, fd)
            eventlet.sleep(0)
            other.send(b'x')
            assert waiting.wait() == 'ready'
            for sock in (right, again, other):
                sock.close()
    check_clean()


def swapped_in_one_turn() -> None:
    """Two are ready at once; the first to run replaces the other's fd."""
    first, first_peer = pair()
    second, second_peer = pair()
    log = []
    made = []

    def replace(own: socket.socket, other: socket.socket) -> None:
        wait_read(own.fileno())
        if made:
            return
        fd = other.fileno()
        other.close()
        made.extend(pair())
        made.append(fd)
        assert made[0].fileno() == fd
        hubs.notify_opened(fd)
        log.append(eventlet.spawn(wait_read, fd, 0.05))
        eventlet.sleep(0)

    one = eventlet.spawn(replace, first, second)
    two = eventlet.spawn(replace, second, first)
    eventlet.sleep(0)
    first_peer.send(b'x')
    second_peer.send(b'x')
    done = [False]
    for green in (one, two):
        with contextlib.suppress(hubs.IOClosed, OSError):
            green.wait()
            done[0] = True
    # The reader of the new fd was not woken by the event of the old one.
    assert [g.wait() for g in log] == ['timeout']
    for sock in (first, first_peer, second, second_peer, *made[:2]):
        sock.close()
    check_clean()


def read_and_write() -> None:
    """One reader and one writer on one fd, each woken for its own."""
    left, right = pair()
    fd = left.fileno()
    for _ in range(3):
        reading = eventlet.spawn(wait_read, fd)
        hubs.trampoline(fd, write=True)
        assert not reading.dead
        hubs.trampoline(fd, write=True)
        right.send(b'x')
        assert reading.wait() == 'ready'
        left.recv(1)
        # Fill it, so that the writer has to wait.
        with contextlib.suppress(BlockingIOError):
            while True:
                left.send(b'x' * 65536)
        writing = eventlet.spawn(hubs.trampoline, fd, write=True)
        reading = eventlet.spawn(wait_read, fd)
        eventlet.sleep(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                right.recv(65536)
        writing.wait()
        assert not reading.dead
        right.send(b'x')
        assert reading.wait() == 'ready'
        left.recv(1)
        with contextlib.suppress(BlockingIOError):
            while True:
                right.recv(65536)
    # Both at once, by an error: each is told.
    reading = eventlet.spawn(wait_read, fd)
    with contextlib.suppress(BlockingIOError):
        while True:
            left.send(b'x' * 65536)
    writing = eventlet.spawn(hubs.trampoline, fd, write=True)
    eventlet.sleep(0)
    right.close()
    assert reading.wait() == 'ready'
    writing.wait()
    left.close()
    check_clean()


def lasting_listener() -> None:
    """A listener that is not removed is called each time."""
    left, right = pair()
    calls = []

    def call(fd: int) -> None:
        calls.append(left.recv(1))

    listener = hub.add(
        hub.READ, left.fileno(), call, lambda exc: None, lambda: None)
    for n in range(3):
        right.send(b'%d' % n)
        while len(calls) <= n:
            eventlet.sleep(0)
    assert calls == [b'0', b'1', b'2']
    hub.remove(listener)
    left.close()
    right.close()
    check_clean()


def several_readers() -> None:
    left, right = pair()
    debug.hub_prevent_multiple_readers(True)
    one = eventlet.spawn(wait_read, left.fileno())
    eventlet.sleep(0)
    try:
        wait_read(left.fileno())
    except RuntimeError as exc:
        assert 'Second simultaneous read' in str(exc)
    else:
        raise AssertionError('a second reader was not refused')
    one.kill()
    debug.hub_prevent_multiple_readers(False)

    def read() -> bytes:
        while True:
            try:
                return left.recv(1)
            except BlockingIOError:
                hubs.trampoline(left.fileno(), read=True)

    readers = [eventlet.spawn(read) for _ in range(10)]
    eventlet.sleep(0)
    readers[0].kill()
    readers[5].kill()
    del readers[5], readers[0]
    right.send(b'ab')
    right.send(b'cdefgh')
    assert sorted(r.wait() for r in readers) == [
        b'%c' % c for c in b'abcdefgh']
    debug.hub_prevent_multiple_readers(True)
    left.close()
    right.close()
    check_clean()


def regular_files() -> None:
    with tempfile.TemporaryFile() as file:
        fd = file.fileno()
        native_os.write(fd, b'content')
        for _ in range(3):
            hubs.trampoline(fd, read=True)
            hubs.trampoline(fd, write=True)
            check_clean()
        with eventlet.Timeout(60):
            native_os.lseek(fd, 0, os.SEEK_SET)
            hubs.trampoline(fd, read=True)
            assert native_os.read(fd, 10) == b'content'
        # A listener that stays is called again and again, as for any fd
        # that stays ready, and other green threads still run.
        calls = []
        listener = hub.add(hub.READ, fd, calls.append, None, None)
        while len(calls) < 3:
            eventlet.sleep(0)
        hub.remove(listener)
        number = len(calls)
        eventlet.sleep(0.002)
        assert len(calls) == number
    check_clean()


def both_worlds() -> None:
    """asyncio and green threads wait for one fd; each gets its events."""
    left, right = pair()
    fd = left.fileno()
    loop = hub.loop
    seen = []

    # asyncio reads, green writes.
    loop.add_reader(fd, lambda: seen.append(left.recv(10)))
    for n in range(3):
        hubs.trampoline(fd, write=True)
        right.send(b'%d' % n)
        while len(seen) <= n:
            eventlet.sleep(0)
    check_clean()
    # Both read: both are told, and asyncio still is when the green one has
    # gone by a timeout.
    told = []
    loop.remove_reader(fd)
    loop.add_reader(fd, lambda: told.append(loop.remove_reader(fd)))
    reading = eventlet.spawn(wait_read, fd)
    assert wait_read(right.fileno(), 0.001) == 'timeout'
    right.send(b'x')
    assert reading.wait() == 'ready'
    while not told:
        eventlet.sleep(0)
    left.recv(1)
    loop.add_reader(fd, lambda: seen.append(left.recv(10)))
    assert wait_read(fd, 0.001) == 'timeout'
    right.send(b'3')
    while len(seen) < 4:
        eventlet.sleep(0)
    assert seen == [b'0', b'1', b'2', b'3'], seen
    # asyncio goes first; the green reader stays.
    reading = eventlet.spawn(wait_read, fd)
    eventlet.sleep(0)
    assert loop.remove_reader(fd)
    eventlet.sleep(0)
    assert not reading.dead
    right.send(b'x')
    assert reading.wait() == 'ready'
    # asyncio's writer, a green reader.
    wrote = []
    loop.add_writer(fd, lambda: wrote.append(loop.remove_writer(fd)))
    left.recv(1)
    reading = eventlet.spawn(wait_read, fd)
    while not wrote:
        eventlet.sleep(0)
    assert not reading.dead
    reading.kill()
    assert not loop.remove_reader(fd)
    left.close()
    right.close()
    check_clean()


def reused_between_worlds() -> None:
    """A number that green code used, used by asyncio, and back."""

    async def converse() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        numbers.append(left.fileno())
        receiving = asyncio.ensure_future(loop.sock_recv(left, 1))
        await asyncio.sleep(0)
        await loop.sock_sendall(right, b'x')
        assert await receiving == b'x'
        left.close()
        right.close()

    numbers: list[int] = []
    for _ in range(5):
        left, right = pair()
        numbers.append(left.fileno())
        waiting = eventlet.spawn(wait_read, left.fileno(), 0.001)
        assert waiting.wait() == 'timeout'
        left.close()
        right.close()
        run(converse())
    assert len(set(numbers)) == 1, numbers
    check_clean()


def asyncio_refuses() -> None:
    """asyncio's add_reader says of a bad fd what it says elsewhere."""
    loop = hub.loop
    plain = asyncio.SelectorEventLoop()
    left, right = pair()
    fd = left.fileno()
    left.close()
    with tempfile.TemporaryFile() as file:
        for bad in (fd, -1, file.fileno()):
            errors = []
            for each in (loop, plain):
                try:
                    each.add_reader(bad, print)
                except Exception as exc:
                    errors.append((type(exc), getattr(exc, 'errno', None)))
            assert len(errors) == 2, (bad, errors)
            assert errors[0] == errors[1], (bad, errors)
            assert not loop.remove_reader(bad) if bad >= 0 else True
    plain.close()
    right.close()


def exception_in_listener() -> None:
    """An error in what a listener calls: printed, the rest goes on."""
    left, right = pair()

    def fail() -> None:
        hubs.trampoline(left.fileno(), read=True)
        raise ValueError('on purpose')

    failing = eventlet.spawn(fail)
    eventlet.sleep(0)
    right.send(b'x')
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            failing.wait()
        except ValueError:
            pass
        eventlet.sleep(0)
        os.dup2(stderr, 2)
        os.close(stderr)
        file.seek(0)
        assert b'on purpose' in file.read()
    left.close()
    right.close()
    check_clean()


def blocking_flag() -> None:
    left, right = native_socket.socketpair()
    flags = fcntl.fcntl(left.fileno(), fcntl.F_GETFL)
    wait_read(left.fileno(), 0.001)
    assert fcntl.fcntl(left.fileno(), fcntl.F_GETFL) == flags
    left.close()
    right.close()


CHECKS = [closed, read_and_write, lasting_listener, several_readers,
          exception_in_listener, blocking_flag]
if mode.ON:
    # What epolls cannot do: it raises EPERM for a regular file, has no loop,
    # and spins or wakes the wrong one when numbers are used again.
    CHECKS += [closed_while_waiting, used_again, swapped_in_one_turn,
               regular_files, both_worlds, reused_between_worlds,
               asyncio_refuses]
for check in CHECKS:
    try:
        with eventlet.Timeout(60):
            check()
    except BaseException:
        print('in', check.__name__)
        raise
mode.done()
