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

"""Runs the scripts about signals; each says in its docstring what it shows."""

from aiohub.tests import isolated

MODES = ('epolls', 'epolls-patched', *isolated.ON)


@isolated.expand
class TestSignals(isolated.ScriptTestCase):
    @isolated.in_modes(*MODES)
    def test_at_rest(self, mode):
        self.run_script('signals_at_rest.py', mode)

    @isolated.in_modes(*MODES)
    def test_under_load(self, mode):
        self.run_script('signals_under_load.py', mode)

    # eventlet's hubs go on with their poll, until the next timer.
    @isolated.in_modes(*isolated.ON)
    def test_in_first_steps(self, mode):
        self.run_script('signals_in_first_steps.py', mode)

    @isolated.in_modes(*MODES)
    def test_in_threads(self, mode):
        self.run_script('signals_in_threads.py', mode)

    @isolated.in_modes(*MODES)
    def test_raising(self, mode):
        self.run_script('signals_raising.py', mode)
