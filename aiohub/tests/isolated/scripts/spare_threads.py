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

"""Green threads that are used again begin and end as others do."""

import asyncio
import gc
import weakref

import cases
import mode
from used_threads import make
from used_threads import run
from used_threads import spares
from used_threads import with_both

import aiohub
import eventlet
from eventlet import debug
from eventlet import event
from eventlet.green import socket
from eventlet import greenthread
from eventlet import hubs
from eventlet import queue
from eventlet import semaphore
import greenlet


class Stop(Exception):
    pass


class Value:
    pass


@with_both
def before_it_begins():
    green = make(lambda *args, **kwargs: (args, kwargs), 1, two=2)
    assert not green and not green.dead
    assert green.gr_frame is None and green.gr_context is None
    assert callable(green.run)
    assert green.parent is hubs.get_hub().greenlet
    assert type(green) is greenthread.GreenThread
    assert green.wait() == ((1,), {'two': 2})
    assert not green and green.dead and green.gr_frame is None


@with_both
def while_it_waits():
    gate = cases.Gate()
    green = make(gate.in_green)
    cases.until(lambda: gate.reached)
    assert green and not green.dead
    assert green.gr_frame.f_code.co_name == 'switch'
    try:
        green.run = int
    except AttributeError:
        pass
    else:
        raise AssertionError('it has begun')
    green.cancel()  # does nothing any more
    gate.open()
    assert green.wait() is None and green.dead


@with_both
def killed_before_it_begins():
    called, told = [], []
    for end in (greenthread.GreenThread.kill, greenthread.GreenThread.cancel,
                eventlet.kill):
        green = make(called.append, 1)
        green.link(told.append)
        end(green)
        assert green.dead and not green
        try:
            green.wait()
        except greenlet.GreenletExit:
            pass
        else:
            raise AssertionError('it was killed')
        assert told.pop() is green
        del green
        run(int)
    cases.turns()
    assert not called and not told


@with_both
def killed_with_an_error():
    debug.hub_exceptions(False)
    try:
        called = []
        green = make(called.append, 1)
        green.kill(Stop, Stop('for a reason'), None)
        try:
            green.wait()
        except Stop as exc:
            assert exc.args == ('for a reason',)
        else:
            raise AssertionError('it was killed')
        cases.turns()
        assert green.dead and not called
    finally:
        debug.hub_exceptions(True)


@with_both
def thrown_into_before_it_begins():
    called, hub = [], hubs.get_hub()
    # The hub does it, before the switch that begins it.
    begins = []
    hub.schedule_call_global(0, lambda: begins[0].throw())
    begins.append(make(called.append, 1))
    cases.until(lambda: begins[0].dead)
    cases.turns()
    assert not called


@with_both
def thrown_into_by_the_one_that_it_returns_to():
    called = []
    green = make(called.append, 1)
    green.parent = greenlet.getcurrent()
    try:
        green.throw(Stop)
    except Stop:
        pass
    else:
        raise AssertionError('it has nothing to hold that up')
    assert green.dead and not called
    cases.turns()
    assert not called


@with_both
def given_something_else_to_run():
    called = []
    green = make(called.append, 'function')
    green.run = lambda *args: called.append(args[1:])
    cases.turns()
    assert called == [(('function',), {})] and green.dead
    assert len(spares()) == 0


@with_both
def dropped_before_it_begins():
    function = Value()
    green = make(function)
    references = [weakref.ref(green), weakref.ref(function)]
    hub = hubs.get_hub()
    for _, timer in [*hub.timers, *hub.next_timers,
                     *getattr(hub, '_soon', ())]:
        if not timer.called and timer.tpl[1][:1] == (function,):
            timer.cancel()
    del green, function, timer
    assert not any(reference() for reference in references)


@with_both
def by_what_was_imported_before():
    spawn = getattr(eventlet.spawn, '__wrapped__', eventlet.spawn)
    assert spawn is not eventlet.spawn or not mode.ON
    before = len(spares())
    green = spawn(lambda: 'answer')
    assert not green and len(spares()) == before
    assert green.wait() == 'answer' and green.dead


