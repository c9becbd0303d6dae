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

"""Runs the scripts about forks; each says in its docstring what it shows."""

from aiohub.tests import isolated

HERE = ('in_main', 'in_green', 'in_task', 'in_plain_task', 'in_callback')
THREADS = ('in_tpool', 'in_thread', 'in_thread_with_hub')


@isolated.expand
class TestForks(isolated.ScriptTestCase):
    @isolated.in_modes(*isolated.ON)
    def test_places(self, mode):
        self.run_script('forks_places.py', mode, *HERE)

    @isolated.in_modes(*isolated.ON)
    def test_places_in_threads(self, mode):
        self.run_script('forks_places.py', mode, *THREADS)
