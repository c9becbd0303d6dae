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
"""One turn of the hub, when something unusual happens in it."""

import asyncio
import os
import signal
import sys
import time

import mode

import aiohub
import eventlet
from eventlet import debug
from eventlet import event
from eventlet import hubs
from eventlet import patcher


native_socket = patcher.original('socket')
native_time = patcher.original('time')
hub = hubs.get_hub()
eventlet.sleep(0)
LONG = 60


def pair():  # type: ignore
    left, right = native_socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


def wait_read(fd: int) -> str:
    hubs.trampoline(fd, read=True, timeout=LONG)
    return 'ready'


def after_next_events(then) -> None:  # type: ignore
    """Call *then* when the next poll has found something."""
    poll = hub.do_poll

    def do_poll(timeout):  # type: ignore
        events = poll(timeout)
        if events:
            del hub.do_poll
            then()
        return events

    hub.do_poll = do_poll


def lost_events() -> None:
    """What a poll found is found again if a signal handler broke it off."""
    left, right = pair()

    def interrupt() -> None:
        raise InterruptedError

    for _ in range(3):
        reading = eventlet.spawn(wait_read, left.fileno())
        eventlet.sleep(0)
        after_next_events(interrupt)
        right.send(b'x')
        assert reading.wait() == 'ready'
        left.recv(1)
        # Ctrl-C there.
        reading = eventlet.spawn(wait_read, left.fileno())
        eventlet.sleep(0)
        after_next_events(lambda: signal.raise_signal(signal.SIGINT))
        right.send(b'x')
        try:
            eventlet.sleep(LONG)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError('no KeyboardInterrupt')
        assert reading.wait() == 'ready'
        left.recv(1)
    left.close()
    right.close()


def removed_in_the_turn() -> None:
    """Two are ready; the first to run removes the other's listener."""
    pairs = [pair() for _ in range(2)]
    called = []
    listeners = []

    def call(fd: int) -> None:
        called.append(fd)
        for listener in listeners:
            hub.remove(listener)
        listeners.clear()

    listeners.extend(
        hub.add(hub.READ, left.fileno(), call, None, None)
        for left, _ in pairs)
    for _, right in pairs:
        right.send(b'x')
    eventlet.sleep(0)
    eventlet.sleep(0)
    assert len(called) == 1, called
    for left, right in pairs:
        left.close()
        right.close()


def changed_for_asyncio_in_the_turn() -> None:
    """A green thread gives an fd that is ready another asyncio reader."""
    left, right = pair()
    told: list[str] = []
    hub.loop.add_reader(left.fileno(), told.append, 'old')

    def change() -> None:
        hub.loop.remove_reader(left.fileno())
        hub.loop.add_reader(left.fileno(), told.append, 'new')

    right.send(b'x')
    hub.schedule_call_global(0, change)
    eventlet.sleep(0)
    with eventlet.Timeout(LONG):
        while not told:
            eventlet.sleep(0)
    assert set(told) == {'new'}, told
    assert hub.loop.remove_reader(left.fileno())
    left.close()
    right.close()


def failing_listener_of_shared_fd() -> None:
    """It is removed; asyncio still gets its events, and nobody spins."""
    left, right = pair()
    told: list[bytes] = []
    hub.loop.add_reader(left.fileno(), lambda: told.append(left.recv(1)))
    stderr, sys.stderr = sys.stderr, open('/dev/null', 'w')  # noqa: SIM115
    hub.add(hub.WRITE, left.fileno(), int, None, None).cb = (
        lambda fd: 1 / 0)
    eventlet.sleep(0.001)
    sys.stderr.close()
    sys.stderr = stderr
    assert not list(hub.get_writers())
    polls = []
    poll = hub.do_poll
    hub.do_poll = lambda timeout: (polls.append(timeout), poll(timeout))[1]
    eventlet.sleep(0.02)
    del hub.do_poll
    assert len(polls) < 10, len(polls)
    right.send(b'x')
    with eventlet.Timeout(LONG):
        while not told:
            eventlet.sleep(0)
    assert hub.loop.remove_reader(left.fileno())
    left.close()
    right.close()


