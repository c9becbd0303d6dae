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

"""Green calls in callbacks: each call, in each way in which the loop calls.

They give what they give in a green thread, the callback finds itself
unchanged, and one warning says where.
"""

import asyncio
import contextlib
import contextvars
import time

import cases
import in_callback
import mode

import aiohub
import eventlet
from eventlet import debug
from eventlet import event
from eventlet.green import Queue as queue
from eventlet.green import socket
from eventlet.green import subprocess
from eventlet.green import threading
from eventlet.green import time as green_time
from eventlet import queue as eventlet_queue
from eventlet import semaphore
from eventlet import tpool
from eventlet import wsgi

if mode.PATCHED:
    import requests

loop = aiohub.get_loop()
# It listens from the first use on.
tpool.execute(int)
CALLS = {}


def green_call(function):
    """Decorator: the function makes a green call."""
    CALLS[function.__name__] = function
    return function


class Failure(Exception):
    pass


@contextlib.contextmanager
def raises(error):
    try:
        yield
    except error:
        return
    raise AssertionError('did not raise %s' % error)


# -- the calls

@green_call
def sleep_zero():
    eventlet.sleep(0)


@green_call
def sleep():
    begun = time.monotonic()
    eventlet.sleep(0.002)
    assert time.monotonic() - begun >= 0.002


@green_call
def time_sleep():
    begun = time.monotonic()
    green_time.sleep(0.002)
    assert time.monotonic() - begun >= 0.002


@green_call
def wait_for_event():
    happened = event.Event()
    eventlet.spawn_n(happened.send, 'sent')
    assert happened.wait() == 'sent'
    assert happened.wait() == 'sent'


@green_call
def wait_for_event_that_fails():
    happened = event.Event()
    eventlet.spawn_n(happened.send_exception, Failure())
    with raises(Failure):
        happened.wait()


@green_call
def wait_for_event_that_is_late():
    assert event.Event().wait(0.002) is None


@green_call
def get_from_queue():
    numbers = eventlet_queue.Queue()
    eventlet.spawn_n(lambda: [(eventlet.sleep(0), numbers.put(n))
                              for n in range(5)])
    assert [numbers.get() for _ in range(5)] == list(range(5))
    with raises(eventlet_queue.Empty):
        numbers.get(timeout=0.002)


@green_call
def put_into_full_queue():
    numbers = eventlet_queue.Queue(1)
    got = []
    eventlet.spawn_n(lambda: got.extend(numbers.get() for _ in range(5)))
    for number in range(6):
        numbers.put(number)
    cases.until(lambda: len(got) == 5)
    assert got == list(range(5)), got
    with raises(eventlet_queue.Full):
        numbers.put(6, timeout=0.002)


@green_call
def use_queue_of_threads():
    numbers = queue.Queue(1)
    eventlet.spawn_n(lambda: [numbers.put(n) for n in range(5)])
    assert [numbers.get() for _ in range(5)] == list(range(5))
    with raises(queue.Empty):
        numbers.get(timeout=0.002)


@green_call
def acquire_semaphore():
    permits = semaphore.Semaphore(0)
    eventlet.spawn_n(permits.release)
    assert permits.acquire()
    assert not permits.acquire(timeout=0.002)


@green_call
def contend_for_lock():
    for lock in (threading.Lock(), threading.RLock()):
        lock_is_held = event.Event()

        def hold(lock=lock, lock_is_held=lock_is_held):
            with lock:
                lock_is_held.send()
                cases.turns()

        eventlet.spawn_n(hold)
        lock_is_held.wait()
        with lock:
            pass


@green_call
def wait_for_condition():
    condition = threading.Condition()
    ready = []

    def notify():
        with condition:
            ready.append(True)
            condition.notify()

    with condition:
        eventlet.spawn_n(notify)
        while not ready:
            condition.wait()
        assert not condition.wait(0.002)


@green_call
def join_thread():
    done = []
    thread = threading.Thread(
        target=lambda: (eventlet.sleep(0), done.append(True)))
    thread.start()
    thread.join()
    assert done


