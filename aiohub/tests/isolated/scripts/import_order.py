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

"""Import aiohub, asyncio, aiohttp, and patch, in the order of the arguments.

Then green and asyncio code work in one thread.
"""

import sys
import threading
import warnings

warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')


def monkey_patch() -> None:
    import eventlet

    eventlet.monkey_patch()


def import_aiohub() -> None:
    patched = threading.Lock
    before = threading.active_count()
    import aiohub

    # It patches nothing and starts nothing.
    assert aiohub.setup
    assert threading.Lock is patched
    assert threading.active_count() == before
    from aiohub import _eventlet

    if 'monkey_patch' not in sys.argv[1:sys.argv.index('aiohub')]:
        assert _eventlet.current_hub() is None


STEPS = {
    'aiohub': import_aiohub,
    'asyncio': lambda: __import__('asyncio'),
    'aiohttp': lambda: __import__('aiohttp'),
    'monkey_patch': monkey_patch,
}
for step in sys.argv[1:]:
    STEPS[step]()

import mode  # noqa: E402

import asyncio  # noqa: E402
import urllib.request  # noqa: E402

import aiohttp  # noqa: E402
from aiohttp import web  # noqa: E402
import eventlet  # noqa: E402
from eventlet import asyncio as eventlet_asyncio  # noqa: E402

assert eventlet.patcher.is_monkey_patched('socket')


async def hello(request: web.Request) -> web.Response:
    return web.Response(text='hello ' + await asyncio.to_thread(str, 1))


async def main() -> None:
    app = web.Application()
    app.router.add_get('/', hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, 'localhost', 0).start()
    url = 'http://localhost:%d/' % runner.addresses[0][1]
    green = eventlet.spawn(lambda: urllib.request.urlopen(url).read())
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert await response.text() == 'hello 1'
    assert await green == b'hello 1'
    await runner.cleanup()


with eventlet.Timeout(60):
    eventlet_asyncio.spawn_for_awaitable(main()).wait()
mode.done()
