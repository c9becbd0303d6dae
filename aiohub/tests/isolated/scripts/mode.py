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

"""Brings a script to its hub, as the mode it runs in says."""

from collections.abc import Callable
import os
import signal
import sys
import warnings

MODE = os.environ['AIOHUB_TEST_MODE']
PATCHED = MODE.endswith('-patched')
HUB = MODE.partition('-')[0]
ON = HUB in ('env', 'setup')

# What eventlet's own asyncio hub cannot do after patching: several native
# threads of its loop at once. It makes them native and leaves the locks of
# their futures green, which two threads cannot wait for ("Cannot switch to a
# different thread", and who waits hangs). One at a time seldom meets that.
MANY_NATIVE_THREADS = MODE != 'asyncio-patched'

# A shell that starts the tests in the background lets them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Scripts have to print nothing to stderr.
warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')
warnings.filterwarnings(
    'ignore', message='.*[Ee]ventlet', category=DeprecationWarning)

import eventlet  # noqa: E402
from eventlet import patcher  # noqa: E402

if PATCHED:
    eventlet.monkey_patch()

native = patcher.original('threading')
native_time = patcher.original('time')


def set_up() -> None:
    """What a service does in its entry point."""
    import aiohub
    from aiohub import opts
    from oslo_config import cfg

    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    conf([])
    conf.set_override('enabled', True, 'aiohub')
    assert aiohub.setup(conf) is True


if MODE.startswith('setup') and not MODE.startswith('setup-later'):
    eventlet.sleep(0)
    from eventlet import hubs

    assert hubs.get_hub().running
    set_up()


def _sleeps_in_epoll(thread: int) -> bool:
    with open('/proc/self/task/%d/syscall' % thread) as file:
        call = file.read().split()
    try:
        # The first argument of the system call that it sleeps in.
        name = os.readlink('/proc/self/fd/%d' % int(call[1], 16))
    except (IndexError, OSError):
        return False  # it is running, or waits for something else
    return name == 'anon_inode:[eventpoll]'


def when_polling(function: Callable[[], object]) -> None:
    """Have a native thread call *function* when this one is in its poll."""
    thread = native.get_native_id()

    def wait_and_call() -> None:
        while not _sleeps_in_epoll(thread):
            native_time.sleep(0.001)
        function()

    native.Thread(target=wait_and_call).start()


def may_be_slow() -> None:
    """Have asyncio not say what took long, in debug mode: the machine is busy.
    """
    import logging

    logging.getLogger('asyncio').addFilter(
        lambda record: not record.getMessage().startswith('Executing '))


def check_hub() -> None:
    """Make sure that the script ran on the hub that the mode means."""
    from eventlet import hubs

    name = type(hubs.get_hub()).__module__
    expected = 'aiohub.hub' if ON else 'eventlet.hubs.' + HUB
    assert name == expected, name


def done() -> None:
    check_hub()
    print('pass')
    sys.stdout.flush()
