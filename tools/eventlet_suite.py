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

"""Run eventlet's own test suite on a hub, next to eventlet's epolls hub.

    python tools/eventlet_suite.py [options] [tests/x_test.py ...] [pytest...]

The tests come from the sdist of exactly the eventlet that is installed, and
import the installed eventlet. Some of them send traffic to the network, so
they only ever run in a network namespace that has nothing but loopback; where
none can be had this program says so and does not start.

Each file runs in a process of its own on each hub, and what is left of it in
a fresh one after every failure, since in this suite one leaked listener fails
all tests after it. What failed is run once more, alone, at the end: some
tests measure time. The run fails when a test fails on the hub and not on
epolls, or passes on epolls and does not run on the hub. Exceptions stand in
tools/eventlet_suite/left_out.txt, which has to be exact.

Exit status: 0 all is well, 1 tests failed, 2 the suite could not run.
"""

import argparse
import collections
from concurrent import futures
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from typing import Any

import loopback_only

HERE = pathlib.Path(__file__).resolve().parent / 'eventlet_suite'
BASE = 'epolls'

# What became of each test: its outcome, as pytest names it, and the text.
Result = tuple[str, str]
Results = dict[str, Result]


class SuiteError(Exception):
    """The suite cannot run; the message says why."""


def installed_eventlet() -> tuple[str, str]:
    """Return version and path of the eventlet that will be tested."""
    try:
        dist = importlib.metadata.distribution('eventlet')
    except importlib.metadata.PackageNotFoundError:
        raise SuiteError('eventlet is not installed') from None
    path = str(dist.locate_file('eventlet/__init__.py'))
    spec = importlib.util.find_spec('eventlet')
    if spec is None or spec.origin != path:
        raise SuiteError('eventlet is installed in %s, but imported from %s'
                         % (path, spec and spec.origin))
    return dist.version, path


def get_sdist(version: str, cache: pathlib.Path) -> pathlib.Path:
    sdist = cache / f'eventlet-{version}.tar.gz'
    if not sdist.exists():
        print(f'downloading {sdist.name}', flush=True)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temp:
            # pip also runs the sdist's build backend, for its metadata.
            command = [
                sys.executable, '-m', 'pip', 'download', '--quiet',
                '--no-deps', '--no-binary', 'eventlet', '--dest', temp,
                f'eventlet=={version}']
            if subprocess.run(command).returncode:
                raise SuiteError('pip could not download it; '
                                 'give it with --sdist')
            os.replace(pathlib.Path(temp, sdist.name), sdist)
    return sdist


def unpack(sdist: pathlib.Path, work: pathlib.Path) -> None:
    """Unpack the tests, and nothing that could be imported instead."""
    with tarfile.open(sdist) as tar:
        tests = [member for member in tar.getmembers()
                 if pathlib.PurePath(member.name).parts[1:2] == ('tests',)]
        tar.extractall(work, tests, filter='data')
    shutil.move(next(work.glob('*/tests')), work)
    # So that pytest does not look for its settings further up.
    (work / 'pytest.ini').write_text('[pytest]\n')


