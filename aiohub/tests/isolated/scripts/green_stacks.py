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

"""The stack and the ``repr()`` of a task show the program's own frames.

While it awaits, while it is in a green call, before it has started and after
it has ended; and the state of its coroutine, for those who look at that.
"""

import asyncio
import gc
import inspect
import io
import logging
import sys
import traceback
import types
import weakref

import cases
import mode

import aiohub
import eventlet
from eventlet import event
import greenlet

FILE = __file__
loop = aiohub.get_loop()


class Stop(Exception):
    pass


def in_task(function):
    """Decorator: the coroutine function is a case, run as a task."""
    cases.add(function.__name__, lambda: aiohub.await_(function()))
    return function


def here():
    """Return the number of the line that calls this."""
    return sys._getframe(1).f_lineno


LINES = {}


class Work:
    """A task that waits in several functions."""

    def __init__(self):
        self.gates = [event.Event() for _ in range(3)]
        self.future = loop.create_future()

    async def outer(self):
        LINES['outer'] = here() + 1
        await self.inner()
        return 'done'

    async def inner(self):
        LINES['await'] = here() + 1
        await self.future
        self.plain()
        LINES['green'] = here() + 1
        self.gates[1].wait()
        greenlet.greenlet(self.child).switch()

    def plain(self):
        LINES['plain'] = here() + 1
        self.gates[0].wait()

    def child(self):
        LINES['child'] = here() + 1
        self.gates[2].wait()


def names(task, **kwargs):
    """Return the names of the functions in a task's stack, outermost first.

    But for what is aiohub's or eventlet's and is below what is the program's.
    """
    stack = [frame.f_code for frame in task.get_stack(**kwargs)]
    return [code.co_name for code in stack if code.co_filename == FILE]


def printed(task):
    file = io.StringIO()
    task.print_stack(file=file)
    return file.getvalue()


def last_line(task):
    """Return where the innermost frame of a task's stack is."""
    frame = task.get_stack()[-1]
    assert frame.f_code.co_filename == FILE, frame
    return frame.f_lineno


def check(task, *expected, line):
    """The stack of a task that waits is as expected."""
    assert names(task) == [*expected], (names(task), expected)
    assert last_line(task) == LINES[line]
    text = printed(task)
    assert text.startswith('Stack for <Task pending'), text
    at = [text.index('in ' + name) for name in expected]
    assert at == sorted(at)
    assert 'line %d, in %s' % (LINES[line], expected[-1]) in text, text
    assert names(task, limit=1) == [expected[-1]]
    said = repr(task)
    assert said.startswith('<Task pending name='), said
    assert 'Work.outer() running at %s:' % FILE in said, said
    assert said in text
    return said


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)
        eventlet.sleep(0)


@in_task
async def while_it_waits():
    work = Work()
    task = asyncio.create_task(work.outer())
    # Before it has started.
    assert names(task) == ['outer']
    said = repr(task)
    assert 'coro=<Work.outer() running at %s:%d>' % (
        FILE, Work.outer.__code__.co_firstlineno) in said, said
    assert 'in outer' in printed(task)
    coro = task.get_coro()
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CREATED

    await turns()
    # As asyncio does: only the coroutine that the task was made of.
    said = check(task, 'outer', line='outer')
    assert '%s:%d>' % (FILE, LINES['outer']) in said, said
    assert 'wait_for=<Future pending' in said, said
    assert inspect.getcoroutinestate(coro) == inspect.CORO_SUSPENDED

    work.future.set_result(None)
    await turns()
    check(task, 'outer', 'inner', 'plain', line='plain')
    assert inspect.getcoroutinestate(coro) in (
        inspect.CORO_SUSPENDED, inspect.CORO_RUNNING)

    work.gates[0].send()
    await turns()
    said = check(task, 'outer', 'inner', line='green')
    assert '%s:%d>' % (FILE, LINES['green']) in said, said

    work.gates[1].send()
    await turns()
    assert names(task)[-1] == 'child' and last_line(task) == LINES['child']
    assert 'in child' in printed(task)

    work.gates[2].send()
    assert await task == 'done'
    # After it has ended.
    assert task.get_stack() == []
    assert printed(task).startswith('No stack for <Task finished name=')
    said = repr(task)
    assert 'coro=<Work.outer() done, defined at %s:' % FILE in said, said
    assert "result='done'" in said, said
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


@in_task
async def while_it_runs():
    async def run():
        task = asyncio.current_task()
        for _ in range(2):
            assert names(task)[-1:] == ['run'], names(task)
            assert 'running at' in repr(task)
            assert 'in run' in printed(task)
            eventlet.sleep(0)
            await asyncio.sleep(0)

    await asyncio.create_task(run())


