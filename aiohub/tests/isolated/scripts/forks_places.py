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

"""A fork anywhere costs the parent nothing, whatever the child does.

The arguments are the names of the places to fork in.
"""

import asyncio
import os
import sys

import forked
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs

socket = forked.socket


class Waiters:
    """Green threads and tasks that wait for everything there is."""

    def __init__(self) -> None:
        self.pairs = [socket.socketpair() for _ in range(4)]
        self.readers = [
            eventlet.spawn(left.recv, 10) for left, _ in self.pairs]
        self.full = [socket.socketpair() for _ in range(4)]
        self.writers = [
            eventlet.spawn(left.sendall, bytes(10 ** 6))
            for left, _ in self.full]
        self.event = event.Event()
        self.events = [eventlet.spawn(self.event.wait) for _ in range(4)]
        self.ticks = 0
        self.timer = eventlet.spawn(self.tick)
        aiohub.await_(self.open())
        eventlet.sleep(0)

    def tick(self) -> None:
        while True:
            eventlet.sleep(0.001)
            self.ticks += 1

    async def open(self) -> None:
        self.server = await asyncio.start_server(
            forked.echo, '127.0.0.1', 0)
        address = self.server.sockets[0].getsockname()
        self.streams = [
            await asyncio.open_connection(*address) for _ in range(3)]
        for reader, writer in self.streams:
            await forked.talk(reader, writer, b'hello\n')
        self.process = await asyncio.create_subprocess_exec(
            'cat', stdin=-1, stdout=-1)
        self.future = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self.wait_for_all())

    async def wait_for_all(self):
        return await asyncio.gather(
            self.future, self.process.stdout.readline())

    def end(self) -> None:
        """Have each get what it waits for."""
        ticks = self.ticks
        while self.ticks < ticks + 3:
            eventlet.sleep(0)
        self.timer.kill()
        for n, (_, right) in enumerate(self.pairs):
            right.sendall(b'%d' % n)
        assert [green.wait() for green in self.readers] == [
            b'0', b'1', b'2', b'3']
        for (left, right), writer in zip(
                self.full, self.writers, strict=True):
            left_over = 10 ** 6
            while left_over:
                left_over -= len(right.recv(65536))
            assert writer.wait() is None
        self.event.send('sent')
        assert [green.wait() for green in self.events] == ['sent'] * 4
        for sock in [*sum(self.pairs, ()), *sum(self.full, ())]:
            sock.close()
        aiohub.await_(self.close())

    async def close(self) -> None:
        for reader, writer in self.streams:
            await forked.talk(reader, writer, b'bye\n')
            writer.close()
            assert await reader.read() == b''
        self.server.close()
        self.process.stdin.write(b'cat\n')
        self.future.set_result('set')
        assert await self.task == ['set', b'cat\n']
        self.process.stdin.close()
        assert await self.process.wait() == 0

    def destroy(self) -> None:
        """What an unfriendly child does with it."""
        for green in (*self.readers, *self.writers, *self.events, self.timer):
            if green.parent is hubs.get_hub().greenlet:
                green.kill()
        for sock in [*sum(self.pairs, ()), *sum(self.full, ())]:
            sock.close()
        for _, writer in self.streams:
            writer.close()
        self.server.close()
        self.process._transport.close()
        self.future.cancel()


def go_on() -> None:
    forked.both_worlds()


def new_hub() -> None:
    # As oslo.service does in each worker.
    hubs.use_hub('aiohub.hub' if mode.HUB == 'env' else None)
    forked.both_worlds()


def destroy() -> None:
    waiters.destroy()
    eventlet.sleep(0)
    forked.both_worlds()


def close_hub() -> None:
    hubs.get_hub().close()
    forked.both_worlds()


def fork_again() -> None:
    for place in (*forked.HERE, forked.in_tpool):
        forked.reap(place(go_on))
    go_on()


def execute() -> None:
    os.execv('/bin/true', ['true'])


CHILDREN = [go_on, new_hub, destroy, fork_again, execute]
if mode.ON:
    CHILDREN.append(close_hub)
# The threads and sockets that there are from the first on.
forked.both_worlds()
before = forked.descriptors()
for name in sys.argv[1:]:
    place = getattr(forked, name)
    waiters = Waiters()
    open_now = forked.descriptors()
    pids = [place(child) for child in CHILDREN]
    for pid in pids:
        forked.reap(pid)
    assert forked.descriptors() == open_now, (
        open_now, forked.descriptors())
    waiters.end()
    forked.both_worlds()
while len(forked.descriptors()) > len(before):
    eventlet.sleep(0.001)
mode.done()
