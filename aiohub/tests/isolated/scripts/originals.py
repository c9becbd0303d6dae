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
"""The signal wake-up descriptor, urgent data, and what asyncio refers to."""

import asyncio
import signal
import socket

import mode

import eventlet
from eventlet import hubs
from eventlet import patcher

native_socket = patcher.original('socket')
native = patcher.original('threading')
if mode.MODE.startswith('setup-later'):
    # Somebody has asked for it too late: it was imported beside the select
    # that is patched.
    assert not hasattr(patcher.original('selectors'), 'EpollSelector')
    mode.set_up()
hub = hubs.get_hub()

# Who had the wake-up descriptor before gets it back.
eventlet.sleep(0)
hub.abort(wait=True)
left, right = native_socket.socketpair()
left.setblocking(False)
assert signal.set_wakeup_fd(left.fileno()) == -1
eventlet.sleep(0)
hub.abort(wait=True)
assert signal.set_wakeup_fd(-1) == left.fileno()
left.close()
right.close()

# More signals than the self-pipe has room for: nothing is printed.
signal.signal(signal.SIGUSR1, lambda signum, frame: None)


def many() -> None:
    for _ in range(5000):
        signal.raise_signal(signal.SIGUSR1)


eventlet.spawn(many).wait()
for _ in range(3):
    eventlet.sleep(0)

# Urgent data wakes a green reader, as on epolls.
listener = native_socket.create_server(('127.0.0.1', 0))
client = native_socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.send(b'!', socket.MSG_OOB)
hubs.trampoline(server.fileno(), read=True, timeout=60)
for sock in (listener, client, server):
    sock.close()

# asyncio has the originals.
from asyncio import selector_events  # noqa: E402
from asyncio import sslproto  # noqa: E402

assert selector_events.selectors.DefaultSelector.__name__ == 'EpollSelector'
for name in ('SSLContext', 'SSLSocket'):
    assert getattr(sslproto.ssl, name).__module__ == 'ssl'

# The futures of the loop's threads have native locks.
from aiohub import _native  # noqa: E402

future = _native.new_executor().submit(int)
assert isinstance(future._condition, native.Condition)
assert future.result() == 0
assert asyncio.isfuture(asyncio.wrap_future(future, loop=hub.loop))
mode.done()
