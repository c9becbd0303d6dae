# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The half of tools/eventlet_suite.py that runs inside pytest.

It leaves out what has run already, tells the runner about every test as it
starts and ends (one JSON document a line, so that the runner sees a hang or
a crash), and makes two tests run as on other hubs. They ask
``isinstance(get_hub(), eventlet.hubs.asyncio.Hub)``, because that hub cannot
have several readers of one file descriptor, and then skip themselves, or only
see that it refuses. While one is imported and the other runs, that name
stands for a class that the hub under test is no instance of.
"""

from collections.abc import Generator
import contextlib
import json
import os
import socket
from typing import Any

import eventlet
import eventlet.hubs
import eventlet.hubs.asyncio
import pytest

ASKS_AT_IMPORT = 'tests/hub_test.py'
ASKS_WHEN_RUN = 'tests/greenio_test.py::TestGreenIoLong::test_multiple_readers'

# The tests patch modules, in this process too.
_write = os.write


class NoSuchHub:
    """What ``eventlet.hubs.asyncio.Hub`` is for the tests named above."""


class Plugin:
    def __init__(self, state: dict[str, Any]) -> None:
        self.done = set(state['done'])
        self.fd = os.open(state['events'], os.O_WRONLY | os.O_APPEND)
        # As the first get_hub() would, but before the class is replaced: a
        # hub may derive from it.
        eventlet.hubs.use_hub()
        hub = eventlet.hubs._threadlocal.Hub
        self.replace = hub is not eventlet.hubs.asyncio.Hub

    def tell(self, **event: Any) -> None:
        _write(self.fd, json.dumps(event).encode() + b'\n')

    @contextlib.contextmanager
    def no_asyncio_hub(self, wanted: bool) -> Generator[None, None, None]:
        saved = eventlet.hubs.asyncio.Hub
        if wanted and self.replace:
            eventlet.hubs.asyncio.Hub = NoSuchHub
        try:
            yield
        finally:
            eventlet.hubs.asyncio.Hub = saved

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        with self.no_asyncio_hub(collector.nodeid == ASKS_AT_IMPORT):
            return (yield)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.tell(result=report.nodeid, outcome='failed',
                      text=report.longreprtext)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        out = [item for item in items if item.nodeid in self.done]
        items[:] = [item for item in items if item.nodeid not in self.done]
        config.hook.pytest_deselected(items=out)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.tell(collected=[item.nodeid for item in session.items])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item
    ) -> Generator[None, object, object]:
        self.tell(start=item.nodeid)
        with self.no_asyncio_hub(item.nodeid == ASKS_WHEN_RUN):
            result = yield
        self.tell(end=item.nodeid)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == 'call' or not report.passed:
            text = report.longreprtext
            for title, content in report.sections:
                text += '\n--- %s ---\n%s' % (title, content)
            self.tell(result=report.nodeid, outcome=report.outcome, text=text)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--eventlet-suite', required=True)


def pytest_configure(config: pytest.Config) -> None:
    with open(config.getoption('--eventlet-suite')) as f:
        state = json.load(f)
    if [name for _, name in socket.if_nameindex()] != ['lo']:
        pytest.exit('the network has more than loopback', 3)
    if eventlet.__file__ != state['eventlet']:
        pytest.exit('eventlet is %s, not %s'
                    % (eventlet.__file__, state['eventlet']), 3)
    with contextlib.suppress(OSError):
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
        os.environ['eventlet_test_ipv6'] = '1'
    config.pluginmanager.register(Plugin(state))
