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

"""What plain asyncio programs do, on the loop of the hub.

Each ``async def`` below is a program; they run one after the other, and then
all of them at once, with green threads at work beside them.
"""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import patcher
import trustme

native = patcher.original('threading')
main_ident = native.get_ident()


async def tasks() -> None:
    order = []

    async def step(n: int) -> int:
        for i in range(3):
            order.append((i, n))
            await asyncio.sleep(0)
        return n

    assert await asyncio.gather(*map(step, range(5))) == list(range(5))
    assert order == sorted(order)
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(step(i)) for i in range(3)]
    assert [t.result() for t in made] == [0, 1, 2]
    try:
        async with asyncio.timeout(0.01):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        pass
    else:
        raise AssertionError('no TimeoutError')
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    lock = asyncio.Lock()

    async def put() -> None:
        for i in range(100):
            async with lock:
                await queue.put(i)

    putting = asyncio.create_task(put())
    assert [await queue.get() for _ in range(100)] == list(range(100))
    await putting


async def timers() -> None:
    loop = asyncio.get_running_loop()
    called = []
    done = loop.create_future()
    loop.call_later(0.03, done.set_result, None)
    loop.call_later(0.02, called.append, 2)
    loop.call_later(0.01, called.append, 1)
    loop.call_later(0.015, called.append, 'never').cancel()
    loop.call_soon(called.append, 0)
    start = loop.time()
    await done
    assert loop.time() - start >= 0.03
    assert called == [0, 1, 2], called


async def _echo(reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _converse(reader: asyncio.StreamReader,
                    writer: asyncio.StreamWriter) -> None:
    # More than the socket buffers hold: both sides have to wait.
    sent = os.urandom(4 << 20)
    writer.write(sent)
    reading = asyncio.create_task(reader.readexactly(len(sent)))
    await writer.drain()
    assert await reading == sent
    writer.close()
    await writer.wait_closed()


async def streams() -> None:
    async with await asyncio.start_server(_echo, '127.0.0.1', 0) as server:
        port = server.sockets[0].getsockname()[1]

        async def client() -> None:
            await _converse(*await asyncio.open_connection(
                '127.0.0.1', port))

        await asyncio.gather(*(client() for _ in range(5)))


async def unix_streams() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 's')
        async with await asyncio.start_unix_server(_echo, path):
            await _converse(*await asyncio.open_unix_connection(path))


async def tls() -> None:
    authority = trustme.CA()
    # Before and after patching, both kinds of context: that of the service,
    # green when patched, and one made by asyncio.
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost').configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    async with await asyncio.start_server(
            _echo, '127.0.0.1', 0, ssl=server_side) as server:
        port = server.sockets[0].getsockname()[1]
        await _converse(*await asyncio.open_connection(
            '127.0.0.1', port, ssl=client_side, server_hostname='localhost'))
        # An untrusted server is refused.
        try:
            await asyncio.open_connection('127.0.0.1', port, ssl=True)
        except ssl.SSLCertVerificationError:
            pass
        else:
            raise AssertionError('trusted an unknown authority')


async def start_tls() -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost').configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)

    async def upgrade(reader: asyncio.StreamReader,
                      writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'go\n')
        await writer.start_tls(server_side)
        await _echo(reader, writer)

    async with await asyncio.start_server(
            upgrade, '127.0.0.1', 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        writer.write(b'STARTTLS\n')
        assert await reader.readline() == b'go\n'
        await writer.start_tls(client_side, server_hostname='localhost')
        await _converse(reader, writer)


async def datagrams() -> None:
    loop = asyncio.get_running_loop()
    got = loop.create_future()

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: object) -> None:
            self.transport.sendto(data.upper(), addr)

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            got.set_result(data)

    server, _ = await loop.create_datagram_endpoint(
        Server, local_addr=('127.0.0.1', 0))
    client, _ = await loop.create_datagram_endpoint(
        Client, remote_addr=server.get_extra_info('sockname'))
    client.sendto(b'ping')
    assert await got == b'PING'
    client.close()
    server.close()


