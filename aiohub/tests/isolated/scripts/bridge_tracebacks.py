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

"""Tracebacks lead from the caller to the line that failed, and few are shown.

The same exception object arrives, with a few frames of the bridge for each
crossing. Nothing is printed when somebody takes it, and once when nobody
does.
"""

import asyncio
import contextlib
import functools
import gc
import io
import logging
import os
import sys
import traceback
from typing import Any

import mode

import eventlet
from eventlet import hubs
from eventlet.hubs import asyncio as asyncio_hub

import aiohub
from aiohub import from_thread

loop = aiohub.get_loop()

HERE = os.path.abspath(__file__)
BETWEEN = tuple(
    os.path.dirname(os.path.abspath(module.__file__)) + os.sep
    for module in (aiohub, eventlet, asyncio))


class Failure(Exception):
    pass


def frames(error: BaseException) -> list[tuple[str, str]]:
    """Return file and function of each frame of the traceback."""
    return [(frame.f_code.co_filename, frame.f_code.co_name)
            for frame, _ in traceback.walk_tb(error.__traceback__)]


def own(error: BaseException) -> list[str]:
    """Return the functions of this script that are in the traceback."""
    return [name for file, name in frames(error)
            if os.path.abspath(file) == HERE]


def between(error: BaseException) -> list[str]:
    """Return the functions of aiohub, eventlet and asyncio in it."""
    return [name for file, name in frames(error)
            if os.path.abspath(file) != HERE and file.startswith(BETWEEN)]


# -- each way across: how many frames of the bridge are shown at the most

failure = Failure()


async def fail() -> None:
    raise failure


def green_fail() -> None:
    raise failure


@contextlib.asynccontextmanager
async def manage():
    yield
    await fail()


@contextlib.contextmanager
def green_manage():
    yield
    green_fail()


async def iterate():
    yield 1
    await fail()


def green_iterate():
    yield 1
    green_fail()


def call_await() -> None:
    aiohub.await_(fail())


def call_await_task() -> None:
    aiohub.await_(loop.create_task(fail()))


def call_future_to_greenlet() -> None:
    aiohub.future_to_greenlet(fail()).wait()


def call_async_to_sync() -> None:
    aiohub.async_to_sync(fail)()


def call_async_to_sync_options() -> None:
    aiohub.async_to_sync(autokill_greenlet=False)(fail)()


def call_context_manager() -> None:
    with aiohub.wrap_async_context_manager(manage()):
        pass


def call_iterator() -> None:
    for _ in aiohub.wrap_async_iterator(iterate()):
        pass


async def call_sync_to_async() -> None:
    await aiohub.sync_to_async(green_fail)()


async def call_green_thread() -> None:
    await aiohub.greenlet_to_future(eventlet.spawn(green_fail))


async def call_awaitable_thread() -> None:
    await eventlet.spawn(green_fail)


async def call_thread_that_has_failed() -> None:
    green = eventlet.spawn(green_fail)
    future = aiohub.greenlet_to_future(green)
    await asyncio.wait([future])
    assert future.exception() is failure
    await aiohub.greenlet_to_future(green)


async def call_greenlet() -> None:
    raw = eventlet.greenlet.greenlet(green_fail)
    await aiohub.greenlet_to_future(raw)


async def call_context_manager_async() -> None:
    async with aiohub.wrap_sync_context_manager(green_manage()):
        pass


async def call_iterator_async() -> None:
    async for _ in aiohub.wrap_sync_iterator(green_iterate()):
        pass


def call_run() -> None:
    from_thread.run(fail)


def call_run_sync() -> None:
    from_thread.run_sync(green_fail)


#: Each green task that an exception came through adds one of them, or two if
#: it was thrown into that; and so does a green wait with aiohub switched off.
STEPS = ('send', 'throw', '_switch')

TO_ASYNC = {
    call_await: 2,
    call_await_task: 2,
    call_future_to_greenlet: 9,
    call_async_to_sync: 3,
    call_async_to_sync_options: 4,
    call_context_manager: 4,
    call_iterator: 4,
}
TO_GREEN = {
    call_sync_to_async: 1,
    call_green_thread: 0,
    call_awaitable_thread: 1,
    call_thread_that_has_failed: 0,
    call_greenlet: 1,
    call_context_manager_async: 3,
    call_iterator_async: 2,
}
FROM_THREAD = {call_run: 2, call_run_sync: 4}


