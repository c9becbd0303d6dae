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

"""Coroutines wait for green code and are cancelled, at each moment.

Before what they wait for starts, between two waits of that, in its cleanup,
twice, and at the same time as the result; by timeouts and in task groups.
"""

import asyncio
import contextlib
from typing import Any
from unittest import mock

import cases
import mode
import waiters

import aiohub
from aiohub import _first_step
import eventlet
from eventlet import event
from eventlet import greenthread
from eventlet import hubs
import greenlet

CancelledError = asyncio.CancelledError


# -- the ways to wait

async def spawned_long_ago(run: Any) -> Any:
    green = eventlet.spawn(run)
    while not green:
        await asyncio.sleep(0)
    return await aiohub.greenlet_to_future(green)


class OtherThread(greenthread.GreenThread):
    """A green thread of a class of the program's own."""


def spawn_other(run: Any) -> OtherThread:
    hub = hubs.get_hub()
    green = OtherThread(hub.greenlet)
    hub.schedule_call_global(0, green.switch, run, (), {})
    return green


async def bridge_thread(run: Any) -> Any:
    async def nested() -> Any:
        return await aiohub.sync_to_async(run)()

    green = aiohub.future_to_greenlet(nested())
    return await aiohub.greenlet_to_future(green)


async def raw_started_by_hand(run: Any) -> Any:
    green = greenlet.greenlet(run)
    future = aiohub.greenlet_to_future(green, autostart_greenlet=False)
    await asyncio.sleep(0)
    assert not green
    hubs.get_hub().schedule_call_global(0, green.switch)
    return await future


async def async_leave(run: Any) -> Any:
    async with aiohub.wrap_sync_context_manager(waiters.Manager(leave=run)):
        pass
    return 'result'


def green_items(run: Any, first: bool) -> Any:
    if first:
        yield 'first'
    yield run()


async def async_first_item(run: Any) -> Any:
    async with contextlib.aclosing(
            aiohub.wrap_sync_iterator(green_items(run, False))) as iterator:
        async for value in iterator:
            return value


async def async_second_item(run: Any) -> Any:
    async with contextlib.aclosing(
            aiohub.wrap_sync_iterator(green_items(run, True))) as iterator:
        assert await anext(iterator) == 'first'
        return await anext(iterator)


ASYNC_WAYS: dict[str, Any] = {
    'greenlet_to_future of spawn': lambda run: aiohub.greenlet_to_future(
        eventlet.spawn(run)),
    'greenlet_to_future of raw': lambda run: aiohub.greenlet_to_future(
        greenlet.greenlet(run)),
    'greenlet_to_future, autocancel off': (
        lambda run: aiohub.greenlet_to_future(
            eventlet.spawn(run), autocancel_future=False)),
    'greenlet_to_future of running': spawned_long_ago,
    'greenlet_to_future of another class': (
        lambda run: aiohub.greenlet_to_future(spawn_other(run))),
    'greenlet_to_future of raw by hand': raw_started_by_hand,
    'greenlet_to_future of bridge thread': bridge_thread,
    'sync_to_async': lambda run: aiohub.sync_to_async(run)(),
    'sync_to_async, options': lambda run: aiohub.sync_to_async(
        autocancel_future=False)(run)(),
    'async enter': waiters.async_enter,
    'async leave': async_leave,
    'async first item': async_first_item,
    'async second item': async_second_item,
}


# -- the moments

# Not in the step in which the task comes to it.
others_first = mock.patch.object(_first_step, 'MOMENT', -1)


def cancelled_before_start(way: Any) -> None:
    """What was never begun never begins."""
    work = waiters.Work()
    with others_first:
        waiting = waiters.Waiting(way, work.in_green)
        aiohub.get_loop().call_soon(waiting.task.cancel)
        waiting.saw(CancelledError)
    assert work.log == [], work.log


