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

"""setup() holds for use_hub(), other threads, and children, not programs."""

import os
import subprocess
import sys
import traceback

import mode

import aiohub
import eventlet
from eventlet import hubs
from eventlet import patcher

native = patcher.original('threading')


def name() -> str:
    eventlet.sleep(0)
    assert aiohub.enabled()
    return type(hubs.get_hub()).__module__


def in_thread(function) -> object:
    results: list[object] = []
    thread = native.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def in_child(function) -> str:
    """Return what function returns in a forked child."""
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            patcher.original('os').write(w, function().encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(w)
    with patcher.original('os').fdopen(r, 'rb') as pipe:
        answer = pipe.read().decode()
    assert patcher.original('os').waitpid(pid, 0)[1] == 0
    return answer


def after_use_hub() -> str:
    hubs.use_hub()
    return name()


def grandchild() -> str:
    hubs.use_hub()
    return in_child(after_use_hub)


assert name() == 'aiohub.hub'
# As oslo.service does in each worker, and as a worker of a worker would.
assert in_child(after_use_hub) == 'aiohub.hub'
assert in_child(name) == 'aiohub.hub'
assert in_child(grandchild) == 'aiohub.hub'
assert eventlet.spawn(in_child, after_use_hub).wait() == 'aiohub.hub'
assert eventlet.spawn(in_child, name).wait() == 'aiohub.hub'
assert name() == 'aiohub.hub'
# Other threads: at their first wait, and by use_hub().
assert in_thread(name) == 'aiohub.hub'
assert in_thread(after_use_hub) == 'aiohub.hub'
assert in_child(lambda: str(in_thread(name))) == 'aiohub.hub'
assert in_thread(aiohub.enabled) is True
# Here.
assert after_use_hub() == 'aiohub.hub'

# A program that the service starts has the hub that it would have had.
code = (
    'import sys, eventlet\n'
    'eventlet.sleep(0)\n'
    'print(type(eventlet.hubs.get_hub()).__module__,'
    ' [m for m in sys.modules if m.startswith("aiohub")])\n')
out = subprocess.run(
    [sys.executable, '-W', 'ignore', '-c', code], capture_output=True,
    text=True, check=True).stdout.strip()
if 'EVENTLET_HUB' not in os.environ:
    assert out == 'eventlet.hubs.epolls []', out

# A hub that is asked for by name is what one gets.
hubs.use_hub('poll')
eventlet.sleep(0)
assert type(hubs.get_hub()).__module__ == 'eventlet.hubs.poll'
assert not aiohub.enabled()
hubs.use_hub()
mode.done()
