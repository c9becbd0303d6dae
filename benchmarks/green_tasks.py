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

"""What green tasks cost: time, system calls, turns of the loop, memory.

::

    python benchmarks/green_tasks.py [--processes N] [--rounds N] [PART...]

Prints a table of what was measured without green tasks and with them, and
exits with 1 if one of the promised limits is broken.

Each measurement is made in processes of its own. For times, green tasks are
turned on and off in turns in the same process, and what counts is the median
of the ratios of neighbours: a machine that gets slower or faster meanwhile
does so for both. It is CPU time, since others may use the machine, too.
"""

import argparse
import asyncio
from collections.abc import Callable
from collections.abc import Coroutine
import gc
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]

#: How many times as long a step may take.
STEP = 2.2
#: How many more system calls and turns of the loop there may be.
CALLS = 0
#: How many KiB more a task may take that is parked in an await.
MEMORY = 8

PARKED = 10_000


# -- what is measured, in a process that has a hub

async def step_sleep(tasks: int, steps: int) -> None:
    async def task() -> None:
        for _ in range(steps):
            await asyncio.sleep(0)

    await asyncio.gather(*(task() for _ in range(tasks)))


async def step_future(tasks: int, steps: int) -> None:
    loop = asyncio.get_running_loop()

    async def task() -> None:
        for _ in range(steps):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    await asyncio.gather(*(task() for _ in range(tasks)))


