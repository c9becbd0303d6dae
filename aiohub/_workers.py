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


"""Which hub forked workers get, as the configuration says by then.

On SIGHUP oslo.service reads the configuration files again, in the parent, and
forks new workers. Each calls ``use_hub()`` without a name first, to share no
poll object with the parent. The hub and all that waits in it are dropped
there, so it is where a process can come to the aiohub hub, or leave it, with
nothing to hand over.

The parent stays on the hub that it has. But it is the parent that reads the
options, before each fork: if they are wrong, workers get what the last ones
had, and only the parent can remember that.
"""

from collections.abc import Iterator
import contextlib
import os
import signal
from typing import Any
from typing import TYPE_CHECKING

from eventlet import hubs
from eventlet import patcher

from aiohub import _default_hub
from aiohub import _eventlet
from aiohub import exceptions
from aiohub import tasks

if TYPE_CHECKING:
    from oslo_config import cfg

#: At most one: what the last call of setup() was given.
_choices: 'list[_Choice]' = []


def follow(conf: 'cfg.ConfigOpts') -> None:
    """Have workers that are forked from now on do as *conf* says."""
    if not _choices:
        os.register_at_fork(before=lambda: _choices[0].read())
    _choices[:] = [_Choice(conf)]
    _eventlet.around_use_hub(_choosing)


class _Choice:
    """What the options say, and in which process that was done last."""

    def __init__(self, conf: 'cfg.ConfigOpts') -> None:
        self._conf = conf
        self._error: Exception | None = None
        self.process = os.getpid()
        self.read()

    def read(self) -> None:
        from oslo_config import cfg

        try:
            options = self._conf.aiohub
            self._options = options.enabled, options.green_tasks
            self._error = None
        except cfg.Error as exc:
            self._error = exc

    def make(self, log: Any) -> str:
        """Do what the options say, in a child; return the reason."""
        enabled, tasks.enabled = map(bool, self._options)
        self.process = os.getpid()
        if self._error is not None:
            log.error('The [aiohub] options are not valid, and this worker '
                      'goes on with what they were before: %s', self._error)
        named = _default_hub.named()
        if named is not None:
            return 'EVENTLET_HUB=%s' % named
        if not enabled:
            _default_hub.let_go()
            return '[aiohub] enabled is false'
        try:
            _default_hub.check_eventlet()
        except exceptions.SetupError as exc:
            log.error('%s', exc)
            return 'aiohub cannot be switched on'
        _default_hub.stick()
        return '[aiohub] enabled is true'


@contextlib.contextmanager
def _choosing(mod: Any) -> Iterator[None]:
    """What is done around ``use_hub(mod)``."""
    choice = _choices[0]
    old = _eventlet.current_hub_class()
    # Without an old one it is get_hub() that calls, for the first hub of a
    # thread.
    if mod is not None or old is None or choice.process == os.getpid():
        yield
        return
    from oslo_log import log as logging

    log = logging.getLogger(__name__)
    reason = choice.make(log)
    yield
    if (_default_hub.is_ours(old) or _pipe) and not _default_hub.is_ours(
            _eventlet.current_hub_class()):
        _wake_on_signals()
    log.info('%s: %s; worker of process %d', _default_hub.describe(), reason,
             os.getppid())


#: What signals write to, once this process or one before it has left our hub.
_pipe: list[int] = []


def _wake_on_signals() -> None:
    """Let every signal end the poll of this thread's hub, as ours does.

    What a signal handler spawns runs when the poll ends, and other hubs end
    it at the next timer or packet. oslo.service helps them by raising an
    exception in the poll, but in a poll of that class of hub that it has
    found in the first process.
    """
    os_ = patcher.original('os')
    # A parent's is left alone: its numbers may mean other files by now.
    _pipe[:] = reader, writer = os_.pipe()
    for fd in _pipe:
        os_.set_blocking(fd, False)
    hub = hubs.get_hub()
    hub.add(hub.READ, reader, lambda fd: os_.read(fd, 4096), _nothing,
            _nothing)
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


def _nothing(*_: object) -> None:
    pass
