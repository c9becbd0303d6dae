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

"""asyncio's side: the event loop of a thread that has a hub.

:class:`EventLoop` is a stock ``asyncio.SelectorEventLoop`` on a selector of
ours: public API. What is added keeps it usable in a service: green tasks,
signals that wake it, native threads for its executor, and a way to go on in a
forked child. On the aiohub hub its selector is the hub.
"""

import asyncio
from collections.abc import Iterator
import contextlib
import contextvars
import logging
from typing import Any

import greenlet

from aiohub import _at_exit
from aiohub import _callers_step
from aiohub import _first_step
from aiohub import _fork
from aiohub import _futures
from aiohub import _green_event
from aiohub import _green_select
from aiohub import _green_timeout
from aiohub import _handles
from aiohub import _malloc
from aiohub import _native
from aiohub import _park
from aiohub import _selector
from aiohub import _signals
from aiohub import _task_class
from aiohub import _thrown
from aiohub import exceptions
from aiohub import tasks

#: What has to be loaded again for another asyncio, before this module.
BUILT_ON_ASYNCIO = (
    _handles, _park, _thrown, _green_timeout, _signals, tasks, _task_class)


_asyncio_log = logging.getLogger('asyncio')
_silent_threads: set[int] = set()


def _is_enabled_for(level: int) -> bool:
    return (_native.threading.get_ident() not in _silent_threads
            and type(_asyncio_log).isEnabledFor(_asyncio_log, level))


@contextlib.contextmanager
def _not_logging() -> Iterator[None]:
    """Drop what this thread logs for asyncio.

    A new loop logs the name of its selector. At that time the hub of the
    thread cannot wait yet, and logging may want to: to ask whether a level is
    enabled it takes its module's lock, and to write a line a handler takes
    its own. Both are waited for greenly after patching, in native threads too.
    """
    _asyncio_log.isEnabledFor = (  # type: ignore[method-assign]
        _is_enabled_for)
    ident = _native.threading.get_ident()
    _silent_threads.add(ident)
    try:
        yield
    finally:
        _silent_threads.discard(ident)


_NOT_YOURS = (
    'The hub of this thread runs its event loop, and nobody else can. Call '
    'aiohub.await_() to wait for a coroutine, and eventlet.sleep() or wait() '
    'of a green thread to let both go on.')


