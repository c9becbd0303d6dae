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

"""The ``[aiohub]`` options."""

import copy

from oslo_config import cfg

aiohub_group = cfg.OptGroup(
    'aiohub',
    title='aiohub options',
    help='Options of aiohub, which runs eventlet and asyncio in one thread.',
)

aiohub_opts: list[cfg.Opt] = [
    cfg.BoolOpt(
        'enabled',
        default=False,
        help='Run this service on the aiohub hub, which drives its green '
        'threads and an asyncio event loop in the same thread. When '
        'disabled, the service stays on the hub that eventlet chooses '
        'by itself. Restart the service after changing it; workers of '
        'oslo.service that are replaced on SIGHUP follow it too, where the '
        'service reads its files again. The environment variable '
        'EVENTLET_HUB takes precedence over this option.',
    ),
    cfg.BoolOpt(
        'green_tasks',
        default=True,
        help='Let coroutines make blocking (green) calls: each asyncio task '
        'runs in a greenlet of its own, and a call that would block '
        'holds up only that task. When disabled, tasks are those of '
        'plain asyncio and their steps cost less, and a green call in a '
        'coroutine holds up the event loop and all other tasks until it '
        'returns. It also applies when enabled is false, to the '
        'coroutines that green code then waits for. Read together with '
        'enabled.',
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the ``[aiohub]`` group and its options.

    :param conf: The configuration of the service, managed by the caller.
    """
    # A copy: oslo.config keeps the options of a group, with their values, in
    # the group that it is given.
    conf.register_group(copy.deepcopy(aiohub_group))
    conf.register_opts(aiohub_opts, group=aiohub_group.name)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options of aiohub for the sample config generator.

    The function is registered as the ``aiohub`` entry point of the
    ``oslo.config.opts`` namespace.

    :returns: A list of (group, options) tuples; the caller may change it.
    """
    return [(copy.deepcopy(aiohub_group), copy.deepcopy(aiohub_opts))]
