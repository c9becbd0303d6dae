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

"""Tasks are green however they are made, and whatever they are made of.

With the functions and classes of asyncio; of coroutines, generators, and
objects that behave like them.
"""

import asyncio
import contextvars
import inspect
import sys
import types

import cases
import green_kinds
import meanwhile
import mode

import aiohub
import eventlet
from eventlet import event

variable = contextvars.ContextVar('variable', default=None)
loop = aiohub.get_loop()
in_task = meanwhile.in_task
others_go_on = meanwhile.others_go_on
work = meanwhile.work


class Stop(Exception):
    pass


def is_done(task):
    assert task.result() == 1
    return True


# -- with what they are made

@in_task
async def by_create_task():
    assert await asyncio.create_task(work()) == 1
    assert await asyncio.get_running_loop().create_task(work()) == 1
    assert await asyncio.ensure_future(work()) == 1
    assert await asyncio.ensure_future(work(), loop=loop) == 1
    task = asyncio.create_task(work())
    assert asyncio.ensure_future(task) is task
    await task


@in_task
async def by_the_class():
    for cls in (asyncio.Task, asyncio.tasks.Task):
        task = cls(work(), loop=loop)
        assert isinstance(task, asyncio.Task) and await task == 1
        task = cls(work(), name='mine', context=contextvars.Context())
        assert task.get_name() == 'mine' and await task == 1


@in_task
async def by_a_class_of_its_own():
    task = green_kinds.OwnTask(work(), loop=loop)
    assert task.own and isinstance(task, asyncio.Task)
    assert await task == 1


@in_task
async def by_gather():
    assert await asyncio.gather(work(), work(2), work(3)) == [1, 2, 3]


@in_task
async def by_group():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work()) for _ in range(3)]
        await work()
    assert all(map(is_done, tasks))


@in_task
async def by_wait_for():
    assert await asyncio.wait_for(work(), 60) == 1
    async with asyncio.timeout(60):
        assert await work() == 1
    assert await asyncio.shield(work()) == 1
    assert [await one for one in asyncio.as_completed(
        [work(), work()])] == [1, 1]


@in_task
async def by_a_thread():
    def run():
        # After patching, the futures of threads wait greenly.
        if not mode.PATCHED:
            future = asyncio.run_coroutine_threadsafe(work(), loop)
            assert future.result(60) == 1
        return aiohub.from_thread.run(work)

    assert await asyncio.to_thread(run) == 1


@in_task
async def by_the_bridge():
    assert aiohub.await_(work()) == 1
    assert eventlet.spawn(aiohub.await_, work()).wait() == 1
    assert aiohub.spawn_for_awaitable(work()).wait() == 1
    assert aiohub.async_to_sync(work)() == 1


@in_task
async def by_callbacks():
    tasks = []
    loop.call_soon(lambda: tasks.append(loop.create_task(work())))
    loop.call_later(0, lambda: tasks.append(asyncio.create_task(work())))
    loop.call_soon_threadsafe(
        lambda: tasks.append(asyncio.ensure_future(work())))
    eventlet.spawn_n(lambda: tasks.append(loop.create_task(work())))
    while len(tasks) < 4:
        await asyncio.sleep(0)
    await asyncio.wait(tasks)
    assert all(map(is_done, tasks))


@in_task
async def names():
    task = asyncio.create_task(work(), name='mine')
    assert task.get_name() == 'mine' and "name='mine'" in repr(task)
    task.set_name('other')
    await task
    assert task.get_name() == 'other'
    task = asyncio.create_task(work())
    assert task.get_name().startswith('Task-')
    await task


@in_task
async def what_a_task_says():
    coro = work()
    task = asyncio.create_task(coro)
    made = task.get_coro()
    assert asyncio.iscoroutine(made) and inspect.isawaitable(made)
    assert made.__name__ == 'work' == made.__qualname__
    assert 'work' in repr(task) and 'work' in repr(made)
    await task
    try:
        made.send(None)
    except RuntimeError as exc:
        assert 'cannot reuse' in str(exc), exc
    else:
        raise AssertionError


