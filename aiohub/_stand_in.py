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

"""What anybody may ask of the coroutine of a green task.

``Task.get_coro()``, ``repr()`` and ``print_stack()`` of a green task see the
object that makes its steps. It answers as the coroutine does, but for where
that is: in a green call, that is the frame that has made the call.
"""

from collections.abc import Coroutine
from collections.abc import Generator
from typing import Any

import greenlet

from aiohub import _park


class StandIn(Coroutine[Any, Any, Any]):
    """Stands for a coroutine of Python's own type.

    Each thing that it is asked for is named here. With ``__getattr__()``
    CPython 3.11 looks up *every* attribute the slow way, its own too, which
    took 8,600 of the 590,000 instructions of a request to aiohttp; and later
    ones look up ``send`` in that way, which is 3,300 to 5,400.
    """

    __slots__ = ('_coro', 'park', '__name__', '__qualname__')

    _coro: Any
    park: _park.Park | None

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited: Generator[Any, Any, Any] = self._coro.__await__()
        return awaited

    def __repr__(self) -> str:
        return repr(self._coro)

    def close(self) -> None:
        """End a coroutine that waits; see :pep:`492`."""
        self._coro.close()

    @property
    def cr_await(self) -> Any:
        """What the coroutine awaits."""
        return self._coro.cr_await

    @property
    def cr_code(self) -> Any:
        """The code of :attr:`cr_frame`, when it has ended, too."""
        if self.park is not None:
            return _frame_of_caller(self.park.greenlet).f_code
        coro = self._coro
        return getattr(coro, 'cr_code', None) or getattr(coro, 'gi_code', None)

    @property
    def cr_frame(self) -> Any:
        """The frame where the coroutine is: in a green call, the caller's."""
        if self.park is not None:
            return _frame_of_caller(self.park.greenlet)
        coro = self._coro
        return (getattr(coro, 'cr_frame', None)
                or getattr(coro, 'gi_frame', None))

    @property
    def cr_origin(self) -> Any:
        """Where it was made; see ``sys.set_coroutine_origin_tracking_depth``.
        """
        return self._coro.cr_origin

    @property
    def cr_running(self) -> Any:
        """Whether it runs; in a green call it does."""
        return self._coro.cr_running

    @property
    def cr_suspended(self) -> Any:
        """Whether it awaits something."""
        return self._coro.cr_suspended


def _frame_of_caller(green: greenlet.greenlet) -> Any:
    """Return the innermost frame of a greenlet that is a program's own.

    It waits in functions of eventlet and of ours, which say nothing new.
    """
    frame = innermost = green.gr_frame
    while frame is not None:
        name = frame.f_globals.get('__name__') or ''
        if name.partition('.')[0] not in ('aiohub', 'eventlet'):
            return frame
        frame = frame.f_back
    return innermost
