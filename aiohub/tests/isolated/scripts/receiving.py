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

"""What a loop receives does not make the kernel map memory each time.

Counted are page faults. ``control`` counts those of a program on asyncio's own
loop, which shows that they can be seen here.
"""

import asyncio
import resource
import sys

PIECES = 200


async def _echo(reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def faults() -> int:
    """Send and receive PIECES twice; return the page faults of it."""
    server = await asyncio.start_server(_echo, '127.0.0.1', 0)
    host, port = server.sockets[0].getsockname()[:2]
    reader, writer = await asyncio.open_connection(host, port)

    async def exchange() -> None:
        for _ in range(PIECES):
            writer.write(b'hello')
            assert await reader.read(100) == b'hello'

    await exchange()  # whatever is needed the first time
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    await exchange()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    writer.write_eof()
    assert await reader.read() == b''  # the other end is closed
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return after - before


if sys.argv[1:] == ['control']:
    found = asyncio.run(faults())
    assert found >= 2 * PIECES, found
    print('pass')
    sys.exit()

import mode  # noqa: E402

import aiohub  # noqa: E402
from eventlet import hubs  # noqa: E402

found = aiohub.await_(faults())
assert found < PIECES, found

# And in other threads, whose memory malloc() takes from elsewhere.
in_thread: list[int] = []


def wait_in_thread() -> None:
    hubs.get_hub()
    in_thread.append(aiohub.await_(faults()))


thread = mode.native.Thread(target=wait_in_thread)
thread.start()
thread.join()
assert in_thread[0] < PIECES, in_thread
mode.done()
