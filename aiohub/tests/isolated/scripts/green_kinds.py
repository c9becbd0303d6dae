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

"""A class of tasks, and one of coroutines, that are not asyncio's or Python's.

Used by scripts.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import aiohub

# asyncio.Task before that makes tasks that are not green.
aiohub.get_loop()


class OwnTask(asyncio.Task):
    """A library's own class."""

    def __init__(self, coro: Any, **kwargs: Any) -> None:
        super().__init__(coro, **kwargs)
        self.own = True


class Compiled:
    """What Cython makes of a coroutine: no type that Python knows.

    It has frames only while it runs, and no ``cr_`` attributes.
    """

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self.coro = coro
        self.__name__ = self.__qualname__ = 'compiled'

    def send(self, value: Any) -> Any:
        return self.coro.send(value)

    def throw(self, *args: Any) -> Any:
        return self.coro.throw(*args)

    def close(self) -> None:
        self.coro.close()

    def __await__(self) -> Any:
        return self.coro.__await__()
