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

"""What fails in a green thread that a task awaits, and to whom that goes.

One that begins at once has no link that keeps the hub from printing what it
raises: the hub is told whom the task awaits.
"""

from typing import Any
from unittest import mock

import cases
import first_steps
import mode

import eventlet
from eventlet import greenthread
from eventlet import hubs
import greenlet

import aiohub
from aiohub import tasks


def fail(name: str) -> None:
    raise first_steps.Failure(name)


async def failure(green: Any) -> str:
    try:
        await green
    except first_steps.Failure as exc:
        return str(exc)
    raise AssertionError('nothing was raised')


def green_or_not(function: Any) -> None:
    """Decorator: a case for a green task and one for one that is not."""
    def run(green: bool) -> None:
        with mock.patch.object(tasks, 'enabled', green):
            aiohub.await_(function())

    for green in (True, False):
        cases.add('%s%s' % (
            function.__name__, '' if green else ', not green'), run, green)


async def waiting(function: Any) -> Any:
    """Return a green thread that waits until somebody switches to it."""
    green = eventlet.spawn(function)
    while not green:
        await aiohub.sync_to_async(eventlet.sleep)(0)
    return green


@green_or_not
async def it_fails_at_once() -> None:
    for _ in range(2):
        assert await failure(eventlet.spawn(fail, 'at once')) == 'at once'
        assert not first_steps.printed()


@green_or_not
async def another_fails_meanwhile() -> None:
    """That one is nobody's: it is printed."""
    other = await waiting(hubs.get_hub().switch)

    def have_it_fail() -> None:
        hubs.get_hub().schedule_call_global(
            0, greenlet.getcurrent().switch)
        other.throw(first_steps.Failure('other'))
        fail('awaited')

    assert await failure(eventlet.spawn(have_it_fail)) == 'awaited'
    text = first_steps.printed()
    assert 'Failure: other' in text, text
    assert 'Failure: awaited' not in text, text


@green_or_not
async def it_ends_in_another() -> None:
    """What it raises is for who awaits it, and not for its parent."""
    hub: Any = hubs.get_hub()
    seen: list[Any] = []

    def parent() -> None:
        try:
            seen.append(hub.switch())
        except BaseException as exc:
            seen.append(exc)

    waits = await waiting(parent)
    green = greenthread.GreenThread(waits)
    hub.schedule_call_global(0, green.switch, fail, ('its own',), {})
    assert await failure(green) == 'its own'
    while not waits.dead:
        await aiohub.sync_to_async(eventlet.sleep)(0)
    assert len(seen) == 1, seen
    assert not isinstance(seen[0], first_steps.Failure), seen


cases.run_all()
mode.done()
