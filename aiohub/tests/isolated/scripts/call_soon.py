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
"""What the loop is to call soon is put into its queue without asyncio."""

import asyncio
import contextvars
from unittest import mock

import mode

import eventlet
from eventlet import event
from eventlet import hubs

hub = hubs.get_hub()
eventlet.sleep(0)
loop = hub.loop
LONG = 60


def until_called() -> None:
    """Wait until the loop has called all that it was given before."""
    done = event.Event()
    loop.call_soon(done.send, None)
    with eventlet.Timeout(LONG):
        done.wait()


def without_asyncio() -> None:
    """The handles, and what is called, are what they are in asyncio."""
    assert loop.state.calls_soon, 'asyncio has changed: it is asked always'
    variable: contextvars.ContextVar[str] = contextvars.ContextVar('variable')
    variable.set('ours')
    context = contextvars.copy_context()
    context.run(variable.set, 'theirs')
    seen: list[object] = []

    def note(*args: object) -> None:
        seen.append((*args, variable.get()))

    for given in (None, context):
        ours = loop.call_soon(note, 1, 2, context=given)
        theirs = asyncio.BaseEventLoop.call_soon(
            loop, note, 1, 2, context=given)
        assert type(ours) is type(theirs) and repr(ours) == repr(theirs)
        for name in asyncio.Handle.__slots__:
            # A copy of the current context is another one each time.
            if name != '__weakref__' and (name != '_context' or given):
                assert getattr(ours, name) == getattr(theirs, name), name
        loop.call_soon(note).cancel()
        until_called()
        who = 'theirs' if given else 'ours'
        assert seen == [(1, 2, who), (1, 2, who)], seen
        seen.clear()

    # In debug mode asyncio looks what it is called with.
    loop.set_debug(True)
    try:
        for wrong in (None, asyncio.sleep):
            try:
                loop.call_soon(wrong)
            except TypeError:
                seen.append(wrong)
    finally:
        loop.set_debug(False)
    assert seen == [None, asyncio.sleep], seen
    seen.clear()
    until_called()

    # One that does something else.
    def call_soon(self: object, callback: object, *args: object) -> object:
        seen.append(callback)
        return called_soon(self, callback, *args)

    called_soon = asyncio.BaseEventLoop._call_soon  # type: ignore
    with mock.patch.object(asyncio.BaseEventLoop, '_call_soon', call_soon):
        loop.set_debug(False)
        loop.call_soon(int)
        assert seen.count(int) == 1, seen
    loop.set_debug(False)
    assert loop.state.calls_soon
    loop.call_soon(int)
    assert seen.count(int) == 1, seen


def closed() -> None:
    try:
        loop.close()
    except RuntimeError:
        assert loop.state.calls_soon  # it runs
    else:
        raise AssertionError('the loop runs')
    hub.close()
    for _ in range(2):
        try:
            loop.call_soon(int)
        except RuntimeError as exc:
            assert str(exc) == 'Event loop is closed'
        else:
            raise AssertionError('a closed loop calls nothing')
        loop.set_debug(False)


without_asyncio()
closed()
mode.done()
