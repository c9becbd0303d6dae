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

"""A service that is half ported: green code and asyncio code in one thread.

It is an OpenStack service in small: monkey patching first, then oslo.config,
oslo.log and a WSGI API on ``eventlet.wsgi``. Some of its handlers are green
code as they always were, some are coroutines already. Where one side needs
the other, it says so with a function of aiohub. On which hub all that runs is
the operator's choice, which ``aiohub.setup()`` in :func:`main` carries out.
"""

# flake8: noqa: E402

import eventlet

# Before anything else is imported, as in every service on eventlet.
eventlet.monkey_patch()

import asyncio
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import json
import pathlib
import signal
import socket
import sys
from typing import Any
from wsgiref import types as wsgi_types

import aiohttp
from aiohttp import web
import aiosqlite
from eventlet import hubs
from eventlet import patcher
from eventlet import wsgi
from oslo_config import cfg
from oslo_log import log
import requests

import aiohub

CONF = cfg.CONF
LOG = log.getLogger('mixed_service')

OPTS = [
    cfg.IPOpt('host', version=4, default='127.0.0.1',
              help='Address that the API listens on.'),
    cfg.PortOpt('port', default=0,
                help='Port of the API; 0 takes one that is free.'),
    cfg.StrOpt('data_dir', required=True,
               help='Folder of the files, the records and the database.'),
]

# aiosqlite runs sqlite3, which blocks, in a thread of its own. Monkey patching
# has made that a green thread, and a query would hold up everything else in
# the process. So it gets a native thread, and a queue that native threads can
# wait for.
setattr(aiosqlite.core, 'Thread', patcher.original('threading').Thread)
setattr(aiosqlite.core, 'SimpleQueue', patcher.original('queue').SimpleQueue)

Handler = Callable[[int], bytes]


class NotFound(Exception):
    """There is nothing with this number."""


class Api:
    """The WSGI application: ``GET /<handler>/<number>``."""

    def __init__(self, upstream: str) -> None:
        self.data_dir = pathlib.Path(CONF.api.data_dir)
        self.upstream = upstream
        # Its sockets are green, because the standard library is patched.
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount(
            'http://', requests.adapters.HTTPAdapter(pool_maxsize=100))
        # eventlet.wsgi calls them in green threads. One that waits for a
        # coroutine blocks its green thread only.
        self.handlers: dict[str, Handler] = {
            'green-file': self.green_file,
            'green-upstream': self.green_upstream,
            'asyncio-upstream': aiohub.async_to_sync(self.asyncio_upstream),
            'asyncio-database': aiohub.async_to_sync(self.asyncio_database),
            'mixed': aiohub.async_to_sync(self.mixed),
        }

    async def open(self) -> None:
        """Open what the coroutines share: it belongs to the running loop."""
        self.client = aiohttp.ClientSession()
        path = (self.data_dir / 'items.sqlite').absolute()
        self.database = await aiosqlite.connect(
            f'{path.as_uri()}?mode=ro', uri=True)

    async def close(self) -> None:
        await self.database.close()
        await self.client.close()

    # Green code, not ported yet. It blocks, and meanwhile eventlet runs other
    # green threads.

    def green_file(self, number: int) -> bytes:
        path = self.data_dir / 'files' / f'{number}.json'
        if not path.exists():
            raise NotFound
        return path.read_bytes()

    def green_upstream(self, number: int) -> bytes:
        response = self.session.get(
            f'{self.upstream}/{number}', timeout=30)
        if response.status_code == 404:
            raise NotFound
        response.raise_for_status()
        return response.content

    # Ported code: coroutines, and the libraries of asyncio.

    async def asyncio_upstream(self, number: int) -> bytes:
        async with self.client.get(f'{self.upstream}/{number}') as response:
            if response.status == 404:
                raise NotFound
            response.raise_for_status()
            return await response.read()

    async def asyncio_database(self, number: int) -> bytes:
        rows = await self.database.execute_fetchall(
            'SELECT id, name, note FROM items WHERE id = ?', (number,))
        for row in rows:
            return json.dumps(dict(zip(('id', 'name', 'note'), row))).encode()
        raise NotFound

    # In the middle of a port, coroutines still need green code. It runs in a
    # green thread of its own, and the coroutine awaits that.

    async def mixed(self, number: int) -> bytes:
        green_upstream = aiohub.sync_to_async(self.green_upstream)
        parts = await asyncio.gather(
            self.asyncio_upstream(number),
            self.asyncio_database(number),
            green_upstream(number))
        return b'[%s]' % b', '.join(parts)

    def answer(self, path: str) -> tuple[str, bytes]:
        name, _, number = path.strip('/').partition('/')
        handler = self.handlers.get(name)
        if handler is None or not number.isdecimal():
            return '404 Not Found', b'{"error": "no such path"}'
        try:
            return '200 OK', handler(int(number))
        except NotFound:
            # From green code or from a coroutine: it is the same exception.
            return '404 Not Found', b'{"error": "no such number"}'

    def __call__(self, environ: wsgi_types.WSGIEnvironment,
                 start_response: wsgi_types.StartResponse) -> Iterable[bytes]:
        status, body = self.answer(environ['PATH_INFO'])
        start_response(status, [('Content-Type', 'application/json')])
        return [body]


# The second server, which the handlers call. It is asyncio code only, and runs
# in the same thread as the API.

async def start_upstream(records: dict[str, Any]) -> web.AppRunner:
    async def get(request: web.Request) -> web.Response:
        number = request.match_info['number']
        if number not in records:
            raise web.HTTPNotFound
        return web.json_response(records[number])

    app = web.Application()
    app.router.add_get('/{number}', get)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', 0).start()
    return runner


def main(argv: Sequence[str]) -> int:
    log.register_options(CONF)
    CONF.register_opts(OPTS, group='api')
    CONF(argv, project='mixed_service')
    log.setup(CONF, 'mixed_service')

    # With the toggle on, this puts the process on aiohub's hub, whose event
    # loop runs coroutines. With the toggle off, a loop runs them in a green
    # thread of the hub that the process has. Nothing below has to know.
    aiohub.setup(CONF)

    # A signal handler must not block, so it only wakes the end of main().
    wakeup, waker = socket.socketpair()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *args: waker.send(b'.'))

    records = json.loads(
        (pathlib.Path(CONF.api.data_dir) / 'records.json').read_text())
    runner = aiohub.await_(start_upstream(records))
    host, port = runner.addresses[0]
    upstream = f'http://{host}:{port}'
    api = Api(upstream)
    aiohub.await_(api.open())
    listener = eventlet.listen((CONF.api.host, CONF.api.port), backlog=512)
    server = eventlet.spawn(wsgi.server, listener, api, log=LOG, debug=False)

    # One line on stdout tells who started the service that it is ready.
    host, port = listener.getsockname()
    print(json.dumps({
        'api': f'http://{host}:{port}',
        'upstream': upstream,
        'hub': type(hubs.get_hub()).__module__,
    }), flush=True)

    wakeup.recv(1)
    LOG.info('Stopping')
    # wsgi.server takes SystemExit as the order to accept no more connections,
    # close the idle ones and return when the others have had their answer.
    server.kill(SystemExit)
    with eventlet.Timeout(10, False):
        server.wait()
    aiohub.await_(api.close())
    aiohub.await_(runner.cleanup())
    LOG.info('Stopped')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
