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

"""How long it takes until what the handler of a signal starts runs.

::

    python benchmarks/signals.py [SIGNALS]

Signals are sent one by one to a process that is at rest or under load: the
parent, or a child that was forked and has called ``use_hub()``, as workers of
oslo.service do. A handler of ``signal.signal()`` spawns a green thread; one of
``loop.add_signal_handler()`` is called by the loop. The time is that from
before the signal is sent until the green thread, or that handler, runs.

At rest there is nothing but a timer that is due each second. Under load a
hundred green threads and ten tasks never wait.
"""

import asyncio
import itertools
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

#: What EVENTLET_HUB is to be.
HUBS = ('aiohub.hub', 'epolls', 'asyncio')
ROOT = pathlib.Path(__file__).parents[1]
#: Seconds between two turns of a hub that has nothing to do.
TIMER = 1


def measure(process: str, load: str, handler: str, count: int) -> None:
    """Measure on the hub that the environment names; print the times."""
    import signal
    import warnings

    warnings.simplefilter('ignore')
    import eventlet

    eventlet.monkey_patch()
    from eventlet import event
    from eventlet import hubs
    from eventlet import patcher

    import aiohub

    native = patcher.original('threading')
    native_time = patcher.original('time')
    eventlet.sleep(0)
    if process == 'child' and (pid := os.fork()):
        sys.exit(os.waitpid(pid, 0)[1])
    if process == 'child':
        hubs.use_hub()
    loop = aiohub.get_loop()

    def spin(seconds: float) -> None:
        while True:
            eventlet.sleep(seconds)

    async def spin_there() -> None:
        while True:
            await asyncio.sleep(0)

    eventlet.spawn_n(spin, TIMER)
    tasks = []
    if load == 'load':
        for _ in range(100):
            eventlet.spawn_n(spin, 0)
        tasks += [loop.create_task(spin_there()) for _ in range(10)]

    def send() -> None:
        native_time.sleep(random.uniform(0.002, 0.004))  # noqa: S311
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGUSR1)

    def arrive() -> None:
        arrived.send(time.monotonic())

    if handler == 'signal':
        signal.signal(signal.SIGUSR1, lambda *_: eventlet.spawn_n(arrive))
    else:
        loop.add_signal_handler(signal.SIGUSR1, arrive)
    for _ in range(count):
        sent: list[float] = []
        arrived = event.Event()
        native.Thread(target=send).start()
        print(arrived.wait() - sent[0], flush=True)
    os._exit(0)


def measured(hub: str, *args: str) -> list[float]:
    """Measure on *hub*, in another process."""
    env = {**os.environ, 'EVENTLET_HUB': hub}
    env['PYTHONPATH'] = os.pathsep.join(
        [str(ROOT), *filter(None, [env.get('PYTHONPATH')])])
    done = subprocess.run(
        [sys.executable, __file__, *args], env=env, stdout=subprocess.PIPE,
        text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else 1000
    line = '%-7s %-5s %-7s %-11s %8s %11s %11s'
    print(line % ('process', 'at', 'handler', 'hub', 'signals', 'median ms',
                  'worst ms'))
    for *what, hub in itertools.product(
            ('parent', 'child'), ('rest', 'load'), ('signal', 'loop'), HUBS):
        if what[0] == 'child' and hub == 'asyncio':
            # It does not run in a child: "Cannot run the event loop while
            # another loop is running".
            continue
        # Elsewhere it waits for the timer.
        waits = what[1:] == ['rest', 'signal'] and hub != HUBS[0]
        times = measured(hub, *what, str(min(count, 20) if waits else count))
        print(line % (*what, hub, len(times),
                      '%.2f' % (1000 * statistics.median(times)),
                      '%.2f' % (1000 * max(times))), flush=True)


if len(sys.argv) > 2:
    measure(*sys.argv[1:4], int(sys.argv[4]))
else:
    main()
