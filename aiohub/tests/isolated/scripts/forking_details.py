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
"""What a forked child has of its own; see also forking."""

import asyncio
import os
import signal
import traceback

# Lower than what the hub opens: so the child's new descriptors get other
# numbers than the parent's have.
hole = os.open('/dev/null', os.O_RDONLY)
# As CPython does since 3.14.1, and before the hook of the hub.
os.register_at_fork(after_in_child=lambda: forget_task())

import mode  # noqa: E402

import eventlet  # noqa: E402
from eventlet import asyncio as eventlet_asyncio  # noqa: E402
from eventlet import hubs  # noqa: E402
from eventlet import patcher  # noqa: E402
from eventlet import queue  # noqa: E402

native = patcher.original('threading')
native_os = patcher.original('os')


def forget_task() -> None:
    loop = hubs.get_hub().loop
    task = asyncio.current_task(loop)
    if task is not None:
        asyncio.tasks._leave_task(loop, task)


def wakeup() -> str:
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return native_os.readlink('/proc/self/fd/%d' % fd)


def in_child(function) -> None:  # type: ignore
    """Fork, and run function in the child; it passes if it returns."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert native_os.waitpid(pid, 0)[1] == 0


eventlet.sleep(0)
os.close(hole)
parents = wakeup()


def has_its_own_wakeup() -> None:
    assert wakeup().startswith('socket:')
    assert wakeup() != parents


eventlet.spawn(in_child, has_its_own_wakeup).wait()
in_child(has_its_own_wakeup)


async def in_task() -> None:
    me = asyncio.current_task()
    assert me is not None

    def still_in_it() -> None:
        assert asyncio.current_task() is me
        assert asyncio.get_running_loop() is hubs.get_hub().loop

    in_child(still_in_it)


eventlet_asyncio.spawn_for_awaitable(in_task()).wait()

# Nothing is left of the hubs of other threads.
ready, stop = native.Event(), native.Event()


def other() -> None:
    if not mode.MODE.startswith('setup'):
        hubs.use_hub('aiohub.hub')
    eventlet.sleep(0)
    ready.set()
    stop.wait()


def descriptors() -> int:
    return len(native_os.listdir('/proc/self/fd'))


before = descriptors()
thread = native.Thread(target=other)
thread.start()
ready.wait()
assert descriptors() == before + 3


def count() -> None:
    assert descriptors() == before, (before, descriptors())


in_child(count)
stop.set()
thread.join()


class Forking(queue.LightQueue):
    """Forks while it is looked for an item; the child has another mutex."""

    def _get(self) -> object:
        self.child = native_os.fork()
        return super()._get()


items = Forking()
getting = eventlet.spawn(items.get)
eventlet.sleep(0)
items.put('item')
try:
    assert getting.wait() == 'item'
except BaseException:
    traceback.print_exc()
    if not items.child:
        native_os._exit(1)
    raise
if not items.child:
    native_os._exit(0)
assert native_os.waitpid(items.child, 0)[1] == 0
mode.done()
