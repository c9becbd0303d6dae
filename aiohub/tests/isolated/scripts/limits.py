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

"""What the page on limits says does not work, does not work as it says.

When one of these fails, the page can shrink.
"""

import asyncio
from asyncio import Task as PlainTask  # before there is a loop of aiohub
import gc
import sys
import weakref

import cases
import mode

import aiohub
import eventlet
from eventlet import event
import greenlet

loop = aiohub.get_loop()


@cases.case
def task_class_of_before_is_not_green():
    async def current():
        return eventlet.getcurrent()

    assert aiohub.await_(PlainTask(current(), loop=loop)) is loop.state.runs_in
    assert aiohub.await_(current()) is not loop.state.runs_in
    task = asyncio.Task(current(), loop=loop)
    assert isinstance(task, asyncio.Task)
    assert aiohub.await_(task) is not loop.state.runs_in


if sys.version_info >= (3, 12):
    PLAIN_EAGER = asyncio.create_eager_task_factory(PlainTask)

    @cases.case
    def plain_eager_task_makes_a_green_call():
        async def first():
            assert PLAIN_EAGER(loop, second()).done()
            eventlet.sleep(0)
            return await asyncio.eager_task_factory(loop, third())

        async def second():
            try:
                eventlet.sleep(0)
            except aiohub.AiohubError as error:
                assert 'eagerly' in str(error)
            else:
                raise AssertionError('it returned')

        async def third():
            eventlet.sleep(0)
            return 'green'

        assert aiohub.await_(first()) == 'green'


@cases.case
def get_coro():
    async def work():
        return asyncio.current_task().get_coro()

    coro = work()
    given = aiohub.await_(coro)
    assert given is not coro
    assert given.__name__ == 'work' and given.cr_code is coro.cr_code


@cases.case
def timeout_is_a_cancelled_error():
    async def work():
        with eventlet.Timeout(0.01) as timeout:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError as exc:
                assert exc is timeout and isinstance(exc, eventlet.Timeout)
                assert type(exc) is not eventlet.Timeout
                return 'swallowed'

    assert aiohub.await_(work()) == 'swallowed'


def group_around(wait):
    async def work():
        with eventlet.Timeout(0.01) as timeout:
            try:
                async with asyncio.TaskGroup():
                    await wait()
            except BaseExceptionGroup as group:
                assert group.exceptions == (timeout,)
                inside = 'group'
            except eventlet.Timeout as exc:
                assert exc is timeout
                inside = 'timeout'
        with eventlet.Timeout(0.01, False):
            # Its own block gets it out of the group.
            async with asyncio.TaskGroup():
                await wait()
        return inside

    return aiohub.await_(work())


@cases.case
def timeout_in_the_body_of_a_group():
    async def green():
        eventlet.sleep(60)

    async def awaits():
        await asyncio.sleep(60)

    assert group_around(green) == 'group'
    assert group_around(awaits) == (
        'timeout' if sys.version_info >= (3, 13) else 'group')


class Token:
    pass


@cases.case
def current_task_and_kill():
    async def work(kill):
        victim = eventlet.spawn(event.Event().wait)
        eventlet.sleep(0)
        eventlet.sleep(0)
        await asyncio.sleep(0)  # the loop, not the hub, makes the next step
        other = eventlet.spawn(asyncio.current_task)
        seen = kill(victim)
        return seen, other.wait() is asyncio.current_task()

    def in_child(victim):
        def kill():
            eventlet.kill(victim)
            before = asyncio.current_task()
            eventlet.sleep(0)
            return before, asyncio.current_task()

        return greenlet.greenlet(kill).switch()

    task = loop.create_task(work(in_child))
    (before, after), _ = aiohub.await_(task)
    assert after is task
    is_off = mode.HUB == 'epolls'
    assert before is (task if is_off else None)
    assert aiohub.await_(work(eventlet.kill)) == (None, is_off)


def is_collected(wait) -> bool:
    """Whether a task is that waits for what nobody else refers to."""
    async def work(token):
        await wait()

    # asyncio tells that it was destroyed while it was pending.
    loop.set_exception_handler(lambda *_: None)
    token = Token()
    reference = weakref.ref(token)
    task = loop.create_task(work(token))
    cases.turns()
    assert not task.done()
    del task, token
    for _ in range(3):
        gc.collect()
        cases.turns()
    loop.set_exception_handler(None)
    return reference() is None


def dropped_in_a_green_call():
    async def green():
        event.Event().wait()

    async def awaits():
        await asyncio.get_running_loop().create_future()

    assert is_collected(awaits)
    assert not is_collected(green)


def runs_the_loop():
    async def work():
        return 5

    coro = work()
    for run in (lambda: loop.run_until_complete(coro), loop.run_forever):
        try:
            run()
        except aiohub.AiohubError as exc:
            assert 'await_' in str(exc)
        else:
            raise AssertionError('it ran')
    assert coro.cr_frame is None  # closed
    assert aiohub.await_(work()) == 5


def another_loop():
    """A loop that is not aiohub's, where aiohub's hub should wait."""
    async def work():
        eventlet.sleep(0)

    other = asyncio.new_event_loop()
    try:
        other.run_until_complete(work())
    except aiohub.AiohubError as exc:
        assert 'await_' in str(exc)
    else:
        raise AssertionError('it waited')
    finally:
        other.close()


# Before it has run, in the main greenlet.
if mode.HUB != 'epolls':  # that holds up the loop, as ever
    another_loop()
runs_the_loop()


@cases.case
def lock_of_asyncio_in_a_green_thread():
    async def make():
        return asyncio.Lock()

    async def hold():
        async with lock:
            held.send()
            await leave.wait()

    lock = aiohub.await_(make())
    held = event.Event()
    leave = asyncio.Event()
    task = loop.create_task(hold())
    held.wait()
    coro = lock.acquire()
    # Not like this: nothing waits.
    assert asyncio.isfuture(coro.send(None))
    coro.close()
    leave.set()
    assert aiohub.await_(lock.acquire())
    lock.release()
    aiohub.await_(task)


@cases.case
def while_it_runs():
    coro = asyncio.sleep(0)
    try:
        loop.run_until_complete(coro)
    except RuntimeError as exc:
        assert 'already running' in str(exc)
    else:
        raise AssertionError('it ran')
    coro.close()


@cases.case
def asyncio_run_in_a_green_thread():
    async def work():
        raise AssertionError('it ran')

    coro = work()
    try:
        asyncio.run(coro)
    except RuntimeError as exc:
        assert 'running event loop' in str(exc)
    else:
        raise AssertionError('it was not refused')
    coro.close()


cases.run_all()
# Leaves a task behind, which a case must not.
eventlet.spawn(dropped_in_a_green_call).wait()
mode.done()
