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


"""A call from a native thread does not hold up the end of the program.

The first argument says whose thread that is, and so who waits for it at exit;
the second when it calls.
"""

import asyncio
import atexit
import concurrent.futures
import sys
import threading

import mode

import aiohub
from aiohub import from_thread
import eventlet
from eventlet import patcher
from eventlet import tpool

native = patcher.original('threading')
begun = native.Event()
ending = native.Event()


tasks = []


async def endless() -> None:
    begun.set()
    # Its end is not what is shown.
    tasks.append(asyncio.current_task())
    tasks[0]._log_destroy_pending = False
    await asyncio.get_running_loop().create_future()


async def notice_end() -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        ending.set()


def refused() -> None:
    try:
        from_thread.run(endless)
    except aiohub.HubClosedError as exc:
        assert 'interpreter ends' in str(exc), exc
    else:
        raise AssertionError('answered')


def call_before() -> None:
    refused()
    # And the next one does not begin.
    refused()
    print('pass')
    sys.stdout.flush()


def call_at_exit() -> None:
    """Make the first call when the interpreter ends."""
    begun.set()
    ending.wait()
    call_before()


def call_again_at_exit() -> None:
    from_thread.run(asyncio.sleep, 0)
    call_at_exit()


async def in_loops_thread(function) -> None:
    asyncio.get_running_loop().run_in_executor(None, function)


def in_pool(function) -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(function)
    # Whoever gives work to threads has the exit looked at.
    aiohub.await_(asyncio.to_thread(int))


STARTS = {
    'to_thread': lambda function: aiohub.await_(in_loops_thread(function)),
    'tpool': lambda function: eventlet.spawn(tpool.execute, function),
    # These are native without monkey patching only.
    'pool': in_pool,
    'thread': lambda function: threading.Thread(target=function).start(),
}

mode.check_hub()
if mode.HUB == 'asyncio':
    # Its loop is not ended by us, and what waits for threads does not run it.
    atexit.register(ending.set)
    threading._register_atexit(ending.set)
    aiohub.get_loop()
else:
    noticing = aiohub.get_loop().create_task(notice_end())
    eventlet.sleep(0)
STARTS[sys.argv[1]](globals()[sys.argv[2]])
while not begun.is_set():
    eventlet.sleep(0.001)
