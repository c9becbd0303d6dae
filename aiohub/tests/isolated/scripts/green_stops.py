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


"""What stops a green task, who does it, and what the task then sees.

Used by scripts. A task goes on after each exception, so that it sees all.
"""

import asyncio
from collections.abc import Callable
import itertools
from typing import Any

import cases
import mode

import aiohub
import eventlet
from eventlet import greenthread
from eventlet import hubs
import greenlet

CancelledError = asyncio.CancelledError


class Custom(Exception):
    pass


class Trial:
    """A task that waits in a place, and then in others.

    :param pauses: Whether it waits after that.
    """

    def __init__(self, place: Any, pauses: bool = True) -> None:
        self.place = place
        self.pauses = pauses
        self.greenlet: Any = None
        #: What it saw in the place, and later.
        self.first: Any = None
        self.later: list[BaseException] = []
        self.task = aiohub.get_loop().create_task(self.run())

    async def run(self) -> str:
        self.greenlet = greenlet.getcurrent()
        try:
            self.first = await self.place.wait()
        except BaseException as exc:
            self.first = exc
        if self.pauses:
            for pause in (self._green, self._await) * 3:
                try:
                    await pause()
                except BaseException as exc:
                    self.later.append(exc)
        return 'end'

    async def _green(self) -> None:
        eventlet.sleep(0)

    async def _await(self) -> None:
        await asyncio.sleep(0)

    def seen(self) -> list[Any]:
        """Return all exceptions that it has seen, in their order."""
        first = [self.first] * isinstance(self.first, BaseException)
        return [*first, *self.later]

    def wait_until_there(self) -> None:
        cases.until(self.place.there)
        cases.turns(2)
        assert not self.task.done()


# -- who does it

def in_one_turn(*functions: Callable[[], Any]) -> None:
    """Have the hub call each, one after the other."""
    for function in functions:
        hubs.get_hub().schedule_call_global(0, function)


def by_a_green_thread(*functions: Callable[[], Any]) -> None:
    """Call each with no turn between, unless it waits itself."""
    def call() -> None:
        for function in functions:
            function()

    eventlet.spawn(call)


def by_a_task(*functions: Callable[[], Any]) -> None:
    async def call() -> None:
        for function in functions:
            function()

    aiohub.get_loop().create_task(call())


def by_tasks(*functions: Callable[[], Any]) -> None:
    """A task each: they run in the same turn of the loop."""
    for function in functions:
        by_a_task(function)


def by_callbacks(*functions: Callable[[], Any]) -> None:
    for function in functions:
        aiohub.get_loop().call_soon(function)


def by_turns(*functions: Callable[[], Any]) -> None:
    """One in the hub's turn, the next in the loop's."""
    ways = itertools.cycle([
        lambda f: hubs.get_hub().schedule_call_global(0, f),
        aiohub.get_loop().call_soon])
    for way, function in zip(ways, functions):
        way(function)


WAYS: dict[str, Any] = {
    'in one turn': in_one_turn, 'by a green thread': by_a_green_thread,
    'by a task': by_a_task, 'by tasks': by_tasks,
    'by callbacks': by_callbacks, 'by turns': by_turns}
if not mode.ON:
    # There a kill makes a callback wait, with a warning.
    del WAYS['by callbacks'], WAYS['by turns']


# -- stops

class Cancel:
    kind = CancelledError

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def __call__(self) -> None:
        self.trial.task.cancel()

    def is_mine(self, error: BaseException) -> bool:
        return type(error) is CancelledError and error.__cause__ is None


class Kill:
    kind: type[BaseException] = greenlet.GreenletExit

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.error = self.kind()

    def __call__(self) -> None:
        if self.trial.greenlet.dead or self.trial.task.done():
            return
        greenthread.kill(self.trial.greenlet, self.error)

    def is_mine(self, error: BaseException) -> bool:
        # GreenletExit is raised as a CancelledError at an await.
        return self.error in (error, error.__cause__)


class KillCustom(Kill):
    kind = Custom


class KillTimeout(Kill):
    """Nobody has set it, and nobody cancels it."""

    kind = eventlet.Timeout


STOPS = {'cancel': Cancel, 'kill': Kill, 'kill with exception': KillCustom,
         'kill with timeout': KillTimeout}


def matched(seen: list[Any], stops: list[Any]) -> None:
    """Each stop was seen once; cancels that met may be one."""
    left = [s for s in stops if not isinstance(s, Cancel)]
    cancels = [s for s in stops if isinstance(s, Cancel)]
    for error in seen:
        mine = [s for s in left if s.is_mine(error)]
        if mine:
            left.remove(mine[0])
        elif cancels and cancels[0].is_mine(error):
            cancels.pop(0)
        else:
            raise AssertionError('%r in %r' % (error, seen))
    assert not left, seen
    wanted = [s for s in stops if isinstance(s, Cancel)]
    assert not wanted or len(cancels) < len(wanted), seen


class Switch:
    """Wakes a task as eventlet's own code does."""

    def __init__(self, trial: Trial, value: Any) -> None:
        self.trial = trial
        self.value = value

    def __call__(self) -> None:
        if greenlet.getcurrent() is not hubs.get_hub().greenlet:
            # It is left.
            hubs.get_hub().schedule_call_global(
                0, greenlet.getcurrent().switch)
        target = getattr(self.trial.place, 'child', self.trial.greenlet)
        target.switch(self.value)