@with_both
def is_awaited():
    async def call():
        return await make(lambda: eventlet.getcurrent() and 'answer')

    async def cancel():
        called = []
        green = make(called.append, 1)
        future = aiohub.greenlet_to_future(green)
        future.cancel()
        try:
            await future
        except asyncio.CancelledError:
            pass
        assert green.dead and not called

    assert aiohub.await_(call()) == 'answer'
    run(int)
    aiohub.await_(cancel())
    run(int)
    green = make(lambda: 'answer')
    assert aiohub.await_(aiohub.greenlet_to_future(green)) == 'answer'


@with_both
def links():
    called = []
    for number in range(3):
        green = make(int)
        green.link(lambda _, number=number: called.append(number))
        del green
        cases.turns()
    assert called == [0, 1, 2]


@with_both
def links_that_wait():
    called = []
    green = make(int)
    green.link(lambda _: (eventlet.sleep(0), called.append(1)))
    del green
    cases.until(lambda: called)
    run(called.append, 2)
    assert called == [1, 2]


@with_both
def failures():
    debug.hub_exceptions(False)
    try:
        def fail():
            raise Stop

        told = []
        green = make(fail)
        green.link(told.append)
        try:
            green.wait()
        except Stop as exc:
            names = []
            trace = exc.__traceback__
            while trace is not None:
                names.append(trace.tb_frame.f_code.co_name)
                trace = trace.tb_next
            # As of eventlet's: one frame, and what that function is for.
            assert names[-2].startswith('main') and names[-1] == 'fail'
        else:
            raise AssertionError('it fails')
        cases.until(lambda: green.dead)
        assert told == [green] and not spares()
    finally:
        debug.hub_exceptions(True)


@with_both
def many():
    called, pool = [], eventlet.GreenPool(1000)
    for number in range(300):
        eventlet.spawn(called.append, number)
        pool.spawn(called.append, 300 + number)
    pool.waitall()
    cases.turns()
    assert sorted(called) == list(range(600))
    assert pool.running() == 0
    assert sorted(pool.imap(int, range(100))) == list(range(100))
    most, gate = 100 if mode.ON else 0, cases.Gate()
    for reached in (100, 200):
        # All that wait work, and as many are made meanwhile.
        for _ in range(100):
            eventlet.spawn(gate.in_green)
        cases.until(lambda reached=reached: gate.reached == reached)
        for _ in range(300):
            eventlet.spawn(int)
        cases.turns()
        assert len(spares()) == most
        gate.open()
        cases.turns()
        assert len(spares()) == most


@with_both
def has_another_parent():
    """One that does not return to the hub is not what the hub has."""
    before = len(spares())
    green = greenthread.GreenThread(greenlet.getcurrent())
    assert len(spares()) == before
    green.switch(int, (), {})
    assert green.dead and green.wait() == 0


class Mine(greenthread.GreenThread):
    """A class of somebody else."""

    def __init__(self, parent, name):
        super().__init__(parent)
        self.name = name

    def main(self, function):
        super().main(function, (), {})


@with_both
def gets_another_parent():
    """Who gets control when it ends is not kept."""
    called = []

    def parent():
        green = make(called.append, 'green')
        green.parent = greenlet.getcurrent()
        del green
        hubs.get_hub().switch()
        called.append('parent')

    other = greenlet.greenlet(parent, hubs.get_hub().greenlet)
    reference = weakref.ref(other)
    hubs.get_hub().schedule_call_global(0, other.switch)
    del other
    cases.until(lambda: len(called) == 2)
    assert called == ['green', 'parent']
    cases.turns()
    assert reference() is None


@with_both
def made_in_a_task():
    async def spawn():
        # Where the hub is not in its turn.
        await asyncio.sleep(0)
        green = make(called.append, 1)
        assert green.parent is hubs.get_hub().greenlet

    called = []
    aiohub.await_(spawn())
    cases.until(lambda: called)
    cases.turns()
    assert not mode.ON or len(spares()) == 1


@with_both
def that_are_kept():
    """They end, and so others would for which one is made."""
    before = len(spares())
    for _ in range(3):
        green = eventlet.spawn(int)
        assert green.wait() == 0
        cases.until(lambda green=green: green.dead)
    cases.turns()
    assert len(spares()) <= max(before - 1, 0)


@with_both
def derived_classes():
    before = len(spares())
    green = Mine(hubs.get_hub().greenlet, name='mine')
    assert len(spares()) == before and not green
    hubs.get_hub().schedule_call_global(0, green.switch, lambda: 'answer')
    assert green.wait() == 'answer' and green.dead and green.name == 'mine'


