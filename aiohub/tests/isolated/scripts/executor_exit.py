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

"""At exit the interpreter waits for what the loop's threads still do."""

import asyncio
import sys

import mode

from eventlet import asyncio as eventlet_asyncio
from eventlet import patcher

native = patcher.original('threading')
started = native.Event()
ending = native.Event()


def work() -> None:
    started.set()
    ending.wait()
    print('pass')
    sys.stdout.flush()


async def notice_end() -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        ending.set()


async def main() -> None:
    # One thread is busy, another idle: neither may hold up the exit.
    await asyncio.gather(asyncio.to_thread(int), asyncio.to_thread(int))
    asyncio.get_running_loop().run_in_executor(None, work)
    tasks.append(asyncio.create_task(notice_end()))
    await asyncio.sleep(0)


tasks: list[object] = []
eventlet_asyncio.spawn_for_awaitable(main()).wait()
mode.check_hub()
started.wait()
