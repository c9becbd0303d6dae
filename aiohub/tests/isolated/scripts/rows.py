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

"""Runs what a script shows, one row after the other.

Used by scripts. A row is a function that runs in the main greenlet and in a
green thread. After it no task may be pending, and nothing logged.
"""

import asyncio
from collections.abc import Callable
import gc
import logging
import warnings

import mode

import aiohub
import eventlet

complaints: list[object] = []
_rows: list[Callable[[], None]] = []


class Complaints(logging.Handler):
    """What asyncio logs: exceptions never retrieved, tasks destroyed."""

    def emit(self, record: logging.LogRecord) -> None:
        complaints.append(record.getMessage())


logging.getLogger('asyncio').addHandler(Complaints())
logging.getLogger('aiohub').addHandler(Complaints())


class Failure(Exception):
    pass


async def give(value, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def fail(exc=None):
    await asyncio.sleep(0)
    raise exc or Failure('async')


def green_give(value, turns=1):
    for _ in range(turns):
        eventlet.sleep(0)
    return value


def green_fail(exc=None):
    eventlet.sleep(0)
    raise exc or Failure('green')


def raises(kind, call, *args, **kwargs):
    """Call; return the exception of that kind that comes out."""
    try:
        result = call(*args, **kwargs)
    except kind as exc:
        return exc
    raise AssertionError('returned %r instead of raising' % (result,))


def row(function: Callable[[], None]) -> Callable[[], None]:
    """Decorator: the function is a row."""
    _rows.append(function)
    return function


def _run(function: Callable[[], None]) -> None:
    with eventlet.Timeout(60):
        function()
        eventlet.spawn(function).wait()
    gc.collect()
    assert not complaints, complaints
    pending = asyncio.all_tasks(aiohub.get_loop())
    if mode.HUB == 'asyncio':
        # That hub is a task itself.
        pending = {task for task in pending
                   if task.get_coro().__name__ != 'async_run'}
    assert not pending, pending


def run_all() -> None:
    """Run all rows."""
    loop = aiohub.get_loop()
    warnings.simplefilter('error', RuntimeWarning)
    for function in _rows:
        try:
            _run(function)
            assert aiohub.get_loop() is loop
        except BaseException:
            print('in', function.__name__)
            raise
