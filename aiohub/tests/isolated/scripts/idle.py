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

"""An idle hub; test_scripts looks at its process from outside."""

import asyncio
import sys

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import event

stop = event.Event()
left, right = eventlet.green.socket.socketpair()


async def wait() -> None:
    reader, writer = await asyncio.open_connection(
        '127.0.0.1', port)
    await reader.read()
    writer.close()


async def start() -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda r, w: None, '127.0.0.1', 0)
    return server, server.sockets[0].getsockname()[1]


# Everything waits for something that does not come.
server, port = eventlet_asyncio.spawn_for_awaitable(start()).wait()
eventlet_asyncio.spawn_for_awaitable(wait())
reader = eventlet.spawn(left.recv, 1)
eventlet.spawn(eventlet.Semaphore(0).acquire)
eventlet.spawn_after(3600, int)
# What it read before is done with: its registration stays disarmed.
right.sendall(b'x')
assert reader.wait() == b'x'
stdin = eventlet.greenio.GreenPipe(sys.stdin.buffer, 'rb')
print('idle', flush=True)
stdin.read(1)
mode.done()
