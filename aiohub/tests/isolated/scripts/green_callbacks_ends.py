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
an exit, or with the process.

With an argument: what a process of its own does, that ends meanwhile.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import traceback
from typing import Any

import cases
import in_callback
import mode
import waiting

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


def fails_first() -> None:
    """A green thread of a callback fails, and nothing else ever happened."""
    spawned = []
    loop.call_soon(lambda: spawned.append(eventlet.spawn(waiting.fail)))
    # It is for those who wait for it, and not for the main greenlet.
    cases.until(lambda: spawned and spawned[0].dead)
    eventlet.sleep(0.001)
    waiting.check_green()
    waiting.check_loop()


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
        waiter = waiting.Waiter(way)
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
            waiting.check_green()
            assert not waiter.log
            assert not late
        waiter.go_on()
        cases.until(lambda late=late: late)
        waiting.check_loop()
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
    waiting.check_loop()


def exits_meanwhile() -> None:
    """A green thread ends with an exception for the main greenlet."""
    for way in (in_callback.by_call_soon, in_callback.by_plain_task):
        waiter = waiting.Waiter(way)
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
                waiting.check_green()
            names = [frame.name for frame in traceback.extract_tb(
                error.__traceback__)]
            assert names[-1] == 'leave', names
            error.__traceback__ = None
        waiter.go_on()
        waiting.check_loop()


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
    waiter = waiting.Waiter()
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
    waiting.check_loop()


def killed_after_an_exit() -> None:
    """What asyncio watches is watched again, whatever ended the wait."""
    left, right = in_callback.pair()
    told: list[bytes] = []
    right.send(b'x')
    waiter = waiting.Waiter(before=lambda: loop.add_reader(
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
    eventlet.kill(waiter.green, waiting.Failure())
    cases.until(lambda: contexts)
    loop.set_exception_handler(None)
    cases.until(lambda: told)
    loop.remove_reader(left)
    left.close()
    right.close()
    waiting.check_loop()


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
            waiting.check_green()
            assert timers == list(range(10)), timers
            cases.until(lambda told=told: set(told) == {1, 2})
            loop.remove_reader(left)
            for sock in (left, right, reader, peer):
                sock.close()
            waiting.check_loop()
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
    waiting.check_green()
    waiting.check_loop()


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
            eventlet.spawn(waiting.fail).wait()
        except waiting.Failure:
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


# -- the end of the process

class Failure(Exception):
    pass


def end_with_it() -> None:
    """What the processes below do."""
    how = sys.argv[1]
    waiter = waiting.Waiter(in_callback.WAYS[sys.argv[2]])
    waiting.check_green()
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
many()
process_ends()
mode.done()
