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
"""A program may take asyncio out of sys.modules and import it again.

eventlet's own isolated tests do before they patch.
"""

import os
import sys

import mode

import eventlet
from eventlet import hubs

eventlet.sleep(0)
old = hubs.get_hub()
for name in list(sys.modules):
    if name == 'asyncio' or name.startswith('asyncio.'):
        del sys.modules[name]

import asyncio  # noqa: E402

hubs.use_hub()
hub = hubs.get_hub()
assert hub is not old
assert isinstance(hub.loop, asyncio.SelectorEventLoop)
assert not isinstance(old.loop, asyncio.SelectorEventLoop)
answers = []


async def program() -> None:
    await asyncio.sleep(0.001)
    assert asyncio.get_running_loop() is hub.loop
    answers.append(await asyncio.to_thread(int, '5'))


task = hub.loop.create_task(program())
while not task.done():
    eventlet.sleep(0.001)
task.result()
assert answers == [5]


# Its fork hook, which forgets the running loop, comes before the hub's.
def fork() -> int:
    pid = os.fork()
    if not pid:
        try:
            os._exit(asyncio.get_running_loop() is not hub.loop)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1]


assert eventlet.spawn(fork).wait() == 0
mode.done()
