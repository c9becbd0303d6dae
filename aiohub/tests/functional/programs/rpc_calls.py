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

"""Calls, casts and notifications, with client and servers in one process.

From green threads and coroutines, to handlers that are green threads and in
part asyncio.
"""

import asyncio
import contextvars
import logging as stdlib_logging
import threading

import rpc_service
import service

import aiohub
import eventlet
from eventlet import event
from eventlet import patcher
from oslo_context import context
import oslo_messaging
from oslo_messaging.rpc import server as rpc_server

#: So many calls at once: more than there are connections and handlers.
MANY = 200

native = patcher.original('threading')
variable = contextvars.ContextVar('variable', default=None)


class Doomed(Exception):
    """Of a module that the client does not allow."""


class Beats(stdlib_logging.Handler):
    """Counts what the server says to clients that monitor their calls."""

    count = 0

    def emit(self, record):
        self.count += record.msg.startswith('Sending call-monitor heartbeat')


# It has a lock of oslo.log, which holds descriptors.
BEATS = Beats()


class Gate:
    """Where a handler waits until the test lets it go on."""

    def __init__(self):
        self.reached = event.Event()
        self.opened = event.Event()

    def wait(self):
        self.reached.send()
        return self.opened.wait()


class Endpoint:
    target = oslo_messaging.Target(version='1.1')

    def __init__(self, port):
        self.port = port
        self.gates = {}
        self.casts = []
        self.tasks = {}

    def echo(self, ctxt, value):
        return value

    # -- partly asyncio

    def in_asyncio(self, ctxt, value):
        async def work():
            await asyncio.sleep(0.001)
            reader, writer = await asyncio.open_connection(
                '127.0.0.1', self.port)
            writer.write(b'%d\n' % value)
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            thread = await asyncio.to_thread(native.get_ident)
            assert thread != native.get_ident()
            return int(line)

        return aiohub.await_(work())

    @aiohub.async_to_sync
    async def a_coroutine(self, ctxt, value):
        await asyncio.sleep(0)
        # Green calls, in a task.
        eventlet.sleep(0.001)
        with threading.Lock():
            return value

    # -- that end badly

    def fails(self, ctxt, value):
        raise ValueError(value)

    @rpc_server.expected_exceptions(LookupError)
    def fails_as_expected(self, ctxt, value):
        raise LookupError(value)

    @aiohub.async_to_sync
    async def fails_in_asyncio(self, ctxt, value):
        await asyncio.sleep(0)
        raise Doomed(value)

    def waits(self, ctxt, gate):
        return self.gates[gate].wait()

    def waits_in_asyncio(self, ctxt, gate):
        async def work():
            self.tasks[gate] = asyncio.current_task()
            self.gates[gate].reached.send()
            await asyncio.get_running_loop().create_future()

        return aiohub.await_(work())

    def is_killed(self, ctxt):
        eventlet.kill(eventlet.getcurrent())

    # -- what they see

    def sees(self, ctxt, value):
        variable.set(value)
        request = context.RequestContext.from_dict(ctxt)

        async def work():
            # Others set theirs meanwhile.
            await asyncio.sleep(0.001)
            return [variable.get(), context.get_current().user_id]

        eventlet.sleep(0.001)
        assert variable.get() == value
        assert context.get_current() is request
        return aiohub.await_(work())

    def noted(self, ctxt, value):
        self.casts.append(value)


def main_program():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    tcp = aiohub.await_(asyncio.start_server(echo, '127.0.0.1', 0))
    port = tcp.sockets[0].getsockname()[1]
    # What is opened once for all.
    aiohub.await_(asyncio.to_thread(int))
    open_before = service.descriptors()
    transport = rpc_service.transport()
    endpoints = [Endpoint(port), Endpoint(port)]
    servers = [rpc_service.server(transport, 'server-%d' % n, endpoint)
               for n, endpoint in enumerate(endpoints)]
    client = rpc_service.client(transport, timeout=120)
    for case in CASES:
        case(client, endpoints)
    notifications()
    rpc_service.stop(*servers)
    transport.cleanup()
    tcp.close()
    service.until(lambda: service.descriptors() <= open_before)
    assert not asyncio.all_tasks(aiohub.get_loop())
    service.done()


