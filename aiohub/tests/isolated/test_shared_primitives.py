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

"""Runs the scripts about locks, events and queues that threads share."""

from aiohub.tests import isolated

LOCKS = ('lock', 'rlock', 'semaphores', 'impatient_locks', 'killed')
SIGNALS = ('condition', 'one_notified', 'threading_event', 'eventlet_event',
           'threads_joined')
QUEUES = ('plain_queue', 'simple_queue', 'bounded_queues', 'channel',
          'ordered_queues', 'queue_joined', 'impatient_queues')


@isolated.expand
class TestSharedPrimitives(isolated.ScriptTestCase):
    @isolated.in_modes(*isolated.ON)
    def test_rules(self, mode):
        self.run_script('shared_rules.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_locks(self, mode):
        self.run_script('shared_hammer.py', mode, *LOCKS)

    @isolated.in_modes(*isolated.ON)
    def test_conditions_and_events(self, mode):
        self.run_script('shared_hammer.py', mode, *SIGNALS)

    @isolated.in_modes(*isolated.ON)
    def test_queues(self, mode):
        self.run_script('shared_hammer.py', mode, *QUEUES)

    @isolated.in_modes(*isolated.ON)
    def test_channels(self, mode):
        self.run_script('shared_channels.py', mode)

    @isolated.in_modes(*isolated.ON)
    def test_logs(self, mode):
        self.run_script('shared_hammer.py', mode, 'logs')

    # Without patching they are native, and wait natively.
    @isolated.in_modes('env-patched', 'setup-patched')
    def test_futures(self, mode):
        self.run_script('shared_hammer.py', mode, 'futures')

    # What waits already when aiohub is switched on.
    @isolated.in_modes('setup-later', 'setup-later-patched')
    def test_who_waits_already(self, mode):
        self.run_script('shared_handover.py', mode)
