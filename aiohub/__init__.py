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

"""Run eventlet and asyncio in one thread, and switch that on and off.

Importing this package patches nothing and starts nothing.
"""

from aiohub._green_loop import get_loop
from aiohub.bridge import await_
from aiohub.bridge import future_to_greenlet
from aiohub.bridge import greenlet_to_future
from aiohub.bridge import spawn_for_awaitable
from aiohub.exceptions import AiohubError
from aiohub.exceptions import HubClosedError
from aiohub.exceptions import SetupError
from aiohub import from_thread
from aiohub.toggle import enabled
from aiohub.toggle import setup
from aiohub.wrappers import async_to_sync
from aiohub.wrappers import sync_to_async
from aiohub.wrappers import wrap_async_context_manager
from aiohub.wrappers import wrap_async_iterator
from aiohub.wrappers import wrap_sync_context_manager
from aiohub.wrappers import wrap_sync_iterator

__all__ = (
    'AiohubError',
    'HubClosedError',
    'SetupError',
    'async_to_sync',
    'await_',
    'enabled',
    'from_thread',
    'future_to_greenlet',
    'get_loop',
    'greenlet_to_future',
    'setup',
    'spawn_for_awaitable',
    'sync_to_async',
    'wrap_async_context_manager',
    'wrap_async_iterator',
    'wrap_sync_context_manager',
    'wrap_sync_iterator',
)