@with_both
def of_another_class_since():
    for _ in range(2):
        green = make(int)
        green.__class__ = Mine
        assert not green
        del green
        cases.turns()
        assert not spares()


def whoever_waits():
    """Somebody gets hold of one that waits."""
    run(int)
    run(int)
    found = [green for green in gc.get_objects()
             if type(green) is greenthread.GreenThread
             and green in spares()]
    assert len(found) == 1
    green = eventlet.spawn(int)
    assert green is not found[0] and not spares()
    green.wait()
    assert found[0] and found[0].gr_frame is not None
    found.clear()
    # Or watches it.
    run(int)
    run(int)
    watched = weakref.ref(spares()[0])
    green = eventlet.spawn(int)
    assert green is not watched()
    green.wait()


def whatever_it_waits_for():
    """It is used again."""
    ours, theirs = socket.socketpair()
    opened, lock, items = event.Event(), semaphore.Semaphore(0), queue.Queue()
    future = aiohub.get_loop().create_future()
    for wait, wake in (
            (int, int),
            (lambda: eventlet.sleep(0), int),
            (lambda: eventlet.sleep(0.001), int),
            (lambda: ours.recv(1), lambda: theirs.send(b'1')),
            (opened.wait, opened.send),
            (lock.acquire, lock.release),
            (items.get, lambda: items.put(1)),
            (lambda: aiohub.await_(asyncio.sleep(0)), int),
            (lambda: aiohub.await_(asyncio.sleep(0.001)), int),
            (lambda: aiohub.await_(future), lambda: future.set_result(1)),
            (lambda: eventlet.spawn(eventlet.sleep, 0).wait(), int)):
        spares().clear()
        run(int)
        assert len(spares()) == 1
        called = []
        run(lambda wait=wait, called=called: called.append(wait()))
        wake()
        cases.until(lambda called=called: called)
        cases.turns()
        assert len(spares()) == 1, (wait, wake)
    ours.close()
    theirs.close()


class Meanwhile(list):
    """Has something happen when one is about to wait."""

    def append(self, green):
        super().append(green)
        del green
        self.happens()


def happens_meanwhile(happens):
    run(int)
    run(int)
    spare = hubs.get_hub().loop.state.spare_threads
    spare.greens = Meanwhile(spare.greens)
    spare.greens.happens = happens
    try:
        run(int)
    finally:
        spare.greens = [*spare.greens]


def a_signal_handler_makes_one():
    def handler():
        if not called:
            called.append(0)
            made.append(eventlet.spawn(called.append, 1))
            made.append(eventlet.getcurrent())

    called, made = [], []
    happens_meanwhile(handler)
    cases.until(lambda: len(called) == 2)
    assert made[0] is not made[1]
    made[0].wait()


def a_signal_handler_waits():
    def handler():
        if not called:
            called.append(0)
            eventlet.sleep(0)
            called.append(1)
            eventlet.spawn(called.append, 2)

    called = []
    happens_meanwhile(handler)
    cases.until(lambda: len(called) == 3)


def an_error_comes():
    def handler():
        if not called:
            called.append(0)
            raise Stop

    called = []
    debug.hub_exceptions(False)
    try:
        happens_meanwhile(handler)
    finally:
        debug.hub_exceptions(True)
    assert all(green.dead for green in spares())
    eventlet.spawn(called.append, 1).wait()
    assert called == [0, 1]


def the_hub_is_closed():
    """In a thread: those that wait end with its hub."""
    found, alive = [], []

    def work():
        run(int)
        run(int)
        hub = hubs.get_hub()
        assert spares()[0] is not there
        found.extend(weakref.ref(green) for green in spares())
        hub.close()
        alive.extend(green() for green in found if green() is not None)
        run(int)
        run(int)
        found.extend(weakref.ref(green) for green in spares())

    run(int)
    there = spares()[0]
    thread = mode.native.Thread(target=work)
    thread.start()
    while thread.is_alive():
        eventlet.sleep(0)
    thread.join()
    gc.collect()
    assert not alive
    assert len(found) == 2 and not any(green() for green in found)


if mode.ON:
    for _function in (
            whatever_it_waits_for, whoever_waits, a_signal_handler_makes_one,
            a_signal_handler_waits, an_error_comes, the_hub_is_closed):
        cases.case(_function)

cases.run_all()
mode.done()
