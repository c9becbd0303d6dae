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

"""Context managers of one world that are entered and left in the other.

What is entered must be left where it was entered: ``asyncio.timeout()`` and
``TaskGroup`` belong to a task, an ``RLock`` to a green thread. So each entry
runs from beginning to end in one task, or one green thread, of its own. A
wrapper may be entered several times at once, as far as its manager may:
nothing of an entry is kept in the wrapper but in the list of those that are
open.
"""

import asyncio
import contextlib
import sys
from typing import Any
from typing import NamedTuple
from typing import TypeVar
import weakref

import eventlet
from eventlet import event
import greenlet

from aiohub import _callers
from aiohub import _crossing
from aiohub import _green_loop
from aiohub import _request_context
from aiohub import _threads
from aiohub import bridge
from aiohub import exceptions

_T = TypeVar('_T')


class _Entry(NamedTuple):
    #: Who has entered. Weak: a task that is collected in the body leaves, too.
    who: 'weakref.ref[Any]'
    #: To be given what __exit__ gets.
    leave: Any
    #: Is done when it has been left.
    left: 'asyncio.Future[bool | None]'


class _Held:
    def __init__(self, cm: Any) -> None:
        self._cm = cm
        self._entries: list[_Entry] = []

    def _take(self, who: object) -> _Entry:
        """Take out the entry that *who* leaves: the newest of its own.

        Or else of those who are gone, or of all: what is collected is closed
        by whoever runs just then, and exit stacks are passed on.
        """
        for wanted in (who, None):
            for entry in reversed(self._entries):
                if entry.who() is wanted:
                    return self._entries.pop(self._entries.index(entry))
        if not self._entries:
            raise exceptions.AiohubError(
                'This wrapper is left more often than entered. Use it in '
                '"with" or "async with" only.')
        return self._entries.pop()


class AsyncHeld(
        _Held, contextlib.AbstractContextManager[_T, bool | None]):
    def __enter__(self) -> _T:
        loop = _callers.waiters_loop('wrap_async_context_manager()', None)
        leave = loop.create_future()
        entered = _crossing.DelegatingFuture(loop, lambda: task.cancel())
        _request_context.follow()
        task = loop.create_task(self._hold(entered, leave))
        # If it is cancelled before it begins, nothing of it runs.
        task.add_done_callback(
            lambda _: entered.finish(error=asyncio.CancelledError()))
        entry = _Entry(weakref.ref(greenlet.getcurrent()), leave, task)
        try:
            value: _T = bridge.await_(entered)
        except BaseException:
            # Thrown into us just when it had been entered: leave it.
            if entered.done() and not (
                    entered.cancelled() or entered.exception()):
                self._entries.append(entry)
                self.__exit__(*sys.exc_info())
            raise
        self._entries.append(entry)
        return value

    def __exit__(self, *exc_info: Any) -> bool | None:
        _, leave, task = self._take(greenlet.getcurrent())
        if not leave.done():
            leave.set_result(exc_info)
        if exc_info[0] is GeneratorExit and _callers.runs_loop(
                greenlet.getcurrent(), leave.get_loop()):
            # Who is collected where nobody can wait leaves it to the task.
            keep(task)
            return None
        return bridge.await_(task)

    async def _hold(self, entered: _crossing.DelegatingFuture,
                    leave: 'asyncio.Future[Any]') -> Any:
        try:
            value = await self._cm.__aenter__()
        except BaseException as exc:
            entered.finish(error=exc)
            return None
        entered.finish(value)
        try:
            exc_info = await leave
        except asyncio.CancelledError:
            # By the manager itself, or by who ends all tasks: as if at the end
            # of the body, unless that has just failed.
            exc_info = sys.exc_info()
            if not leave.cancelled() and leave.result()[0]:
                exc_info = leave.result()
            if not await self._cm.__aexit__(*exc_info):
                raise
            return None
        return await self._cm.__aexit__(*exc_info)


class SyncHeld(
        _Held, contextlib.AbstractAsyncContextManager[_T, bool | None]):
    async def __aenter__(self) -> _T:
        leave = event.Event()
        green = _threads.spawn(lambda: self._hold(entered, leave))
        loop = _green_loop.get_loop()
        entered = _crossing.GreenFuture(loop, loop, green)
        entry = _Entry(weakref.ref(_who_awaits()), leave,
                       bridge.greenlet_to_future(green))
        try:
            value: _T = await entered
        except BaseException:
            if not entered.done():
                # The coroutine is closed: nobody waits any more. A green
                # thread that does not stop entering leaves by itself.
                entered.cancel()
                leave.send(sys.exc_info())
            elif not (entered.cancelled() or entered.exception()):
                # Cancelled just when it had been entered: leave it.
                self._entries.append(entry)
                await self.__aexit__(*sys.exc_info())
            raise
        self._entries.append(entry)
        return value

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        who, leave, left = self._take(_who_awaits())
        leave.send(exc_info)
        if exc_info[0] is GeneratorExit:
            # A coroutine that is closed must not await. A generator may in
            # aclose(), which ends when all is left. Both may wait greenly.
            if not _callers.runs_loop(greenlet.getcurrent(), left.get_loop()):
                return bridge.await_(left)
            if who() is None:
                return None  # the coroutine of a task that was collected
        return await left

    def _hold(self, entered: _crossing.GreenFuture,
              leave: event.Event) -> Any:
        try:
            value = self._cm.__enter__()
            if entered.take_cancel():
                # Just when it had been entered: the body does not begin.
                late = eventlet.greenlet.GreenletExit()
                self._cm.__exit__(type(late), late, None)
                raise late
        except eventlet.greenlet.GreenletExit:
            entered.finish(error=asyncio.CancelledError())
            return None
        except BaseException as exc:
            entered.finish(error=exc)
            return None
        entered.finish(value)
        try:
            exc_info = leave.wait()
        except BaseException:
            if not self._cm.__exit__(*sys.exc_info()):
                raise
            return None
        return self._cm.__exit__(*exc_info)


def _who_awaits() -> object:
    return (asyncio.current_task(_green_loop.get_loop())
            or greenlet.getcurrent())


_kept: 'set[asyncio.Future[Any]]' = set()


def keep(task: 'asyncio.Future[Any]') -> None:
    """Keep a task until it has ended; its loop refers to it weakly."""
    _kept.add(task)
    task.add_done_callback(_kept.discard)
