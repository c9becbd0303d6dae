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

"""The half of tools/asyncio_suite.py that runs the tests.

    python worker.py FILE

FILE says what to run, and where to write what becomes of it: one JSON
document a line, so that what ran before a hang or a crash is known.
"""

import faulthandler
import gc
import json
import os
import sys
import traceback
from typing import Any
import unittest


class Result(unittest.TestResult):
    """Tells the runner about every test as it starts and ends."""

    def __init__(self, fd: int, limit: float, outside: str) -> None:
        super().__init__()
        self.fd = fd
        self.limit = limit
        self.outside = outside
        self.running = outside
        sys.unraisablehook = self._unraisable

    def tell(self, **event: Any) -> None:
        os.write(self.fd, json.dumps(event).encode() + b'\n')

    def note(self, outcome: str, text: str = '',
             name: str | None = None) -> None:
        self.tell(result=name or self.running, outcome=outcome, text=text)

    def startTest(self, test: unittest.TestCase) -> None:
        faulthandler.dump_traceback_later(self.limit, exit=True)
        super().startTest(test)
        self.running = name_of(test)
        self.tell(start=self.running)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.tell(end=self.running)
        self.running = self.outside

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.note('passed')

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.note('passed')

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.note('failed', 'was expected to fail')

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.note('skipped', reason, name_of(test))

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self.note('failed', text_of(*err), name_of(test))

    addFailure = addError

    def addSubTest(self, test: unittest.TestCase,
                   subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self.note('failed', '%s\nin %s' % (text_of(*err), subtest))

    def _unraisable(self, args: Any) -> None:
        # Python would print it, and nobody would see it.
        exc = args.exc_value or args.exc_type()
        self.note('failed', '%s: %r: %s' % (
            args.err_msg or 'Exception ignored in', args.object,
            text_of(args.exc_type, exc, args.exc_traceback)))


def name_of(test: unittest.TestCase) -> str:
    return test.id().removeprefix('test.')


def text_of(kind: Any, exc: BaseException, tb: Any) -> str:
    """Return the message first, then how it came to it."""
    return '%s%s' % (
        ''.join(traceback.format_exception_only(kind, exc)),
        ''.join(traceback.format_exception(kind, exc, tb)))


def flatten(tests: Any) -> list[unittest.TestCase]:
    if isinstance(tests, unittest.TestSuite):
        return [test for each in tests for test in flatten(each)]
    return [tests]


def main(path: str) -> None:
    with open(path) as f:
        state = json.load(f)
    fd = os.open(state['events'], os.O_WRONLY | os.O_APPEND)
    result = Result(fd, state['limit'], '%s::(process)' % state['target'])
    faulthandler.dump_traceback_later(result.limit, exit=True)
    if state['hub'] is not None:
        import hub_loop

        hub_loop.install(state['hub'], state['green_tasks'])
        result.tell(green_tasks=hub_loop.has_green_tasks())
        if state['target'] is None:
            return
    from test import support

    # As CPython's own runner of tests without options.
    support.use_resources = []
    tests = [
        test for test in flatten(unittest.defaultTestLoader.loadTestsFromName(
            'test.' + state['target']))
        if name_of(test) not in state['done']]
    result.tell(collected=[name_of(test) for test in tests])
    # The tests collect garbage often; more modules must not make it slow.
    gc.collect()
    gc.freeze()
    unittest.TestSuite(tests).run(result)
    faulthandler.dump_traceback_later(result.limit, exit=True)


if __name__ == '__main__':
    main(sys.argv[1])
