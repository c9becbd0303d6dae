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


"""Which hub eventlet chooses when nobody says which."""

import os
import re
from typing import Any

import eventlet
from eventlet import hubs

from aiohub import _eventlet
from aiohub import exceptions

#: The first eventlet that makes a hub in two steps, as ours has to be made.
MINIMUM_EVENTLET = (0, 41, 0)

HUB_MODULE = 'aiohub.hub'


def named() -> str | None:
    """Return what ``EVENTLET_HUB`` names; None if it is not set."""
    return os.environ.get('EVENTLET_HUB')


def names_ours(name: str) -> bool:
    return name.strip().partition(':')[0] == HUB_MODULE


def is_ours(hub_class: Any) -> bool:
    return bool(getattr(hub_class, '__module__', None) == HUB_MODULE)


def check_eventlet() -> None:
    """Raise ``SetupError`` if this eventlet cannot be driven by aiohub."""
    version = tuple(map(int, re.findall(r'\d+', eventlet.__version__)[:3]))
    if version < MINIMUM_EVENTLET:
        raise exceptions.SetupError(
            'eventlet %s is too old for aiohub, which needs %s or later. '
            'Upgrade eventlet, or set [aiohub] enabled = false.'
            % (eventlet.__version__, '.'.join(map(str, MINIMUM_EVENTLET))))


def is_set_up() -> bool:
    """Return whether it is aiohub's."""
    return bool(hubs.builtin_hub_modules[0].__name__ == HUB_MODULE)


def stick() -> None:
    """Let it be aiohub's, in this process and its forked children.

    ``get_default_hub()`` takes the first of these modules that is available;
    that is what ``use_hub()`` without a name and the first hub of a thread
    come to. Setting ``EVENTLET_HUB`` would also reach the programs that this
    process starts, which may have no aiohub.
    """
    from aiohub import hub

    if not is_set_up():
        hubs.builtin_hub_modules = (hub, *hubs.builtin_hub_modules)


def let_go() -> None:
    """Let it be eventlet's own choice again."""
    if is_set_up():
        hubs.builtin_hub_modules = hubs.builtin_hub_modules[1:]


def describe() -> str:
    """Say which hub and loop this thread is on."""
    hub = _eventlet.current_hub()
    if hub is None:
        hub = hubs.get_hub()
    loop = getattr(hub, 'loop', None)
    if loop is None:
        return 'eventlet hub %s, no asyncio event loop' % (
            type(hub).__module__)
    return 'eventlet hub %s, asyncio event loop %s.%s' % (
        type(hub).__module__, type(loop).__module__, type(loop).__name__)
