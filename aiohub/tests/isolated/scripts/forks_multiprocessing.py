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

"""multiprocessing with fork: processes, queues and pools, from anywhere."""

import asyncio
import multiprocessing
import os

import forked
import mode

import aiohub
import eventlet
from eventlet import debug
from eventlet import tpool

context = multiprocessing.get_context('fork')


def work(queue, number: int) -> None:
    forked.both_worlds()
    queue.put((number, os.getpid()))


def square(number: int) -> int:
    forked.both_worlds()
    return number * number


def waiting(sock) -> bytes:
    # A child has it too, and does not take it.
    return sock.recv(10)


def use() -> None:
    """Call it where a program may wait for native threads."""
    queue = context.SimpleQueue()
    processes = [
        context.Process(target=work, args=(queue, n)) for n in range(3)]
    for process in processes:
        process.start()
    answers = [queue.get() for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0, process.exitcode
        process.close()
    assert sorted(answers) == [
        (n, pid) for n, (_, pid) in enumerate(sorted(answers))]
    queue.close()


async def use_in_task() -> None:
    use()
    await asyncio.sleep(0)


def use_pool() -> None:
    # Several of its own threads, green after patching, wait for the same
    # descriptor; eventlet wants to be told.
    debug.hub_prevent_multiple_readers(False)
    with context.Pool(2) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
        pool.close()
        pool.join()


forked.both_worlds()
left, right = forked.socket.socketpair()
reading = eventlet.spawn(waiting, left)
eventlet.sleep(0)
use()
eventlet.spawn(use).wait()
aiohub.await_(use_in_task())
tpool.execute(int)
use_pool()
eventlet.spawn(use_pool).wait()
right.sendall(b'parent')
assert reading.wait() == b'parent'
left.close()
right.close()
forked.both_worlds()
mode.done()
