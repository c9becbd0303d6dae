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

"""Tells whether anybody has been in a greenlet before; used by scripts."""

import asyncio
import contextvars
import sys
import threading

import mode

import eventlet
from eventlet import corolocal

if mode.PATCHED:
    import _thread
else:
    from eventlet.green import thread as _thread
    from eventlet.green import threading

variable = contextvars.ContextVar('variable', default=None)
locals_ = (threading.local(), corolocal.local(), _thread._local())


async def run(function, *args):
    return await asyncio.create_task(function(*args))


async def wait_both_ways():
    await asyncio.sleep(0)
    eventlet.sleep(0)
    await asyncio.sleep(0)


def check_clean():
    """Nobody has been here before this task."""
    for local in locals_:
        assert not vars(local), vars(local)
        assert not hasattr(local, 'value')
    assert not vars(eventlet.getcurrent())
    assert variable.get() is None
    assert sys.exc_info() == (None, None, None)


async def be_clean():
    check_clean()
    await wait_both_ways()
    check_clean()
