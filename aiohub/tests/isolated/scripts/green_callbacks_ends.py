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

"""What ends while a callback waits in a green call, or with it: by Ctrl-C, by
an exit, with the hub, the thread or the process; and what a fork takes along.

With an argument: what a process of its own does, that ends meanwhile.
"""

import asyncio
from collections.abc import Callable
import contextlib
import functools
import gc
import os
import signal
import sys
import traceback
from typing import Any
import weakref

import cases
import in_callback
import mode

import aiohub
import eventlet
from eventlet import debug
from eventlet import event
from eventlet.green import socket
from eventlet import hubs
from eventlet import patcher
from eventlet import queue
from eventlet import semaphore
from eventlet import tpool
import greenlet

native_os = patcher.original('os')
native_subprocess = patcher.original('subprocess')
loop = aiohub.get_loop()
hub = hubs.get_hub()


class Failure(Exception):
    pass


def fail() -> None:
    raise Failure()


def fails_first() -> None:
    """A green thread of a callback fails, and nothing else ever happened."""
    spawned = []
    loop.call_soon(lambda: spawned.append(eventlet.spawn(fail)))
    # It is for those who wait for it, and not for the main greenlet.
    cases.until(lambda: spawned and spawned[0].dead)
    eventlet.sleep(0.001)
    check_green()
    check_loop()


# -- what has to work

def check_green() -> None:
    """Green threads and the main greenlet go on."""
    eventlet.sleep(0.001)
    assert eventlet.spawn(lambda: (eventlet.sleep(0), 5)).wait() == (None, 5)
    left, right = socket.socketpair()
    with left, right:
        reading = eventlet.spawn(left.recv, 1)
        eventlet.sleep(0)
        right.sendall(b'x')
        assert reading.wait() == b'x'
    assert hubs.get_hub().running


async def _answer(loop: Any) -> int:
    assert asyncio.get_running_loop() is loop
    eventlet.sleep(0)
    left, right = in_callback.pair()
    right.send(b'x')
    assert await loop.sock_recv(left, 1) == b'x'
    left.close()
    right.close()
    return await loop.run_in_executor(None, int, '6')


def check_loop() -> None:
    """The loop goes on, and callbacks may make green calls."""
    loop = aiohub.get_loop()
    assert aiohub.await_(_answer(loop)) == 6
    ended = event.Event()
    loop.call_soon(lambda: (eventlet.sleep(0), ended.send('ended')))
    assert ended.wait() == 'ended'
    assert asyncio.current_task() is None


class Waiter:
    """A callback that waits, for what comes by :meth:`go_on`, or for ever.

    :param way: How the loop calls it.
    :param before: What it calls before it waits.
    """

    def __init__(self, way: Any = None,
                 before: Callable[[], object] = int) -> None:
        self.log: list[object] = []
        self._before = before
        self._goes_on = event.Event()
        self._waits = event.Event()
        (way or by_call_soon)(self._callback)
        self._waits.wait()

    def _callback(self) -> None:
        self.green = eventlet.getcurrent()
        task = asyncio.current_task()
        self._before()
        self._waits.send()
        try:
            self.log.append(self._goes_on.wait())
            assert asyncio.current_task() is task
        except BaseException as exc:
            self.log.append(exc)
            raise

    def go_on(self) -> None:
        assert not self.log, self.log
        self._goes_on.send('go on')
        cases.until(lambda: self.log)
        assert self.log == ['go on']


def by_call_soon(callback: in_callback.Callback) -> None:
    aiohub.get_loop().call_soon(callback)


# -- Ctrl-C

def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupted_meanwhile() -> None:
    """The main greenlet gets it, and goes on; and then so does the callback.
    """
    left, right = socket.socketpair()
    # eventlet's own hubs poll only for somebody who waits for a descriptor.
    reading = eventlet.spawn(right.recv, 1)
    waits = {
        'sleep': lambda: eventlet.sleep(60),
        'recv': lambda: left.recv(1),
        'event': lambda: event.Event().wait(),
        'semaphore': lambda: semaphore.Semaphore(0).acquire(),
        'queue': lambda: queue.Queue().get(),
        'green thread': lambda: eventlet.spawn(eventlet.sleep, 60).wait(),
    }
    for way in (in_callback.by_call_soon, in_callback.by_add_reader,
                in_callback.by_done_future, in_callback.by_plain_task):
        waiter = Waiter(way)
        late: list[str] = []
        loop.call_soon(late.append, 'late')
        for name, wait in waits.items():
            mode.when_polling(interrupt)
            try:
                wait()
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError('no KeyboardInterrupt in %s' % name)
            assert asyncio.current_task() is None
            check_green()
            assert not waiter.log
            assert not late
        waiter.go_on()
        cases.until(lambda late=late: late)
        check_loop()
    left.sendall(b'x')
    assert reading.wait() == b'x'
    left.close()
    right.close()


