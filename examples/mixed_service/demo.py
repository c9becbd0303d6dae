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

"""Show a service that runs green code and asyncio code in one thread.

Starts ``service.py`` with the toggle off and then on, sends it HTTP requests
over many connections, checks every answer against the data it was made from
and prints what came of it. The exit status is 0 when every answer was right
and the service stopped cleanly both times.
"""

import argparse
import asyncio
import collections
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import sqlite3
import sys
import tempfile
import time
from typing import Any

import aiohttp

HERE = pathlib.Path(__file__).resolve().parent
KINDS = ('green-file', 'green-upstream', 'asyncio-upstream',
         'asyncio-database', 'mixed')
NUMBERS = 200  # the data has these many files, records and rows
SEED = 20
READY_WITHIN = 60.0  # seconds; the bounds are for machines that are busy
ANSWER_WITHIN = 30.0
STOP_WITHIN = 15.0
RUN_WITHIN = 60.0  # and the time for the requests themselves
NO_ANSWER = 0  # instead of a status
SHOWN = 20  # errors, and lines of a log

# What no log of a service that works has in it.
BAD_LOG = ('Traceback', ' ERROR ', ' CRITICAL ', 'never awaited',
           'never retrieved', 'Unclosed')


class DemoError(Exception):
    """The service does not start, does not stop, or gives no answers."""


class Data:
    """What the service serves, made from a fixed seed."""

    def __init__(self) -> None:
        rng = random.Random(SEED)  # nosec B311
        self.files = [
            json.dumps({'number': number,
                        'content': rng.randbytes(rng.randint(1, 8192)).hex()})
            for number in range(NUMBERS)]
        self.records = [{'number': number, 'price': rng.randint(1, 10 ** 6)}
                        for number in range(NUMBERS)]
        self.rows = [{'id': number, 'name': f'item {number}',
                      'note': '\N{SNOWMAN}' * rng.randint(0, 200)}
                     for number in range(NUMBERS)]

    def write(self, folder: pathlib.Path) -> None:
        (folder / 'files').mkdir()
        for number, content in enumerate(self.files):
            (folder / 'files' / f'{number}.json').write_text(content)
        (folder / 'records.json').write_text(json.dumps(
            {record['number']: record for record in self.records}))
        with contextlib.closing(sqlite3.connect(
                folder / 'items.sqlite')) as database:
            database.execute(
                'CREATE TABLE items (id INTEGER PRIMARY KEY, name, note)')
            database.executemany(
                'INSERT INTO items VALUES (:id, :name, :note)', self.rows)
            database.commit()

    def check(self, kind: str, number: int, status: int,
              body: bytes) -> str | None:
        """Say what is wrong with an answer, or None."""
        expected = 200 if number < NUMBERS else 404
        if status != expected:
            return f'status {status} instead of {expected}'
        try:
            answer = json.loads(body)
            if status == 404:
                right = answer == {'error': 'no such number'}
            elif kind == 'green-file':
                right = body == self.files[number].encode()
            else:
                right = answer == self.answer(kind, number)
        except ValueError:
            right = False
        return None if right else f'a wrong body: {body[:200]!r}'

    def answer(self, kind: str, number: int) -> Any:
        record, row = self.records[number], self.rows[number]
        if kind == 'mixed':
            return [record, row, record]
        return row if kind == 'asyncio-database' else record


