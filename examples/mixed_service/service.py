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
code as they always were, some are coroutines already. What lets both run in
one thread is the call of ``aiohub.setup()`` in :func:`main`.
"""

# flake8: noqa: E402

import eventlet

# Before anything else is imported, as in every service on eventlet.
eventlet.monkey_patch()

import asyncio
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Iterable
from collections.abc import Sequence
import inspect
import json
import pathlib
import signal
import socket
import sys
from typing import Any
from typing import TypeVar
from wsgiref import types as wsgi_types

import aiohttp
from aiohttp import web
import aiosqlite
import eventlet.asyncio
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

T = TypeVar('T')
Handler = Callable[[int], Any]


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Wait for a coroutine in green code.

    Only the calling green thread waits; the loop and the others go on.
    """
    result: T = eventlet.asyncio.spawn_for_awaitable(coroutine).wait()
    return result


class Api:
    """The WSGI application: ``GET /<handler>/<number>``."""

    def __init__(self, upstream: str, with_asyncio: bool) -> None:
        self.data_dir = pathlib.Path(CONF.api.data_dir)
        self.upstream = upstream
        self.with_asyncio = with_asyncio
        # Its sockets are green, because the standard library is patched.
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount(
            'http://', requests.adapters.HTTPAdapter(pool_maxsize=100))
        self.handlers: dict[str, Handler] = {
            'green-file': self.green_file,
            'green-upstream': self.green_upstream,
            'asyncio-upstream': self.asyncio_upstream,
            'asyncio-database': self.asyncio_database,
            'mixed': self.mixed,
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

    def green_file(self, number: int) -> bytes | None:
        path = self.data_dir / 'files' / f'{number}.json'
        return path.read_bytes() if path.exists() else None

    def green_upstream(self, number: int) -> bytes | None:
        response = self.session.get(
            f'{self.upstream}/{number}', timeout=30)
        if response.status_code == 404:
            return None
        response.raise_for_status()
        return response.content

    # Ported code: coroutines, and the libraries of asyncio.

    async def asyncio_upstream(self, number: int) -> bytes | None:
        async with self.client.get(f'{self.upstream}/{number}') as response:
            if response.status == 404:
                return None
            response.raise_for_status()
            return await response.read()

    async def asyncio_database(self, number: int) -> bytes | None:
        rows = await self.database.execute_fetchall(
            'SELECT id, name, note FROM items WHERE id = ?', (number,))
        for row in rows:
            return json.dumps(dict(zip(('id', 'name', 'note'), row))).encode()
        return None

    # In the middle of a port, coroutines still need green code. A green
    # thread can be awaited as a task can.

    async def mixed(self, number: int) -> bytes | None:
        parts: tuple[Any, ...] = await asyncio.gather(
            self.asyncio_upstream(number),
            self.asyncio_database(number),
            eventlet.spawn(self.green_upstream, number))
        return None if None in parts else b'[%s]' % b', '.join(parts)

    def answer(self, path: str) -> tuple[str, bytes]:
        name, _, number = path.strip('/').partition('/')
        handler = self.handlers.get(name)
        if handler is None or not number.isdecimal():
            return '404 Not Found', b'{"error": "no such path"}'
        if not inspect.iscoroutinefunction(handler):
            body = handler(int(number))
        elif self.with_asyncio:
            body = wait(handler(int(number)))
        else:
            return '501 Not Implemented', json.dumps({
                'error': f'{name} is asyncio code: it needs enabled = true in '
                         'section [aiohub] of service.conf'}).encode()
        if body is None:
            return '404 Not Found', b'{"error": "no such number"}'
        return '200 OK', body

    def __call__(self, environ: wsgi_types.WSGIEnvironment,
                 start_response: wsgi_types.StartResponse) -> Iterable[bytes]:
        status, body = self.answer(environ['PATH_INFO'])
        start_response(status, [('Content-Type', 'application/json')])
        return [body]


# The second server, which the handlers call. It is an asyncio program and
# runs in the same thread as the API. With the toggle off there is no loop to
# run it, and a green server takes its place.

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


def start_green_upstream(records: dict[str, Any]) -> Any:
    def get(environ: wsgi_types.WSGIEnvironment,
            start_response: wsgi_types.StartResponse) -> Iterable[bytes]:
        record = records.get(environ['PATH_INFO'].strip('/'))
        start_response('200 OK' if record else '404 Not Found',
                       [('Content-Type', 'application/json')])
        return [json.dumps(record).encode()]

    listener = eventlet.listen(('127.0.0.1', 0))
    eventlet.spawn(wsgi.server, listener, get, log_output=False)
    return listener


def main(argv: Sequence[str]) -> int:
    log.register_options(CONF)
    CONF.register_opts(OPTS, group='api')
    CONF(argv, project='mixed_service')
    log.setup(CONF, 'mixed_service')

    # From here on, coroutines run between the green threads, if service.conf
    # says so. It has to be done in the main greenlet, before serving.
    with_asyncio = aiohub.setup(CONF)

    # A signal handler must not block, so it only wakes the end of main().
    wakeup, waker = socket.socketpair()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *args: waker.send(b'.'))

    records = json.loads(
        (pathlib.Path(CONF.api.data_dir) / 'records.json').read_text())
    if with_asyncio:
        runner = wait(start_upstream(records))
        host, port = runner.addresses[0]
    else:
        host, port = start_green_upstream(records).getsockname()
    upstream = f'http://{host}:{port}'
    api = Api(upstream, with_asyncio)
    if with_asyncio:
        wait(api.open())
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
    if with_asyncio:
        wait(api.close())
        wait(runner.cleanup())
    LOG.info('Stopped')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
