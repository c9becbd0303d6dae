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

"""An oslo.context that keeps the request in a variable of another name.

It goes on as it did: the request belongs to the thread, which after patching
is the green thread or the task.
"""

import asyncio
import importlib.util
import sys

import mode

import aiohub

spec = importlib.util.find_spec('oslo_context.context')
source = spec.loader.get_source(spec.name)
assert '_request_store' in source
context = importlib.util.module_from_spec(spec)
exec(compile(source.replace('_request_store', '_another_store'),
             spec.origin, 'exec'), vars(context))
sys.modules[spec.name] = sys.modules['oslo_context'].context = context
kept = context._another_store


async def serve(name):
    request = context.RequestContext(request_id='req-' + name)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return context.get_current() is request


async def serve_two():
    return await asyncio.gather(serve('one'), serve('two'))


assert aiohub.await_(serve_two()) == [mode.PATCHED, True]
assert context._another_store is kept
mode.done()
