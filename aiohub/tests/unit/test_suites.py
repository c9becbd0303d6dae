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

"""When the programs that run others' test suites fail."""

import contextlib
import importlib
import io
import pathlib

import fixtures
from oslotest import base

TOOLS = pathlib.Path(__file__).parents[3] / 'tools'
PASSED = ('passed', '')
FAILED = ('failed', 'AssertionError: no')
SKIPPED = ('skipped', 'not on this hub')


class ToolTestCase(base.BaseTestCase):
    def tool(self, name):
        self.useFixture(fixtures.PythonPathEntry(str(TOOLS)))
        return importlib.import_module(name)


class JudgeTestCase(ToolTestCase):
    def judge(self, base, ours, left_out=None, complete=True):
        return self.tool('suite').judge(
            ('epolls', 'aiohub.hub'), base, ours, left_out or {}, complete)

    def test_what_passes_on_the_base_has_to_pass(self):
        for mine in (FAILED, SKIPPED):
            self.assertIn(mine[1], self.judge({'t': PASSED}, {'t': mine})['t'])
        self.assertEqual({}, self.judge({'t': PASSED}, {'t': PASSED}))

    def test_what_passes_on_the_base_has_to_run(self):
        self.assertIn('not run', self.judge({'t': PASSED}, {})['t'])

    def test_what_does_not_run_on_the_base_has_to_pass(self):
        for theirs in ({}, {'t': SKIPPED}):
            self.assertEqual(['t'], list(self.judge(theirs, {'t': FAILED})))
            self.assertEqual({}, self.judge(theirs, {'t': PASSED}))

    def test_what_fails_on_the_base_does_not_count(self):
        for ours in ({'t': PASSED}, {'t': FAILED}, {'t': SKIPPED}, {}):
            self.assertEqual({}, self.judge({'t': FAILED}, ours))

    def test_what_is_left_out_is_exact(self):
        def judge(ours, **options):
            return self.judge(
                {'a.t': PASSED}, {'a.t': ours}, {'a.*': 'why'}, **options)

        self.assertEqual({}, judge(FAILED))
        self.assertIn('passes', judge(PASSED)['a.t'])
        self.assertIn('matches no test', self.judge(
            {'t': PASSED}, {'t': PASSED}, {'gone': 'why'})['gone'])
        self.assertEqual({}, self.judge({}, {}, {'gone': 'why'}, False))


class ReportTestCase(ToolTestCase):
    def report(self, ours, wrong):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = self.tool('suite').report(
                ('epolls', 'aiohub.hub'), {}, ours, {}, {}, wrong)
        return status, output.getvalue().splitlines()[-1]

    def test_the_exit_status_and_the_last_line(self):
        self.assertEqual(
            (0, '1 passed, 0 failed, 1 skipped'),
            self.report({'a': PASSED, 'b': SKIPPED}, {}))
        self.assertEqual(
            (1, '1 passed, 1 failed, 0 skipped'),
            self.report({'a': PASSED, 'b': FAILED}, {'b': 'why'}))

    def test_nothing_is_no_success(self):
        suite = self.tool('suite')
        self.assertRaises(suite.SuiteError, self.report, {'a': SKIPPED}, {})


class HubTestCase(ToolTestCase):
    def judge(self, *ran, hub='aiohub.hub', **options):
        peers = self.tool('peers')
        peer = peers.Peer('some', 'some.tests', **{'patches': True, **options})
        return peers.judge_hub(
            hub, peer, [peers.Ran(peer, hub, *each) for each in ran])

    def test_as_meant(self):
        self.assertIsNone(self.judge(('aiohub.hub', False, True)))
        self.assertIsNone(
            self.judge(('aiohub.hub', False, False), patches=False))
        self.assertIsNone(
            self.judge(('eventlet.hubs.epolls', False, True), hub='epolls'))
        self.assertIsNone(
            self.judge(('a.hub', False, True), hub='a.hub:SomeHub'))

    def test_no_hub(self):
        self.assertIn('never ran', self.judge())

    def test_another_hub_if_only_in_a_child(self):
        self.assertIn('eventlet.hubs.epolls', self.judge(
            ('aiohub.hub', False, True), ('eventlet.hubs.epolls', True, True)))

    def test_not_patched_as_meant(self):
        for patched in (False, True):
            self.assertIn('patched', self.judge(
                ('aiohub.hub', False, patched), patches=not patched))

    def test_no_forked_process(self):
        ran = ('aiohub.hub', False, True)
        self.assertIn('forked', self.judge(ran, forks=True))
        self.assertIsNone(
            self.judge(ran, ('aiohub.hub', True, True), forks=True))
