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

"""Connections that are idle for longer than their heartbeats allow."""

import asyncio

import kombu
import rpc_service
import service

import aiohub
import eventlet


class Endpoint:
    def echo(self, ctxt, value):
        return value


def wait_for_a_silent_connection():
    """Wait until the broker has closed a connection without heartbeats."""
    url = service.CONF.transport_url.replace('rabbit://', 'amqp://')
    seconds = service.CONF.oslo_messaging_rabbit.heartbeat_timeout_threshold
    with kombu.Connection(url, heartbeat=seconds) as silent:
        sock = silent.connect().sock
        try:
            while sock.recv(1000):
                pass  # its heartbeats
        except ConnectionError:
            pass


def main_program():
    transport = rpc_service.transport()
    server = rpc_service.server(transport, 'server', Endpoint())
    client = rpc_service.client(transport, timeout=60)
    # Several connections for sending, and those that listen.
    calls = [eventlet.spawn(client.call, {}, 'echo', value=n)
             for n in range(5)]
    assert [call.wait() for call in calls] == list(range(5))
    service.tell('connected')
    assert service.hear() == 'idle'
    # One in a coroutine: the loop runs beside it.
    wait_for_a_silent_connection()

    async def in_a_task():
        waits = asyncio.create_task(asyncio.sleep(3600))
        wait_for_a_silent_connection()
        waits.cancel()

    aiohub.await_(in_a_task())
    service.tell('idle')
    assert service.hear() == 'call'
    assert client.call({}, 'echo', value='later') == 'later'
    rpc_service.stop(server)
    transport.cleanup()
    service.done()


service.begin()
main_program()
