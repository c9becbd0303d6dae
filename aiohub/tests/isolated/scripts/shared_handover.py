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

"""Who waits when aiohub is switched on can be woken from native threads.

They wait in eventlet's own code, and so do they in a thread that has another
hub already, which it keeps.
"""

import queue
import threading

import mode

import eventlet
from eventlet import event
from eventlet.green import Queue as green_queue
from eventlet.green import threading as green_threading
from eventlet import hubs
from eventlet import queue as eventlet_queue
from eventlet import semaphore

green = threading if mode.PATCHED else green_threading
queues = queue if mode.PATCHED else green_queue

shared = semaphore.Semaphore(0)
lock = green.Lock()
lock.acquire()
happened = event.Event()
failing = event.Event()
items = queues.Queue()
full = eventlet_queue.Queue(1)
full.put('first')
given = eventlet_queue.Queue(0)
taken = eventlet_queue.Queue(0)
less = semaphore.Semaphore(1)
less.counter -= 2


def fails() -> str:
    try:
        failing.wait()
    except LookupError:
        return 'raised'


old = [eventlet.spawn(wait) for wait in (
    shared.acquire, lock.acquire, happened.wait, fails, items.get,
    lambda: full.put('second'), given.get, lambda: taken.put('taken'))]

# A thread that has a hub of its own before: it keeps that.
theirs: list[object] = []
begun = mode.native.Event()
mine = semaphore.Semaphore(0)


def keeps_its_hub() -> None:
    eventlet.sleep(0)
    hub = hubs.get_hub()
    begun.set()
    while not enabled:
        eventlet.sleep(0.001)
    theirs.append(mine.acquire())
    theirs.append(hubs.get_hub() is hub)


enabled: list[None] = []
other = mode.native.Thread(target=keeps_its_hub)
other.start()
while not begun.is_set():
    eventlet.sleep(0.001)

mode.set_up()
enabled.append(None)

new = [eventlet.spawn(wait) for wait in (
    shared.acquire, happened.wait, items.get)]
eventlet.sleep(0)
assert (less.counter, less.balance) == (-1, -1)


def wake_all() -> None:
    for _ in range(2):
        shared.release()
        items.put('item')
    lock.release()
    happened.send('sent')
    failing.send_exception(LookupError())
    assert full.get() == 'first'
    assert full.get() == 'second'
    given.put('given')
    assert taken.get() == 'taken'
    mine.release()


thread = mode.native.Thread(target=wake_all)
thread.start()
assert [one.wait() for one in old] == [
    True, True, 'sent', 'raised', 'item', None, 'given', None]
assert [one.wait() for one in new] == [True, 'sent', 'item']
while thread.is_alive() or other.is_alive():
    eventlet.sleep(0.001)
assert theirs == [True, True]
assert (shared.counter, items.qsize(), full.qsize()) == (0, 0, 0)
assert lock.locked()
for channel in (given, taken):
    assert (channel.qsize(), channel.getting(), channel.putting()) == (
        0, 0, 0)
mode.done()
