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

"""oslo.db, SQLAlchemy and aiomysql with MariaDB, in green code and coroutines.

On aiohub's hub, chosen in both ways, and on epolls: the same programs.
"""

from typing import Any

from aiohub.tests import functional

CONFIG = """\
[database]
connection = %s
max_pool_size = 6
max_overflow = 2
pool_timeout = 100
# When the server is away: as often as it takes.
max_retries = -1
retry_interval = 1
"""


class DatabaseTestCase(functional.ProgramTestCase):
    server: Any

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # Other environments look for tests here too, without pifpaf.
        from aiohub.tests.functional import mariadb

        cls.server = mariadb.MariaDB()
        cls.server.setUp()
        cls.addClassCleanup(cls.server.cleanUp)

    def start_all(self, name: str) -> list[functional.Program]:
        return self.start(name, CONFIG % self.server.url)

    def test_pools(self) -> None:
        for program in self.start_all('db_pools.py'):
            program.end()

    def test_killed_connections(self) -> None:
        for program in self.start_all('db_kills.py'):
            program.end()

    def test_transfers(self) -> None:
        for program in self.start_all('db_transfers.py'):
            program.end()

    def test_forked(self) -> None:
        for program in self.start_all('db_forked.py'):
            program.end()

    def test_server_goes_away(self) -> None:
        functional.restart(self.server, self.start_all('db_restart.py'))
