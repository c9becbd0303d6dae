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

"""The least that it costs to run each task in a greenlet of its own.

On asyncio's own loop, without aiohub: each step of a task switches to a
greenlet and back, and nothing else. A green call would not work here, nor
does any of what green tasks promise; nobody can be faster who runs the steps
of a task in a greenlet.
"""

import asyncio
from collections.abc import Coroutine

import greenlet

#: What asyncio calls to make a task.
_Task = asyncio.Task


class _Steps:
    """What a greenlet and who switches to it share."""

    __slots__ = ('green', 'switch', 'stepper', 'back', 'outcome', 'error')

    def __init__(self):
        self.outcome = self.error = self.stepper = None
        self.green = greenlet.greenlet(self._run)
        self.switch = self.green.switch
        self.come_back_to(greenlet.getcurrent())
        self.switch()

    def come_back_to(self, stepper):
        self.stepper = self.green.parent = stepper
        self.back = stepper.switch

    def _run(self):
        while True:
            function, argument = self.back()
            try:
                self.outcome = function(argument)
            except BaseException as exc:
                self.error = exc
            function = argument = None


#: Those of tasks that have ended.
_spare = []


class _InGreenlet(Coroutine):
    """A coroutine whose steps are made in a greenlet."""

    __slots__ = ('_coro', '_send', '_steps')

    def __init__(self, coro):
        self._coro = coro
        self._send = coro.send
        self._steps = None

    def send(self, value):
        steps = self._steps
        if steps is None:
            steps = self._steps = _spare.pop() if _spare else _Steps()
        stepper = greenlet.getcurrent()
        if steps.stepper is not stepper:
            steps.come_back_to(stepper)
        steps.switch(self._send, value)
        if steps.error is None:
            return steps.outcome
        self._steps = None
        _spare.append(steps)
        try:
            raise steps.error
        finally:
            steps.error = None

    def throw(self, *args):
        return self._coro.throw(*args)

    def close(self):
        self._coro.close()

    def __await__(self):
        return self._coro.__await__()


class _MakesThem(type):
    def __call__(cls, coro, *args, **kwargs):
        return _Task(_InGreenlet(coro), *args, **kwargs)

    def __instancecheck__(cls, instance):
        return isinstance(instance, _Task)


class _TaskInGreenlet(_Task, metaclass=_MakesThem):
    """Takes the place of ``asyncio.Task``; aiohttp makes tasks with it."""


def use():
    """Have all tasks that are made from now on run in greenlets."""
    asyncio.Task = asyncio.tasks.Task = _TaskInGreenlet
