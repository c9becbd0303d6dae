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

"""``eventlet.Timeout`` in coroutines: around green calls, awaits, and both.

Each in two tasks and a green thread at once, while others go on. What a
timeout ends never comes, so it does not matter how fast the machine is.
"""

import asyncio

import cases
import meanwhile
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import timeout

call = meanwhile.call

#: Seconds of a timeout that is to fire.
SOON = 0.002
#: Seconds of one that is not.
LATE = 600


class Stop(Exception):
    pass


def never():
    event.Event().wait()


async def never_async():
    await asyncio.get_running_loop().create_future()


async def both():
    """Wait for ever, in both ways."""
    while True:
        eventlet.sleep(0)
        await asyncio.sleep(0)


async def green_after_await():
    await asyncio.sleep(0)
    never()


async def await_after_green():
    eventlet.sleep(0)
    await never_async()


async def in_green_thread():
    eventlet.spawn(never).wait()


async def in_await_of_green_thread():
    await aiohub.greenlet_to_future(eventlet.spawn(never))


async def in_task():
    await asyncio.create_task(both())


async def in_task_waited_for_greenly():
    aiohub.await_(both())


async def in_gather():
    await asyncio.gather(both(), never_async(), green_after_await())


async def in_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(green_after_await())
        group.create_task(never_async())
        never()


async def in_group_awaiting():
    async with asyncio.TaskGroup() as group:
        group.create_task(green_after_await())
        group.create_task(never_async())


async def in_asyncio_timeout():
    async with asyncio.timeout(LATE):
        await never_async()


async def in_asyncio_timeout_greenly():
    async with asyncio.timeout(LATE):
        never()


async def in_wait_for():
    await asyncio.wait_for(green_after_await(), LATE)


async def in_lock():
    lock = asyncio.Lock()
    async with lock:
        async with lock:
            pass


async def in_queue():
    await asyncio.Queue().get()


async def in_executor():
    done = mode.native.Event()
    try:
        await asyncio.to_thread(done.wait, LATE)
    finally:
        done.set()


async def in_green():
    never()


WAITS = (in_green, never_async, both, green_after_await, await_after_green,
         in_green_thread, in_await_of_green_thread, in_task,
         in_task_waited_for_greenly, in_gather, in_group, in_group_awaiting,
         in_asyncio_timeout, in_asyncio_timeout_greenly, in_wait_for, in_lock,
         in_queue, in_executor)


def check_calm(who):
    """Nobody has cancelled the task, and it can go on."""
    who.check()
    assert not who.task.cancelling()
    assert not who.task.cancelled()


async def waits_on(who):
    check_calm(who)
    await asyncio.sleep(0)
    eventlet.sleep(0)
    await asyncio.sleep(0)
    check_calm(who)


async def fires(wait, who):
    """The timeout is raised where the task waits."""
    with timeout.Timeout(SOON) as limit:
        try:
            await wait()
        except (timeout.Timeout, BaseExceptionGroup) as exc:
            if isinstance(exc, BaseExceptionGroup):
                assert wait is in_group
                [exc] = exc.exceptions
            assert exc is limit
            check_calm(who)
        else:
            raise AssertionError
    assert not limit.pending
    await waits_on(who)


async def raises(wait, who):
    """It comes out of the block, as what was given."""
    try:
        with timeout.Timeout(SOON, Stop):
            await wait()
    except Stop:
        check_calm(who)
    else:
        raise AssertionError
    error = Stop()
    try:
        with timeout.Timeout(SOON, error):
            await wait()
    except Stop as exc:
        assert exc is error
    else:
        raise AssertionError
    await waits_on(who)


async def is_silent(wait, who):
    with timeout.Timeout(SOON, False):
        await wait()
        raise AssertionError
    await waits_on(who)


async def inner(wait, who):
    """Of nested ones the inner one is due; the outer one does not fire."""
    with timeout.Timeout(LATE) as outer_limit:
        for _ in range(2):
            with timeout.Timeout(SOON, False):
                with timeout.Timeout(LATE):
                    await wait()
                raise AssertionError
            check_calm(who)
            await asyncio.sleep(0)
        assert outer_limit.pending
    await waits_on(who)


async def outer(wait, who):
    """The outer one is due; it goes through the inner ones."""
    try:
        with timeout.Timeout(SOON) as outer_limit:
            with timeout.Timeout(LATE, False) as inner_limit:
                await wait()
            raise AssertionError
    except timeout.Timeout as exc:
        assert exc is outer_limit
    else:
        raise AssertionError
    assert not inner_limit.pending
    await waits_on(who)


async def around_asyncio_timeout(wait, who):
    """asyncio's is due, in eventlet's."""
    with timeout.Timeout(LATE):
        try:
            async with asyncio.timeout(SOON):
                await wait()
        except TimeoutError as exc:
            assert not isinstance(exc, timeout.Timeout)
        else:
            raise AssertionError
        check_calm(who)
    await waits_on(who)


async def in_asyncio_timeout_block(wait, who):
    """eventlet's is due, in asyncio's."""
    async with asyncio.timeout(LATE) as limit:
        with timeout.Timeout(SOON, False):
            await wait()
            raise AssertionError
        check_calm(who)
        await waits_on(who)
    assert not limit.expired()


async def with_cleanup(wait, who):
    """What it ends cleans up, in both ways, before it comes out."""
    clean = []

    async def run():
        try:
            await wait()
        finally:
            eventlet.sleep(0)
            await asyncio.sleep(0)
            eventlet.sleep(0)
            clean.append(who)

    with timeout.Timeout(SOON, False):
        await run()
    assert clean == [who]
    with timeout.Timeout(SOON, False):
        await asyncio.create_task(run())
    assert clean == [who, who]
    await waits_on(who)


for way in (fires, raises, is_silent, inner, outer, around_asyncio_timeout,
            in_asyncio_timeout_block, with_cleanup):
    for wait in WAITS:
        def make(others, way=way, wait=wait):
            async def call(who):
                await way(wait, who)

            return call

        make.__name__ = '%s:%s' % (way.__name__, wait.__name__)
        call(make)


# -- around one green call, for tasks and green threads alike

@call
def with_timeout(others):
    def call(who):
        assert timeout.with_timeout(
            SOON, never, timeout_value=who) is who
        who.check()
        assert timeout.with_timeout(LATE, lambda: (
            others.go_on(), who)[1]) is who
        try:
            timeout.with_timeout(SOON, others.then_never)
        except timeout.Timeout:
            pass
        else:
            raise AssertionError

    others.then_never = never
    return call


@call
def not_due(others):
    def call(who):
        with timeout.Timeout(LATE) as limit:
            others.go_on()
            assert limit.pending
        assert not limit.pending
        others.go_on()

    return call


@call
def canceled_in_time(others):
    async def call(who):
        # It is due while the task runs; so nobody can have raised it.
        limit = timeout.Timeout(0.0001)
        mode.native_time.sleep(0.001)
        limit.cancel()
        await waits_on(who)
        others.go_on()

    return call


@call
def left_behind(others):
    """A task ends with a timeout pending: that meets nobody."""
    started = []

    async def leave():
        started.append(timeout.Timeout(SOON))

    async def call(who):
        await asyncio.create_task(leave())
        # The next task may have the greenlet of that one.
        await asyncio.create_task(wait_until_all_fired())
        others.go_on()

    async def wait_until_all_fired():
        who = meanwhile.Who()
        while any(limit.pending for limit in started):
            eventlet.sleep(SOON)
            await asyncio.sleep(0)
        await waits_on(who)

    return call


cases.run_all()
mode.done()