def interrupted_while_it_reads() -> None:
    """What the callback waits for is not lost."""
    for wait in (lambda: eventlet.sleep(0.05),
                 lambda: tpool.execute(mode.native_time.sleep, 0.05),
                 lambda: eventlet.spawn(eventlet.sleep, 0.05).wait()):
        ended = in_callback.begin(wait)
        mode.when_polling(interrupt)
        try:
            eventlet.sleep(60)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError('no KeyboardInterrupt')
        with eventlet.Timeout(60):
            ended.wait()
    check_loop()


def exits_meanwhile() -> None:
    """A green thread ends with an exception for the main greenlet."""
    for way in (in_callback.by_call_soon, in_callback.by_plain_task):
        waiter = Waiter(way)
        for error in (KeyboardInterrupt(), SystemExit(7)):
            def leave(error: BaseException = error) -> None:
                raise error

            def leave_later(error: BaseException = error) -> None:
                eventlet.sleep(0)
                raise error

            for start in (
                    lambda: eventlet.spawn_n(leave),
                    lambda: eventlet.spawn(leave_later),
                    lambda: hub.schedule_call_global(0, leave)):
                start()
                with raises(error):
                    eventlet.sleep(60)
                check_green()
            names = [frame.name for frame in traceback.extract_tb(
                error.__traceback__)]
            assert names[-1] == 'leave', names
            error.__traceback__ = None
        waiter.go_on()
        check_loop()


@contextlib.contextmanager
def raises(error: BaseException):
    try:
        yield
    except BaseException as exc:
        if exc is not error:
            raise
        return
    raise AssertionError('did not raise %r' % error)


def exits_beside_others() -> None:
    """Who is ready in the same turn is not lost."""
    pairs = [socket.socketpair() for _ in range(20)]
    ended: list[bytes] = []

    def read(left: socket.socket) -> None:
        data = left.recv(1)
        ended.append(data)
        raise SystemExit(len(ended))

    for left, _ in pairs:
        eventlet.spawn_n(read, left)
    eventlet.sleep(0)
    timers: list[int] = []
    waiter = Waiter()
    for number, (_, right) in enumerate(pairs):
        right.sendall(b'x')
        eventlet.spawn_n(timers.append, number)
    for number in range(1, 21):
        try:
            with eventlet.Timeout(60):
                hub.switch()
        except SystemExit as exc:
            assert exc.code == number, exc
        else:
            raise AssertionError('no SystemExit')
    eventlet.sleep(0)
    assert timers == list(range(20)), timers
    waiter.go_on()
    for left, right in pairs:
        left.close()
        right.close()
    check_loop()


def killed_after_an_exit() -> None:
    """What asyncio watches is watched again, whatever ended the wait."""
    left, right = in_callback.pair()
    told: list[bytes] = []
    right.send(b'x')
    waiter = Waiter(before=lambda: loop.add_reader(
        left, lambda: told.append(left.recv(1))))
    # The busy descriptor is left aside.
    cases.turns()
    eventlet.spawn_n(sys.exit, 3)
    try:
        eventlet.sleep(60)
    except SystemExit:
        pass
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    eventlet.kill(waiter.green, Failure())
    cases.until(lambda: contexts)
    loop.set_exception_handler(None)
    cases.until(lambda: told)
    loop.remove_reader(left)
    left.close()
    right.close()
    check_loop()


# -- out of the callback

def exits_by_itself() -> None:
    """It comes out of the callback after a green call."""
    for error in (KeyboardInterrupt(), SystemExit(5)):
        for way in (in_callback.by_call_soon, in_callback.by_add_reader,
                    in_callback.by_plain_task):
            left, right = in_callback.pair()
            right.send(b'x')
            told: list[int] = []
            timers: list[int] = []

            def leave(error: BaseException = error) -> None:
                for number in range(10):
                    # Some come before it in the turn that wakes it, others
                    # after it.
                    eventlet.spawn_n(timers.append, number)
                    if number == 5:
                        eventlet.sleep(0)
                eventlet.sleep(0.001)
                raise error

            def callback(left: Any = left, leave: Any = leave) -> None:
                loop.add_reader(left, told.append, 1)
                loop.call_soon(told.append, 2)
                try:
                    leave()
                finally:
                    # Not twice.
                    loop.remove_reader(reader)

            async def coroutine(callback: Any = callback) -> None:
                callback()

            reader, peer = in_callback.pair()
            task = None
            if way is in_callback.by_add_reader:
                peer.send(b'x')
                loop.add_reader(reader, callback)
            elif way is in_callback.by_plain_task:
                task = in_callback.plain_task(coroutine())
            else:
                way(callback)
            with raises(error):
                eventlet.sleep(60)
            assert task is None or task.exception() is error
            error.__traceback__ = None
            check_green()
            assert timers == list(range(10)), timers
            cases.until(lambda told=told: set(told) == {1, 2})
            loop.remove_reader(left)
            for sock in (left, right, reader, peer):
                sock.close()
            check_loop()
            gc.collect()


