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

"""Calls and notifications while the broker is stopped, killed and started."""

import asyncio
import logging as stdlib_logging

from kombu import exceptions
import rpc_service
import service

import aiohub
import eventlet
from eventlet import event
import oslo_messaging

#: So many green threads, and so many coroutines, call all the time.
CALLERS = 8
#: What a call may raise while the broker is away: what the reference of
#: RPCClient.call() names, and, when a new connection was needed for it, what
#: kombu says, or the socket: oslo.messaging opens the first channel of a
#: connection outside of what it tries again.
DOCUMENTED = (oslo_messaging.MessagingTimeout,
              oslo_messaging.MessageDeliveryFailure,
              exceptions.OperationalError,
              ConnectionError)


class Lost(stdlib_logging.Handler):
    """Counts how often oslo.messaging has found the broker gone."""

    count = 0

    def emit(self, record):
        self.count += 1


class Endpoint:
    def __init__(self):
        self.reached = event.Event()
        self.opened = event.Event()

    def echo(self, ctxt, value):
        return value

    @aiohub.async_to_sync
    async def echo_in_asyncio(self, ctxt, value):
        await asyncio.sleep(0.001)
        return await asyncio.to_thread(int, value)

    def waits(self, ctxt):
        # The acknowledgement may have been lost with the broker, which then
        # delivers it once more.
        if not self.reached.ready():
            self.reached.send()
        return self.opened.wait()


class Callers:
    """Call until they are told to stop, and note what comes of each call."""

    def __init__(self, client):
        self.client = client
        self.stopped = False
        self.answers = self.errors = 0
        #: How many calls of each have been answered since the broker is back.
        self.since = [0] * CALLERS * 2
        self.back = True
        self.ended = [eventlet.spawn(self.call, n) for n in range(CALLERS)]
        self.ended += [
            aiohub.future_to_greenlet(self.call_in_a_task(CALLERS + n))
            for n in range(CALLERS)]

    async def call_in_a_task(self, caller):
        await asyncio.sleep(0)
        self.call(caller)

    def call(self, caller):
        value = 0
        while not self.stopped:
            value += 1
            back = self.back
            # With the broker there, every call is answered. Without, one may
            # be lost on its way, and ends with its timeout.
            prepared = self.client.prepare(
                timeout=40 if back else 3, retry=None if back else 2)
            method = 'echo_in_asyncio' if value % 2 else 'echo'
            try:
                answer = prepared.call({}, method, value=value)
            except DOCUMENTED:
                # Unless the broker went away after that was asked.
                assert not (back and self.back is back), 'not answered'
                self.errors += 1
            else:
                assert answer == value, (answer, value)
                self.answers += 1
                if back and self.back is back:
                    self.since[caller] += 1
            eventlet.sleep(0.05)

    def broker_is(self, back):
        # An object: there are several times at which it is there.
        self.back = object() if back else None
        self.since = [0] * CALLERS * 2

    def all_answered(self):
        for caller in self.ended:
            if caller.dead:
                caller.wait()
        return min(self.since) >= 3


class Notifications(stdlib_logging.Handler):
    """Each arrives, at least once, or the notifier says that it does not.

    It raises nothing; it logs what it gives up. It may give up what it was
    told while the broker was away, although it is to try for ever.
    """

    def __init__(self, transport, callers):
        super().__init__()
        stdlib_logging.getLogger(
            'oslo_messaging.notify.messaging').addHandler(self)
        topic = service.TOPIC + '-notifications'
        self.transport = transport
        self.callers = callers
        self.seen = set()
        self.given_up = set()
        self.sent = 0
        self.stopped = False
        self.listener = oslo_messaging.get_notification_listener(
            transport, [oslo_messaging.Target(topic=topic)], [self],
            executor='eventlet')
        self.listener.start()
        self.notifier = oslo_messaging.Notifier(
            transport, 'publisher', driver='messagingv2', topics=[topic])
        self.ended = eventlet.spawn(self.notify)

    def info(self, ctxt, publisher_id, event_type, payload, metadata):
        self.seen.add(payload['number'])

    def notify(self):
        while not self.stopped:
            back = self.callers.back
            self.notifier.info({}, 'an.event', {'number': self.sent})
            if self.sent in self.given_up:
                assert not (back and self.callers.back is back), 'given up'
            self.sent += 1
            eventlet.sleep(0.05)

    def emit(self, record):
        self.given_up.add(record.args['message']['payload']['number'])

    def finish(self):
        self.stopped = True
        self.ended.wait()
        service.until(lambda: len(self.seen | self.given_up) == self.sent)
        rpc_service.stop(self.listener)
        self.transport.cleanup()


def main_program():
    lost = Lost(stdlib_logging.ERROR)
    stdlib_logging.getLogger(
        'oslo.messaging._drivers.impl_rabbit').addHandler(lost)
    transport = rpc_service.transport()
    endpoint = Endpoint()
    server = rpc_service.server(transport, 'server', endpoint)
    client = rpc_service.client(transport)
    callers = Callers(client)
    callers.broker_is(True)
    notifications = Notifications(
        oslo_messaging.get_notification_transport(service.CONF), callers)
    for line in ('stop', 'kill'):
        service.until(callers.all_answered)
        endpoint.__init__()
        waits = eventlet.spawn(
            client.prepare(timeout=200).call, {}, 'waits')
        endpoint.reached.wait()
        callers.broker_is(False)
        before = lost.count
        service.tell(line)
        assert service.hear() == 'gone'
        # It has been noticed, and everybody goes on.
        service.until(lambda before=before: lost.count > before)
        aiohub.await_(asyncio.sleep(0.01))
        service.tell('start')
        assert service.hear() == 'back'
        callers.broker_is(True)
        endpoint.opened.send('an answer')
        assert waits.wait() == 'an answer'
    service.until(callers.all_answered)
    callers.stopped = True
    for caller in callers.ended:
        caller.wait()
    notifications.finish()
    rpc_service.stop(server)
    transport.cleanup()
    service.tell('%d answers, %d errors' % (callers.answers, callers.errors))
    service.done()


service.begin()
main_program()
