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


"""What a forked worker is on after the configuration was read again.

Each part runs in a child, which is the parent of workers: it calls setup(),
and cannot undo that.
"""

import logging
import os
import signal
import tempfile
import weakref

import forked
import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs
from oslo_config import cfg
from oslo_log import log as oslo_logging

ON = '[aiohub]\nenabled = true\n'
OFF = '[aiohub]\nenabled = false\n'
WRONG = '[aiohub]\nenabled = perhaps\n'
NAMED = mode.HUB == 'env'
AIOHUB = 'aiohub.hub'
EPOLLS = 'eventlet.hubs.epolls'
messages: list[tuple[str, str]] = []


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        messages.append((record.levelname, record.getMessage()))


class Service:
    """A configuration that can be read again, in a process that is set up."""

    def __init__(self, text: str) -> None:
        self.file = tempfile.NamedTemporaryFile('w', suffix='.conf')
        weakref.finalize(self, self.file.close)
        self.write(text)
        self.conf = cfg.ConfigOpts()
        self.conf(['--config-file', self.file.name])
        aiohub.setup(self.conf)
        self.hub = hubs.get_hub()

    def write(self, text: str) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.file.write(text)
        self.file.flush()

    def reload(self, text: str) -> None:
        """Do what oslo.service does in the parent."""
        self.write(text)
        self.conf.reload_config_files()

    def check_parent(self, name: str) -> None:
        """It is what it was, and works."""
        assert hubs.get_hub() is self.hub
        check(name)
        forked.both_worlds()


def check(name: str) -> None:
    """This process is on that hub, and nothing is left of another."""
    assert type(hubs.get_hub()).__module__ == name, hubs.get_hub()
    assert aiohub.enabled() is (name == AIOHUB)
    assert in_thread(aiohub.enabled) is (name == AIOHUB)
    assert in_thread(hub_module) == name


def hub_module() -> str:
    return type(hubs.get_hub()).__module__


def in_thread(function) -> object:  # type: ignore
    results: list[object] = []
    thread = mode.native.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def worker(name: str, reason: str, *, place=forked.in_main,
           then=lambda: None) -> None:
    """Have a worker come to the hub of that name, and say so."""
    parent = os.getpid()

    def function() -> None:
        messages.clear()
        hubs.use_hub()
        assert messages[-1][0] == 'INFO', messages
        assert messages[-1][1].endswith(
            ': %s; worker of process %d' % (reason, parent)), messages
        assert messages[-1][1].startswith('eventlet hub %s, ' % name)
        check(name)
        forked.both_worlds()
        then()

    forked.reap(place(function))


def follows() -> None:
    """Workers follow the file, wherever they are forked; the parent stays."""
    service = Service(ON)
    worker(AIOHUB, '[aiohub] enabled is true')
    for place in (forked.in_main, forked.in_green, forked.in_task):
        service.reload(OFF)
        worker(EPOLLS, '[aiohub] enabled is false', place=place)
        service.check_parent(AIOHUB)
        service.reload(ON)
        worker(AIOHUB, '[aiohub] enabled is true', place=place)
        service.check_parent(AIOHUB)
    service.reload('')
    worker(EPOLLS, '[aiohub] enabled is false')


def comes_on() -> None:
    service = Service(OFF)
    eventlet.sleep(0)
    forked.both_worlds()
    worker(EPOLLS, '[aiohub] enabled is false')
    service.reload(ON)
    worker(AIOHUB, '[aiohub] enabled is true')
    service.check_parent(EPOLLS)
    service.reload(OFF)
    worker(EPOLLS, '[aiohub] enabled is false')
    service.check_parent(EPOLLS)


def wrong_value() -> None:
    """What is not valid changes nothing, and every worker says so."""
    service = Service(ON)
    for text, name, reason in (
            (OFF, EPOLLS, '[aiohub] enabled is false'),
            (ON, AIOHUB, '[aiohub] enabled is true')):
        def said_so() -> None:
            [(level, message), _] = messages
            assert level == 'ERROR', messages
            assert 'perhaps' in message, messages

        service.reload(text)
        worker(name, reason)
        service.reload(WRONG)
        worker(name, reason, then=said_so)
        # One that is forked much later, as when another was killed.
        worker(name, reason, then=said_so)
        service.check_parent(AIOHUB)


