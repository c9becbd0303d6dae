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


"""Nothing is kept of a call across the bridge when it is over.

Not the function, nor what it is called with, nor what it returns: also of the
first, which those after it may share something with.
"""

import asyncio
import weakref

import cases
import mode

import aiohub
import eventlet


class Value:
    """What is watched."""


class Function:
    """Green code; the value it returns is watched, too."""

    def __init__(self, kept, waits):
        self.kept = kept
        self.waits = waits

    def __call__(self, first, second=None):
        if self.waits:
            eventlet.sleep(0)
        result = Value()
        self.kept.append(weakref.ref(result))
        return result


class AsyncFunction(Function):
    """The same in a coroutine."""

    async def __call__(self, first, second=None):
        if self.waits:
            await asyncio.sleep(0)
        result = Value()
        self.kept.append(weakref.ref(result))
        return result


def from_green(call):
    """Have a coroutine call green code."""
    async def coroutine(function, first, second):
        await call(function, first, second)

    return lambda *args: aiohub.await_(coroutine(*args))


WAYS = {
    'sync_to_async': (Function, from_green(
        lambda function, first, second: aiohub.sync_to_async(
            lambda: function(first, second=second))())),
    'sync_to_async of the function': (Function, from_green(
        lambda function, first, second: aiohub.sync_to_async(
            function.__call__)(first, second=second))),
    'await spawn': (Function, from_green(
        lambda function, first, second: eventlet.spawn(
            function, first, second=second))),
    'greenlet_to_future': (Function, from_green(
        lambda function, first, second: aiohub.greenlet_to_future(
            eventlet.spawn(function, first, second=second)))),
    'spawn': (Function, lambda function, first, second: eventlet.spawn(
        function, first, second).wait()),
    'await_': (AsyncFunction, lambda function, first, second: aiohub.await_(
        function(first, second))),
    'spawn_for_awaitable': (
        AsyncFunction, lambda function, first, second:
        aiohub.spawn_for_awaitable(function(first, second)).wait()),
    'async_to_sync': (
        AsyncFunction, lambda function, first, second: aiohub.async_to_sync(
            function.__call__)(first, second)),
}


def is_let_go(kind, call, waits):
    kept = []
    for _ in range(5):
        function, first, second = kind(kept, waits), Value(), Value()
        kept.extend(map(weakref.ref, (function, first, second)))
        call(function, first, second)
        del function, first, second
        cases.turns()
        left = [value() for value in kept if value() is not None]
        assert not left, left
    assert len(kept) == 20


for _name, (_kind, _call) in WAYS.items():
    for _waits in (False, True):
        cases.add('%s, %s' % (_name, 'waits' if _waits else 'at once'),
                  is_let_go, _kind, _call, _waits)

cases.run_all()
mode.done()
