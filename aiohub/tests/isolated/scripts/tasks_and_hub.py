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

"""The hub is no task: nobody can cancel it; green code is in no task."""

import asyncio
import gc

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import hubs

hub = hubs.get_hub()


def run(coroutine):
    return eventlet_asyncio.spawn_for_awaitable(coroutine).wait()


# In green code the loop runs, and no task does.
def look() -> tuple[object, object]:
    return asyncio.current_task(), asyncio.get_running_loop()


assert eventlet.spawn(look).wait() == (None, hub.loop)
assert asyncio.all_tasks(hub.loop) == set()


async def current() -> None:
    me = asyncio.current_task()
    assert me is not None
    # A green thread that runs while this task waits is in no task, and this
    # one is again when it goes on.
    assert await eventlet.spawn(look) == (None, hub.loop)
    assert asyncio.current_task() is me


run(current())


# Cancelling every task leaves the hub running.
async def forever() -> None:
    await asyncio.get_running_loop().create_future()


for _ in range(3):
    waiting = [asyncio.ensure_future(forever()) for _ in range(10)]
    sleeper = eventlet.spawn_after(0.01, int, 5)
    eventlet.sleep(0.001)
    tasks = asyncio.all_tasks(hub.loop)
    assert tasks == set(waiting)
    for task in tasks:
        task.cancel()
    assert sleeper.wait() == 5
    assert all(task.cancelled() for task in waiting)
    assert hub.running

# loop.stop() by somebody else does not stop green threads.
hub.loop.stop()
eventlet.sleep(0.001)
hub.loop.call_soon(hub.loop.stop)
eventlet.sleep(0.001)
assert eventlet.spawn(int, 3).wait() == 3
assert hub.running and hub.loop.is_running()

# A busy world does not hold up the other.
turns = {'green': 0, 'async': 0}


def spin() -> None:
    while len(turns) == 2:
        turns['green'] += 1
        eventlet.sleep(0)


async def spin_async() -> None:
    while len(turns) == 2:
        turns['async'] += 1
        await asyncio.sleep(0)


spinning = [eventlet.spawn(spin), eventlet.spawn(spin)]
run(asyncio.wait_for(asyncio.sleep(0.01), 60))
task = asyncio.ensure_future(spin_async())
with eventlet.Timeout(60):
    while min(turns.values()) < 20:
        eventlet.sleep(0.001)
turns['over'] = 1
for green in spinning:
    green.wait()
run(asyncio.wait_for(task, 60))


# The order of timers: by time, whichever list they are kept in.
order: list[object] = []
hub.schedule_call_global(0, order.append, 'soon')
hub.schedule_call_global(-1, order.append, 'overdue')
hub.schedule_call_global(0, order.append, 'sooner or later')
hub.schedule_call_global(0.01, order.append, 'late')
hub.schedule_call_global(0, order.append, 'never').cancel()
hub.schedule_call_global(0.005, order.append, 'never').cancel()
eventlet.sleep(0.02)
assert order == ['overdue', 'soon', 'sooner or later', 'late'], order


# Canceled timers do not pile up.
before = hub.get_timers_count()
for _ in range(10000):
    hub.schedule_call_global(60, int).cancel()
assert hub.get_timers_count() < before + 1100


# abort() stops the hub and drops its timers, as on every hub; it runs again
# on the next wait.
hub.schedule_call_global(60, int)
hub.abort(wait=True)
assert not hub.running
assert hub.get_timers_count() == 0
eventlet.sleep(0.001)
assert hub.running

# A loop of the program's own, run in the main greenlet.
hub.abort(wait=True)


async def elsewhere() -> int:
    await asyncio.sleep(0.001)
    try:
        eventlet.sleep(0.001)
    except Exception as exc:
        assert 'aiohub.await_()' in str(exc), exc
    else:
        raise AssertionError('a green call in a foreign loop')
    return 4


with asyncio.Runner() as runner:
    assert runner.run(elsewhere()) == 4
asyncio.set_event_loop(hub.loop)
eventlet.sleep(0.001)
gc.collect()
mode.done()
