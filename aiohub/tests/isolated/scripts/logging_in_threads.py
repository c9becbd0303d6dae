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
"""The first hub of a native thread, made by a log call that has to wait.

The lock of a log handler may be waited for greenly, in native threads too,
and the first green wait of a thread makes its hub, whose loop logs at DEBUG.
"""

import io
import logging
import os

import mode

import eventlet
from eventlet import hubs
from eventlet import patcher
from oslo_config import cfg
from oslo_log import log as oslo_logging

native = patcher.original('threading')
conf = cfg.ConfigOpts()
oslo_logging.register_options(conf)
conf(['--debug'])
# Its lock for handlers waits greenly, for a pipe.
oslo_logging.setup(conf, 'test')
root = logging.getLogger()
root.handlers.clear()
if mode.MODE.startswith('setup-later'):
    eventlet.sleep(0)
    mode.set_up()

stream = io.StringIO()
handler = logging.StreamHandler(stream)
assert 'Mutex' in type(handler.lock).__name__, handler.lock
root.addHandler(handler)
root.setLevel(logging.DEBUG)
assert logging.getLogger('asyncio').isEnabledFor(logging.DEBUG)
failures: list[BaseException] = []


def log() -> None:
    try:
        logging.getLogger('test').debug('from the thread')
    except BaseException as exc:
        failures.append(exc)


def polls() -> int:
    links = []
    for fd in os.listdir('/proc/self/fd'):
        try:
            links.append(os.readlink('/proc/self/fd/' + fd))
        except OSError:
            pass
    return links.count('anon_inode:[eventpoll]')


eventlet.sleep(0)
assert polls() == 1
handler.acquire()
thread = native.Thread(target=log)
thread.start()
# The thread has a hub, and waits in it.
while polls() == 1 and thread.is_alive():
    eventlet.sleep(0.001)
eventlet.sleep(0.01)
assert thread.is_alive() and not stream.getvalue(), failures
handler.release()
while thread.is_alive():
    eventlet.sleep(0.001)
assert not failures, failures
assert 'from the thread' in stream.getvalue()

# Only the thread that makes a loop drops what asyncio logs meanwhile.
logging.getLogger('asyncio').debug('not dropped')
assert 'not dropped' in stream.getvalue()
assert not logging.getLogger('asyncio').filters
hubs.get_hub().close()
mode.check_hub()
mode.done()
