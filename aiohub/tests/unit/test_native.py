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

"""Native threads, and asyncio's references to the original modules."""

import asyncio
import concurrent.futures
import gc
import subprocess
import sys
import threading
import weakref

from eventlet import patcher
from oslotest import base

from aiohub import _native


class ExecutorTestCase(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.executor = _native.new_executor(4, thread_name_prefix='test')
        self.addCleanup(self.executor.shutdown)

    def test_results(self):
        futures = [self.executor.submit(pow, n, exp=2) for n in range(100)]
        self.assertEqual(
            [n * n for n in range(100)], [f.result() for f in futures])
        failed = self.executor.submit(int, 'x')
        self.assertIsInstance(failed.exception(), ValueError)
        # Even what is no Exception stays in the future.
        failed = self.executor.submit(sys.exit, 3)
        self.assertIsInstance(failed.exception(), SystemExit)
        self.assertEqual(5, self.executor.submit(int, 5).result())

    def test_threads_start_as_needed(self):
        self.executor.submit(int).result()
        barrier = threading.Barrier(4)
        waiting = [self.executor.submit(barrier.wait, 60) for _ in range(4)]
        for future in waiting:
            future.result()
        names = {self.executor.submit(
            lambda: _native.threading.current_thread().name).result()
            for _ in range(20)}
        self.assertLessEqual(
            names, {'test_0', 'test_1', 'test_2', 'test_3'})

    def test_an_idle_thread_is_used_again(self):
        idents = set()
        for _ in range(20):
            idents.add(self.executor.submit(
                _native.threading.get_ident).result())
            # The worker says that it is idle just after it gave the result.
            while not self.executor._idle._value:
                threading.Event().wait(0.001)
        self.assertEqual(1, len(idents))

    def test_cancel(self):
        gate = threading.Event()
        busy = [self.executor.submit(gate.wait, 60) for _ in range(4)]
        waiting = self.executor.submit(int)
        self.assertTrue(waiting.cancel())
        gate.set()
        self.assertEqual([True] * 4, [f.result() for f in busy])
        self.assertEqual(7, self.executor.submit(int, 7).result())
        self.assertRaises(
            concurrent.futures.CancelledError, waiting.result)

    def test_shutdown(self):
        gate = threading.Event()
        busy = [self.executor.submit(gate.wait, 60) for _ in range(4)]
        waiting = [self.executor.submit(int) for _ in range(10)]
        self.executor.shutdown(wait=False)
        self.assertRaises(RuntimeError, self.executor.submit, int)
        gate.set()
        self.executor.shutdown()
        self.assertTrue(all(f.done() for f in busy + waiting))
        self.assertEqual([0] * 10, [f.result() for f in waiting])

    def test_shutdown_and_cancel(self):
        gate = threading.Event()
        busy = [self.executor.submit(gate.wait, 60) for _ in range(4)]
        while not all(f.running() for f in busy):
            threading.Event().wait(0.001)
        waiting = [self.executor.submit(int) for _ in range(10)]
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.assertTrue(all(f.cancelled() for f in waiting))
        gate.set()
        self.assertEqual([True] * 4, [f.result() for f in busy])

    def test_forget(self):
        self.executor.submit(int).result()
        old = list(self.executor._workers)
        jobs = self.executor._jobs
        self.executor.forget()
        self.assertEqual(5, self.executor.submit(int, 5).result())
        jobs.put(None)
        for worker in old:
            worker.join()

    def test_nothing_is_kept(self):
        class Result:
            pass

        future = self.executor.submit(Result)
        result = weakref.ref(future.result())
        del future
        while not self.executor._idle._value:
            threading.Event().wait(0.001)
        gc.collect()
        self.assertIsNone(result())

    def test_the_private_name_of_futures(self):
        # Future gives it another lock; see there.
        self.assertIn('_condition', vars(concurrent.futures.Future()))
        self.assertIn('_condition', vars(_native.Future()))


class UnpatchTestCase(base.BaseTestCase):
    def test_references(self):
        _native.unpatch_asyncio()
        from asyncio import base_events
        from asyncio import selector_events
        from asyncio import unix_events

        for module, names in (
                (base_events, ('os', 'socket', 'threading', 'time')),
                (selector_events, ('os', 'selectors', 'socket')),
                (unix_events, ('os', 'selectors', 'socket', 'threading'))):
            for name in names:
                if hasattr(module, name):
                    self.assertIs(
                        patcher.original(name), getattr(module, name))
        self.assertTrue(hasattr(
            selector_events.selectors, 'EpollSelector'))
        self.assertIs(asyncio.subprocess, sys.modules['asyncio.subprocess'])

    def test_no_reference_to_what_is_patched(self):
        _native.unpatch_asyncio()
        patched = [sys.modules[name] for name in (
            '_thread', 'os', 'queue', 'select', 'selectors', 'socket', 'ssl',
            'subprocess', 'threading', 'time')]
        for name, module in list(sys.modules.items()):
            if name == 'asyncio' or name.startswith('asyncio.'):
                self.assertEqual([], [
                    attribute for attribute, value in vars(module).items()
                    if any(value is each for each in patched)], name)

    def test_subprocess_raises_the_known_exceptions(self):
        _native.unpatch_asyncio()
        from asyncio import base_subprocess

        copy = base_subprocess.subprocess
        self.assertIsNot(subprocess, copy)
        self.assertIs(subprocess.SubprocessError, copy.SubprocessError)
        self.assertIs(patcher.original('os'), copy.os)
        self.assertIs(subprocess, sys.modules['subprocess'])

    def test_twice(self):
        _native.unpatch_asyncio()
        from asyncio import base_events

        before = dict(vars(base_events))
        _native.unpatch_asyncio()
        self.assertEqual(before, vars(base_events))

    def test_the_collector_imports(self):
        # Until Python 3.12 it runs when something is allocated, also in the
        # midst of copying sys.modules, and what it ends may import.
        name = '%s.%s' % (__name__, 'imported')
        ended = []

        class Cycle:
            def __init__(self):
                self.me = self

            def __del__(self):
                ended.append(name)
                sys.modules[name + str(len(ended))] = sys.modules[__name__]

        # Without tuples that Python keeps for the next ones, which count for
        # the collector only when they are made.
        tuples = [(number, number) for number in range(5000)]
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        for threshold in range(1, 2000, 20):
            gc.collect()
            Cycle()
            gc.set_threshold(threshold)
            _native.unpatch_asyncio()
        gc.collect()
        del tuples
        for number in range(len(ended)):
            del sys.modules[name + str(number + 1)]
        self.assertEqual(100, len(ended))
