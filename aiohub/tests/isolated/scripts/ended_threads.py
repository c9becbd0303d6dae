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

"""Threads that had a hub end; the garbage collector may run at any time.

greenlet, which imports ``gc`` then, would go on with freed memory if that ran
the collector just there. It takes the objects that a program has made since
it last ran: each child has made one more.
"""

import os
import sys
import threading
import time
import warnings

warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')
warnings.filterwarnings('ignore', category=DeprecationWarning)

from eventlet import hubs  # noqa: E402

# Who has imported it is safe.
assert 'gc' not in sys.modules

import aiohub  # noqa: E402, F401

#: More than it takes to have the collector run.
MOST = 2100 if sys.version_info >= (3, 13) else 800


def end_thread(made: int) -> None:
    kept = [[] for _ in range(made)]  # type: ignore[var-annotated]
    thread = threading.Thread(target=hubs.get_hub)
    thread.start()
    thread.join()
    # greenlet comes to it when the thread is really gone.
    while len(os.listdir('/proc/self/task')) > 1:
        time.sleep(0)
    for _ in range(10):
        kept.append([])


hubs.get_hub()
killed = []
for made in range(MOST):
    pid = os.fork()
    if not pid:
        end_thread(made)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        killed.append(made)
assert not killed, killed
print('pass')
