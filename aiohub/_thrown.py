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
thrown is a ``CancelledError`` too, until it leaves the coroutine. It has to be
the same object, since that is how ``with eventlet.Timeout()`` knows its own;
only its class is another one meanwhile, derived from both.
"""

import asyncio
import contextlib
from typing import Any
import weakref

import greenlet


def ends(future: Any) -> bool:
    """Whether a future is done, or was cancelled already.

    That of ``asyncio.gather()`` has only a private name for it; without, a
    task that is cancelled, and then killed in the same turn, is only killed.
    """
    return bool(future.done() or getattr(future, 'cancelling', int)()
                or getattr(future, 'cancels', 0)
                or getattr(future, '_cancel_requested', False))


def survive_greenlet(error: BaseException) -> BaseException:
    """Return what can be thrown through the end of a greenlet.

    ``GreenletExit`` cannot: it ends a greenlet quietly and becomes what that
    returns, to a library that started it for a coroutine as its result.
    """
    if isinstance(error, greenlet.GreenletExit):
        cancelled = asyncio.CancelledError()
        cancelled.__cause__ = error
        return cancelled
    return error


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
        context = context.__context__
    return context is error


_disguises: 'weakref.WeakKeyDictionary[type, type]' = (
    weakref.WeakKeyDictionary())


class _Disguised(asyncio.CancelledError):
    """Marks the classes that are made for that."""


def disguise(error: BaseException) -> BaseException:
    kind = type(error)
    if not isinstance(error, asyncio.CancelledError):
        # Instances of Python's own classes cannot get another class.
        with contextlib.suppress(TypeError):
            disguised = _disguises.get(kind)
            if disguised is None:
                disguised = _disguises[kind] = type(
                    kind.__name__, (kind, _Disguised),
                    {'__module__': kind.__module__,
                     '__qualname__': kind.__qualname__})
            error.__class__ = disguised
    return error


def undisguise(error: BaseException) -> None:
    if isinstance(error, _Disguised):
        error.__class__ = type(error).__bases__[0]
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            undisguise(part)
