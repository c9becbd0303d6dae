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

    # Not on epolls, where parent and child share the poll object, and each
    # may take the other's events.
    @isolated.in_modes(*isolated.ON)
    def test_pool(self, mode):
        self.run_script('forks_pool.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_signals(self, mode):
        self.run_script('forks_signals.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_hooks(self, mode):
        self.run_script('forks_hooks.py', mode)

    # Not on epolls: there the locks are shared.
    @isolated.in_modes('env-patched', 'setup-patched')
    def test_logging(self, mode):
        self.run_script('forks_logging.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_multiprocessing(self, mode):
        self.run_script('forks_multiprocessing.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_processes(self, mode):
        self.run_script('forks_processes.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_green_threading(self, mode):
        self.run_script('forks_green_threading.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_spare_threads(self, mode):
        self.run_script('forks_spare_threads.py', mode)