def interrupted_when_it_goes_on() -> None:
    """A signal that comes while its own code runs."""
    def callback() -> None:
        eventlet.sleep(0)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError('it was not interrupted')

    loop.call_soon(callback)
    try:
        eventlet.sleep(60)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError('no KeyboardInterrupt')
    check_green()
    check_loop()


# -- forks

def child(function: Callable[[], object]) -> None:
    """The end of a child."""
    status = 1
    try:
        with eventlet.Timeout(60):
            function()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        native_os._exit(status)


def reap(pid: int) -> None:
    _, status = native_os.waitpid(pid, 0)
    assert status == 0, status


def forked_meanwhile() -> None:
    """By a green thread; the callback waits in both, and goes on in both."""
    for way in (in_callback.by_call_soon, in_callback.by_plain_task):
        waiter = Waiter(way)

        def in_child(waiter: Waiter = waiter) -> None:
            check_green()
            assert asyncio.current_task() is None
            assert not waiter.log
            waiter.go_on()
            check_loop()

        def replace_hub() -> None:
            check_green()
            hubs.use_hub()
            check_green()
            check_loop()

        def fork(function: Callable[[], None]) -> int:
            pid = os.fork()
            if not pid:
                child(function)
            return pid

        pids = [fork(in_child), eventlet.spawn(fork, in_child).wait(),
                fork(replace_hub), eventlet.spawn(fork, replace_hub).wait()]
        check_green()
        for pid in pids:
            reap(pid)
        waiter.go_on()
        check_loop()


def forked_in_it() -> None:
    """Before a green call, between two, and after them."""
    for way in (in_callback.by_call_soon, in_callback.by_add_reader,
                in_callback.by_plain_task):
        for before in range(3):
            def callback(before: int = before) -> int:
                task = asyncio.current_task()
                for number in range(3):
                    if number == before:
                        pid = os.fork()
                        if not pid:
                            me.append('child')
                    eventlet.sleep(0)
                    assert eventlet.spawn(lambda: 5).wait() == 5
                assert asyncio.current_task() is task
                return pid

            me: list[str] = []
            pid = in_callback.call(callback, way)
            if me:
                child(lambda: (check_green(), check_loop()))
            reap(pid)
            check_green()
            check_loop()


# -- many

def many() -> None:
    """A thousand leave nothing behind."""
    left, right = socket.socketpair()
    items = queue.Queue()

    def receive() -> None:
        eventlet.spawn_n(right.sendall, b'x')
        assert left.recv(1) == b'x'

    def get() -> None:
        eventlet.spawn_n(items.put, 1)
        assert items.get() == 1

    def time_out() -> None:
        with eventlet.Timeout(0, False):
            event.Event().wait()

    def kill() -> None:
        eventlet.spawn(eventlet.sleep, 60).kill()
        eventlet.sleep(0)

    def wait_for_failure() -> None:
        try:
            eventlet.spawn(fail).wait()
        except Failure:
            pass

    calls = [lambda: eventlet.sleep(0), receive, get, time_out, kill,
             wait_for_failure, lambda: eventlet.spawn(int).wait()]

    def work() -> None:
        for call in calls:
            call()

    ways = [in_callback.by_call_soon, in_callback.by_call_later,
            in_callback.by_done_future, in_callback.by_plain_task,
            in_callback.by_add_reader]

    def run(count: int) -> None:
        for number in range(count):
            in_callback.call(work, ways[number % len(ways)])
        in_callback.warnings()

    def count() -> dict[str, int]:
        cases.turns()
        gc.collect()
        objects = gc.get_objects()
        selector = getattr(loop, '_hub_selector', None)
        return {
            'objects': len(objects) // 1000,
            'greenlets': sum(isinstance(o, greenlet.greenlet)
                             for o in objects),
            'descriptors': len(native_os.listdir('/proc/self/fd')),
            'watched': len(selector.get_map()),
            'timers': len(cases._timers()),
            'listeners': len(cases._listeners()),
        }

    debug.hub_exceptions(False)
    run(100)
    before = count()
    run(1000)
    after = count()
    debug.hub_exceptions(True)
    # One is the rounding.
    assert after['objects'] <= before['objects'] + 1, (before, after)
    after['objects'] = before['objects']
    assert after == before, (before, after)
    left.close()
    right.close()


