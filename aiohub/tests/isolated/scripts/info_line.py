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

"""The one line that says which hub and loop the service runs on, and why."""

import logging
import os
import tempfile

import mode

import aiohub
import eventlet
from oslo_config import cfg
from oslo_log import log as oslo_logging

lines: list[logging.LogRecord] = []


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        lines.append(record)


def set_up(text: str, read: bool = True) -> str:
    """Call setup() with a config file; return what it logged."""
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
        file.write(text)
        file.flush()
        conf = cfg.ConfigOpts()
        oslo_logging.register_options(conf)
        if read:
            conf(['--config-file', file.name])
        lines.clear()
        aiohub.setup(conf)
    infos = [r for r in lines if r.levelno == logging.INFO]
    assert len(infos) == 1, lines
    assert infos[0].name == 'aiohub.toggle'
    return '\n'.join(r.getMessage() for r in lines)


conf = cfg.ConfigOpts()
oslo_logging.register_options(conf)
conf([])
oslo_logging.setup(conf, 'test')
logging.getLogger().handlers[:] = [Keep()]
ON = '[aiohub]\nenabled = true\n'
OFF = '[aiohub]\nenabled = false\n'

if mode.MODE == 'setup-later' or mode.MODE == 'setup-later-patched':
    line = set_up(OFF)
    assert line == ('eventlet hub eventlet.hubs.epolls, no asyncio event '
                    'loop: [aiohub] enabled is false'), line
    line = set_up('')
    assert line.endswith('[aiohub] enabled is false'), line
    line = set_up(ON, read=False)
    assert 'CONF(argv) first' in line, line
    eventlet.spawn_after(3600, int)
    eventlet.sleep(0)
    line = set_up(ON)
    assert line == (
        'eventlet hub aiohub.hub, asyncio event loop aiohub.loop.EventLoop: '
        '[aiohub] enabled is true; handed over from eventlet.hubs.epolls: '
        '1 timers, 0 file descriptors'), line
    line = set_up(ON)
    assert line.endswith('EventLoop: [aiohub] enabled is true'), line
    line = set_up(OFF)
    assert 'Restart it to switch it off' in line, line
    assert line.endswith('EventLoop: [aiohub] enabled was true'), line
else:
    assert os.environ['EVENTLET_HUB'] == 'aiohub.hub'
    for text in (ON, '', OFF):
        line = set_up(text)
        assert line.endswith(
            'aiohub.loop.EventLoop: EVENTLET_HUB=aiohub.hub'), line
mode.done()
