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

"""Tests against real servers, which ``tox -e functional`` starts.

A test runs a program of ``programs/`` as a process of its own, in modes that
:mod:`aiohub.tests.isolated` explains: on aiohub's hub, chosen in both ways,
and on epolls.
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
log_file = %(log)s
[aiohub]
enabled = %(enabled)s
"""


class Program:
    """A program that runs in one of the modes, and talks by lines."""

    def __init__(self, name: str, mode: str, path: str, config: str) -> None:
        self.name = '%s in mode %s' % (name, mode)
        #: Keeps what it has on the server apart from that of the others.
        self.topic = '%s_%s' % (
            pathlib.Path(name).stem, mode.replace('-', '_'))
        directory = pathlib.Path(path)
        self.log = directory / 'log'
        file = directory / 'program.conf'
        file.write_text((CONFIG + config) % {
            'log': self.log, 'topic': self.topic,
            'enabled': 'true' if mode.startswith('setup') else 'false'})
        # By its own group whatever it leaves can be ended.
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / name), str(file), self.topic],
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
        _, self.printed = self.process.communicate()

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
        raise AssertionError('%s %s\n%s\n%s' % (
            self.name, what, log[-20000:], self.printed))


class ProgramTestCase(base.BaseTestCase):
    def start(self, name: str, config: str) -> list[Program]:
        """Start a program in all modes at once.

        :param config: What is in its configuration file, beside the toggle.
            ``%(topic)s`` is a name that the program alone has.
        """
        programs = []
        for mode in MODES:
            path = self.useFixture(fixtures.TempDir()).path
            program = Program(name, mode, path, config)
            self.addCleanup(program.close)
            programs.append(program)
        return programs


def restart(server: Any, programs: list[Program]) -> None:
    """Stop, then kill a server, each time when all the programs want it.

    They say ``start`` when they have noticed, and end when they have used the
    server again.
    """
    for line, end in (('stop', server.stop), ('kill', server.kill)):
        for program in programs:
            program.expect(line)
        end()
        for program in programs:
            program.tell('gone')
        for program in programs:
            program.expect('start')
        server.start()
        for program in programs:
            program.tell('back')
    for program in programs:
        program.end()
