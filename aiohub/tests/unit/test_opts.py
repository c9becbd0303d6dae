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

import io

from oslo_config import cfg
from oslo_config import generator
from oslotest import base

from aiohub import opts


class OptsTestCase(base.BaseTestCase):
    def test_default_is_off(self):
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        opts.register_opts(conf)
        self.assertIs(False, conf.aiohub.enabled)
        self.assertIs(True, conf.aiohub.green_tasks)

    def test_each_configuration_has_its_own(self):
        first = cfg.ConfigOpts()
        second = cfg.ConfigOpts()
        for conf in first, second:
            opts.register_opts(conf)
            conf([])
        first.set_override('enabled', True, 'aiohub')
        self.assertIs(True, first.aiohub.enabled)
        self.assertIs(False, second.aiohub.enabled)

    def test_list_opts_gives_copies(self):
        [(group, listed)] = opts.list_opts()
        self.assertEqual('aiohub', group.name)
        self.assertEqual(
            [opt.name for opt in opts.aiohub_opts],
            [opt.name for opt in listed])
        listed.clear()
        self.assertTrue(opts.list_opts()[0][1])

    def test_entry_point(self):
        conf = cfg.ConfigOpts()
        generator.register_cli_opts(conf)
        conf(['--namespace', 'aiohub'])


        sample = io.StringIO()
        generator.generate(conf, sample)
        self.assertIn('[aiohub]', sample.getvalue())
        self.assertIn('#enabled = false', sample.getvalue())
        self.assertIn('#green_tasks = true', sample.getvalue())

    def test_help_reads_well(self):
        for opt in opts.aiohub_opts:
            self.assertTrue(opt.help.endswith('.'), opt.name)
            self.assertNotIn('  ', opt.help)
