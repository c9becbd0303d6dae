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

"""With aiohub off, the loop of a green thread goes on in a forked child."""

import asyncio
import os
import traceback

import mode

import aiohub
import eventlet
from eventlet import hubs
from eventlet import patcher

native_os = patcher.original('os')


async def work():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(0.001, done.set_result, 5)
    assert await asyncio.to_thread(int) == 0
    return await done


def child(replace):
    if replace:
        # As oslo.service does in each worker.
        hubs.use_hub()
    assert aiohub.await_(work()) == 5
    assert eventlet.spawn(aiohub.await_, work()).wait() == 5


assert aiohub.await_(work()) == 5
for replace in (False, True):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            child(replace)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert aiohub.await_(work()) == 5
    assert native_os.waitpid(pid, 0)[1] == 0
    assert aiohub.await_(work()) == 5
mode.done()