class Runner:
    """Runs test files, each until every test of it has a result."""

    def __init__(self, args: argparse.Namespace, command: list[str],
                 work: pathlib.Path, eventlet: str) -> None:
        self.args = args
        self.command = command
        self.work = work
        self.eventlet = eventlet
        self.stop = threading.Event()
        self.now: dict[tuple[str, str], Results] = {}
        self.env = {
            name: value for name, value in os.environ.items()
            if not name.lower().endswith('_proxy')
            and name != 'PYTEST_ADDOPTS'}
        path = [str(HERE), *filter(None, [self.env.get('PYTHONPATH')])]
        self.env |= {'EVENTLET_TESTS': '1', 'PYTHONDONTWRITEBYTECODE': '1',
                     'PYTHONPATH': os.pathsep.join(path)}
        # Do not find a database of this machine on a unix socket.
        auth = {'host': '127.0.0.1', 'user': 'test'}
        self.env.setdefault('EVENTLET_DB_TEST_AUTH', json.dumps(
            {'MySQLdb': auth, 'psycopg2': auth}))

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
        """Run up to the first failure; return the tests that are left."""
        events, state, log = (temp / n for n in ('events', 'state', 'log'))
        events.write_bytes(b'')
        state.write_text(json.dumps({
            'done': list(results), 'events': str(events),
            'eventlet': self.eventlet}))
        limit = self.args.timeout
        command = [
            *self.command, sys.executable, '-m', 'pytest', '-x',
            '-p', 'no:cacheprovider', '-p', 'eventlet_suite_plugin',
            '--eventlet-suite', str(state),
            '-o', f'faulthandler_timeout={limit * 0.9}',
            *self.args.pytest_args, target]
        with open(log, 'wb') as output:
            process = subprocess.Popen(
                command, cwd=self.work, env={**self.env, 'EVENTLET_HUB': hub},
                stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True)
        left: set[str] = set()
        running = wrong = None
        failures = 0
        changed = time.monotonic()
        try:
            with open(events) as f:
                ended = False
                part = ''
                while not ended and not wrong:
                    # Not reaped before its group is killed.
                    ended = os.waitid(
                        os.P_PID, process.pid,
                        os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
                    *lines, part = (part + f.read()).split('\n')
                    for event in map(json.loads, lines):
                        changed = time.monotonic()
                        if 'collected' in event:
                            left = set(event['collected'])
                        elif 'start' in event:
                            running = event['start']
                        elif 'end' in event:
                            running = None
                            left.discard(event['end'])
                        else:
                            failures += event['outcome'] == 'failed'
                            note(results, **event)
                    if time.monotonic() > changed + limit:
                        wrong = f'hangs, killed after {limit} seconds'
                    elif self.stop.wait(0 if ended else 0.05):
                        return set()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        code = process.returncode
        text = log.read_text(errors='replace')[-8000:]
        if code == 4:
            raise SuiteError('pytest does not understand this:\n' + text)
        if not wrong and (running or not (
                code in (0, 5) or (code in (1, 2) and failures))):
            wrong = f'the process ended with {code}'
        if wrong:
            # In a test, or before the first or after the last of them.
            name = running or f'{target}::(process)'
            left.discard(name)
            results[name] = ('failed', f'{wrong}\n{text}')
        return left


def note(results: Results, result: str, outcome: str, text: str) -> None:
    """Keep the worst: a test has an outcome for each of its phases."""
    order = ('passed', 'skipped', 'failed')
    old, _ = results.get(result, ('passed', ''))
    if order.index(outcome) >= order.index(old):
        results[result] = (outcome, text)


def having(outcome: str, results: Results) -> list[str]:
    return sorted(n for n, result in results.items() if result[0] == outcome)


def counts(results: Results) -> str:
    by = collections.Counter(outcome for outcome, _ in results.values())
    return ', '.join(f'{by[k]} {k}' for k in ('passed', 'failed', 'skipped'))


def last_error(text: str) -> str:
    """Return the line of pytest's report that says most."""
    errors = [line[1:].strip() for line in text.splitlines()
              if line.startswith('E  ')]
    return (errors or text.splitlines() or [''])[0][:200]


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
                    lines.append(f'{hub:10} {target}: {counts(new)}')
                    lines += [
                        f'failed: {name}: {last_error(new[name][1])}'
                        for name in having('failed', new)]
                if not done:
                    lines = [f'{hub:10} {target}: {counts(new)} so far'
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
        print(counts(new), flush=True)
        if new:
            _, text = results.pop(name)
            if not having('failed', new):
                passed[name] = last_error(text)
        results.update(new)
    return passed


def read_left_out(path: pathlib.Path) -> dict[str, str]:
    entries = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith('#'):
            name, _, reason = line.partition(' ')
            if not reason.strip():
                raise SuiteError(f'{path}: no reason is given for {name}')
            entries[name] = reason.strip()
    return entries


def is_left_out(name: str, entries: dict[str, str]) -> str | None:
    for entry in entries:
        if name == entry or (
                entry.endswith('*') and name.startswith(entry[:-1])):
            return entry
    return None


def judge(hub: str, ours: Results, base: Results, left_out: dict[str, str],
          complete: bool) -> dict[str, str]:
    """Return what counts as failed, and why."""
    wrong = {}
    unused = set(left_out) if complete else set()
    for name in sorted(ours | base):
        mine, text = ours.get(name, ('not run', ''))
        theirs, _ = base.get(name, ('not run', ''))
        if entry := is_left_out(name, left_out):
            unused.discard(entry)
            if mine == 'passed':
                wrong[name] = 'passes, but is left out'
        elif mine == 'failed' != theirs:
            wrong[name] = f'{BASE}: {theirs}, {hub}: {last_error(text)}'
        elif theirs == 'passed' != mine:
            wrong[name] = f'{BASE}: passed, {hub}: {mine} {text}'
    return wrong | dict.fromkeys(unused, 'is left out, but matches no test')


def show(title: str, lines: dict[str, str]) -> None:
    print(f'\n{title}: {len(lines)}')
    for name, text in lines.items():
        print(f'    {name}: {text}')


def run_suite(args: argparse.Namespace) -> int:
    left_out = read_left_out(args.left_out)
    version, path = installed_eventlet()
    command = loopback_only.prefix()
    sdist = args.sdist or get_sdist(version, args.cache_dir)
    about = {'eventlet': version, 'python': sys.version,
             'tests': args.tests, 'pytest_args': args.pytest_args}
    base: Results | None = None
    if args.baseline and args.baseline.exists():
        saved: dict[str, Any] = json.loads(args.baseline.read_text())
        if saved['about'] == about:
            base = {name: (outcome, text)
                    for name, (outcome, text) in saved['results'].items()}
    with tempfile.TemporaryDirectory(prefix='eventlet-suite-') as temp:
        work = pathlib.Path(temp)
        unpack(sdist, work)
        # The big ones first, so that the last ones end together.
        targets = args.tests or [
            str(path.relative_to(work)) for path in sorted(
                {*work.glob('tests/*_test.py'), *work.glob('tests/test_*.py')},
                key=lambda path: -path.stat().st_size)]
        runner = Runner(args, command, work, path)
        hubs = [args.hub] if base else [BASE, args.hub]
        print('eventlet %s on Python %s, %s, %d files; network: loopback only'
              % (version, sys.version.split()[0], ' and '.join(hubs),
                 len(targets)), flush=True)
        results = run_all(runner, hubs, targets)
        ours = results[args.hub]
        again = [name for name in having('failed', ours)
                 if not is_left_out(name, left_out)]
        lucky = run_again(runner, args.hub, ours, again)
        if not base:
            base = results[BASE]
            run_again(runner, BASE, base, having('failed', base))
            if args.baseline:
                args.baseline.write_text(json.dumps(
                    {'about': about, 'results': base}, indent=1))
    wrong = judge(args.hub, ours, base, left_out,
                  complete=not args.tests and not args.pytest_args)
    for name in wrong:
        if name in ours and ours[name][0] == 'failed':
            print(f'\n===== {name} on {args.hub}\n{ours[name][1]}')
    show(f'failed on {BASE}, not counted',
         {n: last_error(base[n][1]) for n in having('failed', base)})
    show('failed at first, passed when run again alone', lucky)
    show('left out', left_out)
    show('failed', wrong)
    print()
    for hub, each in ((BASE, base), (args.hub, ours)):
        print(f'{hub:12} {counts(each)}')
    passed, skipped = (len(set(having(o, ours)) - set(wrong))
                       for o in ('passed', 'skipped'))
    if not passed and not wrong:
        raise SuiteError('no test was run')
    print(f'\n{passed} passed, {len(wrong)} failed, {skipped} skipped')
    return 1 if wrong else 0


def parse(argv: list[str]) -> argparse.Namespace:
    cache = os.environ.get('TOX_ENV_DIR') or '~/.cache/aiohub'
    parser = argparse.ArgumentParser(
        description="Run eventlet's own test suite on a hub.",
        epilog='Other arguments go to pytest, tests/x_test.py[::test] too.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False)
    parser.add_argument('--hub', default='aiohub.hub', help='the hub to test')
    parser.add_argument(
        '--jobs', type=int, default=2, help='processes at a time')
    parser.add_argument(
        '--timeout', type=float, default=60, metavar='SECONDS',
        help='a test that takes longer hangs')
    parser.add_argument(
        '--baseline', type=pathlib.Path, metavar='FILE',
        help=f'keep the results of {BASE} there and use them again')
    parser.add_argument(
        '--left-out', type=pathlib.Path, metavar='FILE',
        default=HERE / 'left_out.txt', help='tests that need not pass')
    parser.add_argument(
        '--cache-dir', type=pathlib.Path, metavar='DIR',
        default=pathlib.Path(cache).expanduser(), help='for the download')
    parser.add_argument(
        '--sdist', type=pathlib.Path, metavar='FILE',
        help="eventlet's sdist, instead of a download")
    args, rest = parser.parse_known_args(argv)
    args.tests = [a for a in rest if a.startswith('tests/')]
    args.pytest_args = [a for a in rest if a not in (*args.tests, '--')]
    return args


if __name__ == '__main__':
    try:
        sys.exit(run_suite(parse(sys.argv[1:])))
    except (SuiteError, loopback_only.LoopbackError) as exc:
        print('eventlet_suite:', exc, file=sys.stderr)
    except KeyboardInterrupt:
        print('eventlet_suite: interrupted', file=sys.stderr)
    sys.exit(2)
