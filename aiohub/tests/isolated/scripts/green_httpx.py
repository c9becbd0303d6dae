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

"""httpx, on anyio, in green tasks with green calls in them.

httpx has a pool of connections with locks and events of anyio, and closes
what was cut off in shielded scopes.
"""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
from typing import Any

import mode

from aiohttp import web
import aiohub
import anyio
import cases
import eventlet
from eventlet import event
from eventlet import wsgi
import green_calls
import httpx

REQUESTS = 200
#: How many connections a client may have.
MOST = 10

listener = eventlet.listen(('127.0.0.1', 0), backlog=500)
GREEN = 'http://127.0.0.1:%d/' % listener.getsockname()[1]


def application(environ: Any, start_response: Any) -> list[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain')])
    eventlet.sleep(0.001)
    return [('green' + environ['PATH_INFO']).encode()]


eventlet.spawn(wsgi.server, listener, application, log_output=False)


class Server:
    """A server that can be asked to wait for ever."""

    url: str

    def __init__(self) -> None:
        self.waiting = 0

    async def plain(self, request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        green_calls.call(1)
        return web.Response(text='async/' + request.match_info['n'])

    async def wait(self, request: web.Request) -> web.Response:
        self.waiting += 1
        event.Event().wait()
        raise AssertionError('nobody wakes it')

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for n in range(20):
            await response.write(b'%d\n' % n * 1000)
            await asyncio.sleep(0)
        return response


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    for name in ('plain', 'wait', 'stream'):
        app.router.add_get('/%s/{n}' % name, getattr(server, name))
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', 0, backlog=500).start()
    server.url = 'http://127.0.0.1:%d/' % runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def new_client(**options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        limits=httpx.Limits(max_connections=MOST), timeout=120,
        trust_env=False, **options)


async def check_pool(server: Server, client: httpx.AsyncClient) -> None:
    """As many requests as there may be connections can be made at once."""
    async def hold(n: int) -> None:
        async with client.stream('GET', server.url + 'stream/1') as response:
            gate.reached += 1
            cases.until(lambda: gate.reached == MOST)
            await response.aread()

    gate = cases.Gate()
    await asyncio.wait_for(
        asyncio.gather(*(hold(n) for n in range(MOST))), 60)


def add(
    function: Callable[[Server, httpx.AsyncClient], Awaitable[None]],
) -> None:
    """Decorator: the coroutine function is a case, with a server."""

    async def whole() -> None:
        async with running() as server, new_client() as client:
            await function(server, client)
            await check_pool(server, client)

    cases.add(function.__name__, lambda: aiohub.await_(whole()))


async def gather(function: Callable[[int], Awaitable[Any]],
                 count: int = REQUESTS) -> list[Any]:
    return await asyncio.gather(*(function(n) for n in range(count)))


@add
async def requests(server: Server, client: httpx.AsyncClient) -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        response = await client.get(server.url + 'plain/%d' % n)
        who.call(n)
        assert response.text == 'async/%d' % n
        response = await client.get(GREEN + '%d' % n)
        who.check()
        assert response.text == 'green/%d' % n

    await gather(work)


@add
async def hooks(server: Server, client: httpx.AsyncClient) -> None:
    seen = []

    async def hook(message: object) -> None:
        green_calls.current_identity().call(1)
        seen.append(type(message).__name__)

    async def work(n: int) -> None:
        green_calls.Identity()
        response = await hooked.get(server.url + 'plain/%d' % n)
        assert response.text == 'async/%d' % n

    async with new_client(event_hooks={
            'request': [hook], 'response': [hook]}) as hooked:
        await gather(work, 50)
    assert seen.count('Request') == seen.count('Response') == 50


@add
async def streams(server: Server, client: httpx.AsyncClient) -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        got = b''
        async with client.stream(
                'GET', server.url + 'stream/%d' % n) as response:
            async for chunk in response.aiter_bytes():
                who.call(n)
                got += chunk
        assert got == b''.join(b'%d\n' % n * 1000 for n in range(20))
        # Left early, in the middle.
        async with client.stream(
                'GET', server.url + 'stream/%d' % n) as response:
            async for _ in response.aiter_bytes():
                who.call(n)
                break

    await gather(work, 30)


@add
async def asgi(server: Server, client: httpx.AsyncClient) -> None:
    """The application runs in the task of who asks it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        who = green_calls.current_identity()
        message = await receive()
        assert message['type'] == 'http.request'
        who.call(1)
        # Of another client, which is asked greenly.
        text = aiohub.await_(client.get(GREEN + 'x')).text
        await send({'type': 'http.response.start', 'status': 200,
                    'headers': []})
        who.call(2)
        await send({'type': 'http.response.body', 'body': text.encode()})

    async def work(n: int) -> None:
        who = green_calls.Identity()
        response = await inner.get('http://application/')
        who.check()
        assert response.text == 'green/x'

    async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app)) as inner:
        await gather(work, 50)


@add
async def sync_client(server: Server, client: httpx.AsyncClient) -> None:
    """httpx's blocking client is green after patching."""
    if not mode.PATCHED:
        return  # it would block the thread, server included

    async def work(n: int) -> None:
        who = green_calls.Identity()
        response = blocking.get(server.url + 'plain/%d' % n)
        who.check()
        assert response.text == 'async/%d' % n
        await asyncio.sleep(0)

    with httpx.Client(
            trust_env=False, timeout=120,
            limits=httpx.Limits(max_connections=MOST)) as blocking:
        await gather(work, 50)


@add
async def given_up(server: Server, client: httpx.AsyncClient) -> None:
    """While it waits for the answer, and for a connection."""
    url = server.url + 'wait/1'
    # Not more at once than there are connections: those that are given up
    # between two requests that are both cancelled are lost to httpcore
    # (https://github.com/encode/httpcore/issues/1093).
    await _give_up(client, url, MOST // 4)
    response = await client.get(server.url + 'plain/1')
    assert response.text == 'async/1'
    server.waiting = 0
    holding = [asyncio.create_task(client.get(url)) for _ in range(MOST)]
    cases.until(lambda: server.waiting == MOST)
    await _give_up(client, url, 10)
    assert server.waiting == MOST
    for task in holding:
        task.cancel()
    await asyncio.wait(holding)


async def _give_up(client: httpx.AsyncClient, url: str, count: int) -> None:

    async def by_timeout() -> None:
        with eventlet.Timeout(60) as ours:
            try:
                with eventlet.Timeout(cases.SOON):
                    await client.get(url)
            except eventlet.Timeout as error:
                assert error is not ours

    async def by_scope() -> None:
        with anyio.move_on_after(cases.SOON) as scope:
            await client.get(url)
        assert scope.cancelled_caught

    async def by_httpx() -> None:
        try:
            await client.get(url, timeout=cases.SOON)
        except httpx.TimeoutException:
            return
        raise AssertionError('it was answered')

    async def by_kill() -> None:
        greens = []

        async def victim() -> None:
            greens.append(eventlet.getcurrent())
            await client.get(url)

        task = asyncio.create_task(victim())
        eventlet.sleep(cases.SOON)
        eventlet.kill(greens.pop())
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    async def work(way: Callable[[], Awaitable[None]]) -> None:
        who = green_calls.Identity()
        await way()
        who.call(1)

    ways = (by_timeout, by_scope, by_httpx, by_kill)
    await asyncio.gather(*(work(way) for way in ways for _ in range(count)))


class Stop(BaseException):
    pass


@add
async def cut_off_at_each_turn(
    server: Server, client: httpx.AsyncClient,
) -> None:
    async def work(own: httpx.AsyncClient, started: event.Event,
                   url: str) -> None:
        started.send(eventlet.getcurrent())
        green_calls.by_event(1)
        response = await own.get(url)
        green_calls.by_event(1)
        assert response.status_code == 200

    async def cut(n: int, url: str, stop: bool) -> bool:
        # Of two connections, one may be lost: see above.
        async with httpx.AsyncClient(
                limits=httpx.Limits(max_connections=2), timeout=120,
                verify=False, trust_env=False) as own:
            started = event.Event()
            task = asyncio.create_task(work(own, started, url))
            green = started.wait()
            for _ in range(n):
                await asyncio.sleep(0)
            done = task.done()
            if stop and not done:
                eventlet.kill(green, Stop())
            else:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Stop):
                await task
            response = await own.get(url)
            assert response.status_code == 200
        return done

    for stop in (False, True):
        # The green server waits before it answers.
        for url in (server.url + 'plain/1', GREEN):
            done = n = 0
            while done < 10:
                done += await cut(n, url, stop)
                n += 1


cases.run_all()
mode.done()
