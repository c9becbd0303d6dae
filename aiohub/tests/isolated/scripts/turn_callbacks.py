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
"""What a poll has led to is called by the hub, before the next poll."""

import asyncio
import os
import sys

import in_callback
import mode

import eventlet
from eventlet import event
from eventlet import hubs
from eventlet import patcher

native_socket = patcher.original('socket')
hub = hubs.get_hub()
eventlet.sleep(0)
LONG = 60

#: Of the callbacks in found().
handles: list[asyncio.Handle] = []


def found(*callbacks) -> None:  # type: ignore
    """Have a poll find something that gives the loop *callbacks* to call."""
    left, right = native_socket.socketpair()
    done = event.Event()

    def read() -> None:
        hub.loop.remove_reader(left)
        left.close()
        handles[:] = map(hub.loop.call_soon, callbacks)
        hub.loop.call_soon(done.send, None)

    hub.loop.add_reader(left, read)
    right.send(b'x')
    try:
        with eventlet.Timeout(LONG):
            done.wait()
    finally:
        right.close()


def caller_names() -> set[str]:
    names = set()
    frame = sys._getframe(1)
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return names


def callbacks_before_the_poll() -> None:
    """Callbacks that the hub calls itself are what they are in the loop."""
    loop = hub.loop
    names: list[set[str]] = []
    log: list[object] = []

    def note() -> None:
        names.append(caller_names())

    found(note)
    assert 'turn' in names.pop(), 'asyncio has changed: the loop calls all'

    loop.set_exception_handler(
        lambda _, context: log.append(context['exception']))

    # It is cancelled by the one before it.
    found(lambda: handles[1].cancel(), lambda: log.append('cancelled'))
    assert not log, log

    # It fails: the next is called all the same.
    error = ValueError('a callback')

    def fail() -> None:
        raise error

    found(fail, lambda: log.append('next'))
    loop.set_exception_handler(None)
    assert log == [error, 'next'], log
    log.clear()

    # It ends with what is for the main greenlet: the next is called later.
    def interrupt() -> None:
        raise KeyboardInterrupt

    later = event.Event()
    try:
        found(interrupt, lambda: later.send('later'))
    except KeyboardInterrupt:
        log.append('interrupted')
    assert later.wait() == 'later'
    assert log == ['interrupted'], log
    log.clear()

    # It makes a green call: meanwhile the loop stands still.
    def wait() -> None:
        eventlet.spawn(log.append, 'green thread')
        eventlet.sleep(0)
        log.append('callback')

    found(wait, lambda: log.append('next'))
    assert log == ['green thread', 'callback', 'next'], log
    assert len(in_callback.warnings()) == 1
    log.clear()

    # It stops the loop, which the hub starts again.
    found(loop.stop, lambda: log.append('next'))
    assert log == ['next'], log
    log.clear()

    # It has others called, and a timer: each in its turn.
    def more() -> None:
        loop.call_soon(log.append, 'soon')
        loop.call_later(0, log.append, 'timer')
        hub.schedule_call_global(0, log.append, 'green')

    found(more, lambda: log.append('next'))
    with eventlet.Timeout(LONG):
        while len(log) < 4:
            eventlet.sleep(0)
    assert log[0] == 'next' and sorted(map(str, log)) == [
        'green', 'next', 'soon', 'timer'], log
    log.clear()

    # In debug mode the loop calls them, and logs those that take long.
    loop.set_debug(True)
    try:
        found(note)
    finally:
        loop.set_debug(False)
    assert 'turn' not in names.pop()
    found(note)
    assert 'turn' in names.pop()


def fork_before_the_poll() -> None:
    """The process forks in such a callback, and the child goes on."""
    pids: list[int] = []

    def fork() -> None:
        pids.append(os.fork())

    found(fork)
    if not pids[0]:
        status = 1
        try:
            found(lambda: pids.append(0))
            assert pids == [0, 0]
            eventlet.sleep(0)
            status = 17
        finally:
            os._exit(status)
    _, status = os.waitpid(pids[0], 0)
    assert os.waitstatus_to_exitcode(status) == 17, status


callbacks_before_the_poll()
fork_before_the_poll()
mode.done()
