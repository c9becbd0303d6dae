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

"""Operations of green threads alone, with what monkey patching makes green."""

import queue
import random
import socket
import threading
import time
from urllib import request

import eventlet
from eventlet import event
import greenlet

import operation


@operation.operation(10)
def timers(number: int) -> int:
    """Timers run in their order, and those that are cancelled do not."""
    rng = random.Random(number)
    seen: list[int] = []
    done = event.Event()
    threads = [eventlet.spawn_after(place / 1000, seen.append, place)
               for place in range(10)]
    cancelled = []
    for place in rng.sample(range(10), 4):
        if place not in seen:  # others run while one is cancelled
            cancelled.append(place)
            threads[place].cancel()
    eventlet.spawn_after(0.015, done.send, operation.answer(number))
    result = done.wait()
    operation.check('timers', seen, [
        place for place in range(10) if place not in cancelled])
    return int(result)


@operation.operation(10)
def timeout(number: int) -> int:
    """Each Timeout is the one that was set, at the wait that it is for."""
    with eventlet.Timeout(30):
        inner = eventlet.Timeout(number % 5 / 1000)
        try:
            event.Event().wait()
        except eventlet.Timeout as exc:
            operation.check('Timeout', exc, inner)
        finally:
            inner.cancel()
        with eventlet.Timeout(0.001, False):
            queue.Queue().get()
            raise operation.never('an item out of an empty queue')
    return operation.answer(number)


@operation.operation(10)
def kill(number: int) -> int:
    """One of several that wait is killed, and the others are not."""
    left, right = socket.socketpair()
    signal = threading.Event()
    items: queue.Queue[bytes] = queue.Queue()
    waits = [lambda: right.recv(1), items.get,
             lambda: signal.wait() and b'x']
    victim = number % 3
    begin = number % 2 > 0  # otherwise it is killed before it begins
    ended: set[int] = set()

    def wait(place: int) -> bytes:
        try:
            return waits[place]()
        finally:
            ended.add(place)

    with left, right:
        threads = [eventlet.spawn(wait, place) for place in range(3)]
        if begin:
            eventlet.sleep(0)
        threads[victim].kill()
        left.send(b'x')
        items.put(b'x')
        signal.set()
        for place, thread in enumerate(threads):
            try:
                result = thread.wait()
            except greenlet.GreenletExit:
                result = 'killed'
            operation.check(f'thread {place}', result,
                            'killed' if place == victim else b'x')
    operation.check('those that have ended', ended,
                    {0, 1, 2} - (set() if begin else {victim}))
    return operation.answer(number)


@operation.operation(10)
def threads(number: int) -> int:
    """Threads that are green share a queue, a lock and a condition."""
    questions: queue.Queue[int | None] = queue.Queue(2)
    answers: list[int] = []
    lock = threading.Lock()
    enough = threading.Condition()

    def work() -> None:
        while (item := questions.get()) is not None:
            with lock:
                time.sleep(0)
                answers.append(operation.answer(item))
            with enough:
                enough.notify_all()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    items = range(number, number + 8)
    for item in items:
        questions.put(item)
    with enough:
        enough.wait_for(lambda: len(answers) == len(items))
    for _ in workers:
        questions.put(None)
    for worker in workers:
        worker.join()
    operation.check('answers', set(answers), set(map(operation.answer, items)))
    return operation.answer(number)


@operation.operation(10)
def http(number: int) -> int:
    """Ask the server of the asyncio side, blocking."""
    url = f'{operation.doors["asyncio"]}/task-timeout/{number}'
    with request.urlopen(url, timeout=30) as response:
        return int(response.read())
