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

"""Many connections on which nothing happens: memory, and wake-ups."""

import resource
import subprocess
import sys
import time

import comparing

#: As many as a process may have.
CONNECTIONS = min(
    10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200)
MANY = f'{CONNECTIONS:,} idle: '


def _resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


#: Each process has one end of all connections.
MANY_FILES = """
import resource
need = %d
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if soft < need:
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
""" % (CONNECTIONS + 100)

CLIENT = MANY_FILES + """
import socket, sys
port, count = map(int, sys.argv[1:])
kept = []
for _ in range(count):
    kept.append(socket.create_connection(('127.0.0.1', port)))
    kept[-1].recv(1)  # no faster than they are accepted
sys.stdin.read()
"""


class Idle:
    """Green threads that wait for data on connections.

    :ivar memory: What they take, each.
    """

    def __enter__(self):
        import eventlet

        exec(MANY_FILES)
        self.listener = eventlet.listen(('127.0.0.1', 0))
        self.client = subprocess.Popen(
            [sys.executable, '-c', CLIENT,
             str(self.listener.getsockname()[1]), str(CONNECTIONS)],
            stdin=subprocess.PIPE)
        before = _resident()
        waiting = []
        for _ in range(CONNECTIONS):
            sock, _ = self.listener.accept()
            sock.sendall(b'x')
            waiting.append(eventlet.spawn(sock.recv, 1))
        for _ in range(3):
            eventlet.sleep(0)
        self.memory = (_resident() - before) / CONNECTIONS
        return self

    def __exit__(self, *exc_info):
        self.client.kill()
        self.client.communicate()
        self.listener.close()


@comparing.row(MANY + 'memory of each', 'eventlet', unit='byte',
               repeats=False)
def memory():
    with Idle() as idle:
        return idle.memory


@comparing.row(MANY + 'CPU in a second', 'eventlet', repeats=False)
def processor():
    import eventlet

    with Idle():
        start = time.process_time()
        eventlet.sleep(1)
        return time.process_time() - start


@comparing.row(MANY + 'sleeps in a second', 'eventlet', unit='integer',
               repeats=False)
def wakeups():
    """How often the process went to sleep: once is for the second itself."""
    import eventlet

    with Idle():
        eventlet.sleep(0.1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        eventlet.sleep(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before


if __name__ == '__main__':
    comparing.main()