@in_task
async def what_may_be_asked():
    """All that a coroutine has, at each time, is as the coroutine says."""
    async def waits():
        await asyncio.sleep(0)

    coro = waits()
    task = asyncio.create_task(coro)
    made = task.get_coro()
    for _ in range(3):
        for name in set(dir(types.CoroutineType)) - set(dir(object)):
            if name.startswith('cr_') or name in (
                    '__name__', '__qualname__'):
                assert getattr(made, name) == getattr(coro, name), name
            else:
                assert hasattr(made, name) or name in (
                    '__del__', '__class_getitem__'), name
        assert made.cr_code is waits.__code__
        await asyncio.sleep(0)
    assert made.cr_frame is made.cr_await is None and task.done()
    for name in ('gi_frame', 'nothing'):
        assert not hasattr(made, name), name


@in_task
async def what_may_be_asked_of_others():
    """What no coroutine has may be asked of one of another kind."""
    class Compiled(green_kinds.Compiled):
        more = 1

    task = asyncio.create_task(Compiled(work()))
    made = task.get_coro()
    assert made.more == 1 and made.__qualname__ == 'compiled'
    assert not hasattr(made, 'cr_await') and not hasattr(made, 'nothing')
    assert made.cr_frame is None
    await task
    nameless = Compiled(work())
    del nameless.__name__, nameless.__qualname__
    task = asyncio.create_task(nameless)
    assert not hasattr(task.get_coro(), '__qualname__')
    assert 'without __name__' in repr(task), task
    await task
    if sys.version_info < (3, 12):
        coro = generator()
        task = asyncio.create_task(coro)
        assert task.get_coro().gi_frame is coro.gi_frame is not None
        await task


@in_task
async def contexts():
    context = contextvars.Context()

    async def count():
        value = (variable.get() or 0) + 1
        others_go_on()
        await asyncio.sleep(0)
        variable.set(value)
        eventlet.sleep(0)
        assert variable.get() == value
        return asyncio.create_task(look())

    async def look():
        eventlet.sleep(0)
        return variable.get()

    variable.set('outer')
    for number in range(1, 4):
        task = await asyncio.create_task(count(), context=context)
        assert context[variable] == number == await task
    assert variable.get() == 'outer'


@in_task
async def shared_context():
    """Of two tasks that wait in turns: what one sets, the other sees."""
    context = contextvars.Context()
    turns = []

    async def take_turns(name):
        for _ in range(5):
            eventlet.sleep(0)
            variable.set(name)
            assert variable.get() == name
            await asyncio.sleep(0)
            turns.append((name, variable.get()))
            done = event.Event()
            loop.call_soon(done.send)
            done.wait()
            turns.append((name, variable.get()))

    await asyncio.gather(*(
        asyncio.create_task(take_turns(name), context=context)
        for name in 'abcde'))
    assert any(name != value for name, value in turns), turns
    assert context[variable] in 'abcde' and variable.get() is None


@in_task
async def shared_context_in_use():
    """A task is woken while another one runs in their context."""
    context = contextvars.copy_context()
    done = [event.Event() for _ in range(3)]

    async def wait(number):
        assert done[number].wait() == 'result'
        await asyncio.sleep(0)
        return number

    async def wake():
        for one in done:
            one.send('result')
        # They are woken by the hub; it comes here while this one is waiting.
        eventlet.sleep(0)
        await asyncio.sleep(0)
        return 3

    tasks = [asyncio.create_task(wait(number), context=context)
             for number in range(3)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(wake(), context=context))
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3]


# -- of what they are made

@types.coroutine
def generator(value=1):
    who = meanwhile.Who()
    others_go_on()
    who.check()
    yield
    who.check()
    yield from asyncio.sleep(0).__await__()
    who.check()
    return (yield from work(value).__await__())


