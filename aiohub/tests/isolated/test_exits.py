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

"""Runs scripts that end; each says in its docstring what it shows."""

import signal
import subprocess
import sys

from aiohub.tests import isolated

MODES = (*isolated.ON, 'epolls', 'epolls-patched')
#: What exit_cleanup.py prints.
CLEANED = sorted((
    'awaits', 'awaits', 'generator', 'green_call', 'in_green_call', 'job',
    'native_threads', 'waits_for_task', 'ValueError'))


@isolated.expand
class TestExits(isolated.ScriptTestCase):
    def start(self, name, mode, *args):
        env = isolated.environment(mode)
        env['PYTHONWARNINGS'] = 'error,ignore::DeprecationWarning'
        process = subprocess.Popen(
            [sys.executable, '-X', 'dev', name, *args],
            cwd=isolated.SCRIPTS, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def run_to_end(self, name, mode, *args):
        """Return what a script prints, how it ends, and its complaints."""
        process = self.start(name, mode, *args)
        out, err = process.communicate(timeout=120)
        return sorted(out.splitlines()), process.returncode, err

    @isolated.in_modes(*MODES)
    def test_cleanup(self, mode):
        for how in ('fall', 'sys.exit', 'green', 'task', 'callback'):
            with self.subTest(how=how):
                self.assertEqual(
                    (CLEANED, 0, ''),
                    self.run_to_end('exit_cleanup.py', mode, how))

    @isolated.in_modes(*MODES)
    def test_cleanup_after_an_error(self, mode):
        for how, status, error in (
                ('error', 1, 'LookupError'),
                ('interrupt', -signal.SIGINT, 'KeyboardInterrupt')):
            with self.subTest(how=how):
                out, returncode, err = self.run_to_end(
                    'exit_cleanup.py', mode, how)
                self.assertEqual((CLEANED, status), (out, returncode), err)
                # Its traceback, and nothing else.
                self.assertEqual(1, err.count('Traceback'), err)
                self.assertEqual(error, err.splitlines()[-1])

    @isolated.in_modes(*MODES)
    def test_interrupt_ends_a_cleanup_that_does_not(self, mode):
        process = self.start('exit_never.py', mode)
        self.assertEqual('cleaning up\n', process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        self.assertIn('KeyboardInterrupt', err)

    @isolated.in_modes(*MODES)
    def test_children(self, mode):
        for how in ('fall', 'exit', '_exit', 'in_green', 'multiprocessing'):
            with self.subTest(how=how):
                childs = {'_exit': 0, 'multiprocessing': 2}.get(how, 1)
                expected = sorted((
                    'task of parent True', 'generator of parent True',
                    *['task of child False', 'generator of child False']
                    * childs))
                self.assertEqual(
                    (expected, 0, ''),
                    self.run_to_end('exit_children.py', mode, how))

    @isolated.in_modes(*MODES)
    def test_details(self, mode):
        self.assertEqual(
            (['pass'], 0, ''), self.run_to_end('exit_details.py', mode))
