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

"""Who waits for a task makes its first step, and the hub gets control in it.

It gives that back before anything else: a task is current there. With aiohub
switched off nothing of this happens, and what is seen is the same.
"""

import asyncio
import gc
import os
import socket
import sys
from typing import Any
import weakref

import cases
import first_steps
import mode

import eventlet
from eventlet.green import socket as green_socket
from eventlet import hubs
import greenlet

import aiohub

loop = aiohub.get_loop()


# -- how who waits was woken, with somebody else who is next

def by_next_turn(function: Any, note: Any) -> Any:
    eventlet.spawn_after(0, eventlet.spawn, note, 'next')
    eventlet.sleep(0)
    return function()


def by_timer(function: Any, note: Any) -> Any:
    hub = hubs.get_hub()
    due = hub.clock() + 0.002
    hub.schedule_call_global(0.002, note, 'next')
    timer = hub.schedule_call_global(0.001, greenlet.getcurrent().switch)
    while hub.clock() < due:
        pass  # the hub is to find both
    while not timer.called:
        hub.switch()
    return function()


def by_descriptor(function: Any, note: Any) -> Any:
    pairs = [[green_socket.socket(
        one.family, one.type, one.proto, one.detach())
        for one in socket.socketpair()] for _ in range(2)]

    def read_and_note() -> None:
        assert pairs[1][1].recv(1) == b'x'
        note('next')

    def write() -> None:
        for pair in pairs:
            pair[0].sendall(b'x')

    eventlet.spawn(read_and_note)
    eventlet.spawn(write)
    try:
        assert pairs[0][1].recv(1) == b'x'
        found = function()
        # It can be waited for again.
        eventlet.spawn(write)
        assert pairs[0][1].recv(1) == b'x'
        cases.turns()
        return found
    finally:
        for one in [*pairs[0], *pairs[1]]:
            one.close()


WAYS = {'next turn': by_next_turn, 'timer': by_timer,
        'descriptor': by_descriptor}


@first_steps.by_who_waits
def who_makes_it() -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.append(greenlet.getcurrent().parent)

    aiohub.await_(look())
    if mode.ON:
        assert seen == [greenlet.getcurrent()], seen


# -- the hub gets control

@first_steps.by_who_waits
def no_task_is_current_in_others() -> None:
    """In those that run next when a green thread has failed in the step."""
    seen: list[Any] = []

    def note(name: str) -> None:
        seen.append((name, asyncio.current_task(loop)))

    async def begin() -> str:
        for _ in range(2):
            eventlet.spawn(note, 'green')
            loop.call_soon(note, 'callback')
            first_steps.leave_to(waiters.pop(), first_steps.Failure('thrown'))
        return 'over'

    for name, way in WAYS.items():
        waiters = [first_steps.waiting(first_steps.wait) for _ in range(2)]
        aiohub.await_(first_steps.answer())  # leaves a greenlet
        assert eventlet.spawn(
            way, lambda: aiohub.await_(begin()), note).wait() == 'over', name
        text = first_steps.printed()
        assert text.count('Failure: thrown') == 2, (name, text)
        cases.until(lambda: len(seen) == 5)
        if mode.ON:
            assert {one for _, one in seen} == {None}, (name, seen)
        seen.clear()


@first_steps.by_who_waits
def another_waits_in_it() -> None:
    """It is woken in the step, and waits again."""
    seen: list[str] = []

    def twice() -> None:
        for number in range(2):
            first_steps.wait()
            seen.append('woken %d' % number)

    async def begin() -> str:
        task = asyncio.current_task()
        for _ in range(2):
            first_steps.leave_to(other)
            assert asyncio.current_task() is task
        return 'over'

    other = first_steps.waiting(twice)
    assert aiohub.await_(begin()) == 'over'
    assert seen == ['woken 0', 'woken 1'], seen


@first_steps.by_who_waits
def what_it_awaits_begins_at_once() -> None:
    seen: list[str] = []

    async def begin() -> str:
        loop.call_soon(seen.append, 'callback')
        for number in range(3):
            assert await aiohub.sync_to_async(int)(number) == number
            assert await eventlet.spawn(int, number) == number
        if mode.ON:
            assert not seen, seen
        return 'over'

    assert aiohub.await_(begin()) == 'over'


@first_steps.by_who_waits
def what_it_awaits_fails() -> None:
    """Who waits was woken in each of the ways there are. It prints nothing."""
    def fail() -> None:
        raise first_steps.Failure

    async def begin() -> str:
        for way in (lambda: eventlet.spawn(fail),
                    lambda: aiohub.sync_to_async(fail)()):
            try:
                await way()
            except first_steps.Failure:
                continue
            raise AssertionError('nothing was raised')
        return 'over'

    for way in WAYS.values():
        seen: list[str] = []
        aiohub.await_(first_steps.answer())  # leaves a greenlet
        assert eventlet.spawn(
            way, lambda: aiohub.await_(begin()), seen.append).wait() == 'over'
        cases.until(lambda seen=seen: seen)
        assert not first_steps.printed()


@first_steps.by_who_waits
def what_it_awaits_awaits() -> None:
    async def down(level: int) -> int:
        if not level:
            return 0
        return 1 + await eventlet.spawn(
            lambda: aiohub.await_(down(level - 1)))

    for _ in range(3):
        assert aiohub.await_(down(10)) == 10


