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

"""Cancels and kills at each moment; each script says how.

On every hub: nothing has to be left out on any of them.
"""

from aiohub.tests import isolated


@isolated.expand
class TestBridgeCancel(isolated.ScriptTestCase):
    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_bridge_cancel_green(self, mode):
        self.run_script('bridge_cancel_green.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_bridge_cancel_async(self, mode):
        self.run_script('bridge_cancel_async.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_bridge_cancel_options(self, mode):
        self.run_script('bridge_cancel_options.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_bridge_cancel_wrappers(self, mode):
        self.run_script('bridge_cancel_wrappers.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_bridge_cancel_threads(self, mode):
        self.run_script('bridge_cancel_threads.py', mode)

    @isolated.in_modes(*isolated.EVERY_HUB)
    def test_bridge_random(self, mode):
        self.run_script('bridge_random.py', mode)