@green_call
def receive():
    left, right = socket.socketpair()
    with left, right:
        eventlet.spawn_n(lambda: (eventlet.sleep(0), right.sendall(b'x')))
        assert left.recv(1) == b'x'
        left.settimeout(0.002)
        with raises(socket.timeout):
            left.recv(1)


@green_call
def accept_and_connect():
    with eventlet.listen(('127.0.0.1', 0)) as listener:
        def echo():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(10))

        server = eventlet.spawn(echo)
        with eventlet.connect(listener.getsockname()) as client:
            client.sendall(b'hello')
            assert client.recv(10) == b'hello'
            assert client.recv(10) == b''
        server.wait()


@green_call
def send_much():
    left, right = socket.socketpair()
    with left, right:
        data = b'x' * 1000000
        got = []

        def read():
            while len(b''.join(got)) < len(data):
                got.append(right.recv(100000))

        reading = eventlet.spawn(read)
        left.sendall(data)
        reading.wait()


@green_call
def call_in_native_thread():
    assert tpool.execute(pow, 2, 3) == 8
    with raises(ZeroDivisionError):
        tpool.execute(lambda: 1 / 0)


@green_call
def run_program():
    done = subprocess.run(['echo', 'hello'], capture_output=True, check=True)
    assert done.stdout == b'hello\n'


@green_call
def timeout_that_fires():
    for wait in (lambda: eventlet.sleep(60), event.Event().wait,
                 eventlet_queue.Queue().get, semaphore.Semaphore(0).acquire):
        with raises(eventlet.Timeout), eventlet.Timeout(0.001):
            wait()
    with eventlet.Timeout(0.001, False):
        eventlet.sleep(60)
        raise AssertionError('it did not fire')
    with raises(Failure), eventlet.Timeout(0.001, Failure):
        eventlet.sleep(60)


@green_call
def timeout_that_does_not_fire():
    with eventlet.Timeout(60):
        eventlet.sleep(0.001)
    assert eventlet.with_timeout(60, eventlet.spawn(int, 5).wait) == 5


@green_call
def nested_timeouts():
    with eventlet.Timeout(60), raises(eventlet.Timeout):
        with eventlet.Timeout(0.001) as inner:
            with eventlet.Timeout(50):
                try:
                    eventlet.sleep(60)
                except eventlet.Timeout as exc:
                    assert exc is inner
                    # What waits in a handler waits.
                    eventlet.sleep(0.001)
                    raise


@green_call
def wait_for_green_thread():
    def double(number):
        eventlet.sleep(0)
        return number * 2

    assert eventlet.spawn(double, 4).wait() == 8
    assert eventlet.spawn(lambda: double(4)).wait() == 8
    assert eventlet.spawn_after(0.001, double, 4).wait() == 8
    late = eventlet.spawn(double, 3)
    with raises(eventlet.greenlet.GreenletExit):
        killed = eventlet.spawn(eventlet.sleep, 60)
        eventlet.spawn_n(killed.kill)
        killed.wait()
    assert late.wait() == 6


@green_call
def use_pool():
    pool = eventlet.GreenPool(2)

    def double(number):
        eventlet.sleep(0)
        return number * 2

    waiting = [pool.spawn(double, n) for n in range(6)]
    assert [green.wait() for green in waiting] == [0, 2, 4, 6, 8, 10]
    assert list(pool.imap(double, range(6))) == [0, 2, 4, 6, 8, 10]
    for number in range(6):
        pool.spawn_n(double, number)
    pool.waitall()
    assert pool.running() == 0
    pile = eventlet.GreenPile(2)
    for number in range(6):
        pile.spawn(double, number)
    assert list(pile) == [0, 2, 4, 6, 8, 10]


@green_call
def kill_green_thread():
    """What kill() arranges to be woken by does not wake what comes next."""
    cleaned_up = []

    def work():
        try:
            eventlet.sleep(60)
        finally:
            eventlet.sleep(0)
            cleaned_up.append(True)

    killed = [eventlet.spawn(work) for _ in range(3)]
    eventlet.sleep(0)
    for green in killed:
        green.kill()
    eventlet.kill(eventlet.spawn(work))
    begun = time.monotonic()
    eventlet.sleep(0.01)
    assert time.monotonic() - begun >= 0.01
    assert event.Event().wait(0.002) is None
    assert len(cleaned_up) == 3


