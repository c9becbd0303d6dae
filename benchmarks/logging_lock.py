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

"""What it costs to take and release a free lock of oslo.log's handlers.

::

    pip install pyperf
    python benchmarks/logging_lock.py [ROUNDS]

Each round measures each hub once, in processes of its own, so that a machine
that gets faster or slower does so for all of them. What is compared are the
medians of all rounds.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import pyperf

#: What EVENTLET_HUB is to be.
HUBS = ('aiohub.hub', 'epolls', 'asyncio')
ROOT = pathlib.Path(__file__).parents[1]
#: Set in the processes that measure.
MEASURES = 'AIOHUB_LOGGING_LOCK'


def measure() -> None:
    """Measure on the hub that the environment names."""
    import warnings

    warnings.simplefilter('ignore')
    import eventlet

    eventlet.monkey_patch()
    from eventlet import hubs
    import logging
    from oslo_config import cfg
    from oslo_log import log as oslo_logging

    conf = cfg.ConfigOpts()
    oslo_logging.register_options(conf)
    conf([])
    oslo_logging.setup(conf, 'benchmark')
    eventlet.sleep(0)
    handler = logging.getLogger().handlers[0]

    def take_and_release(loops: int, lock: Any) -> float:
        start = pyperf.perf_counter()
        for _ in range(loops):
            lock.acquire()
            lock.release()
        return pyperf.perf_counter() - start

    metadata = {'hub': type(hubs.get_hub()).__module__,
                'lock': type(handler.lock).__name__}
    pyperf.Runner(metadata=metadata).bench_time_func(
        'logging_lock', take_and_release, handler.lock)


def measured(hub: str) -> pyperf.Benchmark:
    """Measure on *hub*, in another process."""
    env = {**os.environ, 'EVENTLET_HUB': hub, MEASURES: '1'}
    env['PYTHONPATH'] = os.pathsep.join(
        [str(ROOT), *filter(None, [env.get('PYTHONPATH')])])
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'benchmark.json')
        subprocess.run(
            [sys.executable, __file__, '--processes=1', '--values=3',
             '--inherit-environ=EVENTLET_HUB,PYTHONPATH,' + MEASURES,
             '--output', path], env=env, stdout=subprocess.DEVNULL,
            check=True)
        return pyperf.Benchmark.load(path)


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    total = {hub: measured(hub) for hub in HUBS}
    for _ in range(rounds - 1):
        for hub, benchmark in total.items():
            benchmark.add_runs(measured(hub))
    first = total[HUBS[0]].median()
    print('%-12s %-18s %12s %8s %10s' % (
        'hub', 'lock', 'per second', 'spread', 'time'))
    for hub, benchmark in total.items():
        print('%-12s %-18s %12s %7.0f%% %9.2fx' % (
            hub, benchmark.get_metadata()['lock'],
            f'{1 / benchmark.median():,.0f}',
            100 * benchmark.median_abs_dev() / benchmark.median(),
            benchmark.median() / first))


if os.environ.get(MEASURES):
    measure()
else:
    main()
