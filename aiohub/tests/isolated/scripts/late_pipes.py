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

"""A pipe that is written to when others have gone on; used by scripts."""

import os

import mode

if not mode.PATCHED:
    from eventlet.green import os


class Pipe:
    """A pipe, to be written to when the others have gone on."""

    def __init__(self, others, data):
        self.reader, self._writer = os.pipe()
        others.then(self._write, data)

    def __enter__(self):
        return self.reader

    def __exit__(self, *_):
        os.close(self.reader)

    def _write(self, data):
        with os.fdopen(self._writer, 'wb') as file:
            file.write(data)
