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

"""Operations that cross from one world to the other, both ways."""

import asyncio
import queue
import socket
import threading
import time

import eventlet
from eventlet import event
import greenlet

import aiohub
import operation

_lock = threading.Lock()


@operation.operation(10)
async def green_calls(number: int) -> int:
    """A task makes blocking calls of many kinds, with awaits between."""
    items: queue.Queue[int] = queue.Queue()
    near, far = socket.socketpair()

    async def other() -> None:
        time.sleep(0.001)
        await asyncio.sleep(0)
        items.put(number)
        with far:
            far.sendall(far.recv(100))

    with near:
        task = asyncio.create_task(other())
        with _lock:
            eventlet.sleep(0)
        near.sendall(b'%d' % items.get())
        await asyncio.sleep(0)
        echo = int(near.recv(100))
        await task
    return operation.answer(echo)


@operation.operation(10)
def there_and_back(number: int) -> int:
    """Green code waits for a coroutine, which waits for green code."""
    async def middle() -> int:
        return await aiohub.greenlet_to_future(
            eventlet.spawn(aiohub.await_, operation.compute(number)))

    async def both() -> list[int]:
        return list(await asyncio.gather(
            aiohub.sync_to_async(operation.compute_green)(number),
            operation.compute(number)))

    waiter = aiohub.future_to_greenlet(middle())
    answers = aiohub.await_(both())
    result = waiter.wait()
    operation.check('answers', answers, [result, result])
    return int(result)


@operation.operation(10)
async def timeouts(number: int) -> int:
    """Timeouts of both worlds around waits of the other."""
    for wait in event.Event().wait, queue.Queue[int]().get:
        try:
            async with asyncio.timeout(0.001):
                wait()
            raise operation.never('woken by nobody')
        except TimeoutError:
            pass
    limit = eventlet.Timeout(number % 3 / 1000)
    try:
        await asyncio.Event().wait()
    except eventlet.Timeout as exc:
        operation.check('Timeout', exc, limit)
    finally:
        limit.cancel()
    return operation.answer(number)


class Waits:
    """Waits until it is made to end, and for its cleanup, too."""

    begun = ended = False

    async def asyncio(self) -> None:
        self.begun = True
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0)
            self.ended = True

    def green(self) -> None:
        self.begun = True
        try:
            time.sleep(30)
        finally:
            eventlet.sleep(0)
            self.ended = True

    async def both(self) -> None:
        self.green()

    def check(self) -> None:
        operation.check('cleanup', self.ended, self.begun)


@operation.operation(10)
def kill(number: int) -> int:
    """A green thread is killed while it waits for a coroutine."""
    waits = Waits()
    thread = (aiohub.future_to_greenlet(waits.asyncio()) if number % 2
              else eventlet.spawn(lambda: aiohub.await_(waits.asyncio())))
    for _ in range(number % 4):
        eventlet.sleep(0)
    thread.kill()
    try:
        result = thread.wait()
    except greenlet.GreenletExit:
        result = 'killed'
    operation.check('the green thread', result, 'killed')
    waits.check()
    return operation.answer(number)


@operation.operation(10)
def timeout(number: int) -> int:
    """A Timeout ends a wait for a coroutine, which cleans up first."""
    waits = Waits()
    limit = eventlet.Timeout(number % 4 / 1000)
    try:
        aiohub.await_(waits.asyncio())
    except eventlet.Timeout as exc:
        operation.check('Timeout', exc, limit)
    finally:
        limit.cancel()
    waits.check()
    return operation.answer(number)


@operation.operation(20)
async def cancel(number: int) -> int:
    """A task is cancelled in a green call, or waiting for a green thread."""
    waits = Waits()
    task = asyncio.create_task(
        waits.both() if number % 2
        else aiohub.sync_to_async(waits.green)())
    for _ in range(number % 5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    operation.check('the task is cancelled', task.cancelled(), True)
    waits.check()
    return operation.answer(number)