@in_task
async def after_it_has_failed():
    """The traceback, through green calls; nothing in it is aiohub's."""
    def plain():
        eventlet.sleep(0)
        raise Stop('why')

    async def fail():
        await asyncio.sleep(0)
        plain()

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    assert names(task) == ['fail', 'plain'], names(task)
    text = printed(task)
    assert text.startswith('Traceback for <Task finished'), text
    assert 'in fail' in text and 'in plain' in text and 'Stop: why' in text
    said = repr(task)
    assert "exception=Stop('why')" in said, said
    error = task.exception()
    assert [frame.name for frame in traceback.extract_tb(
        error.__traceback__) if frame.filename == FILE] == ['fail', 'plain']


@in_task
async def after_it_was_cancelled():
    for wait in (event.Event().wait, None):
        async def run(wait=wait):
            if wait is not None:
                wait()
            await loop.create_future()

        task = asyncio.create_task(run())
        await turns()
        task.cancel()
        assert names(task)[-1:] == ['run']
        if wait is None:
            assert 'running at' in repr(task)
        await asyncio.wait([task])
        assert repr(task).startswith('<Task cancelled name='), repr(task)
        assert task.get_stack() == []
        assert printed(task)


@in_task
async def of_a_generator():
    @types.coroutine
    def generator():
        yield from future.__await__()
        gate.wait()

    class Compiled:
        """A coroutine that has no frames to show."""

        __qualname__ = __name__ = 'compiled'

        def __init__(self, coro):
            self.send, self.throw, self.close = (
                coro.send, coro.throw, coro.close)
            self.__await__ = coro.__await__

        def send(self, value):
            raise NotImplementedError

        throw = close = __await__ = send

    async def run():
        await generator()

    made = [run, lambda: Compiled(run())]
    if sys.version_info < (3, 12):
        made.append(generator)
    for make in made:
        future, gate = loop.create_future(), event.Event()
        task = asyncio.create_task(make())
        for step in (lambda: future.set_result(None), gate.send):
            repr(task)
            printed(task)
            await turns()
            said = repr(task)
            assert said.startswith('<Task pending'), said
            printed(task)
            step()
        # It was in a green call, whatever it is made of.
        assert names(task)[-1] == 'generator'
        await task
        assert 'No stack' in printed(task)


@in_task
async def in_all_tasks():
    """What shows every task shows where each is."""
    work = Work()
    tasks = [asyncio.create_task(work.outer(), name='mine-%d' % number)
             for number in range(3)]
    await turns()
    work.future.set_result(None)
    await turns()
    for task in asyncio.all_tasks():
        task.print_stack(file=io.StringIO())
        assert 'running at' in repr(task)
        if task.get_name().startswith('mine'):
            assert names(task) == ['outer', 'inner', 'plain']
    for gate in work.gates:
        gate.send()
    await asyncio.gather(*tasks)


@in_task
async def in_debug_mode():
    """asyncio looks at the coroutine of each task."""
    loop.slow_callback_duration = 3600
    loop.set_debug(True)
    try:
        work = Work()
        task = asyncio.create_task(work.outer())
        await turns()
        check(task, 'outer', line='outer')
        assert 'created at' in repr(task)
        work.future.set_result(None)
        await turns()
        check(task, 'outer', 'inner', 'plain', line='plain')
        for gate in work.gates:
            gate.send()
        await task
    finally:
        loop.set_debug(False)
        loop.slow_callback_duration = 0.1


@in_task
async def when_it_is_slow():
    """What asyncio says of a slow task says where it is."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger('asyncio')
    logger.addHandler(handler)
    logger.propagate = False
    loop.slow_callback_duration = 0
    loop.set_debug(True)
    try:
        work = Work()
        task = asyncio.create_task(work.outer())
        await turns()
        work.future.set_result(None)
        await turns()
    finally:
        loop.set_debug(False)
        loop.slow_callback_duration = 0.1
        logger.removeHandler(handler)
        logger.propagate = True
    assert any('Work.outer() running at %s:%d' % (FILE, LINES['plain'])
               in line for line in lines), lines
    for gate in work.gates:
        gate.send()
    await task


@in_task
async def never_awaited():
    """A coroutine that never ran is closed, or warned of, as by asyncio."""
    async def run():
        await asyncio.sleep(0)

    coro = run()
    task = asyncio.create_task(coro)
    task.cancel()
    await asyncio.wait([task])
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    assert 'done, defined at' in repr(task)


def dropped():
    """A task that awaits, and nobody refers to it, nor to what it awaits.

    Not one in a green call: as eventlet's own, it refers to its greenlet in
    its frames, and Python's collector does not look there.
    """
    ended = []

    async def run():
        try:
            await asyncio.sleep(0)
            eventlet.sleep(0)
            await loop.create_future()
        finally:
            ended.append('ended')

    async def make():
        task = asyncio.create_task(run())
        await turns()
        # asyncio would say that it was destroyed.
        task._log_destroy_pending = False
        return weakref.ref(task)

    task = aiohub.await_(make())
    cases.turns()
    gc.collect()
    assert task() is None and ended == ['ended'], task()


cases.case(dropped)
cases.run_all()
mode.done()
