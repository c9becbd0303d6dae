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

"""A real MariaDB, which can be stopped, killed and started again."""

import getpass
import os
import signal
from typing import Any

from pifpaf import drivers

from aiohub.tests.functional import ports


class MariaDB(drivers.Driver):
    """Run a server on loopback that has all of its files in one directory.

    It knows no privileges: whoever comes may do everything, under any name,
    and the server counts connections by these names. So it needs no tables
    of its own, which pifpaf's driver for MySQL takes seconds to make.
    """

    def __init__(self) -> None:
        super().__init__()
        self.port, = ports.free(1)
        #: What oslo.db wants as its ``connection``. Each program has a
        #: database and users of its own.
        self.url = ('mysql+pymysql://oslo-%%(topic)s@127.0.0.1:%d/%%(topic)s'
                    % self.port)
        self._process: Any = None

    def _setUp(self) -> None:
        super()._setUp()
        os.mkdir(os.path.join(self.tempdir, 'data'))
        self.start()

    def start(self) -> None:
        """Start the server with the port and the data it had.

        Returns when it accepts connections.
        """
        self._process, _ = self._exec(
            ['mariadbd', '--no-defaults', '--skip-grant-tables',
             # As root it does not run, unless it is told to.
             '--user=' + getpass.getuser(),
             '--datadir=' + os.path.join(self.tempdir, 'data'),
             '--tmpdir=' + self.tempdir,
             '--socket=' + os.path.join(self.tempdir, 'socket'),
             '--pid-file=' + os.path.join(self.tempdir, 'pid'),
             '--bind-address=127.0.0.1', '--port=%d' % self.port,
             '--innodb-buffer-pool-size=16M', '--innodb-log-file-size=8M',
             # What is committed outlives the server, if not the machine.
             '--innodb-flush-log-at-trx-commit=2',
             # Who has come how often.
             '--userstat=1', '--max-connections=300'],
            wait_for_line='ready for connections', path=['/usr/sbin'])

    def stop(self) -> None:
        """Stop the server as an operator does: it ends its connections."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server with ``kill -9``: the next one recovers."""
        self._end(signal.SIGKILL)

    def _end(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)
        self._process.wait()
