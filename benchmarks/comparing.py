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

"""Compares aiohub with what else there is, one subject in each file.

A subject has rows, and a row a function for each way to write the same thing:
with eventlet, with asyncio, with gevent, or across two of these. A candidate
is what runs them. In each round every candidate of a row has a new process,
and they measure in turns of a tenth of a second, in another order each time: a
machine that gets slower or faster does so for all. What counts is how many
times as fast the candidate is as the base of the row was in the same turn: the
median of these in each round, the median of the rounds, and how far apart the
rounds are.
"""

import argparse
import asyncio
from collections.abc import Callable
import contextlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any
from typing import NamedTuple
import warnings

import pyperf

HERE = pathlib.Path(__file__).resolve().parent
#: Seconds that a value takes at least.
LONG = 0.1
#: What is kept of what pyperf knows of a machine.
METADATA = ('cpu_count', 'cpu_model_name', 'platform', 'python_version')
#: Whose versions are noted.
PACKAGES = ('aiohub', 'eventlet', 'greenlet', 'gevent', 'uvloop',
            'asyncio-gevent')
#: What to measure with where nobody waits for anything: CPU time, since others
#: may use the machine, too.
clock = time.process_time
#: asyncio reads into buffers of 256 KiB. glibc maps and unmaps each of them,
#: which takes as long as all the rest of a round trip (60 us in place of 28),
#: until something has freed a larger one: who has done so is a matter of what
#: was imported.
MALLOC = {'MALLOC_MMAP_THRESHOLD_': str(1 << 30),
          'MALLOC_TRIM_THRESHOLD_': str(1 << 30)}


# -- candidates

class Candidate(NamedTuple):
    """What runs a row.

    :ivar ways: The ways to write a row that it can run, the best first.
    :ivar hub: What ``EVENTLET_HUB`` is for it.
    :ivar needs: The module that it needs.
    :ivar leaks: Whether it leaves descriptors open. It has a new process for
        each value, or there would be more than a process is allowed.
    """

    ways: tuple[str, ...]
    hub: str = ''
    needs: str = ''
    leaks: bool = False


CANDIDATES = {
    'aiohub': Candidate(('aiohub', 'eventlet', 'asyncio'), 'aiohub.hub'),
    'aiohub, tasks not green': Candidate(
        ('aiohub', 'eventlet', 'asyncio'), 'aiohub.hub'),
    'epolls': Candidate(('eventlet',), 'epolls'),
    "eventlet's asyncio": Candidate(
        ('eventlet and asyncio', 'eventlet'), 'asyncio'),
    'asyncio': Candidate(('asyncio',)),
    # See bare_greenlets.
    'asyncio, in bare greenlets': Candidate(('asyncio in greenlets',)),
    'uvloop': Candidate(('asyncio',), needs='uvloop'),
    'gevent': Candidate(('gevent',), needs='gevent'),
    'asyncio-gevent': Candidate(
        # Three for each call, which nothing collects.
        ('gevent and asyncio',), needs='asyncio_gevent', leaks=True),
}


def _run_coroutine(name: str, coroutine: Any) -> Any:
    if name.startswith('aiohub'):
        import aiohub

        return aiohub.await_(coroutine)
    if name == 'uvloop':
        return importlib.import_module('uvloop').run(coroutine)
    return asyncio.run(coroutine)


# -- rows

class Row:
    """What is measured.

    :ivar name: What the table says.
    :ivar base: The candidate that the others are compared with.
    :ivar count: How many of it one loop of a function makes.
    :ivar unit: Of what the functions return: ``second``, ``byte``, or
        ``integer``. Less is better.
    :ivar repeats: Whether the functions take a number of loops and return
        the time of all. The others measure once.
    :ivar program: What has to be installed for it, if anything.
    :ivar functions: Ways to write it, and functions.
    """

    def __init__(self, name: str, base: str, count: int, unit: str,
                 repeats: bool, program: str = '') -> None:
        self.name = name
        self.base = base
        self.count = count
        self.unit = unit
        self.repeats = repeats
        self.program = program
        self.functions: dict[str, Callable[..., Any]] = {}

    def function(self, candidate: str) -> Callable[..., Any] | None:
        """Return what a candidate runs, if it can."""
        for way in CANDIDATES[candidate].ways:
            if way in self.functions:
                return self.functions[way]
        return None


