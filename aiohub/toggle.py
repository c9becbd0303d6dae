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

"""The switch: :func:`setup` and :func:`enabled`."""

import asyncio
import os
import re
from typing import Any
from typing import TYPE_CHECKING

import eventlet
from eventlet import hubs
from eventlet.hubs import asyncio as asyncio_hub
import greenlet

from aiohub import _eventlet
from aiohub import _native
from aiohub import _request_context
from aiohub import exceptions
from aiohub import tasks

if TYPE_CHECKING:
    from oslo_config import cfg

#: The first eventlet that makes a hub in two steps, as ours has to be made.
MINIMUM_EVENTLET = (0, 41, 0)

HUB_MODULE = 'aiohub.hub'


def setup(conf: 'cfg.ConfigOpts') -> bool:
    """Put this process on the aiohub hub, if its configuration says so.

    To be called in the entry point of a service, after the configuration was
    read, in the main greenlet of the main thread::

        CONF(sys.argv[1:], project='myservice')
        logging.setup(CONF, 'myservice')
        aiohub.setup(CONF)

    It registers the ``[aiohub]`` options, lets the request context of
    oslo.context follow context variables (for coroutines share a thread),
    makes the tasks that are made from then on green tasks or not, as
    ``green_tasks`` says, and, with ``enabled = true``, turns the hub of the
    main thread into an aiohub hub. Monkey patching may come before or after.
    Green threads that wait already go on waiting: each wakes when it would
    have. From then on ``eventlet.hubs.use_hub()`` without a name, the first
    hub of any other thread, and forked children get the aiohub hub too;
    programs that the service starts do not. Hubs that other threads have
    already stay what they are.

    The environment variable ``EVENTLET_HUB`` wins over the file: with
    ``EVENTLET_HUB=aiohub.hub`` the process is on the aiohub hub from the
    start.

    Calling it again, as after the configuration was read again, changes
    nothing but ``green_tasks``, for the tasks that are made from then on. It
    does not switch off: that takes a restart of the service.

    :param conf: The :class:`oslo_config.cfg.ConfigOpts` of the service.
    :returns: Whether the process is on the aiohub hub.
    :raises aiohub.exceptions.SetupError: If aiohub should be on and cannot
        be: called in a green thread, a coroutine, a callback or another
        thread than the main one, with another hub named by ``EVENTLET_HUB``,
        on eventlet's asyncio hub, after asyncio was used through aiohub on
        another hub, with an eventlet that is too old, or with something that
        is no ``ConfigOpts``. Nothing has been changed then.
    """
    # Services import oslo.log after patching only, and this module before.
    from oslo_config import cfg
    from oslo_log import log as logging

    from aiohub import opts

    log = logging.getLogger(__name__)
    if not isinstance(conf, cfg.ConfigOpts):
        raise exceptions.SetupError(
            'aiohub.setup() takes the oslo.config ConfigOpts object of the '
            'service and got %r. Call aiohub.setup(CONF) after CONF(argv).'
            % (conf,))
    opts.register_opts(conf)
    wanted = bool(conf.aiohub.enabled)
    if wanted and not enabled():
        _check()
    # On or off: code that uses the bridge is served in both.
    _request_context.follow()
    tasks.enabled = bool(conf.aiohub.green_tasks)
    if enabled():
        if not wanted and _named_hub() is None:
            log.warning(
                '[aiohub] enabled is false, but this process is on the '
                'aiohub hub since setup() was called. Restart it to switch.')
        elif not is_set_up():
            _stick()
        log.info('%s: %s', _describe(), _why_on(conf))
        return True
    if not wanted:
        if not _was_read(conf):
            log.warning(
                'aiohub.setup() was called before the configuration was '
                'read, so [aiohub] enabled is its default, false. Call '
                'CONF(argv) first.')
        log.info('%s: [aiohub] enabled is false', _describe())
        return False
    replaced = _switch_on()
    _stick()
    log.info('%s: %s%s', _describe(), _why_on(conf), replaced)
    return True


def enabled() -> bool:
    """Return whether this thread is on the aiohub hub.

    It makes no hub: before there is one, the answer is what
    ``eventlet.hubs.get_hub()`` would make.
    """
    hub_class = _eventlet.current_hub_class()
    hub = _eventlet.current_hub()
    if hub is not None:
        hub_class = type(hub)
    if hub_class is not None:
        return _is_ours(hub_class)
    named = _named_hub()
    if named is not None:
        return _names_ours(named)
    return is_set_up()


def is_set_up() -> bool:
    """Return whether aiohub is what eventlet chooses when nobody says."""
    return bool(hubs.builtin_hub_modules[0].__name__ == HUB_MODULE)


