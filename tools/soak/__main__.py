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

"""Soak a service that runs both worlds, and look what is left.

    python tools/loopback_only.py python tools/soak [options]

Starts a RabbitMQ and a service (``service.py``) which is monkey patched, has
aiohub turned on by its configuration, and offers operations that are hard
(``*_operations.py``) at a green HTTP server and at one of asyncio. Clients
ask for them at random and check every answer; the broker is stopped or killed
at random times. All that is random comes from one seed, which is printed.

After a warm-up, and in the end, everything comes to rest and is counted
(``census.py``). The run fails if an answer is wrong, if anything hangs, if
the service logs what it should not, or if there is more in the end than there
was.
"""

import argparse
import asyncio
from collections.abc import Sequence
import json
import pathlib
import platform
import random
import secrets
import signal
import sys
import tempfile
import time
import traceback
import warnings

# Importing aiohub imports eventlet.
warnings.filterwarnings('ignore', r'\s*Eventlet is deprecated')

import broker  # noqa: E402
import census  # noqa: E402
import clients  # noqa: E402
import process  # noqa: E402

#: Seconds between two lines about the progress.
TELL_EVERY = 5
#: Seconds between two restarts of the broker, on the average.
RESTART_EVERY = 30
#: In seconds, longer than any timer that an operation sets: one that is
#: cancelled is there until it is due.
REST_WITHIN = 90


class Soak:
    """One run.

    :ivar problems: What is wrong.
    """

    def __init__(self, seed: int, seconds: float, only: list[str],
                 folder: pathlib.Path) -> None:
        self._began = time.monotonic()
        self._seconds = seconds
        self._only = only
        self._folder = folder
        self._rng = random.Random(f'{seed}/restarts')
        self._seed = seed
        self._broker = broker.Broker(self._rng)
        self.problems: list[str] = []

    def say(self, text: str) -> None:
        print(f'[{time.monotonic() - self._began:6.1f}] {text}', flush=True)

    async def run(self) -> None:
        """Start everything, soak the service, and stop everything."""
        try:
            url = await self._broker.start()
            self.say('the broker runs')
            self._service = process.Service(self._folder, url)
            try:
                await self._service.start()
                self.say('the service runs')
                await self._soak()
            except Exception:
                self.problems.append(traceback.format_exc())
            finally:
                self.problems += await self._service.stop()
                self.say('the service has stopped')
        finally:
            await self._broker.stop()
            self.say('the broker has stopped')

    async def _soak(self) -> None:
        self._clients = clients.Clients(
            self._seed, self._service, self._broker, self._only)
        warm_up = min(self._seconds / 4, 60)
        await self._load('warm-up', warm_up)
        if not self._clients.wrong:
            # Twice: what the first has ended may be on its way.
            await self._count()
            warm = await self._count()
            await self._load('soak', self._seconds - warm_up)
        print(*self._clients.table(), sep='\n')
        self.problems += self._clients.wrong
        if self._clients.hangs:
            await self._service.print_stacks()
        if self.problems:
            return
        until = time.monotonic() + REST_WITHIN
        end = await self._count()
        while census.over(warm, end) and time.monotonic() < until:
            await asyncio.sleep(1)
            end = await self._count()
        print(*census.table(warm, end), sep='\n')
        self.problems += census.over(warm, end)

    async def _load(self, name: str, seconds: float) -> None:
        self.say(f'{name}: {seconds:.0f} seconds')
        telling = asyncio.create_task(self._tell())
        restarting = asyncio.create_task(self._restart_broker(seconds))
        await self._clients.run(time.monotonic() + seconds)
        await restarting
        await self._clients.ask_for_all()
        telling.cancel()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            self.say(f'{self._clients.right.total()} answers right, '
                     f'{self._clients.down.total()} errors while the broker '
                     f'was down, {len(self._clients.wrong)} wrong')

    async def _restart_broker(self, seconds: float) -> None:
        """Restart it once, and then as often as there is time for."""
        until = time.monotonic() + seconds
        wait = self._rng.uniform(0, min(seconds, 2 * RESTART_EVERY))
        while time.monotonic() + wait < until:
            await asyncio.sleep(wait)
            self.say(f'the broker was {await self._broker.restart()}')
            wait = self._rng.uniform(0, 2 * RESTART_EVERY)

    async def _count(self) -> census.Counts:
        counts: census.Counts = json.loads(await self._clients.get('count'))
        return counts


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='soak', description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--seconds', type=float, default=600,
                        help='how long to load the service (%(default)s)')
    parser.add_argument('--seed', type=int, default=secrets.randbelow(2 ** 32),
                        help='what all random choices come from')
    parser.add_argument('--only', nargs='+', default=[], metavar='OPERATION',
                        help='ask for nothing else, as of fork-go_on')
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse(argv)
    # What was started is stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('SIGTERM'))
    print(f'seed {args.seed}, {args.seconds:.0f} seconds, '
          f'Python {platform.python_version()}', flush=True)
    with tempfile.TemporaryDirectory(prefix='soak-') as folder:
        soak = Soak(args.seed, args.seconds, args.only, pathlib.Path(folder))
        asyncio.run(soak.run())
    print(*soak.problems, sep='\n')
    print(f'seed {args.seed}: {len(soak.problems)} things wrong')
    return 1 if soak.problems else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
