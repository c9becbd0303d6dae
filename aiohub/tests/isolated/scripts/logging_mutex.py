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

"""Which lock oslo.log gives its handlers, in the order of the arguments.

They are the steps to take, then the lock is the pipe, and it works.
"""

import asyncio
import importlib
import io
import logging
import pathlib
import sys
import tempfile
import types

import mode

import eventlet
from eventlet import asyncio as eventlet_asyncio
from eventlet import hubs
from eventlet import patcher

native = patcher.original('threading')
handlers: list[logging.StreamHandler] = []
STEPS = sys.argv[1:]


def import_aiohub() -> None:
    """It changes nothing."""
    finders = list(sys.meta_path)
    importlib.import_module('aiohub')
    assert sys.meta_path == finders
    assert 'oslo_log' not in sys.modules


def hub() -> None:
    """Have the first hub made; it imports nothing that has to be patched."""
    hubs.get_hub()
    assert 'oslo_log' not in sys.modules


def import_lock() -> None:
    importlib.import_module('oslo_log.pipe_mutex')


def reload_lock() -> None:
    importlib.reload(sys.modules['oslo_log.pipe_mutex'])


def log() -> None:
    """Set up oslo.log; it has handlers after that."""
    from oslo_config import cfg
    from oslo_log import log as oslo_logging

    conf = cfg.ConfigOpts()
    oslo_logging.register_options(conf)
    conf([])
    oslo_logging.setup(conf, 'test')
    # One that oslo.log has made, and one of another logger.
    logging.getLogger('test.mutex').addHandler(logging.StreamHandler())
    handlers.extend(logging.getLogger().handlers)
    handlers.extend(logging.getLogger('test.mutex').handlers)
    for handler in handlers:
        handler.stream = io.StringIO()


def log_in_thread() -> None:
    """The same in a native thread, which has no hub yet."""
    thread = native.Thread(target=log)
    thread.start()
    thread.join()


def hold() -> None:
    """Have a lock taken while the hub changes."""
    handlers[0].acquire()


def use_asyncio() -> None:
    """Be on eventlet's own asyncio hub."""
    hubs.use_hub('asyncio')
    hubs.get_hub()


def use() -> None:
    """Go from there to ours."""
    old = hubs.get_hub()
    old.abort(wait=old.running)
    hubs.use_hub('aiohub.hub')
    hubs.get_hub()
    old.loop.close()


def gone() -> None:
    """Have an oslo.log that knows no such lock."""
    directory = tempfile.TemporaryDirectory()
    package = pathlib.Path(directory.name, 'oslo_log')
    package.mkdir()
    package.joinpath('__init__.py').write_text('')
    package.joinpath('pipe_mutex.py').write_text('KINDS = 0\n')
    sys.path.insert(0, directory.name)
    from oslo_log import pipe_mutex

    assert vars(pipe_mutex)['KINDS'] == 0
    reload_lock()
    hubs.get_hub()
    names = {name for name in vars(pipe_mutex) if not name.startswith('__')}
    assert names == {'KINDS'}, names
    directory.cleanup()
    mode.done()
    sys.exit()


for step in STEPS:
    {
        'aiohub': import_aiohub,
        'hub': hub,
        'import': import_lock,
        'reload': reload_lock,
        'patch': eventlet.monkey_patch,
        'log': log,
        'log-in-thread': log_in_thread,
        'setup': mode.set_up,
        'hold': hold,
        'use-asyncio': use_asyncio,
        'use': use,
        'gone': gone,
    }[step]()

from oslo_log import pipe_mutex  # noqa: E402

# Private names of oslo.log. If they are other ones now, aiohub/_logging.py
# has to be adapted.
kinds: types.ModuleType = pipe_mutex
assert kinds.PipeMutex is kinds._ReallyPipeMutex
assert isinstance(kinds._AsyncioMutex, type)
if 'hold' in STEPS:
    # Who has taken the old lock gives that back.
    handlers[0].release()
    handlers[0].createLock()
for handler in handlers:
    assert type(handler.lock) is kinds._ReallyPipeMutex, handler.lock

# A free lock costs no turn of the hub: neither a task nor a timer ran.
eventlet.sleep(0)
turned: list[int] = []
hubs.get_hub().schedule_call_global(0, turned.append, 1)
handlers[0].acquire()
handlers[0].release()
assert not turned
eventlet.sleep(0)
assert turned


def write(who: str) -> None:
    logging.getLogger('test.mutex').warning('from %s', who)


async def task() -> None:
    write('task')


for handler in handlers:
    handler.setStream(io.StringIO())
thread = native.Thread(target=write, args=['native'])
thread.start()
while thread.is_alive():
    eventlet.sleep(0.001)
hubs.get_hub().loop.call_soon(write, 'callback')
eventlet.spawn(write, 'green').wait()
eventlet_asyncio.spawn_for_awaitable(task()).wait()
for handler in handlers:
    lines = handler.stream.getvalue().splitlines()
    who = [line.rpartition('from ')[2] for line in lines]
    assert sorted(who) == ['callback', 'green', 'native', 'task'], lines
assert not asyncio.all_tasks(hubs.get_hub().loop)
logging.getLogger().handlers.clear()
mode.done()
