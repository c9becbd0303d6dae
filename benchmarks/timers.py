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

"""Timers: many that are due, and many that are not."""

import random

import comparing


@comparing.row('3,000 timers at random', 'eventlet', count=3000)
def many(loops):
    """Most of the time goes by before they are due: that is left out."""
    import eventlet
    from eventlet import event
    from eventlet import hubs

    eventlet.sleep(0)
    hub = hubs.get_hub()
    took = 0.0
    for _ in range(loops):
        numbers = random.Random(1)
        left = 3000
        done = event.Event()

        def fire():
            nonlocal left
            left -= 1
            if not left:
                done.send()

        start = comparing.clock()
        for _ in range(3000):
            hub.schedule_call_global(numbers.random() / 20, fire)
        done.wait()
        took += comparing.clock() - start
    return took


@comparing.row('Timeout made and cancelled', 'eventlet', count=100)
def timeouts(loops):
    import eventlet

    start = comparing.clock()
    for _ in range(loops):
        for _ in range(100):
            with eventlet.Timeout(1000):
                pass
        eventlet.sleep(0)
    return comparing.clock() - start


@comparing.row('Timeout made and cancelled', 'gevent')
def timeouts_gevent(loops):
    import gevent

    start = comparing.clock()
    for _ in range(loops):
        for _ in range(100):
            with gevent.Timeout(1000):
                pass
        gevent.sleep(0)
    return comparing.clock() - start


@comparing.row('10,000 timers, 9,900 cancelled', 'eventlet', count=10_000)
def cancelled(loops):
    import eventlet
    from eventlet import hubs

    eventlet.sleep(0)
    hub = hubs.get_hub()
    start = comparing.clock()
    for _ in range(loops):
        kept = []
        for number in range(100):
            batch = [hub.schedule_call_global(1000, int)
                     for _ in range(100)]
            kept.append(batch.pop())
            for one in batch:
                one.cancel()
            if not number % 10:
                eventlet.sleep(0)
        for one in kept:
            one.cancel()
    return comparing.clock() - start


if __name__ == '__main__':
    comparing.main()
