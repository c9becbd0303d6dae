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

"""A program that needs its first hub when the interpreter ends.

eventlet's tpool does so in every program that has imported it.
"""

import atexit


def at_exit() -> None:
    import eventlet

    eventlet.sleep(0)
    assert eventlet.spawn(lambda: 5).wait() == 5
    mode.done()


atexit.register(at_exit)

import mode  # noqa: E402