CASES = []


def case(function):
    CASES.append(function)
    return function


METHODS = ('echo', 'in_asyncio', 'a_coroutine')


@case
def from_green_threads(client, endpoints):
    def call(number):
        return client.call({}, METHODS[number % 3], value=number)

    pool = eventlet.GreenPool(MANY)
    assert list(pool.imap(call, range(MANY))) == list(range(MANY))


@case
def from_green_tasks(client, endpoints):
    async def greenly(number):
        await asyncio.sleep(0)
        return client.call({}, METHODS[number % 3], value=number)

    async def by_the_bridge(number):
        return await aiohub.sync_to_async(client.call)(
            {}, METHODS[number % 3], value=number)

    async def all_of_them():
        return await asyncio.gather(*(
            (greenly if number % 2 else by_the_bridge)(number)
            for number in range(MANY)))

    assert aiohub.await_(all_of_them()) == list(range(MANY))


@case
def casts_and_fanout(client, endpoints):
    client.cast({}, 'noted', value='cast')
    client.prepare(fanout=True).cast({}, 'noted', value='fanout')
    client.prepare(server='server-1').cast({}, 'noted', value='second')

    async def cast():
        client.prepare(server='server-0').cast({}, 'noted', value='first')

    aiohub.await_(cast())
    service.until(lambda: sum(len(e.casts) for e in endpoints) == 5)
    first, second = (set(endpoint.casts) for endpoint in endpoints)
    assert first | second == {'cast', 'fanout', 'first', 'second'}
    assert first - {'cast'} == {'fanout', 'first'}
    assert second - {'cast'} == {'fanout', 'second'}


