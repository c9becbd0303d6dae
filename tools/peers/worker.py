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

"""Runs tests of one of the peers, for tools/peers.py."""

import functools
import importlib
import os
from typing import Any
import unittest

from eventlet.hubs import hub as base_hub
from eventlet import patcher
import unittest_worker


def watch_hubs(result: unittest_worker.Result) -> None:
    """Tell of every hub that is waited in, here and in forked processes."""
    worker = os.getpid()
    told = set()
    init = base_hub.BaseHub.__init__

    def switch(hub: Any, original: Any) -> Any:
        pid = os.getpid()
        kind = type(hub).__module__
        if (pid, kind) not in told:
            told.add((pid, kind))
            result.tell(module=kind, forked=pid != worker,
                        patched=patcher.is_monkey_patched('thread'))
        return original()

    @functools.wraps(init)
    def watched_init(hub: Any, *args: Any, **kwargs: Any) -> None:
        init(hub, *args, **kwargs)
        # What every green call comes to. Not run(): in a forked process the
        # hub goes on in the greenlet that it had.
        hub.switch = functools.partial(switch, hub, hub.switch)

    base_hub.BaseHub.__init__ = watched_init


def load(state: dict[str, Any],
         result: unittest_worker.Result) -> list[unittest.TestCase]:
    """Return the tests of the module, or the one that is asked for."""
    watch_hubs(result)
    tests = unittest.defaultTestLoader.loadTestsFromModule(
        importlib.import_module(state['module']))
    # Not earlier: what it imports would not be patched.
    import testscenarios

    wanted = []
    for test in testscenarios.generate_scenarios(tests):
        if test.id() in state['not_run']:
            result.note('skipped', state['not_run'][test.id()], test.id())
        elif state['target'] in (state['module'], test.id()):
            wanted.append(test)
    return wanted


if __name__ == '__main__':
    unittest_worker.main(load)
