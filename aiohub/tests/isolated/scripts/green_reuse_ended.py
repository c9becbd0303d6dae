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

"""Greenlets of tasks that end after a green call are used again, too.

Who wakes such a task still refers to its greenlet at its end. And nobody else
can see it: who keeps the greenlet finds it dead, and no other task in it.
"""

import asyncio

import cases
import clean
import meanwhile
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet.green import socket
from eventlet import hubs
from eventlet import queue
from eventlet import semaphore
import greenlet


class Stop(Exception):
    pass


def wait_for_event():
    done = event.Event()
    eventlet.spawn_n(done.send, 1)
    assert done.wait() == 1


def take_semaphore():
    taken = semaphore.Semaphore(0)
    eventlet.spawn_n(taken.release)
    taken.acquire()


def get_from_queue():
    items = queue.Queue()
    eventlet.spawn_n(items.put, 1)
    assert items.get() == 1


def put_in_queue():
    items = queue.Queue(0)
    eventlet.spawn_n(items.get)
    items.put(1)


def receive():
    left, right = socket.socketpair()
    with left, right:
        eventlet.spawn_n(right.send, b'x')
        assert left.recv(1) == b'x'


def be_killed():
    me = eventlet.getcurrent()
    eventlet.spawn_n(eventlet.kill, me, Stop())
    try:
        event.Event().wait()
    except Stop:
        pass


def time_out():
    try:
        with eventlet.Timeout(0.0001):
            event.Event().wait()
    except eventlet.Timeout:
        pass


def fail():
    eventlet.sleep(0)
    raise Stop


def be_cancelled():
    loop = asyncio.get_running_loop()
    loop.call_soon(asyncio.current_task().cancel)
    event.Event().wait()


RETURNS = (
    lambda: eventlet.sleep(0), lambda: eventlet.sleep(0.0001),
    wait_for_event, take_semaphore, get_from_queue, put_in_queue,
    lambda: eventlet.spawn(int).wait(), time_out)
if mode.ON:
    # The epolls hub refers to all whose descriptor is ready until all of them
    # have gone on.
    RETURNS += (receive,)
# What is raised refers to the call that has woken the task, by its traceback.
RAISES = be_killed, fail, be_cancelled


async def end_with(green_call):
    await asyncio.sleep(0)
    assert not vars(eventlet.getcurrent())
    green_call()


@meanwhile.in_task
async def used_after_green_calls():
    spare = asyncio.get_running_loop().state.spare_greenlets
    for green_call in RETURNS:
        spare.clear()
        for _ in range(3):
            await asyncio.gather(*(end_with(green_call) for _ in range(20)))
            assert len(spare) == 20, (green_call, len(spare))


@meanwhile.in_task
async def kept_after_green_calls():
    """Who keeps a greenlet finds it dead when its task has ended."""
    kept = []

    def look(task):
        green = kept[-1]
        assert task.done() and green.dead and not green
        # That does nothing.
        green.kill()
        eventlet.kill(green, Stop)
        seen.append(green)

    async def end_and_keep(green_call):
        assert eventlet.getcurrent() not in kept
        await clean.be_clean()
        kept.append(eventlet.getcurrent())
        assert kept[-1] and not kept[-1].dead
        green_call()

    for green_call in (*RETURNS, receive, *RAISES):
        kept.clear()
        seen = []
        for _ in range(5):
            task = asyncio.create_task(end_and_keep(green_call))
            task.add_done_callback(look)
            await asyncio.gather(task, return_exceptions=True)
            look(task)
            await clean.run(clean.be_clean)
            assert kept[-1].dead and not kept[-1]
        assert len(seen) == 10 and len(set(kept)) == 5


@meanwhile.in_task
async def woken_and_ended_by_others():
    """Who wakes a task goes on after its end, and makes another one."""
    hub, loop = hubs.get_hub(), asyncio.get_running_loop()
    ended = []

    async def end(me):
        me.append(eventlet.getcurrent())
        hub.switch()
        ended.append(1)

    def wake(me):
        green = me.pop()
        green.switch()
        assert ended and green.dead and not green
        tasks.append(loop.create_task(clean.be_clean()))
        assert green.dead and not green

    for _ in range(5):
        ended.clear()
        tasks, me = [], []
        task = loop.create_task(end(me))
        while not me:
            await asyncio.sleep(0)
        hub.schedule_call_global(0, wake, me)
        await task
        while not tasks:
            await asyncio.sleep(0)
        await tasks[0]


@meanwhile.in_task
async def children_that_live_longer():
    """What a task has started goes on, and makes others, after its end."""
    loop, made = asyncio.get_running_loop(), []

    async def end_at_once():
        return 'ended'

    async def end_later():
        await asyncio.sleep(0)
        eventlet.sleep(0)
        return 'ended'

    def child():
        me = greenlet.getcurrent()
        parent = me.parent
        parent.switch()
        del parent
        assert me.parent.dead and not me.parent
        if hasattr(asyncio, 'eager_task_factory'):  # since Python 3.12
            task = asyncio.Task(end_at_once(), loop=loop, eager_start=True)
            assert task.result() == 'ended'
            assert me.parent.dead and not me.parent
        for function in (end_at_once, end_later) * 3:
            made.append(aiohub.await_(function()))
        made.append('child')

    async def start(children):
        children.append(greenlet.greenlet(child))
        children[-1].switch()
        eventlet.sleep(0)

    for _ in range(3):
        made.clear()
        children = []
        loop.state.spare_greenlets.clear()
        await asyncio.create_task(start(children))
        eventlet.spawn(children[0].switch)
        while 'child' not in made:
            await asyncio.sleep(0)
        assert made.count('ended') == 6


cases.run_all()
mode.done()
