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

"""oslo.messaging over RabbitMQ, with its eventlet executor.

On aiohub's hub, chosen in both ways, and on epolls: the same programs.
"""

from typing import Any

from aiohub.tests import functional

CONFIG = """\
[DEFAULT]
transport_url = %(url)s
# There are more calls at once than connections.
default_log_levels = oslo.messaging._drivers.pool=ERROR
executor_thread_pool_size = 64
[oslo_messaging_rabbit]
amqp_durable_queues = true
heartbeat_timeout_threshold = %(heartbeat)d
heartbeat_rate = %(rate)d
kombu_reconnect_delay = 0.5
rabbit_retry_backoff = 1
rabbit_interval_max = 2
"""


class RpcTestCase(functional.ProgramTestCase):
    broker: Any

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # Other environments look for tests here too, without pifpaf.
        from aiohub.tests.functional import rabbitmq

        cls.broker = rabbitmq.RabbitMQ()
        cls.broker.setUp()
        cls.addClassCleanup(cls.broker.cleanUp)

    def start_rpc(self, name: str, heartbeat: int = 10,
                  rate: int = 10) -> list[functional.Program]:
        return self.start(name, CONFIG % {
            'url': self.broker.url, 'heartbeat': heartbeat, 'rate': rate})

    def test_calls(self) -> None:
        for program in self.start_rpc('rpc_calls.py'):
            program.end()

    def test_forked(self) -> None:
        for program in self.start_rpc('rpc_forked.py'):
            program.end()

    def test_broker_goes_away(self) -> None:
        functional.restart(self.broker, self.start_rpc('rpc_broker.py'))

    def test_heartbeats(self) -> None:
        missed = self._missed()
        programs = self.start_rpc('rpc_heartbeats.py', heartbeat=2, rate=2)
        for program in programs:
            program.expect('connected')
        connections = self._connections()
        for program in programs:
            program.tell('idle')
        for program in programs:
            program.expect('idle')
        self.assertEqual(connections, self._connections())
        for program in programs:
            program.tell('call')
        for program in programs:
            program.end()
        # Each has had two that were closed for it.
        self.assertEqual(missed + 2 * len(programs), self._missed())

    def _connections(self) -> set[str]:
        return set(self.broker.ctl('list_connections', 'pid').split())

    def _missed(self) -> int:
        return int(self.broker.log().count('missed heartbeats from client'))
