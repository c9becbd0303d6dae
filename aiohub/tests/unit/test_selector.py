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

"""The selector, on epoll and on the fallback for systems without it."""

import asyncio
import collections
import contextlib
import errno
import os
import select
import selectors
import socket
import tempfile
import time

from oslotest import base

from aiohub import _poll
from aiohub import _selector
from aiohub import hub
from aiohub import loop as loop_module


class PollTestCase(base.BaseTestCase):
    """The two kinds of poll behave alike."""

    new_poll = staticmethod(select.epoll)

    def setUp(self):
        super().setUp()
        self.poll = self.new_poll()
        self.addCleanup(self.poll.close)
        self.left, self.right = socket.socketpair()
        self.addCleanup(self.left.close)
        self.addCleanup(self.right.close)
        self.fd = self.left.fileno()

    def test_level_triggered(self):
        self.poll.register(self.fd, _selector.POLLIN)
        self.assertEqual([], self.poll.poll(0))
        self.right.send(b'x')
        for _ in range(3):
            self.assertEqual(
                [(self.fd, _selector.POLLIN)], self.poll.poll(None))
        self.poll.unregister(self.fd)
        self.assertEqual([], self.poll.poll(0))

    def test_one_shot(self):
        mask = _selector.POLLIN | _selector.ONESHOT
        self.poll.register(self.fd, mask)
        self.right.send(b'x')
        self.assertEqual([(self.fd, _selector.POLLIN)], self.poll.poll(1))
        self.assertEqual([], self.poll.poll(0))
        # Armed again, by what HubSelector.arm() does.
        try:
            self.poll.modify(self.fd, mask)
        except FileNotFoundError:
            self.poll.register(self.fd, mask)
        self.assertEqual([(self.fd, _selector.POLLIN)], self.poll.poll(1))
        self.assertEqual([], self.poll.poll(0))

    def test_one_shot_becomes_lasting(self):
        self.poll.register(self.fd, _selector.POLLIN | _selector.ONESHOT)
        self.poll.modify(self.fd, _selector.POLLIN)
        self.right.send(b'x')
        for _ in range(2):
            self.assertEqual(
                [(self.fd, _selector.POLLIN)], self.poll.poll(1))

    def test_unknown(self):
        self.assertRaises(
            FileNotFoundError, self.poll.modify, self.fd, _selector.POLLIN)
        self.assertRaises(
            FileNotFoundError, self.poll.unregister, self.fd)

    def test_timeout_is_not_early(self):
        start = time.monotonic()
        self.poll.poll(0.0015)
        self.assertGreaterEqual(time.monotonic() - start, 0.0015)

    def test_hang_up(self):
        self.poll.register(self.fd, _selector.POLLIN | _selector.ONESHOT)
        self.right.close()
        [(fd, mask)] = self.poll.poll(1)
        self.assertEqual(self.fd, fd)
        self.assertTrue(mask & _selector.POLL_ERROR)


class OneShotPollTestCase(PollTestCase):
    new_poll = _poll.OneShotPoll

    def test_closed_is_reported_once(self):
        self.poll.register(self.fd, _selector.POLLIN | _selector.ONESHOT)
        self.left.close()
        self.assertEqual(
            [(self.fd, _selector.POLL_ERROR)], self.poll.poll(1))
        self.assertEqual([], self.poll.poll(0))


