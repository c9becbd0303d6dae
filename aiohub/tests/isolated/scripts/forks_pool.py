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

"""eventlet.tpool in parent and child: each gets its own answers, all of them.
"""

import os

import forked
import mode

import eventlet
from eventlet import tpool

# What aiohub needs of the private names of eventlet.tpool.
for name in ('_setup_already', '_threads', '_rsock', '_wsock', '_reqq',
             '_rspq', '_coro', 'Queue'):
    assert hasattr(tpool, name), name


def ask(number: int) -> int:
    return tpool.execute(lambda: number)


def ask_much() -> None:
    """Many at once, some of which are just under way when others fork."""
    pile = eventlet.GreenPile(20)
    for number in range(300):
        pile.spawn(ask, number)
    assert list(pile) == list(range(300))


def no_answer() -> None:
    """What the parent's threads do is nothing that a child waits for."""
    for green in waiting:
        green.kill()
    ask_much()


def in_thread_of_pool() -> int:
    """The child's thread comes back to the pool, which is no more."""
    pid = os.fork()
    if not pid:
        forked.choose_hub()
        assert eventlet.spawn(lambda: 5).wait() == 5
    return pid


ask(0)
go_on = mode.native.Event()
waiting = [eventlet.spawn(tpool.execute, go_on.wait) for _ in range(3)]
eventlet.sleep(0)
asking = eventlet.spawn(ask_much)
pids = []
for _ in range(4):
    eventlet.sleep(0.001)
    pids.append(forked.in_main(ask_much))
    pids.append(forked.in_green(no_answer if mode.ON else ask_much))
asking.wait()
for pid in pids:
    forked.reap(pid)
forked.reap(tpool.execute(in_thread_of_pool))
go_on.set()
assert [green.wait() for green in waiting] == [True] * 3
ask_much()
mode.done()