def green_reader_leaves_asyncio_writer() -> None:
    """What only the green one waited for is not reported any more."""
    left, right = pair()
    try:
        while True:
            left.send(b'x' * 65536)
    except BlockingIOError:
        pass
    hub.loop.add_writer(left.fileno(), int)
    try:
        hubs.trampoline(left.fileno(), read=True, timeout=0.001)
    except eventlet.Timeout:
        pass
    right.send(b'x')
    polls = []
    poll = hub.do_poll
    hub.do_poll = lambda timeout: (polls.append(timeout), poll(timeout))[1]
    eventlet.sleep(0.02)
    del hub.do_poll
    assert len(polls) < 10, len(polls)
    assert hub.loop.remove_writer(left.fileno())
    left.close()
    right.close()


def one_of_two_on_a_closed_fd_leaves() -> None:
    left, right = pair()
    fd = left.fileno()
    hub_timer_exceptions = hub.debug_exceptions
    reading = eventlet.spawn(wait_read, fd)
    while not right.setblocking(False):
        try:
            left.send(b'x' * 65536)
        except BlockingIOError:
            break
    writing = eventlet.spawn(hubs.trampoline, fd, write=True)
    eventlet.sleep(0)
    left.close()
    # Arming it for the writer alone fails, which is no concern of this one.
    reading.kill()
    try:
        reading.wait()
    except eventlet.greenlet.GreenletExit:
        pass
    hub.set_timer_exceptions(False)
    hubs.notify_opened(fd)
    try:
        writing.wait()
    except hubs.IOClosed:
        pass
    else:
        raise AssertionError('not told')
    hub.set_timer_exceptions(hub_timer_exceptions)
    right.close()


def leaving_with_a_closed_fd() -> None:
    """What raw greenlets raise when their fd was closed under them."""
    def wait(fd: int, ending) -> None:  # type: ignore
        try:
            hubs.trampoline(fd, read=True)
        except hubs.IOClosed:
            ending()
            raise

    hub.set_timer_exceptions(False)
    for ending in (int, sys.exit):
        left, right = pair()
        eventlet.spawn_n(wait, left.fileno(), ending)
        eventlet.sleep(0)
        hubs.notify_opened(left.fileno())
        ended = event.Event()
        hub.schedule_call_global(0.001, ended.send, 'in time')
        try:
            assert ended.wait() == 'in time'
        except SystemExit:
            assert ending is sys.exit
        else:
            assert ending is int
        left.close()
        right.close()
    hub.set_timer_exceptions(True)


def failing_timers() -> None:
    """An error in a timer ends neither the hub nor anybody's wait."""
    hub.set_timer_exceptions(False)
    ended = event.Event()
    hub.schedule_call_global(0, int, 'x')
    hub.schedule_call_global(0.0001, int, 'x')
    hub.schedule_call_global(0.001, ended.send, 'in time')
    assert ended.wait() == 'in time'
    hub.set_timer_exceptions(True)


def neither_world_waits_for_the_other() -> None:
    start = time.monotonic()
    # Its timer is the later one, and nothing else wakes the poll.
    later = hub.schedule_call_global(LONG, int)
    done = event.Event()
    hub.loop.call_later(0.001, done.send)
    done.wait()
    later.cancel()
    later_in_loop = hub.loop.call_later(LONG, int)
    done = event.Event()
    hub.schedule_call_global(0.001, done.send)
    done.wait()
    later_in_loop.cancel()
    assert time.monotonic() - start < LONG / 4


