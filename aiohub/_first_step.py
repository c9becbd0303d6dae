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

"""The first step of a task that green code waits for, made at once.

A task asks its loop to call its first step in the next turn. Green code that
waits for a coroutine has nothing to do until then, and most coroutines that
it waits for have no reason to wait: so it takes that call for itself, and
has the hub make it before anything else.
"""

from typing import Any

import greenlet

#: For how many seconds green code may go on in this way, at most, until the
#: hub makes a turn: others would not run meanwhile.
MOMENT = 0.0005


class FirstStep:
    """The first step of a task, which the hub is to make.

    :param hub: The hub of this thread.
    :param kind: The class of the task.
    :param coroutine: What it is to run.
    :ivar task: The task.
    :ivar coroutine: What it runs.
    """

    __slots__ = ('task', 'coroutine', '_hub', '_call', '_context', '_green',
                 '_begun', '_made')

    _green: greenlet.greenlet | None

    def __init__(self, hub: Any, kind: Any, coroutine: Any) -> None:
        self._hub = hub
        self.coroutine = coroutine
        self._call: Any = None
        self._context: Any = None
        self._begun = self._made = False
        loop = hub.loop
        # What a task calls to be run; there is no other way to be told.
        loop.call_soon = self._call_soon
        try:
            self.task = kind(coroutine, loop=loop)
        finally:
            del loop.call_soon
        if getattr(self._call, '__self__', None) is not self.task:
            # That of another one: a signal handler has made it meanwhile.
            call, self._call = self._call, None
            if call is not None:
                loop.call_soon(call, context=self._context)

    def _call_soon(self, callback: Any, *args: Any, **kwargs: Any) -> Any:
        if self._call is None and hasattr(
                getattr(callback, '__self__', None), 'get_coro'):
            self._call = callback
            self._context = kwargs['context']
            return None
        # Of a signal handler, or of an object that happens to be collected.
        loop = self._hub.loop
        return type(loop).call_soon(loop, callback, *args, **kwargs)

    def make(self) -> None:
        """Have the hub make the step, and wait for that.

        Orders of events. The step comes to its end, or to where the task
        waits: the hub switches back, at once, or in its next turn. The step
        kills who waits here, or another one is killed in it, so that control
        comes back to the hub in the middle of it: what is thrown is raised
        here, and nobody switches to who has left. The step ends with what is
        for the main greenlet: that gets it, and who waits goes on in the
        next turn. Something is thrown into who waits before the step is made,
        as Ctrl-C does: the loop makes it, with the cancellation that comes.
        """
        if self._call is None:
            return
        hub = self._hub
        self._green = greenlet.getcurrent()
        hub.woken_parks.append(self)
        try:
            # A greenlet may be switched to by anybody.
            while not self._made:
                hub.switch()
        except BaseException:
            if not self._begun:
                self._begun = True
                hub.loop.call_soon(self._call, context=self._context)
            raise
        finally:
            # The hub is in step_now() until it gets control, and what the
            # task has ended with would be kept until then.
            self._green = self.task = self._call = self._context = None

    def step_now(self) -> None:
        """Make the step; the hub calls it."""
        if self._begun:
            return
        hub = self._hub
        self._begun = True
        try:
            self._context.run(self._call)
        except BaseException:
            hub.call_next(self._resume)
            raise
        if hub.clock() < hub.fired + MOMENT:
            self._resume()
        else:
            hub.call_next(self._resume)

    def _resume(self) -> None:
        self._made = True
        green = self._green
        if green is not None:
            green.switch()
