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

"""The half of suite_runner.UnittestRunner that runs in the test process.

    python worker.py FILE

FILE says what to run, and where to write what becomes of it: one JSON
document a line, so that what ran before a hang or a crash is known. Workers
give :func:`main` a function that says how the tests are found.
"""

from collections.abc import Callable
from collections.abc import Iterable
import faulthandler
import gc
import json
import os
import sys
import traceback
from typing import Any
import unittest

# The tests may patch modules, in this process too.
_write = os.write


class Result(unittest.TestResult):
    """Tells the runner about every test as it starts and ends."""

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__()
        self.fd = os.open(state['events'], os.O_WRONLY | os.O_APPEND)
        self.limit = state['limit']
        self.running = self.outside = '%s::(process)' % state['target']
        self.watch()
        sys.unraisablehook = self._unraisable

    def watch(self) -> None:
        """Begin to count the time that a test may take."""
        faulthandler.dump_traceback_later(self.limit, exit=True)

    def tell(self, **event: Any) -> None:
        _write(self.fd, json.dumps(event).encode() + b'\n')

    def note(self, outcome: str, text: str = '',
             name: str | None = None) -> None:
        self.tell(result=name or self.running, outcome=outcome, text=text)

    def name(self, test: Any) -> str:
        # setUpClass() and the like are no tests, and cannot be run alone.
        return name_of(test) if isinstance(
            test, unittest.TestCase) else self.outside

    def startTest(self, test: unittest.TestCase) -> None:
        self.watch()
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
        self.note('skipped', reason, self.name(test))

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self.note('failed', text_of(*err), self.name(test))

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
    message = ''.join(traceback.format_exception_only(kind, exc))
    if '\nTraceback (' in f'\n{exc}':
        # testtools makes a message of the whole of another traceback.
        message = message.rstrip().rpartition('\n')[2] + '\n'
    return message + ''.join(traceback.format_exception(kind, exc, tb))


def flatten(tests: Any) -> list[unittest.TestCase]:
    if isinstance(tests, unittest.TestSuite):
        return [test for each in tests for test in flatten(each)]
    return [tests]


def main(load: Callable[
        [dict[str, Any], Result], Iterable[unittest.TestCase] | None]) -> None:
    """Run the tests that *load* returns, but those that ran already.

    :param load: Is called with what FILE says, and the result. None says
        that there is nothing to run.
    """
    with open(sys.argv[1]) as f:
        state = json.load(f)
    result = Result(state)
    tests = load(state, result)
    if tests is None:
        return
    tests = [test for test in tests if name_of(test) not in state['done']]
    result.tell(collected=[name_of(test) for test in tests])
    # Tests that collect garbage often must not be slow for what is not theirs.
    gc.collect()
    gc.freeze()
    unittest.TestSuite(tests).run(result)
    result.watch()
