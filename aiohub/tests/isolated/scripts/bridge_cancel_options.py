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

"""What the options of future_to_greenlet() and greenlet_to_future() change.

For who is killed or cancelled before it begins, while it waits, and when
nobody is interested in it.
"""

import asyncio
from typing import Any

import cases
import mode
import waiters

import aiohub
import eventlet
import greenlet

CancelledError = asyncio.CancelledError
GreenletExit = greenlet.GreenletExit


# -- future_to_greenlet

FLAGS = [{'autostart_future': start, 'autocancel_future': cancel,
          'autokill_greenlet': kill}
         for start in (True, False) for cancel in (True, False)
         for kill in (True, False)]


def killed_before_it_runs(throw: Any, kill: Any, flags: Any) -> None:
    """The green thread is killed before its first switch, in each way."""
    work = waiters.Work()
    coroutine = work.in_task()
    green = aiohub.future_to_greenlet(coroutine, **flags)
    kill(green, *throw)
    waiter = waiters.Waiter(green)
    waiter.saw_thrown(throw)
    # Again: nothing more happens.
    kill(green, *throw)
    waiter.saw_thrown(throw)
    if flags['autocancel_future']:
        assert work.log == [], work.log
    elif flags['autostart_future']:
        cases.until(lambda: work.first.reached)
        work.first.open()
        cases.until(lambda: work.second.reached)
        work.open()
        cases.until(lambda: 'clean' in work.log)
    else:
        coroutine.close()


def killed_and_dropped(flags: Any) -> None:
    """Nobody asks for what a killed one was killed with."""
    work = waiters.Work()
    coroutine = work.in_task()
    green = aiohub.future_to_greenlet(coroutine, **flags)
    green.kill()
    if flags['autocancel_future']:
        cases.turns()
        assert work.log == []
    elif flags['autostart_future']:
        cases.until(lambda: work.first.reached)
        work.first.open()
        cases.until(lambda: work.second.reached)
        work.open()
        cases.until(lambda: 'clean' in work.log)
    else:
        coroutine.close()


def killed_while_it_waits(flags: Any) -> None:
    work = waiters.Work(slow=True)
    waiter = waiters.Waiter(aiohub.future_to_greenlet(work.in_task(), **flags))
    caller = waiters.Caller(waiter.green.wait)
    cases.until(lambda: work.first.reached)
    waiter.kill(custom := waiters.Custom('thrown'))
    if flags['autocancel_future']:
        cases.until(lambda: work.cleanup.reached)
        assert not waiter.ended()
        work.cleanup.open()
        waiter.saw(custom)
        assert work.log == ['start', 'stopped', 'clean']
    else:
        waiter.saw(custom)
        assert work.log == ['start']
        work.first.open()
        cases.until(lambda: work.second.reached)
        work.second.open()
        cases.until(lambda: work.cleanup.reached)
        work.cleanup.open()
        cases.until(lambda: 'clean' in work.log)
        assert work.log == ['start', 'end', 'clean']
    caller.saw(custom)


def future_cancelled(flags: Any) -> None:
    """Somebody else cancels the task that the green thread waits for."""
    loop = aiohub.get_loop()
    for moment in ('before start', 'waiting', 'cleanup', 'twice'):
        work = waiters.Work(slow=True)
        task = loop.create_task(work.in_task())
        waiter = waiters.Waiter(aiohub.future_to_greenlet(task, **flags))
        caller = waiters.Caller(waiter.green.wait)
        if moment != 'before start':
            cases.until(lambda work=work: work.first.reached)
        if moment == 'cleanup':
            work.first.open()
            cases.until(lambda work=work: work.second.reached)
            work.second.open()
            cases.until(lambda work=work: work.cleanup.reached)
        task.cancel()
        if moment == 'waiting':
            cases.until(lambda work=work: work.cleanup.reached)
            cases.turns()
            assert not caller.ended()
            work.cleanup.open()
        elif moment == 'twice':
            cases.until(lambda work=work: work.cleanup.reached)
            task.cancel()
        caller.saw(GreenletExit if flags['autokill_greenlet']
                   else CancelledError)
        waiter.saw(type(caller.outcome))
        assert task.cancelled()


def future_cancelled_and_dropped(flags: Any) -> None:
    """asyncio prints nothing of a task that was cancelled; nor do we."""
    future = aiohub.get_loop().create_future()
    green = aiohub.future_to_greenlet(future, **flags)
    if flags['autostart_future']:
        cases.turns()
        future.cancel()
        cases.until(lambda: green.dead)
    else:
        future.cancel()


def done_already(flags: Any) -> None:
    loop = aiohub.get_loop()
    for end, expected in (
            (lambda f: f.set_result('result'), 'result'),
            (lambda f: f.cancel(), GreenletExit
             if flags['autokill_greenlet'] else CancelledError),
            (lambda f: f.set_exception(waiters.Custom()), waiters.Custom)):
        future = loop.create_future()
        end(future)
        green = aiohub.future_to_greenlet(future, **flags)
        waiters.Caller(green.wait).saw(expected)


