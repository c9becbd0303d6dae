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

"""Signals in a process of many native threads, and for one of these."""

import asyncio
import signal

import forked
import mode
import native_ways
import signalling

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs
from eventlet import tpool

#: How many signals come while threads call.
TIMES = 50


def to_another_thread() -> None:
    """The kernel gives it to a thread that sleeps in a system call."""
    left, right = forked.native_socket.socketpair()
    thread = mode.native.Thread(target=left.recv, args=(1,))
    thread.start()

    def check(act, way) -> None:
        signalling.at_rest(act, way, lambda: signal.pthread_kill(
            thread.ident, signal.SIGUSR1))

    try:
        signalling.everything(check)
    finally:
        right.send(b'x')
        thread.join()
        left.close()
        right.close()


def while_threads_call() -> None:
    """Every way in is in use, and each signal is acted upon."""
    over = mode.native.Event()

    def call() -> None:
        while not over.is_set():
            for way in native_ways.WAITING:
                assert way(abs, -5) == 5
            for way in native_ways.OTHERS:
                called = mode.native.Event()
                way(mode.native.Event.set, called)
                called.wait()

    async def call_in_threads() -> None:
        await asyncio.gather(*(asyncio.to_thread(call) for _ in range(3)))

    waiting = [eventlet.spawn(tpool.execute, call) for _ in range(3)]
    waiting.append(aiohub.future_to_greenlet(call_in_threads()))
    try:
        for way in signalling.WAYS:
            for _ in range(TIMES):
                happened = event.Event()
                way(signalling.spawn(
                    lambda: happened.send(True)),  # noqa: B023
                    signal.SIGUSR1)
                mode.native.Thread(
                    target=signalling.send_to_process).start()
                assert happened.wait() is True
                signalling.forget(way, signal.SIGUSR1)
    finally:
        over.set()
    for one in waiting:
        one.wait()


def everything() -> None:
    to_another_thread()
    while_threads_call()


def in_a_new_hub() -> None:
    hubs.use_hub()
    native_ways.come_here()
    everything()


everything()
if mode.ON:
    forked.reap(forked.in_main(everything))
forked.reap(forked.in_green(in_a_new_hub))
mode.done()