if mode.PATCHED:
    @green_call
    def fetch_page():
        with eventlet.listen(('127.0.0.1', 0)) as listener:
            server = eventlet.spawn(
                wsgi.server, listener, answer, log_output=False)
            page = requests.get(
                'http://127.0.0.1:%d/' % listener.getsockname()[1],
                headers={'Connection': 'close'})
            assert page.text == 'hello'
            server.kill()

    def answer(environ, start_response):
        eventlet.sleep(0.001)
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [b'hello']


# -- each of them alone, and all in a row

variable = contextvars.ContextVar('variable', default='none')


def make(calls):
    """Make green calls; what the callback is stays the same."""
    me = eventlet.getcurrent()
    token = variable.set(me)
    task = asyncio.current_task()
    for call in calls:
        call()
        assert variable.get() is me
        assert asyncio.current_task() is task
        assert asyncio.get_running_loop() is loop
        assert eventlet.getcurrent() is me is in_callback.greenlet_of_loop()
    variable.reset(token)
    return 'made'


def call_once(call, way):
    assert in_callback.call(lambda: make([call]), way) == 'made'
    in_callback.warnings()


for name, function in CALLS.items():
    for way in ('call_soon', 'call_later', 'plain_task'):
        cases.add('%s_by_%s' % (name, way), call_once, function,
                  in_callback.WAYS[way])


def call_all(way):
    assert in_callback.call(lambda: make(CALLS.values()), way) == 'made'
    # As if nothing had been.
    assert in_callback.call(lambda: make([])) == 'made'
    in_callback.warnings()


for name, way in in_callback.WAYS.items():
    cases.add('all_by_' + name, call_all, way)


@cases.case
def some_in_each_callback_of_a_turn():
    """They run one after the other, in the order they were called."""
    log = []

    def work(number):
        log.append((number, 'begun'))
        for call in (sleep_zero, get_from_queue, receive, sleep):
            call()
        log.append((number, 'ended'))

    ended = [in_callback.begin(lambda n=n: work(n)) for n in range(10)]
    for callback in ended:
        callback.wait()
    assert log == [(n, what) for n in range(10)
                   for what in ('begun', 'ended')], log
    in_callback.warnings()


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
    failure = Failure()

    def fail():
        eventlet.sleep(0)
        raise failure

    with Handled() as contexts:
        handle = loop.call_soon(fail)
        last = in_callback.begin(sleep)
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
    failures = [Failure(), Failure()]

    def fail(failure):
        eventlet.sleep(0)
        raise failure

    with Handled() as contexts:
        for failure in failures:
            loop.call_soon(
                lambda failure=failure: eventlet.spawn(fail, failure).wait())
        debug.hub_exceptions(False)
        in_callback.call(sleep)
        debug.hub_exceptions(True)
    assert [c['exception'] for c in contexts] == failures, contexts
    contexts.clear()
    in_callback.warnings()


@cases.case
def exception_in_a_task_that_is_not_green():
    async def fail():
        await asyncio.sleep(0)
        eventlet.sleep(0)
        raise Failure()

    async def swallow():
        for _ in range(3):
            try:
                await fail()
            except Failure:
                eventlet.sleep(0)
        return 'swallowed'

    task = in_callback.plain_task(swallow())
    failing = in_callback.plain_task(fail())
    assert aiohub.await_(task) == 'swallowed'
    with raises(Failure):
        aiohub.await_(failing)
    in_callback.warnings()


@cases.case
def thrown_into_it():
    """By a kill, with whatever; what it cleans up may wait."""
    for error in (None, Failure(), KeyError('x'), eventlet.Timeout(None)):
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
        with raises(aiohub.AiohubError):
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
        with raises(RuntimeError):
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
    in_callback.call(sleep)
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
    in_callback.call(sleep)
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
        for place in (sleep, sleep_zero, receive):
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
        for call in (int, sleep):
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