def check(error: BaseException, function: Any, limit: int) -> None:
    assert error is failure, repr(error)
    names = own(error)
    assert function.__name__ in names, names
    assert names[-1] in ('fail', 'green_fail'), names
    shown = between(error)
    others = [name for name in shown if name not in STEPS]
    assert len(others) <= limit and len(shown) <= limit + 2, (
        function.__name__, len(shown), shown)
    assert error.__context__ is None, repr(error.__context__)
    assert error.__cause__ is None, repr(error.__cause__)
    error.__traceback__ = None


def check_sync(function: Any, limit: int) -> None:
    try:
        function()
    except Failure as exc:
        check(exc, function, limit)
    else:
        raise AssertionError(function)


async def check_async(function: Any, limit: int) -> None:
    try:
        await function()
    except Failure as exc:
        check(exc, function, limit)
    else:
        raise AssertionError(function)


# More than once: no crossing adds to what an earlier one has left.
for _ in range(3):
    for function, limit in TO_ASYNC.items():
        check_sync(function, limit)
        eventlet.spawn(check_sync, function, limit).wait()
    for function, limit in TO_GREEN.items():
        aiohub.await_(check_async(function, limit))
    for function, limit in FROM_THREAD.items():
        aiohub.await_(asyncio.to_thread(check_sync, function, limit))


# -- several who wait for the same, one after the other

def wait_again(waiting: Any) -> None:
    waiting()


def wait_several_times(waiting: Any) -> None:
    lengths = []
    for _ in range(5):
        try:
            wait_again(waiting)
        except Failure as exc:
            assert exc is failure
            assert own(exc).count('wait_again') == 1, own(exc)
            lengths.append(len(frames(exc)))
    # The first time it may have been waited for longer.
    assert len(lengths) == 5 and len(set(lengths[1:])) == 1, lengths


wait_several_times(aiohub.future_to_greenlet(fail()).wait)
failure = Failure()
wait_several_times(
    functools.partial(aiohub.await_, loop.create_task(fail())))


# -- what was being handled, and what caused it

async def fail_because() -> None:
    try:
        raise KeyError('first')
    except KeyError as exc:
        raise Failure() from exc


async def fail_while_handling() -> None:
    try:
        raise KeyError('first')
    except KeyError:
        raise Failure()


def check_chain(coroutine: Any, cause: type | None) -> None:
    handled = ValueError('being handled')
    try:
        try:
            raise handled
        except ValueError:
            aiohub.await_(coroutine)
    except Failure as exc:
        assert (exc.__cause__ and type(exc.__cause__)) is cause
        # asyncio's: what was handled there, and then what is here.
        chain = []
        link = exc.__context__
        while link is not None:
            assert link not in chain
            chain.append(link)
            link = link.__context__
        # Raised again, an exception gets the context of where that is.
        assert handled in chain, chain
        assert len(chain) <= 2, chain
    else:
        raise AssertionError('nothing was raised')


failure = Failure()
check_chain(fail(), None)
check_chain(fail_because(), KeyError)
check_chain(fail_while_handling(), None)

# An exception that is thrown in while it waits has no trace of the
# cancellation that it caused.
try:
    with eventlet.Timeout(0):
        aiohub.await_(loop.create_future())
except eventlet.Timeout as exc:
    assert exc.__context__ is None, repr(exc.__context__)
    assert exc.__cause__ is None
    assert len(between(exc)) <= 8, between(exc)


async def stop() -> None:
    def raise_stop() -> None:
        raise StopIteration(3)

    try:
        await aiohub.sync_to_async(raise_stop)()
    except RuntimeError as exc:
        assert isinstance(exc.__cause__, StopIteration)
        assert exc.__cause__.value == 3
        assert own(exc.__cause__)[-1] == 'raise_stop', own(exc.__cause__)
    else:
        raise AssertionError('nothing was raised')


aiohub.await_(stop())


# -- deep: green code calls a coroutine calls green code ...

def go_down_green(level: int) -> None:
    if not level:
        raise failure
    aiohub.await_(go_down_async(level - 1))


