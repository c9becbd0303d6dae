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

"""What the cases of cancellation share: who waits over the bridge, for what.

Used by scripts.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import cases

import aiohub
import eventlet
from eventlet import greenthread
import greenlet


class Custom(Exception):
    pass


class CustomBase(BaseException):
    pass


def throws() -> list[tuple[Any, ...]]:
    """Return what to kill with, in each form that kill() takes."""
    return [(), (Custom('thrown'),), (Custom, Custom('thrown'), None),
            (CustomBase('thrown'),), (eventlet.Timeout(None),)]


#: The ways to kill a green thread.
KILLS: dict[str, Any] = {
    'GreenThread.kill': lambda green, *throw: green.kill(*throw),
    'eventlet.kill': greenthread.kill,
    'greenthread.cancel': greenthread.cancel,
}


# -- what is waited for

class Work:
    """Waits twice, and once more in its cleanup; a coroutine or green."""

    def __init__(self, *, slow: bool = False, swallows: Any = None,
                 fails: BaseException | None = None) -> None:
        self.log: list[str] = []
        self.first = cases.Gate()
        self.second = cases.Gate()
        self.cleanup = cases.Gate()
        self.slow = slow
        self.swallows = swallows
        self.fails = fails

    def open(self) -> None:
        """Let it go on wherever it is."""
        for gate in (self.first, self.second, self.cleanup):
            gate.open()

    def _end(self) -> str:
        self.log.append('end')
        if self.fails is not None:
            raise self.fails
        return 'result'

    async def in_task(self) -> Any:
        self.log.append('start')
        try:
            await self.first.in_task()
            await self.second.in_task()
            return self._end()
        except asyncio.CancelledError:
            self.log.append('stopped')
            if self.swallows is not None:
                return self.swallows
            raise
        finally:
            try:
                if self.slow:
                    await self.cleanup.in_task()
                else:
                    await asyncio.sleep(0)
            except BaseException:
                self.log.append('cleanup stopped')
                raise
            else:
                self.log.append('clean')

    def in_green(self) -> Any:
        self.log.append('start')
        try:
            self.first.in_green()
            self.second.in_green()
            return self._end()
        except greenlet.GreenletExit:
            self.log.append('stopped')
            if self.swallows is not None:
                return self.swallows
            raise
        finally:
            try:
                if self.slow:
                    self.cleanup.in_green()
                else:
                    eventlet.sleep(0)
            except BaseException:
                self.log.append('cleanup stopped')
                raise
            else:
                self.log.append('clean')


class Manager:
    """Does the work when it is entered or left; both ways."""

    def __init__(self, enter: Any = None, leave: Any = None) -> None:
        self.enter = enter
        self.leave = leave
        self.left: list[Any] = []

    async def __aenter__(self) -> Any:
        return await self.enter() if self.enter else 'entered'

    async def __aexit__(self, *exc_info: Any) -> None:
        self.left.append(exc_info[0])
        if self.leave:
            await self.leave()

    def __enter__(self) -> Any:
        return self.enter() if self.enter else 'entered'

    def __exit__(self, *exc_info: Any) -> None:
        self.left.append(exc_info[0])
        if self.leave:
            self.leave()


# -- green code waits

class Waiter:
    """A green thread that waits, and how that ended."""

    def __init__(self, green: Any) -> None:
        self.green = green
        self.outcome: Any = None

    def kill(self, *throw: Any) -> None:
        self.green.kill(*throw)

    def ended(self) -> bool:
        if self.outcome is None and self.green.dead:
            try:
                self.outcome = self.green.wait()
            except BaseException as exc:
                self.outcome = exc
        return self.outcome is not None

    def saw(self, expected: Any) -> None:
        """Wait for the end, and compare."""
        cases.until(self.ended)
        if isinstance(expected, type):
            assert type(self.outcome) is expected, repr(self.outcome)
        elif isinstance(expected, BaseException):
            assert self.outcome is expected, repr(self.outcome)
        else:
            assert self.outcome == expected, repr(self.outcome)

    def saw_thrown(self, throw: tuple[Any, ...]) -> None:
        self.saw((*throw, None, None)[1]
                 or (*throw, greenlet.GreenletExit)[0])


class Caller(Waiter):
    """One whose green thread is the test's own, and calls the bridge."""

    def __init__(self, function: Callable[[], Any]) -> None:
        def call() -> None:
            try:
                self.outcome = function()
            except BaseException as exc:
                self.outcome = exc

        super().__init__(eventlet.spawn(call))

    def ended(self) -> bool:
        return self.outcome is not None


async def items(run: Any) -> Any:
    """Yield one thing at once, then what the work returns."""
    yield 'first'
    yield await run()


def enter(run: Any) -> Any:
    with aiohub.wrap_async_context_manager(Manager(run)) as value:
        return value


# -- asyncio waits

class Waiting:
    """A task that waits for green work; how that ended."""

    def __init__(self, way: Any, run: Any, around: Any = None) -> None:
        async def wait() -> Any:
            if around is None:
                return await way(run)
            return await around(way(run))

        self.task = aiohub.get_loop().create_task(wait())

    def ended(self) -> bool:
        return self.task.done()

    def saw(self, expected: Any) -> None:
        cases.until(self.task.done)
        if expected is asyncio.CancelledError:
            assert self.task.cancelled(), self.task
            return
        assert not self.task.cancelled(), self.task
        outcome = self.task.exception() or self.task.result()
        if isinstance(expected, type):
            assert type(outcome) is expected, repr(outcome)
        elif isinstance(expected, BaseException):
            assert outcome is expected, repr(outcome)
        else:
            assert outcome == expected, repr(outcome)


async def async_enter(run: Any) -> Any:
    async with aiohub.wrap_sync_context_manager(Manager(run)) as value:
        return value
