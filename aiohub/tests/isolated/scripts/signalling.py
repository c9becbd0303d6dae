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


"""What handlers of signals do, and whether it happens; used by scripts."""

import asyncio
from collections.abc import Callable
import faulthandler
import os
import signal

import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import greenthread
from eventlet import queue
from eventlet import semaphore

#: When the only timer is due: what happens before that was told by a signal,
#: for there is nothing else.
LONG = 600

# Where there is no timer at all, a signal that is lost is a wait for ever.
faulthandler.dump_traceback_later(200, exit=True)

Act = Callable[[Callable[[], object]], Callable[[], object]]

# Each is given what is to be called in the end; returns what a handler does.


def spawn(then):
    return lambda: eventlet.spawn(then)


def spawn_n(then):
    return lambda: eventlet.spawn_n(then)


def spawn_after(then):
    return lambda: eventlet.spawn_after(0.001, then)


def send(then):
    happens = event.Event()
    wait = happens.wait
    eventlet.spawn_n(lambda: then(wait()))
    eventlet.sleep(0)
    return happens.send


def release(then):
    taken = semaphore.Semaphore(0)
    eventlet.spawn_n(lambda: then(taken.acquire()))
    eventlet.sleep(0)
    return taken.release


def put(then):
    items = queue.Queue()
    eventlet.spawn_n(lambda: then(items.get()))
    eventlet.sleep(0)
    return lambda: items.put_nowait(1)


def kill(then):
    def wait():
        try:
            event.Event().wait()
        finally:
            then()

    green = eventlet.spawn(wait)
    eventlet.sleep(0)
    return lambda: eventlet.spawn_n(greenthread.kill, green)


def call_soon(then):
    return lambda: aiohub.get_loop().call_soon(then)


def call_later(then):
    return lambda: aiohub.get_loop().call_later(0.001, then)


def call_soon_threadsafe(then):
    return lambda: aiohub.get_loop().call_soon_threadsafe(then)


def set_result(then):
    future = aiohub.get_loop().create_future()
    future.add_done_callback(then)
    return lambda: future.set_result(None)


def create_task(then):
    kept = []

    async def call():
        then()

    return lambda: kept.append(aiohub.get_loop().create_task(call()))


def wake_task(then):
    happens = asyncio.Event()

    async def wait():
        await happens.wait()
        then()

    kept = [aiohub.get_loop().create_task(wait())]
    eventlet.sleep(0)
    eventlet.sleep(0)
    return lambda: happens.set() or kept


#: What a handler may do wherever it finds the program.
ACTS: tuple[Act, ...] = (
    spawn, spawn_n, spawn_after, send, release, put, kill, call_soon,
    call_soon_threadsafe, set_result, create_task, wake_task)


# -- ways to have it called

def by_signal(function: Callable[[], object], sig: int) -> None:
    """Have a handler of Python call it."""
    signal.signal(sig, lambda signum, frame: function())


def by_loop(function: Callable[[], object], sig: int) -> None:
    """Have a handler of the loop call it."""
    aiohub.get_loop().add_signal_handler(sig, function)


def forget(way: object, sig: int) -> None:
    """Undo either."""
    if way is by_loop:
        assert aiohub.get_loop().remove_signal_handler(sig)
    else:
        signal.signal(sig, signal.SIG_DFL)


# With aiohub switched off, what a handler of Python has spawned waits for the
# next event, as ever on epolls.
WAYS = (by_signal, by_loop) if mode.ON else (by_loop,)

Way = Callable[[Callable[[], object], int], None]


def at_rest(act: Act, way: Way, send: Callable[[], object] | None = None,
            seconds: float | None = None) -> None:
    """Check that a signal does it while nothing else happens.

    :param send: What sends the signal; in a native thread.
    :param seconds: When the only timer is due, if there is one.
    """
    happened = event.Event()
    way(act(lambda *_: happened.send(True)), signal.SIGUSR1)
    mode.when_polling(send or send_to_process)
    with eventlet.Timeout(seconds):
        assert happened.wait() is True
    forget(way, signal.SIGUSR1)


def send_to_process() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


def everything(check: Callable[[Act, Way], object]) -> None:
    """Check every act, either way."""
    for act in ACTS:
        for way in WAYS:
            try:
                check(act, way)
            except BaseException:
                print('in', act.__name__, way.__name__, flush=True)
                raise
