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

"""What was wrong once."""

import asyncio
import gc
import os
import signal
import sys
import tempfile
import weakref

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import debug
from eventlet import hubs
from eventlet import patcher

native_socket = patcher.original('socket')


def early_flag() -> None:
    hubs.get_hub()
    """It may be the first thing that needs the hub."""
    debug.hub_prevent_multiple_readers(False)


def several_readers_of_a_regular_file() -> None:
    hubs.get_hub()
    debug.hub_prevent_multiple_readers(False)
    with tempfile.TemporaryFile() as file:
        greens = [eventlet.spawn(hubs.trampoline, file.fileno(), read=True)
                  for _ in range(3)]
        with eventlet.Timeout(20):
            for green in greens:
                green.wait()
    assert not list(hubs.get_hub().get_readers())


def killed_after_close() -> None:
    """Green threads of a hub that was closed or replaced can be killed."""
    for end in (lambda: hubs.get_hub().close(), hubs.use_hub):
        left, right = eventlet.green.socket.socketpair()
        reading = eventlet.spawn(left.recv, 1)
        eventlet.sleep(0)
        end()
        eventlet.sleep(0)
        reading.kill()
        assert reading.dead
        left.close()
        right.close()


def wakeup_descriptor_is_gone() -> None:
    """Who had the signal wake-up before has closed it: the hub goes on."""
    hubs.get_hub().abort(wait=True)
    left, right = native_socket.socketpair()
    left.setblocking(False)
    signal.set_wakeup_fd(left.fileno())
    eventlet.sleep(0)
    left.close()
    right.close()
    eventlet.spawn_n(sys.exit, 3)
    try:
        eventlet.sleep(60)
    except SystemExit as exc:
        assert exc.code == 3
    else:
        raise AssertionError('no SystemExit')
    eventlet.sleep(0.001)
    assert hubs.get_hub().running
    assert eventlet.spawn(int, 5).wait() == 5


def task_that_forked_is_not_kept() -> None:
    class Result:
        pass

    async def forking() -> Result:
        pid = os.fork()
        if not pid:
            os._exit(0)
        patcher.original('os').waitpid(pid, 0)
        return Result()

    result = weakref.ref(
        eventlet_asyncio.spawn_for_awaitable(forking()).wait())
    eventlet.sleep(0)
    gc.collect()
    assert result() is None
    assert not asyncio.all_tasks(hubs.get_hub().loop)


if mode.MODE == 'setup-later':
    # A regular file that is waited for on a hub whose poll takes it.
    hubs.use_hub('poll')
    with tempfile.TemporaryFile() as file:
        green = eventlet.spawn(hubs.trampoline, file.fileno(), read=True)
        eventlet.sleep(0)
        mode.set_up()
        with eventlet.Timeout(20):
            green.wait()
else:
    for check in (early_flag, several_readers_of_a_regular_file,
                  killed_after_close, wakeup_descriptor_is_gone,
                  task_that_forked_is_not_kept):
        try:
            check()
        except BaseException as exc:
            if 'all' not in sys.argv:
                print('in', check.__name__)
                raise
            print('FAILED', check.__name__, repr(exc)[:100])
mode.done()
