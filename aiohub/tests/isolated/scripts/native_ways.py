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

"""The ways in from native threads; used by scripts.

Each is given a function and a value to call it with in the hub's thread.
Those of WAITING return what it returns; the others return at once.
"""

import asyncio

import mode

import aiohub
from aiohub import from_thread
import eventlet
from eventlet import hubs



def come_here():
    """Have them lead to the hub that this thread has now."""
    global hub, loop
    hub = hubs.get_hub()
    loop = aiohub.get_loop()


come_here()


def run(function, value):
    async def call():
        await asyncio.sleep(0)
        return function(value)

    return from_thread.run(call)


def run_sync(function, value):
    def call():
        eventlet.sleep(0)
        return function(value)

    return from_thread.run_sync(call)


def run_coroutine_threadsafe(function, value):
    async def call():
        await asyncio.sleep(0)
        return function(value)

    return asyncio.run_coroutine_threadsafe(call(), loop).result()


def call_soon_threadsafe(function, value):
    loop.call_soon_threadsafe(function, value)


def schedule_call_threadsafe(function, value):
    hub.schedule_call_threadsafe(0, function, value)


WAITING = [run, run_sync, run_coroutine_threadsafe]
OTHERS = [call_soon_threadsafe]
if mode.ON:
    OTHERS.append(schedule_call_threadsafe)
WAYS = WAITING + OTHERS

# eventlet.tpool calls a function in the calling thread while any other thread
# imports something, as the first call does.
aiohub.await_(asyncio.to_thread(run, int, 0))