class Awaitable:
    def __await__(self):
        meanwhile.Who()
        others_go_on()
        return (yield from work().__await__())


@in_task
async def of_generators():
    assert await generator() == 1
    assert await asyncio.gather(generator(), generator(2)) == [1, 2]
    assert await asyncio.ensure_future(generator()) == 1
    assert aiohub.await_(generator()) == 1
    if sys.version_info < (3, 12):
        # Since then that is no coroutine for asyncio.
        assert await asyncio.create_task(generator()) == 1


@in_task
async def of_awaitables():
    assert await Awaitable() == 1
    assert await asyncio.gather(Awaitable(), Awaitable()) == [1, 1]
    assert await asyncio.wait_for(Awaitable(), 60) == 1


@in_task
async def of_compiled_coroutines():
    assert await asyncio.create_task(green_kinds.Compiled(work())) == 1
    assert await green_kinds.Compiled(work()) == 1
    task = asyncio.create_task(green_kinds.Compiled(work()))
    await asyncio.sleep(0)
    assert 'compiled' in repr(task), repr(task)
    task.get_stack()
    task.print_stack(file=cases.io.StringIO())
    await task
    task = asyncio.create_task(green_kinds.Compiled(asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@in_task
async def of_compiled_that_fail():
    async def fail(wait):
        await work()
        if wait:
            eventlet.sleep(0)
        raise Stop

    for wait in (True, False):
        for coro in (fail(wait), green_kinds.Compiled(fail(wait))):
            task = asyncio.create_task(coro)
            await asyncio.wait([task])
            assert isinstance(task.exception(), Stop)


@in_task
async def of_asynchronous_generators():
    async def count():
        for number in range(3):
            yield await work(number)

    numbers = count()
    assert await asyncio.ensure_future(anext(numbers)) == 0
    assert await asyncio.gather(anext(numbers, None)) == [1]
    assert [number async for number in numbers] == [2]


@in_task
async def of_what_is_no_coroutine():
    """asyncio's errors are what they were."""
    for wrong in (1, None, asyncio.sleep, Awaitable()):
        try:
            asyncio.create_task(wrong)
        except TypeError as exc:
            assert 'a coroutine was expected' in str(exc), exc
        else:
            raise AssertionError


@in_task
async def that_raise():
    """Before and after they wait, with every kind of exception."""
    class OwnBase(BaseException):
        pass

    async def fail(error, count):
        for _ in range(count):
            eventlet.sleep(0)
        raise error

    for count in (0, 1):
        for cls in (Stop, OwnBase, ValueError, GeneratorExit, TimeoutError):
            error = cls()
            task = asyncio.create_task(fail(error, count))
            await asyncio.wait([task])
            assert task.exception() is error
        task = asyncio.create_task(fail(asyncio.CancelledError(), count))
        await asyncio.wait([task])
        assert task.cancelled()
        for cls in (StopIteration, StopAsyncIteration):
            task = asyncio.create_task(fail(cls(1), count))
            await asyncio.wait([task])
            assert isinstance(task.exception(), (RuntimeError, cls))


@in_task
async def that_return_at_once():
    async def value(value):
        return value

    for one in (1, None, Stop(), StopIteration(1), (), (1, 2)):
        assert await asyncio.create_task(value(one)) is one
        assert aiohub.await_(value(one)) is one


@in_task
async def that_yield_nonsense():
    @types.coroutine
    def nonsense(what):
        try:
            yield what
        except RuntimeError as exc:
            eventlet.sleep(0)
            return str(exc)

    async def run(what):
        return await nonsense(what)

    assert 'Task got bad yield: 7' in await asyncio.create_task(run(7))
    future = asyncio.new_event_loop().create_future()
    future.get_loop().close()
    future._asyncio_future_blocking = True
    assert 'different loop' in await asyncio.create_task(run(future))


# In the main greenlet, as the main task of a program; the hub may not have
# run yet.
assert aiohub.await_(work()) == 1
cases.run_all()
mode.done()
