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

"""Runs ``programs/wsgi_service.py``, watches it, and sends it requests."""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import fixtures

from aiohub.tests import isolated

PROGRAM = pathlib.Path(__file__).parent / 'programs' / 'wsgi_service.py'
#: When to give up, in seconds: far more than anything takes. An idle hub of
#: eventlet looks every 60 seconds whether a signal came, which must not do.
DEADLINE = 50
#: How eventlet.wsgi logs that a client has gone.
GONE = re.compile(
    r'^[^\n]* Traceback(?:(?!^\S*Error:).)*^(BrokenPipe|ConnectionReset)Error:'
    r'[^\n]*\n', re.MULTILINE | re.DOTALL)
#: Which logger says what, in which process; oslo.log's default format.
LINE = re.compile(r'^\S+ \S+ (\d+) [A-Z]+ (\S+) \[[^]]*\] (.*)$', re.MULTILINE)


def wait_for(condition, what):
    """Return what *condition* returns as soon as that is true."""
    deadline = time.monotonic() + DEADLINE
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError('no ' + (what() if callable(what) else what))
        time.sleep(0.01)


class ServiceProcess(fixtures.Fixture):
    """The service in a session of its own; nothing of it is left behind.

    :param options: Of the section ``[api]``.
    """

    def __init__(self, enabled, by_environment=False, timeout=0, **options):
        super().__init__()
        self.enabled = enabled
        self.by_environment = by_environment
        self.timeout = timeout
        self.options = options

    def _setUp(self):
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.log = self.folder / 'log'
        self.log.touch()
        self.config = self.folder / 'service.conf'
        self.configure()
        env = isolated.environment(
            'env-patched' if self.by_environment else 'setup-patched')
        with (self.folder / 'stderr').open('wb') as stderr:
            # Of its own session, it takes itself for a daemon: otherwise
            # oslo.service takes SIGHUP for the end.
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), '--config-file',
                 str(self.config)],
                env=env, start_new_session=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=stderr, text=True)
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.wait)
        self.addCleanup(self._kill)
        self.pid = self.process.pid
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError('it did not start:\n' + self.errors())
        self.port = int(line)

    def _kill(self):
        # Before the parent, which makes new ones.
        for pid in [self.pid, *self.processes()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def configure(self, enabled=None, **options):
        """Write the config file again, with other values."""
        self.options.update(options)
        if enabled is not None:
            self.enabled = enabled
        api = ''.join('%s = %s\n' % item for item in self.options.items())
        new = self.config.with_suffix('.new')
        new.write_text(
            '[DEFAULT]\nlog_file = %s\ngraceful_shutdown_timeout = %d\n'
            '[api]\n%s[aiohub]\nenabled = %s\n' % (
                self.log, self.timeout, api, self.enabled))
        new.rename(self.config)

    # -- what there is of it

    def processes(self):
        """Return the processes of its session, but no zombies."""
        found = []
        for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
            try:
                # After the name, which may have anything in it.
                fields = path.read_text().rpartition(') ')[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == self.pid and fields[0] != 'Z':
                found.append(int(path.parent.name))
        return sorted(found)

    def logged(self, pattern, logger=''):
        """Return (pid, match) of each line of the log so far."""
        found = []
        for line in LINE.finditer(self.log.read_text()):
            match = re.search(pattern, line[3])
            if match and line[2].startswith(logger):
                found.append((int(line[1]), match))
        return found

    def wait_for_log(self, pattern, count=1):
        wait_for(
            lambda: len(self.logged(pattern)) >= count,
            lambda: '%r in the log:\n%s' % (pattern, self.log.read_text()))

    def workers(self, count, besides=()):
        """Wait for so many that serve, and none else; return {pid: hub}.

        Each says on which hub it is, and then that it serves. A signal that
        comes before is lost in oslo.service, on every hub: its handler
        spawns a green thread, and ``use_hub()`` then drops that.

        :param besides: Those that have to be gone.
        """
        def serving():
            alive = set(self.processes()) - {self.pid}
            up = {pid for pid, _ in self.logged('^Serving$')}
            if len(alive) == count and alive <= up - set(besides):
                return alive

        alive = wait_for(serving, lambda: '%d workers:\n%s' % (
            count, self.log.read_text()))
        hubs = {pid: match[1] for pid, match in self.logged(
            r'^eventlet hub (\S+), .*worker of process %d$' % self.pid,
            'aiohub')}
        return {pid: hubs.get(pid) for pid in alive}

    def errors(self):
        """Return what should be neither on stderr nor in the log."""
        odd = (self.folder / 'stderr').read_text()
        log = GONE.sub('', self.log.read_text())
        for line in log.splitlines():
            if re.search(r'Traceback|ERROR|CRITICAL|never (awaited|retrieved)'
                         r'|Exception|HTTP/1.1" [45]', line):
                odd += '\n' + line
        return odd and odd + '\n' + log[-4000:]

    # -- what it is sent

    def signal(self, signum):
        os.kill(self.pid, signum)

    def wait(self):
        """Return the exit status, when no process of it is left."""
        status = self.process.wait(DEADLINE)
        wait_for(lambda: not self.processes(), 'end of the workers')
        return status

    def connect(self):
        connection = http.client.HTTPConnection(
            '127.0.0.1', self.port, timeout=DEADLINE)
        # http.client would make another when the server has closed it.
        connection.connect()
        connection.auto_open = False
        return connection

    def get(self, path):
        """Return the answer to one request."""
        with contextlib.closing(self.connect()) as connection:
            connection.request('GET', path)
            response = connection.getresponse()
            body = response.read()
        assert response.status == 200, (path, response.status, body)
        return json.loads(body)

    def ask_every(self, path, pids):
        """Return {pid: answer} of these workers.

        Which worker takes a connection is up to the kernel.
        """
        answers = {}

        def ask():
            got = self.get(path)
            answers.setdefault(got['pid'], got['answer'])
            return set(answers) >= set(pids)

        wait_for(ask, 'answer of every worker of %s' % pids)
        return {pid: answers[pid] for pid in pids}


class Held:
    """A request that is being served until :meth:`Gate.open`."""

    def __init__(self, service, path, gate):
        self.connection = service.connect()
        self.connection.request('GET', '%s?gate=%s' % (path, gate))
        self.response = self.connection.getresponse()
        self.pid = int(self.response.readline())

    def close(self):
        self.response.close()
        self.connection.close()


class Gate(fixtures.Fixture):
    """Holds requests in handlers until it is opened."""

    _numbers = itertools.count()

    def __init__(self, service):
        super().__init__()
        self.service = service

    def _setUp(self):
        self.path = self.service.folder / ('gate%d' % next(self._numbers))
        self.held = []

    def hold(self, pids):
        """Have a green and an asyncio handler wait in each worker."""
        for path in ('/held-green', '/held-async'):
            missing = set(pids)

            def hold_one(path=path, missing=missing):
                held = Held(self.service, path, self.path)
                self.addCleanup(held.close)
                self.held.append(held)
                missing.discard(held.pid)
                return not missing

            wait_for(hold_one, 'request in each worker')

    def open(self):
        """Let them go on; return what the answers consist of."""
        self.path.touch()
        return {held.response.read() for held in self.held}


class ClosedError(Exception):
    """The server has closed a connection instead of answering."""


class NotAcceptedError(Exception):
    """Nobody listens, or nobody any more."""


class Load(fixtures.Fixture):
    """Clients that send requests all the time, every other keeps connections.

    A server may close a connection that it is not serving, at any time, and
    so while the next request is on its way (RFC 9112, 9.3.1); eventlet.wsgi
    does so when it stops, on every hub. The client sends it again, on a new
    connection. Whatever else happens to a request is an error: no
    connection, half of an answer, a wrong one, or none on a new connection.
    """

    KINDS = ('/green', '/async', '/mixed')

    def __init__(self, service, clients=8):
        super().__init__()
        self.service = service
        self.clients = clients

    def _setUp(self):
        #: Which worker has answered which request.
        self.answers = {}
        self.errors = []
        self._ending = threading.Event()
        self._numbers = itertools.count()
        self._threads = [
            threading.Thread(target=self._run, args=(n % 2 == 0,))
            for n in range(self.clients)]
        for thread in self._threads:
            thread.start()
        self.addCleanup(self.end)

    def end(self):
        """Stop, with an answer to each request that was sent."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def wait_for_answers(self, count=100):
        """Wait for answers to later requests; return who gave them."""
        first = next(self._numbers)

        def later():
            return [n for n in list(self.answers) if n > first]

        wait_for(lambda: len(later()) >= count or self.errors, 'answers')
        return {self.answers[n] for n in later()}

    def _connect(self):
        # The kernel refuses a connection when nobody listens. It resets the
        # one that it is just making when the socket is closed for which it
        # makes it.
        try:
            return self.service.connect()
        except (ConnectionRefusedError, ConnectionResetError) as exc:
            raise NotAcceptedError(repr(exc)) from exc

    def _run(self, keep):
        try:
            while not self._ending.is_set():
                with contextlib.closing(self._connect()) as connection:
                    self._request(connection)
                    with contextlib.suppress(ClosedError):
                        while (keep and not self._ending.is_set()
                               and connection.sock is not None):
                            self._request(connection)
        except Exception as exc:
            self.errors.append(repr(exc))

    def _request(self, connection):
        number = next(self._numbers)
        path = '%s?id=%d' % (self.KINDS[number % len(self.KINDS)], number)
        try:
            connection.request('GET', path)
            response = connection.getresponse()
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise ClosedError from exc
        answer = json.loads(response.read())
        assert response.status == 200, response.status
        assert answer['answer'] == str(number), (number, answer)
        self.answers[number] = answer['pid']
