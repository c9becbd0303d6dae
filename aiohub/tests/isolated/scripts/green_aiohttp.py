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

"""aiohttp's server and client in green tasks that make green calls.

The handlers ask other servers greenly: one that is green, and the server that
they belong to.
"""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
import functools
import resource
from typing import Any
import urllib.request

import mode

import aiohttp
from aiohttp import web
import aiohub
import cases
import eventlet
from eventlet import event
from eventlet.green.urllib import request as green_request
from eventlet import hubs
from eventlet import wsgi
import green_calls

REQUESTS = 500

# Each request takes several descriptors.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (
    most if most != resource.RLIM_INFINITY else 65536, most))

_urlopen = (urllib.request.urlopen if mode.PATCHED
            else green_request.urlopen)
listener = eventlet.listen(('127.0.0.1', 0), backlog=2 * REQUESTS)
GREEN = 'http://127.0.0.1:%d/' % listener.getsockname()[1]


#: In how many seconds 50 requests have begun, on a busy machine too.
LATER = 1


def application(environ: Any, start_response: Any) -> list[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain')])
    eventlet.sleep(0.001)
    return [('green' + environ['PATH_INFO']).encode()]


eventlet.spawn(wsgi.server, listener, application, log_output=False,
               max_size=4 * REQUESTS)


def fetch_greenly(url: str) -> str:
    with _urlopen(url) as response:
        body: bytes = response.read()
    return body.decode()


@web.middleware
async def middleware(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    green_calls.call(1)
    response = await handler(request)
    green_calls.call(2)
    return response


class Server:
    """An aiohttp server, and what its handlers have seen."""

    url: str

    def __init__(self) -> None:
        #: Handlers that have begun, by name; and how they ended.
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.never = event.Event()

    async def plain(self, request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        return web.Response(text='plain/' + request.match_info['n'])

    async def ask(self, request: web.Request) -> web.Response:
        """Ask both servers greenly, and the other one with a client."""
        who = green_calls.Identity()
        n = request.match_info['n']
        green = fetch_greenly(GREEN + n)
        who.check()
        async with request.app[CLIENT].get(self.url + 'plain/' + n) as answer:
            who.call(1)
            text = await answer.text()
        who.check()
        own = fetch_greenly(self.url + 'plain/' + n)
        who.check()
        return web.Response(text=' '.join((green, text, own)))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        who = green_calls.Identity()
        response = web.StreamResponse()
        await response.prepare(request)
        for n in range(20):
            who.call(n)
            await response.write(b'%d\n' % n * 1000)
            who.check()
        await response.write_eof()
        return response

    async def upload(self, request: web.Request) -> web.Response:
        who = green_calls.Identity()
        size = 0
        async for chunk in request.content.iter_chunked(10000):
            size += len(chunk)
            if size % 3 == 0:
                who.call(1)
        who.call(2)
        return web.Response(text=str(size))

    async def websocket(self, request: web.Request) -> Any:
        who = green_calls.Identity()
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for message in answer:
            who.call(1)
            await answer.send_str(message.data.upper())
            who.check()
        return answer

    async def wait(self, request: web.Request) -> web.Response:
        """Wait for ever, in a green call or in an await."""
        kind = request.match_info['n']
        self.begun.append(kind)
        try:
            if kind == 'green':
                self.never.wait()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # The cleanup waits in both ways.
            green_calls.call(1)
            await asyncio.sleep(0)
            self.ended.append(kind)
            raise
        raise AssertionError('nobody wakes it')

    async def failing(self, request: web.Request) -> web.Response:
        green_calls.call(1)
        raise web.HTTPConflict(text='no')

    async def context(self, app: web.Application) -> AsyncIterator[None]:
        """Run before the server starts, and after it has stopped."""
        green_calls.call(1)
        async with aiohttp.ClientSession() as client:
            app[CLIENT] = client
            yield
            green_calls.call(2)


CLIENT: Any = web.AppKey('client', aiohttp.ClientSession)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application(
        middlewares=[middleware], client_max_size=1 << 26)
    for name in ('plain', 'ask', 'stream', 'websocket', 'wait', 'failing'):
        app.router.add_get('/%s/{n}' % name, getattr(server, name))
    app.router.add_post('/upload', server.upload)
    app.cleanup_ctx.append(server.context)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(
        runner, '127.0.0.1', 0, backlog=2 * REQUESTS).start()
    server.url = 'http://127.0.0.1:%d/' % runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def add(function: Callable[[Server, aiohttp.ClientSession], Any]) -> None:
    """Decorator: the coroutine function is a case, with a server."""

    async def whole() -> None:
        async with running() as server:
            async with aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0),
                    timeout=aiohttp.ClientTimeout(total=120)) as client:
                await function(server, client)
                assert not client.connector._acquired

    cases.add(function.__name__, lambda: aiohub.await_(whole()))


async def get(client: aiohttp.ClientSession, url: str) -> str:
    async with client.get(url) as response:
        assert response.status == 200, response.status
        return await response.text()


@add
async def many_requests(server: Server, client: Any) -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        text = await get(client, server.url + 'ask/%d' % n)
        who.check()
        assert text == 'green/%d plain/%d plain/%d' % (n, n, n), text

    await asyncio.gather(*(work(n) for n in range(REQUESTS)))


@add
async def green_clients(server: Server, client: Any) -> None:
    """Green threads ask, and green tasks with a green client."""

    async def work(n: int) -> None:
        who = green_calls.Identity()
        text = fetch_greenly(server.url + 'ask/%d' % n)
        who.check()
        assert text.startswith('green/%d ' % n), text

    greens = [eventlet.spawn(
        fetch_greenly, server.url + 'ask/%d' % n) for n in range(50)]
    await asyncio.gather(*(work(n) for n in range(50)))
    for n, green in enumerate(greens):
        assert green.wait().startswith('green/%d ' % n)


@add
async def streams(server: Server, client: Any) -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        got = b''
        async with client.get(server.url + 'stream/%d' % n) as response:
            async for chunk in response.content.iter_any():
                who.call(n)
                got += chunk
        assert got == b''.join(b'%d\n' % n * 1000 for n in range(20))

    await asyncio.gather(*(work(n) for n in range(30)))


@add
async def uploads(server: Server, client: Any) -> None:
    async def body(who: Any) -> AsyncIterator[bytes]:
        # In a task of the client's own: the identity is not its.
        for n in range(20):
            green_calls.call(n)
            yield b'x' * 5000

    async def work() -> None:
        who = green_calls.Identity()
        async with client.post(
                server.url + 'upload', data=body(who)) as response:
            who.call(1)
            assert await response.text() == '100000'

    await asyncio.gather(*(work() for _ in range(30)))


@add
async def websockets(server: Server, client: Any) -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        async with client.ws_connect(server.url + 'websocket/1') as ws:
            for word in ('one', 'two', 'three'):
                await ws.send_str(word)
                who.call(n)
                assert await ws.receive_str() == word.upper()
        who.check()

    await asyncio.gather(*(work(n) for n in range(50)))


@add
async def failures(server: Server, client: Any) -> None:
    async def work(n: int) -> None:
        async with client.get(server.url + 'failing/1') as response:
            green_calls.call(n)
            assert response.status == 409
            assert await response.text() == 'no'

    await asyncio.gather(*(work(n) for n in range(50)))


@add
async def clients_that_leave(server: Server, client: Any) -> None:
    """Each leaves in another way; the handlers are cancelled."""

    everybody_waits = asyncio.Event()

    async def by_timeout(url: str) -> None:
        with eventlet.Timeout(60) as ours:
            try:
                with eventlet.Timeout(60) as limit:
                    when_everybody_waits(
                        hubs.get_hub().schedule_call_global, 0, limit.timer)
                    await get(client, url)
            except eventlet.Timeout as error:
                assert error is limit and error is not ours

    async def by_asyncio_timeout(url: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                when_everybody_waits(limit.reschedule, 0)
                await get(client, url)

    async def by_timeout_of_the_client(url: str) -> None:
        # Nobody else can tell it when.
        timeout = aiohttp.ClientTimeout(total=LATER)
        with contextlib.suppress(TimeoutError):
            async with client.get(url, timeout=timeout):
                pass

    async def by_cancel(url: str) -> None:
        task = asyncio.create_task(get(client, url))
        await everybody_waits.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    async def by_kill(url: str) -> None:
        greens = []

        async def victim() -> None:
            greens.append(eventlet.getcurrent())
            await get(client, url)

        task = asyncio.create_task(victim())
        await everybody_waits.wait()
        eventlet.kill(greens.pop())
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    leaving: list[Callable[[], object]] = []

    def when_everybody_waits(*call: Any) -> None:
        leaving.append(functools.partial(*call))

    async def leave(count: int) -> None:
        # Greenly, in the task: the loop goes on.
        cases.until(lambda: len(server.begun) == count)
        everybody_waits.set()
        for call in leaving:
            call()

    ways = (by_timeout, by_asyncio_timeout, by_timeout_of_the_client,
            by_cancel, by_kill)
    kinds = ('green', 'async')
    count = len(ways) * len(kinds) * 5
    await asyncio.gather(leave(count), *(
        way(server.url + 'wait/' + kind)
        for way in ways for kind in kinds for _ in range(5)))
    assert len(server.begun) == count
    # Greenly, in the task: the loop goes on.
    cases.until(lambda: len(server.ended) == count)
    # The client works as before.
    texts = await asyncio.gather(*(
        get(client, server.url + 'plain/%d' % n) for n in range(50)))
    assert texts == ['plain/%d' % n for n in range(50)]


@add
async def few_connections(server: Server, client: Any) -> None:
    """Who waits for a connection gives up, and takes none with it."""
    async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=2)) as narrow:
        first = [asyncio.create_task(get(narrow, server.url + 'wait/green'))
                 for _ in range(2)]
        cases.until(lambda: len(server.begun) == 2)

        async def wait(n: int) -> None:
            with eventlet.Timeout(cases.SOON + n / 1000, False):
                await get(narrow, server.url + 'plain/1')
                raise AssertionError('there was a third connection')

        await asyncio.gather(*(wait(n) for n in range(50)))
        for task in first:
            task.cancel()
        await asyncio.gather(*first, return_exceptions=True)
        texts = await asyncio.gather(*(
            get(narrow, server.url + 'plain/%d' % n) for n in range(50)))
        assert texts == ['plain/%d' % n for n in range(50)]
        assert not narrow.connector._acquired


@add
async def traces(server: Server, client: Any) -> None:
    """Green calls in the hooks that the client awaits."""
    config = aiohttp.TraceConfig()
    seen = []

    async def hook(session: Any, context: Any, params: Any) -> None:
        green_calls.current_identity().call(1)
        seen.append(type(params).__name__)

    for signal in (config.on_request_start, config.on_request_end,
                   config.on_connection_create_start,
                   config.on_response_chunk_received):
        signal.append(hook)

    async def work(n: int) -> None:
        green_calls.Identity()
        text = await get(traced, server.url + 'plain/%d' % n)
        assert text == 'plain/%d' % n

    async with aiohttp.ClientSession(trace_configs=[config]) as traced:
        await asyncio.gather(*(work(n) for n in range(50)))
    assert seen.count('TraceRequestEndParams') == 50, seen


cases.run_all()
mode.done()
