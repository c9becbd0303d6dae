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

"""eventlet's own copy of threading survives a fork in a green thread."""

import mode

import eventlet
from eventlet.green import threading

import forked


def use() -> None:
    gone_on.set()
    thread.join()
    assert ended == [1], ended
    assert threading.current_thread() is not None


def wait() -> None:
    gone_on.wait()
    ended.append(1)


gone_on = threading.Event()
ended: list[int] = []
thread = threading.Thread(target=wait)
thread.start()
eventlet.sleep(0)
pids = [place(use) for place in (forked.in_main, forked.in_green)]
for pid in pids:
    forked.reap(pid)
assert ended == []
use()
mode.done()