class SelectorTestCase(base.BaseTestCase):
    """asyncio's side behaves as the selectors of the standard library do."""

    def setUp(self):
        super().setUp()
        self.readers = {}
        self.writers = {}
        self.selector = _selector.HubSelector(
            self.readers, self.writers, self.turn)
        self.addCleanup(self.selector.close)
        self.plain = selectors.DefaultSelector()
        self.addCleanup(self.plain.close)
        self.left, self.right = socket.socketpair()
        self.addCleanup(self.left.close)
        self.addCleanup(self.right.close)
        self.fd = self.left.fileno()

    def turn(self, timeout):
        events = self.selector.poll.poll(timeout)
        return list(self.selector.asyncio_events(events))

    def same(self, call):
        """Assert that *call* has one outcome on both; return it."""
        outcomes = []
        for selector in (self.selector, self.plain):
            try:
                outcomes.append(call(selector))
            except Exception as exc:
                outcomes.append((type(exc), getattr(exc, 'errno', None)))
        self.assertEqual(outcomes[1], outcomes[0])
        return outcomes[0]

    def test_registering(self):
        for fileobj in (self.left, self.fd):
            key = self.same(lambda s: s.register(
                fileobj, selectors.EVENT_READ, 'data'))
            self.assertEqual('data', key.data)
            self.same(lambda s: s.register(
                fileobj, selectors.EVENT_WRITE))
            self.same(lambda s: s.get_key(fileobj))
            self.same(lambda s: s.get_map().get(fileobj))
            self.same(lambda s: s.get_map().get(self.right))
            self.same(lambda s: s.modify(
                fileobj, selectors.EVENT_WRITE, 'other'))
            self.same(lambda s: s.select(0))
            self.same(lambda s: s.modify(
                fileobj, selectors.EVENT_READ, 'third'))
            self.same(lambda s: s.select(0))
            self.right.send(b'x')
            self.same(lambda s: s.select(1))
            self.left.recv(1)
            self.same(lambda s: s.unregister(fileobj))
            self.same(lambda s: s.unregister(fileobj))
            self.same(lambda s: len(s.get_map()))
            self.same(lambda s: s.select(0))

    def test_bad_arguments(self):
        with tempfile.TemporaryFile() as file:
            for fileobj in (-1, 'x', None, file, 10 ** 6):
                outcome = self.same(lambda s: s.register(
                    fileobj, selectors.EVENT_READ))
                self.assertIsInstance(outcome, tuple)
                self.same(lambda s: len(s.get_map()))
        for events in (0, 4, -1):
            self.same(lambda s: s.register(self.fd, events))
        self.same(lambda s: s.modify(self.fd, selectors.EVENT_READ))

    def test_what_is_no_handle_is_left_to_the_loop(self):
        self.selector.ready = collections.deque()
        for data in (None, 'data', (), (None, None), (object(), object())):
            key = self.selector.register(
                self.fd, selectors.EVENT_WRITE, data)
            events = self.selector.poll.poll(1)
            self.assertEqual(
                [(key, selectors.EVENT_WRITE)], self.selector.tell(events))
            self.assertTrue(self.selector.has_found)
            self.selector.unregister(self.fd)
        self.assertFalse(self.selector.ready)

    def test_where_nobody_knows_what_the_loop_is_to_call(self):
        key = self.selector.register(self.fd, selectors.EVENT_WRITE)
        self.assertEqual(
            [(key, selectors.EVENT_WRITE)],
            self.selector.tell(self.selector.poll.poll(1)))

    def test_unregister_after_close(self):
        self.same(lambda s: s.register(self.left, selectors.EVENT_READ))
        self.left.close()
        self.same(lambda s: s.unregister(self.left).fd)

    def test_interests_are_merged(self):
        self.selector.register(self.fd, selectors.EVENT_READ)
        self.writers[self.fd] = object()
        self.selector.arm(self.fd)
        self.assertEqual(
            [(self.fd, _selector.POLLOUT)], self.selector.poll.poll(1))
        # asyncio does not wait for writing.
        self.assertEqual([], self.turn(0))
        self.right.send(b'x')
        [(key, events)] = self.turn(1)
        self.assertEqual((self.fd, selectors.EVENT_READ), (key.fd, events))
        del self.writers[self.fd]
        self.selector.arm(self.fd)
        self.assertEqual(
            [(self.fd, _selector.POLLIN)], self.selector.poll.poll(1))
        # asyncio leaves, a green reader stays, for one event.
        self.readers[self.fd] = object()
        self.selector.unregister(self.fd)
        self.assertEqual(
            [(self.fd, _selector.POLLIN)], self.selector.poll.poll(1))
        self.assertEqual([], self.selector.poll.poll(0))

    def test_arm_all_after_lost_events(self):
        self.readers[self.fd] = object()
        self.selector.arm(self.fd)
        self.right.send(b'x')
        self.assertEqual(1, len(self.selector.poll.poll(1)))
        self.assertEqual([], self.selector.poll.poll(0))
        # Closed ones among them do not matter.
        self.readers[10 ** 6] = object()
        self.selector.arm_all()
        self.assertEqual(1, len(self.selector.poll.poll(1)))
        self.selector.renew()
        self.assertEqual(1, len(self.selector.poll.poll(1)))

    def test_a_number_used_again(self):
        self.readers[self.fd] = object()
        self.selector.arm(self.fd)
        self.left.close()
        self.left, right = socket.socketpair()
        self.addCleanup(right.close)
        self.assertEqual(self.fd, self.left.fileno())
        self.selector.arm(self.fd)
        self.assertEqual([], self.selector.poll.poll(0))
        right.send(b'x')
        self.assertEqual(1, len(self.selector.poll.poll(1)))

    def test_stale_registration_fires_once(self):
        # A duplicate keeps the registration of a closed descriptor alive.
        self.readers[self.fd] = object()
        self.selector.arm(self.fd)
        duplicate = os.dup(self.fd)
        self.addCleanup(os.close, duplicate)
        self.left.close()
        self.right.send(b'x')
        self.selector.poll.poll(1)
        self.assertEqual([], self.selector.poll.poll(0))

    def test_bad_descriptors(self):
        for fd, number in ((10 ** 6, errno.EBADF),):
            self.readers[fd] = object()
            error = self.assertRaises(OSError, self.selector.arm, fd)
            self.assertEqual(number, error.errno)
        self.assertRaises(ValueError, self.selector.arm, -1)


class LoopOnPollTestCase(base.BaseTestCase):
    """Both worlds on the fallback for systems without epoll."""

    def test_hub_without_epoll(self):
        import eventlet
        from eventlet import asyncio as eventlet_asyncio
        from eventlet import hubs

        original = _poll.new_poll
        _poll.new_poll = _poll.OneShotPoll
        try:
            hubs.use_hub(hub)
            mine = hubs.get_hub()
        finally:
            _poll.new_poll = original
        self.addCleanup(mine.close)
        self.assertIsInstance(mine.loop, loop_module.EventLoop)
        left, right = eventlet.green.socket.socketpair()

        async def echo():
            loop = asyncio.get_running_loop()
            reader, writer = await asyncio.open_connection(sock=other)
            writer.write(await reader.readexactly(4))
            await asyncio.sleep(0.001)
            writer.close()
            return await loop.run_in_executor(None, lambda: 5)

        plain, other = socket.socketpair()
        other.setblocking(False)
        green = eventlet.greenio.GreenSocket(plain)
        with contextlib.closing(left), contextlib.closing(right), \
                contextlib.closing(green):
            reading = eventlet.spawn(left.recv, 1)
            echoing = eventlet_asyncio.spawn_for_awaitable(echo())
            green.sendall(b'ping')
            self.assertEqual(b'ping', green.recv(4))
            right.sendall(b'x')
            self.assertEqual(b'x', reading.wait())
            self.assertEqual(5, echoing.wait())
            with eventlet.Timeout(0.002, False):
                left.recv(1)
                self.fail('nothing was sent')
