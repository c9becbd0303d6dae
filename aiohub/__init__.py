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

from aiohub.exceptions import AiohubError
from aiohub.exceptions import HubClosedError
from aiohub.exceptions import SetupError
from aiohub.toggle import enabled
from aiohub.toggle import setup

__all__ = (
    'AiohubError',
    'HubClosedError',
    'SetupError',
    'enabled',
    'setup',
)
