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

"""A child that ends cleans up its own, and nothing of its parent's.

The argument says how it ends.
"""

import asyncio
import atexit
import gc
import multiprocessing
import os
import sys

# As CPython does since 3.14.1, and before the hook of the hub.
os.register_at_fork(after_in_child=lambda: forget_tasks())
# After all that the hub does at the end, as CPython does with a module.
atexit.register(lambda: (kept.clear(), gc.collect()))

import mode  # noqa: E402

import aiohub  # noqa: E402
import eventlet  # noqa: E402

mode.may_be_slow()

parent = os.getpid()
kept: list[object] = []


def forget_tasks() -> None:
    for known in asyncio.all_tasks(aiohub.get_loop()):
        asyncio.tasks._unregister_task(known)


async def task(name: str) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0.001)
        print(name, os.getpid() == parent, flush=True)


async def generator(name: str):
    try:
        yield 1
    finally:
        print(name, os.getpid() == parent, flush=True)


async def begin(name: str) -> None:
    kept.append(asyncio.create_task(task('task of ' + name)))
    kept.append(generator('generator of ' + name))
    await anext(kept[-1])
    await asyncio.sleep(0)


def child() -> None:
    aiohub.await_(begin('child'))


def fork() -> int:
    pid = os.fork()
    if not pid:
        child()
        if how == '_exit':
            os._exit(0)
        sys.exit()
    return pid


def wait_for(pid: int) -> None:
    assert mode.patcher.original('os').waitpid(pid, 0)[1] == 0


how = sys.argv[1]
mode.check_hub()
aiohub.await_(begin('parent'))
if how == 'multiprocessing':
    context = multiprocessing.get_context('fork')
    for start in (lambda function: function(),
                  lambda function: eventlet.spawn(function).wait()):
        process = context.Process(target=child)
        start(process.start)
        process.join()
        assert process.exitcode == 0
elif how == 'in_green':
    wait_for(eventlet.spawn(fork).wait())
else:
    pid = os.fork()
    if not pid:
        child()
        if how == '_exit':
            os._exit(0)
        elif how == 'exit':
            sys.exit()
        # Or it comes to the end of this file.
    else:
        wait_for(pid)
