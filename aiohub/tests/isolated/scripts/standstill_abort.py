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

"""A callback that has made a green call stops the hub."""

import mode

import eventlet
from eventlet import hubs

hub = hubs.get_hub()
eventlet.sleep(0)
log: list[object] = []


def stop() -> None:
    hub.schedule_call_global(0, eventlet.getcurrent().switch)
    for n in range(3):
        hub.schedule_call_global(0, log.append, n)
    hub.switch()
    hub.abort()
    log.append('stopped')


hub.loop.call_soon(stop)
hub.switch()
# Those timers went with the run; the next one does not miss them.
assert log == ['stopped'], log
eventlet.sleep(0.001)
assert log == ['stopped'], log
assert eventlet.spawn(int, 5).wait() == 5
mode.done()
