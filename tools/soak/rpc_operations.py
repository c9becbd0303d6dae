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

"""Operations over the broker: RPC whose client and server are here."""

import asyncio
from typing import Any

import eventlet
import oslo_messaging

import aiohub
import operation

#: In seconds; a broker that is restarted takes less.
TIMEOUT = 30


class Endpoint:
    """What the RPC server offers."""

    def compute(self, context: Any, number: int) -> int:
        return operation.compute_green(number)

    def compute_async(self, context: Any, number: int) -> int:
        return aiohub.await_(operation.compute(number))

    @oslo_messaging.expected_exceptions(LookupError)
    def fail(self, context: Any, number: int) -> None:
        raise LookupError(str(operation.answer(number)))

    def dawdle(self, context: Any, number: int) -> None:
        eventlet.sleep(2)


class Rpc:
    """The transport, the server and the client."""

    def start(self, conf: Any) -> None:
        self._transport = oslo_messaging.get_rpc_transport(conf)
        self._server = oslo_messaging.get_rpc_server(
            self._transport,
            oslo_messaging.Target(topic='soak', server='service'),
            [Endpoint()], executor='eventlet')
        self.client = oslo_messaging.get_rpc_client(
            self._transport, oslo_messaging.Target(topic='soak'),
            timeout=TIMEOUT, retry=2)
        self._server.start()

    def stop(self) -> None:
        """Stop the server, and close all connections."""
        self._server.stop()
        self._server.wait()
        self._transport.cleanup()


rpc = Rpc()


@operation.operation(15)
def call(number: int) -> int:
    return int(rpc.client.call({}, 'compute', number=number))


@operation.operation(15)
def call_async(number: int) -> int:
    """The handler waits for a coroutine."""
    return int(rpc.client.call({}, 'compute_async', number=number))


@operation.operation(10)
async def from_tasks(number: int) -> int:
    """A call through the bridge, and one in a task, which is green."""
    async def call_green() -> int:
        return call_async(number)

    async with asyncio.TaskGroup() as group:
        one = group.create_task(aiohub.sync_to_async(call)(number))
        other = group.create_task(call_green())
    operation.check('answers', one.result(), other.result())
    return one.result()


@operation.operation(5)
def error(number: int) -> int:
    """The exception of the endpoint comes back."""
    try:
        rpc.client.call({}, 'fail', number=number)
    except LookupError as exc:
        # With the traceback of the server after it.
        return int(str(exc).partition('\n')[0])
    raise operation.never('no error')


@operation.operation(2)
def timeout(number: int) -> int:
    """No answer comes in time."""
    try:
        rpc.client.prepare(timeout=0.2).call({}, 'dawdle', number=number)
    except oslo_messaging.MessagingTimeout:
        return operation.answer(number)
    raise operation.never('an answer in time')
