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

"""While a callback waits in a green call: green threads end, green tasks wait.
"""

import asyncio
import gc
import sys

import cases
import in_callback
import mode

import aiohub
import eventlet
from eventlet import debug
from eventlet import event
from eventlet import hubs
from eventlet import queue
from eventlet import tpool
import greenlet

loop = aiohub.get_loop()
hub = hubs.get_hub()
tpool.execute(int)


# -- green threads end

class Failure(Exception):
    pass


def return_at_once(_):
    return 'result'


def return_later(gate):
    gate.in_green()
    return 'result'


def fail_at_once(_):
    raise Failure()


def fail_later(gate):
    gate.in_green()
    raise Failure()


def leave_later(gate):
    gate.in_green()
    raise greenlet.GreenletExit()


BODIES = (return_at_once, return_later, fail_at_once, fail_later,
          leave_later)


def spawn_n(body, gate):
    eventlet.spawn_n(body, gate)


def spawn_after(body, gate):
    eventlet.spawn_after(0, body, gate)


def raw(body, gate):
    """A greenlet whose parent is that of the loop."""
    green = greenlet.greenlet(body, in_callback.greenlet_of_loop())
    hub.schedule_call_global(0, green.switch, gate)


def ends(start, opened):
    """Those that end wake neither the callback nor the main greenlet.

    :param start: How they are started: before the callback, in it before and
        after a green call, and while it waits.
    :param opened: When those that wait go on: while the callback waits, when
        it goes on, and after it.
    """
    gate = cases.Gate()
    later = [body for body in BODIES if body.__name__.endswith('later')]

    def begin():
        for body in BODIES:
            start(body, gate)

    def in_callback_twice():
        begin()
        eventlet.sleep(0)
        begin()

    def go_on():
        cases.turns(2)
        if opened == 'after':
            gate.open()

    begin()
    standstill = in_callback.Standstill(before=in_callback_twice, after=go_on)
    with standstill:
        begin()
        cases.until(lambda: gate.reached == 4 * len(later))
        if opened == 'meanwhile':
            gate.open()
            cases.turns()
        elif opened == 'going on':
            # In the turn in which the callback is woken: before and after.
            gate.open()
            standstill.go_on()
            gate.open()
        if opened != 'going on':
            assert not standstill.over
        else:
            standstill.over = False
    gate.open()
    cases.turns()
    gc.collect()
    sys.stderr.seek(0)
    lines = sys.stderr.read().splitlines()
    sys.stderr.seek(0)
    sys.stderr.truncate()
    # Each failure is printed, with the place.
    for body in (fail_at_once, fail_later):
        places = [line for line in lines if line.strip().endswith(
            'in ' + body.__name__)]
        assert len(places) == 4, (body, len(places), lines)
    failures = [line for line in lines if line.endswith('Failure')]
    assert len(failures) == 8, lines


# With the toggle off the greenlet of the loop is a green thread: one that ends
# as its child wakes it.
for start in (spawn_n, spawn_after, *([raw] if mode.ON else [])):
    for opened in ('meanwhile', 'going on', 'after', 'last'):
        cases.add('ends_%s_%s' % (start.__name__, opened.replace(' ', '_')),
                  ends, start, opened)


@cases.case
def results_of_green_threads():
    """Their links are called, and their results are there."""
    gate = cases.Gate()
    log = []

    def link(green, where):
        try:
            log.append((where, green.wait()))
        except BaseException as exc:
            log.append((where, type(exc)))

    def begin(where):
        for body in BODIES:
            eventlet.spawn(body, gate).link(link, where)

    debug.hub_exceptions(False)
    begin(1)
    with in_callback.Standstill(
            before=lambda: (begin(2), eventlet.sleep(0), begin(3))):
        begin(4)
        cases.turns()
        gate.open()
        cases.turns()
    debug.hub_exceptions(True)
    assert sorted(log, key=str) == sorted([
        (where, what) for where in (1, 2, 3, 4) for what in (
            'result', 'result', Failure, Failure,
            greenlet.GreenletExit)], key=str), log


@cases.case
def direct_switches():
    """Who switches to a greenlet in a callback goes on when that waits."""
    log = []

    def work():
        log.append('begun')
        eventlet.sleep(0)
        log.append('ended')

    def callback():
        for _ in range(2):
            green = greenlet.greenlet(work)
            green.switch()
            log.append('back')
            eventlet.sleep(0)

    if mode.ON:  # elsewhere nobody wakes who switches to another
        in_callback.call(callback)
        cases.turns()
        assert log == ['begun', 'back', 'ended'] * 2, log
        in_callback.warnings()


@cases.case
def switched_to_from_another_thread():
    """That is an error there, and is no wake-up here."""
    errors = []

    def switch(green):
        try:
            green.switch()
        except greenlet.error as exc:
            errors.append(exc)

    with in_callback.Standstill() as standstill:
        thread = mode.native.Thread(target=switch, args=(standstill.green,))
        thread.start()
        thread.join()
        for _ in range(3 if mode.ON else 0):
            # This is none either.
            child = greenlet.greenlet(int, standstill.green)
            hub.schedule_call_global(0, child.switch)
            cases.turns()
    assert len(errors) == 1


