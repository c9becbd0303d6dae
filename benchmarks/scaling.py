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

"""What a step costs as there is more and more that waits."""

import asyncio
import resource
import socket

import comparing

MANY = (10, 1_000, 100_000)
#: How many steps are measured where making what waits takes long.
STEPS = 10_000
#: Each takes two descriptors, and a process may not have more.
FEWER = tuple(min(number, resource.getrlimit(
    resource.RLIMIT_NOFILE)[1] // 2 - 100) for number in (10, 1_000, 10_000))


def _idle_sockets(number):
    def measure(loops, kept=[]):
        import eventlet
        from eventlet import greenio

        if not kept:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            for _ in range(number):
                left, right = socket.socketpair()
                kept.append(right)
                eventlet.spawn(greenio.GreenSocket(left).recv, 1)
            for _ in range(3):
                eventlet.sleep(0)
        start = comparing.clock()
        for _ in range(loops * 100):
            eventlet.sleep(0)
        return comparing.clock() - start

    return measure


def _pending_timers(number):
    def measure(loops, kept=[]):
        import eventlet
        from eventlet import hubs

        eventlet.sleep(0)
        hub = hubs.get_hub()
        if not kept:
            kept += [hub.schedule_call_global(1000 + n % 100, int)
                     for n in range(number)]
            eventlet.sleep(0)
        start = comparing.clock()
        for _ in range(loops * 100):
            hub.schedule_call_global(1e-9, int)
            eventlet.sleep(0)
        return comparing.clock() - start

    return measure


def _waiting_tasks(number):
    async def measure():
        loop = asyncio.get_running_loop()
        ever = loop.create_future()

        async def wait():
            await asyncio.shield(ever)

        waiting = [loop.create_task(wait()) for _ in range(number)]
        for _ in range(3):
            await asyncio.sleep(0)
        start = comparing.clock()
        for _ in range(STEPS):
            await asyncio.sleep(0)
        took = comparing.clock() - start
        ever.set_result(None)
        await asyncio.gather(*waiting)
        return took / STEPS

    return measure


for _number in FEWER:
    comparing.row(f'sleep(0), {_number:,} idle sockets', 'eventlet',
                  count=100)(_idle_sockets(_number))
for _number in MANY:
    comparing.row(f'one of {_number:,} timers', 'eventlet', count=100)(
        _pending_timers(_number))
for _number in MANY:
    comparing.row(f'a step, {_number:,} tasks wait', 'asyncio', 'asyncio',
                  repeats=False)(_waiting_tasks(_number))

if __name__ == '__main__':
    comparing.main()
