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

"""How long it takes to start: imports, and setup()."""

import subprocess
import sys
import time

import comparing

QUIET = 'import warnings; warnings.simplefilter("ignore"); '
PATCH = QUIET + 'import eventlet; eventlet.monkey_patch(); '
SERVICE = PATCH + (
    'from oslo_config import cfg; from oslo_log import log; '
    'conf = cfg.ConfigOpts(); log.register_options(conf); conf([]); '
    'log.setup(conf, "service"); ')
SETUP = SERVICE + (
    'import aiohub; from aiohub import opts; opts.register_opts(conf); '
    'conf.set_override("enabled", True, "aiohub"); aiohub.setup(conf); ')
SLEEP = 'eventlet.sleep(0)'


def _row(name, way, code):
    @comparing.row(name, way, repeats=False)
    def measure():
        start = time.perf_counter()
        # The line that setup() logs is not wanted.
        subprocess.run([sys.executable, '-c', code], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start


# With the interpreter's own start, of about 10 ms.
_row('import eventlet, or aiohub', 'eventlet', QUIET + 'import eventlet')
_row('import eventlet, or aiohub', 'aiohub', QUIET + 'import aiohub')
_row('patch, configure, sleep(0)', 'eventlet', SERVICE + SLEEP)
_row('patch, configure, sleep(0)', 'aiohub', SETUP + SLEEP)

if __name__ == '__main__':
    comparing.main()
