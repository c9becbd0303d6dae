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

"""Runs many small cases in one interpreter, and looks what each leaves.

Used by scripts. A case is a function that runs in a green thread. After it
no task may be pending, no timer or listener left, nothing printed, logged or
warned of: what was raised was for somebody, and somebody took it.
"""

import asyncio
from collections.abc import Callable
import gc
import io
import logging
import sys
import time
import traceback
from typing import Any
import warnings

import mode

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs

#: After how many seconds a case counts as hanging: many times what the slowest
#: takes, even with several programs on each processor.
DEADLINE = 100

#: Seconds after which a timeout fires that is to find its work under way: on
#: a busy machine too.
SOON = 0.15

_cases: list[tuple[str, Callable[[], None]]] = []


def add(name: str, function: Callable[..., None], *args: Any) -> None:
    """Add a case."""
    _cases.append((name, lambda: function(*args)))


def case(function: Callable[[], None]) -> Callable[[], None]:
    """Decorator: the function is a case."""
    add(function.__name__, function)
    return function


# -- waiting for what happens

def until(condition: Callable[[], object]) -> None:
    """Let others run until something has come true; in green code."""
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up, 'it never comes true'
        eventlet.sleep(0)


def turns(count: int = 5) -> None:
    """Let everything run that can, in both worlds."""
    for _ in range(count):
        eventlet.sleep(0)


class Gate:
    """Where work waits until it is let on, from the same thread."""

    def __init__(self) -> None:
        #: How often somebody has come here.
        self.reached = 0
        self._waiting: list[Callable[[], None]] = []

    async def in_task(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(
            lambda: None if future.done() else future.set_result(None))
        self.reached += 1
        await future

    def in_green(self) -> None:
        opened = event.Event()
        self._waiting.append(
            lambda: None if opened.ready() else opened.send())
        self.reached += 1
        opened.wait()

    def open(self) -> None:
        """Let on all who wait here now."""
        waiting, self._waiting = self._waiting, []
        for let_on in waiting:
            let_on()


# -- what is left

def _tasks(loop: asyncio.AbstractEventLoop) -> set[Any]:
    """Return the tasks of a loop, but for those of eventlet's asyncio hub."""
    return {task for task in asyncio.all_tasks(loop)
            if mode.HUB != 'asyncio' or task.get_coro().__qualname__ not in (
                'Hub.run.<locals>.async_run', 'Event.wait')}


def _timers() -> list[Any]:
    hub = hubs.get_hub()
    return [timer for _, timer in [
        *hub.timers, *hub.next_timers, *getattr(hub, '_soon', ())]
        if not timer.called]


def _listeners() -> set[Any]:
    hub = hubs.get_hub()
    # With aiohub switched off the loop waits as a green thread.
    selector = getattr(aiohub.get_loop(), '_hub_selector', None)
    own = selector.poll.fileno() if selector is not None else None
    return {(kind, fd) for kind, bucket in hub.listeners.items()
            for fd in bucket if fd != own}


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append('logged: ' + self.format(record))


class Watch:
    """Collects what goes wrong while one case runs."""

    def __init__(self) -> None:
        self.log = _Log()
        logging.getLogger().addHandler(self.log)
        sys.unraisablehook = self._unraisable
        warnings.showwarning = self._warned
        warnings.simplefilter('always', RuntimeWarning)
        self.stderr = sys.stderr = io.StringIO()

    def _unraisable(self, args: Any) -> None:
        self.log.lines.append('unraisable: ' + ''.join(
            traceback.format_exception(args.exc_value)) + repr(args.object))

    def _warned(self, message: Any, *args: Any) -> None:
        self.log.lines.append('warned: %s' % message)

    def run(self, function: Callable[[], None],
            deadline: float | None = DEADLINE) -> list[str]:
        """Run a case; return what was wrong."""
        loop = aiohub.get_loop()
        turns()
        before = _tasks(loop), _timers(), _listeners()
        ended = event.Event()

        def guarded() -> None:
            try:
                function()
            except BaseException:
                self.log.lines.append(traceback.format_exc())
            ended.send()

        green = eventlet.spawn(guarded)
        if ended.wait(deadline) is None and not ended.ready():
            self.log.lines.append('hangs:\n' + ''.join(
                traceback.format_stack(green.gr_frame)))
        else:
            del green
            self._settle(loop, *before)
        wrong = [*self.log.lines]
        if self.stderr.getvalue():
            wrong.append('printed: ' + self.stderr.getvalue())
            self.stderr.seek(0)
            self.stderr.truncate()
        self.log.lines.clear()
        return wrong

    def _settle(self, loop: asyncio.AbstractEventLoop, tasks: set[Any],
                timers: list[Any], listeners: set[Any]) -> None:
        for _ in range(200):
            turns()
            left = [*(_tasks(loop) - tasks),
                    *(t for t in _timers() if t not in timers),
                    *(_listeners() - listeners)]
            if not left:
                break
        else:
            self.log.lines.append('left: %r' % left)
        left = []
        gc.collect()
        turns()


def run_all() -> None:
    """Run all cases, or those whose names contain an argument."""
    watch = Watch()
    # The first use of what is loaded and started once.
    aiohub.await_(asyncio.sleep(0))
    # Collecting after each case need not look at what is there now.
    gc.collect()
    gc.freeze()
    failed = 0
    for name, function in _cases:
        if sys.argv[1:] and not any(arg in name for arg in sys.argv[1:]):
            continue
        wrong = watch.run(function)
        if wrong:
            failed += 1
            print('FAILED %s\n    %s' % (
                name, '\n'.join(wrong).replace('\n', '\n    ')))
    sys.stderr = sys.__stderr__
    assert not failed, '%d of %d cases failed' % (failed, len(_cases))
    print('%d cases' % len(_cases))
