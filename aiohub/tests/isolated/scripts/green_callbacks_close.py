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

"""While a callback waits in a green call, the hub is closed, or its thread
ends; and what a fork takes along.
"""

import asyncio
from collections.abc import Callable
import contextlib
import functools
import gc
import os
import traceback
from typing import Any
import weakref

import cases
import in_callback
import mode
import waiting

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs
from eventlet import patcher
from eventlet import tpool
import greenlet

native_os = patcher.original('os')
loop = aiohub.get_loop()
hub = hubs.get_hub()


# -- forks

def child(function: Callable[[], object]) -> None:
    """The end of a child."""
    status = 1
    try:
        with eventlet.Timeout(60):
            function()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        native_os._exit(status)


def reap(pid: int) -> None:
    _, status = native_os.waitpid(pid, 0)
    assert status == 0, status


def forked_meanwhile() -> None:
    """By a green thread; the callback waits in both, and goes on in both."""
    for way in (in_callback.by_call_soon, in_callback.by_plain_task):
        waiter = waiting.Waiter(way)

        def in_child(waiter: waiting.Waiter = waiter) -> None:
            waiting.check_green()
            assert asyncio.current_task() is None
            assert not waiter.log
            waiter.go_on()
            waiting.check_loop()

        def replace_hub() -> None:
            waiting.check_green()
            hubs.use_hub()
            waiting.check_green()
            waiting.check_loop()

        def fork(function: Callable[[], None]) -> int:
            pid = os.fork()
            if not pid:
                child(function)
            return pid

        pids = [fork(in_child), eventlet.spawn(fork, in_child).wait(),
                fork(replace_hub), eventlet.spawn(fork, replace_hub).wait()]
        waiting.check_green()
        for pid in pids:
            reap(pid)
        waiter.go_on()
        waiting.check_loop()


def forked_in_it() -> None:
    """Before a green call, between two, and after them."""
    for way in (in_callback.by_call_soon, in_callback.by_add_reader,
                in_callback.by_plain_task):
        for before in range(3):
            def callback(before: int = before) -> int:
                task = asyncio.current_task()
                for number in range(3):
                    if number == before:
                        pid = os.fork()
                        if not pid:
                            me.append('child')
                    eventlet.sleep(0)
                    assert eventlet.spawn(lambda: 5).wait() == 5
                assert asyncio.current_task() is task
                return pid

            me: list[str] = []
            pid = in_callback.call(callback, way)
            if me:
                child(lambda: (waiting.check_green(), waiting.check_loop()))
            reap(pid)
            waiting.check_green()
            waiting.check_loop()


# -- the end of the hub

def descriptors() -> int:
    gc.collect()
    return len(native_os.listdir('/proc/self/fd'))


def use_new_hub() -> None:
    waiting.check_green()
    waiting.check_loop()


def close_hub() -> None:
    hubs.get_hub().close()


def replace_hub() -> None:
    hubs.use_hub()


def never_returns() -> None:
    """Green threads go on for ever; the hub can be closed or replaced."""
    use_new_hub()
    before = descriptors()
    main = greenlet.getcurrent()
    # eventlet's own hubs have to be made in the main greenlet, and at its end
    # a green thread of spawn() asks for one.
    spawn = eventlet.spawn if mode.ON else eventlet.spawn_n
    closes = [replace_hub, *([close_hub] if mode.ON else [])]
    for close in closes:
        for how in ('main greenlet', 'before', 'in it', 'meanwhile'):
            old = hubs.get_hub()

            def close_in_green_thread(
                    close: Callable[[], None] = close,
                    old: Any = old) -> None:
                ready.wait()
                close()
                closed.append(True)
                if not mode.ON:
                    # The old hub is not closed, and has nothing to do.
                    old.schedule_call_global(0, main.switch)

            ready, closed = event.Event(), []
            if how == 'before':
                spawn(close_in_green_thread)
            waiter = waiting.Waiter(before=functools.partial(
                spawn, close_in_green_thread if how == 'in it' else int))
            for _ in range(200):
                eventlet.sleep(0)
            waiting.check_green()
            assert not waiter.log
            if how == 'main greenlet':
                close()
                closed.append(True)
            else:
                if how == 'meanwhile':
                    spawn(close_in_green_thread)
                ready.send()
                # It ends in the main greenlet: there is no hub any more.
                while not closed:
                    try:
                        old.switch()
                    except aiohub.HubClosedError:
                        break
            assert closed, how
            assert len(waiter.log) == 1, waiter.log
            assert isinstance(waiter.log[0], BaseException)
            assert hubs.get_hub() is not old
            use_new_hub()
            waiter.log.clear()
            del old, waiter
    if mode.ON:
        assert descriptors() == before, (before, descriptors())


