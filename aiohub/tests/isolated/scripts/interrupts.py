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

"""Ctrl-C and SystemExit out of green waits; the hub stays usable."""

import asyncio
import gc
import os
import queue
import signal
import socket
import sys
import time

import mode

import aiohub
import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import event
from eventlet.green import socket as green_socket
from eventlet.green import time as green_time
from eventlet import hubs
from eventlet import semaphore

Socket = socket if mode.PATCHED else green_socket
sleep = time.sleep if mode.PATCHED else green_time.sleep

a, b = Socket.socketpair()
# eventlet's own hubs poll only when somebody waits for a descriptor.
c, d = Socket.socketpair()
eventlet.spawn(c.recv, 1)
WAITS = {
    'sleep': lambda: sleep(60),
    'recv': lambda: a.recv(1),
    'event': lambda: event.Event().wait(),
    'semaphore': lambda: semaphore.Semaphore(0).acquire(),
    'green thread': lambda: eventlet.spawn(eventlet.sleep, 60).wait(),
    'queue': lambda: eventlet.Queue().get(),
}
if mode.PATCHED:
    WAITS['queue.Queue'] = lambda: queue.Queue().get()
if mode.ON:
    WAITS['await'] = lambda: eventlet_asyncio.spawn_for_awaitable(
        asyncio.sleep(60)).wait()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def check_usable() -> None:
    hub = hubs.get_hub()
    eventlet.sleep(0.001)
    assert hub.running
    assert eventlet.spawn(lambda: 5).wait() == 5
    b.sendall(b'x')
    assert a.recv(1) == b'x'
    if mode.ON:
        async def answer() -> int:
            await asyncio.sleep(0.001)
            return 6

        assert eventlet_asyncio.spawn_for_awaitable(answer()).wait() == 6


for _ in range(3):
    for name, wait in WAITS.items():
        for how in (
                lambda: eventlet.spawn_after(0.001, interrupt),
                lambda: mode.when_polling(interrupt)):
            how()
            try:
                wait()
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError('no KeyboardInterrupt in %s' % name)
            check_usable()

# sys.exit() in a green thread ends the main greenlet's wait.
for _ in range(3):
    eventlet.spawn_n(sys.exit, 7)
    try:
        eventlet.sleep(60)
    except SystemExit as exc:
        assert exc.code == 7
    else:
        raise AssertionError('no SystemExit')
    assert not hubs.get_hub().running
    check_usable()


def leave_now(how: BaseException) -> None:
    raise how


async def leave(how: BaseException) -> None:
    raise how


if mode.ON:
    for how in (KeyboardInterrupt(), SystemExit(8)):
        # From a task, and from a callback.
        tasks = []
        for start in (
                lambda: tasks.append(asyncio.ensure_future(leave(how))),
                lambda: hubs.get_hub().loop.call_soon(leave_now, how)):
            start()
            try:
                eventlet.sleep(60)
            except (KeyboardInterrupt, SystemExit) as exc:
                assert exc is how
            else:
                raise AssertionError('no %r' % how)
            check_usable()
        assert tasks[0].exception() is how

    # Out of a coroutine that a coroutine waits for greenly. Nothing is logged
    # about the outer one, though nobody looks at how it ended.
    async def wait_for_leaving(how: BaseException) -> None:
        aiohub.await_(leave(how))

    # And one that a green thread waits for: that gets it, too.
    for how in (KeyboardInterrupt(), SystemExit(8)):
        waiting = eventlet.spawn(aiohub.await_, leave(how))
        try:
            eventlet.sleep(60)
        except (KeyboardInterrupt, SystemExit) as exc:
            assert exc is how
        else:
            raise AssertionError('no %r' % how)
        try:
            waiting.wait()
        except (KeyboardInterrupt, SystemExit) as exc:
            assert exc is how
        else:
            raise AssertionError('%r was lost' % how)
        check_usable()
        del waiting

    for how in (KeyboardInterrupt(), SystemExit(8)):
        try:
            aiohub.await_(wait_for_leaving(how))
        except (KeyboardInterrupt, SystemExit) as exc:
            assert exc is how
        else:
            raise AssertionError('no %r' % how)
        check_usable()
    gc.collect()

# Nobody who waited is lost when the hub is interrupted.
pairs = [Socket.socketpair() for _ in range(50)]
readers = [eventlet.spawn(left.recv, 1) for left, right in pairs]
sleepers = [eventlet.spawn_after(0.05, int, n) for n in range(50)]
eventlet.sleep(0)
for n, (_, right) in enumerate(pairs):
    if n == 25:
        eventlet.spawn_n(interrupt)
    right.sendall(b'y')
try:
    eventlet.sleep(60)
except KeyboardInterrupt:
    pass
assert [g.wait() for g in readers] == [b'y'] * 50
assert [g.wait() for g in sleepers] == list(range(50))
mode.done()
