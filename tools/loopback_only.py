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

"""Run a command in a network that is nothing but loopback.

    python tools/loopback_only.py command [argument ...]

Makes a network namespace, brings loopback up in it, makes sure that nothing
else is there and that an address outside cannot be reached, and becomes the
command. Otherwise it says what is wrong, exits with 2 and does not run the
command.
"""

import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys

# A namespace of the network does not hold unix sockets that have a path, and
# behind these the C library finds a daemon that asks real DNS servers.
DAEMONS = (
    '/run/dbus/system_bus_socket',
    '/run/nscd/socket',
    '/run/systemd/resolve/io.systemd.Resolve',
    '/run/systemd/resolve/io.systemd.Resolve.Monitor',
    '/var/lib/sss/pipes/nss',
)

# linux/sockios.h, linux/if.h
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


#: Says that the namespace is there already.
INSIDE = '--inside'


class LoopbackError(Exception):
    """There is no such network to be had; the message says why."""


def prefix() -> list[str]:
    """Return the command that runs a command with loopback only.

    :raises LoopbackError: If that cannot be done here.
    """
    ways = [['--map-root-user']]
    if os.geteuid() == 0:
        ways.insert(0, [])
    errors = []
    for way in ways:
        command = ['unshare', '--net', '--mount', *way, '--',
                   sys.executable, os.path.abspath(__file__), INSIDE]
        try:
            subprocess.run([*command, 'true'], check=True, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            return command
        except OSError as exc:
            errors.append(str(exc))
        except subprocess.CalledProcessError as exc:
            errors.append(exc.output.strip())
    raise LoopbackError(
        'there is no network namespace with loopback only to be had, and '
        'without one the tests would send traffic to the network. Run this '
        'as root, or where users may make namespaces. (%s)'
        % '; '.join(errors))


def interface_flags(sock: socket.socket, request: int, flags: int = 0) -> int:
    answer = fcntl.ioctl(sock, request, struct.pack('16sH22x', b'lo', flags))
    return int(struct.unpack('16sH22x', answer)[1])


def keep_in() -> str | None:
    """Close every way out; return what is wrong, if anything is."""
    names = [name for _, name in socket.if_nameindex()]
    if names != ['lo']:
        return 'the network has more than loopback: ' + ', '.join(names)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags = interface_flags(sock, SIOCGIFFLAGS)
        if not flags & IFF_UP:
            interface_flags(sock, SIOCSIFFLAGS, flags | IFF_UP)
        if not interface_flags(sock, SIOCGIFFLAGS) & IFF_UP:
            return 'loopback does not come up'
    with socket.socket() as sock:
        sock.settimeout(1)
        code = sock.connect_ex(('192.0.2.1', 9))
        if code != errno.ENETUNREACH:
            return ('192.0.2.1 should be unreachable, but: %s'
                    % os.strerror(code))
    for path in filter(os.path.exists, DAEMONS):
        subprocess.run(['mount', '--bind', '/dev/null', path], check=True)
    return None


def main(arguments: list[str]) -> str:
    """Become the command; return what is wrong if that is not possible."""
    if not arguments or arguments == [INSIDE]:
        return 'usage: loopback_only.py command [argument ...]'
    try:
        if arguments[0] == INSIDE:
            del arguments[0]
            wrong = keep_in()
            if wrong:
                return wrong
        else:
            arguments = [*prefix(), *arguments]
        os.execvp(arguments[0], arguments)
    except (LoopbackError, OSError, subprocess.CalledProcessError) as exc:
        return str(exc)


if __name__ == '__main__':
    print(main(sys.argv[1:]), file=sys.stderr)
    sys.exit(2)
