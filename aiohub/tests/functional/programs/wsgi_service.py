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

"""An API service as OpenStack has them, for test_oslo_service.

Monkey patching first, then oslo.config, oslo.log, :func:`aiohub.setup`, a
socket that listens, and oslo.service, which forks the workers that serve it
with ``eventlet.wsgi``. One line on stdout tells the port.
"""

import sys
import warnings

# A service has to print nothing to stderr.
warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')
warnings.filterwarnings(
    'ignore', message='.*[Ee]ventlet', category=DeprecationWarning)

import eventlet  # noqa: E402

eventlet.monkey_patch()

import asyncio  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import pathlib  # noqa: E402
import time  # noqa: E402
from urllib import parse  # noqa: E402

import aiohub  # noqa: E402
from eventlet import hubs  # noqa: E402
from eventlet import wsgi  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_log import log as logging  # noqa: E402
from oslo_service import backend  # noqa: E402
from oslo_service import service  # noqa: E402

CONF = cfg.CONF
LOG = logging.getLogger('wsgi_service')

OPTS = [
    cfg.IntOpt('workers', default=4),
    cfg.StrOpt('restart_method', default='reload'),
    cfg.StrOpt('greeting', default='hello', mutable=True),
    cfg.BoolOpt('setup_at_reset', default=False),
]

#: Long enough to fill the buffers of a connection.
REST = 'x' * 1_000_000


# Handlers are green code. Each returns what goes into the answer.

def green(query):
    """Wait, and read from a socket that another green thread writes to."""
    time.sleep(0.005)
    left, right = eventlet.green.socket.socketpair()
    with left, right:
        eventlet.spawn_n(right.sendall, query['id'].encode())
        return left.recv(100).decode()


def asynchronous(query):
    """Wait for a coroutine, which has a native thread do a part of it."""
    return aiohub.await_(echo(query['id']))


def mixed(query):
    """Wait for a coroutine that waits for green code in its turn."""
    return aiohub.await_(echo_greenly(query))


async def echo(text):
    async with asyncio.timeout(60):
        await asyncio.sleep(0.005)
        return await asyncio.to_thread(str, text)


async def echo_greenly(query):
    time.sleep(0.001)  # a green call: each task is in a greenlet of its own
    answers = await asyncio.gather(
        echo(query['id']), aiohub.sync_to_async(green)(query))
    assert answers[0] == answers[1], answers
    return answers[0]


def info(query):
    """Tell what this process runs on."""
    return {
        'hub': type(hubs.get_hub()).__module__,
        'loop': type(aiohub.get_loop()).__module__,
        'on': aiohub.enabled(),
        'greeting': CONF.api.greeting,
    }


HANDLERS = {'/green': green, '/async': asynchronous, '/mixed': mixed,
            '/info': info}


# And two that answer when a file appears: the test opens the gate.

def held_greenly(gate):
    while not gate.exists():
        time.sleep(0.01)


def held_asynchronously(gate):
    async def wait():
        while not gate.exists():
            await asyncio.sleep(0.01)

    aiohub.await_(wait())


HELD = {'/held-green': held_greenly, '/held-async': held_asynchronously}


def application(environ, start_response):
    path = environ['PATH_INFO']
    query = dict(parse.parse_qsl(environ.get('QUERY_STRING', '')))
    start_response('200 OK', [('Content-Type', 'application/json')])
    if path in HELD:
        # Nothing is kept back: the client knows that it is being served.
        environ['eventlet.minimum_write_chunk_size'] = 0
        return hold(HELD[path], pathlib.Path(query['gate']))
    answer = HANDLERS[path](query)
    return [json.dumps({'pid': os.getpid(), 'answer': answer}).encode()]


def hold(wait, gate):
    yield b'%d\n' % os.getpid()
    wait(gate)
    yield REST.encode()


class Pool(eventlet.GreenPool):
    """Has ``wsgi.server()`` keep new connections when it stops.

    It would close all whose request it has not read yet, on every hub: a
    request could be lost that had just been sent.
    """

    def spawn(self, function, connection):
        assert connection[2] == wsgi.STATE_IDLE
        connection[2] = 'new'
        return super().spawn(function, connection)


class Protocol(wsgi.HttpProtocol):
    """Closes a connection also when the client has gone.

    What cannot be sent has closing ``wfile`` fail, and ``rfile`` would keep
    the socket open until it is collected, on every hub.
    """

    def finish(self):
        try:
            super().finish()
        finally:
            self.rfile.close()


class Api(service.Service):
    def __init__(self, listener):
        super().__init__()
        self.listener = listener
        self.pool = Pool(1000)
        self.server = None

    def start(self):
        super().start()
        # wsgi.server() closes the socket that it is given.
        self.server = eventlet.spawn(
            wsgi.server, self.listener.dup(), self.serve, log=LOG,
            custom_pool=self.pool, protocol=Protocol, debug=False)
        LOG.info('Serving')

    def serve(self, environ, start_response):
        def start(status, headers):
            if self.server is None:
                # What is answered last says that it is.
                headers.append(('Connection', 'close'))
            return start_response(status, headers)

        return application(environ, start)

    def stop(self, graceful=False):
        # The launcher calls this in the parent, too, where nothing serves.
        server, self.server = self.server, None
        if server is not None:
            LOG.info('Serving what has begun')
            server.kill()
        super().stop(graceful)

    def wait(self):
        super().wait()
        self.pool.waitall()

    def reset(self):
        LOG.info('Reset')
        if CONF.api.setup_at_reset:
            aiohub.setup(CONF)


def main(argv):
    logging.register_options(CONF)
    CONF.register_opts(OPTS, group='api')
    CONF(argv, project='wsgi_service')
    logging.setup(CONF, 'wsgi_service')
    aiohub.setup(CONF)
    backend.init_backend(backend.BackendType.EVENTLET)
    listener = eventlet.listen(('127.0.0.1', 0), backlog=512)
    launcher = service.launch(
        CONF, Api(listener), workers=CONF.api.workers,
        restart_method=CONF.api.restart_method)
    print(listener.getsockname()[1], flush=True)
    return launcher.wait()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
