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

"""The way in from native OS threads.

The other direction, from the hub's thread to a native one, is eventlet's
``tpool.execute()`` for green code and ``asyncio.to_thread()`` for coroutines.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
from typing import Any
from typing import ParamSpec
from typing import TypeVar

from aiohub import _crossing
from aiohub import _lifetime
from aiohub import _native
from aiohub import _request_context
from aiohub import _threads
from aiohub import bridge
from aiohub import exceptions

_T = TypeVar('_T')
_P = ParamSpec('_P')


def run(async_fn: Callable[_P, Awaitable[_T]], *args: _P.args,
        **kwargs: _P.kwargs) -> _T:
    """Call a coroutine function in the hub's thread and wait for its result.

    The hub is that of the main thread. Context variables, and the request
    context, are seen by the coroutine.

    :param async_fn: The coroutine function, and its arguments after it.
    :returns: What it returns.
    :raises BaseException: What it raises.
    :raises aiohub.AiohubError: If called in the hub's own thread, where the
        wait would never end, or if the main thread has no loop.
    """

    def start() -> 'asyncio.Future[_T]':
        return asyncio.ensure_future(async_fn(*args, **kwargs))

    return _in_hub_thread('run()', start)


def run_sync(fn: Callable[_P, _T], *args: _P.args,
             **kwargs: _P.kwargs) -> _T:
    """Call a function in a new green thread of the hub's thread and wait.

    :param fn: The function, and its arguments after it.
    :returns: What it returns.
    :raises BaseException: What it raises.
    :raises aiohub.AiohubError: As for :func:`run`.
    """

    def start() -> 'asyncio.Future[_T]':
        return bridge.greenlet_to_future(
            _threads.spawn(lambda: fn(*args, **kwargs)))

    return _in_hub_thread('run_sync()', start)


def _in_hub_thread(
    name: str, start: Callable[[], 'asyncio.Future[_T]'],
) -> _T:
    loop = _lifetime.main_loop()
    if loop is None:
        raise exceptions.AiohubError(
            'aiohub.from_thread.%s needs the event loop of the main thread, '
            'which has none. Call aiohub.get_loop() there first.' % name)
    if _native.threading.get_ident() == _native.threading.main_thread().ident:
        raise exceptions.AiohubError(
            'aiohub.from_thread.%s was called in the thread of the hub, and '
            'would wait for itself. In green code call aiohub.await_(), in a '
            'coroutine write "await".' % name)
    _request_context.follow()
    # Native, for two OS threads cannot wait for a green one.
    answer: Any = _native.Future()

    def deliver(result: Any, error: BaseException | None) -> None:
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    try:
        _crossing.begin_there(loop, start, deliver)
    except RuntimeError as exc:
        raise exceptions.AiohubError(
            'The event loop of the main thread is closed. Stop threads that '
            'use it before the hub is closed.') from exc
    result: _T = answer.result()
    return result