def cancelled_before_it_could_end(way: Any) -> None:
    """It would not have waited; the cancel is not lost."""
    with others_first:
        waiting = waiters.Waiting(way, lambda: 'at once')
        aiohub.get_loop().call_soon(waiting.task.cancel)
        waiting.saw(CancelledError)


def cancelled_between_waits(way: Any) -> None:
    work = waiters.Work(slow=True)
    waiting = waiters.Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    waiting.task.cancel()
    cases.until(lambda: work.cleanup.reached)
    cases.turns()
    assert not waiting.ended(), 'before the cleanup has'
    work.cleanup.open()
    waiting.saw(CancelledError)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def cancelled_in_cleanup(way: Any) -> None:
    work = waiters.Work(slow=True)
    waiting = waiters.Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    cases.until(lambda: work.cleanup.reached)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert work.log == ['start', 'end', 'cleanup stopped'], work.log


def cancelled_twice(way: Any) -> None:
    work = waiters.Work(slow=True)
    waiting = waiters.Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    cases.until(lambda: work.cleanup.reached)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert work.log == ['start', 'stopped', 'cleanup stopped'], work.log


def cancelled_twice_at_once(way: Any) -> None:
    work = waiters.Work()
    waiting = waiters.Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert work.log[:2] == ['start', 'stopped'], work.log


def cancelled_with_result_ready(way: Any) -> None:
    """As it gets its result: the cancel is not lost."""
    work = waiters.Work()
    waiting = waiters.Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    waiting.task.cancel()
    waiting.saw(CancelledError)
    assert work.log[-1] == 'clean' or (
        work.log[-1] == 'cleanup stopped'), work.log


def cancelled_and_swallowed(way: Any) -> None:
    work = waiters.Work(swallows='swallowed')
    waiting = waiters.Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    waiting.saw('swallowed' if way is not async_leave else 'result')
    assert work.log == ['start', 'stopped', 'clean'], work.log


def cancelled_and_failed(way: Any) -> None:
    """The cleanup fails: that is not lost."""

    def fail_in_cleanup() -> None:
        try:
            work.in_green()
        finally:
            raise waiters.Custom('cleanup')

    work = waiters.Work()
    waiting = waiters.Waiting(way, fail_in_cleanup)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    waiting.saw(waiters.Custom)


def not_cancelled(way: Any) -> None:
    for fails in (None, waiters.Custom('failed'),
                  waiters.CustomBase('failed')):
        work = waiters.Work(fails=fails)
        waiting = waiters.Waiting(way, work.in_green)
        cases.until(lambda work=work: work.first.reached)
        work.first.open()
        cases.until(lambda work=work: work.second.reached)
        work.second.open()
        waiting.saw(fails or 'result')
        assert not waiting.task.cancel()
        assert work.log == ['start', 'end', 'clean'], work.log


def with_timeout(way: Any) -> None:
    timeouts: list[asyncio.Timeout] = []

    async def around(awaitable: Any) -> Any:
        async with asyncio.timeout(None) as timeout:
            timeouts.append(timeout)
            return await awaitable

    loop = aiohub.get_loop()
    work = waiters.Work()
    waiting = waiters.Waiting(way, work.in_green, around)
    cases.until(lambda: work.first.reached)
    loop.call_soon(timeouts[0].reschedule, loop.time())
    waiting.saw(TimeoutError)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def with_wait_for(way: Any) -> None:
    async def around(awaitable: Any) -> Any:
        return await asyncio.wait_for(awaitable, cases.SOON)

    work = waiters.Work()
    waiting = waiters.Waiting(way, work.in_green, around)
    waiting.saw(TimeoutError)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def with_wait_for_and_result(way: Any) -> None:
    async def around(awaitable: Any) -> Any:
        return await asyncio.wait_for(awaitable, 1000)

    work = waiters.Work()
    waiting = waiters.Waiting(way, work.in_green, around)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    waiting.saw('result')