# -- the end of the hub

def descriptors() -> int:
    gc.collect()
    return len(native_os.listdir('/proc/self/fd'))


def use_new_hub() -> None:
    check_green()
    check_loop()


def close_hub() -> None:
    hubs.get_hub().close()


def replace_hub() -> None:
    hubs.use_hub()


def never_returns() -> None:
    """Green threads go on for ever; the hub can be closed or replaced."""
    use_new_hub()
    before = descriptors()
    main = greenlet.getcurrent()
    # eventlet's own hubs have to be made in the main greenlet, and at its end
    # a green thread of spawn() asks for one.
    spawn = eventlet.spawn if mode.ON else eventlet.spawn_n
    closes = [replace_hub, *([close_hub] if mode.ON else [])]
    for close in closes:
        for how in ('main greenlet', 'before', 'in it', 'meanwhile'):
            old = hubs.get_hub()

            def close_in_green_thread(
                    close: Callable[[], None] = close,
                    old: Any = old) -> None:
                ready.wait()
                close()
                closed.append(True)
                if not mode.ON:
                    # The old hub is not closed, and has nothing to do.
                    old.schedule_call_global(0, main.switch)

            ready, closed = event.Event(), []
            if how == 'before':
                spawn(close_in_green_thread)
            waiter = Waiter(before=functools.partial(
                spawn, close_in_green_thread if how == 'in it' else int))
            for _ in range(200):
                eventlet.sleep(0)
            check_green()
            assert not waiter.log
            if how == 'main greenlet':
                close()
                closed.append(True)
            else:
                if how == 'meanwhile':
                    spawn(close_in_green_thread)
                ready.send()
                # It ends in the main greenlet: there is no hub any more.
                while not closed:
                    try:
                        old.switch()
                    except aiohub.HubClosedError:
                        break
            assert closed, how
            assert len(waiter.log) == 1, waiter.log
            assert isinstance(waiter.log[0], BaseException)
            assert hubs.get_hub() is not old
            use_new_hub()
            waiter.log.clear()
            del old, waiter
    if mode.ON:
        assert descriptors() == before, (before, descriptors())


def closed_when_it_has_returned() -> None:
    """In the turn in which it was woken."""
    before = descriptors()
    for _ in range(3):
        old = hubs.get_hub()
        log = []

        def callback(old: Any = old, log: Any = log) -> None:
            old.schedule_call_global(0, eventlet.getcurrent().switch)
            eventlet.spawn_n(old.close)
            old.switch()
            log.append('returned')

        old.loop.call_soon(callback)
        while not old.loop.is_closed():
            try:
                old.switch()
            except aiohub.HubClosedError:
                break
        assert log == ['returned'], log
        use_new_hub()
    assert descriptors() == before, (before, descriptors())


def cleans_up_when_it_is_closed() -> None:
    """With green calls: they are waited for."""
    log = []

    def callback() -> None:
        try:
            event.Event().wait()
        finally:
            eventlet.sleep(0.001)
            assert eventlet.spawn(lambda: 5).wait() == 5
            log.append('clean')

    for close in (close_hub, replace_hub):
        for spawn in (False, True):
            old = hubs.get_hub()
            aiohub.get_loop().call_soon(callback)
            cases.turns()
            if spawn:
                eventlet.spawn(close)
                with contextlib.suppress(aiohub.HubClosedError):
                    while not old.loop.is_closed():
                        old.switch()
            else:
                close()
            assert log == ['clean'], log
            log.clear()
            use_new_hub()


def not_closed_by_itself() -> None:
    """Neither by the callback nor by what the hub calls meanwhile."""
    old = hubs.get_hub()
    errors = []

    def try_to_close() -> None:
        try:
            old.close()
        except aiohub.HubClosedError as exc:
            errors.append(exc)

    def callback() -> None:
        try_to_close()
        # Before and after it is woken, in the same turn.
        old.schedule_call_global(0, try_to_close)
        eventlet.sleep(0)
        old.schedule_call_global(0, eventlet.getcurrent().switch)
        old.schedule_call_global(0, try_to_close)
        old.switch()
        try_to_close()

    async def task() -> None:
        try_to_close()
        eventlet.sleep(0)
        try_to_close()

    waiting = old.loop.create_task(task())
    callback_ended = event.Event()
    old.loop.call_soon(lambda: (callback(), callback_ended.send()))
    callback_ended.wait()
    cases.until(waiting.done)
    waiting.result()
    assert len(errors) == 6, errors
    assert not old.loop.is_closed()
    use_new_hub()


