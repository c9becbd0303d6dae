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

"""Operations of tasks alone, in asyncio's own terms."""

import asyncio
import random
import sys

import aiohttp

import operation


@operation.operation(10)
async def timers(number: int) -> int:
    """Timers run in their order, and those that are cancelled do not."""
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    handles = [loop.call_later(place / 1000, seen.append, place)
               for place in range(10)]
    cancelled = random.Random(number).sample(range(10), 4)
    for place in cancelled:
        handles[place].cancel()
    done = loop.create_future()
    loop.call_later(0.015, done.set_result, operation.answer(number))
    result: int = await done
    operation.check('timers', seen, [
        place for place in range(10) if place not in cancelled])
    return result


@operation.operation(10)
async def timeout(number: int) -> int:
    """Each timeout ends the wait that it is for."""
    async with asyncio.timeout(30):
        try:
            async with asyncio.timeout(number % 5 / 1000):
                await asyncio.Event().wait()
            raise operation.never('an event that nobody has set')
        except TimeoutError:
            pass
        try:
            await asyncio.wait_for(asyncio.Queue[int]().get(), 0.001)
            raise operation.never('an item out of an empty queue')
        except TimeoutError:
            return operation.answer(number)


@operation.operation(10)
async def cancel(number: int) -> int:
    """One task of a group is cancelled, and the others are not."""
    ended: set[int] = set()
    lock = asyncio.Lock()
    victim = number % 4
    begin = number % 3 > 0  # otherwise it is cancelled before it begins

    async def wait(place: int) -> int:
        try:
            async with lock:
                await asyncio.sleep(0.001)
            return place
        finally:
            ended.add(place)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait(place)) for place in range(4)]
        if begin:
            await asyncio.sleep(0)
        tasks[victim].cancel()
    for place, task in enumerate(tasks):
        operation.check(f'task {place} is cancelled', task.cancelled(),
                        place == victim)
        if place != victim:
            operation.check(f'task {place}', task.result(), place)
    operation.check('those that have ended', ended,
                    {0, 1, 2, 3} - (set() if begin else {victim}))
    return operation.answer(number)


@operation.operation(10)
async def http(number: int) -> int:
    """Ask the server of the green side."""
    url = f'{operation.doors["green"]}/green-timeout/{number}'
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            return int(await response.text())


@operation.operation(1)
async def process(number: int) -> int:
    """Have another program compute the answer."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, '-S', '-c',
        'print(int(input()) * 2654435761 % 2 ** 32)',
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate(b'%d\n' % number)
    operation.check('exit status', child.returncode, 0)
    return int(output)
