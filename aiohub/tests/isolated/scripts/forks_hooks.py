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

"""What other at-fork hooks do to a descriptor, each does in its process."""

import os

# Registered before the hub's, and so called between the fork and those.
hooks: list[object] = []
os.register_at_fork(
    before=lambda: [function('before') for function in hooks],
    after_in_parent=lambda: [function('parent') for function in hooks],
    after_in_child=lambda: [function('child') for function in hooks])

import forked  # noqa: E402
import mode  # noqa: E402

import aiohub  # noqa: E402
import eventlet  # noqa: E402

socket = forked.socket
loop = aiohub.get_loop()


def changing(where: str):
    """Return a hook that stops, and one that starts, to wait there."""
    left, right = socket.socketpair()
    other, other_right = socket.socketpair()
    read: list[bytes] = []

    def take() -> None:
        read.append(left.recv(1))

    loop.add_reader(left, take)

    def stop(when: str) -> None:
        if when == where:
            loop.remove_reader(left)

    def change(when: str) -> None:
        if when == where:
            loop.add_reader(
                other, lambda: read.append(b'other' + other.recv(1)))

    def end(here: bool) -> None:
        """It was done in this process, or it was not."""
        right.sendall(b'x')
        other_right.sendall(b'y')
        wanted = [b'othery'] if here else [b'x']
        while read != wanted:
            eventlet.sleep(0.001)
        loop.remove_reader(left)
        loop.remove_reader(other)
        for sock in (left, right, other, other_right):
            sock.close()

    return stop, change, end


for where in ('before', 'parent', 'child'):
    stop, change, end = changing(where)
    hooks[:] = [stop, change]
    pid = forked.in_green(lambda: None)
    hooks.clear()
    forked.reap(pid)
    end(where != 'child')


# A fork that fails is no fork.
def no_more(when: str) -> None:
    seen.append(when)


seen: list[str] = []
hooks[:] = [no_more]
pid, fd = os.forkpty()
if not pid:
    forked.finish(forked.both_worlds)
forked.reap(pid)
os.close(fd)
assert seen == ['before', 'parent'], seen
hooks.clear()


# Events that the poll has found, and that are not delivered yet, when a green
# thread that was woken before forks: both processes deliver them. The parent
# reads what has come; if the child did, too, one of them would find nothing.
def begin(number: int) -> None:
    eventlet.hubs.trampoline(left[number], read=True)
    done.append(number)
    if not forked_pids:
        forked_pids.append(0)
        pid = os.fork()
        if not pid:
            eventlet.spawn(forked.finish, end_of_child)
            eventlet.sleep(60)
        forked_pids[0] = pid
        forked.reap(pid)
    if forked_pids[0]:
        assert left[number].recv(1) == b'1'


def take() -> None:
    loop.remove_reader(native_left)
    taken.append(native_left.recv(4) if forked_pids[0] else b'')


def all_delivered() -> None:
    while len(done) < 5 or not taken:
        eventlet.sleep(0.001)


def end_of_child() -> None:
    all_delivered()
    forked.both_worlds()


forked_pids: list[int] = []
done: list[int] = []
taken: list[bytes] = []
left, right = zip(*(socket.socketpair() for _ in range(5)), strict=True)
native_left, native_right = forked.native_socket.socketpair()
loop.add_reader(native_left, take)
readers = [eventlet.spawn(begin, number) for number in range(5)]
eventlet.sleep(0)
native_right.sendall(b'data')
for sock in right:
    sock.sendall(b'1')
with eventlet.Timeout(60):
    all_delivered()
    for reader in readers:
        reader.wait()
assert taken == [b'data'], taken
native_left.close()
native_right.close()
for sock in (*left, *right):
    sock.close()
forked.both_worlds()

# What forks without hooks needs none.
pid = os.posix_spawn('/bin/true', ['true'], {})
forked.reap(pid)
forked.both_worlds()
mode.done()
