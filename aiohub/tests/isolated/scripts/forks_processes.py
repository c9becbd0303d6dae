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

"""A child leaves the processes of its parent to the parent."""

import asyncio

import forked
import mode

import aiohub
import eventlet
from eventlet.green import subprocess


class Ends(asyncio.SubprocessProtocol):
    def process_exited(self) -> None:
        ended.set_result(transport.get_returncode())


async def start():
    loop = asyncio.get_running_loop()
    made = await loop.subprocess_exec(
        Ends, 'cat', stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return made[0], loop.create_future()


def see_it_end() -> None:
    """The child runs when the process ends, and for a while after that."""
    assert left.recv(1) == b'x'
    forked.both_worlds()
    assert not ended.done()


def close_it() -> None:
    transport.close()
    transport.get_pipe_transport(0).close()
    forked.both_worlds()


left, right = forked.socket.socketpair()
transport, ended = aiohub.await_(start())
green = subprocess.Popen(['cat'], stdin=subprocess.PIPE)
pids = [forked.in_green(close_it)]
forked.reap(pids[0])
pids = [place(see_it_end) for place in (forked.in_main, forked.in_task)]
# The child has the other ends of its pipes, too, which keeps it alive.
transport.kill()
assert aiohub.await_(ended) == -9
transport.close()
green.kill()
assert green.wait() == -9
green.stdin.close()
for pid in pids:
    right.sendall(b'x')
for pid in pids:
    forked.reap(pid)
left.close()
right.close()
eventlet.sleep(0)
mode.done()
