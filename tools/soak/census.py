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

"""What there is in this process: counted, with names, and compared."""

import asyncio
import collections
from collections.abc import Iterator
import gc
import os
import re
from typing import Any

from eventlet import hubs
import greenlet

import aiohub

#: Code that is not what a greenlet is there for.
MACHINERY = re.compile(r'/(eventlet|aiohub|greenlet)/|/asyncio/')


Counts = dict[str, dict[str, int]]


def take() -> Counts:
    """Return, for each kind, how many there are of what."""
    # What one collection finds may have ended others.
    for _ in range(3):
        gc.collect()
    hub = hubs.get_hub()
    kinds = {
        'descriptors': descriptors(),
        'greenlets': greenlets(),
        'tasks': (task.get_coro().__qualname__
                  for task in asyncio.all_tasks(aiohub.get_loop())),
        'listeners': (type(listener).__name__
                      for listeners in (hub.get_readers(), hub.get_writers())
                      for listener in listeners),
        'threads': threads(),
        'children': children(),
        'objects': (type_name(thing) for thing in gc.get_objects()),
    }
    return {
        **{kind: collections.Counter(names) for kind, names in kinds.items()},
        'memory': {'KiB': resident() // 1024},
    }


def descriptors() -> Iterator[str]:
    for fd in os.listdir('/proc/self/fd'):
        try:
            target = os.readlink(f'/proc/self/fd/{fd}')
        except FileNotFoundError:
            continue  # that of the directory
        # Sockets and pipes have a number of their own.
        yield re.sub(r':\[\d+\]$', '', target)


def greenlets() -> Iterator[str]:
    spares: Any = aiohub.get_loop()
    spares = {id(green) for green in spares.state.spare_threads.greens}
    for thing in gc.get_objects():
        if isinstance(thing, greenlet.greenlet):
            yield ('spare green thread' if id(thing) in spares
                   else name_greenlet(thing))


def name_greenlet(green: greenlet.greenlet) -> str:
    """Name a greenlet by the function of other code where it waits."""
    if green.dead:
        return 'dead'
    frame = innermost = green.gr_frame
    if innermost is None:
        return 'not begun' if not green else 'running'
    while frame and MACHINERY.search(frame.f_code.co_filename):
        frame = frame.f_back
    return str((frame or innermost).f_code.co_qualname)


def threads() -> Iterator[str]:
    """The native threads."""
    for thread in os.listdir('/proc/self/task'):
        try:
            with open(f'/proc/self/task/{thread}/comm') as comm:
                yield comm.read().strip()
        except OSError:
            continue  # it has ended


def children() -> Iterator[str]:
    """The child processes, dead ones too if nobody has waited for them."""
    for thread in os.listdir('/proc/self/task'):
        try:
            with open(f'/proc/self/task/{thread}/children') as pids:
                yield from ('process' for _ in pids.read().split())
        except OSError:
            continue


def type_name(thing: Any) -> str:
    # Not thing.__class__, of which some objects make up another.
    return f'{type(thing).__module__}.{type(thing).__qualname__}'


def resident() -> int:
    """Return how much memory is resident, in bytes."""
    with open('/proc/self/statm', 'rb') as statm:
        return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


# -- two of them compared

#: How much more there may be in the end, of one thing or of each of a kind.
ALLOWED = {
    # Those of tasks that have ended are kept for the next ones.
    ('greenlets', '_run'): 100,
    # As many wait for the next eventlet.spawn().
    ('greenlets', 'spare green thread'): 100,
    # The libraries' caches of addresses and formats fill up: there is room
    # for a hundred or two in each. An operation that is asked for seldom is
    # asked for more often in ten minutes.
    'objects': 300,
    # When isinstance() first meets an exception of some class, a hundred
    # abstract classes take note of it, each with a weak reference and its
    # callback.
    ('objects', 'weakref.ReferenceType'): 3000,
    ('objects', 'builtins.builtin_function_or_method'): 3000,
    # 1 to 4 MiB are measured after one minute and after ten. What makes more
    # of it are not objects, which are counted, but what they hold.
    'memory': 16 * 1024,
}


def over(before: Counts, now: Counts) -> list[str]:
    """Say what has become more than it may."""
    return [
        f'{kind}: {number} instead of {before[kind].get(name, 0)}: {name}'
        for kind, counts in now.items() for name, number in counts.items()
        if number > (before[kind].get(name, 0)
                     + ALLOWED.get((kind, name), ALLOWED.get(kind, 0)))]


def table(before: Counts, now: Counts) -> Iterator[str]:
    """Show both, and of what there is most more."""
    for kind, counts in now.items():
        more = collections.Counter(counts)
        more.subtract(before[kind])
        yield '%-12s%8d, then %8d   %s' % (
            kind, sum(before[kind].values()), sum(counts.values()),
            ', '.join(f'{count:+} {name}'
                      for name, count in more.most_common(5) if count > 0))
