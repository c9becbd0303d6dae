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

"""The errors of aiohub; each message ends with what to do about it."""


class AiohubError(Exception):
    """aiohub was asked for something that it cannot do here.

    The message says what was wrong and what to write instead. Nothing has
    been changed when it is raised.
    """


class SetupError(AiohubError):
    """:func:`aiohub.setup` cannot put this process on the aiohub hub."""


class HubClosedError(AiohubError):
    """The hub was closed, or cannot be closed from where it was tried."""
