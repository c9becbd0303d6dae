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

"""Run the test suites of libraries that use eventlet on a hub.

    python tools/peers.py [options] [oslo_log.tests.unit.test_log ...]

The tests of each come from the sdist of exactly the version that is
installed. They only ever run in a network namespace that has nothing but
loopback; where none can be had this program says so and does not start. Each
module of tests runs in a process of its own on each hub, on eventlet's epolls
hub and on the one to test. What failed is run once more, alone, at the end,
on both hubs. The run fails when a test fails on the hub and not on epolls, or
passes on epolls and does not run on the hub. tools/peers/not_run.txt says
what is not run, and why.

Every process, also a forked one, tells which hub runs in it and whether the
standard library is patched then. The run fails, too, when a suite ran on
another hub than meant, not patched as meant, or on no hub at all: then it
would say nothing about one.

Exit status: 0 all is well, 1 tests failed, 2 the suites could not run.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import pathlib
import platform
import signal
import sys
import tarfile
import tempfile
from typing import Any

import loopback_only
import suite
from suite import Results
from suite import SuiteError
import suite_runner

HERE = pathlib.Path(__file__).resolve().parent / 'peers'
BASE = 'epolls'


@dataclasses.dataclass(frozen=True)
class Peer:
    """A library whose tests are run."""

    name: str
    #: The package that has the tests, as the library's .stestr.conf says.
    tests: str
    #: Whether its tests patch the standard library,
    patches: bool
    #: with this in the environment.
    env: tuple[tuple[str, str], ...] = ()
    #: Whether they fork processes that run a hub.
    forks: bool = False

    @property
    def package(self) -> str:
        return self.name.replace('.', '_')


# The slow ones first, so that the last ones end together.
PEERS = (
    # Its tests never patch, but use green executors.
    Peer('futurist', 'futurist.tests', patches=False),
    # They patch unless OSLO_SERVICE_SKIP_EVENTLET is set, to whatever.
    Peer('oslo.service', 'oslo_service.tests', patches=True, forks=True),
    # They patch if TEST_EVENTLET is set, to whatever.
    Peer('oslo.concurrency', 'oslo_concurrency.tests.unit', patches=True,
         env=(('TEST_EVENTLET', '1'),), forks=True),
    # They patch if it is 1.
    Peer('oslo.log', 'oslo_log.tests.unit', patches=True,
         env=(('OSLO_LOG_TEST_EVENTLET', '1'),)),
)
#: What is not passed on, beside what turns patching on or off: what changes
#: how oslotest works, or takes requests to another host.
NOT_IN_ENV = ('OS_', 'OSLO_', 'TEST_', 'HTTP_PROXY', 'HTTPS_PROXY',
              'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy')
#: Marks the processes of a run, since those that fork may leave the session.
MARK = 'AIOHUB_PEERS'


@dataclasses.dataclass(frozen=True)
class Ran:
    """A hub that has run in a process of a suite."""

    peer: Peer
    #: The name of the hub that was meant,
    meant: str
    #: and the module of the one that ran.
    module: str
    forked: bool
    patched: bool


def module_of(hub: str) -> str:
    """Return the module of the class that eventlet knows by this name."""
    return hub.partition(':')[0] if '.' in hub else 'eventlet.hubs.' + hub


def judge_hub(hub: str, peer: Peer, ran: list[Ran]) -> str | None:
    """Return what is wrong with the hubs that a suite has run on.

    :param hub: The name of the hub that was meant.
    """
    wanted = module_of(hub)
    others = sorted({each.module for each in ran} - {wanted})
    if others:
        return f'ran on {", ".join(others)}, not on {wanted}'
    if not ran:
        return f'never ran on {wanted}, so that it says nothing about it'
    if {each.patched for each in ran} != {peer.patches}:
        return 'was %spatched' % ('not ' if peer.patches else '')
    if peer.forks and not any(each.forked for each in ran):
        return f'never ran on {wanted} in a forked process'
    return None


class Runner(suite_runner.UnittestRunner):
    """Runs modules of tests on a hub, in a network namespace."""

    worker = HERE / 'worker.py'

    def __init__(self, args: argparse.Namespace, work: pathlib.Path,
                 peer_of: dict[str, Peer],
                 not_run: dict[str, str]) -> None:
        super().__init__(args, work)
        self.not_run = not_run
        self.prefix = loopback_only.prefix()
        self.peer_of = peer_of
        self.ran: list[Ran] = []
        self.env = {name: value for name, value in self.env.items()
                    if not name.startswith(NOT_IN_ENV)}

    def module(self, target: str) -> str:
        """Return the module of a test, or of all tests of a module."""
        while target not in self.peer_of:
            target = target.rpartition('.')[0]
        return target

    def peer(self, target: str) -> Peer:
        return self.peer_of[self.module(target)]

    def state(self, hub: str, target: str) -> dict[str, Any]:
        return {'module': self.module(target), 'not_run': self.not_run}

    def place(self, hub: str, target: str,
              temp: pathlib.Path) -> tuple[pathlib.Path, dict[str, str]]:
        peer = self.peer(target)
        root = self.work / peer.package
        path = [str(root), self.env['PYTHONPATH']]
        return root, {
            **self.env, **dict(peer.env), 'EVENTLET_HUB': hub,
            MARK: str(temp), 'PYTHONPATH': os.pathsep.join(path),
            'TMPDIR': str(temp),
            # As lockutils-wrapper, which oslo.concurrency's tests run in.
            'OSLO_LOCK_PATH': str(temp)}

    def take_event(self, hub: str, target: str, event: dict[str, Any]) -> None:
        self.ran.append(Ran(self.peer(target), hub, **event))

    def run_process(self, hub: str, target: str, results: Results,
                    temp: pathlib.Path) -> set[str]:
        try:
            return super().run_process(hub, target, results, temp)
        finally:
            kill_marked(f'{MARK}={temp}')


def kill_marked(mark: str) -> None:
    """Kill the processes that have *mark* in their environment."""
    for path in pathlib.Path('/proc').glob('[0-9]*/environ'):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b'\0'):
                os.kill(int(path.parent.name), signal.SIGKILL)


def unpack(peer: Peer, cache: pathlib.Path, work: pathlib.Path) -> list[str]:
    """Unpack what is installed of *peer*; return the modules of tests."""
    version = suite.installed(peer.name).version
    print(f'{peer.name} {version}', flush=True)
    with tarfile.open(suite.get_sdist(peer.name, version, cache)) as tar:
        tar.extractall(work, filter='data')
    root = work / peer.package
    next(work.glob(f'{peer.package}-*')).rename(root)
    found = [path.relative_to(root).with_suffix('') for path in sorted(
        (root / peer.tests.replace('.', '/')).rglob('test_*.py'),
        key=lambda path: -path.stat().st_size)]
    if not found:
        raise SuiteError(f'{peer.name} has no tests in {peer.tests}')
    return ['.'.join(path.parts) for path in found]


def judge_peers(on: tuple[str, str], ran: list[Ran],
                base: Results) -> dict[str, str]:
    """Return which suites say nothing about the hub, and why."""
    wrong = {}
    for peer in PEERS:
        for hub in on:
            here = [each for each in ran
                    if each.meant == hub and each.peer == peer]
            if why := judge_hub(hub, peer, here):
                wrong[f'{peer.name} on {hub}'] = why
        if not any(name.startswith(peer.package + '.')
                   for name in suite.having('passed', base)):
            wrong[peer.name] = f'no test passed on {on[0]}'
    return wrong


def show_hubs(ran: list[Ran]) -> None:
    print('\nhubs that ran:')
    for each, number in collections.Counter(ran).items():
        print('    %s on %s: %s, %spatched, in %d %s' % (
            each.peer.name, each.meant, each.module,
            '' if each.patched else 'not ', number,
            'forked processes' if each.forked else 'processes'))


def run_suites(args: argparse.Namespace) -> int:
    on = (BASE, args.hub)
    not_run = suite.read_left_out(args.not_run)
    with tempfile.TemporaryDirectory(prefix='peers-') as temp:
        work = pathlib.Path(temp)
        peer_of = {module: peer for peer in PEERS
                   for module in unpack(peer, args.cache_dir, work)}
        modules = [
            module for module in peer_of
            if not args.names or any(f'{module}.'.startswith(f'{name}.')
                                     for name in args.names)]
        if not modules:
            raise SuiteError('there is no module of tests of that name')
        runner = Runner(args, work, peer_of, not_run)
        print('Python %s, %s, %d modules; network: loopback only' % (
            platform.python_version(), ' and '.join(on), len(modules)),
            flush=True)
        results = suite_runner.run_all(runner, list(on), modules)
        lucky = suite_runner.run_failed_again(
            runner, BASE, args.hub, results, {})
    base, ours = results[BASE], results[args.hub]
    complete = not args.names
    wrong = suite.judge(on, base, ours, {}, complete)
    if complete:
        wrong |= judge_peers(on, runner.ran, base)
        wrong |= dict.fromkeys(
            not_run.keys() - ours, 'is not to be run, but there is no such')
    suite.show('not run', not_run)
    show_hubs(runner.ran)
    return suite.report(on, base, ours, {}, lucky, wrong)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Run the suites of libraries that use eventlet on a hub.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        'names', nargs='*', metavar='oslo_log.tests.unit.test_x',
        help='modules or packages of tests, instead of all')
    parser.add_argument('--hub', default='aiohub.hub', help='the hub to test')
    parser.add_argument(
        # They sleep most of the time.
        '--jobs', type=int, default=4, help='processes at a time')
    parser.add_argument(
        '--timeout', type=float, default=60, metavar='SECONDS',
        help='a test that takes longer hangs')
    parser.add_argument(
        '--not-run', type=pathlib.Path, metavar='FILE',
        default=HERE / 'not_run.txt', help='tests that are not run')
    parser.add_argument(
        '--cache-dir', type=pathlib.Path, metavar='DIR',
        default=suite.default_cache(), help='for the downloads')
    return parser.parse_args(argv)


if __name__ == '__main__':
    try:
        sys.exit(run_suites(parse(sys.argv[1:])))
    except (SuiteError, loopback_only.LoopbackError) as exc:
        print('peers:', exc, file=sys.stderr)
    except KeyboardInterrupt:
        print('peers: interrupted', file=sys.stderr)
    sys.exit(2)
