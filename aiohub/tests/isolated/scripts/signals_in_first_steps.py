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

"""The handler of a signal kills green code, which awaits in its cleanup.

The handler runs wherever the hub is, in its poll or elsewhere.
"""

import asyncio
import os
import signal
from typing import Any

import cases
import mode

import eventlet
from eventlet import event
from eventlet import patcher
import greenlet

import aiohub
from aiohub import _first_step

TIMES = 100

loop = aiohub.get_loop()
threads: Any = patcher.original('threading')


async def answer() -> str:
    return 'answer'


async def clean_up() -> str:
    """Come to the hub in the first step."""
    assert await aiohub.sync_to_async(str)('a') == 'a'
    assert await eventlet.spawn(str, 'b') == 'b'
    await aiohub.sync_to_async(eventlet.sleep)(0)
    return 'clean'


def work(seen: list[str]) -> None:
    try:
        event.Event().wait()
    finally:
        seen.append(aiohub.await_(clean_up()))


async def ticks(seen: list[str]) -> None:
    """Have steps to make, with the hub in the poll or not."""
    number = 0
    while not seen:
        number += 1
        await asyncio.sleep(0.0005 if number % 3 else 0)
        assert asyncio.current_task() is not None


def green_ticks(seen: list[str]) -> int:
    number = 0
    while not seen:
        number += 1
        eventlet.sleep(0.0005 if number % 3 else 0)
        assert aiohub.await_(answer()) == 'answer'
    return number


def killed_by_a_handler(busy: bool) -> None:
    for _ in range(TIMES):
        seen: list[str] = []
        aiohub.await_(answer())  # leaves a greenlet for the next task
        green = eventlet.spawn(work, seen)
        cases.until(lambda green=green: bool(green))
        others: list[Any] = []
        if busy:
            others = [aiohub.future_to_greenlet(ticks(seen)),
                      eventlet.spawn(green_ticks, seen)]

        current: list[Any] = []

        def note(current: list[Any] = current) -> None:
            current.append(asyncio.current_task(loop))

        def handle(*_: Any, green: Any = green, note: Any = note) -> None:
            loop.call_soon(note)
            eventlet.kill(green)

        signal.signal(signal.SIGUSR1, handle)
        go = threads.Event()

        def send(go: Any = go) -> None:
            go.wait()
            os.kill(os.getpid(), signal.SIGUSR1)

        thread = threads.Thread(target=send)
        thread.start()
        go.set()
        try:
            green.wait()
        except greenlet.GreenletExit:
            seen.append('killed')
        assert seen == ['clean', 'killed'], seen
        cases.until(lambda current=current: current)
        assert current == [None], current
        for other in others:
            other.wait()
        cases.until(lambda thread=thread: not thread.is_alive())
        thread.join()


# The hub is in its poll for longer than that, most of the time.
_first_step.MOMENT = 3600

for busy in (False, True):
    cases.add('killed_by_a_handler%s' % (', busy' if busy else ''),
              killed_by_a_handler, busy)

cases.run_all()
mode.done()
