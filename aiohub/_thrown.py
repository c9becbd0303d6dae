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

"""What is thrown into a green task, by eventlet's kill() or Timeout.

asyncio's code, and what is written for asyncio, expects no exception from
outside but ``CancelledError``. If any other comes, a ``TaskGroup`` leaves its
tasks behind, and a ``Lock`` does not pass on that it was released. So what is
thrown into an ``await`` is a ``CancelledError`` too, until it leaves the
coroutine. It has to be the same object, since that is how
``with eventlet.Timeout()`` knows its own; only its class is another one
meanwhile, derived from both. Where that cannot be, a ``CancelledError`` stands
in for it. A green call gets what was thrown.
"""

import asyncio
import contextlib
from typing import Any
from typing import NamedTuple
import weakref

import greenlet


def is_cancelled(future: Any) -> bool:
    """Whether a future has been cancelled, and perhaps not ended yet.

    That of ``asyncio.gather()`` has only a private name for it; without, a
    task that is cancelled, and then killed in the same turn, is only killed.
    """
    return bool(getattr(future, 'cancelling', int)()
                or getattr(future, 'cancels', 0)
                or getattr(future, '_cancel_requested', False))


def raise_(error: BaseException) -> None:
    """Raise *error*: a callback, for who runs the loop."""
    raise error


def has_raised(green: Any, error: BaseException) -> bool:
    """Return whether *error* is what a green thread has ended with.

    :param green: None for no green thread.
    """
    return (green is not None and green._exit_event.has_exception()
            and any(part is error for part in green._exit_event._exc))


def complain(hub: Any, loop: Any, error: BaseException) -> None:
    """Deal with what a green thread has ended with in the middle of a step.

    It came to who makes the step, in place of the greenlet of the hub.

    :param hub: The hub of this thread, which need not be aiohub's.
    :param loop: The loop of the task.
    """
    state = loop.state
    if state.callers_step.green is greenlet.getcurrent():
        # It was thrown into that one. Nothing ends in it: the task's greenlet
        # says in another way what it ends with.
        state.callers_step.thrown = error
    elif isinstance(error, (KeyboardInterrupt, SystemExit)):
        # For the main greenlet, and not for this task.
        loop.call_soon(raise_, error)
    elif not has_raised(state.awaited, error):
        hub.squelch_generic_exception(
            (type(error), error, error.__traceback__))


def survive_greenlet(error: BaseException) -> BaseException:
    """Return what can be thrown through the end of a greenlet.

    ``GreenletExit`` cannot: it ends a greenlet quietly and becomes what that
    returns, to a library that started it for a coroutine as its result.
    """
    return _stand_in(error) if isinstance(
        error, greenlet.GreenletExit) else error


def _stand_in(error: BaseException) -> BaseException:
    cancelled = asyncio.CancelledError()
    cancelled.__cause__ = error
    return cancelled


def is_exit(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        # What a TaskGroup makes of it.
        return error.split(greenlet.GreenletExit)[1] is None
    return isinstance(error, greenlet.GreenletExit)


def stands_for(other: BaseException, error: BaseException) -> bool:
    """Whether *other* came out of asyncio's code in place of *error*."""
    if isinstance(other, BaseExceptionGroup):
        return other.split(lambda part: part is error)[1] is None
    context: BaseException | None = other
    while type(context) is asyncio.CancelledError:
        context = getattr(context, _ORIGINAL, context.__context__)
    return context is error


#: The attribute of a CancelledError that was raised in place of another.
_ORIGINAL = 'aiohub_original'

_disguises: 'weakref.WeakKeyDictionary[type, weakref.ref[type]]' = (
    weakref.WeakKeyDictionary())


class _Disguised(asyncio.CancelledError):
    """Marks the classes that are made for that."""


def at_await(error: BaseException) -> BaseException:
    """Return what is raised at an ``await`` that *error* is thrown into."""
    if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt,
                          SystemExit)):
        # asyncio knows what to do.
        return error
    if not isinstance(error, greenlet.GreenletExit):
        # Instances of Python's own classes cannot get another class.
        with contextlib.suppress(TypeError):
            error.__class__ = _disguise(type(error))
            return error
    stand_in = _stand_in(error)
    setattr(stand_in, _ORIGINAL, error)
    return stand_in


def _disguise(kind: type) -> type:
    known = _disguises.get(kind)
    # A dictionary that referred to it would keep its base, too.
    disguised = None if known is None else known()
    if disguised is None:
        disguised = type(
            kind.__name__, (kind, _Disguised),
            {'__module__': kind.__module__,
             '__qualname__': kind.__qualname__})
        _disguises[kind] = weakref.ref(disguised)
    return disguised


def undisguise(error: BaseException) -> BaseException:
    """Return what *error* is outside of coroutines."""
    if isinstance(error, _Disguised):
        error.__class__ = type(error).__bases__[0]
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            undisguise(part)
    original: BaseException | None = getattr(error, _ORIGINAL, None)
    if original is None or isinstance(original, greenlet.GreenletExit):
        return error
    return original


class Late(NamedTuple):
    """An exception that came while another was on its way.

    :ivar timer: The timer that has raised it, if any.
    :ivar cancellations: How often the task had been cancelled.
    """

    error: BaseException
    timer: Any
    cancellations: int

    def is_taken_back(self, cancellations: int) -> bool:
        """Whether it is not to be raised any more.

        :param cancellations: How often the task is cancelled now.
        """
        if self.timer is not None:
            return bool(self.timer.given_up)
        # As of Python 3.13 uncancel() does.
        return (type(self.error) is asyncio.CancelledError
                and cancellations < self.cancellations)


class Later:
    """What is to be raised where a task waits next, one after the other."""

    __slots__ = ('_lates',)

    def __init__(self) -> None:
        self._lates: list[Late] = []

    def __len__(self) -> int:
        return len(self._lates)

    def add(self, *fields: Any) -> None:
        """Add a :class:`Late`."""
        self._lates.append(Late(*fields))

    def take(self, cancellations: int) -> Late | None:
        """Return the next, if any."""
        while self._lates:
            late = self._lates.pop(0)
            if not late.is_taken_back(cancellations):
                return late
        return None

    def take_missed(self, cancellations: int) -> BaseException | None:
        """Return what a task ends with that waits no more.

        It cannot end with all of them: it is cancelled, then, if any does
        that. A Timeout was for what it has done, and is forgotten.
        """
        errors = [survive_greenlet(late.error) for late in self._lates
                  if late.timer is None
                  and not late.is_taken_back(cancellations)]
        errors.sort(
            key=lambda error: not isinstance(error, asyncio.CancelledError))
        return errors[0] if errors else None
