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

"""Green threads that are used again.

Used by scripts. What holds for one that was used before holds for one that
was made anew, too, and on other hubs.
"""

import cases
import mode

import eventlet
from eventlet import hubs


def spares():
    """Return those that wait."""
    return hubs.get_hub().loop.state.spare_threads.greens if mode.ON else []


def make(function, *args, **kwargs):
    """Return a green thread that has not begun."""
    before = len(spares())
    green = eventlet.spawn(function, *args, **kwargs)
    assert len(spares()) == (before - 1 if before else 0)
    return green


def run(function, *args):
    """Run a function in a green thread that nobody keeps."""
    eventlet.spawn(function, *args)
    cases.turns()


def with_both(function):
    """Decorator: a case in which green threads are new, or used before."""
    def with_new():
        spares().clear()
        function()

    def with_used():
        spares().clear()
        # The second time it is one that may be used again.
        run(int)
        run(int)
        assert not mode.ON or len(spares()) == 1
        function()

    cases.add(function.__name__ + ', new', with_new)
    cases.add(function.__name__ + ', used', with_used)
