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

"""Makes a green call in two tasks and a green thread at once.

Used by scripts. Meanwhile others go on, which the call needs to come to its
end; and whoever makes it is the same before, in the middle of it and after.
"""

import asyncio
from collections.abc import Callable
import contextvars
import inspect
from typing import Any

import cases
import mode

import aiohub
import eventlet
from eventlet import corolocal
from eventlet import event
from eventlet.green import threading

#: How many turns the others have to make before a call may end.
TURNS = 3

_variable: contextvars.ContextVar[object] = contextvars.ContextVar('who')
_green_local = corolocal.local()
# Of the task after patching; else of the OS thread, so of nobody here.
_thread_local = threading.local()
_ident = threading.get_ident


class Who:
    """What a task or a green thread must find unchanged."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self.green = eventlet.getcurrent()
        self.ident = _ident()
        _variable.set(self)
        _green_local.who = self
        _thread_local.who = self
        self.check()

    def check(self) -> bool:
        assert asyncio.current_task() is self.task
        assert asyncio.get_running_loop() is aiohub.get_loop()
        assert eventlet.getcurrent() is self.green
        assert _ident() == self.ident
        assert _variable.get() is self
        assert _green_local.who is self
        assert _thread_local.who is self
        return True


class Others:
    """A task, a green task and a green thread that go on meanwhile."""

    def __init__(self) -> None:
        self._made = [0, 0, 0]
        self._over = False
        loop = aiohub.get_loop()
        self._tasks = [loop.create_task(self._await(0)),
                       loop.create_task(self._wait_in_task(1))]
        self._green = eventlet.spawn(self._wait(2))

    def end(self) -> None:
        self._over = True
        for task in self._tasks:
            aiohub.await_(task)
        self._green.wait()

    async def _await(self, number: int) -> None:
        who = Who()
        while not self._over:
            await asyncio.sleep(0)
            self._made[number] += 1
            who.check()

    async def _wait_in_task(self, number: int) -> None:
        self._wait(number)()

    def _wait(self, number: int) -> Callable[[], None]:
        def run() -> None:
            who = Who()
            while not self._over:
                eventlet.sleep(0)
                self._made[number] += 1
                who.check()

        return run

    def since_now(self) -> Callable[[], bool]:
        """Return what tells whether all of them have gone on since."""
        then = list(self._made)
        return lambda: all(now - before >= TURNS for now, before in zip(
            self._made, then, strict=True))

    def go_on(self) -> None:
        """Wait until all of them have gone on; in green code."""
        cases.until(self.since_now())

    def then(self, function: Callable[..., object], *args: Any) -> None:
        """Call *function* in a green thread when all of them have gone on."""
        eventlet.spawn_n(self._then, self.since_now(), function, args)

    def _then(self, gone_on: Callable[[], bool],
              function: Callable[..., object], args: Any) -> None:
        cases.until(gone_on)
        function(*args)


class _Visitors:
    """Counts who makes a call at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __enter__(self) -> None:
        self.now += 1
        self.most = max(self.now, self.most)

    def __exit__(self, *_: object) -> None:
        self.now -= 1


Maker = Callable[[Others], Callable[[Who], Any]]


def _try(make: Maker) -> None:
    others = Others()
    call = make(others)
    asynchronous = inspect.iscoroutinefunction(call)
    visitors = _Visitors()

    async def in_task() -> None:
        who = Who()
        for _ in range(2):
            with visitors:
                if asynchronous:
                    await call(who)
                else:
                    call(who)
            who.check()
            await asyncio.sleep(0)
            who.check()
            eventlet.sleep(0)
            who.check()

    def in_green() -> None:
        if asynchronous:
            aiohub.await_(in_task())
            return
        who = Who()
        for _ in range(2):
            with visitors:
                call(who)
            who.check()

    tasks = [aiohub.get_loop().create_task(in_task()) for _ in range(2)]
    green = eventlet.spawn(in_green)
    try:
        for task in tasks:
            aiohub.await_(task)
        green.wait()
    finally:
        others.end()
    assert visitors.most == 3, visitors.most


def call(make: Maker) -> Maker:
    """Decorator: the function makes a call, to be tried by a case.

    It is given the others, and returns a function, which may be a coroutine
    function, of one argument: who makes the call.
    """
    cases.add(make.__name__, _try, make)
    return make


def patched_call(make: Maker) -> Maker:
    """Decorator: the same, where the program is monkey patched."""
    return call(make) if mode.PATCHED else make


def in_task(function: Callable[[], Any]) -> Callable[[], Any]:
    """Decorator: the coroutine function is a case, run as a task."""
    cases.add(function.__name__, lambda: aiohub.await_(function()))
    return function


def others_go_on() -> None:
    """Wait in a green call until a task and a green thread have run."""
    done = [event.Event(), event.Event()]

    async def send() -> None:
        eventlet.sleep(0)
        await asyncio.sleep(0)
        done[0].send()

    task = asyncio.get_running_loop().create_task(send())
    eventlet.spawn_n(done[1].send)
    for one in done:
        one.wait()
    del task


async def work(value: object = 1) -> object:
    """What can only be done by a green task, and all that it promises."""
    who = Who()
    assert who.task is not None
    for _ in range(2):
        others_go_on()
        who.check()
        await asyncio.sleep(0)
        who.check()
    return value
