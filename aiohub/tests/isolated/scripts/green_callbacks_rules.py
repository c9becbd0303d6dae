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

"""Green calls in callbacks: what is raised, what is refused, and the warning.

And a callback has its own context, and no task that is not its own.
"""

import asyncio
import contextlib
import contextvars
import time

import callback_calls
import cases
import in_callback
import mode

import aiohub
import eventlet
from eventlet import debug
from eventlet import event
from eventlet.green import threading
from eventlet import semaphore

loop = aiohub.get_loop()
variable = contextvars.ContextVar('variable', default='none')


# -- what is raised

class Handled:
    """What comes to the exception handler of the loop, which makes a green
    call.
    """

    def __init__(self):
        self.contexts = []

    def __call__(self, _, context):
        eventlet.sleep(0)
        self.contexts.append(context)

    def __enter__(self):
        loop.set_exception_handler(self)
        return self.contexts

    def __exit__(self, *exc_info):
        loop.set_exception_handler(None)


@cases.case
def exception_after_a_green_call():
    failure = callback_calls.Failure()

    def fail():
        eventlet.sleep(0)
        raise failure

    with Handled() as contexts:
        handle = loop.call_soon(fail)
        last = in_callback.begin(callback_calls.sleep)
        last.wait()
    assert len(contexts) == 1, contexts
    assert contexts[0]['exception'] is failure
    assert contexts[0]['handle'] is handle
    names = []
    trace = failure.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == 'fail', names
    failure.__traceback__ = None
    in_callback.warnings()


@cases.case
def exception_out_of_a_green_call():
    failures = [callback_calls.Failure(), callback_calls.Failure()]

    def fail(failure):
        eventlet.sleep(0)
        raise failure

    with Handled() as contexts:
        for failure in failures:
            loop.call_soon(
                lambda failure=failure: eventlet.spawn(fail, failure).wait())
        debug.hub_exceptions(False)
        in_callback.call(callback_calls.sleep)
        debug.hub_exceptions(True)
    assert [c['exception'] for c in contexts] == failures, contexts
    contexts.clear()
    in_callback.warnings()


@cases.case
def exception_in_a_task_that_is_not_green():
    async def fail():
        await asyncio.sleep(0)
        eventlet.sleep(0)
        raise callback_calls.Failure()

    async def swallow():
        for _ in range(3):
            try:
                await fail()
            except callback_calls.Failure:
                eventlet.sleep(0)
        return 'swallowed'

    task = in_callback.plain_task(swallow())
    failing = in_callback.plain_task(fail())
    assert aiohub.await_(task) == 'swallowed'
    with callback_calls.raises(callback_calls.Failure):
        aiohub.await_(failing)
    in_callback.warnings()


@cases.case
def thrown_into_it():
    """By a kill, with whatever; what it cleans up may wait."""
    for error in (None, callback_calls.Failure(), KeyError('x'),
                  eventlet.Timeout(None)):
        log = []
        waits = event.Event()

        def work(log=log, waits=waits):
            try:
                eventlet.spawn_n(waits.send, eventlet.getcurrent())
                event.Event().wait()
            except BaseException as exc:
                log.append(exc)
                eventlet.sleep(0.001)
                log.append('clean')
                raise

        ended = in_callback.begin(work)
        victim = waits.wait()
        eventlet.kill(victim, *([] if error is None else [error]))
        try:
            ended.wait()
        except BaseException as exc:
            assert log == [exc, 'clean'], log
            if error is None:
                assert isinstance(exc, eventlet.greenlet.GreenletExit)
            else:
                assert exc is error
        else:
            raise AssertionError('it was not killed')
        cases.turns()
        log.clear()
    in_callback.warnings()


@cases.case
def kill_green_tasks():
    """In a callback; that does not wake its next green call either."""
    for wait in (int, lambda: eventlet.sleep(60), event.Event().wait):
        for way in (in_callback.by_call_soon, in_callback.by_add_reader,
                    *in_callback.TASKS):
            greens = []

            async def work(wait=wait, greens=greens):
                greens.append(eventlet.getcurrent())
                wait()
                await loop.create_future()

            tasks = [loop.create_task(work()) for _ in range(3)]
            cases.until(lambda greens=greens: len(greens) == 3)

            def callback(greens=greens):
                for green in greens:
                    green.kill()
                begun = time.monotonic()
                eventlet.sleep(0.005)
                assert time.monotonic() - begun >= 0.005
                assert event.Event().wait(0.002) is None

            in_callback.call(callback, way)
            cases.turns()
            assert all(task.cancelled() for task in tasks), tasks
            greens.clear()
    in_callback.warnings()


# -- what must not be done

@cases.case
def await_is_refused():
    """Also after a green call: the loop has to go on for it."""
    async def coroutine():
        raise AssertionError('it ran')

    def refused():
        with callback_calls.raises(aiohub.AiohubError):
            aiohub.await_(coroutine())

    def callback():
        refused()
        eventlet.sleep(0)
        refused()
        eventlet.spawn(int).wait()
        refused()

    for way in (in_callback.by_call_soon, in_callback.by_add_reader,
                *in_callback.TASKS):
        in_callback.call(callback, way)
    in_callback.warnings()


@cases.case
def no_other_loop():
    """It runs, also while it stands still."""
    async def coroutine():
        raise AssertionError('it ran')

    def refused():
        not_run = coroutine()
        with callback_calls.raises(RuntimeError):
            asyncio.run(not_run)
        not_run.close()

    def callback():
        refused()
        green = eventlet.spawn(refused)
        green.wait()
        refused()

    in_callback.call(callback)
    in_callback.warnings()


