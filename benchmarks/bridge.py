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

"""From green code to coroutines, and back.

The other candidates are eventlet's functions for that on its asyncio hub, and
asyncio-gevent's.
"""

import asyncio

import comparing

ASYNCIO = "eventlet's asyncio"


async def _at_once():
    return 1


async def _once():
    await asyncio.sleep(0)
    return 1


async def _sleeps():
    await asyncio.sleep(1e-6)
    return 1


def _nothing():
    return 1


def _green_waits(name, coroutine):
    """A row: green code waits for a coroutine."""
    @comparing.row(name, 'aiohub', ASYNCIO, 10)
    def aiohub_waits(loops):
        import aiohub

        start = comparing.clock()
        for _ in range(loops * 10):
            aiohub.await_(coroutine())
        return comparing.clock() - start

    @comparing.row(name, 'eventlet and asyncio')
    def eventlet_waits(loops):
        from eventlet.asyncio import spawn_for_awaitable

        start = comparing.clock()
        for _ in range(loops * 10):
            spawn_for_awaitable(coroutine()).wait()
        return comparing.clock() - start

    @comparing.row(name, 'gevent and asyncio')
    def gevent_waits(loops):
        import asyncio_gevent

        # Within a loop that runs it waits for ever.
        start = comparing.clock()
        for _ in range(loops * 10):
            green = asyncio_gevent.future_to_greenlet(coroutine())
            green.start()
            green.get()
        return comparing.clock() - start


_green_waits('await_(), at once', _at_once)
_green_waits('await_(), suspends once', _once)
_green_waits('await_(), sleeps', _sleeps)


def _in_coroutine(way, wait):
    """Return what measures a coroutine that waits for green code."""
    async def work(loops):
        start = comparing.clock()
        for _ in range(loops * 10):
            await wait()
        return comparing.clock() - start

    if way == 'eventlet and asyncio':
        def measure(loops):
            from eventlet.asyncio import spawn_for_awaitable

            return spawn_for_awaitable(work(loops)).wait()

        return measure
    if way == 'gevent and asyncio':
        return lambda loops: asyncio.run(work(loops))
    return work


def _eventlet_spawn():
    import eventlet

    return eventlet.spawn(_nothing)


def _aiohub_to_future():
    import aiohub

    return aiohub.greenlet_to_future(_eventlet_spawn())


def _gevent_spawn():
    import asyncio_gevent
    import gevent

    return asyncio_gevent.greenlet_to_future(gevent.spawn(_nothing))


def _aiohub_sync_to_async():
    import aiohub

    return aiohub.sync_to_async(_nothing)()


def _gevent_sync_to_async():
    import asyncio_gevent

    return asyncio_gevent.sync_to_async(_nothing)()


async def _eventlet_calls():
    import eventlet

    await eventlet.spawn(eventlet.sleep, 0)


async def _aiohub_calls():
    from aiohub import tasks
    import eventlet

    if tasks.enabled:
        eventlet.sleep(0)
    else:
        await _eventlet_calls()


async def _gevent_calls():
    import asyncio_gevent
    import gevent

    await asyncio_gevent.sync_to_async(gevent.sleep)(0)


def _in_task(function):
    return lambda: asyncio.create_task(function())


for _name, _waits in {
    'await of a green thread': {
        'aiohub': _eventlet_spawn,
        'eventlet and asyncio': _eventlet_spawn,
        'gevent and asyncio': _gevent_spawn,
    },
    'await of greenlet_to_future()': {
        'aiohub': _aiohub_to_future,
        'eventlet and asyncio': _eventlet_spawn,
        'gevent and asyncio': _gevent_spawn,
    },
    'sync_to_async()': {
        'aiohub': _aiohub_sync_to_async,
        'eventlet and asyncio': _eventlet_spawn,
        'gevent and asyncio': _gevent_sync_to_async,
    },
    'task with a green call': {
        'aiohub': _in_task(_aiohub_calls),
        'eventlet and asyncio': _in_task(_eventlet_calls),
        'gevent and asyncio': _in_task(_gevent_calls),
    },
}.items():
    for _way, _wait in _waits.items():
        comparing.row(_name, _way, ASYNCIO, 10)(_in_coroutine(_way, _wait))


@comparing.row('from_thread.run()', 'aiohub', 'asyncio', 10)
def from_thread(loops):
    import aiohub
    from eventlet import tpool

    aiohub.get_loop()

    def work():
        start = comparing.clock()
        for _ in range(loops * 10):
            aiohub.from_thread.run(_at_once)
        return comparing.clock() - start

    return tpool.execute(work)


@comparing.row('from_thread.run()', 'asyncio')
async def from_thread_asyncio(loops):
    loop = asyncio.get_running_loop()

    def work():
        start = comparing.clock()
        for _ in range(loops * 10):
            asyncio.run_coroutine_threadsafe(_at_once(), loop).result()
        return comparing.clock() - start

    return await asyncio.to_thread(work)


if __name__ == '__main__':
    comparing.main()
