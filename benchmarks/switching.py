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

"""From one green thread to the next: sleep(0), spawn and wait, queues."""

import asyncio

import comparing

#: sleep(0) of each green thread in one loop.
TURNS = 10


def _sleep(threads, spawn, sleep):
    def work(loops):
        for _ in range(loops * TURNS):
            sleep(0)

    def measure(loops):
        start = comparing.clock()
        for one in [spawn(work, loops) for _ in range(threads)]:
            one()
        return comparing.clock() - start

    return measure


def _eventlet_spawn(function, *args):
    import eventlet

    return eventlet.spawn(function, *args).wait


def _eventlet_sleep(threads):
    def measure(loops):
        import eventlet

        return _sleep(threads, _eventlet_spawn, eventlet.sleep)(loops)

    return measure


def _gevent_sleep(threads):
    def measure(loops):
        import gevent

        return _sleep(threads, lambda *args: gevent.spawn(*args).get,
                      gevent.sleep)(loops)

    return measure


def _asyncio_sleep(tasks):
    async def work(loops):
        for _ in range(loops * TURNS):
            await asyncio.sleep(0)

    async def measure(loops):
        start = comparing.clock()
        await asyncio.gather(*(work(loops) for _ in range(tasks)))
        return comparing.clock() - start

    return measure


for _threads in (1, 100):
    _name = 'sleep(0), %d green thread%s' % (_threads, 's' * (_threads > 1))
    comparing.row(_name, 'eventlet', count=_threads * TURNS)(
        _eventlet_sleep(_threads))
    comparing.row(_name, 'gevent')(_gevent_sleep(_threads))

comparing.row('asyncio.sleep(0), 100 tasks', 'asyncio', 'asyncio',
              100 * TURNS)(_asyncio_sleep(100))


@comparing.row('spawn and wait', 'eventlet', count=100)
def spawn_and_wait(loops):
    import eventlet

    def nothing():
        return None

    start = comparing.clock()
    for _ in range(loops * 100):
        eventlet.spawn(nothing).wait()
    return comparing.clock() - start


@comparing.row('spawn and wait', 'gevent')
def spawn_and_wait_gevent(loops):
    import gevent

    def nothing():
        return None

    start = comparing.clock()
    for _ in range(loops * 100):
        gevent.spawn(nothing).get()
    return comparing.clock() - start


@comparing.row('spawn 100, wait for all', 'eventlet', count=100)
def spawn_many(loops):
    import eventlet

    def nothing():
        return None

    start = comparing.clock()
    for _ in range(loops):
        for one in [eventlet.spawn(nothing) for _ in range(100)]:
            one.wait()
    return comparing.clock() - start


def _hand_over(loops, spawn, queue):
    there, back = queue(), queue()

    def answer():
        for _ in range(loops * 100):
            back.put(there.get())

    start = comparing.clock()
    wait = spawn(answer)
    for number in range(loops * 100):
        there.put(number)
        back.get()
    wait()
    return comparing.clock() - start


@comparing.row('Queue, there and back', 'eventlet', count=100)
def hand_over(loops):
    import eventlet

    return _hand_over(loops, _eventlet_spawn, eventlet.Queue)


@comparing.row('Queue, there and back', 'gevent')
def hand_over_gevent(loops):
    import gevent
    import gevent.queue

    return _hand_over(loops, lambda *args: gevent.spawn(*args).get,
                      gevent.queue.Queue)


@comparing.row('Queue, 10 to 10', 'eventlet', count=1000)
def through_a_queue(loops):
    import eventlet

    items = eventlet.Queue(10)

    def put():
        for number in range(loops * 100):
            items.put(number)

    def get():
        for _ in range(loops * 100):
            items.get()

    start = comparing.clock()
    for one in [eventlet.spawn(work) for work in (put, get) * 10]:
        one.wait()
    return comparing.clock() - start


if __name__ == '__main__':
    comparing.main()