async def subprocesses() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, '-c', 'print(input()[::-1]); raise SystemExit(3)',
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = await process.communicate(b'hello\n')
    assert (out, process.returncode) == (b'olleh\n', 3)
    process = await asyncio.create_subprocess_shell(
        'cat; exit 4', stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    try:
        await asyncio.create_subprocess_exec('/nonexistent/program')
    except FileNotFoundError:
        pass
    else:
        raise AssertionError('started a program that is not there')


async def signal_handlers() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(3):
        got = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, got.set_result, 'usr1')
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await got == 'usr1'
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)


async def threads() -> None:
    idents = await asyncio.gather(*(
        asyncio.to_thread(native.get_ident) for _ in range(20)))
    assert main_ident not in idents
    barrier = native.Barrier(4)
    # Passes only if four of them run at the same time.
    await asyncio.gather(*(
        asyncio.to_thread(barrier.wait, 60) for _ in range(4)))
    try:
        await asyncio.to_thread(int, 'x')
    except ValueError:
        pass
    else:
        raise AssertionError('the exception was lost')
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    native.Thread(
        target=loop.call_soon_threadsafe, args=(event.set,)).start()
    await event.wait()


async def names() -> None:
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(
        'localhost', 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
    assert infos[0][4] == ('127.0.0.1', 80), infos
    assert (await loop.getnameinfo(('127.0.0.1', 80)))[0]


async def pipes() -> None:
    loop = asyncio.get_running_loop()
    r, w = os.pipe()
    reader = asyncio.StreamReader()
    source, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(r, 'rb', 0))
    sink, _ = await loop.connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(w, 'wb', 0))
    sink.write(b'through a pipe\n')
    assert await reader.readline() == b'through a pipe\n'
    sink.close()
    source.close()


async def sockets() -> None:
    loop = asyncio.get_running_loop()
    # The sockets of the service, green ones when patched.
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen()
    listener.setblocking(False)
    client = socket.socket()
    client.setblocking(False)
    accepting = asyncio.create_task(loop.sock_accept(listener))
    await loop.sock_connect(client, listener.getsockname())
    server, _ = await accepting
    await loop.sock_sendall(client, b'data')
    assert await loop.sock_recv(server, 10) == b'data'
    for sock in (listener, client, server):
        sock.close()


async def generators() -> None:
    ended = []

    async def generator():
        try:
            for i in range(10):
                yield i
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async for value in generator():
        if value == 3:
            break
    # Nobody refers to it any more: the loop's hook closes it.
    while not ended:
        await asyncio.sleep(0)
    async with contextlib.aclosing(generator()) as values:
        assert await anext(values) == 0
    assert len(ended) == 2


async def abandoned_generator() -> None:
    """Runs last: shutdown_asyncgens() closes what is still open."""
    loop = asyncio.get_running_loop()
    ended = []

    async def generator():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    keep = generator()
    assert await anext(keep) == 1
    await loop.shutdown_asyncgens()
    assert ended


PROGRAMS = (
    tasks, timers, streams, unix_streams, tls, start_tls, datagrams,
    subprocesses, signal_handlers, threads, names, pipes, sockets,
    generators)


def run(coroutine):
    return eventlet_asyncio.spawn_for_awaitable(coroutine).wait()


ticks = 0


def tick() -> None:
    global ticks
    while True:
        eventlet.sleep(0.001)
        ticks += 1


ticking = eventlet.spawn(tick)
for program in PROGRAMS:

    try:
        run(program())
    except BaseException:
        print('in', program.__name__)
        raise


async def all_at_once() -> None:
    await asyncio.gather(*(
        program() for program in PROGRAMS
        # Both set the process's handler of one signal.
        if program is not signal_handlers))


run(all_at_once())
run(abandoned_generator())
assert ticks > 10, 'green threads were held up'
ticking.kill()
mode.done()
