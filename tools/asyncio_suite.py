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
import importlib.util
import pathlib
import platform
import re
import sys
import tempfile
from typing import Any

import suite
from suite import SuiteError
import suite_runner

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


class Runner(suite_runner.UnittestRunner):
    """Runs modules of tests, each until every test has a result."""

    worker = HERE / 'worker.py'

    def has_green_tasks(self) -> bool:
        """Whether the tasks of the loop that is tested are green."""
        events: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(dir=self.work) as temp:
            _, log = self.run_worker(
                self.args.hub, '', pathlib.Path(temp), events.append)
        if not events:
            raise SuiteError('no loop could be made and run:\n' + log)
        return bool(events[0]['green_tasks'])

    def state(self, hub: str, target: str) -> dict[str, Any]:
        return {'hub': None if hub == BASE else hub,
                'green_tasks': not self.args.plain_tasks}

    def place(self, hub: str, target: str,
              temp: pathlib.Path) -> tuple[pathlib.Path, dict[str, str]]:
        env = self.env if hub == BASE else {**self.env, 'EVENTLET_HUB': hub}
        return temp, env


def read_left_out(path: pathlib.Path) -> dict[str, str]:
    """Return what is left out on this Python, and why."""
    entries = {}
    for name, reason in suite.read_left_out(path).items():
        since = re.match(r'\[3\.(\d+)\+\] ', reason)
        if since is None or sys.version_info >= (3, int(since[1])):
            entries[name] = reason
    return entries


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
        results = suite_runner.run_all(runner, [BASE, args.hub], modules)
        lucky = suite_runner.run_failed_again(
            runner, BASE, args.hub, results, left_out)
    on, base, ours = (BASE, args.hub), results[BASE], results[args.hub]
    wrong = suite.judge(on, base, ours, left_out,
                        complete=not args.modules and green)
    return suite.report(on, base, ours, left_out, lucky, wrong)


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
