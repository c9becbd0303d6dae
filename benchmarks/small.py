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

"""Programs on asyncio that are started by themselves, with nothing set.

The other subjects have ``malloc()`` keep large blocks, for every candidate
(``comparing.MALLOC``), since what a process has imported decides otherwise
whether it does. These programs import asyncio, or aiohttp, and no more.
"""

import asyncio
import os
import subprocess
import sys

import comparing

# A program's main() returns the CPU time in seconds of so many loops.
START = '''
import asyncio
import sys
import time
'''
STREAMS = START + '''
async def main(loops):
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    began = time.process_time()
    for _ in range(loops * %(count)d):
        writer.write(b'a line of text\\n')
        await reader.readline()
    took = time.process_time() - began
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return took
'''
AIOHTTP = START + '''
import aiohttp
from aiohttp import web

async def main(loops):
    async def hello(request):
        return web.Response(text='Hello')

    application = web.Application()
    application.router.add_get('/', hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', 0).start()
    url = 'http://%%s:%%d/' %% runner.addresses[0]

    async def work(session):
        for _ in range(loops * %(count)d // 10):
            async with session.get(url) as response:
                assert await response.text() == 'Hello'

    async with aiohttp.ClientSession() as session:
        began = time.process_time()
        await asyncio.gather(*(work(session) for _ in range(10)))
        took = time.process_time() - began
    await runner.cleanup()
    return took
'''
ON_ASYNCIO = '''
print(asyncio.run(main(int(sys.argv[1]))))
'''
ON_UVLOOP = '''
import uvloop

print(uvloop.run(main(int(sys.argv[1]))))
'''
ON_AIOHUB = '''
import warnings

warnings.simplefilter('ignore')
import aiohub
from aiohub import tasks

tasks.enabled = %r
print(aiohub.await_(main(int(sys.argv[1]))))
'''
COUNT = 100


def _run(program, loops):
    env = {name: value for name, value in os.environ.items()
           if name not in comparing.MALLOC}
    return float(subprocess.run(
        [sys.executable, '-c', program, str(loops)], env=env, check=True,
        stdout=subprocess.PIPE).stdout)


def _rows(name, program):
    program %= {'count': COUNT}

    @comparing.row(name, 'asyncio', 'asyncio', COUNT)
    async def on_asyncio(loops):
        # Of this loop there is only what it is called.
        name = type(asyncio.get_running_loop()).__module__
        return _run(program + (
            ON_UVLOOP if name.startswith('uvloop') else ON_ASYNCIO), loops)

    @comparing.row(name, 'aiohub')
    def on_aiohub(loops):
        from aiohub import tasks

        return _run(program + ON_AIOHUB % tasks.enabled, loops)


_rows('streams, a program of its own', STREAMS)
_rows('aiohttp, a program of its own', AIOHTTP)

if __name__ == '__main__':
    comparing.main()
