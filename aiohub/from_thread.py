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
import inspect
import os
from typing import Any
from typing import ParamSpec
from typing import TypeVar

from aiohub import _at_exit
from aiohub import _callers
from aiohub import _crossing
from aiohub import _lifetime
from aiohub import _loop_state
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
        wait would never end, if the main thread has no loop, or if this is no
        coroutine function.
    :raises aiohub.HubClosedError: If the hub is closed or replaced, or the
        interpreter ends, before there is a result.
    """
    _callers.check_function('from_thread.run()', async_fn)

    def start() -> 'asyncio.Future[_T]':
        awaitable = async_fn(*args, **kwargs)
        if not inspect.isawaitable(awaitable):
            raise exceptions.AiohubError(
                'from_thread.run() takes a coroutine function, and %r is '
                'none: it returned %r. For a function of green code call '
                'run_sync().' % (async_fn, awaitable))
        return asyncio.ensure_future(awaitable)

    return _in_hub_thread('run()', start)


def run_sync(fn: Callable[_P, _T], *args: _P.args,
             **kwargs: _P.kwargs) -> _T:
    """Call a function in a new green thread of the hub's thread and wait.

    :param fn: The function, and its arguments after it.
    :returns: What it returns.
    :raises BaseException: What it raises.
    :raises aiohub.AiohubError: As for :func:`run`, or if this is a coroutine
        function.
    """
    _callers.check_function('from_thread.run_sync()', fn)

    def call() -> _T:
        result = fn(*args, **kwargs)
        if inspect.iscoroutine(result):
            _callers.misuse(result, (
                'from_thread.run_sync() takes a function of green code, and '
                '%r returned a coroutine. For a coroutine function call '
                'run().' % (fn,)))
        return result

    def start() -> 'asyncio.Future[_T]':
        return bridge.greenlet_to_future(_threads.spawn(call))

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
    answer: _native.Future[_T] = _native.Future()
    _calls[answer] = loop
    try:
        _begin(loop, start, answer)
        return answer.result()
    finally:
        # If something has ended the wait.
        _calls.pop(answer, None)
        # The traceback of what it raises refers to this frame.
        del answer


def _begin(loop: Any, start: Callable[[], 'asyncio.Future[_T]'],
           answer: '_native.Future[_T]') -> None:
    # This is one of the calls already. Who closes the loop, or ends the
    # interpreter, says so before it looks for them: we see that here, or we
    # are seen there.
    state = _loop_state.of(loop)
    if state is not None:
        state.when_closed.add(_end_calls)
    _at_exit.mind()
    if _at_exit.begun:
        raise exceptions.HubClosedError(_AT_EXIT)

    def deliver(result: Any, error: BaseException | None) -> None:
        _answer(answer, result, error)

    try:
        _crossing.begin_there(loop, start, deliver)
    except RuntimeError as exc:
        raise exceptions.HubClosedError(_CLOSED) from exc


# -- ends that nobody waits for

_CLOSED = (
    'The event loop of the main thread is closed. Stop threads that use it '
    'before the hub is closed.')
_AT_EXIT = (
    'The interpreter ends, and the hub of the main thread runs no more. Wait '
    'for threads that use it before the program ends.')

#: The calls under way, and the loop of each. Who takes one out of it is the
#: one who answers; that needs no lock, which a fork could leave locked.
_calls: 'dict[_native.Future[Any], asyncio.AbstractEventLoop]' = {}

if hasattr(os, 'register_at_fork'):
    # The threads that made them are not in the child.
    os.register_at_fork(after_in_child=_calls.clear)


def _answer(answer: '_native.Future[Any]', result: Any,
            error: BaseException | None) -> None:
    """End the wait of a call, unless it has ended."""
    if _calls.pop(answer, None) is None:
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def _end_calls(loop: object = None) -> None:
    """End all calls, or those to *loop*, which does not run any more."""
    for answer, theirs in list(_calls.items()):
        if loop is None or theirs is loop:
            _answer(answer, None, exceptions.HubClosedError(
                _AT_EXIT if loop is None else _CLOSED))


def _end_at_exit() -> None:
    _end_calls()


# Before anybody waits for the threads that make the calls; and before tasks
# are cancelled, which is not what has happened to the caller.
_at_exit.functions.insert(0, _end_at_exit)
# For calls that begin at exit.
_at_exit.mind()
