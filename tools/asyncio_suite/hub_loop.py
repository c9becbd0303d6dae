# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Let the loops of CPython's asyncio tests be aiohub's.

A greenlet runs a loop of aiohub: on the aiohub hub the hub's, on other hubs
a green thread. The tests make loops as they please, several in a thread, and
run each until something is complete. So here each loop has a hub, and running
it is a green wait, until its greenlet sees it stop. What makes tasks and runs
them is aiohub's own.
"""

import asyncio
from asyncio import base_events
from asyncio import unix_events
import functools
import importlib
import threading
from typing import Any
from unittest import mock

import eventlet
from eventlet import hubs
import greenlet

from aiohub import _green_loop
from aiohub import _lifetime
from aiohub import hub as hub_module
from aiohub import loop as loop_module
from aiohub import tasks

_lock = threading.Lock()


def _ignore(what: object) -> None:
    pass


class _Loop:
    """A loop that can be made and run as the tests do it.

    It also stands for the loops that the tests derive from ``BaseEventLoop``
    or make of it. These get another selector afterwards, or a mock of one.
    """

    def __init__(self, selector: object = None) -> None:
        # Where the tests' own class of loop notes what it watches; it makes
        # this too late for the self-pipe.
        self.readers: dict[int, Any] = {}
        self._init_with_hub()

    def close(self) -> None:
        if not self.is_running():
            self._selector = self._hub_selector
        super().close()

    # The tests do run it; aiohub's refuses.
    run_until_complete = asyncio.SelectorEventLoop.run_until_complete

    def _must_not_run(self) -> bool:
        return self.is_closed() or asyncio._get_running_loop() is not None


class HubLoop(_Loop, loop_module.EventLoop):
    """A loop with an aiohub hub of its own, which runs it as hubs do."""

    def _init_with_hub(self) -> None:
        def init(selector: Any) -> Any:
            super(_Loop, self).__init__(selector)
            return self

        # A hub makes its loop, makes it that of the thread, and closes the
        # hub that the thread had before; here they exist side by side.
        with (
            _lock,
            mock.patch.object(loop_module, 'EventLoop', init),
            mock.patch.object(asyncio, 'set_event_loop', _ignore),
            mock.patch.object(_lifetime, 'keep', _ignore),
        ):
            self.hub = hub_module.Hub()
            self.hub._post_initialize()

    def greenlet(self) -> greenlet.greenlet:
        """Return what runs the loop, or has run it last."""
        return self.hub.greenlet

    def run_forever(self) -> None:
        if self._must_not_run():
            super().run_forever()  # raises
        elif self.hub.running:
            # It is the hub that calls, which would go on.
            try:
                super().run_forever()
            finally:
                self.hub.stopping = True
        else:
            self._run_hub()

    def _run_hub(self) -> None:
        if self.hub.thread_id != threading.get_ident():
            # A loop can be run in another thread, a greenlet cannot.
            self.hub.thread_id = threading.get_ident()
            self.hub.greenlet = greenlet.greenlet(self.hub.run)
        before = hubs._threadlocal.__dict__.get('hub')
        hubs._threadlocal.hub = self.hub
        try:
            # Until the hub's greenlet ends, whose parent is this one.
            self.hub.switch()
        finally:
            del hubs._threadlocal.hub
            if before is not None:
                hubs._threadlocal.hub = before


class GreenLoop(_Loop, _green_loop.GreenEventLoop):
    """A loop that a green thread runs, on the hub of the thread."""

    def _init_with_hub(self) -> None:
        super(_Loop, self).__init__(hubs.get_hub())
        self._runner = _Runner(self)

    def greenlet(self) -> greenlet.greenlet:
        """Return what runs the loop, or has run it last."""
        return self._runner.greenlet

    def run_forever(self) -> None:
        if (self._must_not_run()
                or greenlet.getcurrent() is self._runner.greenlet):
            super().run_forever()
            return
        self._hub = hubs.get_hub()
        # What aiohub.get_loop() would have made.
        self._hub.aiohub_runner = self._runner
        try:
            self._runner.greenlet = eventlet.spawn(self._runner.run)
            exc = self._runner.greenlet.wait()
        finally:
            del self._hub.aiohub_runner
        if exc is not None:
            raise exc


class _Runner:
    greenlet: Any = None

    def __init__(self, loop: GreenLoop) -> None:
        self.loop = loop

    def run(self) -> BaseException | None:
        """Run the loop; return what it raised."""
        self.loop.state.runs_in = greenlet.getcurrent()
        try:
            self.loop.run_forever()
        except BaseException as exc:
            return exc
        return None


def _green_new_task(original: Any) -> Any:
    """Let the tests' own way to make a task make a green one.

    It calls the class of the task, and nothing of the loop.
    """
    @functools.wraps(original)
    def new_task(self: Any, loop: Any, coro: Any, *args: Any,
                 **kwargs: Any) -> Any:
        if isinstance(loop, _Loop):
            coro = _green(loop, coro)
        task = original(self, loop, coro, *args, **kwargs)
        stack = getattr(task, '_source_traceback', None)
        if stack:
            # As it is without this function.
            stack[:] = [
                frame for frame in stack if frame.filename != __file__]
        return task

    return new_task


def _green(loop: Any, coro: Any) -> Any:
    """Return what the loop gives to a task factory in place of *coro*."""
    given = []

    def factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
        given.append(coro)
        return _NoTask()

    before = loop.get_task_factory()
    loop.set_task_factory(factory)
    try:
        loop.create_task(coro)
    finally:
        loop.set_task_factory(before)
    return given[0]


class _NoTask:
    _source_traceback = None

    def set_name(self, name: str) -> None:
        pass


def _green_set_up(original: Any, new_task: Any) -> Any:
    @functools.wraps(original)
    def set_up(self: Any) -> None:
        original(self)
        # The tests' way to make a task is also the loop's task factory: it
        # must not make of a green task another.
        self.loop.set_task_factory(functools.partial(new_task, self))

    return set_up


def install(hub: str, green_tasks: bool) -> None:
    """Make every way in which the tests get a loop give one of aiohub's.

    :param hub: The eventlet hub; the environment names it.
    :param green_tasks: Whether tasks are to be green.
    """
    tasks.enabled = green_tasks
    ours = loop_module.EventLoop
    loop_class = HubLoop if hub == 'aiohub.hub' else GreenLoop
    for name in ('BaseEventLoop', 'SelectorEventLoop', 'EventLoop'):
        if hasattr(asyncio, name):
            setattr(asyncio, name, loop_class)
    try:
        policy = unix_events._DefaultEventLoopPolicy
    except AttributeError:
        policy = unix_events.DefaultEventLoopPolicy
    policy._loop_factory = loop_class
    # The hub of the thread before there are others, so that no test makes it.
    hubs.get_hub()
    reset = getattr(asyncio.events, '_set_event_loop_policy',
                    asyncio.set_event_loop_policy)
    reset(None)
    init = base_events.BaseEventLoop.__init__

    def only_ours(self: Any) -> None:
        if not isinstance(self, ours):
            raise AssertionError('%r is no loop of aiohub' % (type(self),))
        init(self)

    base_events.BaseEventLoop.__init__ = only_ours

    with mock.patch.object(base_events, 'BaseEventLoop', loop_class):
        # What its TestLoop derives from. Its bases cannot be exchanged later:
        # our loops have __slots__.
        importlib.import_module('test.test_asyncio.utils')
    from test.test_asyncio import test_tasks

    cases = test_tasks.BaseTaskTests
    cases.setUp = _green_set_up(cases.setUp, cases.new_task)
    cases.new_task = _green_new_task(cases.new_task)


def has_green_tasks() -> bool:
    """Whether the coroutine of a task runs in a greenlet of its own."""
    async def current() -> greenlet.greenlet:
        return greenlet.getcurrent()

    loop = asyncio.new_event_loop()
    try:
        used = loop.run_until_complete(current())
        return used is not loop.greenlet()
    finally:
        loop.close()
