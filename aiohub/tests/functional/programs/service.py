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

"""How the programs begin: as a service does.

It patches, makes green threads, reads its configuration file, and then calls
:func:`aiohub.setup`. Its arguments are the file, and a name for what it has on
a server that other programs use.
"""

import sys
import warnings

# Programs have to print nothing to stderr.
warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')
warnings.filterwarnings(
    'ignore', message='.*[Ee]ventlet', category=DeprecationWarning)

import eventlet  # noqa: E402

eventlet.monkey_patch()

import os  # noqa: E402
import time  # noqa: E402

import aiohub  # noqa: E402
from eventlet import greenio  # noqa: E402
from eventlet import hubs  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_log import log as logging  # noqa: E402

CONF = cfg.CONF
LOG = logging.getLogger('programs')
FILE, TOPIC = sys.argv[1:]
ON = os.environ['AIOHUB_TEST_MODE'] != 'epolls-patched'


def begin() -> None:
    """Do what a service does in its entry point."""
    eventlet.sleep(0)
    assert hubs.get_hub().running
    logging.register_options(CONF)
    CONF(['--config-file', FILE])
    logging.setup(CONF, TOPIC)
    assert aiohub.setup(CONF) is ON
    check_hub()


def check_hub() -> None:
    """Make sure that this process is on the hub that it should be on."""
    name = type(hubs.get_hub()).__module__
    assert name == ('aiohub.hub' if ON else 'eventlet.hubs.epolls'), name


def until(condition):
    """Let others run until something has come true."""
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up, 'it never comes true'
        eventlet.sleep(0.01)


def end_of(pid):
    """Wait, as green code, for a child; return its status."""
    ended = []
    until(
        lambda: ended.append(os.waitpid(pid, os.WNOHANG)) or ended[-1][0])
    return ended[-1][1]


def descriptors():
    return len(os.listdir('/proc/self/fd'))


_stdin = []


def tell(line):
    """Tell the test something."""
    print(line, flush=True)


def hear():
    """Wait, as green code, for a line from the test."""
    if not _stdin:
        _stdin.append(greenio.GreenPipe(os.dup(0), 'r'))
    return _stdin[0].readline().rstrip('\n')


def done():
    for pipe in _stdin:
        pipe.close()
    check_hub()
    tell('pass')
