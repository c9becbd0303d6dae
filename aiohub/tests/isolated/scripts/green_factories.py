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

"""Tasks are green with a task factory of the program, and if they are eager.
"""

import asyncio
import contextvars
import sys
from typing import Any

import cases
import green_kinds
import meanwhile
import mode

import aiohub
import eventlet

variable = contextvars.ContextVar('variable', default=None)
loop = aiohub.get_loop()
in_task = meanwhile.in_task
others_go_on = meanwhile.others_go_on
work = meanwhile.work


class Stop(Exception):
    pass


# -- a task factory of the program

def with_factory(factory):
    """Decorator: a case that is run with a task factory."""
    def decorate(function):
        async def run():
            loop.set_task_factory(factory)
            try:
                assert loop.get_task_factory() is not None
                await function()
            finally:
                loop.set_task_factory(None)
            assert loop.get_task_factory() is None

        cases.add(function.__name__, lambda: aiohub.await_(run()))
        return function

    return decorate


made: list[Any] = []


def plain(loop, coro, **kwargs):
    assert asyncio.iscoroutine(coro)
    made.append(coro.__qualname__)
    return asyncio.Task(coro, loop=loop, **kwargs)


@with_factory(plain)
async def factory():
    made.clear()
    assert await asyncio.create_task(work(), name='mine') == 1
    assert 'work' in made
    made.clear()
    assert await asyncio.gather(work(), work()) == [1, 1]
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
    context = contextvars.copy_context()
    assert await asyncio.create_task(work(), context=context) == 1
    assert made.count('work') == 4


def without_context(loop, coro):
    """As they were before 3.11; it is called without a context."""
    return asyncio.Task(coro, loop=loop)


if sys.version_info < (3, 13, 3):
    @with_factory(without_context)
    async def factory_without_context():
        assert await asyncio.create_task(work()) == 1
        assert await asyncio.create_task(work(), name='mine') == 1
        assert await asyncio.gather(work(), work()) == [1, 1]


def own_class(loop, coro, **kwargs):
    return green_kinds.OwnTask(coro, loop=loop, **kwargs)


@with_factory(own_class)
async def factory_of_own_class():
    task = asyncio.create_task(work())
    assert task.own and await task == 1


def wrapping(loop, coro, **kwargs):
    """What tracing libraries do: a coroutine around each."""
    async def wrapper():
        # Before it, and after.
        eventlet.sleep(0)
        variable.set('wrapped')
        try:
            return await coro
        finally:
            made.append('wrapper')
            eventlet.sleep(0)

    return asyncio.Task(wrapper(), loop=loop, **kwargs)


@with_factory(wrapping)
async def factory_that_wraps():
    made.clear()
    assert await asyncio.create_task(work()) == 1
    assert await asyncio.gather(work(), work()) == [1, 1]
    assert made.count('wrapper') >= 3

    async def fail():
        assert variable.get() == 'wrapped'
        others_go_on()
        raise Stop

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    assert isinstance(task.exception(), Stop)
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    eventlet.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def chained(loop, coro, **kwargs):
    return plain(loop, green_kinds.Compiled(coro), **kwargs)


@with_factory(chained)
async def factory_that_chains():
    assert await asyncio.gather(work(), work()) == [1, 1]


def waiting(loop, coro, **kwargs):
    """A factory that makes a green call itself, in the task that calls it."""
    eventlet.sleep(0)
    return asyncio.Task(coro, loop=loop, **kwargs)


@with_factory(waiting)
async def factory_that_waits():
    assert await asyncio.create_task(work()) == 1


class Stepper(asyncio.Future):  # type: ignore[type-arg]
    """A task of another library, which asyncio does not know as one."""

    def __init__(self, loop, coro, **kwargs):
        super().__init__(loop=loop)
        self._coro = coro
        loop.call_soon(self._step)

    def set_name(self, name):
        pass

    def _step(self, done=None):
        try:
            awaited = self._coro.send(None)
        except StopIteration as exc:
            self.set_result(exc.value)
        except Exception as exc:
            self.set_exception(exc)
        else:
            if awaited is None:
                self.get_loop().call_soon(self._step)
            else:
                awaited.add_done_callback(self._step)