def in_task_group(way: Any) -> None:
    """The failure of one task cancels the other, which cleans up."""

    async def around(awaitable: Any) -> Any:
        async def wait() -> None:
            await awaitable

        async def fail() -> None:
            while not work.first.reached:
                await asyncio.sleep(0)
            raise waiters.Custom('other')

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait())
                group.create_task(fail())
        except* waiters.Custom:
            pass
        return list(work.log)

    work = waiters.Work()
    waiting = waiters.Waiting(way, work.in_green, around)
    waiting.saw(['start', 'stopped', 'clean'])


def under_shield(way: Any) -> None:
    """It goes on, and its result can be had later."""
    inner: list[Any] = []

    async def around(awaitable: Any) -> Any:
        inner.append(asyncio.ensure_future(awaitable))
        return await asyncio.shield(inner[0])

    work = waiters.Work()
    waiting = waiters.Waiting(way, work.in_green, around)
    cases.until(lambda: work.first.reached)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    cases.until(inner[0].done)
    assert inner[0].result() == 'result'
    assert work.log == ['start', 'end', 'clean'], work.log


def cancelled_by_who_ends_all_tasks(way: Any) -> None:
    work = waiters.Work()
    before = asyncio.all_tasks(aiohub.get_loop())
    waiting = waiters.Waiting(way, work.in_green)
    cases.until(lambda: work.first.reached)
    for task in asyncio.all_tasks(aiohub.get_loop()) - before:
        task.cancel()
    waiting.saw(CancelledError)
    assert work.log[:2] == ['start', 'stopped'], work.log


STARTS_LATER = (spawned_long_ago, raw_started_by_hand, async_leave,
                async_second_item, bridge_thread)


def add_asyncio_waits() -> None:
    for name, way in ASYNC_WAYS.items():
        for moment in (
                cancelled_before_start, cancelled_before_it_could_end,
                cancelled_between_waits, cancelled_in_cleanup,
                cancelled_twice, cancelled_twice_at_once,
                cancelled_with_result_ready, cancelled_and_swallowed,
                cancelled_and_failed, not_cancelled, with_timeout,
                with_wait_for, with_wait_for_and_result, in_task_group,
                under_shield, cancelled_by_who_ends_all_tasks):
            if way in STARTS_LATER and moment in (
                    cancelled_before_start, cancelled_before_it_could_end):
                continue
            if moment is cancelled_and_swallowed and way is bridge_thread:
                continue  # the green thread between does not swallow it
            cases.add('%s, %s' % (name, moment.__name__), moment, way)


# -- the rest of the list

@cases.case
def two_tasks_wait_for_one_green_thread():
    work = waiters.Work()
    green = eventlet.spawn(work.in_green)
    one = waiters.Waiting(lambda _: aiohub.greenlet_to_future(green), None)
    other = waiters.Waiting(lambda _: aiohub.greenlet_to_future(green), None)
    cases.until(lambda: work.first.reached)
    cases.turns()
    one.task.cancel()
    one.saw(CancelledError)
    other.saw(CancelledError)


@cases.case
def green_code_waits_for_what_never_begins():
    """It is told as well."""
    for spawn in (eventlet.spawn, spawn_other):
        work = waiters.Work()
        green = spawn(work.in_green)
        future = aiohub.greenlet_to_future(green)
        waiter = waiters.Caller(green.wait)
        future.cancel()
        waiter.saw(greenlet.GreenletExit)
        assert future.cancelled() and not work.log


@cases.case
def eventlet_timeout_inside():
    """A timeout of eventlet inside what a task waits for."""
    def run():
        with eventlet.Timeout(cases.SOON):
            event.Event().wait()

    waiting = [waiters.Waiting(way, run) for way in ASYNC_WAYS.values()]
    for one in waiting:
        one.saw(eventlet.Timeout)


add_asyncio_waits()
cases.run_all()
mode.done()
