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

"""Run CPython's own tests of asyncio on aiohub's loop, with green tasks.

    python tools/asyncio_suite.py [options] [test_asyncio.test_tasks ...]

The tests are those of the interpreter that runs this, from its ``test``
package, which some distributions leave out; then this program says so and
does not start. They are run twice: on the loops that asyncio makes, and with
those of aiohub in their place (tools/asyncio_suite/hub_loop.py), each file in
a process of its own, and what is left of it in another after a hang or a
crash. What failed is run once more, alone, at the end: some tests measure
time. The run fails when a test fails on aiohub's loop and not on asyncio's,
or passes there and does not run here. An exception that Python can only print
fails a test too. What does not apply stands in
tools/asyncio_suite/left_out.txt, with the reason; it has to be exact.

Exit status: 0 all is well, 1 tests failed, 2 the suite could not run.
"""

import argparse
import contextlib
import fnmatch
import importlib.util
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any

import eventlet_suite
from eventlet_suite import Results
from eventlet_suite import SuiteError

HERE = pathlib.Path(__file__).resolve().parent / 'asyncio_suite'
BASE = 'asyncio'

# Of the package "test", as far as this Python has them. The slow ones first,
# so that the last ones end together.
MODULES = (
    'test_asyncio.test_tasks',
    'test_asyncio.test_taskgroups',
    'test_asyncio.test_context',
    'test_asyncio.test_eager_task_factory',
    'test_asyncio.test_free_threading',
    'test_asyncio.test_futures',
    'test_asyncio.test_futures2',
    'test_asyncio.test_graph',
    'test_asyncio.test_locks',
    'test_asyncio.test_pep492',
    'test_asyncio.test_queues',
    'test_asyncio.test_runners',
    'test_asyncio.test_staggered',
    'test_asyncio.test_streams',
    'test_asyncio.test_threads',
    'test_asyncio.test_timeouts',
    'test_asyncio.test_waitfor',
    'test_asyncgen',
    'test_contextlib_async',
    'test_unittest.test_async_case',
)


def find_modules(names: list[str]) -> list[str]:
    """Return those of *names* that this Python has."""
    try:
        found = importlib.util.find_spec('test.test_asyncio')
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise SuiteError(
            'Python %s (%s) has no module test.test_asyncio: it was installed '
            "without CPython's own tests. Some distributions have them in a "
            'package of their own (libpython%d.%d-testsuite in Debian); or '
            'use a Python that was built from source.' % (
                platform.python_version(), sys.base_prefix,
                *sys.version_info[:2]))
    top = pathlib.Path(found.origin).parent.parent
    return [name for name in names
            if (top / (name.replace('.', '/') + '.py')).exists()]


class Runner(eventlet_suite.Runner):
    """Runs modules of tests, each until every test has a result."""

    def __init__(self, args: argparse.Namespace, work: pathlib.Path) -> None:
        self.args = args
        self.work = work
        self.stop = threading.Event()
        self.now: dict[tuple[str, str], Results] = {}
        # Nothing that changes what the tests see.
        self.env = {
            name: value for name, value in os.environ.items()
            if not name.startswith('PYTHON') or name == 'PYTHONPATH'}
        self.env['PYTHONDONTWRITEBYTECODE'] = '1'

    def has_green_tasks(self) -> bool:
        """Whether the tasks of the loop that is tested are green."""
        with tempfile.TemporaryDirectory(dir=self.work) as temp:
            events, log = self.run_worker(
                self.args.hub, None, {}, pathlib.Path(temp))[1:]
        if not events:
            raise SuiteError('no loop could be made and run:\n' + log)
        return bool(events[0]['green_tasks'])

    def run_process(self, hub: str, target: str, results: Results,
                    temp: pathlib.Path) -> set[str]:
        """Run up to the first hang or crash; return the tests left."""
        code, events, log = self.run_worker(hub, target, results, temp)
        left: set[str] = set()
        running = None
        for event in events:
            if 'collected' in event:
                left = set(event['collected'])
            elif 'start' in event:
                running = event['start']
            elif 'end' in event:
                running = None
                left.discard(event['end'])
            elif 'result' in event:
                eventlet_suite.note(results, **event)
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
        self, hub: str, target: str | None, results: Results,
        temp: pathlib.Path,
    ) -> tuple[int, list[dict[str, Any]], str]:
        """Return the exit status, the events and the output."""
        events, state, log = (temp / n for n in ('events', 'state', 'log'))
        events.write_bytes(b'')
        state.write_text(json.dumps({
            'target': target, 'done': list(results), 'events': str(events),
            'hub': None if hub == BASE else hub,
            'green_tasks': not self.args.plain_tasks,
            'limit': self.args.timeout}))
        env = self.env if hub == BASE else {**self.env, 'EVENTLET_HUB': hub}
        with open(log, 'wb') as output:
            process = subprocess.Popen(
                [sys.executable, str(HERE / 'worker.py'), str(state)],
                cwd=temp, env=env, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True)
        # The worker ends itself when a test hangs.
        while process.poll() is None and not self.stop.wait(0.1):
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return (process.wait(),
                [json.loads(line) for line in events.read_text().splitlines()],
                log.read_text(errors='replace')[-8000:])


