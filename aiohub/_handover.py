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

"""Turning the hub that a thread has into an aiohub hub.

Services patch, spawn green threads and wait long before they read their
config file, so when :func:`aiohub.setup` is called another hub is running,
and green threads, timers and listeners refer to it: from their frames (the
end of every green wait is ``hub.remove(listener)``) and as the parents of
their greenlets. Rather than move all that to a new object, the object stays
and becomes a hub of another class:

* its listeners and timers stay where they are, and mean the same;
* its greenlet, which is inside the old class's run loop, is ended, and a new
  one takes its place and becomes its parent. A greenlet that ends switches
  to its nearest living ancestor, so children of the old one end in the new
  (eventlet relies on that too, in ``BaseHub.ensure_greenlet``) and never wake
  the main greenlet;
* what the old class waited with is closed, and every descriptor is armed in
  the new selector when the hub runs. A ready descriptor is reported again,
  so an event that the old hub had seen and not delivered is not lost.
"""

from typing import Any

from eventlet import queue
from eventlet import semaphore

from aiohub import _eventlet
from aiohub import hub as aiohub_hub


def hand_over(hub: Any) -> None:
    """Turn *hub* into a :class:`aiohub.hub.Hub`.

    To be called in the main greenlet of its thread: that is the one greenlet
    which nothing else has to run for. Atomic: no other greenlet runs
    meanwhile, and if it raises, *hub* is as it was.

    :param hub: The hub of this thread, of any class that keeps timers and
        listeners as ``eventlet.hubs.hub.BaseHub`` does.
    """
    old_class = hub.__class__
    hub.__class__ = aiohub_hub.Hub
    try:
        hub.open()
    except BaseException:
        hub.__class__ = old_class
        raise
    _eventlet.set_hub_class(aiohub_hub.Hub)
    _eventlet.unwind(hub.greenlet)
    hub.ensure_greenlet()
    for _, timer in (*hub.timers, *hub.next_timers):
        if timer.called:
            continue
        # What has got another method meanwhile is to be called by its name.
        call, args, kwargs = timer.tpl
        owner = getattr(call, '__self__', None)
        if isinstance(owner, (semaphore.Semaphore, queue.LightQueue)):
            timer.tpl = getattr(owner, call.__name__), args, kwargs
    if hub.debug_blocking:
        # Armed before the timer or listener that we run in, and the old run
        # loop is not there to disarm it.
        hub.block_detect_post()
    # epoll and kqueue objects hold a descriptor; poll objects do not.
    for name in ('poll', 'kqueue'):
        waiter = hub.__dict__.pop(name, None)
        if hasattr(waiter, 'close'):
            waiter.close()
