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

"""aiohttp's server and client, with green clients and servers beside them."""

import asyncio
import io
import ssl
import urllib.request

import mode

import aiohttp
from aiohttp import web
import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet.green.urllib import request as green_request
from eventlet import wsgi
import trustme

urlopen = urllib.request.urlopen if mode.PATCHED else green_request.urlopen

listener = eventlet.listen(('127.0.0.1', 0))
GREEN = 'http://127.0.0.1:%d/' % listener.getsockname()[1]


def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    eventlet.sleep(0.001)
    return [('green' + environ['PATH_INFO']).encode()]


server = eventlet.spawn(
    wsgi.server, listener, application, log_output=False)


async def hello(request: web.Request) -> web.Response:
    await asyncio.sleep(0.001)
    return web.Response(text='async' + request.path)


async def upload(request: web.Request) -> web.Response:
    return web.Response(body=(await request.read())[::-1])


async def websocket(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in answer:
        await answer.send_str(message.data.upper())
    return answer


async def fetch(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        assert response.status == 200
        return await response.text()


async def main() -> None:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_get('/ws', websocket)
    app.router.add_post('/upload', upload)
    app.router.add_get('/{name}', hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    url = 'http://127.0.0.1:%d/' % runner.addresses[0][1]

    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost').configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    tls = web.TCPSite(runner, '127.0.0.1', 0, ssl_context=server_side)
    await tls.start()
    tls_url = 'https://localhost:%d/' % runner.addresses[1][1]

    # Green clients of the asyncio server.
    greens = [
        eventlet.spawn(lambda n=n: urlopen(url + str(n)).read())
        for n in range(20)]
    async with aiohttp.ClientSession() as session:
        # asyncio clients of both servers.
        answers = await asyncio.gather(
            *(fetch(session, url + str(n)) for n in range(50)),
            *(fetch(session, GREEN + str(n)) for n in range(50)))
        assert answers == [
            *('async/%d' % n for n in range(50)),
            *('green/%d' % n for n in range(50))], answers
        # By name and by TLS: a look-up in the loop's executor.
        async with session.get(tls_url + 'tls', ssl=client_side) as response:
            assert await response.text() == 'async/tls'
        body = bytes(range(256)) * 40000
        upload_url = url + 'upload'
        async with session.post(
                upload_url, data=io.BytesIO(body)) as response:
            assert await response.read() == body[::-1]
        async with session.ws_connect(url + 'ws') as ws:
            for word in ('one', 'two'):
                await ws.send_str(word)
                assert await ws.receive_str() == word.upper()
    for n, green in enumerate(greens):
        assert await green == b'async/%d' % n
    await runner.cleanup()


eventlet_asyncio.spawn_for_awaitable(main()).wait()
server.kill()
mode.done()
