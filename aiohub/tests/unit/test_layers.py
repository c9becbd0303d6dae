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

"""Modules refer downwards only; see the design."""

import ast
import pathlib

from oslotest import base

import aiohub

#: From the top to the bottom. A module may use those of the lines below its
#: own, and no others.
LAYERS = (
    ('toggle', 'from_thread', 'wrappers'),
    ('_held', '_workers'),
    ('bridge', '_handover', '_default_hub'),
    ('hub', '_callers', '_crossing'),
    ('_queues',),
    ('_semaphores', '_events', '_queue_lines'),
    ('_waiters', '_turns'),
    ('_green_loop', '_descriptors', '_timers'),
    ('loop',),
    ('_task_class', '_green_start'),
    ('_lifetime', 'tasks', '_standstill', '_threads',
     '_green_event', '_green_select', '_green_timeout', '_signals',
     '_futures', '_handles'),
    ('_stand_in',),
    ('_park', '_fork', '_loop_state', '_first_step', '_callers_step'),
    ('_spare_greenlets', '_spare_threads'),
    ('_selector', '_native', '_eventlet', '_task_greenlet', '_thrown'),
    ('exceptions', 'opts', '_logging', '_request_context', '_at_exit',
     '_poll', '_malloc'),
)
PACKAGE = pathlib.Path(aiohub.__file__).parent


def imported(tree: ast.AST) -> set[str]:
    """Return which modules of aiohub a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == 'aiohub':
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (
                node.module or '').startswith('aiohub.'):
            found.add(node.module.split('.')[1])
        elif isinstance(node, ast.Import):
            found.update(
                alias.name.split('.')[1] for alias in node.names
                if alias.name.startswith('aiohub.'))
    return found


class LayersTestCase(base.BaseTestCase):
    def test_arrows_point_down(self):
        level = {name: number for number, names in enumerate(LAYERS)
                 for name in names}
        modules = {path.stem: path for path in PACKAGE.glob('*.py')
                   if path.stem != '__init__'}
        self.assertEqual(set(level), set(modules))
        for name, path in modules.items():
            for other in imported(ast.parse(path.read_text())):
                self.assertGreater(
                    level[other], level[name],
                    '%s imports %s' % (name, other))

    def test_modules_stay_small(self):
        for path in PACKAGE.glob('*.py'):
            self.assertLess(len(path.read_text().splitlines()), 450, path)

    def test_the_names_of_the_package(self):
        for name in aiohub.__all__:
            self.assertTrue(getattr(aiohub, name).__doc__, name)