async def go_down_async(level: int) -> None:
    if not level:
        raise failure
    await aiohub.sync_to_async(go_down_green)(level - 1)


def depth(levels: int) -> tuple[int, int]:
    """Return how long the traceback is, in frames and in characters."""
    global failure
    failure = Failure()
    try:
        go_down_green(levels)
    except Failure as exc:
        assert exc is failure
        names = own(exc)
        assert names == ['depth'] + [
            'go_down_async' if level % 2 else 'go_down_green'
            for level in range(levels + 1)], names
        text = ''.join(traceback.format_exception(exc))
        return len(frames(exc)), len(text)
    raise AssertionError('nothing was raised')


lengths = [depth(levels) for levels in (20, 40, 60, 80, 100)]
steps = {after[0] - before[0] for before, after in zip(lengths, lengths[1:])}
assert len(steps) == 1, lengths
# For two crossings: the frames of two functions, three of the bridge, and
# those of the task.
in_task = 0 if mode.HUB == 'asyncio' else 2
assert steps == {10 * (2 + 3 + in_task)}, lengths
assert lengths[-1][1] < 5.5 * lengths[0][1], lengths


# -- who prints it

class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(
            record.getMessage() + '\n' + ''.join(
                traceback.format_exception(record.exc_info[1])
                if record.exc_info else ()))


def printed(function: Any) -> list[str]:
    """Return what is printed and logged when *function* is called."""
    records = Records()
    logging.getLogger().addHandler(records)
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        function()
        for _ in range(5):
            eventlet.sleep(0)
            gc.collect()
        text = sys.stderr.getvalue()
    finally:
        sys.stderr = stderr
        logging.getLogger().removeHandler(records)
    return records.texts + ([text] if text else [])


def take(function: Any) -> Any:
    def taken() -> None:
        try:
            function()
        except (Failure, eventlet.greenlet.GreenletExit,
                asyncio.CancelledError):
            return
        raise AssertionError('nothing was raised')

    return taken


def take_async(function: Any) -> Any:
    return take(lambda: aiohub.await_(function()))


def take_in_thread(function: Any) -> Any:
    return take(lambda: aiohub.await_(asyncio.to_thread(function)))


async def forever() -> None:
    await loop.create_future()


def end_and_wait(end: str) -> None:
    """Kill or cancel, before or while it waits, and wait for it."""
    task = loop.create_task(forever())
    green = aiohub.future_to_greenlet(task)
    if 'later' in end:
        eventlet.sleep(0)
        eventlet.sleep(0)
    if 'kill' in end:
        green.kill(*([Failure()] if 'error' in end else []))
    else:
        task.cancel()
    green.wait()


def link_only() -> None:
    seen: list[object] = []
    green = aiohub.future_to_greenlet(fail())
    green.link(lambda green: take(green.wait)() or seen.append(green))
    while not seen:
        eventlet.sleep(0)


for function in TO_ASYNC:
    assert printed(take(function)) == [], function
for function in TO_GREEN:
    assert printed(take_async(function)) == [], function
for function in FROM_THREAD:
    assert printed(take_in_thread(function)) == [], function
for end in ('kill', 'kill later', 'kill error', 'kill error later', 'cancel',
            'cancel later'):
    found = printed(take(lambda end=end: end_and_wait(end)))
    assert found == [], (end, found)
assert printed(link_only) == []


def begun(function: Any = green_fail) -> tuple[Any, Any]:
    """Return a green thread that has begun to wait, and its event."""
    go_on = eventlet.Event()
    green = eventlet.spawn(lambda: go_on.wait() or function())
    while not green:
        eventlet.sleep(0)
    return green, go_on


# Not the one exception of before, whose traceback refers to who waits: what
# tells that nobody does is that it is collected.
async def fail_anew() -> None:
    raise Failure('anew')


def green_fail_anew() -> None:
    raise Failure('anew')


def green_stop_anew() -> None:
    try:
        green_fail_anew()
    except Failure as exc:
        raise StopIteration() from exc


def nobody_waits() -> None:
    aiohub.future_to_greenlet(fail_anew())


def nobody_waits_for_task() -> None:
    task = loop.create_task(fail_anew())
    aiohub.spawn_for_awaitable(task)