async def step_queue(tasks: int, steps: int) -> None:
    async def put(queue: 'asyncio.Queue[int]') -> None:
        for n in range(steps):
            await queue.put(n)

    async def get(queue: 'asyncio.Queue[int]') -> None:
        for _ in range(steps):
            await queue.get()

    queues: list[asyncio.Queue[int]] = [
        asyncio.Queue(1) for _ in range(tasks // 2)]
    await asyncio.gather(*map(put, queues), *map(get, queues))


async def _one_step() -> None:
    await asyncio.sleep(0)


async def create_one_by_one(tasks: int, times: int) -> None:
    for _ in range(tasks * times):
        await asyncio.create_task(_one_step())


async def create_at_once(tasks: int, times: int) -> None:
    for _ in range(times):
        await asyncio.gather(*(_one_step() for _ in range(tasks)))


class Work(NamedTuple):
    """Something to do, without a green call.

    :ivar what: What the table says.
    :ivar function: Called with *tasks* and *times*.
    :ivar limited: Whether it has to keep the limit for a step.
    """

    what: str
    function: Callable[[int, int], Coroutine[Any, Any, None]]
    tasks: int
    times: int
    limited: bool = True


WORK = {
    'sleep': Work('step: sleep(0), 100 tasks', step_sleep, 100, 100),
    'future': Work('step: future, 100 tasks', step_future, 100, 50),
    'queue': Work('step: queue, 100 tasks', step_queue, 100, 50),
    'alone': Work('step: sleep(0), 1 task', step_sleep, 1, 3000),
    # What they need does not fit into the processor's caches.
    'many': Work('step: sleep(0), 10,000 tasks', step_sleep, 10_000, 40,
                 False),
    'one': Work('make and end, one by one', create_one_by_one, 1, 2000,
                False),
    'batch': Work('make and end, 100 at once', create_at_once, 100, 20,
                  False),
    'crowd': Work('make and end, 1,000 at once', create_at_once, 1000, 3,
                  False),
}


def set_green(on: bool) -> None:
    from aiohub import tasks

    tasks.enabled = on


def measure_time(name: str, rounds: int) -> list[tuple[float, float]]:
    """Return what it takes without and with green tasks, in pairs.

    In nanoseconds for each step, or task.
    """
    import aiohub

    work = WORK[name]
    pairs = []
    for n in range(rounds + 1):
        took = {}
        for on in (False, True):
            set_green(on)
            gc.collect()
            coroutine = work.function(work.tasks, work.times)
            start = time.process_time_ns()
            aiohub.await_(coroutine)
            took[on] = ((time.process_time_ns() - start)
                        / work.tasks / work.times)
        if n:  # the first fills caches
            pairs.append((took[False], took[True]))
    return pairs


def measure_turns(name: str, on: bool) -> int:
    """Return how often the loop asks its selector."""
    import aiohub

    work = WORK[name]
    set_green(on)
    selector: Any = aiohub.get_loop()._selector  # type: ignore[attr-defined]
    select = selector.select
    turns = 0

    def counting(timeout: float | None) -> Any:
        nonlocal turns
        turns += 1
        return select(timeout)

    selector.select = counting
    try:
        aiohub.await_(work.function(work.tasks, work.times))
    finally:
        selector.select = select
    return turns


MARK = '/aiohub-benchmark-mark'


def make_calls(name: str, on: bool) -> None:
    """Do the work between two system calls that mark it."""
    import aiohub

    work = WORK[name]
    set_green(on)
    # Twice before: greenlets and memory are kept for the next tasks.
    for _ in range(2):
        aiohub.await_(work.function(work.tasks, work.times))
    gc.collect()
    gc.disable()
    os.access(MARK, os.F_OK)
    aiohub.await_(work.function(work.tasks, work.times))
    os.access(MARK, os.F_OK)


def private_memory() -> int:
    """Return how many KiB this process shares with no other."""
    with open('/proc/self/smaps_rollup') as file:
        return sum(int(line.split()[1]) for line in file
                   if line.startswith('Private_'))


#: What is parked, until the process ends.
kept: list[Any] = []


def measure_memory(kind: str) -> float:
    """Return how many KiB each of many takes that are parked.

    :param kind: ``plain`` or ``green`` for tasks in an await, ``task`` for
        green tasks and ``thread`` for green threads in a green call.
    """
    import aiohub
    import eventlet
    from eventlet import event

    set_green(kind != 'plain')
    loop = aiohub.get_loop()
    never = event.Event()

    async def in_await() -> None:
        await loop.create_future()

    async def in_green_call() -> None:
        never.wait()

    def park(count: int) -> list[Any]:
        if kind == 'thread':
            made = [eventlet.spawn(never.wait) for _ in range(count)]
        else:
            function = in_green_call if kind == 'task' else in_await
            made = [loop.create_task(function()) for _ in range(count)]
        for _ in range(3):
            eventlet.sleep(0)
        return made

    kept.extend(park(10))
    gc.collect()
    before = private_memory()
    kept.extend(park(PARKED))
    gc.collect()
    return (private_memory() - before) / PARKED


def child(part: str, *args: str) -> None:
    """What the other processes do; the last line that they print counts."""
    import warnings

    warnings.simplefilter('ignore')
    import eventlet

    eventlet.sleep(0)
    if part == 'time':
        result: Any = measure_time(args[0], int(args[1]))
    elif part == 'turns':
        result = measure_turns(args[0], args[1] == 'green')
    elif part == 'calls':
        result = make_calls(args[0], args[1] == 'green')
    else:
        result = measure_memory(args[0])
    print(json.dumps(result), flush=True)
    # asyncio would complain of what is parked.
    os._exit(0)


# -- in the process that was started

def run(*args: str, tracer: tuple[str, ...] = ()) -> Any:
    env = {**os.environ, 'EVENTLET_HUB': 'aiohub.hub'}
    env['PYTHONPATH'] = os.pathsep.join(
        [str(ROOT), *filter(None, [env.get('PYTHONPATH')])])
    done = subprocess.run(
        [*tracer, sys.executable, __file__, '--child', *args], env=env,
        stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


FORMAT = '%-36s %10s %10s %10s %14s %8s %4s'


class Row(NamedTuple):
    """A line of the table.

    :ivar figure: What the limit is for.
    """

    what: str
    without: str
    green: str
    figure: str
    spread: str = ''
    limit: str = ''
    met: bool = True

    def line(self) -> str:
        verdict = ('yes' if self.met else 'NO') if self.limit else ''
        return FORMAT % (*self[:6], verdict)


def times(names: list[str], processes: int, rounds: int) -> list[Row]:
    rows = []
    for name in names:
        work = WORK[name]
        pairs = [pair for _ in range(processes)
                 for pair in run('time', name, str(rounds))]
        ratios = sorted(green / plain for plain, green in pairs)
        middle = statistics.median(ratios)
        quarter = len(ratios) // 4
        rows.append(Row(
            work.what,
            '%.0f ns' % statistics.median(plain for plain, _ in pairs),
            '%.0f ns' % statistics.median(green for _, green in pairs),
            '%.2fx' % middle,
            '%.2f-%.2f' % (ratios[quarter], ratios[-1 - quarter]),
            '%.1fx' % STEP if work.limited else '', middle <= STEP))
    return rows


def turns(names: list[str]) -> list[Row]:
    rows = []
    for name in names:
        plain, green = (run('turns', name, kind)
                        for kind in ('plain', 'green'))
        rows.append(Row(
            'turns of the loop: ' + name, str(plain), str(green),
            '%+d' % (green - plain), '', '+%d' % CALLS,
            green - plain <= CALLS))
    return rows


def count_calls(name: str, kind: str) -> dict[str, int]:
    """Return how many system calls of each name the work makes."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'calls')
        run('calls', name, kind, tracer=('strace', '-f', '-qq', '-o', path))
        with open(path) as file:
            lines = file.read().splitlines()
    first, last = (n for n, line in enumerate(lines) if MARK in line)
    counts: dict[str, int] = {}
    for line in lines[first + 1:last]:
        call = line.split(None, 1)[1].partition('(')[0]
        counts[call] = counts.get(call, 0) + 1
    return counts


def calls(names: list[str]) -> list[Row]:
    if not shutil.which('strace'):
        print('System calls are not counted: there is no strace here.')
        return []
    rows = []
    for name in names:
        plain, green = (count_calls(name, kind)
                        for kind in ('plain', 'green'))
        more = sum(green.values()) - sum(plain.values())
        kinds = sorted(
            ((green.get(call, 0) - plain.get(call, 0), call)
             for call in {*plain, *green}), reverse=True)
        rows.append(Row(
            'system calls: ' + name, str(sum(plain.values())),
            str(sum(green.values())), '%+d' % more,
            '%s %+d' % kinds[0][::-1] if kinds and kinds[0][0] > 0 else '',
            '+%d' % CALLS, more <= CALLS))
    return rows


def memory(processes: int) -> list[Row]:
    taken = {kind: [] for kind in ('plain', 'green', 'thread', 'task')}
    for _ in range(processes):
        for kind, values in taken.items():
            values.append(run('memory', kind))
    rows = []
    for what, without, kind, limit in (
            ('memory: task in an await', 'plain', 'green', MEMORY),
            ('memory: in a green call, to thread', 'thread', 'task', None)):
        plain, green = (statistics.median(taken[k]) for k in (without, kind))
        more = [b - a for a, b in zip(taken[without], taken[kind])]
        rows.append(Row(
            what, '%.1f KiB' % plain, '%.1f KiB' % green,
            '%+.1f KiB' % (green - plain),
            '%.1f-%.1f' % (min(more), max(more)),
            '' if limit is None else '+%d KiB' % limit,
            limit is None or green - plain <= limit))
    return rows


PARTS = ('time', 'turns', 'calls', 'memory')


def main() -> int:
    parser = argparse.ArgumentParser(
        description='Measure what green tasks cost.')
    parser.add_argument('--processes', type=int, default=5)
    parser.add_argument('--rounds', type=int, default=10,
                        help='in each process')
    parser.add_argument('parts', nargs='*', metavar='PART',
                        help='of %s; by default all' % ', '.join(PARTS))
    options = parser.parse_args()
    parts = options.parts or PARTS
    print('Python %s' % sys.version.split()[0])
    print(FORMAT % (
        '', 'without', 'green', 'compared', 'spread', 'limit', 'met'))
    broken = 0
    for part in parts:
        if part == 'time':
            rows = times(list(WORK), options.processes, options.rounds)
        elif part == 'turns':
            rows = turns(['sleep', 'future', 'queue', 'batch', 'crowd'])
        elif part == 'calls':
            rows = calls(['sleep', 'future', 'queue', 'batch', 'crowd'])
        elif part == 'memory':
            rows = memory(min(options.processes, 3))
        else:
            parser.error('there is no part %s' % part)
        for row in rows:
            print(row.line(), flush=True)
            broken += bool(row.limit) and not row.met
    if broken:
        print('%d limits are broken.' % broken)
    return 1 if broken else 0


if __name__ == '__main__':
    if sys.argv[1:2] == ['--child']:
        child(*sys.argv[2:])
    else:
        sys.exit(main())
