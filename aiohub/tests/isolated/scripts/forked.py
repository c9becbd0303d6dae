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

"""What the scripts about forks share: places to fork in, and children."""

import asyncio
import faulthandler
import os
import signal
import sys
import traceback

import mode

import aiohub
from aiohub import tasks
import eventlet
from eventlet import event
from eventlet import hubs
from eventlet import patcher
from eventlet import tpool

# Where a child crashes, its parent sees only that it did.
faulthandler.enable()

native_os = patcher.original('os')
native_socket = patcher.original('socket')
socket = eventlet.green.socket


def both_worlds() -> None:
    """Use whatever a process has of the hub, with things of its own."""
    assert eventlet.spawn(lambda: 'green').wait() == 'green'
    left, right = socket.socketpair()
    reading = eventlet.spawn(left.recv, 1)
    eventlet.sleep(0)
    right.sendall(b'x')
    assert reading.wait() == b'x'
    left.close()
    right.close()
    assert tpool.execute(lambda: 'native') == 'native'
    assert aiohub.await_(_async_world()) == 'async'
    happened = event.Event()
    loop = aiohub.get_loop()
    loop.add_signal_handler(signal.SIGUSR1, happened.send, True)
    native_os.kill(os.getpid(), signal.SIGUSR1)
    assert happened.wait() is True
    loop.remove_signal_handler(signal.SIGUSR1)


async def echo(reader, writer) -> None:
    try:
        while line := await reader.readline():
            writer.write(line)
    finally:
        writer.close()


async def talk(reader, writer, line: bytes) -> None:
    writer.write(line)
    assert await reader.readline() == line


async def _async_world() -> str:
    server = await asyncio.start_server(echo, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    await talk(reader, writer, b'hello\n')
    writer.close()
    server.close()
    await asyncio.sleep(0.001)
    assert await asyncio.to_thread(int) == 0
    process = await asyncio.create_subprocess_exec(
        'cat', stdin=-1, stdout=-1)
    assert (await process.communicate(b'x'))[0] == b'x'
    assert process.returncode == 0
    return 'async'


def finish(function) -> None:
    """The end of a child, which has passed if *function* returns."""
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


# -- places

def in_main(child) -> int:
    """Fork in this greenlet, and run *child* there."""
    pid = os.fork()
    if not pid:
        finish(child)
    return pid


def in_green(child) -> int:
    return eventlet.spawn(in_main, child).wait()


async def _task(child) -> int:
    task = asyncio.current_task()
    pid = os.fork()
    if not pid:
        # The task goes on in the child, until a green thread has done its
        # part, which may be to replace the hub.
        try:
            assert asyncio.current_task() is task
            assert asyncio.get_running_loop() is aiohub.get_loop()
            await asyncio.sleep(0)
            eventlet.spawn(finish, child)
            await asyncio.sleep(60)
        finally:
            traceback.print_exc()
            os._exit(1)
    assert asyncio.current_task() is task
    return pid


def in_task(child) -> int:
    return aiohub.await_(_task(child))


def in_plain_task(child) -> int:
    tasks.enabled = False
    try:
        task = aiohub.get_loop().create_task(_task(child))
    finally:
        tasks.enabled = True
    return aiohub.await_(task)


def in_callback(child) -> int:
    loop = aiohub.get_loop()
    done = loop.create_future()

    def callback() -> None:
        pid = os.fork()
        if pid:
            done.set_result(pid)
        else:
            eventlet.spawn(finish, child)

    loop.call_soon(callback)
    return aiohub.await_(done)


def in_tpool(child) -> int:
    return tpool.execute(in_main, in_own_hub(child))


def in_thread(child) -> int:
    pids = []
    thread = mode.native.Thread(
        target=lambda: pids.append(in_main(in_own_hub(child))))
    thread.start()
    while not pids:
        eventlet.sleep(0.001)
    thread.join()
    return pids[0]


def in_thread_with_hub(child) -> int:
    pids = []

    def target() -> None:
        choose_hub()
        eventlet.sleep(0)
        pids.append(in_green(child))

    thread = mode.native.Thread(target=target)
    thread.start()
    while not pids:
        eventlet.sleep(0.001)
    thread.join()
    return pids[0]


def choose_hub() -> None:
    """Have this thread get the hub of the mode."""
    if mode.HUB == 'env':
        hubs.use_hub('aiohub.hub')


def in_own_hub(child):
    """Return a *child* that begins in a thread with no hub."""

    def function() -> None:
        choose_hub()
        assert mode.native.current_thread() is mode.native.main_thread()
        child()

    return function


HERE = (in_main, in_green, in_task, in_plain_task, in_callback)
THREADS = (in_tpool, in_thread, in_thread_with_hub)


def reap(pid: int) -> None:
    """Wait greenly for a child, which has to pass."""
    while True:
        found, status = native_os.waitpid(pid, os.WNOHANG)
        if found:
            break
        eventlet.sleep(0.002)
    assert status == 0, status


def descriptors() -> dict[str, str]:
    """Return what is open."""
    found = {}
    for fd in native_os.listdir('/proc/self/fd'):
        try:
            found[fd] = native_os.readlink('/proc/self/fd/' + fd)
        except OSError:
            pass  # the one of the listing
    return found
