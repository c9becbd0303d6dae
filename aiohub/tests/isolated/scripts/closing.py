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

"""Nothing leaks: a hub that is closed, replaced, or whose thread ends."""

import asyncio
import gc
import os
import weakref

import mode

import aiohub
import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import hubs
from eventlet import patcher

native = patcher.original('threading')
loops: 'weakref.WeakSet[asyncio.AbstractEventLoop]' = weakref.WeakSet()


def descriptors() -> int:
    return len(os.listdir('/proc/self/fd'))


async def answer() -> int:
    await asyncio.sleep(0)
    return await asyncio.get_running_loop().run_in_executor(None, int)


def use_hub() -> None:
    """Run green and asyncio code on a hub of the class under test."""
    hub = hubs.get_hub()
    assert type(hub).__module__ == 'aiohub.hub', hub
    loops.add(hub.loop)
    eventlet.sleep(0)
    assert eventlet.spawn(lambda: 3).wait() == 3
    left, right = eventlet.green.socket.socketpair()
    reading = eventlet.spawn(left.recv, 1)
    eventlet.sleep(0)
    right.sendall(b'x')
    assert reading.wait() == b'x'
    left.close()
    right.close()


def use_both() -> None:
    use_hub()
    assert eventlet_asyncio.spawn_for_awaitable(answer()).wait() == 0


def leave_something() -> None:
    """End the thread with green threads, tasks and timers that wait."""
    use_hub()
    eventlet.spawn(eventlet.sleep, 60)
    eventlet.spawn_after(60, int)
    eventlet.sleep(0)


def in_thread(function) -> None:
    failures = []

    def target() -> None:
        try:
            if not mode.MODE.startswith('setup'):
                hubs.use_hub('aiohub.hub')
            function()
        except BaseException as exc:
            failures.append(exc)

    thread = native.Thread(target=target)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


use_hub()
in_thread(use_hub)
gc.collect()
before = descriptors()
alive = len(loops)

# Threads that start a hub and end.
for n in range(1000):
    in_thread(use_both if n % 20 == 0 else use_hub)
gc.collect()
assert descriptors() == before, (before, descriptors())
assert len(loops) == alive, len(loops)
for _ in range(20):
    in_thread(leave_something)
gc.collect()
assert descriptors() == before, (before, descriptors())
assert len(loops) == alive, len(loops)

# Many at once.
threads = [native.Thread(target=in_thread, args=(use_hub,))
           for _ in range(50)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
assert descriptors() == before, (before, descriptors())

# Replaced by use_hub(), in the main greenlet and in a green thread.
old = hubs.get_hub()
for _ in range(50):
    hubs.use_hub('aiohub.hub')
    assert hubs.get_hub() is not old
    use_hub()
hubs.use_hub('epolls')
assert old.loop.is_closed()
eventlet.sleep(0)
hubs.use_hub('aiohub.hub')
use_hub()
old = hubs.get_hub()


def replace() -> None:
    hubs.use_hub('aiohub.hub')
    use_both()
    replaced.append(hubs.get_hub())
    hubs.get_hub().schedule_call_global(0, main.switch)
    eventlet.sleep(60)


main = eventlet.getcurrent()
replaced: list[object] = []
eventlet.spawn(replace)
old.switch()
assert replaced == [hubs.get_hub()]
assert old.loop.is_closed()
use_both()
gc.collect()

# close(): the next get_hub() is a new one.
hub = hubs.get_hub()
hub.close()
hub.close()
assert hub.loop.is_closed()
assert hubs.get_hub() is not hub
use_both()
try:
    hub.switch()
except aiohub.HubClosedError as exc:
    assert 'get_hub()' in str(exc)
else:
    raise AssertionError('a closed hub ran')

# From a green thread.
hub = hubs.get_hub()
closing = eventlet.spawn(hub.close)
try:
    eventlet.sleep(60)
except BaseException as exc:
    assert isinstance(exc, (Exception, eventlet.greenlet.GreenletExit))
assert hub.loop.is_closed()
use_both()

# Not from a callback, and not from another thread.
hub = hubs.get_hub()
errors: list[BaseException] = []


def try_to_close() -> None:
    try:
        hub.close()
    except aiohub.HubClosedError as exc:
        errors.append(exc)


hub.loop.call_soon(try_to_close)
while not errors:
    eventlet.sleep(0)
in_thread(try_to_close)
assert len(errors) == 2, errors
assert not hub.loop.is_closed()
use_both()
hubs.get_hub().close()
assert all(loop.is_closed() for loop in loops)
mode.done()