def old_eventlet() -> None:
    """A service that has it, and is off, does not start to fail."""
    service = Service(OFF)
    eventlet.__version__ = '0.40.4'
    service.reload(ON)

    def said_so() -> None:
        [(level, message), _] = messages
        assert level == 'ERROR', messages
        assert 'eventlet 0.40.4 is too old' in message, messages

    worker(EPOLLS, 'aiohub cannot be switched on', then=said_so)


def only_where_it_chooses() -> None:
    """No other call than that one of a child changes its hub."""
    service = Service(ON)
    service.reload(OFF)

    # The parent's own, whose hub goes with it.
    hubs.use_hub()
    check(AIOHUB)

    def goes_on() -> None:
        check(AIOHUB)
        forked.both_worlds()

    def by_name() -> None:
        hubs.use_hub('eventlet.hubs.poll')
        assert hub_module() == 'eventlet.hubs.poll'
        hubs.use_hub(AIOHUB)
        check(AIOHUB)

    def once() -> None:
        service.reload(ON)
        hubs.use_hub()
        check(EPOLLS)
        # But its own children are workers of it.
        worker(AIOHUB, '[aiohub] enabled is true')
        service.reload(OFF)
        worker(EPOLLS, '[aiohub] enabled is false')

    forked.reap(forked.in_main(goes_on))
    forked.reap(forked.in_main(by_name))
    worker(EPOLLS, '[aiohub] enabled is false', then=once)


def another_configuration() -> None:
    """The last one that setup() was given counts."""
    first = Service(ON)
    second = Service(ON)
    first.reload(OFF)
    worker(AIOHUB, '[aiohub] enabled is true')
    second.reload(OFF)
    worker(EPOLLS, '[aiohub] enabled is false')
    first.reload(ON)
    worker(EPOLLS, '[aiohub] enabled is false')


def green_tasks() -> None:
    async def current() -> object:
        return eventlet.getcurrent()

    def check_green(expected: bool) -> None:
        greenlet = aiohub.await_(current())
        assert (greenlet is not aiohub.get_loop().state.runs_in) is expected

    service = Service(ON)
    for text in (OFF, ON):
        service.reload(text + 'green_tasks = false\n')
        forked.reap(forked.in_main(
            lambda: (hubs.use_hub(), check_green(False))))
        service.reload(text)
        forked.reap(forked.in_main(
            lambda: (hubs.use_hub(), check_green(True))))


def signals() -> None:
    """What a handler starts runs at once; the next timer is a minute away."""
    service = Service(ON)
    service.reload(OFF)

    def wait_for_signal() -> None:
        happened = event.Event()
        signal.signal(signal.SIGUSR1, lambda *_: eventlet.spawn(
            happened.send, True))
        pid = os.getpid()
        mode.when_polling(lambda: forked.native_os.kill(pid, signal.SIGUSR1))
        assert happened.wait() is True

    def and_its_child() -> None:
        wait_for_signal()
        worker(EPOLLS, '[aiohub] enabled is false', then=wait_for_signal)

    worker(EPOLLS, '[aiohub] enabled is false', then=and_its_child)


def environment_wins() -> None:
    if NAMED:
        for first in (ON, OFF):
            service = Service(first)
            for text in (OFF, ON, WRONG):
                service.reload(text)
                worker(AIOHUB, 'EVENTLET_HUB=aiohub.hub')
        return
    os.environ['EVENTLET_HUB'] = 'epolls'
    service = Service(OFF)
    service.reload(ON)
    worker(EPOLLS, 'EVENTLET_HUB=epolls')


PARTS = (follows, comes_on, wrong_value, old_eventlet,
         only_where_it_chooses, another_configuration, green_tasks, signals)


def part(function) -> None:  # type: ignore
    forked.reap(forked.in_main(function))


conf = cfg.ConfigOpts()
oslo_logging.register_options(conf)
conf([])
oslo_logging.setup(conf, 'test')
logging.getLogger().handlers[:] = [Keep()]
for each in (environment_wins,) if NAMED else (*PARTS, environment_wins):
    part(each)
print('pass')
