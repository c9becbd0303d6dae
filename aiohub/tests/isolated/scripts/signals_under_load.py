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

"""What a signal starts happens within a few turns, whatever else does.

In this process and in forked ones, which go on or call ``use_hub()``.
"""

import asyncio
import random
import signal
import sys

import forked
import mode
import signalling

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs

#: In how many turns of the hub. With aiohub switched off a turn of the loop
#: takes two, and the loop first has to be woken.
TURNS = 5 if mode.ON else 10
#: How often each is tried, as it matters what a signal interrupts.
TIMES = 5


class Load:
    """Green threads, callbacks and tasks that never end."""

    def __init__(self) -> None:
        #: Of the hub.
        self.turns = 0
        self.stopped = False
        self.green = [eventlet.spawn(self.spin) for _ in range(50)]
        self.green.append(eventlet.spawn(self.count))
        loop = aiohub.get_loop()
        self.tasks = [loop.create_task(self.spin_there()) for _ in range(5)]
        self.call(loop)

    def spin(self) -> None:
        while not self.stopped:
            eventlet.sleep(0)

    def count(self) -> None:
        while not self.stopped:
            self.turns += 1
            eventlet.sleep(0)

    def call(self, loop) -> None:
        if not self.stopped:
            loop.call_soon(self.call, loop)
            loop.call_later(0.001, int)

    async def spin_there(self) -> None:
        while not self.stopped:
            await asyncio.sleep(0)

    def stop(self) -> None:
        self.stopped = True
        for green in self.green:
            green.wait()
        aiohub.await_(asyncio.gather(*self.tasks))


class Traffic(Load):
    """The same, and sockets; not to be inherited, for they are shared."""

    def __init__(self) -> None:
        super().__init__()
        for left, right in (forked.socket.socketpair() for _ in range(5)):
            self.green.append(eventlet.spawn(self.echo, left))
            self.green.append(eventlet.spawn(self.talk, right))
        self.tasks.append(
            aiohub.get_loop().create_task(self.talk_there()))

    def echo(self, sock) -> None:
        while data := sock.recv(100):
            sock.sendall(data)
        sock.close()

    def talk(self, sock) -> None:
        while not self.stopped:
            sock.sendall(b'x')
            assert sock.recv(1) == b'x'
        sock.close()

    async def talk_there(self) -> None:
        closed = asyncio.Event()

        async def serve(reader, writer) -> None:
            await forked.echo(reader, writer)
            await writer.wait_closed()
            closed.set()

        server = await asyncio.start_server(serve, '127.0.0.1', 0)
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname())
        while not self.stopped:
            await forked.talk(reader, writer, b'hello\n')
        writer.close()
        await writer.wait_closed()
        await closed.wait()
        server.close()


def everything() -> None:
    load = Traffic()

    def check(act, way) -> None:
        for _ in range(TIMES):
            within_turns(load, act, way)

    signalling.everything(check)
    load.stop()


def within_turns(load: Load, act, way) -> None:
    came: list[int] = []
    happened = event.Event()
    start = act(lambda *_: happened.send(load.turns))

    def handler() -> None:
        came.append(load.turns)
        start()

    def send() -> None:
        mode.native_time.sleep(random.uniform(0, 0.002))  # noqa: S311
        signalling.send_to_process()

    way(handler, signal.SIGUSR1)
    mode.native.Thread(target=send).start()
    turns = happened.wait() - came[0]
    # A delay ends by the clock.
    assert act is signalling.spawn_after or turns <= TURNS, turns
    signalling.forget(way, signal.SIGUSR1)


def in_a_new_hub() -> None:
    hubs.use_hub()
    everything()


def nothing_is_lost() -> None:
    """Signals while the self-pipe takes no more of them."""
    loop = aiohub.get_loop()
    for way in signalling.WAYS:
        happened = event.Event()
        way(signalling.spawn(lambda: happened.send(True)),  # noqa: B023
            signal.SIGUSR1)
        for _ in range(5000):
            loop.call_soon_threadsafe(int)
        signalling.send_to_process()
        assert happened.wait() is True
        signalling.forget(way, signal.SIGUSR1)


seed = random.randrange(sys.maxsize)  # noqa: S311
print('seed', seed)
random.seed(seed)
everything()
load = Load()
for place in (forked.in_main, forked.in_task):
    if mode.ON:
        forked.reap(place(everything))
    forked.reap(place(in_a_new_hub))
load.stop()
nothing_is_lost()
mode.done()