def closed_when_it_has_returned() -> None:
    """In the turn in which it was woken."""
    before = descriptors()
    for _ in range(3):
        old = hubs.get_hub()
        log = []

        def callback(old: Any = old, log: Any = log) -> None:
            old.schedule_call_global(0, eventlet.getcurrent().switch)
            eventlet.spawn_n(old.close)
            old.switch()
            log.append('returned')

        old.loop.call_soon(callback)
        while not old.loop.is_closed():
            try:
                old.switch()
            except aiohub.HubClosedError:
                break
        assert log == ['returned'], log
        use_new_hub()
    assert descriptors() == before, (before, descriptors())


def cleans_up_when_it_is_closed() -> None:
    """With green calls: they are waited for."""
    log = []

    def callback() -> None:
        try:
            event.Event().wait()
        finally:
            eventlet.sleep(0.001)
            assert eventlet.spawn(lambda: 5).wait() == 5
            log.append('clean')

    for close in (close_hub, replace_hub):
        for spawn in (False, True):
            old = hubs.get_hub()
            aiohub.get_loop().call_soon(callback)
            cases.turns()
            if spawn:
                eventlet.spawn(close)
                with contextlib.suppress(aiohub.HubClosedError):
                    while not old.loop.is_closed():
                        old.switch()
            else:
                close()
            assert log == ['clean'], log
            log.clear()
            use_new_hub()


def not_closed_by_itself() -> None:
    """Neither by the callback nor by what the hub calls meanwhile."""
    old = hubs.get_hub()
    errors = []

    def try_to_close() -> None:
        try:
            old.close()
        except aiohub.HubClosedError as exc:
            errors.append(exc)

    def callback() -> None:
        try_to_close()
        # Before and after it is woken, in the same turn.
        old.schedule_call_global(0, try_to_close)
        eventlet.sleep(0)
        old.schedule_call_global(0, eventlet.getcurrent().switch)
        old.schedule_call_global(0, try_to_close)
        old.switch()
        try_to_close()

    async def task() -> None:
        try_to_close()
        eventlet.sleep(0)
        try_to_close()

    waiting = old.loop.create_task(task())
    callback_ended = event.Event()
    old.loop.call_soon(lambda: (callback(), callback_ended.send()))
    callback_ended.wait()
    cases.until(waiting.done)
    waiting.result()
    assert len(errors) == 6, errors
    assert not old.loop.is_closed()
    use_new_hub()


def what_the_hub_calls_cannot_wait() -> None:
    """Not while the callback waits, nor in the rest of that turn."""
    errors = []

    def call() -> None:
        try:
            eventlet.sleep(0.001)
        except RuntimeError as exc:
            errors.append(exc)

    def callback() -> None:
        hub = hubs.get_hub()
        hub.schedule_call_global(0, call)
        hub.schedule_call_global(0, eventlet.getcurrent().switch)
        hub.schedule_call_global(0, call)
        hub.switch()

    ended = event.Event()
    aiohub.get_loop().call_soon(lambda: (callback(), ended.send()))
    ended.wait()
    cases.until(lambda: len(errors) == 2)


def aborted_meanwhile() -> None:
    """The hub stops when the callback has returned."""
    hub = hubs.get_hub()
    log = []

    def callback() -> None:
        for number in range(5):
            eventlet.sleep(0)
            log.append(number)

    hub.loop.call_soon(callback)
    eventlet.spawn_n(hub.abort)
    hub.switch()
    assert log == list(range(5)), log
    assert not hub.running
    use_new_hub()


def thread_ends() -> None:
    """With a callback that never returns; everything is given back."""
    loops: weakref.WeakSet[Any] = weakref.WeakSet()
    failures = []

    def target() -> None:
        try:
            if mode.MODE.startswith('env'):
                hubs.use_hub('aiohub.hub')
            loops.add(aiohub.get_loop())
            waiting.Waiter()
            waiting.check_green()
        except BaseException as exc:
            failures.append(exc)

    def run() -> None:
        thread = mode.native.Thread(target=target)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    run()
    before = descriptors()
    for _ in range(20):
        run()
    if mode.ON:
        assert descriptors() == before, (before, descriptors())
        assert not loops, loops


tpool.execute(int)
forked_meanwhile()
forked_in_it()
tpool.killall()
never_returns()
if mode.ON:
    closed_when_it_has_returned()
    cleans_up_when_it_is_closed()
    not_closed_by_itself()
    what_the_hub_calls_cannot_wait()
    aborted_meanwhile()
thread_ends()
mode.done()
