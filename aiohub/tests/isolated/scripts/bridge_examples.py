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

"""The two examples of the README, against servers of both kinds."""

import asyncio
import urllib.request

import mode
import rows

import aiohttp
from aiohttp import web
import aiohub
import eventlet
from eventlet.green.urllib import request as green_request
from eventlet import wsgi

urlopen = urllib.request.urlopen if mode.PATCHED else green_request.urlopen


@rows.row
def examples_of_readme():
    async def get_url_body(url):
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                return await response.text()

    def eventlet_code(url):
        return aiohub.future_to_greenlet(get_url_body(url)).wait()

    def green_get_url_body(url):
        return urlopen(url).read()

    async def asyncio_code(url):
        return await aiohub.greenlet_to_future(
            eventlet.spawn(green_get_url_body, url))

    def application(environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/plain')])
        eventlet.sleep(0)
        return [b'green server']

    async def hello(request):
        await asyncio.sleep(0)
        return web.Response(text='asyncio server')

    async def serve():
        app = web.Application()
        app.router.add_get('/', hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, '127.0.0.1', 0).start()
        return runner

    listener = eventlet.listen(('127.0.0.1', 0))
    green_server = eventlet.spawn(
        wsgi.server, listener, application, log_output=False)
    runner = aiohub.await_(serve())
    green_url = 'http://127.0.0.1:%d/' % listener.getsockname()[1]
    async_url = 'http://127.0.0.1:%d/' % runner.addresses[0][1]
    for _ in range(5):
        assert eventlet_code(green_url) == 'green server'
        assert eventlet_code(async_url) == 'asyncio server'
        assert aiohub.await_(asyncio_code(green_url)) == b'green server'
        assert aiohub.await_(asyncio_code(async_url)) == b'asyncio server'
    aiohub.await_(runner.cleanup())
    green_server.kill()


rows.run_all()
mode.done()
