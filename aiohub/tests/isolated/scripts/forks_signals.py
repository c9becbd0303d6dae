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

"""A signal is for one process, from the first moment of a child on."""

import os
import signal
import sys
import traceback

hooks: list[int] = []


def in_child_first() -> None:
    if hooks:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)


# Registered before the hub's: a signal that comes between the fork and that.
os.register_at_fork(after_in_child=in_child_first)

import forked  # noqa: E402
import mode  # noqa: E402

import aiohub  # noqa: E402
import eventlet  # noqa: E402

got: list[str] = []
loop = aiohub.get_loop()


def wait_for(*names: str) -> None:
    with eventlet.Timeout(60):
        while sorted(got) != list(names):
            eventlet.sleep(0.001)


def finish() -> None:
    status = 1
    try:
        wait_for('loop', 'python')
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def on_loop() -> None:
    got.append('loop')


def on_python(*_: object) -> None:
    eventlet.spawn(got.append, 'python')


def fork(place) -> None:
    hooks.append(1)
    pid = place(finish)
    hooks.clear()
    forked.reap(pid)
    # A turn of the loop, in which it would call what it has read.
    aiohub.await_(nothing())
    assert got == [], got


async def nothing() -> None:
    ran = loop.create_future()
    loop.call_soon_threadsafe(ran.set_result, None)
    await ran


loop.add_signal_handler(signal.SIGUSR1, on_loop)
signal.signal(signal.SIGUSR2, on_python)
for name in ('in_main', 'in_green', 'in_task', 'in_plain_task'):
    def place(child, name=name):
        original, forked.finish = forked.finish, lambda child: child()
        try:
            return getattr(forked, name)(child)
        finally:
            forked.finish = original

    fork(place)

# The other way round: the parent's are not the child's.
left, right = forked.socket.socketpair()


def wait_for_byte() -> None:
    assert left.recv(1) == b'x'
    assert got == [], got


pid = forked.in_main(wait_for_byte)
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGUSR2)
wait_for('loop', 'python')
right.sendall(b'x')
forked.reap(pid)
left.close()
right.close()
got.clear()


# In a thread that becomes the main one: what the inherited loop handled is
# as by default, as nobody would call it; the hub of the thread is woken.
def in_native_thread() -> None:
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR2) is on_python
    os.kill(os.getpid(), signal.SIGUSR2)
    wait_for('python')


for place in (forked.in_tpool, forked.in_thread, forked.in_thread_with_hub):
    forked.reap(place(in_native_thread))
    assert got == [], got


# A fork in a signal handler, which ends the poll of the hub.
def fork_in_handler(*_: object) -> None:
    pids.append(forked.in_main(lambda: None))


pids: list[int] = []
signal.signal(signal.SIGUSR2, fork_in_handler)
mode.when_polling(lambda: os.kill(os.getpid(), signal.SIGUSR2))
while not pids:
    eventlet.sleep(0.01)
forked.reap(pids[0])
forked.both_worlds()
mode.done()
