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

"""Operations with native threads, which call back."""

import asyncio
import os

import eventlet
from eventlet import patcher
from eventlet import tpool
import greenlet

import aiohub
import operation

native = patcher.original('threading')


def _call_back(number: int) -> list[int]:
    """In a native thread: have the thread of the hub compute, twice."""
    return [aiohub.from_thread.run(operation.compute, number),
            aiohub.from_thread.run_sync(operation.compute_green, number)]


@operation.operation(10)
def call_back(number: int) -> int:
    """Threads of both worlds' pools, and one of its own, call back."""
    future = aiohub.get_loop().create_future()

    def work() -> None:
        future.get_loop().call_soon_threadsafe(
            future.set_result, _call_back(number))

    thread = native.Thread(target=work, daemon=True)
    thread.start()
    right = [operation.answer(number)] * 2
    operation.check('tpool', tpool.execute(_call_back, number), right)
    operation.check('to_thread', aiohub.await_(
        asyncio.to_thread(_call_back, number)), right)
    operation.check('thread', aiohub.await_(future), right)
    tpool.execute(thread.join)
    return right[0]


def fill_pools() -> None:
    """Start all the threads that the pools ever have, and their greenlets."""
    def begin(barrier: native.Barrier) -> None:
        greenlet.getcurrent()
        barrier.wait()

    async def fill(count: int) -> None:
        barrier = native.Barrier(count)
        await asyncio.gather(*(asyncio.to_thread(begin, barrier)
                               for _ in range(count)))

    # As many as asyncio and eventlet make.
    aiohub.await_(fill(min(32, (os.cpu_count() or 1) + 4)))
    count = int(os.environ['EVENTLET_THREADPOOL_SIZE'])
    barrier = native.Barrier(count)
    pool = eventlet.GreenPool()
    for _ in range(count):
        pool.spawn(tpool.execute, begin, barrier)
    pool.waitall()
