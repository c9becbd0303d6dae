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
"""A hub that cannot get what it needs: an error, and nothing is left."""

from collections.abc import Iterator
import contextlib
import gc
import os
import resource
import sys
import warnings

import mode

from aiohub import _eventlet
from aiohub import _native
import eventlet
from eventlet import hubs


@contextlib.contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """Let this process open *number* descriptors and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(number):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


# What asyncio says of a loop that did not get its self-pipe.
warnings.simplefilter('ignore', ResourceWarning)
sys.unraisablehook = lambda args: None


def count() -> int:
    gc.collect()
    return len(os.listdir('/proc/self/fd'))


# What comes first, and takes a descriptor, too: it imports modules.
_native.unpatch_asyncio()
if mode.MODE.startswith('env'):
    # A new hub: the poll object needs one, the self-pipe two.
    for number in range(3):
        hubs.use_hub('aiohub.hub')
        before = count()
        with descriptors_left(number):
            try:
                eventlet.sleep(0)
            except OSError as exc:
                assert exc.filename is None, exc  # not a module's
            else:
                raise AssertionError('a hub without descriptors')
            # The next get_hub() has to try again.
            assert _eventlet.current_hub() is None
        assert count() == before
        eventlet.sleep(0.001)
        assert eventlet.spawn(int, 5).wait() == 5
else:
    # setup(): the hub, and what waits in it, stay. Import it all before, to
    # get as far as making the loop.
    from aiohub import _handover  # noqa: F401
    from aiohub import opts  # noqa: F401
    from oslo_config import cfg  # noqa: F401
    from oslo_log import log  # noqa: F401

    sleeper = eventlet.spawn_after(0.02, int, 5)
    eventlet.sleep(0)
    old = hubs.get_hub()
    state = (type(old), old.greenlet, old.get_timers_count())
    for number in range(3):
        before = count()
        with descriptors_left(number):
            try:
                mode.set_up()
            except OSError as exc:
                assert exc.filename is None, exc  # not a module's
            else:
                raise AssertionError('set up without descriptors')
            assert _eventlet.current_hub() is old
        assert hubs.get_hub() is old
        assert (type(old), old.greenlet, old.get_timers_count()) == state
        assert count() == before
    with eventlet.Timeout(60):
        assert sleeper.wait() == 5
    mode.set_up()
    assert eventlet.spawn(int, 5).wait() == 5
mode.done()
