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

"""After a fork, parent and child each have a hub and loop of their own."""

import asyncio
import os
import signal
import sys
import traceback

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import event
from eventlet import hubs
from eventlet import patcher

native_os = patcher.original('os')
native = patcher.original('threading')
Socket = eventlet.green.socket
hub = hubs.get_hub()


def run(coroutine):
    return eventlet_asyncio.spawn_for_awaitable(coroutine).wait()


def fork(function) -> int:
    """Run function in a child, which exits with 0 if it returns."""
    pid = os.fork()
    if not pid:
        finish(function)
    return pid


def finish(function) -> None:
    """The end of a child."""
    status = 1
    try:
        with eventlet.Timeout(60):
            function()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def reap(pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    assert status == 0, status


async def work() -> str:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(0.001, done.set_result, 'async')
    answer = await done
    assert await asyncio.to_thread(lambda: 5) == 5
    wake = asyncio.Event()
    native.Thread(
        target=loop.call_soon_threadsafe, args=(wake.set,)).start()
    await wake.wait()
    return answer


def both_worlds() -> None:
    assert eventlet.spawn(lambda: 'green').wait() == 'green'
    left, right = Socket.socketpair()
    reading = eventlet.spawn(left.recv, 1)
    eventlet.sleep(0)
    right.sendall(b'x')
    assert reading.wait() == b'x'
    assert run(work()) == 'async'
    happened = event.Event()
    hub.loop.add_signal_handler(signal.SIGUSR1, happened.send, True)
    native_os.kill(os.getpid(), signal.SIGUSR1)
    assert happened.wait() is True
    hubs.get_hub().loop.remove_signal_handler(signal.SIGUSR1)


def new_hub() -> None:
    global hub
    hubs.use_hub()
    hub = hubs.get_hub()
    both_worlds()


def epolls() -> list[str]:
    names = []
    for fd in native_os.listdir('/proc/self/fd'):
        try:
            names.append(native_os.readlink('/proc/self/fd/' + fd))
        except OSError:
            pass
    return [name for name in names if name == 'anon_inode:[eventpoll]']


both_worlds()

# What waits in both processes is woken in each by its own events.
pairs = [Socket.socketpair() for _ in range(20)]
readers = [eventlet.spawn(left.recv, 10) for left, _ in pairs]
eventlet.sleep(0)


def kill_inherited() -> None:
    # Whatever the child does, the parent misses no event.
    for green in readers:
        green.kill()
    for left, right in pairs:
        left.close()
        right.close()
    both_worlds()


for child in (both_worlds, new_hub, kill_inherited):
    pids = [fork(child), eventlet.spawn(fork, child).wait()]

    async def fork_in_task() -> int:
        pid = os.fork()
        if not pid:
            # The task goes on in the child, until a green thread of it has
            # done its part, which may be to replace the hub.
            try:
                assert asyncio.current_task() is task
                assert asyncio.get_running_loop() is hub.loop
                assert await work() == 'async'
                eventlet.spawn(finish, child)
                await asyncio.sleep(60)
            finally:
                traceback.print_exc()
                os._exit(1)
        assert asyncio.current_task() is task
        return pid

    task = asyncio.ensure_future(fork_in_task(), loop=hub.loop)
    pids.append(run(task))
    both_worlds()
    for pid in pids:
        reap(pid)
    both_worlds()

for n, (_, right) in enumerate(pairs):
    right.sendall(b'%d' % n)
assert [g.wait() for g in readers] == [b'%d' % n for n in range(20)]


# A hub in another thread: it is not the child's.
def in_other_thread() -> None:
    if not mode.MODE.startswith('setup'):
        hubs.use_hub('aiohub.hub')
    eventlet.sleep(0)
    ready.set()
    while not stop.is_set():
        eventlet.sleep(0.001)


ready, stop = native.Event(), native.Event()
thread = native.Thread(target=in_other_thread)
thread.start()
ready.wait()


def count() -> None:
    assert len(epolls()) == 1, epolls()
    both_worlds()


assert len(epolls()) == 2, epolls()
reap(fork(count))
stop.set()
thread.join()
assert len(epolls()) == 1, epolls()
both_worlds()
mode.done()
