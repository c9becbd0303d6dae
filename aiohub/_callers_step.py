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

"""The first step of a task, while who waits for the task makes it.

Only the greenlet of the loop makes steps; but in the first, who waits for a
task knows best that there is nothing else to do, and to switch to the hub and
back takes as long as the step. So it makes the step itself, and what comes to
the hub meanwhile is passed on.

Orders of events. The step comes to its end, or to where the task waits: who
makes it goes on. In the step a green thread is woken, killed or begun, and
that one waits or ends: control comes to the hub, with a task that is current
there, and before anything else the hub gives it back (it looks at
``woken_parks`` wherever it can get control), to who makes the step, which has
the task wait (``GreenCoroutine.send()``). If the task awaits that one, back to
the task (``_green_start``). Something is thrown into who makes the step: it is
raised there when the step is over, and the task there to be cancelled. A
green thread ends in the hub with what is for the main greenlet: that gets it
when the step is over. The handler of a signal, which may run anywhere in the
hub, kills or wakes who makes the step: then it is there that the hub gets
control. It looks after the poll, where it is most of the time, and before it
returns to the loop. Elsewhere one other green thread may run before it looks,
and see a task that is current; no more than see, as a green task that it wakes
makes its step later then.
"""

from typing import Any

import greenlet

from aiohub import _eventlet
from aiohub import _spare_greenlets
from aiohub import _thrown

# Not what TaskGreenlet makes of it.
_switch: Any = greenlet.greenlet.switch


class CallersStep:
    """That of a loop; there is one at a time.

    :ivar green: Who makes it; None if nobody does.
    :ivar back: Who goes on when the hub gets control. None if the hub is
        where it would do that.
    :ivar thrown: What was thrown into who makes it.
    :ivar spares: The greenlets for the loop's tasks. Those that were used in
        a step refer to who has made it, until the hub gets control.
    """

    __slots__ = ('green', 'back', 'thrown', 'spares')

    def __init__(self, spares: _spare_greenlets.Spare) -> None:
        self.green: greenlet.greenlet | None = None
        self.back: greenlet.greenlet | None = None
        self.thrown: BaseException | None = None
        self.spares = spares

    def step_now(self) -> None:
        """Give control back, if a step is being made; the hub calls it."""
        while self.green is not None:
            try:
                _switch(self.back)
            except BaseException as exc:
                hub = _eventlet.current_hub()
                _thrown.complain(hub, hub.loop, exc)
        if self.spares.nested:
            self.spares.release()

    def raise_thrown(self) -> None:
        """Raise what was thrown into who has made it, if anything was."""
        thrown, self.thrown = self.thrown, None
        try:
            if thrown is not None:
                raise thrown
        finally:
            del thrown  # its traceback refers to this frame