_rows: dict[str, Row] = {}

Function = Callable[..., Any]


def rows() -> list[Row]:
    """Return the rows of the files that were imported."""
    return list(_rows.values())


def row(name: str, way: str, base: str = 'epolls', count: int = 1,
        unit: str = 'second', repeats: bool = True, program: str = '',
        ) -> Callable[[Function], Function]:
    """Decorator: the function measures a row, written in one way.

    It is called with a number of loops and returns how many seconds they
    took. A coroutine function runs in the loop of the candidate.
    """
    def add(function: Function) -> Function:
        _rows.setdefault(
            name, Row(name, base, count, unit, repeats, program))
        _rows[name].functions[way] = function
        return function

    return add


# -- measuring, in a process for that

def _work(args: argparse.Namespace) -> None:
    """Measure once for each line that comes in, and tell the value."""
    warnings.simplefilter('ignore')
    answers = os.fdopen(os.dup(1), 'w', buffering=1)
    os.dup2(2, 1)  # what the functions print
    one = _rows[args.row]
    name = args.worker
    if name == 'aiohub, tasks not green':
        from aiohub import tasks

        tasks.enabled = False
    if name == 'asyncio-gevent':
        # As its documentation tells.
        importlib.import_module('gevent.monkey').patch_all()
        asyncio.set_event_loop_policy(importlib.import_module(
            'asyncio_gevent').EventLoopPolicy())
    function = one.function(name)
    assert function is not None

    def measure(*loops: int) -> float:
        result: Any = function(*loops)
        if inspect.iscoroutine(result):
            result = _run_coroutine(name, result)
        return float(result)

    loops = [args.loops]
    if not one.repeats:
        loops = []
    elif not args.loops:
        loops = [1]
        measure(*loops)  # imports what it needs
        while measure(*loops) < LONG:
            loops[0] *= 2
    if loops:
        measure(*loops)  # fills caches
    machine = pyperf.Run([1.0]).get_metadata()
    metadata = {key: machine[key] for key in METADATA if key in machine}
    metadata |= {'name': '%s: %s' % (one.name, name),
                 'loops': loops[0] if loops else 1,
                 'unit': one.unit, 'inner_loops': one.count}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            metadata[package] = importlib.metadata.version(package)
    answers.write(json.dumps(metadata) + '\n')
    for _ in sys.stdin:
        value = measure(*loops)
        if loops:
            value /= loops[0] * one.count
        # A value must be more than nothing.
        answers.write('%r\n' % max(value, 1e-12))


