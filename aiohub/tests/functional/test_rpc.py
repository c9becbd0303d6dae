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

"""oslo.messaging over RabbitMQ, with its eventlet executor.

On aiohub's hub, chosen in both ways, and on epolls: the same programs.
"""

import os
import pathlib
import subprocess
import sys
import threading
from typing import Any

import fixtures
from oslotest import base

from aiohub.tests import isolated

PROGRAMS = pathlib.Path(__file__).parent / 'programs'

MODES = ('setup-patched', 'env-patched', 'epolls-patched')

CONFIG = """\
[DEFAULT]
transport_url = %(url)s
log_file = %(log)s
# There are more calls at once than connections.
default_log_levels = oslo.messaging._drivers.pool=ERROR
executor_thread_pool_size = 64
[oslo_messaging_rabbit]
amqp_durable_queues = true
heartbeat_timeout_threshold = %(heartbeat)d
heartbeat_rate = %(rate)d
kombu_reconnect_delay = 0.5
rabbit_retry_backoff = 1
rabbit_interval_max = 2
[aiohub]
enabled = %(enabled)s
"""


class Program:
    """A program that runs in one of the modes, and talks by lines."""

    def __init__(self, name: str, mode: str, path: str, url: str,
                 heartbeat: int, rate: int) -> None:
        self.name = '%s in mode %s' % (name, mode)
        directory = pathlib.Path(path)
        self.log = directory / 'log'
        config = directory / 'program.conf'
        config.write_text(CONFIG % {
            'url': url, 'log': self.log, 'heartbeat': heartbeat, 'rate': rate,
            'enabled': 'true' if mode.startswith('setup') else 'false'})
        # By its own group whatever it leaves can be ended.
        self.process = subprocess.Popen(
            # The topic: no program finds the messages of another.
            [sys.executable, str(PROGRAMS / name), str(config),
             '%s-%s' % (pathlib.Path(name).stem, mode)],
            env=isolated.environment(mode), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True)
        # Far more than it takes.
        self._deadline = threading.Timer(400, self.kill)
        self._deadline.start()

    def kill(self) -> None:
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        self._deadline.cancel()
        self.kill()
        self.process.communicate()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def expect(self, line: str) -> None:
        """Wait until the program has said something.

        :raises AssertionError: If it ends without having said it.
        """
        assert self.process.stdout is not None
        heard = []
        for each in self.process.stdout:
            heard.append(each)
            if each.rstrip('\n') == line:
                return
        self._fail('did not say %r but %r' % (line, heard))

    def end(self) -> None:
        """Wait until the program has ended, which must be as it should."""
        self.expect('pass')
        out, err = self.process.communicate()
        if self.process.returncode or out or err:
            self._fail('ended with %s\n%s\n%s' % (
                self.process.returncode, out, err))

    def _fail(self, what: str) -> None:
        self.close()
        log = self.log.read_text() if self.log.exists() else ''
        raise AssertionError('%s %s\n%s' % (self.name, what, log[-20000:]))


class RpcTestCase(base.BaseTestCase):
    broker: Any

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # Other environments look for tests here too, without pifpaf.
        from aiohub.tests.functional import rabbitmq

        cls.broker = rabbitmq.RabbitMQ()
        cls.broker.setUp()
        cls.addClassCleanup(cls.broker.cleanUp)

    def start(self, name: str, heartbeat: int = 10,
              rate: int = 10) -> list[Program]:
        """Start a program in all modes at once."""
        programs = []
        for mode in MODES:
            path = self.useFixture(fixtures.TempDir()).path
            program = Program(name, mode, path, self.broker.url, heartbeat,
                              rate)
            self.addCleanup(program.close)
            programs.append(program)
        return programs

    def test_calls(self) -> None:
        for program in self.start('rpc_calls.py'):
            program.end()

    def test_forked(self) -> None:
        for program in self.start('rpc_forked.py'):
            program.end()

    def test_broker_goes_away(self) -> None:
        programs = self.start('rpc_broker.py')
        for line, end in (('stop', self.broker.stop),
                          ('kill', self.broker.kill)):
            for program in programs:
                program.expect(line)
            end()
            for program in programs:
                program.tell('gone')
            for program in programs:
                program.expect('start')
            self.broker.start()
            for program in programs:
                program.tell('back')
        for program in programs:
            program.end()

    def test_heartbeats(self) -> None:
        missed = self._missed()
        programs = self.start('rpc_heartbeats.py', heartbeat=2, rate=2)
        for program in programs:
            program.expect('connected')
        connections = self._connections()
        for program in programs:
            program.tell('idle')
        for program in programs:
            program.expect('idle')
        self.assertEqual(connections, self._connections())
        for program in programs:
            program.tell('call')
        for program in programs:
            program.end()
        # Each has had two that were closed for it.
        self.assertEqual(missed + 2 * len(programs), self._missed())

    def _connections(self) -> set[str]:
        return set(self.broker.ctl('list_connections', 'pid').split())

    def _missed(self) -> int:
        return int(self.broker.log().count('missed heartbeats from client'))