class EventLoop(_signals.SignalsLoop):
    """The event loop that a hub drives, and that drives the hub.

    :param selector: The selector of the hub.
    """

    built_on = asyncio

    def __init__(self, selector: _selector.HubSelector) -> None:
        _malloc.expect_large_blocks()
        _futures.replace()
        _task_class.replace()
        _green_event.replace()
        _green_select.replace()
        _green_timeout.replace()
        with _not_logging():
            super().__init__(selector)
        self._hub_selector = selector
        # Private to asyncio, which lets nobody ask. Without it there is
        # always something.
        selector.ready = getattr(self, '_ready', None)
        if selector.ready is not None:
            self.state.ready = selector.ready
        self.state.callers_step = _callers_step.CallersStep(
            self.state.spare_greenlets)
        self._take_shortcuts()

    # -- running

    def _take_shortcuts(self) -> None:
        """Note what may be done without asking asyncio.

        Not in its debug mode, which notes more of each callback.
        """
        is_plain = (hasattr(self.state.ready, 'popleft')
                    and not self.get_debug())
        self.state.calls_few = is_plain and _handles.can_be_called()
        self.state.calls_soon = (is_plain and not self.is_closed()
                                 and _handles.can_be_queued())

    def set_debug(self, enabled: bool) -> None:
        """Turn asyncio's debug mode on or off; see asyncio's."""
        super().set_debug(enabled)
        self._take_shortcuts()

    def run_forever(self) -> None:
        """Run the loop; only its hub does that.

        :raises aiohub.AiohubError: If anybody else calls it. The hub could
            not wait for green threads meanwhile, nor run afterwards.
        """
        if (greenlet.getcurrent() is not self.state.runs_in
                and not self.is_running()):
            raise exceptions.AiohubError(_NOT_YOURS)
        super().run_forever()

    def stop(self) -> None:
        """Stop at the end of the turn; see asyncio's."""
        self.state.needs_turn = True
        super().stop()

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Call *callback* in the next turn of the loop; see asyncio's."""
        state = self.state
        if state.calls_soon:
            # Who wakes a task comes by. asyncio makes three calls more for
            # it, which take 65 ns of 380.
            handle = asyncio.Handle(callback, args, self, context)
            state.ready.append(handle)
            return handle
        handle = super().call_soon(callback, *args, context=context)
        _handles.leave_out_caller(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call *callback* at a time of the loop's clock; see asyncio's."""
        self.state.needs_turn = True
        handle = super().call_at(when, callback, *args, context=context)
        if not self.state.calls_soon:
            _handles.leave_out_caller(handle)
        return handle

    def run_until_complete(self, future: Any) -> Any:
        """Refuse to run, as :meth:`run_forever` does; a coroutine is closed.

        :raises aiohub.AiohubError: Unless the loop runs already; then it is
            asyncio's ``RuntimeError``.
        """
        if not self.is_running():
            if asyncio.iscoroutine(future):
                future.close()
            raise exceptions.AiohubError(_NOT_YOURS)
        return super().run_until_complete(future)

    def close(self) -> None:
        """Close the loop; see asyncio's."""
        self.hold_inherited()
        self.state.calls_soon = False
        try:
            super().close()
        except BaseException:  # it runs
            self._take_shortcuts()
            raise
        self._tell_those_who_wait()

    def _tell_those_who_wait(self) -> None:
        for function in list(self.state.when_closed):
            function(self)

    # -- tasks

    def create_task(self, coro: Any, **kwargs: Any) -> 'asyncio.Task[Any]':
        """Make a task of a coroutine, a green one; see asyncio's.

        A task factory that the program has set is given the green coroutine.
        """
        if tasks.enabled:
            coro = tasks.green(coro, self)
        task = super().create_task(coro, **kwargs)
        if not self.state.calls_soon:
            _handles.leave_out_caller(task)
        return task

    def first_step_of(
        self, coro: Any, hub: Any,
    ) -> '_first_step.FirstStep | None':
        """Make a green task whose first step can be made at once, or nothing.

        For green code that is about to wait for it. Not for what a task
        calls: there is one that makes a step at a time. Not for tasks that
        are not green, which would wait in the middle of the step, and the hub
        with them. And not if the program makes its own tasks, or looks what
        they call.

        :param hub: The hub that runs this loop.
        """
        if (not tasks.enabled or self.state.has_task_factory
                or asyncio.current_task(self) is not None):
            return None
        try:
            # Not by its __dict__, which to ask for makes it slow.
            own: Any = self.call_soon
            if own.__func__ is not _call_soon:
                return None
        except AttributeError:
            return None  # no method
        return _first_step.KIND(
            hub, _task_class.PlainTask, tasks.green(coro, self))

    def set_task_factory(self, factory: Any) -> None:
        """Choose what makes tasks; see asyncio's."""
        if factory is not None and factory is _task_class.PLAIN_EAGER_FACTORY:
            # anyio calls it without the loop.
            factory = _task_class.EAGER_FACTORY
        super().set_task_factory(factory)
        self.state.has_task_factory = factory is not None

    # -- the end

    def has_work(self) -> bool:
        """Return whether there is something for :meth:`end_work` to do."""
        return bool(
            self._own_tasks()
            # Private to asyncio, as there is nothing else to ask.
            or self._asyncgens  # type: ignore[attr-defined]
            or ((executor := self.state.native_executor)
                and executor.unfinished))

    def _own_tasks(self) -> 'set[asyncio.Task[Any]]':
        return asyncio.all_tasks(self) - set(self.state.inherited)

    async def end_work(self) -> None:
        """Have everything clean up, as ``asyncio.run()`` does at its end.

        Tasks are cancelled, asynchronous generators closed, and the threads
        of the loop let finish what they do. Nothing of it can be stopped, so
        it takes as long as they take.
        """
        self.state.is_ending = True
        # Before they see it as a cancellation.
        self._tell_those_who_wait()
        me = {asyncio.current_task()}
        await self._cancel(self._own_tasks() - me)
        # Once more, for those that the clean-up has made.
        await self._cancel(self._own_tasks() - me)
        await self.shutdown_asyncgens()
        executor = self.state.native_executor
        while executor and (futures := list(executor.unfinished)):
            await asyncio.wait(
                [asyncio.wrap_future(future) for future in futures])

    async def _cancel(self, some: set[Any]) -> None:
        for task in some:
            task.cancel()
        await asyncio.gather(*some, return_exceptions=True)
        for task in some:
            if not task.cancelled() and isinstance(
                    task.exception(), Exception):
                self.call_exception_handler({
                    'message': 'unhandled exception in a task that was '
                               'cancelled because its event loop ends',
                    'exception': task.exception(),
                    'task': task,
                })

    # -- threads

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any,
    ) -> 'asyncio.Future[Any]':
        """Call *func* in a thread; see asyncio's.

        Without an *executor* the thread is native, before and after monkey
        patching, unless :meth:`set_default_executor` was called.
        """
        _at_exit.mind()
        if executor is None and not self.state.has_executor:
            self.state.native_executor = _native.new_executor()
            self.set_default_executor(self.state.native_executor)
        return super().run_in_executor(executor, func, *args)

    def set_default_executor(self, executor: Any) -> None:
        """Choose the threads for calls that do not; see asyncio's."""
        super().set_default_executor(executor)
        self.state.has_executor = True

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads, and start no more; see asyncio's."""
        self.state.has_executor = True
        await super().shutdown_default_executor(*args)

    def wake(self) -> None:
        """End the poll, or have the next one return at once; in any thread.

        As ``call_soon_threadsafe()`` does, for who has nothing to be called
        by the loop. ``_write_to_self`` is private to asyncio, as is the rest
        of its self-pipe.
        """
        self._write_to_self()  # type: ignore[attr-defined]

    # -- while the loop stands still

    def leave_task(self) -> 'asyncio.Task[Any] | None':
        """Have no task be the current one, as green threads expect."""
        task = asyncio.current_task(self)
        if task is not None:
            asyncio._leave_task(self, task)
        return task

    def enter_task(self, task: 'asyncio.Task[Any] | None') -> None:
        """Take :meth:`leave_task` back."""
        if task is not None:
            asyncio._enter_task(self, task)

    def hold(self, events: _selector.Events) -> None:
        """Note that the loop cannot be told of *events* now."""
        for key, _ in self._hub_selector.asyncio_events(events):
            if key.fd == self._ssock.fileno():  # type: ignore[attr-defined]
                # It has woken the poll, and is to do so again.
                self._read_from_self()  # type: ignore[attr-defined]
            else:
                self._hub_selector.hold(key.fd)

    def release(self) -> None:
        """Have the loop be told of events again."""
        self._hub_selector.release()

    # -- fork

    def detach(self) -> None:
        """Leave the poll alone: this thread is about to fork."""
        self._hub_selector.detach()

    def attach(self) -> None:
        """Go on after a fork, in the parent."""
        self._hub_selector.attach()

    def renew_after_fork(self, inherited: set[asyncio.Task[Any]],
                         task: asyncio.Task[Any] | None) -> None:
        """Stop sharing with the parent process, in a child just forked.

        The poll object and the self-pipe belong to both after a fork: each
        process would take the other's events and wake-ups.

        :param inherited: The parent's tasks; *task* was the current one.
        """
        self._inherit(inherited)
        self._hub_selector.renew()
        # Private to asyncio, which has no other way to replace the self-pipe
        # (bpo-21998).
        self._close_self_pipe()  # type: ignore[attr-defined]
        self._make_self_pipe()  # type: ignore[attr-defined]
        self._forget_processes()
        if self.state.native_executor is not None:
            self.state.native_executor.forget()
        # asyncio forgets the running loop in a child (gh-66285), and since
        # 3.14.1 the current task (gh-139894); here they go on. What ran in
        # another thread, as eventlet's asyncio hub may note, does not.
        running = self.is_running()
        asyncio._set_running_loop(self if running else None)
        if task is not None and asyncio.current_task(self) is not task:
            asyncio._enter_task(self, task)
        if self.state.wakeup_fd is not None or (
                running and self.state.runs_in_hub):
            # It was the old self-pipe, and asyncio has turned it off; or this
            # thread was not the main one until now.
            self.watch_signals()

    def _inherit(self, inherited: set[asyncio.Task[Any]]) -> None:
        self.state.is_inherited = True
        self.state.inherited.update(inherited | asyncio.all_tasks(self))
        # Private to asyncio: shutdown_asyncgens() closes all of them.
        self._asyncgens.clear()  # type: ignore[attr-defined]

    def hold_inherited(self) -> None:
        """Have what is the parent's never be cleaned up here."""
        if self.state.is_inherited:
            _fork.hold_for_ever(
                list(self.state.inherited),
                list(self._hub_selector.keys.values()))

    def _forget_processes(self) -> None:
        """Do not wait for the parent's processes: only the parent can.

        asyncio's child watchers would log that somebody else has reaped them.
        """
        for key in list(self._hub_selector.keys.values()):
            # Private to asyncio: the selector's data is a pair of handles,
            # and a handle does not say otherwise what it calls.
            reader = key.data[0]
            watcher = getattr(
                getattr(reader, '_callback', None), '__self__', None)
            if 'ChildWatcher' in type(watcher).__name__:
                self.remove_reader(key.fd)

    def close_in_child(self, inherited: set[asyncio.Task[Any]]) -> None:
        """Close what a forked child inherited of another thread's loop."""
        self._inherit(inherited)
        for sig in list(self.state.signals):
            # Nobody would call them.
            self.remove_signal_handler(sig)
        self.unwatch_signals()
        self._hub_selector.poll.close()
        if self.state.native_executor is not None:
            self.state.native_executor.forget()
        if not self.is_running():
            self.close()
            return
        # One that runs is referred to by a greenlet that never ends.
        for name in ('_ssock', '_csock'):
            sock = getattr(self, name, None)
            if sock is not None:
                sock.close()


_call_soon = EventLoop.call_soon
