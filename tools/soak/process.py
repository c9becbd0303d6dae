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

"""The process of the service, as the one who started it sees it."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import sys

#: In seconds; for machines that are busy.
START_WITHIN = 120
STOP_WITHIN = 60

#: Lines of the log begin so, and those of a traceback, too.
PREFIX = '%%(asctime)s %%(levelname)s %%(name)s '
#: RPC says that the broker is down. Nobody else has anything to complain of.
EXPECTED = re.compile(
    r'\S+ \S+ (INFO|DEBUG) '
    r'|\S+ \S+ (WARNING|ERROR) (oslo[._]messaging|amqp|kombu)')

CONFIG = f"""\
[DEFAULT]
transport_url = %s
use_stderr = true
default_log_levels = oslo_messaging=WARNING
logging_context_format_string = {PREFIX}%%(message)s
logging_default_format_string = {PREFIX}%%(message)s
logging_exception_prefix = {PREFIX}
[oslo_messaging_rabbit]
heartbeat_timeout_threshold = 10
kombu_reconnect_delay = 0.5
[aiohub]
enabled = true
"""


class Service:
    """Runs ``service.py``.

    :param folder: Where its files are to be.
    :param broker_url: The address of the broker.
    :ivar doors: The addresses of its HTTP servers.
    :ivar weights: Its operations, and how often each is to be asked for.
    """

    def __init__(self, folder: pathlib.Path, broker_url: str) -> None:
        self._folder = folder
        self._log = folder / 'log'
        self._config = folder / 'service.conf'
        self._config.write_text(CONFIG % broker_url)

    async def start(self) -> None:
        env = {**os.environ,
               'EVENTLET_THREADPOOL_SIZE': '4',
               'PYTHONWARNINGS': 'default::ResourceWarning'}
        env.pop('EVENTLET_HUB', None)
        with self._log.open('wb') as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, str(pathlib.Path(__file__).parent
                                    / 'service.py'),
                '--config-file', str(self._config), cwd=self._folder, env=env,
                stdin=asyncio.subprocess.DEVNULL, stderr=log,
                stdout=asyncio.subprocess.PIPE, start_new_session=True)
        assert self._process.stdout is not None
        async with asyncio.timeout(START_WITHIN):
            ready = await self._process.stdout.readline()
        if not ready:
            raise RuntimeError(
                f'the service has not started\n{self._log.read_text()}')
        self.doors, self.weights = json.loads(ready)

    async def stop(self) -> list[str]:
        """Stop it as an operator does, and return what is wrong then."""
        wrong = []
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                status = await self._process.wait()
            if status != 0:
                wrong.append(f'the exit status of the service is {status}')
        except TimeoutError:
            wrong.append(f'it has not stopped within {STOP_WITHIN} s')
            await self.print_stacks()
        try:
            # It leads a session, and all that it forks belong to that.
            os.killpg(self._process.pid, signal.SIGKILL)
            wrong.append('the service has left processes')
        except ProcessLookupError:
            pass
        await self._process.wait()
        lines = [line for line in self._log.read_text(errors='replace')
                 .splitlines() if line.strip() and not EXPECTED.match(line)]
        if lines:
            wrong.append('\n'.join(('the service has logged:', *lines)))
        return wrong

    async def print_stacks(self) -> None:
        """Have it write to its log where everything in it waits."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGQUIT)
        await asyncio.sleep(10)
