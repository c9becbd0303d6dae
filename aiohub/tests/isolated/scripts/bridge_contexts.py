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

"""Context variables and the request context follow calls across the border.

What the called code sets does not come back. The log lines of oslo.log are
the test of it: each must carry the request that it was written for.
"""

import asyncio
import collections
import contextlib
import contextvars
import logging
import os
import tempfile
from typing import Any

import mode

import eventlet
from eventlet import patcher
from oslo_config import cfg
from oslo_context import context as oslo_context
from oslo_log import log

import aiohub
from aiohub import from_thread

native_threading = patcher.original('threading')
number_var: 'contextvars.ContextVar[int]' = contextvars.ContextVar('number')


def set_both(number: int) -> None:
    number_var.set(number)
    oslo_context.RequestContext(
        user_id='user-%d' % number, project_id='project-%d' % number,
        request_id='req-%d' % number)


def both() -> tuple[int | None, str | None]:
    request = oslo_context.get_current()
    return number_var.get(None), request and request.request_id


def expected(number: int) -> tuple[int, str]:
    return number, 'req-%d' % number


loop = aiohub.get_loop()
answers: list[object] = []


# -- each way across

def change_green(result: int = 0) -> int:
    """Green code: notes what it sees, and sets something of its own."""
    answers.append(both())
    set_both(-1)
    eventlet.sleep(0)
    assert both() == expected(-1)
    return result


async def change_async(result: int = 0) -> int:
    answers.append(both())
    set_both(-2)
    await asyncio.sleep(0)
    assert both() == expected(-2)
    return result


@contextlib.contextmanager
def manage_green(count):
    change_green()
    yield count
    assert both() == expected(-1)


@contextlib.asynccontextmanager
async def manage_async(count):
    await change_async()
    yield count
    assert both() == expected(-2)


def iterate_green(count):
    for item in range(count):
        if item == 0:
            change_green()
        assert both() == expected(-1)
        yield item


async def iterate_async(count):
    for item in range(count):
        if item == 0:
            await change_async()
        assert both() == expected(-2)
        yield item


def to_async(way: str) -> None:
    """Cross from green code into a coroutine."""
    if way == 'await_':
        assert aiohub.await_(change_async(3)) == 3
    elif way == 'await_ task':
        assert aiohub.await_(loop.create_task(change_async(3))) == 3
    elif way == 'future_to_greenlet':
        assert aiohub.future_to_greenlet(change_async(3)).wait() == 3
    elif way == 'future_to_greenlet later':
        green = aiohub.future_to_greenlet(
            change_async(3), autostart_future=False)
        assert green.wait() == 3
    elif way == 'future_to_greenlet loop':
        green = aiohub.future_to_greenlet(change_async(3), loop=loop)
        assert green.wait() == 3
    elif way == 'spawn_for_awaitable':
        assert aiohub.spawn_for_awaitable(change_async(3)).wait() == 3
    elif way == 'async_to_sync':
        assert aiohub.async_to_sync(change_async)(3) == 3
    elif way == 'async_to_sync options':
        function = aiohub.async_to_sync(autokill_greenlet=False)(change_async)
        assert function(3) == 3
    elif way == 'context manager':
        with aiohub.wrap_async_context_manager(manage_async(3)) as three:
            assert three == 3
            assert both() == expected(here.get())
    elif way == 'iterator':
        for item in aiohub.wrap_async_iterator(iterate_async(3)):
            assert both() == expected(here.get()), (item, both())
    else:
        raise AssertionError(way)


TO_ASYNC = (
    'await_', 'await_ task', 'future_to_greenlet', 'future_to_greenlet later',
    'future_to_greenlet loop', 'spawn_for_awaitable', 'async_to_sync',
    'async_to_sync options', 'context manager', 'iterator')