@dataclasses.dataclass
class Result:
    """What came of one run of the service."""

    toggle: str
    hub: str = '-'
    seconds: float = 0.0
    statuses: collections.Counter[tuple[str, int]] = dataclasses.field(
        default_factory=collections.Counter)
    latencies: dict[str, list[float]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list))
    errors: list[str] = dataclasses.field(default_factory=list)
    log: list[str] = dataclasses.field(default_factory=list)

    def requests(self, kind: str | None = None) -> int:
        return sum(count for (of, _), count in self.statuses.items()
                   if kind in (None, of))

    def latency(self, percent: int, kind: str | None = None) -> str:
        values = sorted(
            value for of, values in self.latencies.items()
            if kind in (None, of) for value in values)
        if not values:
            return '-'
        index = min(len(values) * percent // 100, len(values) - 1)
        return f'{values[index] * 1000:.1f}'


class Service:
    """``service.py`` in a process of its own."""

    def __init__(self, folder: pathlib.Path, toggle: str) -> None:
        self.log = folder / f'service-{toggle}.log'
        self.override = folder / f'toggle-{toggle}.conf'
        # All that differs between the two runs is the last line.
        self.override.write_text(
            f'[api]\ndata_dir = {folder}\n'
            f'[aiohub]\nenabled = {"true" if toggle == "on" else "false"}\n')

    async def start(self) -> dict[str, str]:
        # EVENTLET_HUB would win over the toggle.
        environ = {name: value for name, value in os.environ.items()
                   if name != 'EVENTLET_HUB'}
        with self.log.open('wb') as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, str(HERE / 'service.py'),
                '--config-file', str(HERE / 'service.conf'),
                '--config-file', str(self.override),
                stdout=asyncio.subprocess.PIPE, stderr=log, env=environ)
        stdout = self.process.stdout
        assert stdout is not None
        try:
            async with asyncio.timeout(READY_WITHIN):
                ready: dict[str, str] = json.loads(await stdout.readline())
        except (TimeoutError, ValueError):
            await self.kill()
            raise DemoError('the service did not start') from None
        except asyncio.CancelledError:
            await self.kill()
            raise
        return ready

    async def stop(self) -> float:
        """Stop the service and return how long it took."""
        started = time.monotonic()
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                status = await self.process.wait()
        except TimeoutError:
            raise DemoError(f'the service did not stop within {STOP_WITHIN} '
                            'seconds of SIGTERM') from None
        finally:
            await self.kill()
        if status:
            raise DemoError(f'the service ended with status {status}')
        return time.monotonic() - started

    def log_lines(self) -> list[str]:
        return self.log.read_text(errors='replace').splitlines()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def load(data: Data, api: str, result: Result, total: int,
               session: aiohttp.ClientSession, connections: int) -> None:
    """Send the requests, one at a time on each connection."""
    rng = random.Random(SEED)  # nosec B311
    # One in a hundred is for a number that does not exist.
    plan = [(kind, rng.randrange(NUMBERS + NUMBERS // 100))
            for kind in (KINDS * (total // len(KINDS) + 1))[:total]]
    rng.shuffle(plan)
    todo = iter(plan)

    async def connection() -> None:
        for kind, number in todo:
            path = f'/{kind}/{number}'
            wrong: str | None
            started = time.monotonic()
            try:
                async with session.get(api + path) as answer:
                    status, body = answer.status, await answer.read()
            except (aiohttp.ClientError, TimeoutError) as exc:
                status, wrong = NO_ANSWER, f'{type(exc).__name__}: {exc}'
            else:
                wrong = data.check(kind, number, status, body)
            result.statuses[kind, status] += 1
            if wrong:
                result.errors.append(f'{path}: {wrong}')
            if status != NO_ANSWER:
                result.latencies[kind].append(time.monotonic() - started)
            done = result.requests()
            if done % max(total // 10, 1) == 0 or done == total:
                print(f'toggle {result.toggle}: {done} of {total} requests, '
                      f'{len(result.errors)} errors', flush=True)

    started = time.monotonic()
    try:
        async with asyncio.timeout(RUN_WITHIN + total / 20):
            async with asyncio.TaskGroup() as group:
                for _ in range(connections):
                    group.create_task(connection())
    except TimeoutError:
        raise DemoError(f'only {result.requests()} of {total} requests were '
                        'answered in time') from None
    finally:
        result.seconds = time.monotonic() - started


async def run(data: Data, folder: pathlib.Path, toggle: str, total: int,
              connections: int) -> Result:
    """Start the service, put it under load, stop it, read its log."""
    result = Result(toggle)
    service = Service(folder, toggle)
    try:
        ready = await service.start()
        result.hub = ready['hub']
        print(f'toggle {toggle}: {ready["api"]} on the hub {ready["hub"]}',
              flush=True)
        if result.hub.startswith('aiohub.') != (toggle == 'on'):
            result.errors.append(f'the wrong hub: {result.hub}')
        try:
            async with aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN),
                    connector=aiohttp.TCPConnector(limit=connections),
                    ) as session:
                await load(data, ready['api'], result, total, session,
                           connections)
                # The connections are still open: the service has to stop
                # all the same.
                seconds = await service.stop()
                print(f'toggle {toggle}: stopped in {seconds:.2f} seconds',
                      flush=True)
        finally:
            await service.kill()
    except DemoError as exc:
        result.errors.append(str(exc))
    result.log = service.log_lines()
    for line in result.log:
        if ' INFO aiohub' in line:
            print(f'toggle {toggle}: logged: {line}', flush=True)
    result.errors += [f'in the log: {line}' for line in result.log
                      if any(word in line for word in BAD_LOG)]
    return result


async def serve(folder: pathlib.Path) -> Result:
    """Leave the service running until Ctrl-C or SIGTERM."""
    result = Result('on')
    service = Service(folder, 'on')
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    try:
        ready = await service.start()
        try:
            print(f'\nThe service runs on the hub {ready["hub"]}. Try:')
            for kind in KINDS:
                print(f'    curl {ready["api"]}/{kind}/7')
            print('The server that it calls:')
            print(f'    curl {ready["upstream"]}/7')
            print('Ctrl-C stops it.', flush=True)
            ended = asyncio.create_task(service.process.wait())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait([ended, stopped],
                               return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            await service.stop()
        finally:
            await service.kill()
    except DemoError as exc:
        result.errors.append(str(exc))
    result.log = service.log_lines()
    return result


def table(rows: Sequence[Sequence[object]]) -> str:
    """Return rows as text; the first column is aligned to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return '\n'.join(
        '  '.join(cell.rjust(width) if index else cell.ljust(width)
                  for index, (cell, width) in enumerate(zip(row, widths)))
        for row in cells)


def report(results: Sequence[Result]) -> str:
    """Return the tables of what came of the runs."""
    summary: list[Sequence[object]] = [
        ('toggle', 'hub', 'requests', 'errors', 'requests/s', '50 % ms',
         '99 % ms')]
    kinds: list[Sequence[object]] = [
        ('handler', 'toggle', 'requests', '200', '404', 'other', '50 % ms',
         '99 % ms')]
    for result in results:
        total = result.requests()
        summary.append((
            result.toggle, result.hub, total, len(result.errors),
            f'{total / result.seconds if result.seconds else 0:.0f}',
            result.latency(50), result.latency(99)))
    for kind in KINDS:
        for result in results:
            total = result.requests(kind)
            known = [result.statuses[kind, status] for status in (200, 404)]
            kinds.append((kind, result.toggle, total, *known,
                          total - sum(known), result.latency(50, kind),
                          result.latency(99, kind)))
    return '\n\n'.join(('', table(summary), table(kinds)))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--requests', type=int, default=4000, metavar='N',
                        help='requests to send in each run (%(default)s)')
    parser.add_argument('--connections', type=int, default=50, metavar='N',
                        help='connections to send them on (%(default)s)')
    parser.add_argument('--serve', action='store_true',
                        help='afterwards, leave the service running with the '
                        'toggle on, and print what to try')
    args = parser.parse_args(argv)
    if args.requests < 0 or args.connections < 1:
        parser.error('at least 0 requests and 1 connection')
    return args


async def demo(args: argparse.Namespace) -> int:
    # Ended from outside, take the service along; asyncio does it for Ctrl-C.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix='mixed_service-') as name:
        folder = pathlib.Path(name)
        data = Data()
        data.write(folder)
        results = []
        if args.requests:
            for toggle in ('off', 'on'):
                results.append(await run(
                    data, folder, toggle, args.requests, args.connections))
            print(report(results), flush=True)
        if args.serve:
            results.append(await serve(folder))
    for result in results:
        for error in result.errors[:SHOWN]:
            print(f'toggle {result.toggle}: {error}', file=sys.stderr)
        if result.errors:
            print('The log ends with:', *result.log[-SHOWN:], sep='\n',
                  file=sys.stderr)
    return 1 if any(result.errors for result in results) else 0


if __name__ == '__main__':
    try:
        sys.exit(asyncio.run(demo(parse(sys.argv[1:]))))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit('stopped before the end')
