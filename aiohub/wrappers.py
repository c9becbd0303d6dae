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

"""Functions, context managers and iterators of one side, for the other.

Made of :mod:`aiohub.bridge`, and with its rules.
"""

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
import functools
import inspect
from typing import Any
from typing import overload
from typing import ParamSpec
from typing import TypeVar

from aiohub import _crossing
from aiohub import bridge

_T = TypeVar('_T')
_P = ParamSpec('_P')


@overload
def async_to_sync(
    fn: Callable[_P, Awaitable[_T]], **options: Any,
) -> Callable[_P, _T]: ...


@overload
def async_to_sync(
    fn: None = None, **options: Any,
) -> Callable[[Callable[_P, Awaitable[_T]]], Callable[_P, _T]]: ...


def async_to_sync(fn: Any = None, **options: Any) -> Any:
    """Make a coroutine function a function for green code.

    As a decorator, with arguments or without::

        @async_to_sync
        async def get(url): ...

        body = get(url)        # in a green thread

    :param fn: The coroutine function.
    :param options: Those of :func:`~aiohub.future_to_greenlet`, except *autostart*.
    :returns: A function that calls *fn* and waits as :func:`~aiohub.await_` does. It
        has the name, signature and docstring of *fn*.
    """
    if fn is None:
        return functools.partial(async_to_sync, **options)
    _check_options(options, bridge.future_to_greenlet)

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if options:
            return bridge.future_to_greenlet(fn(*args, **kwargs), **options).wait()
        return bridge.await_(fn(*args, **kwargs))

    return wrapper


@overload
def sync_to_async(
    fn: Callable[_P, _T], **options: Any,
) -> Callable[_P, Coroutine[Any, Any, _T]]: ...


@overload
def sync_to_async(
    fn: None = None, **options: Any,
) -> Callable[[Callable[_P, _T]], Callable[_P, Coroutine[Any, Any, _T]]]: ...


def sync_to_async(fn: Any = None, **options: Any) -> Any:
    """Make a function of green code a coroutine function.

    As a decorator, with arguments or without::

        @sync_to_async
        def get(url): ...

        body = await get(url)  # in a coroutine

    :param fn: The function; it may make any green call.
    :param options: Those of :func:`~aiohub.greenlet_to_future`.
    :returns: A coroutine function that calls *fn* in a new green thread and
        waits for it. It has the name, signature and docstring of *fn*.
    """
    if fn is None:
        return functools.partial(sync_to_async, **options)
    _check_options(options, bridge.greenlet_to_future)

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = functools.partial(fn, *args, **kwargs)
        return await bridge.greenlet_to_future(
            _crossing.spawn(call), **options)

    return wrapper


def _check_options(options: dict[str, Any], target: Any) -> None:
    """Complain when decorating, not at the first call."""
    known = inspect.signature(target).parameters
    for name in options:
        if known.get(name) is None or known[name].kind is not (
                inspect.Parameter.KEYWORD_ONLY):
            raise TypeError('unknown option %r' % name)
