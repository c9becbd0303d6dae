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

"""What is needed to have the hub get control in the first step of a task.

Used by scripts.
"""

from collections.abc import Callable
import io
import sys
from typing import Any
from unittest import mock

import cases

import eventlet
from eventlet import hubs
import greenlet

import aiohub
from aiohub import _first_step

# As long as a case takes: the machine may be busy.
long_moment = mock.patch.object(_first_step, 'MOMENT', 3600)


class Failure(Exception):
    pass


async def answer() -> str:
    return 'answer'


def by_who_waits(function: Callable[[], None]) -> None:
    """Decorator: a case in which there is a greenlet for the task."""
    def run() -> None:
        with long_moment:
            aiohub.await_(answer())
            function()

    cases.add(function.__name__, run)


def waiting(function: Callable[..., Any], *args: Any) -> Any:
    """Return a green thread that waits until somebody switches to it."""
    green = eventlet.spawn(function, *args)
    cases.until(lambda: bool(green))
    return green


def wait() -> Any:
    return hubs.get_hub().switch()


def printed() -> str:
    """Return what was printed, and forget it."""
    assert isinstance(sys.stderr, io.StringIO)
    text = sys.stderr.getvalue()
    sys.stderr.seek(0)
    sys.stderr.truncate()
    return text


def leave_to(other: Any, *error: Any) -> None:
    """Go on when *other* has ended or waits, as ``eventlet.kill()`` does."""
    hubs.get_hub().schedule_call_global(0, greenlet.getcurrent().switch)
    if error:
        other.throw(*error)
    else:
        other.switch()
