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

"""What asyncio promises to tasks that wait for each other.

``asyncio.timeout()``, ``TaskGroup``, ``shield()``, ``gather()``, with green
calls inside. Each case is tried with all ways to wait.
"""

import asyncio
import sys

import cases
import mode
import ways

case = ways.case
CancelledError = asyncio.CancelledError


# -- timeouts

@case
async def timeout(way):
    for seconds in (ways.SOON, 0, -1):
        try:
            async with asyncio.timeout(seconds) as limit:
                await way.never()
        except TimeoutError as exc:
            # The cause since 3.11.3 (gh-102780).
            cause = (exc.__cause__ if sys.version_info >= (3, 11, 3)
                     else exc.__context__)
            assert isinstance(cause, CancelledError)
        else:
            raise AssertionError
        assert limit.expired() and ways.calm()
        await way.turn()


@case
async def timeout_not_due(way):
    async with asyncio.timeout(ways.LATE) as limit:
        for _ in range(3):
            await way.turn()
    assert not limit.expired() and ways.calm()


@case
async def timeout_rescheduled(way):
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            loop.call_soon(lambda: limit.reschedule(loop.time()))
            await way.never()
    except TimeoutError:
        assert limit.expired() and ways.calm()
    else:
        raise AssertionError


@case
async def timeout_swallowed(way):
    async with asyncio.timeout(ways.SOON) as limit:
        try:
            await way.never()
        except CancelledError:
            assert asyncio.current_task().cancelling() == 1
            await way.turn()
    assert limit.expired() and ways.calm()


@case
async def timeout_nested(way):
    async with asyncio.timeout(ways.LATE) as outer:
        for _ in range(2):
            try:
                async with asyncio.timeout(ways.SOON):
                    async with asyncio.timeout(ways.LATE) as inner:
                        await way.never()
            except TimeoutError:
                assert not inner.expired() and ways.calm()
            else:
                raise AssertionError
            await way.turn()
    assert not outer.expired()


@case
async def timeout_of_the_outer(way):
    try:
        async with asyncio.timeout(ways.SOON) as outer:
            try:
                async with asyncio.timeout(ways.LATE) as inner:
                    await way.never()
            finally:
                await way.turn()
    except TimeoutError:
        assert outer.expired() and not inner.expired() and ways.calm()
    else:
        raise AssertionError
    await way.turn()


@case
async def timeout_and_cancel(way):
    """Who cancels from outside is not taken for the timeout."""
    async def wait():
        async with asyncio.timeout(ways.LATE):
            await way.never()

    task = await ways.started(wait())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@case
async def wait_for(way):
    clean = []

    async def wait():
        try:
            await way.never()
        finally:
            await way.turn()
            clean.append(1)

    try:
        await asyncio.wait_for(wait(), ways.SOON)
    except TimeoutError:
        assert clean and ways.calm()
    else:
        raise AssertionError
    await asyncio.wait_for(way.turn(), ways.LATE)


# -- task groups

@case
async def group(way):
    async def work(number):
        for _ in range(number):
            await way.turn()
        return number

    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(work(number)) for number in range(5)]
        await way.turn()
        made.append(tasks.create_task(work(7)))
    assert [task.result() for task in made] == [0, 1, 2, 3, 4, 7]
    assert ways.calm()


async def fail_after(way):
    await way.turn()
    raise ways.Stop


@case
async def group_with_failing_child(way):
    """The body, and the other children, are cancelled where they wait."""
    clean = []

    async def wait(name):
        try:
            await way.never()
        finally:
            await way.turn()
            clean.append(name)

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(wait('first'))
            tasks.create_task(fail_after(way))
            tasks.create_task(wait('second'))
            await wait('body')
    except* ways.Stop as group:
        assert len(group.exceptions) == 1
    assert sorted(clean) == ['body', 'first', 'second'] and ways.calm()
    await way.turn()


@case
async def group_with_failing_body(way):
    clean = []

    async def wait():
        try:
            await way.never()
        finally:
            await way.turn()
            clean.append(1)

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(wait())
            # A green call alone does not let the other begin.
            await asyncio.sleep(0)
            await fail_after(way)
    except* ways.Stop:
        pass
    assert clean and ways.calm()


@case
async def group_in_group(way):
    try:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(fail_after(way))
            async with asyncio.TaskGroup() as inner:
                inner.create_task(way.never())
                await way.never()
    except* ways.Stop:
        pass
    assert ways.calm()
    await way.turn()


@case
async def group_cancelled(way):
    children = []

    async def wait():
        async with asyncio.TaskGroup() as tasks:
            children.append(tasks.create_task(way.never()))
            await way.never()

    task = await ways.started(wait())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() and children[0].cancelled()


# -- shield(), gather(), wait()

@case
async def shield(way):
    inner = asyncio.create_task(way.until(
        future := asyncio.get_running_loop().create_future()))

    async def wait():
        try:
            await way.until(asyncio.shield(inner))
        except CancelledError:
            assert not inner.done()
            await way.turn()
            raise

    outer = await ways.started(wait())
    outer.cancel()
    await asyncio.wait([outer])
    assert outer.cancelled() and not inner.done()
    future.set_result('result')
    assert await inner == 'result'


@case
async def shield_to_the_end(way):
    """The pattern of cleanup that must not be interrupted."""
    async def cleanup():
        for _ in range(3):
            await way.turn()
        return 'clean'

    async def wait():
        inner = asyncio.create_task(cleanup())
        while not inner.done():
            try:
                await way.until(asyncio.shield(inner))
            except CancelledError:
                pass
        return inner.result()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert await task == 'clean'


@case
async def gather(way):
    async def work(number):
        await way.turn()
        if number == 2:
            raise ways.Stop
        return number

    results = await asyncio.gather(
        *map(work, range(4)), return_exceptions=True)
    assert isinstance(results.pop(2), ways.Stop) and results == [0, 1, 3]

    async def wait():
        await asyncio.gather(way.never(), way.never())

    waiting = await ways.started(wait())
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


@case
async def wait(way):
    tasks = [asyncio.create_task(way.turn()),
             asyncio.create_task(way.never())]
    done, pending = await asyncio.wait(
        tasks, return_when=asyncio.FIRST_COMPLETED)
    assert (done, pending) == ({tasks[0]}, {tasks[1]})
    done, pending = await asyncio.wait(tasks, timeout=ways.SOON)
    assert pending == {tasks[1]}
    tasks[1].cancel()
    await asyncio.wait(tasks)


# -- asyncio's own locks and queues beside green calls

@case
async def lock(way):
    lock, holders = asyncio.Lock(), []

    async def hold():
        async with lock:
            assert not holders
            holders.append(1)
            await way.turn()
            holders.clear()

    tasks = [asyncio.create_task(hold()) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks].count(True) == 1
    assert not lock.locked()


@case
async def asynchronous_generator(way):
    clean = []

    async def count():
        try:
            for number in range(5):
                await way.turn()
                yield number
        finally:
            await way.turn()
            clean.append(1)

    assert [number async for number in count()] == [0, 1, 2, 3, 4]
    generator = count()
    assert await anext(generator) == 0
    await generator.aclose()
    assert clean == [1, 1]


cases.run_all()
mode.done()
