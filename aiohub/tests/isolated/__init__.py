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

"""Tests that need an interpreter of their own.

Patching, forking, signals and the end of a process cannot be undone, so each
of these tests is a script of ``scripts/``, run by a test as a subprocess.

A script is run in *modes*, which say how it comes to its hub:

============= ============================================================
env           ``EVENTLET_HUB=aiohub.hub``
env-patched   the same, and ``eventlet.monkey_patch()``
setup         eventlet's default hub runs, then ``aiohub.setup()``
setup-patched the same, with ``eventlet.monkey_patch()`` before ``setup()``
epolls        eventlet's epolls hub: aiohub switched off
asyncio       eventlet's own asyncio hub
============= ============================================================

and ``epolls-patched``, ``asyncio-patched``.
"""

import functools
import os
import pathlib
import subprocess
import sys
from typing import Any

from oslotest import base

SCRIPTS = pathlib.Path(__file__).parent / 'scripts'
ROOT = pathlib.Path(__file__).parents[3]

ON = ('env', 'env-patched', 'setup', 'setup-patched')
EVERY_HUB = ('env', 'setup-patched', 'asyncio', 'asyncio-patched', 'epolls',
             'epolls-patched')


@functools.cache
def _leaves_a_lock() -> bool:
    """Return whether eventlet tells of a lock that it does not make green.

    One of ``threading`` is a default argument, too, where it does not look
    (eventlet #1075); whether it finds it there is up to the interpreter.
    """
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c',
         'import eventlet; eventlet.monkey_patch()'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stderr.startswith('1 RLock(s) were not greened')


def environment(mode: str) -> dict[str, str]:
    """Return the environment of a script that is to run in *mode*."""
    env = {k: v for k, v in os.environ.items() if k != 'EVENTLET_HUB'}
    env['AIOHUB_TEST_MODE'] = mode
    env['PYTHONPATH'] = os.pathsep.join(
        [str(ROOT), *filter(None, [env.get('PYTHONPATH')])])
    # ResourceWarning shows what was not closed. Since 3.12 forking beside
    # threads warns; that is what some of them do.
    env['PYTHONWARNINGS'] = (
        'default::ResourceWarning,ignore:This process:DeprecationWarning')
    if _leaves_a_lock():
        env['PYTEST_CURRENT_TEST'] = 'x'  # keeps it from telling
    if mode.startswith('env'):
        env['EVENTLET_HUB'] = 'aiohub.hub'
    elif not mode.startswith('setup'):
        env['EVENTLET_HUB'] = mode.partition('-')[0]
    return env


class ScriptTestCase(base.BaseTestCase):
    """Runs scripts, and fails with all that they printed."""

    def run_script(self, name: str, mode: str, *args: str,
                   seconds: float = 300) -> str:
        """Run a script that prints ``pass`` as its last line.

        :param seconds: When to give up; far more than it takes.
        :returns: What it printed before that line.
        """
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / name), *args], cwd=SCRIPTS,
            env=environment(mode), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=seconds, check=False)
        lines = done.stdout.splitlines()
        if done.returncode or done.stderr or lines[-1:] != ['pass']:
            self.fail('%s in mode %s ended with %s\n%s\n%s' % (
                name, mode, done.returncode, done.stdout, done.stderr))
        return '\n'.join(lines[:-1])


def in_modes(*modes: str) -> Any:
    """Make one test of each mode out of a test that takes the mode."""

    def decorate(function: Any) -> Any:
        function.modes = modes
        return function

    return decorate


def expand(cls: type) -> type:
    """Class decorator that does what :func:`in_modes` asks for."""
    for name, function in list(vars(cls).items()):
        modes = getattr(function, 'modes', ())
        if not modes:
            continue
        delattr(cls, name)
        for mode in modes:
            def test(self: Any, function: Any = function,
                     mode: str = mode) -> None:
                function(self, mode)

            test.__doc__ = function.__doc__
            setattr(cls, '%s_%s' % (name, mode.replace('-', '_')), test)
    return cls