def errors_alone() -> None:
    """What is neither readable nor writable any more wakes who waits."""
    r, w = os.pipe()
    reading = eventlet.spawn(wait_read, r)
    eventlet.sleep(0)
    patcher.original('os').close(w)
    assert reading.wait() == 'ready'
    patcher.original('os').close(r)
    r, w = os.pipe()
    os.set_blocking(w, False)
    try:
        while True:
            patcher.original('os').write(w, b'x' * 65536)
    except BlockingIOError:
        pass
    told: list[int] = []
    hub.loop.add_writer(w, lambda: told.append(hub.loop.remove_writer(w)))
    writing = eventlet.spawn(hubs.trampoline, w, write=True, timeout=LONG)
    eventlet.sleep(0)
    assert not told
    patcher.original('os').close(r)
    writing.wait()
    while not told:
        eventlet.sleep(0)
    patcher.original('os').close(w)


def running_twice() -> None:
    def again() -> str:
        try:
            hub.run()
        except RuntimeError as exc:
            assert hub.running
            return str(exc)
        return ''

    assert 'lready running' in eventlet.spawn(again).wait()
    sleeper = eventlet.spawn_after(0.005, int, 5)
    for stop in (hub.loop.stop, lambda: hub.loop.call_soon(hub.loop.stop)):
        stop()
        eventlet.sleep(0)
    # loop.stop() drops no timers and wakes nobody.
    assert sleeper.wait() == 5


def blocking_detection() -> None:
    hub.set_timer_exceptions(False)
    debug.hub_blocking_detection(True, 0.1)
    # Waiting is not blocking, whichever world waits.
    eventlet.sleep(0)
    eventlet.sleep(0.25)
    blocking = eventlet.spawn(native_time.sleep, LONG)
    try:
        blocking.wait()
    except RuntimeError as exc:
        assert 'Blocking detector' in str(exc), exc
    else:
        raise AssertionError('not detected')
    debug.hub_blocking_detection(False)
    hub.set_timer_exceptions(True)
    eventlet.sleep(0)


def loop_of_the_thread() -> None:
    """asyncio knows the loop even while the hub does not run."""
    hub.abort(wait=True)
    assert asyncio.get_event_loop() is hub.loop
    eventlet.sleep(0)


def a_spinning_green_thread_holds_nobody_up() -> None:
    """Turns of the hub without the loop end when that has something to do."""
    spins = 0
    stop: list[None] = []

    def spin() -> None:
        nonlocal spins
        while not stop:
            spins += 1
            eventlet.sleep(0)

    spinning = eventlet.spawn(spin)
    for _ in range(3):
        eventlet.sleep(0)
    # That is private to asyncio; without it there is always something.
    assert not hub.loop.state.ready
    told: list[int] = []
    before = spins
    hub.loop.call_soon(lambda: told.append(spins))
    while not told:
        eventlet.sleep(0)
    assert told[0] - before <= 3, (told, before)

    left, right = pair()

    def read() -> None:
        told.append(spins)
        hub.loop.remove_reader(left)

    hub.loop.add_reader(left, read)
    eventlet.sleep(0)
    before = spins
    right.send(b'x')
    while len(told) < 2:
        eventlet.sleep(0)
    assert told[1] - before <= 3, (told, before)

    waiting = eventlet.spawn(wait_read, left.fileno())
    before = spins
    assert waiting.wait() == 'ready'
    assert spins - before <= 5, (spins, before)
    left.close()
    right.close()

    # Nothing but the spinning wakes the hub before they are due.
    for delay in (0, 0.001):
        done = event.Event()
        hub.loop.call_later(delay, done.send)
        done.wait()
        done = event.Event()
        hub.schedule_call_global(delay, done.send)
        done.wait()
    done = event.Event()
    patcher.original('threading').Thread(
        target=hub.loop.call_soon_threadsafe, args=[done.send]).start()
    done.wait()
    stop.append(None)
    spinning.wait()


