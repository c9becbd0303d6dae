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

"""A real RabbitMQ, which can be stopped, killed and started again."""

import pathlib
import signal

from pifpaf.drivers import rabbitmq

from aiohub.tests.functional import ports


class RabbitMQ(rabbitmq.RabbitMQDriver):
    """Run a broker on loopback that has all of its files in one directory.

    It needs no name service: the node is called after ``localhost``. Nothing
    that it starts is left behind, which is why its port mapper is not the one
    that Erlang would start, a daemon that stays.
    """

    def __init__(self) -> None:
        port, self.dist_port, self.epmd_port = ports.free(3)
        super().__init__(port=port, nodename='aiohub')
        self.node = 'aiohub@localhost'
        #: What oslo.messaging wants as its ``transport_url``.
        self.url = 'rabbit://%s:%s@127.0.0.1:%d/' % (
            self.username, self.password, port)

    def _setUp(self) -> None:
        for name, value in (
                # What the machine has for a broker of its own.
                ('RABBITMQ_CONF_ENV_FILE', '/dev/null'),
                ('RABBITMQ_CONFIG_FILE', '/dev/null'),
                ('RABBITMQ_DIST_PORT', str(self.dist_port)),
                ('ERL_EPMD_PORT', str(self.epmd_port)),
                # The process that is started is the broker then, not a shell
                # that waits for one: when it is gone, so are its ports.
                ('RUNNING_UNDER_SYSTEMD', 'true'),
                # One scheduler, which does not spin: others need the CPU.
                ('RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS',
                 '+S 1:1 +sbwt none -kernel inet_dist_use_interface'
                 ' {127,0,0,1}'),
        ):
            self.putenv(name, value, raw=True)
        self._exec(['epmd', '-port', str(self.epmd_port),
                    '-address', '127.0.0.1'], wait_for_port=self.epmd_port)
        super()._setUp()

    def ctl(self, *command: str) -> str:
        """Run ``rabbitmqctl`` and return what it printed."""
        _, output = self._exec(
            ['rabbitmqctl', '-q', '-n', self.node, *command], stdout=True,
            path=self._path, env=self.env)
        return output.decode()

    def log(self) -> str:
        """Return what the broker has logged since it was started first."""
        return (pathlib.Path(self.tempdir) / (self.node + '.log')).read_text()

    def start(self) -> None:
        """Start the broker with the port and the data it had.

        Returns when it accepts connections.
        """
        self.start_node(self.node)

    def stop(self) -> None:
        """Stop the broker as an operator does: it says so to its clients."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker with ``kill -9``: its clients find out."""
        self._end(signal.SIGKILL)

    def _end(self, signum: signal.Signals) -> None:
        process = self._process.pop(self.node)
        process.send_signal(signum)
        process.wait()
