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

"""Servers in forked processes, whose parent has used RPC before.

With ``os.fork()`` and ``use_hub()``, and as workers of oslo.service.
"""

import asyncio
import os
import signal

import rpc_service
import service

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs
import oslo_messaging
from oslo_service import service as oslo_service

CALLS = 60


class Endpoint:
    def __init__(self, transport):
        self.client = rpc_service.client(transport, timeout=100)
        self.left = event.Event()
        self.reached = 0

    def pid(self, ctxt):
        return os.getpid()

    @aiohub.async_to_sync
    async def pid_in_asyncio(self, ctxt):
        await asyncio.sleep(0.001)
        return await asyncio.to_thread(os.getpid)

    def parents_pid(self, ctxt):
        return self.client.prepare(server='parent').call({}, 'pid')

    def never_answers(self, ctxt):
        self.reached += 1
        event.Event().wait()

    def has_reached(self, ctxt):
        return self.reached

    def leave(self, ctxt):
        self.left.send()


def serve(name):
    """Be a child that serves, until it is told to leave."""
    hubs.use_hub()
    service.check_hub()
    # What is inherited belongs to the parent's connections.
    transport = rpc_service.transport()
    endpoint = Endpoint(transport)
    server = rpc_service.server(transport, name, endpoint)
    endpoint.left.wait()
    rpc_service.stop(server)
    transport.cleanup()
    service.check_hub()


def fork(name):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            serve(name)
            status = 0
        except BaseException:
            service.LOG.exception('in the child')
        finally:
            os._exit(status)
    return pid


def call_in_both_worlds(call, count):
    async def in_tasks():
        async def one(number):
            return call(number)

        return await asyncio.gather(*map(one, range(count)))

    tasks = aiohub.future_to_greenlet(in_tasks())
    answers = list(eventlet.GreenPool(count).imap(call, range(count)))
    return [*answers, *tasks.wait()]


def forked(client):
    names = ['main', 'green', 'killed']
    pids = [fork('main'), *(eventlet.spawn(fork, name).wait()
                            for name in names[1:])]
    methods = ('pid', 'pid_in_asyncio', 'parents_pid')

    def call(number):
        which = number % 4
        if which == 3:
            return client.prepare(server='parent').call({}, 'pid')
        answer = client.prepare(server=names[which]).call(
            {}, methods[number // 4 % 3])
        assert answer == (os.getpid() if number // 4 % 3 == 2
                          else pids[which])
        return answer

    # Not before their queues are there.
    for name in names:
        found(client.prepare(server=name))
    call_in_both_worlds(call, CALLS)

    # It cannot answer, and the client finds out long before its timeout.
    killed = client.prepare(server='killed')
    caller = eventlet.spawn(
        error_of, killed.prepare(timeout=3000, call_monitor_timeout=2).call,
        {}, 'never_answers')
    service.until(lambda: killed.call({}, 'has_reached'))
    os.kill(pids[2], signal.SIGKILL)
    assert service.end_of(pids[2]) == signal.SIGKILL
    error = caller.wait()
    assert isinstance(error, oslo_messaging.MessagingTimeout), error

    call_in_both_worlds(
        lambda n: call([0, 1, 3][n % 3]), CALLS)
    for name, pid in zip(names[:2], pids[:2], strict=True):
        client.prepare(server=name).cast({}, 'leave')
        assert service.end_of(pid) == 0
    assert client.prepare(server='parent').call({}, 'pid') == os.getpid()


def found(client):
    """Call until there is a server."""
    while True:
        try:
            return client.prepare(timeout=1).call({}, 'pid')
        except oslo_messaging.MessagingTimeout:
            pass


def error_of(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as exc:
        return exc
    raise AssertionError('no error')


class Worker(oslo_service.Service):
    server = None

    def start(self):
        service.check_hub()
        self.transport = rpc_service.transport()
        self.server = rpc_service.server(
            self.transport, 'worker-%d' % os.getpid(),
            Endpoint(self.transport), topic=service.TOPIC + '-workers')

    def stop(self, graceful=False):
        # The launcher's own, in the parent, has never been started.
        if self.server is not None:
            rpc_service.stop(self.server)
            self.transport.cleanup()
        super().stop(graceful)


def workers(client, launcher, seen):
    workers = client.prepare(topic=service.TOPIC + '-workers')

    def call(number):
        return workers.call(
            {}, 'pid_in_asyncio' if number % 2 else 'pid')

    def others(known):
        """Call until workers of another process have answered."""
        new = set()
        while len(new) < 2 - len(known):
            new |= {found(workers)} - known - seen
        return new

    first = others(set())
    assert set(call_in_both_worlds(call, CALLS)) == first
    assert os.getpid() not in first
    killed = first.pop()
    seen |= {killed}
    os.kill(killed, signal.SIGKILL)
    seen |= first | others(first)
    assert client.prepare(server='parent').call({}, 'pid') == os.getpid()
    os.kill(os.getpid(), signal.SIGTERM)


def main_program():
    transport = rpc_service.transport()
    server = rpc_service.server(transport, 'parent', Endpoint(transport))
    client = rpc_service.client(transport, timeout=100)
    assert call_in_both_worlds(
        lambda n: client.prepare(server='parent').call({}, 'pid'),
        10) == [os.getpid()] * 20
    forked(client)
    launcher = oslo_service.ProcessLauncher(service.CONF)
    launcher.launch_service(Worker(), workers=2)
    seen = set()
    calls = eventlet.spawn(workers, client, launcher, seen)
    launcher.wait()
    calls.wait()
    # All three: two, and the one in place of the killed one.
    assert len(seen) == 3, seen
    for pid in seen:
        assert isinstance(error_of(os.kill, pid, 0), ProcessLookupError)
    assert client.prepare(server='parent').call({}, 'pid') == os.getpid()
    rpc_service.stop(server)
    transport.cleanup()
    service.done()


service.begin()
main_program()
