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

"""What eventlet's locks, queues and events cost in one thread.

With aiohub on they may be shared by threads, and must not cost more for that.
Compared are aiohub, its hub with eventlet's own methods, and eventlet's hub::

    pip install pyperf
    python benchmarks/primitives.py [ROUNDS]

Each round measures each of them once, in processes of its own, so that a
machine that gets faster or slower does so for all. The ratios are those of
aiohub to the others, the median of all rounds and their range: below 1,
aiohub is faster.
"""

from collections.abc import Callable
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import pyperf

#: What is measured, and what EVENTLET_HUB is for that.
CANDIDATES = {'aiohub': 'aiohub.hub', "eventlet's methods": 'aiohub.hub',
              'epolls': 'epolls'}
ROOT = pathlib.Path(__file__).parents[1]
#: Set in the processes that measure, to the name of a candidate.
MEASURES = 'AIOHUB_PRIMITIVES'


def measure() -> None:
    """Measure the candidate that the environment names."""
    import warnings

    warnings.simplefilter('ignore')
    if os.environ[MEASURES] == "eventlet's methods":
        from aiohub import _events
        from aiohub import _queues
        from aiohub import _semaphores

        for module in (_events, _queues, _semaphores):
            setattr(module, 'replace', lambda: None)
    import eventlet
    from eventlet import event
    from eventlet import lock
    from eventlet import queue
    from eventlet import semaphore

    eventlet.sleep(0)
    free = lock.Lock()
    taken = lock.Lock()
    taken.acquire()
    items = queue.Queue()
    light = queue.LightQueue()
    bounded = queue.Queue(10)
    sent = event.Event()
    sent.send(1)

    def acquire_and_release() -> None:
        free.acquire()
        free.release()

    def with_lock() -> None:
        with free:
            pass

    def acquire_in_vain() -> None:
        taken.acquire(False)

    def put_and_get() -> None:
        items.put(1)
        items.get()

    def put_and_get_light() -> None:
        light.put(1)
        light.get()

    def put_and_get_bounded() -> None:
        bounded.put(1)
        bounded.get()

    def send_and_wait() -> None:
        one = event.Event()
        one.send(1)
        one.wait()

    def wait_for_sent() -> None:
        sent.wait()

    def make_lock() -> None:
        lock.Lock()

    def hand_over() -> None:
        """100 items to who waits for each."""
        between = queue.Queue()

        def take() -> None:
            for _ in range(100):
                between.get()

        taking = eventlet.spawn(take)
        for number in range(100):
            between.put(number)
            eventlet.sleep(0)
        taking.wait()

    def contend() -> None:
        """10 green threads take a lock 10 times, and others have it."""
        shared = semaphore.Semaphore()

        def work() -> None:
            for _ in range(10):
                with shared:
                    eventlet.sleep(0)

        for one in [eventlet.spawn(work) for _ in range(10)]:
            one.wait()

    runner = pyperf.Runner()
    functions: list[Callable[[], None]] = [
        acquire_and_release, with_lock, acquire_in_vain, put_and_get,
        put_and_get_light, put_and_get_bounded, send_and_wait, wait_for_sent,
        make_lock, hand_over, contend]
    for function in functions:
        runner.bench_func(function.__name__, function)


def measured(candidate: str) -> dict[str, float]:
    """Measure a candidate in another process; return seconds."""
    env = {**os.environ, 'EVENTLET_HUB': CANDIDATES[candidate],
           MEASURES: candidate}
    env['PYTHONPATH'] = os.pathsep.join(
        [str(ROOT), *filter(None, [env.get('PYTHONPATH')])])
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'benchmark.json')
        subprocess.run(
            [sys.executable, __file__, '--processes=1', '--values=3',
             '--inherit-environ=EVENTLET_HUB,PYTHONPATH,' + MEASURES,
             '--output', path], env=env, stdout=subprocess.DEVNULL,
            check=True)
        return {one.get_name(): one.median()
                for one in pyperf.BenchmarkSuite.load(path)}


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    results: list[dict[str, dict[str, float]]] = []
    for number in range(rounds):
        print('round %d of %d' % (number + 1, rounds), file=sys.stderr)
        results.append({name: measured(name) for name in CANDIDATES})
    first, *others = CANDIDATES
    print('%-22s %10s' % ('', 'ns') + ''.join(
        ' %26s' % ('to ' + name) for name in others))
    for function in results[0][first]:
        line = '%-22s %10.0f' % (function, 1e9 * statistics.median(
            result[first][function] for result in results))
        for name in others:
            ratios = [result[first][function] / result[name][function]
                      for result in results]
            line += ' %10.2f (%.2f to %.2f)' % (
                statistics.median(ratios), min(ratios), max(ratios))
        print(line)


if os.environ.get(MEASURES):
    measure()
else:
    main()
