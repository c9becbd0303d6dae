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

"""What belongs to a task because it belongs to its greenlet.

``threading.local`` and ``corolocal``, ``getcurrent()``, idents, of 1,000
tasks at once; and ``kill()``, which cancels the task.
"""

import asyncio
import gc
import threading
import weakref

import cases
import clean
import meanwhile
import mode

import aiohub
import eventlet
from eventlet import corolocal
from eventlet import event
from eventlet import greenthread
from eventlet import hubs
import greenlet

if mode.PATCHED:
    import _thread
else:
    from eventlet.green import thread as _thread
    from eventlet.green import threading

TASKS = 1000


class Stop(Exception):
    pass


class Value:
    """What tasks set; it can be seen whether it is still there."""


class Counting(threading.local):
    def __init__(self, start):
        self.number = start
        self.made_in = id(eventlet.getcurrent())


class CountingGreen(corolocal.local):
    def __init__(self, start):
        self.number = start
        self.made_in = id(eventlet.getcurrent())


counting = (Counting(7), CountingGreen(7))


# -- values

@meanwhile.in_task
async def many_tasks():
    inside = []

    async def work(number):
        clean.check_clean()
        for local in clean.locals_:
            local.value = number
        for local in counting:
            assert local.number == 7
            assert local.made_in == id(eventlet.getcurrent())
            local.number += number
        inside.append(number)
        while len(inside) < TASKS:
            await clean.wait_both_ways()
        for local in clean.locals_:
            assert local.value == number
            local.value = Value()
        for local in counting:
            assert local.number == 7 + number
            assert local.made_in == id(eventlet.getcurrent())
        await clean.wait_both_ways()
        return [weakref.ref(local.value) for local in clean.locals_]

    for _ in range(2):
        values = await asyncio.gather(*map(work, range(TASKS)))
        inside.clear()
        # What they have set is gone. A local keeps the values of whoever has
        # used it last.
        clean.check_clean()
        gc.collect()
        assert not any(value() for three in values for value in three)
    for _ in range(TASKS):
        await clean.run(clean.be_clean)


@meanwhile.in_task
async def one_after_the_other():
    async def work(number):
        await clean.be_clean()
        for local in clean.locals_[:1 + number % 3]:
            local.value = number
        await clean.wait_both_ways()
        for local in clean.locals_[:1 + number % 3]:
            assert local.value == number
            if number % 2:
                # Nothing is left but an empty dictionary.
                del local.value

    for number in range(TASKS):
        await clean.run(work, number)
    await asyncio.gather(*(clean.be_clean() for _ in range(TASKS)))


@meanwhile.in_task
async def of_others():
    """Green threads, callbacks and greenlets of a task have their own."""
    seen = []

    def look():
        seen.append([hasattr(local, 'value') for local in clean.locals_])

    def look_and_set():
        look()
        for local in clean.locals_:
            local.value = 'theirs'

    for local in clean.locals_:
        local.value = 'mine'
    asyncio.get_running_loop().call_soon(look)
    eventlet.spawn(look_and_set).wait()
    greenlet.greenlet(look_and_set).switch()
    await clean.run(asyncio.sleep, 0)
    await asyncio.sleep(0)
    assert seen == [[False] * 3] * 3
    assert {local.value for local in clean.locals_} == {'mine'}
    aiohub.await_(clean.be_clean())


@meanwhile.in_task
async def in_functions():
    """Also of plain functions that are called, and of what they wait for."""
    async def set_value():
        clean.locals_[0].value = 'inner'

    clean.locals_[0].value = 'outer'
    await set_value()
    assert clean.locals_[0].value == 'inner'
    # A task of its own.
    aiohub.await_(clean.run(set_value))
    clean.locals_[0].value = 'outer'
    aiohub.await_(set_value())
    assert clean.locals_[0].value == 'outer'


# -- getcurrent()

@meanwhile.in_task
async def identity():
    inside, idents = [], set()

    async def work():
        green, ident = eventlet.getcurrent(), threading.get_ident()
        assert ident == _thread.get_ident() == corolocal.get_ident()
        assert ident == id(green)
        idents.add(ident)
        inside.append(1)
        while len(inside) < TASKS:
            await clean.wait_both_ways()
            assert eventlet.getcurrent() is green is greenlet.getcurrent()
            assert greenthread.getcurrent() is green and not green.dead
            assert threading.get_ident() == ident

    await asyncio.gather(*(work() for _ in range(TASKS)))
    assert len(idents) == TASKS


# -- kill()

async def waiting():
    """Return a task that waits in a green call, and its greenlet."""
    started = []

    async def wait():
        started.append(eventlet.getcurrent())
        try:
            event.Event().wait()
        finally:
            await clean.wait_both_ways()
            started.append('clean')

    task = asyncio.create_task(wait())
    while not started:
        await clean.wait_both_ways()
    return task, started


@meanwhile.in_task
async def kill():
    for function in (
            lambda green: green.kill(), eventlet.kill, greenthread.kill,
            lambda green: eventlet.spawn(green.kill).wait(),
            lambda green: eventlet.spawn(eventlet.kill, green).wait(),
            lambda green: eventlet.spawn_after(0, green.kill).wait(),
            lambda green: hubs.get_hub().schedule_call_global(
                0, green.throw)):
        task, started = await waiting()
        function(started[0])
        await asyncio.wait([task])
        assert task.cancelled() and started[1:] == ['clean']
    await clean.wait_both_ways()


@meanwhile.in_task
async def kill_with():
    for function in (
            lambda green: green.kill(Stop), lambda green: green.kill(Stop()),
            lambda green: eventlet.kill(green, Stop),
            lambda green: eventlet.kill(green, Stop, Stop('why'), None),
            lambda green: eventlet.spawn(eventlet.kill, green, Stop).wait(),
            lambda green: hubs.get_hub().schedule_call_global(
                0, green.throw, Stop)):
        task, started = await waiting()
        function(started[0])
        await asyncio.wait([task])
        assert isinstance(task.exception(), Stop)
        assert started[1:] == ['clean']
    await clean.wait_both_ways()


@meanwhile.in_task
async def kill_itself():
    for function in (lambda: eventlet.getcurrent().kill(),
                     lambda: eventlet.kill(eventlet.getcurrent()),
                     lambda: eventlet.getcurrent().throw()):
        async def end(function=function):
            await clean.wait_both_ways()
            function()
            await asyncio.sleep(0)
            raise AssertionError

        task = asyncio.create_task(end())
        await asyncio.wait([task])
        assert task.cancelled()
    await clean.wait_both_ways()


cases.run_all()
mode.done()
