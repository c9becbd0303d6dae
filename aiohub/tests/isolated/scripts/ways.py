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

"""The ways to wait, for scripts that try each case with all of them.

So that a green call does in a task what an ``await`` would do there.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
from typing import Any

import cases

import aiohub
import eventlet
from eventlet import event

#: Seconds of a timeout that is to fire, and of one that is not.
SOON, LATE = 0.002, 600


# -- ways to wait, each of some turns or for ever

class Await:
    async def turn(self):
        await asyncio.sleep(0)

    async def never(self):
        await asyncio.get_running_loop().create_future()

    async def until(self, future):
        return await future


class Green:
    async def turn(self):
        eventlet.sleep(0)

    async def never(self):
        event.Event().wait()

    async def until(self, future):
        done = event.Event()
        future.add_done_callback(lambda _: done.send())
        if not future.done():
            done.wait()
        return future.result()


class Bridge:
    """A plain function called by the coroutine waits for asyncio."""

    async def turn(self):
        aiohub.await_(asyncio.sleep(0))

    async def never(self):
        aiohub.await_(asyncio.get_running_loop().create_future())

    async def until(self, future):
        return aiohub.await_(future)


class Both:
    async def turn(self):
        await asyncio.sleep(0)
        eventlet.sleep(0)
        await asyncio.sleep(0)

    async def never(self):
        while True:
            eventlet.sleep(0)
            await asyncio.sleep(0)

    async def until(self, future):
        while not future.done():
            await asyncio.sleep(0)
            eventlet.sleep(0)
        return future.result()


Case = Callable[[Any], Awaitable[None]]


def case(function: Case) -> Case:
    """Decorator: a coroutine function that is given a way to wait."""
    for way in (Await, Green, Bridge, Both):
        cases.add('%s:%s' % (function.__name__, way.__name__),
                  lambda way=way: aiohub.await_(function(way())))
    return function


def calm():
    task = asyncio.current_task()
    return not task.cancelling() and not task.cancelled()


async def turns(count=10):
    for _ in range(count):
        await asyncio.sleep(0)
        eventlet.sleep(0)


class Stop(Exception):
    pass


async def started(coro):
    """Return a task that waits for ever in what it was to do."""
    task = asyncio.create_task(coro)
    await turns(5)
    assert not task.done()
    return task