async def to_green(way: str) -> None:
    """Cross from a coroutine into green code."""
    if way == 'green thread':
        green = eventlet.spawn(change_green, 3)
        assert await aiohub.greenlet_to_future(green) == 3
    elif way == 'raw greenlet':
        raw = eventlet.greenlet.greenlet(lambda: change_green(3))
        assert await aiohub.greenlet_to_future(raw) == 3
    elif way == 'raw greenlet later':
        raw = eventlet.greenlet.greenlet(lambda: change_green(3))
        future = aiohub.greenlet_to_future(raw, autostart_greenlet=False)
        eventlet.hubs.get_hub().schedule_call_global(0, raw.switch)
        assert await future == 3
    elif way == 'sync_to_async':
        assert await aiohub.sync_to_async(change_green)(3) == 3
    elif way == 'sync_to_async options':
        function = aiohub.sync_to_async(autokill_greenlet=False)(change_green)
        assert await function(3) == 3
    elif way == 'context manager':
        async with aiohub.wrap_sync_context_manager(manage_green(3)) as three:
            assert three == 3
            assert both() == expected(here.get())
    elif way == 'iterator':
        async for item in aiohub.wrap_sync_iterator(iterate_green(3)):
            assert both() == expected(here.get()), (item, both())
    else:
        raise AssertionError(way)


TO_GREEN = (
    'green thread', 'raw greenlet', 'raw greenlet later', 'sync_to_async',
    'sync_to_async options', 'context manager', 'iterator')


def from_native(way: str) -> None:
    """Cross from a native thread, into a coroutine or green code."""
    if way == 'run':
        assert from_thread.run(change_async, 3) == 3
    else:
        assert from_thread.run_sync(change_green, 3) == 3


def begin_in_thread(
    number: int, way: str, done: 'asyncio.Future[None]',
) -> None:
    assert both() == (None, None), both()
    begin(number)
    in_thread(number, way, done)


here: 'contextvars.ContextVar[int]' = contextvars.ContextVar('here')


def begin(number: int) -> None:
    set_both(number)
    here.set(number)


def check(number: int, way: str) -> None:
    """The called code has seen *number*, and what it set is not here."""
    assert answers == [expected(number)], (way, answers)
    answers.clear()
    assert both() == expected(number), (way, both())


def from_green(number: int, way: str) -> None:
    begin(number)
    to_async(way)
    check(number, way)


async def from_async(number: int, way: str) -> None:
    begin(number)
    await to_green(way)
    check(number, way)


async def by_thread(number: int, way: str) -> None:
    begin(number)
    await asyncio.to_thread(from_native, way)
    check(number, way)


def in_thread(number: int, way: str, done: 'asyncio.Future[None]') -> None:
    try:
        from_native(way)
        check(number, way)
    except BaseException as exc:
        loop.call_soon_threadsafe(done.set_exception, exc)
    else:
        loop.call_soon_threadsafe(done.set_result, None)


numbers = iter(range(1, 10000))

# Without setup(), the request context begins to follow when the bridge is
# first used. The requests that are under way then do so too.
begun: list[int] = []
go_on_native = native_threading.Event()


def early(number: int, way: str, go_on: eventlet.Event) -> None:
    begin(number)
    begun.append(number)
    go_on.wait()
    to_async(way)
    check(number, way)


def early_in_thread(number: int, way: str, done: Any) -> None:
    begin(number)
    begun.append(number)
    go_on_native.wait()
    in_thread(number, way, done)


# Unpatched, all green threads have had the thread's request until then. A
# task that the program makes has what there was when it made it.
early_ways = [
    way for way in TO_ASYNC if mode.PATCHED and way != 'await_ task']
events = [eventlet.Event() for _ in early_ways]
greens = [
    eventlet.spawn(early, next(numbers), *args)
    for args in zip(early_ways, events)]
done = loop.create_future()
thread = native_threading.Thread(
    target=early_in_thread, args=(next(numbers), 'run', done))
thread.start()
while len(begun) < len(greens) + 1:
    eventlet.sleep(0)
