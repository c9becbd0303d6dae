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

"""Greenlets made before setup(): where they end, and what they refer to."""

import os
import sys

import mode

import eventlet
from eventlet import event
from eventlet import greenthread
from eventlet import hubs
from eventlet import patcher
import greenlet

native_os = patcher.original('os')
main = eventlet.getcurrent()
log: list[object] = []


def check_main(seconds: float = 0.002) -> None:
    """The main greenlet's waits end when they should, with no result."""
    hub = hubs.get_hub()
    timer = hub.schedule_call_global(seconds, main.switch, 'on time')
    assert hub.switch() == 'on time'
    timer.cancel()


# Started and not yet run, waiting, and raw greenlets, before the hand-over.
gate = event.Event()
waiting = [eventlet.spawn(gate.wait) for _ in range(3)]
raw = []
for _ in range(3):
    eventlet.spawn_n(lambda: (raw.append(eventlet.getcurrent()), gate.wait()))
doomed = eventlet.spawn(gate.wait)
failing = eventlet.spawn(lambda: (gate.wait(), 1 / 0))
eventlet.sleep(0)
assert len(raw) == 3
not_started = [eventlet.spawn(log.append, n) for n in range(3)]
after = eventlet.spawn_after(0.01, log.append, 'after')
old = hubs.get_hub()
# One that the program itself switches to, and back.
parked = greenlet.greenlet(main.switch, old.greenlet)
assert parked.switch('parked') == 'parked'
r, w = os.pipe()
listener = old.add(
    old.READ, r, lambda fd: log.append(native_os.read(fd, 1)), None, None)

mode.set_up()
assert hubs.get_hub() is old
# A poll object of the old hub would be a leak.
links = [os.readlink('/proc/self/fd/%s' % fd)
         for fd in os.listdir('/proc/self/fd')
         if os.path.islink('/proc/self/fd/%s' % fd)]
assert links.count('anon_inode:[eventpoll]') == 1, links

# It ends before anything has waited in the new hub.
old.schedule_call_global(0.002, main.switch, 'on time')
assert parked.switch('its end') == 'on time'
assert parked.dead
check_main()
assert log[:3] == [0, 1, 2], log
assert all(g.dead for g in not_started)
check_main()
doomed.kill()
check_main()
assert doomed.dead
hubs.get_hub().set_timer_exceptions(False)
gate.send(None)
check_main()
hubs.get_hub().set_timer_exceptions(True)
assert all(g.dead for g in (*waiting, *raw, failing))
try:
    failing.wait()
except ZeroDivisionError:
    pass
os.write(w, b'x')
while b'x' not in log or 'after' not in log:
    check_main()
assert after.dead
old.remove(listener)
os.close(r)
os.close(w)
assert not list(old.get_readers())

# Raw greenlets that the program switches to itself.
green = greenthread.GreenThread(old.greenlet)
old.schedule_call_global(0, green.switch, log.append, ('own',), {})
check_main()
assert log[-1] == 'own'
assert sys.exc_info() == (None, None, None)
mode.done()
