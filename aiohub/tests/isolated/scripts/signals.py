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

"""A signal acts at once, whichever way it arrives, on an idle hub."""

import asyncio
import errno
import os
import signal
import time

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import event
from eventlet import hubs
from eventlet import patcher
from oslo_service import service

native = patcher.original('threading')
native_os = patcher.original('os')
native_time = patcher.original('time')
hub = hubs.get_hub()
# Far longer than it takes, so that only a wake-up can be in time.
LONG = 60


def send() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


def check_at_once(happened: event.Event) -> None:
    mode.when_polling(send)
    with eventlet.Timeout(LONG):
        sent, acted = happened.wait()
    assert acted - sent < LONG / 4, acted - sent


# A handler of signal.signal() spawns a green thread.
for _ in range(5):
    happened = event.Event()

    def handler(signum: int, frame: object) -> None:
        came = time.monotonic()
        eventlet.spawn_n(
            lambda: happened.send((came, time.monotonic())))

    signal.signal(signal.SIGUSR1, handler)
    check_at_once(happened)

# It schedules a call in the loop; it wakes what waits.
for _ in range(5):
    happened = event.Event()

    def handler_of_loop(signum: int, frame: object) -> None:
        came = time.monotonic()
        hub.loop.call_soon(
            lambda: happened.send((came, time.monotonic())))

    def handler_of_event(signum: int, frame: object) -> None:
        happened.send((time.monotonic(), time.monotonic()))

    for function in (handler_of_loop, handler_of_event):
        happened = event.Event()
        signal.signal(signal.SIGUSR1, function)
        check_at_once(happened)

# The number of a signal that was dealt with is in the self-pipe when the
# green thread that it woke runs: it is not for who is added there and then.
for _ in range(3):
    happened = event.Event()
    signal.signal(signal.SIGUSR1, handler_of_event)
    check_at_once(happened)
    strays: list[int] = []
    hub.loop.add_signal_handler(signal.SIGUSR1, strays.append, 1)
    for _ in range(3):
        eventlet.sleep(0)
    assert not strays, 'a signal was handled twice'
    hub.loop.remove_signal_handler(signal.SIGUSR1)

# loop.add_signal_handler(), and after its removal signal.signal() again:
# asyncio then turns its wake-up descriptor off.
for _ in range(3):
    happened = event.Event()
    hub.loop.add_signal_handler(
        signal.SIGUSR1, lambda: happened.send(
            (time.monotonic(), time.monotonic())))
    check_at_once(happened)
    hub.loop.remove_signal_handler(signal.SIGUSR1)
    happened = event.Event()
    signal.signal(signal.SIGUSR1, handler)
    check_at_once(happened)

# A handler that raises what oslo.service raises out of a poll.
calls: list[str] = []


def interrupting(signum: int, frame: object) -> None:
    calls.append(frame.f_code.co_name)
    if frame.f_code.co_name == 'do_poll':
        raise OSError(errno.EINTR, 'Interrupted')


signal.signal(signal.SIGUSR1, interrupting)
left, right = eventlet.green.socket.socketpair()


def send_and_write() -> None:
    send()
    while not calls:
        native_time.sleep(0.001)
    native_os.write(right.fileno(), b'x')


for _ in range(20):
    reading = eventlet.spawn(left.recv, 1)
    mode.when_polling(send_and_write)
    # What was waited for before the poll was broken off is still.
    with eventlet.Timeout(LONG):
        assert reading.wait() == b'x'
    assert calls == ['do_poll'], calls
    calls.clear()
left.close()
right.close()

# oslo.service's own handler, idle and while asyncio waits too.
handlers = service.SignalHandler()
for _ in range(3):
    happened = event.Event()
    handlers.clear()
    handlers.add_handler('SIGUSR1', lambda signum, frame: happened.send(
        (time.monotonic(), time.monotonic())))
    check_at_once(happened)


async def wait_long() -> None:
    await asyncio.sleep(LONG)


waiting = eventlet_asyncio.spawn_for_awaitable(wait_long())
happened = event.Event()
check_at_once(happened)
waiting.kill()
handlers.clear()

# The wake-up descriptor is given back when the hub stops.
hub.abort(wait=True)
assert signal.set_wakeup_fd(-1) == -1
eventlet.sleep(0)
mine = signal.set_wakeup_fd(-1)
assert mine != -1
signal.set_wakeup_fd(mine)

# A hub in another thread leaves it alone.
thread = native.Thread(target=eventlet.sleep, args=(0.001,))
thread.start()
thread.join()
assert signal.set_wakeup_fd(mine) == mine
mode.done()
