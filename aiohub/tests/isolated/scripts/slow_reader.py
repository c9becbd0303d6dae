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

"""The process that reads a log slowly; the scripts start it.

It reads the descriptor that is its argument, once something has come on
stdin, in small pieces, and copies them to stdout.
"""

import os
import sys

fd = int(sys.argv[1])
os.set_blocking(fd, True)
os.read(0, 1)
while piece := os.read(fd, 500):
    os.write(1, piece)
    # Whoever can write now does.
    os.sched_yield()
