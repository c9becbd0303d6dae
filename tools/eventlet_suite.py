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
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from typing import Any

import loopback_only
import suite
from suite import Results
from suite import SuiteError
import suite_runner

HERE = pathlib.Path(__file__).resolve().parent / 'eventlet_suite'
BASE = 'epolls'


def installed_eventlet() -> tuple[str, str]:
    """Return version and path of the eventlet that will be tested."""
    dist = suite.installed('eventlet')
    path = str(dist.locate_file('eventlet/__init__.py'))
    spec = importlib.util.find_spec('eventlet')
    if spec is None or spec.origin != path:
        raise SuiteError('eventlet is installed in %s, but imported from %s'
                         % (path, spec and spec.origin))
    return dist.version, path


def unpack(sdist: pathlib.Path, work: pathlib.Path) -> None:
    """Unpack the tests, and nothing that could be imported instead."""
    with tarfile.open(sdist) as tar:
        tests = [member for member in tar.getmembers()
                 if pathlib.PurePath(member.name).parts[1:2] == ('tests',)]
        tar.extractall(work, tests, filter='data')
    shutil.move(next(work.glob('*/tests')), work)
    # So that pytest does not look for its settings further up.
    (work / 'pytest.ini').write_text('[pytest]\n')


class Runner(suite_runner.Runner):
    """Runs test files with pytest."""

    def __init__(self, args: argparse.Namespace, command: list[str],
                 work: pathlib.Path, eventlet: str) -> None:
        super().__init__(args, work)
        self.command = command
        self.eventlet = eventlet
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
                    ended = suite_runner.has_ended(process)
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
                            suite.note(results, **event)
                    if time.monotonic() > changed + limit:
                        wrong = f'hangs, killed after {limit} seconds'
                    elif self.stop.wait(0 if ended else 0.05):
                        return set()
        finally:
            code = suite_runner.end(process)
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


def run_suite(args: argparse.Namespace) -> int:
    left_out = suite.read_left_out(args.left_out)
    version, path = installed_eventlet()
    command = loopback_only.prefix()
    sdist = args.sdist or suite.get_sdist('eventlet', version,
                                         args.cache_dir)
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
        results = suite_runner.run_all(runner, hubs, targets)
        lucky = suite_runner.run_failed_again(
            runner, BASE, args.hub, results, left_out)
    if not base:
        base = results[BASE]
        if args.baseline:
            args.baseline.write_text(json.dumps(
                {'about': about, 'results': base}, indent=1))
    on, ours = (BASE, args.hub), results[args.hub]
    wrong = suite.judge(on, base, ours, left_out,
                        complete=not args.tests and not args.pytest_args)
    return suite.report(on, base, ours, left_out, lucky, wrong)


def parse(argv: list[str]) -> argparse.Namespace:
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
        default=suite.default_cache(), help='for the download')
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