@cases.case
def stopped_in_it():
    """The loop of a hub goes on; green threads need it."""
    def callback():
        eventlet.sleep(0)
        loop.stop()
        eventlet.sleep(0)

    in_callback.call(callback)
    in_callback.call(callback_calls.sleep)
    assert aiohub.await_(asyncio.sleep(0, 'done')) == 'done'
    in_callback.warnings()


# -- contexts

@cases.case
def contexts():
    """Each has its own: callbacks, and green threads meanwhile."""
    seen = []

    def green(value):
        for n in range(5):
            variable.set((value, n))
            eventlet.sleep(0)
            assert variable.get() == (value, n)

    def callback(value):
        seen.append(variable.get())
        variable.set(value)
        greens = [eventlet.spawn(green, n) for n in range(3)]
        for thread in greens:
            eventlet.sleep(0)
            assert variable.get() == value
            thread.wait()
            assert variable.get() == value
        in_callback_too = contextvars.copy_context()
        assert in_callback_too[variable] == value

    contexts = [contextvars.copy_context() for _ in range(3)]
    for number, context in enumerate(contexts):
        context.run(variable.set, 'context %d' % number)
        loop.call_soon(callback, 'callback %d' % number, context=context)
    in_callback.call(callback_calls.sleep)
    assert seen == ['context %d' % n for n in range(3)], seen
    for number, context in enumerate(contexts):
        assert context[variable] == 'callback %d' % number
    assert variable.get() == 'none'
    in_callback.warnings()


@cases.case
def current_task():
    """Green threads have none, whenever they began."""
    def green():
        for _ in range(3):
            assert asyncio.current_task() is None
            eventlet.sleep(0)
        begin_another = eventlet.spawn(asyncio.current_task)
        assert begin_another.wait() is None
        return 'none'

    before = eventlet.spawn(green)

    async def coroutine():
        me = asyncio.current_task()
        within = [eventlet.spawn(green) for _ in range(3)]
        for _ in range(2):
            assert before.wait() == 'none'
            for thread in within:
                assert thread.wait() == 'none'
                assert asyncio.current_task() is me
            await asyncio.sleep(0)
            assert asyncio.current_task() is me
            with eventlet.Timeout(0.001, False):
                eventlet.sleep(60)
            assert asyncio.current_task() is me
        return me

    task = in_callback.plain_task(coroutine())
    assert aiohub.await_(task) is task
    in_callback.warnings()


# -- the warnings

@cases.case
def one_warning_for_each_place():
    def first_place():
        eventlet.sleep(0)

    def second_place():
        eventlet.sleep(0)

    def callback_that_is_named():
        for _ in range(5):
            first_place()
        second_place(); second_place()  # noqa: E702

    for _ in range(5):
        in_callback.call(callback_that_is_named)
    warned = in_callback.warnings()
    assert len(warned) == 2, warned
    for text, place in zip(
            warned, ('first_place', 'second_place'), strict=True):
        lines = text.splitlines()
        assert 'the event loop stands still' in lines[0], lines
        names = [line.rpartition(' ')[2] for line in lines[1:]
                 if line.startswith('  File ')]
        assert 'callback_that_is_named' in names, names
        assert place in names, names
        assert any(line.strip() == 'eventlet.sleep(0)' for line in lines)
        assert __file__ in text
    # Another way to the same line.
    in_callback.call(lambda: [callback_that_is_named() for _ in range(2)])
    assert len(in_callback.warnings()) == 2


@cases.case
def no_warning_elsewhere():
    async def coroutine():
        eventlet.sleep(0)
        await asyncio.sleep(0)
        eventlet.sleep(0)

    aiohub.await_(coroutine())
    in_callback.call(lambda: eventlet.spawn(eventlet.sleep, 0))
    # What does not have to wait.
    in_callback.call(semaphore.Semaphore(1).acquire)
    in_callback.call(threading.Lock().acquire)
    assert not in_callback.warnings()


@cases.case
def log_that_waits():
    """Nothing waits for the warning: not the callback, not the loop."""
    with in_callback.slow_log() as gate:
        for place in (callback_calls.sleep, callback_calls.sleep_zero,
                      callback_calls.receive):
            in_callback.call(lambda place=place: place())
        cases.until(lambda: gate.reached)
        assert aiohub.await_(asyncio.sleep(0, 'done')) == 'done'
        begun = gate.reached
        assert begun >= 3, begun
    assert len(in_callback.warnings()) == begun


@cases.case
def warning_while_the_log_is_written():
    """A handler of the log that waits, in a callback, is a place too."""
    logger = in_callback.new_logger()
    with in_callback.slow_log() as gate:
        ended = in_callback.begin(lambda: logger.warning('a line'))
        # The line, and the warning that its handler waits.
        cases.until(lambda: gate.reached == 2)
        gate.open()
        ended.wait()
    lines = in_callback.warnings()
    assert len(lines) == 2, lines
    assert 'a line' in lines, lines
    assert any('emit' in line for line in lines), lines


# -- asynchronous generators

@cases.case
def generator_that_is_dropped():
    """The loop's own hook closes it, in a task: that is green."""
    closed = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            eventlet.sleep(0)
            await asyncio.sleep(0)
            eventlet.spawn(int).wait()
            closed.append(asyncio.current_task())

    def drop():
        for call in (int, callback_calls.sleep):
            call()
            generator = numbers()
            with contextlib.suppress(StopIteration):
                generator.asend(None).send(None)
            del generator
            call()

    in_callback.call(drop)
    drop_in_green_thread = eventlet.spawn(drop)
    drop_in_green_thread.wait()
    cases.until(lambda: len(closed) == 4)
    assert None not in closed
    in_callback.warnings()
    closed.clear()


cases.run_all()
mode.done()
