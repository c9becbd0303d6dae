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

"""asyncio on the original modules, whatever eventlet has patched.

``eventlet.monkey_patch()`` changes the modules of the standard library in
place, so ``asyncio``, which refers to them as modules, is patched with them:
its self-pipe would be a green socket, its executor's threads green threads.
:func:`unpatch_asyncio` lets asyncio's modules, and nothing else, refer to the
originals; :class:`Executor` gives its loop threads that are native although
``concurrent.futures`` stays as the service has it (eventlet's own asyncio hub
turns half of ``concurrent.futures`` native, and green futures then hang).
"""

import atexit
from collections.abc import Callable
from collections.abc import Iterator
import concurrent.futures
import contextlib
import functools
import importlib
import os
import sys
import types
from typing import Any
from typing import TypeVar

from eventlet import patcher

from aiohub import _at_exit

threading = patcher.original('threading')
queue = patcher.original('queue')

_T = TypeVar('_T')

#: What eventlet patches and asyncio uses, and :mod:`eventlet.patcher` can
#: give back without more ado.
_MODULES = ('os', 'select', 'socket', 'threading', 'time')

#: Held while sys.modules is not what it should be. Reentrant, as a signal
#: handler may fork, which takes it.
lock = threading.RLock()


@contextlib.contextmanager
def _imports_see(modules: dict[str, types.ModuleType]) -> Iterator[None]:
    """Let ``import`` find *modules* instead of what is patched."""
    saved = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _selectors(originals: dict[str, types.ModuleType]) -> types.ModuleType:
    # selectors defines its classes by what select has while it is imported.
    # patcher.original() imports it beside a patched select, which has lost
    # epoll, unless somebody asked for it before patching.
    known = '__original_module_selectors'
    if (known in sys.modules
            and hasattr(originals['select'], 'epoll')
            and not hasattr(sys.modules[known], 'EpollSelector')):
        del sys.modules[known]
    if known not in sys.modules:
        with _imports_see({'select': originals['select']}):
            patcher.original('selectors')
    return sys.modules[known]


def _subprocess(originals: dict[str, types.ModuleType]) -> types.ModuleType:
    # patcher.original('subprocess') refers to the patched os (its Popen
    # reads the child's errno through a green os.read) and is the base of
    # eventlet's green Popen, which is right to do so. asyncio, which starts
    # processes outside of any green thread, gets a copy of its own.
    known = 'aiohub._original_subprocess'
    if known not in sys.modules:
        import subprocess  # nosec B404

        needs = {**originals, 'subprocess': subprocess}
        with _imports_see(needs):
            del sys.modules['subprocess']
            module = importlib.import_module('subprocess')
        for name in ('SubprocessError', 'CalledProcessError',
                     'TimeoutExpired'):
            setattr(module, name, getattr(subprocess, name))
        sys.modules[known] = module
    return sys.modules[known]


def _ssl() -> types.ModuleType:
    # Not patcher.original('ssl'): that is a second import with a second
    # SSLContext, and asyncio's isinstance checks would refuse the contexts
    # of the service, patched or not. The green classes derive from the first
    # import's, so those are what asyncio is given.
    known = 'aiohub._original_ssl'
    if known not in sys.modules:
        import ssl

        module = types.ModuleType('ssl', ssl.__doc__)
        module.__dict__.update(ssl.__dict__)
        for name in ('SSLContext', 'SSLSocket'):
            cls = getattr(ssl, name)
            while cls.__module__ != 'ssl':
                cls = cls.__bases__[0]
            setattr(module, name, cls)
        sys.modules[known] = module
    return sys.modules[known]


def unpatch_asyncio() -> None:
    """Let asyncio's modules refer to the original standard library.

    Safe to call any number of times, before and after
    ``eventlet.monkey_patch()``: what is replaced are references, so that a
    later patching does not reach asyncio either.
    """
    with lock:
        originals = {name: patcher.original(name) for name in _MODULES}
        originals['selectors'] = _selectors(originals)
        originals['subprocess'] = _subprocess(originals)
        originals['ssl'] = _ssl()
    # In one step: until Python 3.12, the garbage collector may run while a
    # list of the items is made, and what it ends may import something.
    for name, module in sys.modules.copy().items():
        if name != 'asyncio' and not name.startswith('asyncio.'):
            continue
        for attribute, original in originals.items():
            # "is": asyncio.subprocess is a module of asyncio's own.
            if getattr(module, attribute, None) is sys.modules.get(attribute):
                setattr(module, attribute, original)


def forget_dummy_thread() -> None:
    """Undo a ``threading.current_thread()`` of a thread that has ended.

    What is called while the variables of a thread go, which a log line is
    enough for, gets a dummy thread. From CPython 3.13 that is to go with a
    variable of the thread, by a private name of threading; made that late,
    nothing removes it until the interpreter ends, and there it fails with a
    message. Without that name dummy threads stay, as is documented.
    """
    for module in {sys.modules.get('threading', threading), threading}:
        info = getattr(module, '_thread_local_info', None)
        if info is not None:
            info.__dict__.pop('_track_dummy_thread_ref', None)


