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

"""What asyncio promises to a task holds before, in and after a green call.

Its current task, context variables, ``asyncio.timeout()``, ``TaskGroup``,
``cancel()`` and ``uncancel()``, ``shield()``. Each case is tried with all
ways to wait, so that a green call does what an ``await`` would do.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import contextvars
import decimal
import sys
from typing import Any

import cases
import meanwhile
import mode

import aiohub
import eventlet
from eventlet import event

#: Seconds of a timeout that is to fire, and of one that is not.
SOON, LATE = 0.002, 600

CancelledError = asyncio.CancelledError
variable = contextvars.ContextVar('variable', default=0)


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


# -- the current task, and context variables

@case
async def current_task(way):
    async def check():
        who = meanwhile.Who()
        for _ in range(5):
            await way.turn()
            who.check()
            assert who.task in asyncio.all_tasks()
        return who.task

    tasks = []
    tasks += [asyncio.create_task(check()) for _ in range(10)]
    assert await asyncio.gather(*tasks) == tasks


@case
async def no_task_in_others(way):
    """Callbacks and green threads have none while a task waits."""
    loop = asyncio.get_running_loop()
    seen = []

    def look():
        seen.append((asyncio.current_task(), variable.get()))

    variable.set(1)
    loop.call_soon(look)
    loop.call_soon(look, context=contextvars.Context())
    eventlet.spawn_n(look)
    loop.call_later(0, look)
    while len(seen) < 4:
        await way.turn()
    assert sorted(seen, key=str) == sorted(
        [(None, 1), (None, 0), (None, 0), (None, 1)], key=str), seen


@case
async def context_variables(way):
    async def set_and_wait(value):
        for number in range(5):
            variable.set((value, number))
            await way.turn()
            assert variable.get() == (value, number)
        token = variable.set('other')
        await way.turn()
        variable.reset(token)
        assert variable.get() == (value, 4)

    variable.set('mine')
    await asyncio.gather(*(set_and_wait(value) for value in range(10)))
    assert variable.get() == 'mine'
    await set_and_wait(0)
    # It is no task of its own, so it has set ours.
    assert variable.get() == (0, 4)


@case
async def decimal_context(way):
    async def divide(digits):
        with decimal.localcontext() as context:
            context.prec = digits
            await way.turn()
            return str(decimal.Decimal(1) / 3)

    assert await asyncio.gather(*map(divide, range(1, 9))) == [
        '0.' + '3' * digits for digits in range(1, 9)]


@case
async def context_run(way):
    """A function that the task calls in another context waits greenly."""
    context = contextvars.copy_context()

    def change():
        variable.set(1)
        eventlet.sleep(0)
        assert variable.get() == 1
        aiohub.await_(way.turn())
        assert variable.get() == 1
        return asyncio.create_task(check())

    async def check():
        await way.turn()
        assert variable.get() == 1

    task = context.run(change)
    assert variable.get() == 0
    await way.turn()
    assert variable.get() == 0 and context[variable] == 1
    await task
    # Not in use any more.
    assert context.run(variable.get) == 1


@case
async def exception_that_is_handled(way):
    """sys.exception() belongs to the task."""
    async def handle(number):
        try:
            raise Stop(number)
        except Stop as exc:
            for _ in range(3):
                await way.turn()
                assert sys.exc_info()[1] is exc
            try:
                raise ValueError
            except ValueError as other:
                await way.turn()
                assert other.__context__ is exc
        assert sys.exc_info()[1] is None
        await way.turn()
        assert sys.exc_info()[1] is None

    await asyncio.gather(*map(handle, range(5)))
    assert sys.exc_info()[1] is None


# -- cancel(), uncancel()

async def started(coro):
    """Return a task that waits for ever in what it was to do."""
    task = asyncio.create_task(coro)
    await turns(5)
    assert not task.done()
    return task


@case
async def cancel(way):
    seen = []

    async def wait():
        try:
            await way.never()
        except CancelledError as exc:
            seen.append((exc.args, asyncio.current_task().cancelling()))
            await way.turn()
            raise

    task = await started(wait())
    assert task.cancel('because')
    assert not task.done()
    try:
        await task
    except CancelledError as exc:
        assert exc.args == ('because',)
    assert task.cancelled() and seen == [(('because',), 1)]
    assert calm()


@case
async def cancel_twice(way):
    async def wait():
        try:
            await way.never()
        except CancelledError:
            assert asyncio.current_task().cancelling() == 2
        await way.turn()
        await way.turn()
        return 'done'

    task = await started(wait())
    assert task.cancel() and task.cancel()
    assert await task == 'done' and not task.cancelled()
    assert not task.cancel()


@case
async def cancel_again(way):
    """Each time where it waits."""
    count = 0

    async def wait():
        nonlocal count
        while count < 4:
            try:
                await way.never()
            except CancelledError:
                count += 1
                assert asyncio.current_task().cancelling() == count
        await way.turn()

    task = await started(wait())
    while count < 4:
        task.cancel()
        await turns(3)
    await task


@case
async def uncancel(way):
    async def wait():
        task = asyncio.current_task()
        for _ in range(3):
            try:
                await way.never()
            except CancelledError:
                assert task.cancelling() == 1
                await way.turn()
                assert task.uncancel() == 0
            await way.turn()
            assert calm()
        return 'done'

    task = await started(wait())
    while not task.done():
        task.cancel()
        await turns()
    assert task.result() == 'done'


@case
async def cancel_itself(way):
    """It is raised where it waits next."""
    async def wait():
        asyncio.current_task().cancel()
        try:
            await way.turn()
            # A green call that has got what it waited for goes first.
            await way.turn()
        except CancelledError:
            assert asyncio.current_task().uncancel() == 0
        else:
            raise AssertionError
        await way.turn()
        await way.turn()
        asyncio.current_task().cancel()
        await way.never()

    task = asyncio.create_task(wait())
    await asyncio.wait([task])
    assert task.cancelled()


@case
async def cancel_itself_at_the_end(way):
    async def run():
        await way.turn()
        asyncio.current_task().cancel()
        return 'done'

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    assert task.cancelled()


@case
async def cancel_before_it_starts(way):
    began = []

    async def run():
        began.append(1)
        await way.never()

    task = asyncio.create_task(run())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() and not began


@case
async def cancel_and_result_at_once(way):
    """As asyncio does: cancelled first, or what it waited for first."""
    for cancel_first in (True, False):
        future = asyncio.get_running_loop().create_future()
        task = await started(way.until(future))
        if cancel_first:
            task.cancel()
            if not future.done():
                future.set_result('result')
        else:
            future.set_result('result')
            task.cancel()
        await asyncio.wait([task])
        # Whatever comes first, the cancellation is not lost.
        assert task.cancelled() or task.cancelling() == 1


# -- timeouts

@case
async def timeout(way):
    for seconds in (SOON, 0, -1):
        try:
            async with asyncio.timeout(seconds) as limit:
                await way.never()
        except TimeoutError as exc:
            assert isinstance(exc.__cause__, CancelledError)
        else:
            raise AssertionError
        assert limit.expired() and calm()
        await way.turn()


@case
async def timeout_not_due(way):
    async with asyncio.timeout(LATE) as limit:
        for _ in range(3):
            await way.turn()
    assert not limit.expired() and calm()


@case
async def timeout_rescheduled(way):
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            loop.call_soon(lambda: limit.reschedule(loop.time()))
            await way.never()
    except TimeoutError:
        assert limit.expired() and calm()
    else:
        raise AssertionError


@case
async def timeout_swallowed(way):
    async with asyncio.timeout(SOON) as limit:
        try:
            await way.never()
        except CancelledError:
            assert asyncio.current_task().cancelling() == 1
            await way.turn()
    assert limit.expired() and calm()


@case
async def timeout_nested(way):
    async with asyncio.timeout(LATE) as outer:
        for _ in range(2):
            try:
                async with asyncio.timeout(SOON):
                    async with asyncio.timeout(LATE) as inner:
                        await way.never()
            except TimeoutError:
                assert not inner.expired() and calm()
            else:
                raise AssertionError
            await way.turn()
    assert not outer.expired()


@case
async def timeout_of_the_outer(way):
    try:
        async with asyncio.timeout(SOON) as outer:
            try:
                async with asyncio.timeout(LATE) as inner:
                    await way.never()
            finally:
                await way.turn()
    except TimeoutError:
        assert outer.expired() and not inner.expired() and calm()
    else:
        raise AssertionError
    await way.turn()


@case
async def timeout_and_cancel(way):
    """Who cancels from outside is not taken for the timeout."""
    async def wait():
        async with asyncio.timeout(LATE):
            await way.never()

    task = await started(wait())
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
        await asyncio.wait_for(wait(), SOON)
    except TimeoutError:
        assert clean and calm()
    else:
        raise AssertionError
    await asyncio.wait_for(way.turn(), LATE)


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
    assert calm()


async def fail_after(way):
    await way.turn()
    raise Stop


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
    except* Stop as group:
        assert len(group.exceptions) == 1
    assert sorted(clean) == ['body', 'first', 'second'] and calm()
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
    except* Stop:
        pass
    assert clean and calm()


@case
async def group_in_group(way):
    try:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(fail_after(way))
            async with asyncio.TaskGroup() as inner:
                inner.create_task(way.never())
                await way.never()
    except* Stop:
        pass
    assert calm()
    await way.turn()


@case
async def group_cancelled(way):
    children = []

    async def wait():
        async with asyncio.TaskGroup() as tasks:
            children.append(tasks.create_task(way.never()))
            await way.never()

    task = await started(wait())
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

    outer = await started(wait())
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
            raise Stop
        return number

    results = await asyncio.gather(
        *map(work, range(4)), return_exceptions=True)
    assert isinstance(results.pop(2), Stop) and results == [0, 1, 3]

    async def wait():
        await asyncio.gather(way.never(), way.never())

    waiting = await started(wait())
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
    done, pending = await asyncio.wait(tasks, timeout=SOON)
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
