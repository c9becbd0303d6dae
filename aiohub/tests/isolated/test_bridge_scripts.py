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

"""Runs the scripts about the bridge; each says in its docstring what it shows.
"""

import itertools

from aiohub.tests import isolated


@isolated.expand
class TestBridge(isolated.ScriptTestCase):
    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_contexts(self, mode):
        self.run_script('bridge_contexts.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_first_step(self, mode):
        self.run_script('bridge_first_step.py', mode)

    @isolated.in_modes(*isolated.ON, 'epolls', 'epolls-patched')
    def test_callers_step(self, mode):
        self.run_script('bridge_callers_step.py', mode)

    @isolated.in_modes(*isolated.ON, 'epolls', 'epolls-patched')
    def test_callers_step_main(self, mode):
        self.run_script('bridge_callers_step_main.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_arguments(self, mode):
        self.run_script('bridge_arguments.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_green_start(self, mode):
        self.run_script('bridge_green_start.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_green_failures(self, mode):
        self.run_script('bridge_green_failures.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_leaks(self, mode):
        self.run_script('bridge_leaks.py', mode, seconds=300)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_tracebacks(self, mode):
        self.run_script('bridge_tracebacks.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_misuse(self, mode):
        self.run_script('bridge_misuse.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_wrappers(self, mode):
        self.run_script('bridge_wrappers.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_wrappers_shared(self, mode):
        self.run_script('bridge_wrappers_shared.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_threads(self, mode):
        self.run_script('bridge_threads.py', mode)

    @isolated.in_modes('env', 'setup-patched', 'epolls', 'epolls-patched')
    def test_from_thread_ends(self, mode):
        self.run_script('from_thread_ends.py', mode)

    @isolated.in_modes('env', 'env-patched', 'setup-patched', 'asyncio',
                       'epolls', 'epolls-patched')
    def test_from_thread_exit(self, mode):
        starts = ['to_thread', 'tpool']
        if not mode.endswith('-patched'):
            starts += ['pool', 'thread']
        whens = ['call_before', 'call_again_at_exit', 'call_at_exit']
        for start, when in itertools.product(starts, whens):
            if (start, when) == ('tpool', 'call_at_exit'):
                continue  # nothing has told that to look at the exit
            with self.subTest(start=start, when=when):
                self.run_script('from_thread_exit.py', mode, start, when)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_examples(self, mode):
        self.run_script('bridge_examples.py', mode)
