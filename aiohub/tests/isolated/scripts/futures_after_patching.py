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

"""Executors of the service, whenever aiohub was imported.

``concurrent.futures.thread`` has a lock of its own, which is green only if it
is imported after patching: two green threads that start threads would
otherwise wait for each other, without letting go of the process.
"""

import sys
import warnings

warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')

if 'import-first' in sys.argv:
    import aiohub  # noqa: F401

import eventlet  # noqa: E402

if 'hub-first' in sys.argv:
    eventlet.sleep(0)
eventlet.monkey_patch()

from concurrent import futures  # noqa: E402

if 'setup' in sys.argv:
    import mode

    mode.set_up()


def work() -> list[int]:
    with futures.ThreadPoolExecutor(4) as executor:
        return list(executor.map(abs, range(-5, 0)))


greens = [eventlet.spawn(work) for _ in range(3)]
for green in greens:
    assert green.wait() == [5, 4, 3, 2, 1]
print('pass')
