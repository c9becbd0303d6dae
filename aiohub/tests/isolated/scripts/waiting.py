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

"""A callback that waits in a green call, and what has to work meanwhile.

Used by scripts.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import cases
import in_callback

import aiohub
import eventlet
from eventlet import event
from eventlet.green import socket
from eventlet import hubs


class Failure(Exception):
    pass


def fail() -> None:
    raise Failure()


def check_green() -> None:
    """Green threads and the main greenlet go on."""
    eventlet.sleep(0.001)
    assert eventlet.spawn(lambda: (eventlet.sleep(0), 5)).wait() == (None, 5)
    left, right = socket.socketpair()
    with left, right:
        reading = eventlet.spawn(left.recv, 1)
        eventlet.sleep(0)
        right.sendall(b'x')
        assert reading.wait() == b'x'
    assert hubs.get_hub().running


async def _answer(loop: Any) -> int:
    assert asyncio.get_running_loop() is loop
    eventlet.sleep(0)
    left, right = in_callback.pair()
    right.send(b'x')
    assert await loop.sock_recv(left, 1) == b'x'
    left.close()
    right.close()
    return await loop.run_in_executor(None, int, '6')


def check_loop() -> None:
    """The loop goes on, and callbacks may make green calls."""
    loop = aiohub.get_loop()
    assert aiohub.await_(_answer(loop)) == 6
    ended = event.Event()
    loop.call_soon(lambda: (eventlet.sleep(0), ended.send('ended')))
    assert ended.wait() == 'ended'
    assert asyncio.current_task() is None


class Waiter:
    """A callback that waits, for what comes by :meth:`go_on`, or for ever.

    :param way: How the loop calls it.
    :param before: What it calls before it waits.
    """

    def __init__(self, way: Any = None,
                 before: Callable[[], object] = int) -> None:
        self.log: list[object] = []
        self._before = before
        self._goes_on = event.Event()
        self._waits = event.Event()
        (way or by_call_soon)(self._callback)
        self._waits.wait()

    def _callback(self) -> None:
        self.green = eventlet.getcurrent()
        task = asyncio.current_task()
        self._before()
        self._waits.send()
        try:
            self.log.append(self._goes_on.wait())
            assert asyncio.current_task() is task
        except BaseException as exc:
            self.log.append(exc)
            raise

    def go_on(self) -> None:
        assert not self.log, self.log
        self._goes_on.send('go on')
        cases.until(lambda: self.log)
        assert self.log == ['go on']


def by_call_soon(callback: in_callback.Callback) -> None:
    aiohub.get_loop().call_soon(callback)