def nobody_awaits_green_thread() -> None:
    aiohub.greenlet_to_future(eventlet.spawn(green_fail_anew))


def nobody_awaits_one_that_had_begun() -> None:
    green, go_on = begun(green_fail_anew)
    aiohub.greenlet_to_future(green)
    go_on.send()


def nobody_awaits_stop_iteration() -> None:
    aiohub.greenlet_to_future(eventlet.spawn(green_stop_anew))


def nobody_awaits_greenlet() -> None:
    aiohub.greenlet_to_future(eventlet.greenlet.greenlet(green_fail_anew))


def nobody_awaits_coroutine() -> None:
    loop.create_task(aiohub.sync_to_async(green_fail_anew)())


def nobody_awaits_any_more() -> None:
    """The future is cancelled, and what it stood for goes on and fails."""
    begun = []

    def fail_later() -> None:
        begun.append(True)
        eventlet.sleep(0)
        green_fail_anew()

    task = loop.create_task(
        aiohub.sync_to_async(autokill_greenlet=False)(fail_later)())
    while not begun:
        eventlet.sleep(0)
    task.cancel()


for function in (
        nobody_waits, nobody_waits_for_task, nobody_awaits_green_thread,
        nobody_awaits_one_that_had_begun, nobody_awaits_stop_iteration,
        nobody_awaits_greenlet, nobody_awaits_coroutine,
        nobody_awaits_any_more):
    found = printed(function)
    assert len(found) == 1, (function.__name__, found)
    assert 'never retrieved' in found[0], found[0]
    assert 'Failure: anew' in found[0], found[0]
    assert 'fail_anew\n' in found[0], found[0]


# Being killed or cancelled is no failure.
def nobody_waits_for_killed() -> None:
    aiohub.future_to_greenlet(forever()).kill()


def nobody_waits_for_cancelled() -> None:
    task = loop.create_task(forever())
    aiohub.future_to_greenlet(task)
    eventlet.sleep(0)
    task.cancel()


def nobody_awaits_killed() -> None:
    green = eventlet.spawn(eventlet.Event().wait)
    aiohub.greenlet_to_future(green)
    eventlet.sleep(0)
    green.kill()


def nobody_awaits_cancelled() -> None:
    green = eventlet.spawn(eventlet.Event().wait)
    aiohub.greenlet_to_future(green).cancel()


for function in (nobody_waits_for_killed, nobody_waits_for_cancelled,
                 nobody_awaits_killed, nobody_awaits_cancelled):
    found = printed(function)
    assert found == [], (function.__name__, found)


# -- green threads of eventlet.spawn(): it prints what ends them

async def wait_for(future: Any) -> None:
    await future


def wait_and_check(future: Any) -> None:
    """It is shown like that of one which the bridge has spawned."""
    try:
        aiohub.await_(wait_for(future))
    except Failure as exc:
        names = own(exc)
        assert names[:2] == ['wait_and_check', 'wait_for'], names
        # Only those of await_().
        assert [name for name in between(exc) if name not in STEPS] == [
            'await_', 'wait_for_first' if mode.ON else 'wait'], between(exc)
        check(exc, wait_and_check, 2)
    else:
        raise AssertionError('nothing was raised')


def fails_later() -> None:
    green, go_on = begun()
    future = aiohub.greenlet_to_future(green)
    go_on.send()
    wait_and_check(future)


def fails_after_more_waits() -> None:
    def wait_more() -> None:
        for _ in range(3):
            eventlet.sleep(0)
        green_fail()

    green, go_on = begun(wait_more)
    future = aiohub.greenlet_to_future(green)
    go_on.send()
    wait_and_check(future)


def fails_when_a_descriptor_is_ready() -> None:
    def read() -> None:
        hubs.trampoline(reading, read=True)
        green_fail()

    reading, writing = os.pipe()
    green, go_on = begun(read)
    go_on.send()
    eventlet.sleep(0)
    future = aiohub.greenlet_to_future(green)
    os.write(writing, b'x')
    wait_and_check(future)
    os.close(reading)
    os.close(writing)


def fails_in_a_subclass() -> None:
    class Thread(eventlet.greenthread.GreenThread):
        pass

    hub = hubs.get_hub()
    green = Thread(hub.greenlet)
    hub.schedule_call_global(0, green.switch, green_fail, (), {})
    wait_and_check(aiohub.greenlet_to_future(green))