@with_factory(Stepper)
async def factory_of_no_tasks():
    async def green_calls():
        assert asyncio.current_task() is None
        me = eventlet.getcurrent()
        others_go_on()
        await asyncio.sleep(0)
        others_go_on()
        assert eventlet.getcurrent() is me
        return 1

    assert await asyncio.gather(
        *(asyncio.create_task(green_calls()) for _ in range(3))) == [1, 1, 1]

    async def fail():
        others_go_on()
        raise Stop

    try:
        await asyncio.create_task(fail())
    except Stop:
        pass
    else:
        raise AssertionError

    # Stopped where it waits, and just after what it waits for has come.
    for is_late in (False, True):
        here = loop.create_future()

        async def wait(here=here):
            awaited = loop.create_future()
            here.set_result((eventlet.getcurrent(), awaited))
            await awaited
            return 1

        stepper = asyncio.create_task(wait())
        green, awaited = await here

        def stop(is_late=is_late, green=green, awaited=awaited):
            if is_late:
                awaited.set_result(1)
            eventlet.kill(green, Stop())

        eventlet.spawn(stop)
        await asyncio.wait([stepper])
        assert isinstance(stepper.exception(), Stop), stepper


# -- eager tasks

async def park_at_once():
    who = meanwhile.Who()
    eventlet.sleep(0)
    who.check()
    return await work()


async def end_at_once():
    assert asyncio.current_task() is not None
    return 1


async def fail_at_once():
    raise Stop


async def await_at_once():
    who = meanwhile.Who()
    await asyncio.sleep(0)
    who.check()
    return await work()


async def nested():
    who = meanwhile.Who()
    tasks = [asyncio.create_task(function())
             for function in (park_at_once, end_at_once, await_at_once)]
    who.check()
    eventlet.sleep(0)
    who.check()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    return 1


async def spawn_at_once():
    who = meanwhile.Who()
    assert eventlet.spawn(int, 1).wait() == 1
    who.check()
    return 1


EAGER = (park_at_once, end_at_once, await_at_once, nested, spawn_at_once)


def check_eager(task, function):
    """It has been started when there is a task."""
    assert task.done() is (function is end_at_once), (task, function)


async def eager_in_task():
    who = meanwhile.Who()
    for function in EAGER:
        task = asyncio.create_task(function())
        who.check()
        check_eager(task, function)
        assert await task == 1
        who.check()
    task = asyncio.create_task(fail_at_once())
    who.check()
    assert isinstance(task.exception(), Stop)


async def eager_in_callback():
    tasks = []

    def make(function):
        assert asyncio.current_task() is None
        hub_greenlet = eventlet.getcurrent()
        task = loop.create_task(function())
        assert asyncio.current_task() is None
        assert eventlet.getcurrent() is hub_greenlet
        check_eager(task, function)
        tasks.append(task)

    for function in EAGER:
        loop.call_soon(make, function)
        loop.call_later(0, make, function)
    while len(tasks) < 2 * len(EAGER):
        await asyncio.sleep(0)
    assert set(await asyncio.gather(*tasks)) == {1}


async def eager_in_green_thread():
    def make():
        who = meanwhile.Who()
        for function in EAGER:
            task = loop.create_task(function())
            who.check()
            check_eager(task, function)
            assert aiohub.await_(task) == 1
            who.check()
        return 1

    threads = [eventlet.spawn(make) for _ in range(3)]
    for thread in threads:
        assert thread.wait() == 1


async def eager_contexts():
    context = contextvars.Context()

    async def set_and_wait(value):
        variable.set(value)
        others_go_on()
        assert variable.get() == value
        await asyncio.sleep(0)
        assert variable.get() == value
        return 1

    variable.set('outer')
    task = asyncio.create_task(set_and_wait('inner'))
    other = asyncio.create_task(set_and_wait('given'), context=context)
    assert variable.get() == 'outer' and context[variable] == 'given'
    assert await asyncio.gather(task, other) == [1, 1]
    assert variable.get() == 'outer'


async def eager_cancelled():
    for function in (park_at_once, await_at_once):
        task = asyncio.create_task(function())
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def eager_by_the_class():
    who = meanwhile.Who()
    for function in EAGER:
        task = asyncio.Task(function(), loop=loop, eager_start=True)
        who.check()
        check_eager(task, function)
        assert await task == 1


if sys.version_info >= (3, 12):
    class EagerTask(asyncio.Task):
        pass

    FACTORIES = (
        asyncio.eager_task_factory,
        asyncio.create_eager_task_factory(asyncio.Task),
        asyncio.create_eager_task_factory(EagerTask),
        lambda loop, coro, **kwargs: asyncio.Task(
            coro, loop=loop, eager_start=True, **kwargs))
    for number, eager_factory in enumerate(FACTORIES):
        for function in (eager_in_task, eager_in_callback,
                         eager_in_green_thread, eager_contexts,
                         eager_cancelled, eager_by_the_class):
            async def run(function=function):
                await function()

            run.__name__ = '%s:%d' % (function.__name__, number)
            with_factory(eager_factory)(run)

    @in_task
    async def eager_without_factory():
        await eager_by_the_class()


cases.run_all()
mode.done()