@first_steps.by_who_waits
def it_begins_tasks_eagerly() -> None:
    """Which first_steps.wait in a green call, in its own step."""
    if sys.version_info < (3, 12):
        return
    seen: list[str] = []

    async def inner(name: str) -> str:
        eventlet.sleep(0)
        seen.append(name)
        return name

    async def begin() -> list[str]:
        some = [asyncio.Task(inner(name), loop=loop, eager_start=True)
                for name in 'abc']
        at_once = asyncio.Task(
            first_steps.answer(), loop=loop, eager_start=True)
        assert at_once.result() == 'answer'
        return await asyncio.gather(*some)

    if mode.ON:
        assert aiohub.await_(begin()) == ['a', 'b', 'c']
        assert aiohub.await_(begin()) == ['a', 'b', 'c']


# -- what is thrown

@first_steps.by_who_waits
def thrown_into_who_makes_it() -> None:
    """It goes on when the cleanup is over."""
    seen: list[str] = []

    async def begin() -> None:
        try:
            first_steps.leave_to(green, first_steps.Failure())
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            seen.append('over')

    green = eventlet.spawn(aiohub.await_, begin())
    try:
        green.wait()
    except first_steps.Failure:
        seen.append('thrown')
    assert seen == ['over', 'thrown'], seen
    assert 'Failure' in first_steps.printed()


@first_steps.by_who_waits
def killed_with_what_it_awaits() -> None:
    """Who makes the step is killed by what that has begun."""
    seen: list[str] = []

    async def begin() -> None:
        try:
            await aiohub.sync_to_async(eventlet.kill)(green)
            await asyncio.sleep(3600)
        finally:
            seen.append('over')

    green = eventlet.spawn(aiohub.await_, begin())
    try:
        green.wait()
    except greenlet.GreenletExit:
        seen.append('killed')
    assert seen == ['over', 'killed'], seen


# -- the handler of a signal, in the hub

def killed_in(owner: Any, name: str) -> None:
    """Have green code killed, which awaits then, where the hub calls this."""
    seen: list[Any] = []
    plain = getattr(owner, name)

    def note(kind: str) -> None:
        seen.append((kind, asyncio.current_task(loop)))

    async def clean_up() -> None:
        first_steps.leave_to(other, greenlet.GreenletExit())
        seen.append('clean')

    def work() -> None:
        try:
            first_steps.wait()
        finally:
            aiohub.await_(clean_up())

    def handle(argument: Any) -> Any:
        delattr(owner, name)
        eventlet.spawn(note, 'green')
        loop.call_soon(note, 'callback')
        eventlet.kill(green)
        return plain(0 if name == 'do_poll' else argument)

    green = first_steps.waiting(work)
    other = first_steps.waiting(first_steps.wait)
    aiohub.await_(first_steps.answer())  # leaves a greenlet
    setattr(owner, name, handle)
    loop.call_soon_threadsafe(int)  # there is an event to tell of
    try:
        green.wait()
    except greenlet.GreenletExit:
        seen.append('killed')
    cases.until(lambda: len(seen) == 4)
    assert seen.index('clean') < seen.index('killed'), seen
    assert {one[1] for one in seen if isinstance(one, tuple)} == {None}, seen


if mode.ON:
    @first_steps.by_who_waits
    def killed_in_the_poll() -> None:
        killed_in(hubs.get_hub(), 'do_poll')

    @first_steps.by_who_waits
    def killed_at_the_end_of_the_turn() -> None:
        killed_in(loop._hub_selector, 'tell')  # type: ignore[attr-defined]


# -- what is left

@first_steps.by_who_waits
def who_has_made_it_is_freed() -> None:
    async def begin() -> None:
        if sys.version_info >= (3, 12):
            await asyncio.Task(
                first_steps.answer(), loop=loop, eager_start=True)

    def work() -> None:
        for _ in range(3):
            aiohub.await_(begin())

    gc.disable()
    try:
        green = eventlet.spawn(work)
        ended = weakref.ref(green)
        green.wait()
        del green
        cases.turns()
        assert ended() is None
    finally:
        gc.enable()


@first_steps.by_who_waits
def how_deep_it_may_go() -> None:
    """As deep from a deep call as from another."""
    def room(level: int = 0) -> int:
        try:
            return room(level + 1)
        except RecursionError:
            return level

    async def measure() -> int:
        return room()

    def down(level: int) -> int:
        return down(level - 1) if level else aiohub.await_(measure())

    shallow = down(0)
    deep = down(sys.getrecursionlimit() // 2)
    if mode.ON:
        assert abs(shallow - deep) < 50, (shallow, deep)


@first_steps.by_who_waits
def it_forks() -> None:
    async def fork() -> int:
        pid = os.fork()
        await asyncio.sleep(0)
        await aiohub.sync_to_async(eventlet.sleep)(0)
        return pid

    pid = aiohub.await_(fork())
    if not pid:
        try:
            found = [aiohub.await_(first_steps.answer()) for _ in range(3)]
            os._exit(0 if found == ['answer'] * 3 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    assert aiohub.await_(first_steps.answer()) == 'answer'


@first_steps.by_who_waits
def one_that_has_begun_is_awaited() -> None:
    """The hub wakes it, and not the step, although that comes next."""
    log: list[str] = []
    hub, waiting = hubs.get_hub(), greenlet.getcurrent()

    def work() -> None:
        hub.schedule_call_global(0, greenlet.getcurrent().switch)
        waiting.switch()
        log.append('woken')

    async def wait() -> None:
        loop.call_soon(log.append, 'callback')
        await aiohub.greenlet_to_future(green)
        log.append('waited')

    green = eventlet.spawn(work)
    hub.switch()
    aiohub.await_(wait())
    cases.until(lambda: len(log) == 3)
    assert log.index('woken') < log.index('waited')
    if mode.ON:
        assert log[-1] == 'waited', log


cases.run_all()
mode.done()
