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

"""Green threads that are used again: nobody can tell."""

import contextvars
import sys
import weakref

import cases
import mode
from used_threads import make
from used_threads import run
from used_threads import spares
from used_threads import with_both

import eventlet
from eventlet import corolocal
from eventlet import event
from eventlet import greenthread
from eventlet import hubs
import greenlet

variable = contextvars.ContextVar('variable', default=None)
local = corolocal.local()


class Stop(Exception):
    pass


class Value:
    pass


def nothing_is_left(leave, check):
    """What one has left is not there in the next."""
    for _ in range(5):
        run(leave)
        result = event.Event()
        run(lambda result=result: result.send(check()))
        assert result.wait(), leave


@with_both
def arguments():
    """What the function was, is given and returns."""
    class Function:
        def __call__(self, *args, **kwargs):
            result = Value()
            kept.append(weakref.ref(result))
            return result

    kept = []
    for _ in range(5):
        function, first, second = Function(), Value(), Value()
        kept.extend(map(weakref.ref, (function, first, second)))
        run(function, first)
        eventlet.spawn(function, first, second=second)
        del function, first, second
        cases.turns()
        assert not any(value() for value in kept)
    assert len(kept) == 25


@with_both
def contexts():
    def leave():
        variable.set(Value())
        kept.append(weakref.ref(variable.get()))

    kept = []
    nothing_is_left(leave, lambda: variable.get() is None)
    assert not any(value() for value in kept)


@with_both
def locals_of_threads():
    def leave():
        local.value = Value()
        kept.append(weakref.ref(local.value))

    kept = []
    nothing_is_left(leave, lambda: not hasattr(local, 'value'))
    # Most have one of these.
    assert not mode.ON or len(spares()) == 1
    # The local itself refers to those of who has looked at it last.
    hasattr(local, 'value')
    assert not any(value() for value in kept)


@with_both
def values_that_set_others():
    class Again:
        def __del__(self):
            values[eventlet.getcurrent()] = 'again'

    def leave():
        values[eventlet.getcurrent()] = Again()

    values = weakref.WeakKeyDictionary()
    nothing_is_left(leave, lambda: eventlet.getcurrent() not in values)


@with_both
def values_that_set_attributes():
    class Sets:
        def __del__(self):
            eventlet.getcurrent().mine = 1

    def leave():
        values[eventlet.getcurrent()] = Sets()

    values = weakref.WeakKeyDictionary()
    nothing_is_left(
        leave, lambda: not hasattr(eventlet.getcurrent(), 'mine'))


@with_both
def values_that_stay_a_while():
    """Somebody iterates over what refers to it."""
    class Key:
        pass

    key = Key()
    values = weakref.WeakKeyDictionary({key: 1})
    items = values.items()
    next(items)
    run(lambda: values.update({eventlet.getcurrent(): 2}))
    assert [*values] == [key]
    del items
    assert [*values] == [key]


@with_both
def values_that_make_green_calls():
    class Waits:
        def __del__(self):
            eventlet.sleep(0)
            kept.append(eventlet.getcurrent())

    def leave():
        values[eventlet.getcurrent()] = Waits()

    values, kept = weakref.WeakKeyDictionary(), []
    nothing_is_left(leave, lambda: eventlet.getcurrent() not in [*values,
                                                                 *kept])
    assert len(kept) == 5 and not values
    # Or it was the hub that dropped the value.
    assert all(green.dead for green in kept
               if type(green) is greenthread.GreenThread)


@with_both
def exceptions():
    def leave():
        try:
            raise Stop
        except Stop:
            eventlet.sleep(0)
            return

    nothing_is_left(leave, lambda: sys.exc_info() == (None, None, None))


@with_both
def attributes():
    nothing_is_left(
        lambda: setattr(eventlet.getcurrent(), 'mine', 1),
        lambda: not hasattr(eventlet.getcurrent(), 'mine'))


@with_both
def references():
    """Who keeps one sees it end, and none later that is the same."""
    kept, seen = [], weakref.WeakKeyDictionary()
    hub = hubs.get_hub()
    for keep in (
            kept.append,
            lambda green: kept.append(green.switch),
            lambda green: kept.append(green.throw),
            lambda green: kept.append(green.wait),
            lambda green: kept.append({green: 1}),
            lambda green: setattr(local, 'me', kept.append(green)),
            lambda green: seen.update({green: kept.append(green)}),
            lambda green: kept.append(weakref.ref(green)),
            lambda green: kept.append(weakref.WeakSet([green])),
            lambda green: kept.append(weakref.WeakMethod(green.wait)),
            lambda green: kept.append(greenlet.greenlet(int, green)),
            lambda green: kept.append(contextvars.copy_context()),
            lambda green: kept.append(hub.schedule_call_local(
                100, kept.append))):
        green = make(lambda keep=keep: keep(eventlet.getcurrent()))
        found = weakref.ref(green)
        del green
        cases.turns()
        assert found() is None or found().dead
        nothing_is_left(int, lambda: eventlet.getcurrent() is not found())
    assert kept[0].dead and kept[0].wait() is None and len(seen) == 1
    for one in kept:
        if hasattr(one, 'cancel'):
            one.cancel()


@with_both
def finalizers():
    ended = []
    for number in range(5):
        run(lambda: weakref.finalize(
            eventlet.getcurrent(), ended.append, number))
        assert ended == list(range(number + 1))


@with_both
def local_timers():
    called = []
    for _ in range(5):
        run(lambda: greenthread.spawn_after_local(0, called.append, 1))
        run(lambda: hubs.get_hub().schedule_call_local(0, called.append, 1))
    cases.turns()
    assert not called


@with_both
def recursion():
    def depth(count=0):
        try:
            return depth(count + 1)
        except RecursionError:
            return count

    found = []
    for _ in range(10):
        run(lambda: found.append(depth()))
    assert max(found) - min(found) < 5, found


cases.run_all()
mode.done()
