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

"""Runs the scripts about green tasks; each says in its docstring what it does.
"""

import os
import shutil
import subprocess
import sys

from oslotest import base

from aiohub.tests import isolated


@isolated.expand
class TestLogging(isolated.ScriptTestCase):
    @isolated.in_modes(*isolated.ON, 'setup-later-patched', 'epolls-patched')
    def test_contended(self, mode):
        self.run_script('logging_contended.py', mode)

    def test_mutex(self):
        for mode, steps in (
                ('env', 'patch log'),
                ('env', 'import patch log'),
                ('env', 'aiohub hub import patch log'),
                ('env', 'patch import reload log'),
                ('env', 'patch log-in-thread'),
                ('env', 'gone'),
                ('setup-later', 'aiohub setup patch log'),
                ('setup-later', 'patch setup log'),
                ('setup-later', 'patch log setup'),
                ('setup-later', 'import setup patch log'),
                ('setup-later', 'import patch log setup'),
                ('setup-later', 'patch import setup log'),
                ('setup-later', 'use-asyncio patch log use'),
                ('setup-later', 'use-asyncio patch log hold use'),
                ('setup-later', 'use-asyncio import use patch log'),
                ('setup-later', 'use-asyncio patch use log')):
            with self.subTest(mode=mode, steps=steps):
                self.run_script('logging_mutex.py', mode, *steps.split())


# Patched; in "env" and "epolls" the same with eventlet's own names.
PATCHED = ('env-patched', 'setup-patched', 'epolls-patched')


@isolated.expand
class TestGreenCalls(isolated.ScriptTestCase):
    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_waits(self, mode):
        self.run_script('green_waits.py', mode)

    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_io(self, mode):
        self.run_script('green_io.py', mode)

    @isolated.in_modes(*PATCHED)
    def test_locks(self, mode):
        self.run_script('green_locks.py', mode)

    @isolated.in_modes(*PATCHED)
    def test_processes(self, mode):
        self.run_script('green_processes.py', mode)

    @isolated.in_modes(*PATCHED)
    def test_locals(self, mode):
        self.run_script('green_locals.py', mode)

    @isolated.in_modes(*PATCHED)
    def test_reuse(self, mode):
        self.run_script('green_reuse.py', mode)

    @isolated.in_modes(*PATCHED)
    def test_reuse_ended(self, mode):
        self.run_script('green_reuse_ended.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_asyncio(self, mode):
        self.run_script('green_asyncio.py', mode)

    @isolated.in_modes(*PATCHED)
    def test_groups(self, mode):
        self.run_script('green_groups.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_making(self, mode):
        self.run_script('green_making.py', mode)

    @isolated.in_modes(*PATCHED)
    def test_factories(self, mode):
        self.run_script('green_factories.py', mode)

    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_results(self, mode):
        self.run_script('green_results.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_timeouts(self, mode):
        self.run_script('green_timeouts.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_stacks(self, mode):
        self.run_script('green_stacks.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_mariadb(self, mode):
        path = os.environ.get('PATH', '') + ':/usr/sbin'
        if not shutil.which('mariadbd', path=path):
            self.skipTest('needs mariadbd, of the package of bindep.txt')
        self.run_script('green_mariadb.py', mode)


@isolated.expand
class TestStops(isolated.ScriptTestCase):
    @isolated.in_modes('env', 'setup', 'epolls', *PATCHED)
    def test_cancel(self, mode):
        self.run_script('green_tasks_cancel.py', mode)

    @isolated.in_modes('env', 'setup', 'epolls', *PATCHED)
    def test_races(self, mode):
        self.run_script('green_tasks_races.py', mode)

    @isolated.in_modes('env', 'setup', 'epolls', *PATCHED)
    def test_kills(self, mode):
        self.run_script('green_tasks_kills.py', mode)

    @isolated.in_modes('env', 'setup', 'epolls', *PATCHED)
    def test_counts(self, mode):
        self.run_script('green_tasks_counts.py', mode)

    @isolated.in_modes('env', 'setup', 'epolls', *PATCHED)
    def test_ending(self, mode):
        self.run_script('green_tasks_ending.py', mode)

    @isolated.in_modes('env', 'setup', 'epolls', *PATCHED)
    def test_stubborn(self, mode):
        self.run_script('green_tasks_stubborn.py', mode)

    @isolated.in_modes('env', 'setup', 'epolls', *PATCHED)
    def test_timeouts(self, mode):
        self.run_script('green_tasks_timeouts.py', mode)

    @isolated.in_modes('env', 'setup', 'epolls', *PATCHED)
    def test_random(self, mode):
        self.run_script('green_tasks_random.py', mode)


@isolated.expand
class TestCallbacks(isolated.ScriptTestCase):
    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_callbacks(self, mode):
        self.run_script('green_callbacks.py', mode)

    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_callbacks_rules(self, mode):
        self.run_script('green_callbacks_rules.py', mode)

    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_meanwhile(self, mode):
        self.run_script('green_callbacks_meanwhile.py', mode)

    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_meanwhile_descriptors(self, mode):
        self.run_script('green_callbacks_polls.py', mode)

    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_meanwhile_green(self, mode):
        self.run_script('green_callbacks_green.py', mode)

    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_ends(self, mode):
        self.run_script('green_callbacks_ends.py', mode)

    @isolated.in_modes('env', 'epolls', *PATCHED)
    def test_close(self, mode):
        self.run_script('green_callbacks_close.py', mode)


@isolated.expand
class TestLibraries(isolated.ScriptTestCase):
    @isolated.in_modes('env', *PATCHED)
    def test_sqlalchemy(self, mode):
        self.run_script('green_sqlalchemy.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_aiohttp(self, mode):
        self.run_script('green_aiohttp.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_httpx(self, mode):
        self.run_script('green_httpx.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_anyio(self, mode):
        self.run_script('green_anyio.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_asgiref(self, mode):
        self.run_script('green_asgiref.py', mode)

    @isolated.in_modes('env', *PATCHED)
    def test_bridges(self, mode):
        self.run_script('green_bridges.py', mode)


class TestCost(base.BaseTestCase):
    def test_limits(self):
        """The limits of the benchmark that do not depend on the machine."""
        done = subprocess.run(
            [sys.executable, str(isolated.ROOT / 'benchmarks/green_tasks.py'),
             '--processes=1', 'turns', 'calls', 'memory'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
        self.assertEqual(0, done.returncode, done.stdout)


@isolated.expand
class TestLimits(isolated.ScriptTestCase):
    @isolated.in_modes('env', 'setup-patched', 'epolls-patched')
    def test_limits(self, mode):
        self.run_script('limits.py', mode)

    @isolated.in_modes('env', 'env-patched', 'epolls', 'epolls-patched')
    def test_request_context(self, mode):
        self.run_script('limits_request_context.py', mode)
