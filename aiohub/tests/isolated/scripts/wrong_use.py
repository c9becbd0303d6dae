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

"""setup() where it cannot work: an error that says what to do, no change."""

import argparse
import asyncio
import os

import mode

import aiohub
from aiohub import opts
from aiohub import tasks
import eventlet
from eventlet import hubs
from eventlet import patcher
from oslo_config import cfg

native = patcher.original('threading')
conf = cfg.ConfigOpts()
opts.register_opts(conf)
conf([])
conf.set_override('enabled', True, 'aiohub')
conf.set_override('green_tasks', False, 'aiohub')
eventlet.sleep(0)


def state() -> object:
    hub = hubs.get_hub()
    return (hub, type(hub), hub.greenlet, hub.running,
            hubs.builtin_hub_modules, hub.get_timers_count(),
            aiohub.enabled(), tasks.enabled)


def refused(word: str, call=lambda: aiohub.setup(conf)) -> None:
    before = state()
    try:
        call()
    except aiohub.AiohubError as exc:
        assert isinstance(exc, aiohub.SetupError)
        assert word in str(exc), exc
        assert str(exc).endswith('.'), exc
    else:
        raise AssertionError('not refused')
    assert state() == before


sleeper = eventlet.spawn_after(0.05, lambda: 5)
assert not aiohub.enabled()

# In a green thread.
eventlet.spawn(refused, 'green thread').wait()


# In a coroutine and a callback, of any loop.
async def coroutine() -> None:
    refused('coroutine')


asyncio.run(coroutine())
loop = asyncio.new_event_loop()
loop.call_soon(lambda: (refused('callback'), loop.stop()))
loop.run_forever()
loop.close()

# In another thread.
failures: list[BaseException] = []


def in_thread() -> None:
    try:
        aiohub.setup(conf)
    except aiohub.SetupError as exc:
        failures.append(exc)


thread = native.Thread(target=in_thread, name='worker-1')
thread.start()
thread.join()
assert 'worker-1' in str(failures[0]) and 'main' in str(failures[0])

# With another hub named by the environment.
for name in ('poll', 'asyncio', 'some.other:Hub'):
    os.environ['EVENTLET_HUB'] = name
    refused('EVENTLET_HUB=' + name)
    conf.set_override('enabled', False, 'aiohub')
    assert aiohub.setup(conf) is False
    conf.set_override('enabled', True, 'aiohub')
del os.environ['EVENTLET_HUB']

# With what is no ConfigOpts.
for wrong in (None, {'aiohub': {'enabled': True}}, argparse.Namespace()):
    refused('ConfigOpts', lambda wrong=wrong: aiohub.setup(wrong))

# With an eventlet that is too old.
version = eventlet.__version__
for old in ('0.39.1', '0.40.4', '0.36'):
    eventlet.__version__ = old
    refused('too old')
eventlet.__version__ = version

# After the bridge was used with the toggle off.
child = os.fork()
if not child:
    aiohub.await_(asyncio.sleep(0))
    refused('get_loop()')
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0

# On eventlet's own asyncio hub, which does not run when chosen after patching.
if not mode.PATCHED:
    child = os.fork()
    if not child:
        hubs.use_hub('asyncio')
        eventlet.sleep(0)
        refused('use_hub()')
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

# Where it cannot get what it needs, nothing has changed either.
import resource  # noqa: E402

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
highest = max(int(fd) for fd in os.listdir('/proc/self/fd'))
resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
before = state()
try:
    # Fill the holes below the limit.
    files = []
    try:
        while True:
            files.append(os.dup(0))
    except OSError:
        pass
    aiohub.setup(conf)
except OSError:
    pass
else:
    raise AssertionError('set up without file descriptors')
finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in files:
        os.close(fd)
assert state() == before

# And then it works, and the timer of before is not lost.
assert sleeper.wait() == 5
assert aiohub.setup(conf) is True
assert aiohub.setup(conf) is True
assert aiohub.enabled()
assert not tasks.enabled
assert sleeper.wait() == 5
eventlet.sleep(0.001)
assert eventlet.spawn(lambda: 6).wait() == 6
mode.done()
