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

"""Runs the scripts; each says in its docstring what it shows."""

import itertools
import pathlib
import platform
import subprocess
import sys
import time

from aiohub.tests import isolated


@isolated.expand
class TestHub(isolated.ScriptTestCase):
    @isolated.in_modes('asyncio', 'epolls', 'epolls-patched', *isolated.ON)
    def test_spare_threads(self, mode):
        self.run_script('spare_threads.py', mode)

    @isolated.in_modes('asyncio', 'epolls', 'epolls-patched', *isolated.ON)
    def test_spare_threads_traces(self, mode):
        self.run_script('spare_threads_traces.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_asyncio_programs(self, mode):
        self.run_script('asyncio_programs.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_aiohttp_programs(self, mode):
        self.run_script('aiohttp_programs.py', mode)

    @isolated.in_modes('epolls', 'epolls-patched', *isolated.ON)
    def test_receiving(self, mode):
        self.run_script('receiving.py', mode)

    def test_receiving_without_aiohub(self):
        if platform.libc_ver()[0] != 'glibc':
            self.skipTest('only glibc maps large blocks one by one')
        self.run_script('receiving.py', 'env', 'control')

    @isolated.in_modes('epolls', 'epolls-patched', *isolated.ON)
    def test_executors(self, mode):
        self.run_script('executors.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_executor_exit(self, mode):
        self.run_script('executor_exit.py', mode)

    @isolated.in_modes('epolls', 'epolls-patched', *isolated.ON)
    def test_interrupts(self, mode):
        self.run_script('interrupts.py', mode)

    @isolated.in_modes('epolls', *isolated.ON)
    def test_descriptors(self, mode):
        self.run_script('descriptors.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_tasks_and_hub(self, mode):
        self.run_script('tasks_and_hub.py', mode)

    @isolated.in_modes('env', 'setup-patched')
    def test_closing(self, mode):
        self.run_script('closing.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_signals(self, mode):
        self.run_script('signals.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_forking(self, mode):
        self.run_script('forking.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_turns(self, mode):
        self.run_script('turns.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_turn_callbacks(self, mode):
        self.run_script('turn_callbacks.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_call_soon(self, mode):
        self.run_script('call_soon.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_debug_places(self, mode):
        self.run_script('debug_places.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_timers(self, mode):
        self.run_script('timers.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_replacing(self, mode):
        self.run_script('replacing.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_originals(self, mode):
        self.run_script('originals.py', mode)

    def test_originals_of_a_copy_made_too_late(self):
        self.run_script('originals.py', 'setup-later-patched')

    @isolated.in_modes(*isolated.ON)
    def test_asyncio_replaced(self, mode):
        self.run_script('asyncio_replaced.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_forking_details(self, mode):
        self.run_script('forking_details.py', mode)

    @isolated.in_modes('epolls')
    def test_ended_threads(self, mode):
        self.run_script('ended_threads.py', mode)

    @isolated.in_modes('env', 'env-patched',
                       'setup-later', 'setup-later-patched')
    def test_failing_start(self, mode):
        self.run_script('failing_start.py', mode)

    @isolated.in_modes('env-patched', 'setup-patched', 'setup-later-patched')
    def test_logging_in_threads(self, mode):
        self.run_script('logging_in_threads.py', mode)

    @isolated.in_modes('env-patched', 'setup-later-patched')
    def test_hub_beside_logging(self, mode):
        self.run_script('hub_beside_logging.py', mode)

    @isolated.in_modes('env', 'setup-patched')
    def test_standstill_abort(self, mode):
        self.run_script('standstill_abort.py', mode)

    @isolated.in_modes('env')
    def test_regressions(self, mode):
        self.run_script('regressions.py', mode)

    def test_regressions_setup(self):
        self.run_script('regressions.py', 'setup-later')

    def test_futures_after_patching(self):
        for args in ((), ('import-first',), ('hub-first',), ('setup',),
                     ('import-first', 'setup')):
            self.run_script(
                'futures_after_patching.py', 'setup-later-patched', *args)

    @isolated.in_modes('env', 'env-patched')
    def test_first_hub_at_exit(self, mode):
        self.run_script('first_hub_at_exit.py', mode)

    def test_import_orders(self):
        for steps in itertools.permutations(
                ('aiohub', 'asyncio', 'aiohttp', 'monkey_patch')):
            with self.subTest(steps=steps):
                self.run_script('import_order.py', 'setup', *steps)


@isolated.expand
class TestToggle(isolated.ScriptTestCase):
    @isolated.in_modes('setup-later', 'setup-later-patched')
    def test_handover(self, mode):
        self.run_script('handover.py', mode)
        self.run_script('handover.py', mode, 'from-descriptor')

    @isolated.in_modes('setup-later', 'setup-later-patched')
    def test_handover_parents(self, mode):
        self.run_script('handover_parents.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_sticking(self, mode):
        self.run_script('sticking.py', mode)

    @isolated.in_modes('setup-later', 'setup-later-patched')
    def test_wrong_use(self, mode):
        self.run_script('wrong_use.py', mode)

    def test_setup_details(self):
        self.run_script('setup_details.py', 'setup-later')

    @isolated.in_modes('env', 'env-patched',
                       'setup-later', 'setup-later-patched')
    def test_info_line(self, mode):
        self.run_script('info_line.py', mode)


@isolated.expand
class TestBridge(isolated.ScriptTestCase):
    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_bridge_table(self, mode):
        self.run_script('bridge_table.py', mode)

    @isolated.in_modes('epolls', 'epolls-patched', 'env', 'setup-patched')
    def test_off_fork(self, mode):
        self.run_script('off_fork.py', mode)


def _switches(pid: int) -> int:
    """Return how often the threads of a process left a system call to run.

    A thread that sleeps in a system call makes no other before it is
    scheduled again, and that is counted here.
    """
    total = 0
    for status in pathlib.Path('/proc/%d/task' % pid).glob('*/status'):
        for line in status.read_text().splitlines():
            if line.startswith(('voluntary_ctxt', 'nonvoluntary_ctxt')):
                total += int(line.split()[1])
    return total


@isolated.expand
class TestIdle(isolated.ScriptTestCase):
    @isolated.in_modes('env', 'setup-patched')
    def test_makes_no_system_call_in_ten_seconds(self, mode):
        process = subprocess.Popen(
            [sys.executable, str(isolated.SCRIPTS / 'idle.py')],
            cwd=isolated.SCRIPTS, env=isolated.environment(mode),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual('idle\n', process.stdout.readline())
        self._wait_until_asleep(process.pid)
        before = _switches(process.pid)
        # That nothing happens in it is what is tested of this time.
        time.sleep(10)
        self.assertEqual(before, _switches(process.pid))
        out, _ = process.communicate('x', timeout=60)
        self.assertEqual('pass\n', out)

    def _wait_until_asleep(self, pid):
        """Wait until it sits in one and the same epoll_wait."""
        counts = [-1]
        while len(counts) < 3 or len(set(counts[-3:])) > 1:
            time.sleep(0.05)
            counts.append(_switches(pid))