def read_left_out(path: pathlib.Path) -> dict[str, str]:
    """Return what is left out on this Python, and why."""
    entries = {}
    for name, reason in eventlet_suite.read_left_out(path).items():
        since = re.match(r'\[3\.(\d+)\+\] ', reason)
        if since is None or sys.version_info >= (3, int(since[1])):
            entries[name] = reason
    return entries


def is_left_out(name: str, entries: dict[str, str]) -> str | None:
    for entry in entries:
        if fnmatch.fnmatchcase(name, entry):
            return entry
    return None


def judge(hub: str, ours: Results, base: Results, left_out: dict[str, str],
          complete: bool) -> dict[str, str]:
    """Return what counts as failed, and why.

    :param complete: Whether all was run, and as it is meant to be.
    """
    wrong = {}
    unused = set(left_out) if complete else set()
    for name in sorted(ours | base):
        mine, text = ours.get(name, ('not run', ''))
        theirs, _ = base.get(name, ('not run', ''))
        if entry := is_left_out(name, left_out):
            unused.discard(entry)
            if mine == 'passed' and complete:
                wrong[name] = 'passes, but is left out'
        elif mine == 'failed' != theirs or theirs == 'passed' != mine:
            wrong[name] = '%s: %s, %s: %s %s' % (
                BASE, theirs, hub, mine, eventlet_suite.last_error(text))
    return wrong | dict.fromkeys(unused, 'is left out, but matches no test')


def run_suite(args: argparse.Namespace) -> int:
    left_out = read_left_out(args.left_out)
    wanted = args.modules or list(MODULES)
    modules = find_modules(wanted)
    missing = [name for name in wanted if name not in modules]
    if args.modules and missing:
        raise SuiteError('this Python has no test.%s' % missing[0])
    with tempfile.TemporaryDirectory(prefix='asyncio-suite-') as temp:
        runner = Runner(args, pathlib.Path(temp))
        green = runner.has_green_tasks()
        if green is args.plain_tasks:
            raise SuiteError(
                'the tasks of the loop are green all the same' if green else
                'the tasks of the loop are not green, so there is nothing to '
                'test. --plain-tasks runs the tests without.')
        print('Python %s, %s and %s with %s tasks, %d modules; not in this '
              'Python: %s' % (
                  platform.python_version(), BASE, args.hub,
                  'green' if green else 'plain', len(modules),
                  ', '.join(missing) or 'none'), flush=True)
        results = eventlet_suite.run_all(runner, [BASE, args.hub], modules)
        base, ours = results[BASE], results[args.hub]
        again = [name for name in eventlet_suite.having('failed', ours)
                 if not is_left_out(name, left_out)]
        lucky = eventlet_suite.run_again(runner, args.hub, ours, again)
        eventlet_suite.run_again(
            runner, BASE, base, eventlet_suite.having('failed', base))
    wrong = judge(args.hub, ours, base, left_out,
                  complete=not args.modules and green)
    for name in wrong:
        if name in ours and ours[name][0] == 'failed':
            print(f'\n===== {name} on {args.hub}\n{ours[name][1]}')
    eventlet_suite.show(f'failed on {BASE}, not counted', {
        name: eventlet_suite.last_error(base[name][1])
        for name in eventlet_suite.having('failed', base)})
    eventlet_suite.show('failed at first, passed when run again alone', lucky)
    eventlet_suite.show('left out', left_out)
    eventlet_suite.show('failed', wrong)
    print()
    for hub, each in results.items():
        print(f'{hub:12} {eventlet_suite.counts(each)}')
    passed, skipped = (
        len(set(eventlet_suite.having(outcome, ours)) - set(wrong))
        for outcome in ('passed', 'skipped'))
    if not passed and not wrong:
        raise SuiteError('no test was run')
    print(f'\n{passed} passed, {len(wrong)} failed, {skipped} skipped')
    return 1 if wrong else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run CPython's own tests of asyncio on aiohub's loop.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        'modules', nargs='*', metavar='test_asyncio.test_x',
        help='modules of the package "test", instead of those that are '
             'about tasks')
    parser.add_argument(
        '--hub', default='aiohub.hub',
        help='the hub to test on; on another than aiohub.hub a green thread '
             'runs the loop')
    parser.add_argument(
        '--plain-tasks', action='store_true',
        help='test with tasks that are not green')
    parser.add_argument(
        '--jobs', type=int, default=2, help='processes at a time')
    parser.add_argument(
        '--timeout', type=float, default=60, metavar='SECONDS',
        help='a test that takes longer hangs')
    parser.add_argument(
        '--left-out', type=pathlib.Path, metavar='FILE',
        default=HERE / 'left_out.txt', help='tests that need not pass')
    return parser.parse_args(argv)


if __name__ == '__main__':
    try:
        sys.exit(run_suite(parse(sys.argv[1:])))
    except SuiteError as exc:
        print('asyncio_suite:', exc, file=sys.stderr)
    except KeyboardInterrupt:
        print('asyncio_suite: interrupted', file=sys.stderr)
    sys.exit(2)
