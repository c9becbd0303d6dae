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

"""A hundred native threads call into one hub, and no call is lost.

Arguments: how many calls each makes.
"""

import asyncio
import itertools
import sys

import mode
import native_ways

import aiohub
import eventlet
from eventlet import event
from eventlet import tpool

THREADS, IN_TPOOL, IN_EXECUTOR = 80, 16, 4
CALLS = int(sys.argv[1])
#: Of ten calls, those that wait for an answer. The others would otherwise
#: pile up faster than anybody could make them.
TURN = [*native_ways.WAITING, *itertools.islice(
    itertools.cycle(native_ways.OTHERS), 10 - len(native_ways.WAITING))]

main = mode.native.get_ident()
#: By thread and way: which call comes next.
expected = {
    (thread, way): itertools.count()
    for thread in range(THREADS + IN_TPOOL + IN_EXECUTOR)
    for way in native_ways.WAYS}
total = len(expected) // len(native_ways.WAYS) * CALLS
left = total
wrong: list[object] = []
all_made = event.Event()


def made_here(call):
    """What each call does, in the hub's thread."""
    global left
    *key, number = call
    if (mode.native.get_ident() != main
            or number != next(expected[tuple(key)])):
        wrong.append(call)
    left -= 1
    if not left:
        all_made.send()
    return call


def work(thread):
    numbers = {way: itertools.count() for way in native_ways.WAYS}
    for way in itertools.islice(itertools.cycle(TURN), CALLS):
        call = (thread, way, next(numbers[way]))
        answer = way(made_here, call)
        if answer != (call if way in native_ways.WAITING else None):
            wrong.append(answer)


class Ticking:
    """Both worlds go on meanwhile."""

    ticks = [0, 0]

    def green(self):
        while left:
            self.ticks[0] += 1
            eventlet.sleep(0.001)

    async def task(self):
        while left:
            self.ticks[1] += 1
            await asyncio.sleep(0.001)


async def in_executor(numbers):
    await asyncio.gather(*(asyncio.to_thread(work, n) for n in numbers))


ticking = Ticking()
waiting = [eventlet.spawn(ticking.green),
           aiohub.future_to_greenlet(ticking.task())]
numbers = iter(range(THREADS + IN_TPOOL + IN_EXECUTOR))
threads = [mode.native.Thread(target=work, args=(n,))
           for n in itertools.islice(numbers, THREADS)]
waiting += [eventlet.spawn(tpool.execute, work, n)
            for n in itertools.islice(numbers, IN_TPOOL)]
waiting.append(aiohub.future_to_greenlet(in_executor(list(numbers))))
for thread in threads:
    thread.start()
all_made.wait()
for one in waiting:
    one.wait()
for thread in threads:
    thread.join()
for _ in range(10):
    eventlet.sleep(0)
assert not wrong, wrong[:10]
assert left == 0, left
assert min(ticking.ticks) > 1, ticking.ticks
mode.done()
