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

"""Misuse: an error that says what to write, and the coroutine is closed."""

import asyncio
import functools

import mode
import rows

import aiohub
from aiohub import _eventlet
from aiohub import from_thread
from aiohub import tasks
import eventlet
from eventlet import hubs
from eventlet import patcher
from eventlet import semaphore
from eventlet import tpool
import greenlet

native = patcher.original('threading')
loop = aiohub.get_loop()


def refused(call, *words):
    """Call; the error that comes out has these words."""
    exc = rows.raises(aiohub.AiohubError, call)
    for word in words:
        assert word in str(exc), (word, str(exc))
    assert str(exc).endswith('.'), str(exc)


def in_native_thread(check):
    """Run a check in a thread that eventlet knows nothing of."""
    ended = []

    def work():
        try:
            ended.append(check())
        except BaseException as exc:
            ended.append(exc)

    thread = native.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [None], ended


@rows.row
def in_a_coroutine():
    async def in_coroutine():
        refused(lambda: aiohub.await_(rows.give(1)), 'coroutine', '"await"')
        refused(lambda: aiohub.async_to_sync(rows.give)(1), '"await"')
        waiting = aiohub.future_to_greenlet(rows.give(1))
        refused(waiting.wait, 'wait()', 'coroutine', '"await"')
        # eventlet's await of a green thread needs an asyncio hub.
        if mode.HUB != 'epolls':
            assert await waiting == 1
        refused(lambda: aiohub.async_to_sync(
            rows.give, autokill_greenlet=False)(1), '"await"')

    # Without a greenlet of its own.
    tasks.enabled = False
    try:
        aiohub.await_(in_coroutine())
    finally:
        tasks.enabled = True


@rows.row
def in_a_green_task():
    async def in_coroutine():
        assert aiohub.await_(rows.give(1)) == 1
        assert aiohub.async_to_sync(rows.give)(2) == 2
        assert aiohub.future_to_greenlet(rows.give(3)).wait() == 3
        assert eventlet.spawn(aiohub.await_, rows.give(4)).wait() == 4

    if mode.HUB != 'asyncio':  # whose loop has none
        aiohub.await_(in_coroutine())


@rows.row
def in_a_callback():
    called = []

    def callback():
        try:
            refused(lambda: aiohub.await_(rows.give(1)), 'callback')
            called.append(True)
        except BaseException as exc:
            called.append(exc)

    loop.call_soon(callback)
    while not called:
        eventlet.sleep(0)
    assert called == [True], called


@rows.row
def what_is_no_awaitable():
    for value in (5, None, 'x', rows.give, lambda: 1):
        refused(lambda: aiohub.await_(value), repr(value)[:5], 'coroutine')
        refused(lambda: aiohub.future_to_greenlet(value), repr(value)[:5])
    refused(lambda: aiohub.await_(rows.give), 'Call it')
    refused(lambda: aiohub.greenlet_to_future(rows.give), 'sync_to_async')


@rows.row
def itself():
    refused(lambda: aiohub.greenlet_to_future(greenlet.getcurrent()),
            'itself')


@rows.row
def a_raw_greenlet_that_runs_already():
    raw = []
    eventlet.spawn_n(lambda: (
        raw.append(greenlet.getcurrent()), eventlet.sleep(0.001)))
    while not raw:
        eventlet.sleep(0)
    refused(lambda: aiohub.greenlet_to_future(raw[0]), 'eventlet.spawn()')
    refused(lambda: aiohub.await_(raw[0]), 'eventlet.spawn()')


@rows.row
def what_belongs_to_a_closed_loop():
    other = asyncio.SelectorEventLoop()
    future = other.create_future()
    task = other.create_task(rows.give(1))
    done = other.create_future()
    done.set_result('done')
    other.close()
    refused(lambda: aiohub.await_(future), 'closed')
    refused(lambda: aiohub.await_(task), 'closed')
    refused(lambda: aiohub.future_to_greenlet(rows.give(1), loop=other),
            'closed')
    assert aiohub.await_(done) == 'done'
    task._log_destroy_pending = False
    task.get_coro().close()