def _stick() -> None:
    # get_default_hub() takes the first of these that is available; that is
    # what use_hub() without a name and the first hub of a thread come to.
    # It holds for this process and its forked children. Setting EVENTLET_HUB
    # would also reach the programs it starts, which may have no aiohub.
    from aiohub import hub as aiohub_hub

    hubs.builtin_hub_modules = (aiohub_hub, *hubs.builtin_hub_modules)


def _switch_on() -> str:
    """Give this thread an aiohub hub; return what became of the old one."""
    from aiohub import _handover
    from aiohub import hub as aiohub_hub

    hub = _eventlet.current_hub()
    if hub is None:
        hubs.use_hub(aiohub_hub)
        return ''
    old = type(hub).__module__
    _handover.hand_over(hub)
    return '; handed over from %s: %d timers, %d file descriptors' % (
        old, hub.get_timers_count(),
        len(hub.get_readers()) + len(hub.get_writers()))


def _check() -> None:
    """Raise if aiohub cannot be switched on here and now."""
    version = tuple(map(int, re.findall(r'\d+', eventlet.__version__)[:3]))
    if version < MINIMUM_EVENTLET:
        raise exceptions.SetupError(
            'eventlet %s is too old for aiohub, which needs %s or later. '
            'Upgrade eventlet, or set [aiohub] enabled = false.'
            % (eventlet.__version__, '.'.join(map(str, MINIMUM_EVENTLET))))
    named = _named_hub()
    if named is not None and not _names_ours(named):
        raise exceptions.SetupError(
            '[aiohub] enabled is true, but the environment has EVENTLET_HUB='
            '%s, which wins. Unset it or set EVENTLET_HUB=%s; or set [aiohub] '
            'enabled = false to stay on that hub.' % (named, HUB_MODULE))
    threading = _native.threading
    if threading.get_ident() != threading.main_thread().ident:
        raise exceptions.SetupError(
            'aiohub.setup() was called in thread %s. Call it in the main '
            'thread: other threads follow by themselves.'
            % threading.current_thread().name)
    hub = _eventlet.current_hub()
    if isinstance(hub, asyncio_hub.Hub):
        raise exceptions.SetupError(
            "This process runs on %s already, and the tasks of that hub's "
            'loop cannot be moved to another. Remove the use_hub() call that '
            'chose it.' % type(hub).__module__)
    if getattr(hub, 'aiohub_runner', None) is not None:
        raise exceptions.SetupError(
            'aiohub.setup() was called after this thread has used asyncio '
            'through aiohub, and the tasks of that loop cannot be moved to '
            'another. Call it before the first get_loop() or await_().')
    if asyncio._get_running_loop() is not None:
        raise exceptions.SetupError(
            'aiohub.setup() was called while an asyncio event loop runs in '
            'this thread, from a coroutine or a callback. Call it in the '
            'entry point of the service, before asyncio.run().')
    if greenlet.getcurrent().parent is not None:
        raise exceptions.SetupError(
            'aiohub.setup() was called in a green thread. Call it in the '
            'main greenlet, in the entry point of the service.')


def _named_hub() -> str | None:
    """Return what ``EVENTLET_HUB`` names; None if it is not set."""
    return os.environ.get('EVENTLET_HUB')


def _names_ours(name: str) -> bool:
    return name.strip().partition(':')[0] == HUB_MODULE


def _is_ours(hub_class: Any) -> bool:
    return bool(getattr(hub_class, '__module__', None) == HUB_MODULE)


def _was_read(conf: 'cfg.ConfigOpts') -> bool:
    from oslo_config import cfg

    try:
        # Registered by conf(argv) itself.
        conf.config_file  # noqa: B018
    except cfg.NoSuchOptError:
        return False
    return True


def _why_on(conf: 'cfg.ConfigOpts') -> str:
    named = _named_hub()
    if named is not None and _names_ours(named):
        return 'EVENTLET_HUB=%s' % named
    if not is_set_up() and not conf.aiohub.enabled:
        return 'use_hub() chose it'
    return '[aiohub] enabled is true'


def _describe() -> str:
    """Say which hub and loop this thread is on."""
    hub = _eventlet.current_hub()
    if hub is None:
        hub = hubs.get_hub()
    loop = getattr(hub, 'loop', None)
    if loop is None:
        return 'eventlet hub %s, no asyncio event loop' % (
            type(hub).__module__)
    return 'eventlet hub %s, asyncio event loop %s.%s' % (
        type(hub).__module__, type(loop).__module__, type(loop).__name__)
