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

"""Requests of aiohttp's client to aiohttp's server, in one loop."""

import asyncio

import bare_greenlets
import comparing

REQUESTS = 20
TOGETHER = 10


@comparing.row('aiohttp requests', 'asyncio', 'asyncio', REQUESTS * TOGETHER)
async def requests(loops):
    import aiohttp
    from aiohttp import web

    async def hello(request):
        return web.Response(text='Hello\n')

    application = web.Application()
    application.router.add_get('/', hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    host, port = runner.addresses[0]
    url = 'http://%s:%d/' % (host, port)

    async def work(session):
        for _ in range(loops * REQUESTS):
            async with session.get(url) as response:
                assert await response.text() == 'Hello\n'

    async with aiohttp.ClientSession() as session:
        start = comparing.clock()
        await asyncio.gather(*(work(session) for _ in range(TOGETHER)))
        took = comparing.clock() - start
    await runner.cleanup()
    return took


@comparing.row('aiohttp requests', 'asyncio in greenlets')
async def requests_in_greenlets(loops):
    bare_greenlets.use()
    return await asyncio.create_task(requests(loops))


if __name__ == '__main__':
    comparing.main()