def talking_green_threads_hold_nobody_up() -> None:
    """There are always events, and none for the loop."""
    left, right = pair()
    talks = 0

    def talk(sock) -> None:  # type: ignore
        nonlocal talks
        try:
            while True:
                wait_read(sock.fileno())
                sock.recv(1)
                talks += 1
                sock.send(b'x')
        except eventlet.greenlet.GreenletExit:
            pass

    talking = [eventlet.spawn(talk, sock) for sock in (left, right)]
    eventlet.sleep(0)
    left.send(b'x')
    told: list[int] = []

    def told_after(ask, *args) -> int:  # type: ignore
        """Return how often they talk until a callback has been called."""
        done = event.Event()
        before = talks
        with eventlet.Timeout(LONG):
            ask(*args, lambda: done.send(talks))
            told.append(done.wait() - before)
        return told[-1]

    loop = hub.loop
    # Asked for by green code, while they talk.
    for _ in range(3):
        assert told_after(loop.call_soon) <= 3, told
        assert told_after(loop.call_later, 0) <= 3, told
        assert told_after(loop.call_soon_threadsafe) <= 3, told
        told_after(loop.call_later, 0.001)
        told_after(hub.schedule_call_global, 0.001)
        loop.stop()
        told_after(loop.call_later, 0.001)
    done = event.Event()
    patcher.original('threading').Thread(
        target=loop.call_soon_threadsafe, args=[done.send]).start()
    with eventlet.Timeout(LONG):
        done.wait()
    for green in talking:
        green.kill()
        green.wait()
    left.close()
    right.close()


def a_poll_ends_when_the_loop_is_due() -> None:
    """The loop gets a timer after the hub has begun to wait without it."""
    left, right = pair()
    ended: list[str] = []

    def wait_and_ask() -> None:
        for _ in range(3):
            wait_read(left.fileno())
            left.recv(1)
            # Nothing else wakes the poll.
            hub.loop.call_later(0.001, lambda: right.send(b'x'))
        ended.append('ended')

    waiting = eventlet.spawn(wait_and_ask)
    eventlet.sleep(0)
    right.send(b'x')
    with eventlet.Timeout(LONG):
        waiting.wait()
    with eventlet.Timeout(LONG):
        wait_read(left.fileno())
    assert ended
    # And a far one does not hold up a nearer one that comes then.
    far = hub.loop.call_later(LONG, int)
    done = event.Event()
    right.send(b'x')

    def ask() -> None:
        wait_read(left.fileno())
        hub.loop.call_later(0.001, done.send)

    eventlet.spawn(ask)
    with eventlet.Timeout(LONG / 2):
        done.wait()
    far.cancel()
    left.close()
    right.close()


def ready_callbacks_hold_nobody_up() -> None:
    """1,000 of them, over and over: each turn of the loop is one of the hub.
    """
    calls = 0
    stop: list[None] = []

    def call() -> None:
        nonlocal calls
        calls += 1
        if not stop:
            hub.loop.call_soon(call)

    for _ in range(1000):
        hub.loop.call_soon(call)
    eventlet.sleep(0)
    before = calls
    done = event.Event()
    hub.schedule_call_global(0, lambda: done.send(calls))
    assert done.wait() - before <= 1000
    left, right = pair()
    waiting = eventlet.spawn(wait_read, left.fileno())
    eventlet.sleep(0)
    before = calls
    right.send(b'x')
    assert waiting.wait() == 'ready'
    # One turn until it is ready, one in which wait() is told.
    assert calls - before <= 2000, (calls, before)
    left.close()
    right.close()
    stop.append(None)


def no_two_polls_are_left_out() -> None:
    """After a poll that found something, callbacks may go before the next."""
    noisy, other = pair()
    left, right = pair()
    loop = hub.loop
    done = event.Event()
    waits: list[int] = []
    calls = noise = before = 0

    def again() -> None:
        nonlocal calls, before
        calls += 1
        if len(waits) == 50:
            done.send(None)
            return
        if not before:
            before = calls
            right.send(b'x')
        loop.call_soon(again)

    def make_noise() -> None:
        # Not read: every poll finds it.
        nonlocal noise
        noise += 1

    def read() -> None:
        nonlocal before
        left.recv(1)
        waits.append(calls - before)
        before = 0

    other.send(b'x')
    loop.add_reader(noisy, make_noise)
    loop.add_reader(left, read)
    loop.call_soon(again)
    done.wait()
    assert calls / 2 - 2 <= noise <= calls, (noise, calls)
    # Once at most before a poll looks, and once when it is called.
    assert max(waits) <= 2, waits
    loop.remove_reader(noisy)
    loop.remove_reader(left)
    for end in (noisy, other, left, right):
        end.close()


