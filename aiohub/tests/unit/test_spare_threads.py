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


from unittest import mock

from oslotest import base

from aiohub import _spare_threads


class SpareThreadsTestCase(base.BaseTestCase):
    def replaced(self, known):
        """Return what is exchanged in a class and a module like eventlet's."""
        class GreenThread:
            pass

        before = set(vars(GreenThread))
        with mock.patch.multiple(
                _spare_threads, _GreenThread=GreenThread, _KNOWN=known,
                eventlet=mock.DEFAULT, greenthread=mock.DEFAULT) as modules:
            _spare_threads.replace()
        return (set(vars(GreenThread)) - before,
                {module.spawn for module in modules.values()}
                == {_spare_threads.spawn})

    def test_what_is_known_is_exchanged(self):
        self.assertEqual(({'__bool__', 'run', 'gr_frame'}, True),
                         self.replaced(_spare_threads._KNOWN))

    def test_what_looks_otherwise_stays(self):
        known = dict(_spare_threads._KNOWN)
        for method in (*known, len):
            self.assertEqual(
                (set(), False),
                self.replaced({**known, method: ('something',)}))