go_on_native.set()
aiohub.await_(done)
thread.join()
for go_on, green in zip(events, greens):
    go_on.send()
    green.wait()

for way in TO_ASYNC:
    # In the main greenlet, with what it has set itself, and in a green thread.
    contextvars.copy_context().run(from_green, next(numbers), way)
    eventlet.spawn(from_green, next(numbers), way).wait()
for way in TO_GREEN:
    aiohub.await_(from_async(next(numbers), way))
for way in 'run', 'run_sync':
    aiohub.await_(by_thread(next(numbers), way))
    done = loop.create_future()
    thread = native_threading.Thread(
        target=begin_in_thread, args=(next(numbers), way, done))
    thread.start()
    aiohub.await_(done)
    thread.join()

# A green thread that has started has its own, and keeps it.
started = eventlet.Event()


def of_its_own() -> object:
    set_both(5)
    started.send()
    eventlet.sleep(0)
    return both()


async def wait_for_started(green: eventlet.greenthread.GreenThread) -> None:
    set_both(6)
    assert await aiohub.greenlet_to_future(green) == expected(5)
    assert both() == expected(6)


green = eventlet.spawn(of_its_own)
started.wait()
aiohub.await_(wait_for_started(green))

# So has a task.


async def task_of_its_own() -> object:
    set_both(7)
    await asyncio.sleep(0)
    return both()


def wait_for_task() -> None:
    task = loop.create_task(task_of_its_own())
    set_both(8)
    assert aiohub.await_(task) == expected(7)
    assert both() == expected(8)


eventlet.spawn(wait_for_task).wait()


# Callbacks run with what was there when they were asked for.
async def call_back(number: int) -> None:
    set_both(number)
    running = asyncio.get_running_loop()
    seen = [running.create_future() for _ in range(3)]
    running.call_soon(lambda: seen[0].set_result(both()))
    running.call_later(0.001, lambda: seen[1].set_result(both()))
    seen[0].add_done_callback(lambda _: seen[2].set_result(both()))
    set_both(-3)
    for future in seen:
        assert await future == expected(number), await future


aiohub.await_(call_back(9))


# Deep: each level has its own, and finds it again.
def deep_green(level: int) -> None:
    assert both() == (level - 1, 'req-%d' % (level - 1))
    set_both(level)
    if level < 30:
        aiohub.await_(deep_async(level + 1))
    assert both() == expected(level)


async def deep_async(level: int) -> None:
    assert both() == (level - 1, 'req-%d' % (level - 1))
    set_both(level)
    await aiohub.sync_to_async(deep_green)(level + 1)
    assert both() == expected(level)


set_both(0)
deep_green(1)
set_both(0)

# oslo.context's fixture takes it away like this.
del oslo_context._request_store.context
assert oslo_context.get_current() is None


# -- the log lines

LOG = log.getLogger(__name__)
REQUESTS = 1000

temporary = tempfile.TemporaryDirectory()
path = os.path.join(temporary.name, 'log')
conf = cfg.ConfigOpts()
log.register_options(conf)
conf(['--log-file', path], project='aiohub-test')
conf.set_override(
    'logging_context_format_string',
    '%(request_id)s|%(user_identity)s|%(message)s')
conf.set_override('logging_user_identity_format', '%(user)s %(project)s')
log.setup(conf, 'aiohub-test')
(handler,) = logging.getLogger().handlers
assert type(handler.formatter).__name__ == 'ContextFormatter'
# Or each line asks for its thread's name, for which eventlet takes a green
# lock, in native threads too: then "Cannot switch to a different thread".
logging.logThreads = not mode.PATCHED


class Gate:
    """Opens when all requests have come to it."""

    def __init__(self) -> None:
        self.open = loop.create_future()
        self.missing = REQUESTS

    def arrive(self) -> None:
        self.missing -= 1
        if not self.missing:
            self.open.set_result(None)


