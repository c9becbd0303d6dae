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

"""The service that is soaked: both worlds in one thread.

    python service.py --config-file FILE

It begins as services do: monkey patching, a hub that is in use already, and
then the configuration, with the toggle. It offers the operations at two HTTP
servers, ``eventlet.wsgi`` and aiohttp. Their addresses are the one line that
it prints. SIGTERM stops it.
"""

# flake8: noqa: E402

import warnings

warnings.filterwarnings('ignore', r'\s*Eventlet is deprecated')
# eventlet.wsgi leaves it to the collector to close the socket of a client
# that has hung up. This is one that close() was called of, but not of its
# files.
warnings.filterwarnings('ignore', r'unclosed <socket.socket \[closed\]')

import eventlet

eventlet.monkey_patch()

import asyncio
import faulthandler
import gc
import inspect
import json
import signal
import sys
import traceback
from typing import Any

from aiohttp import web
from eventlet import event
from eventlet import hubs
from eventlet import wsgi
import greenlet
from oslo_config import cfg
from oslo_log import log as logging

import aiohub
import bridge_operations  # noqa: F401
import census
import fork_operations  # noqa: F401
import green_operations  # noqa: F401
import operation
import rpc_operations
import task_operations  # noqa: F401
import thread_operations

CONF = cfg.CONF
LOG = logging.getLogger('soak')


def count(_: int) -> str:
    """Count what there is, without RPC.

    Its connections come and go with the broker, and each has a green thread
    and a timer for its heartbeats.
    """
    rpc_operations.rpc.stop()
    counts = census.take()
    rpc_operations.rpc.start(CONF)
    return json.dumps(counts)


operation.functions['count'] = count


def find(path: str) -> tuple[Any, int]:
    name, _, number = path.strip('/').partition('/')
    return operation.functions[name], int(number)


def answer_green(path: str) -> str:
    """Answer in a green thread."""
    function, number = find(path)
    if inspect.iscoroutinefunction(function):
        return str(aiohub.await_(function(number)))
    return str(function(number))


async def answer_task(path: str) -> str:
    """Answer in a task: what blocks is a green call, or crosses the bridge."""
    function, number = find(path)
    if inspect.iscoroutinefunction(function):
        return str(await function(number))
    if number % 2:
        return str(await aiohub.sync_to_async(function)(number))
    return str(function(number))


def describe(exc: BaseException) -> str:
    """Return the name of an error, as the clients know it, and the rest."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return '%s: %s\n%s' % (type(exc).__name__, exc, ''.join(
        traceback.format_tb(exc.__traceback__)))


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    try:
        status, body = '200 OK', answer_green(environ['PATH_INFO'])
    except Exception as exc:
        status, body = '500 Error', describe(exc)
    start_response(status, [('Content-Type', 'text/plain')])
    return [body.encode()]


async def handle(request: web.Request) -> web.Response:
    try:
        return web.Response(text=await answer_task(request.path))
    except Exception as exc:
        return web.Response(status=500, text=describe(exc))


async def start_asyncio() -> web.AppRunner:
    app = web.Application()
    app.router.add_get('/{name}/{number}', handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', 0, backlog=512).start()
    return runner


def print_stacks(*_: Any) -> None:
    """Print where everything waits; coroutines run in greenlets, too."""
    faulthandler.dump_traceback()
    for thing in gc.get_objects():
        if isinstance(thing, greenlet.greenlet) and thing.gr_frame:
            print(thing, file=sys.stderr)
            traceback.print_stack(thing.gr_frame)
        elif isinstance(thing, asyncio.Task) and not thing.done():
            thing.print_stack()


def serve() -> None:
    """Serve until SIGTERM."""
    stop = event.Event()
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(stop.send))
    signal.signal(signal.SIGQUIT, print_stacks)
    thread_operations.fill_pools()
    rpc_operations.rpc.start(CONF)
    runner = aiohub.await_(start_asyncio())
    listener = eventlet.listen(('127.0.0.1', 0), backlog=512)
    server = eventlet.spawn(
        wsgi.server, listener, wsgi_app, log=LOG, log_output=False)
    operation.doors['green'] = 'http://%s:%d' % listener.getsockname()
    operation.doors['asyncio'] = 'http://%s:%d' % runner.addresses[0]
    print(json.dumps([operation.doors, operation.weights]), flush=True)

    stop.wait()
    server.kill(SystemExit)
    server.wait()
    aiohub.await_(runner.cleanup())
    rpc_operations.rpc.stop()


def main(argv: list[str]) -> int:
    eventlet.spawn(eventlet.sleep, 0).wait()
    logging.register_options(CONF)
    CONF(argv, project='soak')
    logging.setup(CONF, 'soak')
    aiohub.setup(CONF)
    operation.check('hub', type(hubs.get_hub()).__module__, 'aiohub.hub')
    serve()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