def error_of(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as exc:
        return exc
    raise AssertionError('no error')


@case
def remote_exceptions(client, endpoints):
    error = error_of(client.call, {}, 'fails', value='a value')
    assert isinstance(error, ValueError), error
    assert 'a value' in str(error) and 'Traceback' in str(error)
    error = error_of(client.call, {}, 'fails_as_expected', value='a value')
    assert isinstance(error, LookupError), error
    error = error_of(client.call, {}, 'fails_in_asyncio', value='a value')
    assert isinstance(error, oslo_messaging.RemoteError), error
    assert (error.exc_type, error.value) == ('Doomed', 'a value')
    error = error_of(client.call, {}, 'missing')
    assert isinstance(error, oslo_messaging.RemoteError), error
    assert error.exc_type == 'NoSuchMethod'
    error = error_of(client.prepare(version='2.0').call, {}, 'echo', value=1)
    assert isinstance(error, oslo_messaging.RemoteError), error
    assert error.exc_type == 'UnsupportedVersion'

    async def in_a_task():
        try:
            client.call({}, 'fails', value='in a task')
        except ValueError as exc:
            return str(exc)

    assert 'in a task' in aiohub.await_(in_a_task())


def gate(endpoints):
    made = Gate()
    name = str(id(made))
    for endpoint in endpoints:
        endpoint.gates[name] = made
    return name, made


@case
def timeouts(client, endpoints):
    name, made = gate(endpoints)
    error = error_of(client.prepare(timeout=1).call, {}, 'waits', gate=name)
    assert isinstance(error, oslo_messaging.MessagingTimeout), error
    assert made.reached.ready()
    # Nobody waits for this answer any more.
    made.opened.send('late')

    # Those of the client's own thread or task.
    name, made = gate(endpoints)
    try:
        with eventlet.Timeout(1):
            client.call({}, 'waits', gate=name)
    except eventlet.Timeout:
        pass
    else:
        raise AssertionError('no Timeout')
    made.opened.send('late')

    name, made = gate(endpoints)

    async def in_a_task():
        async with asyncio.timeout(1):
            client.call({}, 'waits', gate=name)

    assert isinstance(error_of(aiohub.await_, in_a_task()), TimeoutError)
    made.opened.send('late')
    assert client.call({}, 'echo', value=1) == 1


@case
def clients_that_go_away(client, endpoints):
    name, made = gate(endpoints)
    caller = eventlet.spawn(client.call, {}, 'waits', gate=name)
    made.reached.wait()
    caller.kill()
    made.opened.send('late')

    name, made = gate(endpoints)

    async def call():
        client.call({}, 'waits', gate=name)

    async def in_tasks():
        task = asyncio.create_task(call())
        await aiohub.sync_to_async(made.reached.wait)()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    aiohub.await_(in_tasks())
    made.opened.send('late')
    assert client.call({}, 'echo', value=1) == 1


@case
def handlers_that_are_ended(client, endpoints):
    # What is no Exception is no answer, to oslo.messaging.
    for ended in ('is_killed', 'waits_in_asyncio'):
        name, made = gate(endpoints)
        arguments = {'gate': name} if ended == 'waits_in_asyncio' else {}
        caller = eventlet.spawn(
            error_of, client.prepare(timeout=2).call, {}, ended, **arguments)
        if arguments:
            made.reached.wait()
            for endpoint in endpoints:
                if name in endpoint.tasks:
                    endpoint.tasks[name].cancel()
        error = caller.wait()
        assert isinstance(error, oslo_messaging.MessagingTimeout), error
    # As many as there are handlers at least.
    from_green_threads(client, endpoints)


@case
def monitored_calls(client, endpoints):
    logger = stdlib_logging.getLogger('oslo_messaging.rpc.dispatcher')
    logger.addHandler(BEATS)
    logger.setLevel(stdlib_logging.DEBUG)
    name, made = gate(endpoints)
    monitored = client.prepare(call_monitor_timeout=2)
    caller = eventlet.spawn(monitored.call, {}, 'waits', gate=name)
    # One each second: it waits for longer than two.
    service.until(lambda: BEATS.count >= 4 or caller.dead)
    made.opened.send('an answer')
    assert caller.wait() == 'an answer'
    logger.setLevel(stdlib_logging.NOTSET)


@case
def contexts(client, endpoints):
    def call(number):
        request = context.RequestContext(user_id='user-%d' % number)
        variable.set(-number)
        answer = client.call(request.to_dict(), 'sees', value=number)
        assert variable.get() == -number
        assert context.get_current() is request
        return answer

    async def in_a_task(number):
        return call(number)

    async def in_tasks():
        return await asyncio.gather(*map(in_a_task, range(MANY)))

    expected = [[number, 'user-%d' % number] for number in range(MANY)]
    pool = eventlet.GreenPool(MANY)
    assert list(pool.imap(call, range(MANY))) == expected
    assert aiohub.await_(in_tasks()) == expected


def notifications():
    class Endpoint:
        def __init__(self):
            self.seen = []
            self.requeued = 0

        def info(self, ctxt, publisher_id, event_type, payload, metadata):
            aiohub.await_(asyncio.sleep(0.001))
            if not self.requeued:
                self.requeued = 1
                return oslo_messaging.NotificationResult.REQUEUE
            self.seen.append(payload['number'])

        @aiohub.async_to_sync
        async def error(self, ctxt, publisher_id, event_type, payload,
                        metadata):
            await asyncio.sleep(0)
            self.seen.append(payload['number'])

    transport = oslo_messaging.get_notification_transport(service.CONF)
    topic = service.TOPIC + '-notifications'
    endpoint = Endpoint()
    listener = oslo_messaging.get_notification_listener(
        transport, [oslo_messaging.Target(topic=topic)], [endpoint],
        executor='eventlet', allow_requeue=True)
    listener.start()
    notifier = oslo_messaging.Notifier(
        transport, 'publisher', driver='messagingv2', topics=[topic])

    def notify(number):
        send = notifier.info if number % 2 else notifier.error
        send({}, 'an.event', {'number': number})

    async def in_a_task(number):
        notify(number)

    for _ in eventlet.GreenPool(MANY).imap(notify, range(MANY)):
        pass

    async def in_tasks():
        await asyncio.gather(*map(in_a_task, range(MANY, 2 * MANY)))

    aiohub.await_(in_tasks())
    service.until(lambda: len(endpoint.seen) >= 2 * MANY)
    assert sorted(endpoint.seen) == list(range(2 * MANY)), sorted(
        endpoint.seen)
    assert endpoint.requeued
    rpc_service.stop(listener)
    transport.cleanup()


service.begin()
main_program()