# -- green tasks

@cases.case
def parked_tasks_go_on():
    """Those that are woken from a green call; up to their next await."""
    log = []
    items = queue.Queue()

    async def get(number):
        me = asyncio.current_task()
        item = items.get()
        assert asyncio.current_task() is me
        log.append(('got', item))
        eventlet.sleep(0.001)
        assert asyncio.current_task() is me
        log.append(('slept', item))
        await asyncio.sleep(0)
        log.append(('awaited', item))
        eventlet.sleep(0)
        return number, item

    tasks = [loop.create_task(get(n)) for n in range(5)]
    cases.turns()
    with in_callback.Standstill(in_callback.by_plain_task):
        for item in range(5):
            items.put(item)
        cases.until(lambda: len(log) == 10)
        eventlet.sleep(0.001)
        assert asyncio.current_task() is None
        assert {what for what, _ in log} == {'got', 'slept'}, log
    answers = [aiohub.await_(task) for task in tasks]
    assert [number for number, _ in answers] == list(range(5))
    assert sorted(item for _, item in answers) == list(range(5)), answers
    assert len(log) == 15


@cases.case
def tasks_that_the_callback_waits_for():
    """A green call of a task can be what a callback waits for."""
    done = event.Event()
    begun = []

    async def work():
        begun.append(True)
        eventlet.sleep(0.001)
        done.send('sent')
        return 'ended'

    task = loop.create_task(work())
    cases.until(lambda: begun)
    assert in_callback.call(done.wait) == 'sent'
    assert aiohub.await_(task) == 'ended'
    in_callback.warnings()


@cases.case
def cancelled_meanwhile():
    """The loop throws it, so it comes after; what the hub throws does not."""
    log = []
    greens = []
    expected = (asyncio.CancelledError, greenlet.GreenletExit, KeyError)

    async def wait(number):
        greens.append(eventlet.getcurrent())
        try:
            eventlet.sleep(60)
        except BaseException as exc:
            assert isinstance(exc, expected[number]), exc
            log.append(number)
            raise

    tasks = [loop.create_task(wait(n)) for n in range(3)]
    cases.until(lambda: len(greens) == 3)
    with in_callback.Standstill():
        tasks[0].cancel()
        greens[1].kill()
        hub.schedule_call_global(0, greens[2].throw, KeyError('x'))
        greens.clear()
        cases.turns()
        assert 2 in log, log
        assert 0 not in log, log
    cases.until(lambda: all(task.done() for task in tasks))
    assert tasks[0].cancelled()
    assert tasks[1].cancelled()
    assert isinstance(tasks[2].exception(), KeyError)
    assert sorted(log) == [0, 1, 2], log
    tasks.clear()


@cases.case
def deadlines_in_tasks():
    """asyncio's stand still; eventlet's do not."""
    log = []
    limits = []

    async def with_eventlet():
        with eventlet.Timeout(60, False) as limit:
            limits.append(limit)
            eventlet.sleep(60)
        log.append('eventlet')

    async def with_asyncio():
        try:
            async with asyncio.timeout(60) as limit:
                limits.append(limit)
                eventlet.sleep(60)
        except TimeoutError:
            log.append('asyncio')

    tasks = [loop.create_task(with_eventlet()),
             loop.create_task(with_asyncio())]
    cases.until(lambda: len(limits) == 2)
    with in_callback.Standstill(in_callback.by_done_future):
        limits[1].reschedule(loop.time())
        hub.schedule_call_global(0, limits[0].timer)
        cases.until(lambda: log)
        cases.turns()
        assert log == ['eventlet'], log
    for task in tasks:
        aiohub.await_(task)
    assert log == ['eventlet', 'asyncio'], log


@cases.case
def killed_by_a_green_task():
    """The callback goes on in the middle of a step of that task."""
    victims = []
    log = []

    async def killer():
        me = asyncio.current_task()
        eventlet.sleep(0.001)
        cases.until(lambda: victims)
        eventlet.kill(victims.pop())
        assert asyncio.current_task() is me
        log.append('killer')
        await asyncio.sleep(0)
        return 'killer'

    async def other():
        eventlet.sleep(0)
        log.append('other')
        await asyncio.sleep(0)
        return 'other'

    def callback():
        victims.append(eventlet.getcurrent())
        try:
            event.Event().wait()
        except greenlet.GreenletExit:
            assert asyncio.current_task() is None
            log.append('killed')

    for _ in range(3):
        killing = loop.create_task(killer())
        cases.turns(1)
        ended = in_callback.begin(callback)
        # The steps of these come after it, in the same turn.
        others = [loop.create_task(other()) for _ in range(3)]
        ended.wait()
        assert aiohub.await_(killing) == 'killer'
        assert [aiohub.await_(task) for task in others] == ['other'] * 3
        assert log[0] == 'killed', log
        assert sorted(log[1:]) == ['killer', *['other'] * 3], log
        log.clear()
    in_callback.warnings()


cases.run_all()
mode.done()
