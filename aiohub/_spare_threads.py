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

"""The green threads that have ended, for the next ones.

Each greenlet that begins to run makes Python map 16 KiB for its frames, and
unmap them when it ends. With what the kernel does when they are first used,
that is a tenth of the time of a small request to ``eventlet.wsgi``. So there
are green threads that do not end when their function has returned and nobody
has kept them: they wait until ``eventlet.spawn()`` asks for a new one, and are
that.

Nobody can tell. Who refers to a green thread, or watches it, sees it end; so
does who waits for it, as it has to refer to it. What it has left in a
``threading.local`` goes when its function has returned, as it would when it
ends, and with its context. Until it is begun it behaves as one that has not
begun: what eventlet or a program may ask of that is exchanged in eventlet's
class, as the methods of semaphores and events are. ``eventlet.spawn()`` is a
function of ours, which takes less for new ones, too.

One that ``eventlet.spawn()`` has made anew always ends: as long as its first
function runs, greenlet refers to what it was first switched to with. It has
the hub make one in its place, which is switched to with nothing.

Orders of events. It is made, and begins when the hub calls its ``switch()``,
as any. It is made and killed before that: eventlet gives it another ``run``,
tells who waits, and throws into it; it ends where it waits, and the function
is never called. It is made, and dropped: it ends with ``GreenletExit``, as
nothing in its frame refers to it. Somebody has got hold of it while it waited
(``gc.get_objects()`` knows all that there are): it is not used again. The hub
is closed: all that wait are dropped. The process is forked: they are as good
in the child.
"""

import functools
import sys
from typing import Any
import weakref

import eventlet
from eventlet import event
from eventlet import greenthread
import greenlet

from aiohub import _eventlet

#: How many wait at most, in each thread: they take 7 KiB each.
MOST = 100

_GreenThread = greenthread.GreenThread
_getcurrent = greenlet.getcurrent
_getrefcount = sys.getrefcount
_getweakrefcount = weakref.getweakrefcount
_switch = greenlet.greenlet.switch
_is_active = greenlet.greenlet.__bool__
_native_run: Any = vars(greenlet.greenlet)['run']
_native_frame: Any = vars(greenlet.greenlet)['gr_frame']
_make: Any = greenlet.greenlet.__new__
_init: Any = greenlet.greenlet.__init__
_Event: Any = event.Event
_make_event: Any = event.Event.__new__
_NOT_USED = event.NOT_USED
_current_hub = _eventlet.current_hub
#: What :func:`eventlet.spawn` is without us.
eventlets_spawn: Any = getattr(
    greenthread.spawn, '__wrapped__', greenthread.spawn)


def _code_that_forgets() -> Any:
    key = greenlet.greenlet()
    keys = weakref.WeakKeyDictionary({key: None})
    code = getattr(weakref.getweakrefs(key)[0].__callback__, '__code__', keys)
    return code


#: What tells a ``WeakKeyDictionary`` that a key is gone. Each
#: ``threading.local`` has one after monkey patching.
_FORGET = _code_that_forgets()


class Spare:
    """Those of a loop."""

    def __init__(self) -> None:
        self.greens: list[Any] = []

    def make(self) -> None:
        """Make one that waits; the hub calls it."""
        if len(self.greens) < MOST:
            green = _make(_GreenThread)
            _init(green, main_again, _getcurrent())
            _switch(green)
            self.greens.append(green)


def main(function: Any, args: Any, kwargs: Any) -> None:
    """Run a function, and have another one made if this could be used again.

    This is ``GreenThread.main()``, of one that ``eventlet.spawn()`` has made.
    """
    green: Any = _getcurrent()
    try:
        result = function(*args, **kwargs)
    except:  # noqa: E722, H201
        green._exit_event.send_exception(*sys.exc_info())
        green._resolve_links()
        raise
    green._exit_event.send(result)
    if green._exit_funcs:
        green._resolve_links()
    if _getrefcount(_getcurrent()) == _RUNNING:
        hub = _hub_to_return_to(green)
        if hub is not None and not _is_watched(green):
            hub.call_next(hub.loop.state.spare_threads.make)


def main_again() -> Any:
    """Run one function after the other, each as :func:`main` does.

    In the same lines: a function for them would be one more in tracebacks.
    Between two of them the frame does not refer to the green thread, which
    could never be dropped otherwise.
    """
    while True:
        given = _switch(_getcurrent().parent)
        green: Any = _getcurrent()
        # Not before: to be killed it is given another one.
        run = vars(green).pop('_aiohub_run')
        if run is not None:
            return run(*given) if isinstance(given, tuple) else run(given)
        function, args, kwargs = given
        del given
        try:
            result = function(*args, **kwargs)
        except:  # noqa: E722, H201
            green._exit_event.send_exception(*sys.exc_info())
            green._resolve_links()
            raise
        green._exit_event.send(result)
        if green._exit_funcs:
            green._resolve_links()
        function = args = kwargs = result = None
        if _getrefcount(_getcurrent()) != _RUNNING:
            return None
        hub = _hub_to_return_to(green)
        if hub is None or _is_watched(green):
            return None
        if _getweakrefcount(green):
            _drop_values(green)
            # That may have run any code, which may have waited.
            if (_getrefcount(_getcurrent()) != _RUNNING
                    or _getweakrefcount(green)
                    or hub is not _hub_to_return_to(green)
                    or _is_watched(green)):
                return None
        green.gr_context = green._exit_event = None
        # A signal handler that makes a green thread now finds one that is
        # not waiting, and leaves it alone.
        hub.loop.state.spare_threads.greens.append(green)
        del green, hub, run


