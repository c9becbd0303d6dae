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

"""Who may wait, and for what; the errors say what to write instead.

A coroutine that is refused is closed: nobody sees it as "never awaited".
"""

import asyncio
import inspect
from typing import NoReturn

from eventlet import hubs
import greenlet

from aiohub import _eventlet
from aiohub import _green_loop
from aiohub import _native
from aiohub import _request_context
from aiohub import exceptions


def own_loop(
    name: str, awaitable: object = None,
) -> asyncio.AbstractEventLoop:
    """Return the loop of this thread, which must be one that has a hub."""
    if _eventlet.current_hub() is None and not is_main_thread():
        misuse(awaitable, (
            '%s was called in a thread that has no hub. From a native thread '
            'call aiohub.from_thread.run() or run_sync().' % name))
    _request_context.follow()
    return _green_loop.get_loop()


def waiters_loop(
    name: str, awaitable: object = None,
) -> asyncio.AbstractEventLoop:
    """Return the loop of this thread, if the caller can wait for it."""
    loop = own_loop(name, awaitable)
    if runs_loop(greenlet.getcurrent(), loop):
        misuse(awaitable, (
            '%s was called in a coroutine or a callback, which cannot wait '
            'greenly: the event loop itself would have to. In a coroutine '
            'write "await" instead; in a callback, start a task.' % name))
    running = asyncio._get_running_loop()
    if running is not None and running is not loop:
        misuse(awaitable, (
            '%s was called while another event loop runs in this thread (%r). '
            'In a coroutine of it write "await" instead.' % (name, running)))
    return loop


def awaiters_loop(name: str) -> asyncio.AbstractEventLoop:
    """Return the loop of this thread, if its coroutines can run now."""
    loop = own_loop(name)
    running = asyncio._get_running_loop()
    if running is not None and running is not loop:
        misuse(None, (
            '%s was called while another event loop runs in this thread '
            '(%r), and the hub cannot run green code meanwhile. Run the '
            'coroutine with aiohub.await_() instead of asyncio.run().'
            % (name, running)))
    return loop


def runs_loop(green: greenlet.greenlet,
              loop: asyncio.AbstractEventLoop) -> bool:
    """Whether *green* runs the callbacks of this thread's loop, or its hub."""
    hub = hubs.get_hub()
    return (green is hub.greenlet
            or green is _green_loop.greenlet_of(loop, hub))


def is_main_thread() -> bool:
    """Return whether this is the main OS thread."""
    threading = _native.threading
    return bool(
        threading.get_ident() == threading.main_thread().ident)


def check_awaitable(awaitable: object) -> None:
    """Raise if *awaitable* is none."""
    if isinstance(awaitable, greenlet.greenlet):
        return
    if not inspect.isawaitable(awaitable):
        hint = ''
        if inspect.iscoroutinefunction(awaitable):
            hint = ' Call it: its name alone is not a coroutine.'
        raise exceptions.AiohubError(
            'An awaitable is needed, and %r is none.%s Pass a coroutine, a '
            'future, a task or a green thread.' % (awaitable, hint))


def check_function(name: str, function: object) -> None:
    """Raise if *function* is none; close it if it is a coroutine."""
    if not callable(function):
        misuse(function, (
            '%s takes a function, and its arguments after it, and got %r. '
            'Write the name of the function only: do not call it.'
            % (name, function)))


def misuse(awaitable: object, message: str) -> NoReturn:
    """Raise, and close a coroutine that now never runs."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    raise exceptions.AiohubError(message)
