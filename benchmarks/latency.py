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

"""How late one world is while the other has more than it can do."""

import asyncio
import statistics
import time

import comparing

#: How many waits, of how many seconds.
WAITS, DELAY = 1000, 0.001
#: Who has something to do all the time.
BUSY = 100
ASYNCIO = "eventlet's asyncio"


def _nth(late, permille):
    return statistics.quantiles(late, n=1000)[permille - 1]


def _green_waits():
    import eventlet

    late = []
    for _ in range(WAITS):
        start = time.perf_counter()
        eventlet.sleep(DELAY)
        late.append(time.perf_counter() - start - DELAY)
    return late


async def _asyncio_waits():
    late = []
    for _ in range(WAITS):
        start = time.perf_counter()
        await asyncio.sleep(DELAY)
        late.append(time.perf_counter() - start - DELAY)
    return late


async def _busy_tasks(waits):
    async def spin():
        while True:
            await asyncio.sleep(0)

    spinning = [asyncio.ensure_future(spin()) for _ in range(BUSY)]
    late = await waits
    for one in spinning:
        one.cancel()
    return late


def _busy_green_threads(wait):
    import eventlet

    stop = []

    def spin():
        while not stop:
            eventlet.sleep(0)

    spinning = [eventlet.spawn(spin) for _ in range(BUSY)]
    late = wait()
    stop.append(None)
    for one in spinning:
        one.wait()
    return late


def _aiohub_green():
    import aiohub
    import eventlet

    return aiohub.await_(_busy_tasks(
        aiohub.greenlet_to_future(eventlet.spawn(_green_waits))))


def _eventlet_green():
    import eventlet
    from eventlet.asyncio import spawn_for_awaitable

    async def main():
        return await _busy_tasks(eventlet.spawn(_green_waits))

    return spawn_for_awaitable(main()).wait()


def _aiohub_asyncio():
    import aiohub

    return _busy_green_threads(lambda: aiohub.await_(_asyncio_waits()))


def _eventlet_asyncio():
    from eventlet.asyncio import spawn_for_awaitable

    return _busy_green_threads(
        lambda: spawn_for_awaitable(_asyncio_waits()).wait())


for _what, _ways in {
    'green, asyncio busy': (_aiohub_green, _eventlet_green),
    'asyncio, green busy': (_aiohub_asyncio, _eventlet_asyncio),
}.items():
    for _permille in (500, 999):
        for _way, _measure in zip(('aiohub', 'eventlet and asyncio'), _ways,
                                  strict=True):
            comparing.row('%s: %g %% late' % (_what, _permille / 10), _way,
                          ASYNCIO, repeats=False)(
                lambda measure=_measure, permille=_permille:
                _nth(measure(), permille))

if __name__ == '__main__':
    comparing.main()
