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

"""asyncio's debug mode shows the line where something was made."""

import asyncio
import sys

import mode

import aiohub

loop = aiohub.get_loop()


async def nothing() -> None:
    pass


def is_shown(made: object) -> bool:
    """Whether it was made in the line of the caller."""
    line = sys._getframe(1).f_lineno
    return ('created at %s:%d' % (__file__, line)) in repr(made)


async def check() -> None:
    loop.set_debug(True)
    try:
        assert is_shown(loop.call_soon(int))
        assert is_shown(loop.call_soon_threadsafe(int))
        assert is_shown(loop.call_at(0, int))
        assert is_shown(loop.call_later(0, int))
        assert is_shown(first := loop.create_task(nothing()))
        assert is_shown(second := asyncio.Task(nothing(), loop=loop))
        await asyncio.gather(first, second)
        if sys.version_info >= (3, 12):
            # It has ended, and shows where it was made.
            assert is_shown(asyncio.Task(
                nothing(), loop=loop, eager_start=True))
    finally:
        loop.set_debug(False)
    assert 'created at' not in repr(loop.call_soon(int))


aiohub.await_(check())
mode.done()