def several_take_it() -> None:
    green, go_on = begun()
    futures = [aiohub.greenlet_to_future(green) for _ in range(3)]
    waiting = eventlet.spawn(take(green.wait))
    eventlet.sleep(0)
    go_on.send()
    for future in futures:
        wait_and_check(future)
    waiting.wait()
    # And one that comes when it has ended.
    wait_and_check(aiohub.greenlet_to_future(green))


def one_of_two_takes_it() -> None:
    """In either order."""
    for number in (0, 1):
        green, go_on = begun()
        futures = [
            aiohub.greenlet_to_future(green, autokill_greenlet=False)
            for _ in range(2)]
        futures[number].cancel()
        go_on.send()
        wait_and_check(futures[1 - number])


def comes_while_a_link_waits() -> None:
    """Nobody is forgotten."""
    gate = eventlet.Event()
    told: list[object] = []
    green, go_on = begun()
    future = aiohub.greenlet_to_future(green)
    green.link(lambda _: gate.wait())
    green.link(told.append)
    go_on.send()
    take_async(lambda: wait_for(future))()
    assert not green.dead
    late = aiohub.greenlet_to_future(green)
    green.link(told.append)
    gate.send()
    wait_and_check(late)
    assert told == [green] * 2, told


def killed_with_anything() -> None:
    for throw in ([Failure()], [Failure], [Failure, Failure(), None], []):
        for has_begun in (True, False):
            green = eventlet.spawn(eventlet.Event().wait)
            while has_begun and not green:
                eventlet.sleep(0)
            future = aiohub.greenlet_to_future(green)
            green.kill(*throw)
            take_async(lambda future=future: wait_for(future))()
            take(green.wait)()


for function in (
        fails_later, fails_after_more_waits,
        fails_when_a_descriptor_is_ready, fails_in_a_subclass,
        several_take_it, one_of_two_takes_it, comes_while_a_link_waits,
        killed_with_anything):
    failure = Failure(function.__name__)
    found = printed(function)
    assert found == [], (function.__name__, found)


# Nobody takes it: the future was cancelled before.
def cancelled_before(make: Any) -> None:
    green, go_on = make()
    future = aiohub.greenlet_to_future(green, autokill_greenlet=False)
    future.cancel()
    go_on.send()


def not_begun(make: Any = eventlet.spawn) -> tuple[Any, Any]:
    go_on = eventlet.Event()
    return make(lambda: go_on.wait() or green_fail()), go_on


for make in (begun, not_begun,
             functools.partial(not_begun, eventlet.greenlet.greenlet)):
    failure = Failure('cancelled before')
    found = printed(functools.partial(cancelled_before, make))
    assert len(found) == 1, (make, found)
    assert 'Failure: cancelled before' in found[0], found[0]


def leave() -> None:
    try:
        green_fail_anew()
    except Failure as exc:
        raise SystemExit(3) from exc


def spawned() -> Any:
    return aiohub.greenlet_to_future(eventlet.spawn(leave))


def spawned_by_the_bridge() -> Any:
    future = loop.create_future()
    future.set_exception(SystemExit(3))
    return aiohub.greenlet_to_future(aiohub.future_to_greenlet(future))


def leaves_the_program(make: Any, taken: bool) -> None:
    """What is meant for the main greenlet reaches that, taken or not."""
    futures = [make()]
    if not taken:
        futures.clear()
    try:
        for _ in range(5):
            eventlet.sleep(0)
    except SystemExit as exc:
        assert exc.code == 3
    else:
        raise AssertionError('nothing was raised')
    for future in futures:
        assert isinstance(future.exception(), SystemExit)


for make in (spawned, spawned_by_the_bridge):
    found = printed(lambda make=make: leaves_the_program(make, True))
    assert found == [], (make, found)
found = printed(lambda: leaves_the_program(spawned, False))
assert len(found) == 1, found
assert 'never retrieved' in found[0], found[0]
assert 'Failure: anew' in found[0], found[0]


assert isinstance(hubs.get_hub(), asyncio_hub.Hub) is (mode.HUB != 'epolls')
mode.done()
