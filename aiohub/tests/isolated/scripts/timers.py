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
"""Timers: their order, their number, and those that were canceled."""

import random

import mode

import eventlet
from eventlet import hubs
from eventlet import patcher

native_time = patcher.original('time')
hub = hubs.get_hub()
eventlet.sleep(0)
assert hub.get_timers_count() == 0

# Those without delay are called in the order they were made, even when the
# clock stood still meanwhile.
order: list[object] = []
clock = hub.clock
now = clock()
hub.clock = lambda: now
timers = [hub.schedule_call_global(0, order.append, n) for n in range(100)]
hub.clock = clock
assert hub.get_timers_count() == 100
eventlet.sleep(0)
assert order == list(range(100)), order

# One with a delay that is due in the same turn comes in its time.
order.clear()
hub.schedule_call_global(0, order.append, 'before')
hub.schedule_call_global(0.001, order.append, 'delayed')
native_time.sleep(0.002)
hub.schedule_call_global(0, order.append, 'after')
hub.schedule_call_global(0.0001, order.append, 'last')
native_time.sleep(0.001)
eventlet.sleep(0)
assert order == ['before', 'delayed', 'after', 'last'], order

# What a timer makes waits for the next turn, so that descriptors and asyncio
# have theirs.
order.clear()


def again(n: int) -> None:
    order.append(n)
    if n:
        hub.schedule_call_global(0, again, n - 1)


again(3)
hub.schedule_call_global(0, hub.loop.call_soon, order.append, 'loop')
while len(order) < 5:
    eventlet.sleep(0)
assert order.index('loop') < 4, order

# Canceled ones are counted for as long as they are kept.
for _ in range(10):
    hub.schedule_call_global(0, order.append, 'never').cancel()
    hub.schedule_call_global(0.001, order.append, 'never').cancel()
    timer = hub.schedule_call_global(1, order.append, 'never')
    hub.schedule_call_global(0, timer.cancel)
while hub.get_timers_count():
    eventlet.sleep(0.01)
assert 'never' not in order
assert (hub.timers_canceled, hub.get_timers_count()) == (0, 0), (
    hub.timers_canceled, hub.get_timers_count())

# When most are canceled they are taken out, and the others keep their order.
rng = random.Random(1)
order.clear()
now = clock()
hub.clock = lambda: now
delays = [rng.uniform(100, 200) for _ in range(5000)]
timers = [hub.schedule_call_global(d, order.append, d) for d in delays]
eventlet.sleep(0)  # now they are in the heap
kept = set(rng.sample(range(5000), 500))
for n, timer in enumerate(timers):
    if n not in kept:
        timer.cancel()
assert hub.get_timers_count() < 2500, hub.get_timers_count()
hub.clock = lambda: now + 1000
eventlet.sleep(0)
hub.clock = clock
assert order == sorted(delays[n] for n in kept)

# An error in one is printed, unless that is switched off, and ends nothing.
hub.set_timer_exceptions(False)
hub.schedule_call_global(0, int, 'x')
done = eventlet.spawn(int, 5)
assert done.wait() == 5
assert hub.running
mode.done()