class Worker:
    """A process that measures one candidate, when it is asked to.

    :ivar metadata: Of what it measures, for ``pyperf``.
    :ivar values: What it has measured.
    """

    def __init__(self, one: Row, candidate: str, loops: int) -> None:
        self._one = one
        self._candidate = candidate
        self._start(loops)
        self.values: list[float] = []

    def _start(self, loops: int) -> None:
        one, candidate = self._one, self._candidate
        env = {**os.environ, **MALLOC, 'PYTHONPATH': os.pathsep.join(
            [str(HERE.parent), os.environ.get('PYTHONPATH', '')])}
        env.pop('EVENTLET_HUB', None)
        if CANDIDATES[candidate].hub:
            env['EVENTLET_HUB'] = CANDIDATES[candidate].hub
        self._process = subprocess.Popen(
            [sys.executable, sys.argv[0], '--worker', candidate, '--row',
             one.name, '--loops', str(loops)], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # It is ready then: those that start must not disturb each other.
        self.metadata = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise subprocess.CalledProcessError(
                self._process.wait(), self._process.args)
        return json.loads(line)

    def measure(self) -> None:
        if self.values and CANDIDATES[self._candidate].leaks:
            self.close()
            self._start(self.metadata['loops'])
        assert self._process.stdin is not None
        self._process.stdin.write('\n')
        self._process.stdin.flush()
        self.values.append(self._answer())

    def close(self) -> None:
        self._process.communicate()


# -- comparing

def _candidates_of(one: Row) -> list[str]:
    return [
        name for name, candidate in CANDIDATES.items()
        if one.function(name) is not None and (
            not candidate.needs
            or importlib.util.find_spec(candidate.needs) is not None)]


def _say(text: str) -> None:
    sys.stderr.write('[%s] %s\n' % (time.strftime('%T'), text))


def _compare(one: Row, args: argparse.Namespace) -> list[pyperf.Benchmark]:
    if one.program and shutil.which(one.program) is None:
        _say('%s: left out, as %s is not installed' % (one.name, one.program))
        return []
    names = _candidates_of(one)
    loops = dict.fromkeys(names, args.loops)
    runs: dict[str, list[pyperf.Run]] = {name: [] for name in names}
    times = args.values
    if one.unit == 'byte':
        times = 1  # the next is given what that has freed
    elif not one.repeats:
        times = min(times, 3)  # they take seconds
    for number in range(args.rounds):
        _say('%s, round %d of %d: %s' % (
            one.name, number + 1, args.rounds, ', '.join(names)))
        workers: dict[str, Worker] = {}
        with contextlib.ExitStack() as stack:
            for name in names:
                workers[name] = Worker(one, name, loops[name])
                stack.callback(workers[name].close)
            for turn in range(times):
                # Whoever comes first finds the machine as something else
                # left it.
                first = (number + turn) % len(names)
                for name in names[first:] + names[:first]:
                    workers[name].measure()
        for name, worker in workers.items():
            loops[name] = worker.metadata['loops']
            runs[name].append(pyperf.Run(
                worker.values, metadata=worker.metadata,
                collect_metadata=False))
    return [pyperf.Benchmark(runs[name]) for name in names]


def medians(benchmark: pyperf.Benchmark) -> list[float]:
    """Return what was measured in each round."""
    return [statistics.median(run.values) for run in benchmark.get_runs()]


def ratios(base: pyperf.Benchmark, other: pyperf.Benchmark) -> list[float]:
    """Return how many times as fast *other* was, in each round.

    The median of what was measured one right after the other.
    """
    return [
        statistics.median(a / b for a, b in zip(
            one.values, two.values, strict=True))
        for one, two in zip(base.get_runs(), other.get_runs(), strict=True)]


def table(suite: pyperf.BenchmarkSuite) -> list[tuple[str, ...]]:
    """Return rows of a table: names, value, ratio to the base, range."""
    lines = []
    for one in _rows.values():
        found = {name: suite.get_benchmark('%s: %s' % (one.name, name))
                 for name in CANDIDATES
                 if '%s: %s' % (one.name, name)
                 in suite.get_benchmark_names()}
        for name, benchmark in found.items():
            cells = [one.name, name, benchmark.format_value(
                statistics.median(medians(benchmark)))]
            if one.base in found and name != one.base:
                all_ratios = ratios(found[one.base], benchmark)
                cells += ['%.2f' % statistics.median(all_ratios),
                          '%.2f to %.2f' % (
                              min(all_ratios), max(all_ratios))]
            elif name == one.base:
                cells += ['1', '']
            else:
                cells += ['', '']
            lines.append(tuple(cells))
    return lines


def main() -> None:
    """Measure the rows of the file that calls it."""
    parser = argparse.ArgumentParser(
        description=sys.modules['__main__'].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='*', help='rows with this in the name')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--values', type=int, default=9,
                        help='values of a candidate in each round')
    parser.add_argument('--quick', action='store_true',
                        help='only see that the functions run')
    parser.add_argument('--output', help='where to write the values, as JSON')
    for hidden in ('worker', 'row'):
        parser.add_argument('--' + hidden, help=argparse.SUPPRESS)
    parser.add_argument('--loops', type=int, default=0,
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _work(args)
        return
    if args.quick:
        args.rounds = args.values = args.loops = 1
    benchmarks = [
        benchmark for one in _rows.values()
        if not args.rows or any(part in one.name for part in args.rows)
        for benchmark in _compare(one, args)]
    if not benchmarks:
        sys.exit('There is nothing to measure.')
    suite = pyperf.BenchmarkSuite(benchmarks)
    if args.output:
        suite.dump(args.output, replace=True)
    print('%-34s %-24s %12s %6s  %s' % (
        '', '', 'median', 'ratio', 'range'))
    before = ''
    for name, *cells in table(suite):
        print('%-34s %-24s %12s %6s  %s' % (
            '' if name == before else name, *cells))
        before = name
