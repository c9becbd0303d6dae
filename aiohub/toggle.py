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
from typing import TYPE_CHECKING

from eventlet import hubs
from eventlet.hubs import asyncio as asyncio_hub
import greenlet

from aiohub import _default_hub
from aiohub import _eventlet
from aiohub import _native
from aiohub import _request_context
from aiohub import _workers
from aiohub import exceptions
from aiohub import tasks

if TYPE_CHECKING:
    from oslo_config import cfg


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

    A forked child follows *conf* as it is at the fork, on or off, when it
    first calls ``use_hub()`` without a name. oslo.service has its workers do
    so, and on SIGHUP reads the files again and replaces them: so a SIGHUP
    switches aiohub off and on in the workers. The parent stays on the hub
    that it has. If an option is not valid by then, workers log an error and
    go on with what it was before.

    The environment variable ``EVENTLET_HUB`` wins over the file: with
    ``EVENTLET_HUB=aiohub.hub`` the process is on the aiohub hub from the
    start.

    Calling it again, as after the configuration was read again, reads
    ``green_tasks`` for the tasks that are made from then on, and switches on
    if that is wanted now. It does not switch this process off, whose tasks
    cannot be moved: it says so in a warning, and that takes a restart. With
    another *conf*, children follow that from then on.

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
    green_tasks = bool(conf.aiohub.green_tasks)
    if wanted and not enabled():
        _check()
    _workers.follow(conf)
    # On or off: code that uses the bridge is served in both.
    _request_context.follow()
    tasks.enabled = green_tasks
    if enabled():
        if not wanted and _default_hub.named() is None:
            log.warning(
                '[aiohub] enabled is false, but this process is on the '
                'aiohub hub and stays there, as its tasks cannot be moved. '
                'Workers that it forks from now on are not on it. Restart it '
                'to switch it off.')
        else:
            _default_hub.stick()
        log.info('%s: %s', _default_hub.describe(), _why_on(conf))
        return True
    if not wanted:
        if not _was_read(conf):
            log.warning(
                'aiohub.setup() was called before the configuration was '
                'read, so [aiohub] enabled is its default, false. Call '
                'CONF(argv) first.')
        log.info('%s: [aiohub] enabled is false', _default_hub.describe())
        return False
    replaced = _switch_on()
    _default_hub.stick()
    log.info('%s: %s%s', _default_hub.describe(), _why_on(conf), replaced)
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
        return _default_hub.is_ours(hub_class)
    named = _default_hub.named()
    if named is not None:
        return _default_hub.names_ours(named)
    return _default_hub.is_set_up()


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
    _default_hub.check_eventlet()
    named = _default_hub.named()
    if named is not None and not _default_hub.names_ours(named):
        raise exceptions.SetupError(
            '[aiohub] enabled is true, but the environment has EVENTLET_HUB='
            '%s, which wins. Unset it or set EVENTLET_HUB=%s; or set [aiohub] '
            'enabled = false to stay on that hub.'
            % (named, _default_hub.HUB_MODULE))
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


def _was_read(conf: 'cfg.ConfigOpts') -> bool:
    from oslo_config import cfg

    try:
        # Registered by conf(argv) itself.
        conf.config_file  # noqa: B018
    except cfg.NoSuchOptError:
        return False
    return True


def _why_on(conf: 'cfg.ConfigOpts') -> str:
    named = _default_hub.named()
    if named is not None and _default_hub.names_ours(named):
        return 'EVENTLET_HUB=%s' % named
    if conf.aiohub.enabled:
        return '[aiohub] enabled is true'
    if _default_hub.is_set_up():
        return '[aiohub] enabled was true'
    return 'use_hub() chose it'