def request(number: int) -> int:
    """One request, in a green thread of its own."""
    set_both(number)
    LOG.info('%d green', number)
    gates['green'].arrive()
    aiohub.await_(asyncio.shield(gates['green'].open))
    LOG.info('%d green again', number)
    assert aiohub.await_(serve(number)) == number
    LOG.info('%d green at last', number)
    return number


async def serve(number: int) -> int:
    in_async(number, 'coroutine')
    gates['async'].arrive()
    await gates['async'].open
    in_async(number, 'coroutine again')
    await asyncio.gather(*(part(number, name) for name in ('left', 'right')))
    await asyncio.create_task(part(number, 'task'))
    await aiohub.sync_to_async(below)(number, 'below')
    await aiohub.greenlet_to_future(eventlet.spawn(below, number, 'spawned'))
    if mode.MANY_NATIVE_THREADS:
        await asyncio.to_thread(in_native_thread, number)
    in_async(number, 'coroutine at last')
    return number


async def part(number: int, name: str) -> None:
    in_async(number, name)
    await asyncio.sleep(0)
    in_async(number, name + ' again')


def below(number: int, name: str) -> None:
    LOG.info('%d %s', number, name)
    eventlet.sleep(0)
    LOG.info('%d %s again', number, name)
    aiohub.await_(part(number, name + ' part'))


def in_native_thread(number: int) -> None:
    if 'native threads' in who_logs:
        LOG.info('%d %s', number, 'native thread')
    else:
        assert both() == expected(number)


def in_async(number: int, name: str) -> None:
    if 'coroutines' in who_logs:
        LOG.info('%d %s', number, name)
    else:
        assert both() == expected(number)


def serve_all() -> 'collections.Counter[str]':
    """Serve them, and return how many lines of each kind there are."""
    gates.update(green=Gate(), **{'async': Gate()})
    handler.stream.truncate(0)
    served = [eventlet.spawn(request, number) for number in range(REQUESTS)]
    assert [green.wait() for green in served] == list(range(REQUESTS))
    handler.flush()
    kinds: collections.Counter[str] = collections.Counter()
    with open(path) as lines:
        for line in lines:
            request_id, identity, message = line.rstrip('\n').split('|')
            number, _, kind = message.partition(' ')
            assert request_id == 'req-' + number, line
            assert identity == 'user-%s project-%s' % (number, number), line
            kinds[kind] += 1
    assert set(kinds.values()) == {REQUESTS}, kinds
    return kinds


gates: dict[str, Gate] = {}
who_logs = {'coroutines', 'native threads'}
if not mode.PATCHED or mode.HUB != 'asyncio':
    # With the lock that the handler has: logging's own, or, on patched
    # threads, oslo.log's, which is a pipe. A green task can wait for it, too.
    serve_all()
else:
    # oslo.log's lock for eventlet's asyncio hub is waited for greenly, which
    # a coroutine cannot do in the greenlet of the hub; and for another native
    # thread it asks again and again, which with 1,000 green threads that do
    # so may take half a minute. So it is tried with the lines of those who
    # can wait for it, and then, with a lock that is not waited for by
    # switching, all lines are written: nothing switches while the handler has
    # it.
    from oslo_log import pipe_mutex

    assert isinstance(handler.lock, pipe_mutex._AsyncioMutex)
    if not hasattr(pipe_mutex._AsyncioMutex, '__enter__'):
        # Since Python 3.13 logging writes "with handler.lock".
        pipe_mutex._AsyncioMutex.__enter__ = lambda self: self.acquire()
        pipe_mutex._AsyncioMutex.__exit__ = lambda self, *_: self.release()
    who_logs.clear()
    serve_all()
    who_logs.update(('coroutines', 'native threads'))
    handler.lock = native_threading.RLock()
    serve_all()
logging.getLogger().removeHandler(handler)
handler.close()
temporary.cleanup()
mode.done()
