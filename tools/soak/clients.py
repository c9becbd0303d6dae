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

"""The clients of the service: they ask at random, and check every answer."""

import asyncio
import collections
import contextlib
import random
import socket
import struct
import time

import aiohttp

import broker
import operation
import process

#: How many ask for RPC, and how many for all else: they are apart because an
#: RPC may take long while the broker is down.
RPC_CLIENTS = 4
OTHER_CLIENTS = 12
#: In seconds. What takes longer hangs: the longest, RPC with the broker down,
#: takes a third of it.
DEADLINE = 120
#: What RPC may raise when the broker was down: no answer came in time, the
#: question could not be sent, or there was no connection for it.
BROKER_DOWN = frozenset({
    'MessagingTimeout', 'MessageDeliveryFailure', 'OperationalError'})
#: It is no use to go on when so much is wrong.
ENOUGH = 20


class Clients:
    """All the clients.

    :param seed: What all random choices come from: each client has a
        generator of its own, so that what it asks does not depend on how
        fast others are.
    :param only: The operations to ask for; none means all.
    :ivar right: How many right answers there were to each.
    :ivar down: How many errors that the broker accounts for.
    :ivar wrong: What was wrong.
    :ivar hangs: Whether there was no answer to something.
    """

    def __init__(self, seed: int, service: process.Service,
                 rabbit: broker.Broker, only: list[str]) -> None:
        self._seed = seed
        self._service = service
        self._broker = rabbit
        self._names = only or list(service.weights)
        rpc = [name for name in self._names if name.startswith('rpc-')]
        others = [name for name in self._names if name not in rpc]
        self._clients = [
            (asked, self._rng(f'{kind}/{place}'))
            for kind, asked, count in (('rpc', rpc, RPC_CLIENTS),
                                       ('other', others, OTHER_CLIENTS))
            for place in range(count if asked else 0)]
        self._vandal = self._rng('vandal')
        self.right: collections.Counter[str] = collections.Counter()
        self.down: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.hangs = False

    def _rng(self, name: str) -> random.Random:
        return random.Random(f'{self._seed}/{name}')

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=DEADLINE))

    async def run(self, until: float) -> None:
        """Ask until a time, and wait for all answers."""
        async with self._session() as session, asyncio.TaskGroup() as group:
            for names, rng in self._clients:
                group.create_task(
                    self._be_client(session, names, rng, until))
            group.create_task(self._be_vandal(until))

    async def ask_for_all(self) -> None:
        """Ask for everything until there is a right answer to it."""
        async with self._session() as session:
            for place, name in enumerate(self._names):
                right = self.right[name]
                while self.right[name] == right and not self.wrong:
                    await self._ask(
                        session, ('green', 'asyncio')[place % 2], name, place)

    async def get(self, name: str) -> str:
        """Return what the service says to something else."""
        url = f'{self._service.doors["green"]}/{name}/0'
        async with self._session() as session, session.get(url) as response:
            text = await response.text()
        if response.status != 200:
            raise RuntimeError(f'{name}: {text}')
        return text

    def table(self) -> list[str]:
        return ['%-28s%8d right%8d while the broker was down' % (
            name, right, self.down[name])
            for name, right in sorted(self.right.items())]

    def _over(self, until: float) -> bool:
        return (time.monotonic() >= until or self.hangs
                or len(self.wrong) >= ENOUGH)

    async def _be_client(
            self, session: aiohttp.ClientSession, names: list[str],
            rng: random.Random, until: float) -> None:
        doors = list(self._service.doors)
        weights = [self._service.weights[name] for name in names]
        while not self._over(until):
            name, = rng.choices(names, weights)
            await self._ask(
                session, rng.choice(doors), name, rng.randrange(2 ** 31),
                close=rng.random() < 0.1)

    async def _ask(self, session: aiohttp.ClientSession, door: str,
                   name: str, number: int, close: bool = False) -> None:
        """Ask once, and take note of what comes of it."""
        began = time.monotonic()
        expected = str(operation.answer(number))
        try:
            async with session.get(
                    f'{self._service.doors[door]}/{name}/{number}',
                    headers={'Connection': 'close'} if close else {},
            ) as response:
                status, body = response.status, await response.text()
        except TimeoutError:
            self.hangs = True
            status, body = 0, f'no answer within {DEADLINE} s'
        except aiohttp.ClientError as exc:
            status, body = 0, repr(exc)
        if status == 200 and body == expected:
            self.right[name] += 1
        elif (status == 500 and name.startswith('rpc-')
                and body.partition(':')[0] in BROKER_DOWN
                and self._broker.was_down(began)):
            self.down[name] += 1
        else:
            self.wrong.append(
                f'seed {self._seed}, {door}/{name}/{number}: '
                f'expected {expected}, and it was {status} {body[:4000]}')

    async def _be_vandal(self, until: float) -> None:
        """Ask and hang up, in a clean way and in another."""
        rng = self._vandal
        doors = list(self._service.doors)
        while not self._over(until):
            await asyncio.sleep(rng.uniform(0, 0.2))
            url = self._service.doors[rng.choice(doors)]
            name = rng.choice(
                ('green-timers', 'task-timers', 'bridge-there_and_back'))
            text = f'GET /{name}/1 HTTP/1.1\r\nHost: localhost\r\n\r\n'
            host, _, port = url.removeprefix('http://').partition(':')
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError as exc:
                self.wrong.append(f'seed {self._seed}, connecting: {exc!r}')
                return
            writer.write(text[:rng.choice((0, 10, len(text)))].encode())
            await asyncio.sleep(rng.choice((0, 0.001)))
            if rng.random() < 0.5:
                # With a RST.
                writer.get_extra_info('socket').setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack('ii', 1, 0))
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
