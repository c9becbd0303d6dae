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

"""Runs the scripts about native threads; each says what it shows."""

from aiohub.tests import isolated

MODES = ('epolls', 'epolls-patched', *isolated.ON)


@isolated.expand
class TestNativeThreads(isolated.ScriptTestCase):
    @isolated.in_modes(*MODES)
    def test_every_way(self, mode):
        self.run_script('native_threads.py', mode)

    @isolated.in_modes(*MODES)
    def test_many(self, mode):
        self.run_script('native_threads_many.py', mode, '300')

    # Half a minute on a quiet machine.
    @isolated.in_modes('setup-patched')
    def test_a_million_calls(self, mode):
        self.run_script('native_threads_many.py', mode, '10000', seconds=1200)