def _hub_to_return_to(green: Any) -> Any:
    """Return the hub if it gets control when a green thread ends.

    While one waits it refers to who has got control from it, and may keep
    nobody else's greenlet. That is to be the hub's, or the front, which has
    ended, and hands control on to that.

    :returns: None if somebody else gets it, or if enough green threads wait.
    """
    hub: Any = _current_hub()
    parent = green.parent
    try:
        own = hub.loop_greenlet
        if ((parent is own or parent.dead and parent.parent is own)
                and len(hub.loop.state.spare_threads.greens) < MOST):
            return hub
    except AttributeError:
        pass  # another kind of hub, or none
    return None


def _is_watched(green: Any) -> bool:
    """Return whether somebody can tell that a green thread does not end."""
    if type(green) is not _GreenThread or len(vars(green)) != _ATTRIBUTES:
        return True
    return _getweakrefcount(green) > 0 and any(
        getattr(reference.__callback__, '__code__', None) is not _FORGET
        for reference in weakref.getweakrefs(green))


def _drop_values(green: Any) -> None:
    """Drop what is kept by a ``WeakKeyDictionary`` for a green thread."""
    for reference in weakref.getweakrefs(green):
        callback: Any = reference.__callback__
        callback(reference)


def spawn(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Take the place of :func:`eventlet.spawn`."""
    hub: Any = _current_hub()
    try:
        greens = hub.loop.state.spare_threads.greens
    except AttributeError:  # another kind of hub, or none
        return eventlets_spawn(func, *args, **kwargs)
    green: Any
    while greens:
        if (_getrefcount(green := greens.pop()) == _WAITING
                and _is_active(green) and not _getweakrefcount(green)):
            green.parent = hub.greenlet
            green._aiohub_run = None
            break
        # Somebody has it; or Ctrl-C has ended it just then.
    else:
        green = _make(_GreenThread)
        _init(green, main, hub.greenlet)
    # What event.Event() and GreenThread() do, in fewer calls.
    ended = green._exit_event = _make_event(_Event)
    ended._waiters = set()
    ended._result = _NOT_USED
    green._resolving_links = False
    green._exit_funcs = None
    hub.start_next(green.switch, (func, args, kwargs))
    return green


class GreenThread(greenthread.GreenThread):  # type: ignore[misc]
    """What eventlet's class gets."""

    #: In one that waits and was made anew: what it is to run, None for what
    #: it is switched to with. It is gone when that has begun.
    _aiohub_run: Any

    def __bool__(self) -> bool:
        return _is_active(self) and '_aiohub_run' not in vars(self)

    @property
    def run(self) -> Any:
        """What it runs; only until it has begun."""
        if '_aiohub_run' in vars(self):
            return self._aiohub_run or main
        return _native_run.__get__(self)

    @run.setter
    def run(self, run: Any) -> None:
        if '_aiohub_run' in vars(self):
            self._aiohub_run = run
        else:
            _native_run.__set__(self, run)

    @property
    def gr_frame(self) -> Any:
        """Its innermost frame; None until it has begun."""
        if '_aiohub_run' in vars(self):
            return None
        return _native_frame.__get__(self)


def _count_running() -> int:
    counts = []

    def run() -> None:
        green = _getcurrent()
        counts.append(_getrefcount(_getcurrent()))
        del green

    switch = greenlet.greenlet(run).switch
    switch()
    return counts[0]


def _count_waiting() -> int:
    greens = [greenlet.greenlet()]
    count = _getrefcount(green := greens.pop())
    del green
    return count


#: How many references there are to one that nobody else refers to: to one
#: that ends, when who has switched to it has a bound method; and to one that
#: was taken. The interpreter decides. All ask for the result of a call: as of
#: 3.14 a local variable as an argument may be a reference or not, as the
#: compiler sees fit (gh-130704).
_RUNNING = _count_running()
_WAITING = _count_waiting()
#: How many attributes one has.
_ATTRIBUTES = 3


def _is_known() -> bool:
    """Whether what eventlet's methods do is what was known here.

    They are its own business. Where they look otherwise, each green thread is
    a new one, and ends.
    """
    return all(
        getattr(getattr(method, '__code__', None), 'co_names', None) == names
        for method, names in _KNOWN.items())


_KNOWN = {
    eventlets_spawn: (
        'hubs', 'get_hub', 'GreenThread', 'greenlet', 'schedule_call_global',
        'switch'),
    _GreenThread.__init__: (
        'greenlet', '__init__', 'main', 'event', 'Event', '_exit_event',
        '_resolving_links', '_exit_funcs'),
    _GreenThread.main: (
        '_exit_event', 'send', '_resolve_links', 'send_exception', 'sys',
        'exc_info'),
    event.Event.__init__: ('set', '_waiters', 'reset'),
    event.Event.reset: ('_result', 'NOT_USED', '_exc'),
}
functools.update_wrapper(spawn, eventlets_spawn)


def replace() -> None:
    """Use these in eventlet, in all threads.

    Who has imported ``spawn()`` from eventlet before goes on with that, and
    has new green threads.
    """
    if _is_known():
        for name in ('__bool__', 'run', 'gr_frame'):
            setattr(_GreenThread, name, vars(GreenThread)[name])
        eventlet.spawn = greenthread.spawn = spawn
