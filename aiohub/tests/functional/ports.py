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

"""Where the servers of the tests listen."""

import random
import socket


def free(count: int) -> list[int]:
    """Return so many ports of loopback that nobody listens at.

    They are below those that Linux takes for the near end of a connection.
    With one of these, a client that tries to connect while the server is down
    can be connected to itself, and the server cannot come back.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20000, 32768)
        with socket.socket() as sock:
            if (port not in ports
                    and sock.connect_ex(('127.0.0.1', port)) != 0):
                ports.append(port)
    return ports