def add_future_to_greenlet() -> None:
    for flags in FLAGS:
        text = ', '.join(name for name, value in flags.items() if value)
        for moment in (killed_and_dropped, killed_while_it_waits,
                       future_cancelled, future_cancelled_and_dropped,
                       done_already):
            cases.add('%s, %s' % (moment.__name__, text), moment, flags)
        for name, kill in waiters.KILLS.items():
            for throw in waiters.throws():
                cases.add('killed_before_it_runs, %s, %r, %s' % (
                    name, throw, text),
                    killed_before_it_runs, throw, kill, flags)


# -- greenlet_to_future

def green_killed(make: Any, throw: Any) -> None:
    """Somebody else kills the green thread that a task waits for."""
    for autocancel in (True, False):
        for begun in (True, False):
            if throw and not begun and make is greenlet.greenlet:
                continue  # it can only be told that it was killed
            work = waiters.Work()
            green = make(work.in_green)
            future = aiohub.greenlet_to_future(
                green, autocancel_future=autocancel)
            waiting = waiters.Waiting(lambda _, future=future: future, None)
            if begun:
                cases.until(lambda work=work: work.first.reached)
            eventlet.kill(green, *throw)
            if throw:
                waiting.saw((*throw, None)[1] or throw[0])
            else:
                waiting.saw(CancelledError if autocancel else GreenletExit)
            assert ('start' in work.log) is begun


def green_not_killed_by_cancel(make: Any) -> None:
    for begun in (True, False):
        work = waiters.Work()
        future = aiohub.greenlet_to_future(
            make(work.in_green), autokill_greenlet=False)
        waiting = waiters.Waiting(lambda _, future=future: future, None)
        cases.until(lambda work=work: work.first.reached or not begun)
        waiting.task.cancel()
        cases.until(waiting.task.done)
        assert future.cancelled() or not begun
        cases.until(lambda work=work: work.first.reached)
        assert work.log == ['start']
        work.first.open()
        cases.until(lambda work=work: work.second.reached)
        work.second.open()
        cases.until(lambda work=work: 'clean' in work.log)
        assert work.log == ['start', 'end', 'clean']


@cases.case
def raw_never_started_is_cancelled():
    """Nobody starts it; whoever waits for it can still be cancelled."""
    for options in ({}, {'autocancel_future': False}):
        work = waiters.Work()
        green = greenlet.greenlet(work.in_green)
        future = aiohub.greenlet_to_future(
            green, autostart_greenlet=False, **options)
        waiting = waiters.Waiting(lambda _, future=future: future, None)
        cases.turns()
        waiting.task.cancel()
        waiting.saw(CancelledError)
        assert green.dead and not work.log


@cases.case
def raw_never_started_is_killed():
    work = waiters.Work()
    green = greenlet.greenlet(work.in_green)
    future = aiohub.greenlet_to_future(green, autostart_greenlet=False)
    waiting = waiters.Waiting(lambda _: future, None)
    cases.turns()
    eventlet.kill(green)
    waiting.saw(CancelledError)
    assert green.dead and not work.log


@cases.case
def spawned_for_later_is_cancelled():
    """A green thread that has not begun is never begun."""
    work = waiters.Work()
    # So long that it does not begin before, on a busy machine too.
    green = eventlet.spawn_after(1, work.in_green)
    later = eventlet.spawn_after(1, int)
    waiting = waiters.Waiting(lambda _: aiohub.greenlet_to_future(green), None)
    cases.turns(1)
    waiting.task.cancel()
    waiting.saw(CancelledError)
    # Until after the time at which it would have begun.
    later.wait()
    assert not work.log


def add_greenlet_to_future() -> None:
    for name, make in {
            'spawn': eventlet.spawn,
            'raw': greenlet.greenlet,
    }.items():
        cases.add('green_not_killed_by_cancel, ' + name,
                  green_not_killed_by_cancel, make)
        for throw in waiters.throws():
            cases.add('green_killed, %s, %r' % (name, throw),
                      green_killed, make, throw)


@cases.case
def bridge_thread_killed_before_it_runs():
    """The bridge's own green thread, by all forms of kill."""
    for throw in waiters.throws()[1:]:
        for kill in waiters.KILLS.values():
            green = aiohub.future_to_greenlet(asyncio.sleep(0))
            waiting = waiters.Waiting(
                lambda _, green=green: aiohub.greenlet_to_future(green),
                None)
            future = aiohub.greenlet_to_future(green)
            kill(green, *throw)
            waiting.saw((*throw, None)[1] or throw[0])
            waiters.Caller(lambda future=future: aiohub.await_(future)).saw(
                (*throw, None)[1] or throw[0])


add_future_to_greenlet()
add_greenlet_to_future()
cases.run_all()
mode.done()
