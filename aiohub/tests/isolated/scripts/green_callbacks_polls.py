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

"""While a callback waits in a green call: what asyncio watches is ready.

The hub does not spin, and asyncio gets to know when it goes on.
"""

import cases
import in_callback
import mode

import aiohub
import eventlet
from eventlet.green import socket
from eventlet import hubs
from eventlet import patcher
from eventlet import tpool

native_os = patcher.original('os')
loop = aiohub.get_loop()
hub = hubs.get_hub()
tpool.execute(int)


# -- busy descriptors

def does_not_spin(make_busy, when):
    """A descriptor that asyncio watches is ready, and stays so.

    :param make_busy: Makes one; returns what takes it back, and a list which
        the loop appends to when it is told.
    :param when: When it is made: before the callback waits, or meanwhile.
    """
    made = []

    def make():
        made.append(make_busy())

    with in_callback.Standstill(before=make if when == 'before' else None):
        if when == 'meanwhile':
            make()
        eventlet.sleep(0.001)
        with in_callback.Polls() as polls:
            eventlet.sleep(0.02)
        polls.check(5)
        end, told = made[0]
        assert not told
    cases.until(lambda: told)
    # It is watched as before.
    told.clear()
    cases.until(lambda: told)
    end()
    made.clear()
    cases.turns()


def readable():
    left, right = in_callback.pair()
    right.send(b'x')
    told = []
    loop.add_reader(left, told.append, True)

    def end():
        loop.remove_reader(left)
        left.close()
        right.close()

    return end, told


def writable():
    left, right = in_callback.pair()
    told = []
    loop.add_writer(left, told.append, True)

    def end():
        loop.remove_writer(left)
        left.close()
        right.close()

    return end, told


def both():
    left, right = in_callback.pair()
    right.send(b'x')
    told = []
    loop.add_writer(left, told.append, True)
    loop.add_reader(left, told.append, True)

    def end():
        loop.remove_writer(left)
        loop.remove_reader(left)
        left.close()
        right.close()

    return end, told


def hung_up():
    left, right = in_callback.pair()
    right.close()
    told = []
    loop.add_reader(left, told.append, True)

    def end():
        loop.remove_reader(left)
        left.close()

    return end, told


def in_error():
    """The reading end of a pipe is gone."""
    read, write = native_os.pipe()
    native_os.close(read)
    told = []
    loop.add_writer(write, told.append, True)

    def end():
        loop.remove_writer(write)
        native_os.close(write)

    return end, told


def shared_with_green_thread():
    """A green thread reads what is there, again and again, and waits."""
    left, right = socket.socketpair()
    told = []
    loop.add_writer(left.fileno(), told.append, True)
    right.sendall(b'x')
    assert left.recv(1) == b'x'
    reading = eventlet.spawn(left.recv, 1)

    def end():
        loop.remove_writer(left.fileno())
        right.sendall(b'x')
        assert reading.wait() == b'x'
        left.close()
        right.close()

    return end, told


def changed():
    """The descriptor is given other callbacks, by who is in a green thread."""
    left, right = in_callback.pair()
    right.send(b'x')
    told = []
    loop.add_reader(left, told.append, False)
    loop.add_writer(left, told.append, False)

    def change():
        for _ in range(3):
            eventlet.sleep(0)
            loop.remove_reader(left)
            loop.remove_writer(left)
            eventlet.sleep(0)
            loop.add_reader(left, told.append, True)

    changing = eventlet.spawn(change)

    def end():
        changing.wait()
        assert False not in told
        loop.remove_reader(left)
        left.close()
        right.close()

    return end, told


def reopened():
    """The descriptor is closed, and its number is another's."""
    left, right = in_callback.pair()
    right.send(b'x')
    told = []
    loop.add_reader(left, told.append, False)

    def reopen():
        eventlet.sleep(0)
        loop.remove_reader(left)
        new, peer = in_callback.pair()
        native_os.dup2(new.fileno(), left.fileno())
        new.close()
        loop.add_reader(left, told.append, True)
        peer.send(b'y')
        return peer

    reopening = eventlet.spawn(reopen)

    def end():
        reopening.wait().close()
        assert False not in told
        loop.remove_reader(left)
        left.close()
        right.close()

    return end, told


for make_busy in (readable, writable, both, hung_up, in_error,
                  shared_with_green_thread, changed, reopened):
    for when in ('before', 'meanwhile'):
        cases.add('busy_%s_%s' % (make_busy.__name__, when), does_not_spin,
                  make_busy, when)


@cases.case
def callback_that_waits_for_the_loop():
    """It waits for ever, unless it has a timeout."""
    async def answer():
        return 'answer'

    def callback():
        green = eventlet.spawn(aiohub.await_, answer())
        with eventlet.Timeout(0.005, False):
            green.wait()
            raise AssertionError('the loop went on')
        return green

    assert in_callback.call(callback).wait() == 'answer'
    in_callback.warnings()


@cases.case
def woken_by_threads():
    """Each wake-up is a few polls and no more."""
    with in_callback.Standstill(), in_callback.Polls() as polls:
        for _ in range(20):
            thread = mode.native.Thread(
                target=loop.call_soon_threadsafe, args=(int,))
            thread.start()
            thread.join()
            eventlet.sleep(0.001)
        polls.check(150)


@cases.case
def both_worlds_read_one_descriptor():
    """A green thread reads from what asyncio watches."""
    left, right = socket.socketpair()
    told = []
    loop.add_reader(left.fileno(), told.append, True)
    with in_callback.Standstill():
        for number in range(20):
            reading = eventlet.spawn(left.recv, 10)
            eventlet.sleep(0)
            right.sendall(b'%d' % number)
            assert reading.wait() == b'%d' % number
        assert not told
        right.sendall(b'last')
        eventlet.sleep(0.001)
    cases.until(lambda: told)
    loop.remove_reader(left.fileno())
    assert left.recv(10) == b'last'
    left.close()
    right.close()


@cases.case
def closed_while_it_is_watched():
    """Whatever becomes of the descriptor, nobody else is to suffer."""
    left, right = in_callback.pair()
    copy = native_os.dup(left.fileno())
    told = []

    def close():
        right.send(b'x')
        native_os.close(left.fileno())

    loop.add_reader(left, told.append, True)
    with in_callback.Standstill(before=close):
        for _ in range(5):
            eventlet.sleep(0)
        assert eventlet.spawn(lambda: 5).wait() == 5
        native_os.dup2(copy, left.fileno())
        native_os.close(copy)
    loop.remove_reader(left)
    left.close()
    right.close()


cases.run_all()
mode.done()
