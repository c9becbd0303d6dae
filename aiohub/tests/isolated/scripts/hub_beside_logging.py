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

"""A thread gets its hub while another one has the lock of logging."""

import logging

import mode

import eventlet
from eventlet import hubs
from eventlet import patcher

native = patcher.original('threading')

if mode.HUB == 'setup':
    mode.set_up()
eventlet.sleep(0)
ready: list[object] = []


def make_hub() -> None:
    hub = hubs.get_hub()
    eventlet.sleep(0)
    ready.append(type(hub))


# The answers to isEnabledFor() are forgotten.
logging.getLogger('asyncio').setLevel(logging.NOTSET)
thread = native.Thread(target=make_hub)
with logging._lock:
    thread.start()
    thread.join(60)
assert ready == [type(hubs.get_hub())], ready

# What other threads log for asyncio is not lost for that.
lines: list[str] = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger('asyncio').addHandler(handler)
logging.getLogger('asyncio').warning('a line')
assert lines == ['a line'], lines
mode.done()
