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

Its current task, its context variables, ``cancel()`` and ``uncancel()``. Each
case is tried with all ways to wait.
"""

import asyncio
import contextvars
import decimal
import sys

import cases
import meanwhile
import mode
import ways

import aiohub
import eventlet

case = ways.case
CancelledError = asyncio.CancelledError
variable = contextvars.ContextVar('variable', default=0)


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
            raise ways.Stop(number)
        except ways.Stop as exc:
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

    task = await ways.started(wait())
    assert task.cancel('because')
    assert not task.done()
    try:
        await task
    except CancelledError as exc:
        assert exc.args == ('because',)
    assert task.cancelled() and seen == [(('because',), 1)]
    assert ways.calm()


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

    task = await ways.started(wait())
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

    task = await ways.started(wait())
    while count < 4:
        task.cancel()
        await ways.turns(3)
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
            assert ways.calm()
        return 'done'

    task = await ways.started(wait())
    while not task.done():
        task.cancel()
        await ways.turns()
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
        task = await ways.started(way.until(future))
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


cases.run_all()
mode.done()
