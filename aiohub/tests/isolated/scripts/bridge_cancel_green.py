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

"""Green code waits for asyncio and is killed, at each moment.

Before what it waits for starts, between two waits of that, in its cleanup,
after the result is set but not taken, twice, and at the same time as the
result; and by timeouts.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import cases
import mode
import waiters

import aiohub
import eventlet
from eventlet import event
import greenlet

CancelledError = asyncio.CancelledError
GreenletExit = greenlet.GreenletExit


# -- the ways to wait

async def item(run: Any) -> Any:
    yield await run()


def leave(run: Any) -> Any:
    with aiohub.wrap_async_context_manager(waiters.Manager(leave=run)):
        pass
    return 'result'


def first_item(run: Any) -> Any:
    for value in aiohub.wrap_async_iterator(item(run)):
        return value


def second_item(run: Any) -> Any:
    iterator = aiohub.wrap_async_iterator(waiters.items(run))
    assert next(iterator) == 'first'
    return next(iterator)


CALLS: dict[str, Any] = {
    'await_': lambda run: aiohub.await_(run()),
    'await_ task': lambda run: aiohub.await_(
        aiohub.get_loop().create_task(run())),
    'await_ future of green thread': lambda run: aiohub.await_(
        aiohub.future_to_greenlet(run())),
    'async_to_sync': lambda run: aiohub.async_to_sync(run)(),
    'async_to_sync, options': lambda run: aiohub.async_to_sync(
        autocancel_future=True)(run)(),
    'enter': waiters.enter,
    'first item': first_item,
    'leave': leave,
    'second item': second_item,
}
THREADS: dict[str, Any] = {
    'future_to_greenlet': lambda run: aiohub.future_to_greenlet(run()),
    'future_to_greenlet of task': lambda run: aiohub.future_to_greenlet(
        aiohub.get_loop().create_task(run())),
    'spawn_for_awaitable': lambda run: aiohub.spawn_for_awaitable(run()),
}
WAYS: dict[str, Callable[[Any], waiters.Waiter]] = {
    **{name: lambda run, call=call: waiters.Caller(lambda: call(run))
       for name, call in CALLS.items()},
    **{name: lambda run, thread=thread: waiters.Waiter(thread(run))
       for name, thread in THREADS.items()},
}


# -- the moments

def killed_in_the_turn_it_begins(way: Any, throw: Any) -> None:
    work = waiters.Work()
    waiter = way(work.in_task)
    # Runs after the waiter has, and before the loop.
    eventlet.spawn(waiter.kill, *throw)
    waiter.saw_thrown(throw)
    # A task that was made before the green thread began, begins before it;
    # and on our hub the coroutine of await_() does so at once.
    assert work.log == [] or (
        (mode.ON or not isinstance(waiter, waiters.Caller))
        and work.log == ['start', 'stopped', 'clean']), work.log


def killed_between_waits(way: Any, throw: Any) -> None:
    work = waiters.Work(slow=True)
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    waiter.kill(*throw)
    cases.until(lambda: work.cleanup.reached)
    cases.turns()
    assert not waiter.ended(), 'before the cleanup has'
    work.cleanup.open()
    waiter.saw_thrown(throw)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def killed_in_cleanup(way: Any, throw: Any) -> None:
    work = waiters.Work(slow=True)
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    cases.until(lambda: work.cleanup.reached)
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    assert work.log == ['start', 'end', 'cleanup stopped'], work.log


def killed_twice(way: Any, throw: Any) -> None:
    work = waiters.Work(slow=True)
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    waiter.kill(waiters.Custom('the first'))
    cases.until(lambda: work.cleanup.reached)
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    assert work.log == ['start', 'stopped', 'cleanup stopped'], work.log


def killed_twice_at_once(way: Any, throw: Any) -> None:
    work = waiters.Work()
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    waiter.kill(waiters.Custom('the first'))
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    assert work.log[:2] == ['start', 'stopped'], work.log


def killed_with_result_ready(way: Any, throw: Any) -> None:
    """The work can go on to its result, but has not."""
    work = waiters.Work()
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    # Later if there is another green thread between the two.
    assert work.log in (['start', 'stopped', 'clean'],
                        ['start', 'end', 'cleanup stopped']), work.log


def killed_and_swallowed(way: Any, throw: Any) -> None:
    work = waiters.Work(swallows='swallowed')
    waiter = way(work.in_task)
    cases.until(lambda: work.first.reached)
    waiter.kill(*throw)
    waiter.saw_thrown(throw)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def not_killed(way: Any, throw: Any) -> None:
    """What it is like without; and a kill afterwards does nothing."""
    for fails in (None, waiters.Custom('failed'),
                  waiters.CustomBase('failed')):
        work = waiters.Work(fails=fails)
        waiter = way(work.in_task)
        cases.until(lambda work=work: work.first.reached)
        work.first.open()
        cases.until(lambda work=work: work.second.reached)
        work.second.open()
        waiter.saw(fails or 'result')
        waiter.kill(*throw)
        waiter.saw(fails or 'result')
        assert work.log == ['start', 'end', 'clean'], work.log


GREEN_MOMENTS = (
    killed_in_the_turn_it_begins, killed_between_waits, killed_in_cleanup,
    killed_twice, killed_twice_at_once, killed_with_result_ready,
    killed_and_swallowed, not_killed)


def add_green_waits() -> None:
    for name, way in WAYS.items():
        for moment in GREEN_MOMENTS:
            if name == 'leave' and moment is killed_in_the_turn_it_begins:
                continue  # a cleanup is not left out: bridge_cancel_wrappers
            for throw in waiters.throws():
                cases.add('%s, %s, %r' % (name, moment.__name__, throw),
                          moment, way, throw)


def timed_out(call: Any) -> None:
    work = waiters.Work(slow=True)

    def wait() -> Any:
        with eventlet.Timeout(cases.SOON) as timeout:
            try:
                call(work.in_task)
            except eventlet.Timeout as exc:
                assert exc is timeout
                return list(work.log)

    waiter = waiters.Caller(wait)
    cases.until(lambda: work.cleanup.reached)
    work.cleanup.open()
    waiter.saw(['start', 'stopped', 'clean'])


def timed_out_with_own_exception(call: Any) -> None:
    work = waiters.Work()
    custom = waiters.Custom('timeout')

    def wait() -> None:
        with eventlet.Timeout(cases.SOON, custom):
            call(work.in_task)

    waiters.Caller(wait).saw(custom)
    assert work.log == ['start', 'stopped', 'clean'], work.log


def timed_out_silently(call: Any) -> None:
    work = waiters.Work()

    def wait() -> str:
        with eventlet.Timeout(cases.SOON, False):
            call(work.in_task)
        return 'went on'

    waiters.Caller(wait).saw('went on')


def add_timeouts() -> None:
    for name, call in CALLS.items():
        for moment in (timed_out, timed_out_with_own_exception,
                       timed_out_silently):
            cases.add('%s, %s' % (name, moment.__name__), moment, call)


def result_set_and_killed(wait: Any, throw: Any) -> None:
    """The future is done, and who waits is not woken before the kill."""
    for fails in (None, waiters.Custom('failed')):
        future = aiohub.get_loop().create_future()
        waiter = wait(future)
        cases.turns()
        if fails is None:
            future.set_result('lost')
        else:
            future.set_exception(fails)
        waiter.kill(*throw)
        if fails is None:
            waiter.saw_thrown(throw)
        else:
            waiter.saw(fails)


def cancelled_and_killed(wait: Any, throw: Any) -> None:
    for kill_first in (True, False):
        future = aiohub.get_loop().create_future()
        waiter = wait(future)
        cases.turns()
        if kill_first:
            waiter.kill(*throw)
            future.cancel()
        else:
            future.cancel()
            waiter.kill(*throw)
        waiter.saw_thrown(throw)
        assert future.cancelled()


def add_futures() -> None:
    for throw in waiters.throws():
        for name, wait in {
                'await_': lambda f: waiters.Caller(lambda: aiohub.await_(f)),
                'future_to_greenlet': lambda f: waiters.Waiter(
                    aiohub.future_to_greenlet(f)),
        }.items():
            for moment in (result_set_and_killed, cancelled_and_killed):
                cases.add('%s, %s, %r' % (name, moment.__name__, throw),
                          moment, wait, throw)


# -- the rest of the list

@cases.case
def kill_reaches_through_levels():
    """Green waits for a task that waits for green that waits for a task."""
    for levels in (1, 2, 5):
        work = waiters.Work(slow=True)

        def down(level, work=work):
            run = work.in_task
            if level:
                run = aiohub.sync_to_async(lambda: down(level - 1))
            return aiohub.await_(run())

        waiter = waiters.Caller(lambda levels=levels: down(levels))
        cases.until(lambda work=work: work.first.reached)
        waiter.kill(custom := waiters.Custom('thrown'))
        cases.until(lambda work=work: work.cleanup.reached)
        cases.turns()
        assert not waiter.ended()
        work.cleanup.open()
        waiter.saw(custom)
        assert work.log == ['start', 'stopped', 'clean'], work.log


@cases.case
def shield_keeps_the_task():
    """await_() of a shielded task ends at once, and the task goes on."""
    work = waiters.Work()
    task = aiohub.get_loop().create_task(work.in_task())
    waiter = waiters.Caller(lambda: aiohub.await_(asyncio.shield(task)))
    cases.until(lambda: work.first.reached)
    waiter.kill()
    waiter.saw(GreenletExit)
    assert work.log == ['start']
    work.first.open()
    cases.until(lambda: work.second.reached)
    work.second.open()
    waiters.Caller(lambda: aiohub.await_(task)).saw('result')


@cases.case
def two_wait_for_one():
    """The kill of one cancels it for both."""
    work = waiters.Work()
    task = aiohub.get_loop().create_task(work.in_task())
    one = waiters.Caller(lambda: aiohub.await_(task))
    other = waiters.Caller(lambda: aiohub.await_(task))
    cases.until(lambda: work.first.reached)
    one.kill()
    one.saw(GreenletExit)
    other.saw(CancelledError)


@cases.case
def main_greenlet_times_out():
    """The main greenlet has no kill, but it has timeouts."""
    for way in ('await_', 'async_to_sync'):
        work = waiters.Work()
        try:
            with eventlet.Timeout(cases.SOON):
                CALLS[way](work.in_task)
        except eventlet.Timeout:
            assert work.log == ['start', 'stopped', 'clean']
        else:
            raise AssertionError(way)


@cases.case
def asyncio_timeout_inside():
    """A timeout of asyncio inside what green code waits for."""
    async def run():
        async with asyncio.timeout(cases.SOON):
            await asyncio.get_running_loop().create_future()

    callers = [waiters.Caller(lambda call=call: call(run))
               for call in CALLS.values()]
    for caller in callers:
        caller.saw(TimeoutError)


@cases.case
def killed_by_what_it_waits_for():
    """A coroutine kills the green thread that waits for it."""
    for throw in waiters.throws():
        done: list[int] = []

        async def run(throw=throw, done=done):
            eventlet.spawn(waiter.kill, *throw)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                done.append(1)

        waiter = waiters.Caller(lambda run=run: aiohub.await_(run()))
        waiter.saw_thrown(throw)
        assert done


@cases.case
def who_waited_is_gone():
    """A future that is done after all have left wakes nobody else."""
    future = aiohub.get_loop().create_future()
    woken: list[Any] = []

    def wait():
        try:
            aiohub.await_(asyncio.shield(future))
        except waiters.Custom:
            # Waits for something else when the future is done.
            opened = event.Event()
            eventlet.spawn(opened.send, 'mine')
            cases.turns()
            woken.append(opened.wait())

    waiter = waiters.Caller(lambda: wait() or 'ended')
    cases.turns()
    waiter.kill(waiters.Custom())
    future.set_result('of others')
    waiter.saw('ended')
    assert woken == ['mine']


add_green_waits()
add_timeouts()
add_futures()
cases.run_all()
mode.done()
