# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Runs the files of a test suite, in as many processes as it takes.

A process tells what becomes of its tests in a file, one JSON document a
line, so that what ran before a hang or a crash is known. Then what is left
is run in another. What failed is run once more, alone, at the end: some tests
measure time.
"""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import suite
from suite import Results

TOOLS = pathlib.Path(__file__).resolve().parent


class Runner:
    """Runs targets, each until every test of it has a result.

    :param args: Has ``jobs`` and ``timeout``.
    :param work: A directory for what is temporary.
    """

    def __init__(self, args: argparse.Namespace, work: pathlib.Path) -> None:
        self.args = args
        self.work = work
        self.stop = threading.Event()
        self.now: dict[tuple[str, str], Results] = {}

    def run(self, hub: str, target: str) -> Results:
        """Run a file, or one test, in as many processes as it takes."""
        results: Results = {}
        self.now[hub, target] = results
        left = {target}
        with tempfile.TemporaryDirectory(dir=self.work) as temp:
            while left and not self.stop.is_set():
                left = self.run_process(
                    hub, target, results, pathlib.Path(temp))
        del self.now[hub, target]
        return results

    def run_process(self, hub: str, target: str, results: Results,
                    temp: pathlib.Path) -> set[str]:
        """Run one process; return the tests that are left."""
        raise NotImplementedError


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it is not reaped, so that its pid stays its."""
    return os.waitid(os.P_PID, process.pid,
                     os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end(process: subprocess.Popen[bytes]) -> int:
    """Kill its session, reap it and return its exit status."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


class UnittestRunner(Runner):
    """Runs targets in workers that are made of unittest_worker.py."""

    #: The worker's file.
    worker: pathlib.Path
    #: What stands before the worker's command.
    prefix: Sequence[str] = ()

    def __init__(self, args: argparse.Namespace, work: pathlib.Path) -> None:
        super().__init__(args, work)
        # Nothing that changes what the tests see.
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith('PYTHON')}
        path = [str(TOOLS), *filter(None, [os.environ.get('PYTHONPATH')])]
        self.env |= {'PYTHONDONTWRITEBYTECODE': '1',
                     'PYTHONPATH': os.pathsep.join(path)}

    def state(self, hub: str, target: str) -> dict[str, Any]:
        """Return what the worker is told beside the usual."""
        raise NotImplementedError

    def place(self, hub: str, target: str,
              temp: pathlib.Path) -> tuple[pathlib.Path, dict[str, str]]:
        """Return the worker's directory and environment."""
        raise NotImplementedError

    def take_event(self, hub: str, target: str, event: dict[str, Any]) -> None:
        """Be told by the worker of something other than a test."""

    def run_process(self, hub: str, target: str, results: Results,
                    temp: pathlib.Path) -> set[str]:
        """Run up to the first hang or crash; return the tests left."""
        left: set[str] = set()
        running: str | None = None

        def take(event: dict[str, Any]) -> None:
            nonlocal left, running
            if 'collected' in event:
                left = set(event['collected'])
            elif 'start' in event:
                running = event['start']
            elif 'end' in event:
                running = None
                left.discard(event['end'])
            elif 'result' in event:
                suite.note(results, **event)
            else:
                self.take_event(hub, target, event)

        code, log = self.run_worker(hub, target, temp, take, list(results))
        if self.stop.is_set() or not (code or running):
            return set()
        # In a test, or before the first or after the last of them.
        name = running or f'{target}::(process)'
        left.discard(name)
        if '\nTimeout (' in f'\n{log}':
            wrong = f'hangs, killed after {self.args.timeout} seconds'
        else:
            wrong = f'the process ended with {code}'
        results[name] = ('failed', f'{wrong}\n{log}')
        return left

    def run_worker(
        self, hub: str, target: str, temp: pathlib.Path,
        take: Callable[[dict[str, Any]], None], done: Sequence[str] = (),
    ) -> tuple[int, str]:
        """Give *take* the events; return the exit status and the output."""
        events, state, log = (temp / n for n in ('events', 'state', 'log'))
        events.write_bytes(b'')
        state.write_text(json.dumps({
            'target': target, 'events': str(events), 'done': done,
            'limit': self.args.timeout, **self.state(hub, target)}))
        cwd, env = self.place(hub, target, temp)
        command = [*self.prefix, sys.executable, str(self.worker), str(state)]
        with open(log, 'wb') as output:
            process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True)
        ended = False
        part = ''
        try:
            with open(events) as f:
                # The worker ends itself when a test hangs.
                while not ended and not self.stop.wait(0.1):
                    ended = has_ended(process)
                    *lines, part = (part + f.read()).split('\n')
                    for line in lines:
                        take(json.loads(line))
        finally:
            code = end(process)
        return code, log.read_text(errors='replace')[-8000:]


def run_all(runner: Runner, hubs: list[str],
            targets: list[str]) -> dict[str, Results]:
    """Run all targets on all hubs, and show how far it is."""
    results: dict[str, Results] = {hub: {} for hub in hubs}
    started = time.monotonic()
    with futures.ThreadPoolExecutor(runner.args.jobs) as pool:
        try:
            todo = {pool.submit(runner.run, hub, target): (hub, target)
                    for target in targets for hub in hubs}
            total = len(todo)
            while todo:
                done, _ = futures.wait(
                    todo, 15, return_when=futures.FIRST_COMPLETED)
                lines = []
                for future in done:
                    hub, target = todo.pop(future)
                    new = future.result()
                    results[hub].update(new)
                    lines.append(f'{hub:10} {target}: {suite.counts(new)}')
                    lines += [
                        f'failed: {name}: {suite.last_error(new[name][1])}'
                        for name in suite.having('failed', new)]
                if not done:
                    lines = [f'{hub:10} {target}: {suite.counts(new)} so far'
                             for (hub, target), new
                             in list(runner.now.items())]
                at = '[%d/%d %4.0f s]' % (
                    total - len(todo), total, time.monotonic() - started)
                for line in lines:
                    print(at, line, flush=True)
        except BaseException:
            runner.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return results


def run_again(runner: Runner, hub: str, results: Results,
              names: list[str]) -> dict[str, str]:
    """Run failed tests alone; return the errors of those that now pass."""
    passed = {}
    for name in names:
        print(f'again, alone, on {hub}: {name}: ', end='', flush=True)
        new = runner.run(hub, name.removesuffix('::(process)'))
        print(suite.counts(new), flush=True)
        if new:
            _, text = results.pop(name)
            if not suite.having('failed', new):
                passed[name] = suite.last_error(text)
        results.update(new)
    return passed


def run_failed_again(
    runner: Runner, base: str, hub: str, results: dict[str, Results],
    left_out: dict[str, str],
) -> dict[str, str]:
    """Run again, alone, what failed.

    What fails again on the hub runs again on the base too, where it may have
    passed by chance.

    :param results: Those of each, of the base only if it was run now.
    :returns: The errors of what passed on the hub then.
    """
    ours = results[hub]

    def failed() -> set[str]:
        return {name for name in suite.having('failed', ours)
                if not suite.is_left_out(name, left_out)}

    lucky = run_again(runner, hub, ours, sorted(failed()))
    if base in results:
        run_again(runner, base, results[base], sorted(
            {*suite.having('failed', results[base]),
             *failed().intersection(results[base])}))
    return lucky
