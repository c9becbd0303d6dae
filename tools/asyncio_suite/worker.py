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

"""Runs tests of CPython's, for tools/asyncio_suite.py."""

from typing import Any
import unittest

import unittest_worker


def load(state: dict[str, Any],
         result: unittest_worker.Result) -> list[unittest.TestCase] | None:
    """Have the tests run on the loop that they are meant for."""
    if state['hub'] is not None:
        import hub_loop

        hub_loop.install(state['hub'], state['green_tasks'])
        result.tell(green_tasks=hub_loop.has_green_tasks())
        if not state['target']:
            return None
    from test import support

    # As CPython's own runner of tests without options.
    support.use_resources = []
    return unittest_worker.flatten(
        unittest.defaultTestLoader.loadTestsFromName(
            'test.' + state['target']))


if __name__ == '__main__':
    unittest_worker.main(load)