@rows.row
def the_loop_of_the_thread_is_closed():
    def check():
        hubs.get_hub()
        own = aiohub.get_loop()
        future = own.create_future()
        done = own.create_future()
        done.set_result('done')
        own.close()
        assert aiohub.await_(done) == 'done'
        refused(lambda: aiohub.await_(future), 'closed')
        # Switched off, the thread has a new loop then.
        if mode.HUB != 'epolls':
            refused(lambda: aiohub.await_(rows.give(1)), 'closed')
            refused(lambda: aiohub.future_to_greenlet(rows.give(1)),
                    'closed')

    in_native_thread(check)


@rows.row
def in_a_thread_without_a_hub():
    in_native_thread(lambda: refused(
        lambda: aiohub.await_(rows.give(1)), 'from_thread'))


def green_calls():
    """Return what a coroutine calls green code with."""
    async def enter():
        async with aiohub.wrap_sync_context_manager(semaphore.Semaphore()):
            raise AssertionError('entered')

    async def iterate():
        async for _ in aiohub.wrap_sync_iterator([1]):
            raise AssertionError('an item')

    return aiohub.sync_to_async(rows.green_give)(1), enter(), iterate()


@rows.row
def in_the_loop_of_a_thread_without_a_hub():
    def check():
        for call in green_calls():
            refused(lambda: asyncio.run(call), 'from_thread')  # noqa: B023
        assert _eventlet.current_hub() is None
        # So it goes on being one without.
        refused(lambda: aiohub.await_(rows.give(1)), 'from_thread')

    in_native_thread(check)


@rows.row
def in_another_loop_of_a_thread_with_a_hub():
    async def wait_for(green):
        return await aiohub.greenlet_to_future(green)

    def check():
        hubs.get_hub()
        ran = []
        for call in green_calls():
            refused(lambda: asyncio.run(call), 'await_()')  # noqa: B023
        green = eventlet.spawn(ran.append, 1)
        refused(lambda: asyncio.run(wait_for(green)), 'await_()')
        assert not ran
        # Nothing has been started, and it can be done right.
        assert aiohub.await_(wait_for(green)) is None
        assert ran == [1], ran
        hubs.use_hub()

    in_native_thread(check)


@rows.row
def from_thread_with_what_it_does_not_take():
    run, run_sync = from_thread.run, from_thread.run_sync

    def check():
        refused(lambda: run(rows.give(1)), 'run()', 'do not call it')
        refused(lambda: run_sync(rows.give(1)), 'run_sync()', 'do not call')
        for value in (None, 3):
            refused(lambda: run(value), repr(value))  # noqa: B023
            refused(lambda: run_sync(value), repr(value))  # noqa: B023
        refused(lambda: run(int), 'returned 0', 'run_sync()')
        for function in (rows.give, functools.partial(rows.give, turns=2),
                         lambda value: rows.give(value)):
            refused(lambda: run_sync(function, 1),  # noqa: B023
                    'coroutine', 'run().')
            assert run(function, 1) == 1

    tpool.execute(check)


@rows.row
def unknown_options():
    """When decorating, not when calling."""
    for decorator in (aiohub.async_to_sync, aiohub.sync_to_async):
        exc = rows.raises(TypeError, decorator, rows.give, autofoo=True)
        assert 'autofoo' in str(exc)


@rows.row
def decorators_of_what_they_do_not_take():
    for decorator in (aiohub.async_to_sync, aiohub.sync_to_async):
        refused(lambda: decorator(rows.give(1)),  # noqa: B023
                decorator.__name__, 'do not call it')
    refused(lambda: aiohub.sync_to_async(rows.give), 'coroutine function')


rows.run_all()
mode.done()