def a_hub_without_descriptors_hears_threads() -> None:
    """It does not poll as long as something is due."""
    seen: list[str] = []
    threading = patcher.original('threading')
    assert not list(hub.get_readers()) + list(hub.get_writers())

    def call() -> None:
        hub.loop.call_soon_threadsafe(seen.append, 'loop')
        hub.schedule_call_threadsafe(0, seen.append, 'hub')

    for _ in range(20):
        seen.clear()
        thread = threading.Thread(target=call)
        thread.start()
        with eventlet.Timeout(LONG):
            while len(seen) < 2:
                eventlet.sleep(0)
        assert sorted(seen) == ['hub', 'loop'], seen
        thread.join()


def attributes_are_few() -> None:
    """Python calls methods of an object faster that has fewer than 30."""
    assert len(vars(hub.loop)) < 30, sorted(vars(hub.loop))
    # A hub that setup() makes of another one keeps what that had.
    if mode.MODE.startswith('env'):
        assert len(vars(hub)) < 30, sorted(vars(hub))


def asyncio_is_told_without_a_list() -> None:
    """The fast way to tell the loop works with the asyncio that is here."""
    selector = hub._selector
    listed: list[object] = []

    def asyncio_events(events):  # type: ignore
        found = type(selector).asyncio_events(selector, events)
        listed.extend(found)
        return found

    selector.asyncio_events = asyncio_events
    loop = hub.loop
    left, right = pair()
    seen: list[str] = []

    async def until(*names: str) -> None:
        await asyncio.sleep(0)
        while sorted(seen) != sorted(names):
            await asyncio.sleep(0)

    def wait(*names: str) -> None:
        seen.clear()
        aiohub.await_(asyncio.wait_for(until(*names), LONG))

    def note(name: str) -> None:
        if name not in seen:
            seen.append(name)

    try:
        right.send(b'x')
        loop.add_reader(left, note, 'read')
        wait('read')
        loop.remove_reader(left)
        loop.add_writer(left, note, 'write')
        wait('write')
        assert not listed, listed
        # Both at once are for the loop to tell apart.
        loop.add_reader(left, note, 'read')
        wait('read', 'write')
        assert listed
        loop.remove_writer(left)
        # One that was cancelled is removed, as asyncio does: it would come
        # again in each turn.
        handle = selector.get_key(left).data[0]
        handle.cancel()
        wait()
        while left.fileno() in selector.get_map():
            wait()
        assert not loop.remove_reader(left)
    finally:
        del selector.asyncio_events
        left.close()
        right.close()


for check in (lost_events, removed_in_the_turn,
              changed_for_asyncio_in_the_turn,
              failing_listener_of_shared_fd,
              green_reader_leaves_asyncio_writer,
              one_of_two_on_a_closed_fd_leaves, leaving_with_a_closed_fd,
              failing_timers, neither_world_waits_for_the_other,
              errors_alone, running_twice, blocking_detection,
              loop_of_the_thread, a_spinning_green_thread_holds_nobody_up,
              talking_green_threads_hold_nobody_up,
              a_poll_ends_when_the_loop_is_due,
              ready_callbacks_hold_nobody_up, no_two_polls_are_left_out,
              a_hub_without_descriptors_hears_threads, attributes_are_few,
              asyncio_is_told_without_a_list):
    try:
        check()
    except BaseException:
        print('in', check.__name__)
        raise
    assert not list(hub.get_readers()), check
    assert not list(hub.get_writers()), check
mode.done()