class Future(concurrent.futures.Future[_T]):
    """A future whose result is set by a native thread.

    After monkey patching, the condition that guards a future is green, and
    cannot be waited for from two OS threads. ``_condition`` is the one
    private name of ``concurrent.futures`` that is used; there is no public
    way to give a future another lock. A test notices when it goes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition = threading.Condition()


_Job = tuple[Future[Any], Callable[[], Any]]


def new_executor(*args: Any, **kwargs: Any) -> 'Executor':
    """Return an :class:`Executor` that asyncio takes as its default one.

    It takes nothing but a ``ThreadPoolExecutor``; only the interface of that
    is shared. The class is made when it is needed: importing
    ``concurrent.futures.thread`` before monkey patching would leave it with
    a native lock that green threads then block on, and at the exit of the
    interpreter it cannot be imported at all.
    """
    return _executor_class()(*args, **kwargs)


@functools.cache
def _executor_class() -> 'type[Executor]':
    return type('NativeThreadPoolExecutor',
                (Executor, concurrent.futures.ThreadPoolExecutor), {})


class Executor(concurrent.futures.Executor):
    """A thread pool of native threads, before and after monkey patching.

    Threads are started when a job finds none idle, up to *max_workers*. As
    with the standard one, the interpreter waits at exit for the jobs that
    were submitted.

    :param max_workers: How many threads at the most.
    :param thread_name_prefix: What the names of the threads begin with.
    """

    def __init__(self, max_workers: int | None = None,
                 thread_name_prefix: str = 'asyncio') -> None:
        # Not that of ThreadPoolExecutor, whose locks and queue are green.
        self._max = max_workers or min(32, (os.cpu_count() or 1) + 4)
        self._prefix = thread_name_prefix
        self.forget()

    def forget(self) -> None:
        """Begin anew: for a forked child, where no thread has survived."""
        self._lock = threading.Lock()
        self._jobs = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._workers: list[Any] = []
        self._down = False
        #: The futures of jobs that have not ended.
        self.unfinished: set[Future[Any]] = set()

    def submit(
            self, fn: Callable[..., _T], /, *args: Any,
            **kwargs: Any) -> concurrent.futures.Future[_T]:
        """Run ``fn(*args, **kwargs)`` in a native thread.

        :returns: A future of its result.
        :raises RuntimeError: If the executor was shut down.
        """
        with self._lock:
            if self._down:
                raise RuntimeError(
                    'cannot schedule new futures after shutdown')
            future: Future[_T] = Future()
            self.unfinished.add(future)
            future.add_done_callback(self.unfinished.discard)
            job: _Job = (future, lambda: fn(*args, **kwargs))
            self._jobs.put(job)
            if not self._idle.acquire(blocking=False):
                try:
                    self._start_worker()
                except RuntimeError:
                    # Python 3.12 lets no thread begin when the interpreter
                    # ends. One that there is does it when it can. Else it is
                    # done here, which holds the loop up: better than a
                    # failure in somebody's clean-up.
                    if not _at_exit.begun:
                        raise
                    if not self._workers:
                        _do(*self._jobs.get())
        return future

    def _start_worker(self) -> None:
        if len(self._workers) >= self._max:
            return
        if not self._workers:
            # The interpreter waits at exit for the threads of the threading
            # that it knows, and these belong to a copy of it.
            atexit.register(self.shutdown)
        worker = threading.Thread(
            target=_work, args=(self._jobs, self._idle),
            name='%s_%d' % (self._prefix, len(self._workers)))
        worker.start()
        self._workers.append(worker)

    def shutdown(self, wait: bool = True, *,
                 cancel_futures: bool = False) -> None:
        """Take no more jobs.

        :param wait: Whether to wait until the submitted jobs have run.
        :param cancel_futures: Whether to cancel those that have not started.
        """
        with self._lock:
            if not self._down:
                self._down = True
                atexit.unregister(self.shutdown)
                if cancel_futures:
                    self._cancel_jobs()
                for _ in self._workers:
                    self._jobs.put(None)
        if wait:
            for worker in self._workers:
                worker.join()

    def _cancel_jobs(self) -> None:
        while True:
            try:
                job: _Job = self._jobs.get_nowait()
            except queue.Empty:
                return
            job[0].cancel()


def _work(jobs: Any, idle: Any) -> None:
    """The life of a worker thread; it holds no reference to its pool."""
    job: _Job | None
    while True:
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            idle.release()
            job = jobs.get()
        if job is None:
            return
        _do(*job)
        del job


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            result = call()
        except BaseException as exc:
            future.set_exception(exc)
            # The traceback refers to this frame; end the cycle.
            del exc
        else:
            future.set_result(result)
