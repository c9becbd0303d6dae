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
"""Details of setup(); each part in a child, because it cannot be undone."""

import logging
import os
import signal
import traceback

import mode

import aiohub
from aiohub import opts
import eventlet
from eventlet import debug
from eventlet import hubs
from eventlet import patcher
from oslo_config import cfg

native = patcher.original('threading')
messages: list[str] = []


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        messages.append(record.getMessage())


def set_up(enabled: bool, **options: bool) -> bool:
    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    conf([])
    for name, value in {'enabled': enabled, **options}.items():
        conf.set_override(name, value, 'aiohub')
    messages.clear()
    return aiohub.setup(conf)


def in_thread(function) -> object:  # type: ignore
    results: list[object] = []
    thread = native.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def without_a_hub() -> None:
    """Nothing to hand over: no other hub is made on the way."""
    assert set_up(True)
    assert 'handed over' not in messages[-1], messages
    # What else there is can still be chosen from.
    assert len(hubs.builtin_hub_modules) == 5, hubs.builtin_hub_modules


def chosen_by_the_program() -> None:
    hubs.use_hub('aiohub.hub')
    assert set_up(False)
    assert messages[-1].endswith(': use_hub() chose it'), messages


def named_by_the_environment() -> None:
    for name in ('aiohub.hub', 'aiohub.hub:Hub', ' aiohub.hub '):
        os.environ['EVENTLET_HUB'] = name
        assert in_thread(aiohub.enabled) is True, name
    for name in ('poll', 'aiohub.hubs', 'asyncio'):
        os.environ['EVENTLET_HUB'] = name
        assert in_thread(aiohub.enabled) is False, name
    os.environ['EVENTLET_HUB'] = 'aiohub.hub'
    hubs.use_hub()
    assert set_up(True)
    # From here on it holds without.
    del os.environ['EVENTLET_HUB']
    assert in_thread(aiohub.enabled) is True
    hubs.use_hub()
    mode.check_hub()


def blocking_detection() -> None:
    """Its alarm is of the run loop that is ended."""
    debug.hub_blocking_detection(True, 300)
    eventlet.sleep(0)
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert set_up(True)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    debug.hub_blocking_detection(False)


def green_tasks() -> None:
    """The option turns them off and on, whatever the hub is."""
    async def current() -> object:
        return eventlet.getcurrent()

    for enabled in (False, True):
        set_up(enabled, green_tasks=False)
        loop = aiohub.get_loop()
        assert aiohub.await_(current()) is loop.state.runs_in
        assert set_up(enabled) is enabled
        assert aiohub.await_(current()) is not loop.state.runs_in
        # The loop of epolls cannot become that of aiohub.
        hubs.use_hub(None)


def old_poll_object() -> None:
    class Kqueue:
        closed = False

        def close(self) -> None:
            self.closed = True

    eventlet.sleep(0)
    hub = hubs.get_hub()
    poll, hub.kqueue = hub.poll, Kqueue()
    kqueue = hub.kqueue
    assert set_up(True)
    assert poll.closed and kqueue.closed


log = logging.getLogger('aiohub')
log.addHandler(Keep())
log.setLevel(logging.INFO)
for part in (without_a_hub, chosen_by_the_program, named_by_the_environment,
             blocking_detection, old_poll_object, green_tasks):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            part()
            status = 0
        except BaseException:
            print('in', part.__name__)
            traceback.print_exc()
        finally:
            os._exit(status)
    assert patcher.original('os').waitpid(pid, 0)[1] == 0
print('pass')