def what_the_hub_calls_cannot_wait() -> None:
    """Not while the callback waits, nor in the rest of that turn."""
    errors = []

    def call() -> None:
        try:
            eventlet.sleep(0.001)
        except RuntimeError as exc:
            errors.append(exc)

    def callback() -> None:
        hub = hubs.get_hub()
        hub.schedule_call_global(0, call)
        hub.schedule_call_global(0, eventlet.getcurrent().switch)
        hub.schedule_call_global(0, call)
        hub.switch()

    ended = event.Event()
    aiohub.get_loop().call_soon(lambda: (callback(), ended.send()))
    ended.wait()
    cases.until(lambda: len(errors) == 2)


def aborted_meanwhile() -> None:
    """The hub stops when the callback has returned."""
    hub = hubs.get_hub()
    log = []

    def callback() -> None:
        for number in range(5):
            eventlet.sleep(0)
            log.append(number)

    hub.loop.call_soon(callback)
    eventlet.spawn_n(hub.abort)
    hub.switch()
    assert log == list(range(5)), log
    assert not hub.running
    use_new_hub()


def thread_ends() -> None:
    """With a callback that never returns; everything is given back."""
    loops: weakref.WeakSet[Any] = weakref.WeakSet()
    failures = []

    def target() -> None:
        try:
            if mode.MODE.startswith('env'):
                hubs.use_hub('aiohub.hub')
            loops.add(aiohub.get_loop())
            Waiter()
            check_green()
        except BaseException as exc:
            failures.append(exc)

    def run() -> None:
        thread = mode.native.Thread(target=target)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    run()
    before = descriptors()
    for _ in range(20):
        run()
    if mode.ON:
        assert descriptors() == before, (before, descriptors())
        assert not loops, loops


# -- the end of the process

def end_with_it() -> None:
    """What the processes below do."""
    how = sys.argv[1]
    waiter = Waiter(in_callback.WAYS[sys.argv[2]])
    check_green()
    print(how, flush=True)
    if how == 'exit':
        sys.exit(4)
    if how == 'exit-in-thread':
        eventlet.spawn_n(sys.exit, 4)
        hub.switch()
    if how == 'exit-in-callback':
        waiter._goes_on.send_exception(SystemExit(4))
        hub.switch()
    if how == 'kill':
        signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(4))
        # eventlet's own hubs poll only when somebody waits for a descriptor.
        left, _right = socket.socketpair()
        mode.when_polling(lambda: os.kill(os.getpid(), signal.SIGTERM))
        left.recv(1)
    if how == 'failure':
        raise Failure()


def process_ends() -> None:
    for how, code, error in (
            ('return', 0, b''), ('exit', 4, b''), ('exit-in-thread', 4, b''),
            ('exit-in-callback', 4, b''), ('kill', 4, b''),
            ('failure', 1, b'Failure')):
        for way in ('call_soon', 'add_reader', 'plain_task'):
            if way != 'call_soon' and how not in ('return', 'kill'):
                continue
            done = native_subprocess.run(
                [sys.executable, '-W', 'ignore', __file__, how, way],
                capture_output=True, timeout=100)
            assert done.returncode == code, (how, way, done)
            assert done.stdout.splitlines()[0] == how.encode(), done
            assert bool(error) == bool(done.stderr), (how, way, done)
            assert error in done.stderr.splitlines()[-1:] or not error, done


if sys.argv[1:]:
    end_with_it()
    sys.exit()

debug.hub_exceptions(False)
fails_first()
debug.hub_exceptions(True)
tpool.execute(int)
interrupted_meanwhile()
interrupted_while_it_reads()
exits_meanwhile()
exits_beside_others()
killed_after_an_exit()
exits_by_itself()
interrupted_when_it_goes_on()
forked_meanwhile()
forked_in_it()
many()
process_ends()
tpool.killall()
never_returns()
if mode.ON:
    closed_when_it_has_returned()
    cleans_up_when_it_is_closed()
    not_closed_by_itself()
    what_the_hub_calls_cannot_wait()
    aborted_meanwhile()
thread_ends()
mode.done()
