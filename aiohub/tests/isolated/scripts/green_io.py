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

"""Green calls in coroutines that do input and output.

Each in two tasks and a green thread at once, while others go on. After
monkey patching with the names of the standard library; else with eventlet's.
"""

import os
import pathlib
import socket
import tempfile
import urllib.request

import cases
import late_pipes
import meanwhile
import mode

import eventlet
from eventlet import event
from eventlet.green import socket as green_socket
from eventlet import wsgi

create_server = socket.create_server
if mode.PATCHED:
    import requests
else:
    create_server = eventlet.listen
    from eventlet.green import os
    from eventlet.green import socket
    from eventlet.green.urllib import request as urllib_request

    urllib.request = urllib_request

call = meanwhile.call

#: More than fits into a pipe or a socket.
MUCH = bytes(range(256)) * 4096


# -- sockets

def talking(module, others):
    listener = eventlet.listen(('127.0.0.1', 0))
    eventlet.spawn_n(accept, listener, others)

    def call(who):
        connection = module.create_connection(listener.getsockname())
        with connection:
            connection.sendall(b'%20d' % id(who))
            who.check()
            answer = b''
            while data := connection.recv(1 << 16):
                answer += data
            assert answer == b'%20d' % id(who) + MUCH

    return call


def accept(listener, others):
    with listener:
        # As many as make the call, twice each.
        for _ in range(6):
            connection, _ = listener.accept()
            eventlet.spawn_n(answer, connection, others)


def answer(connection, others):
    with connection:
        data = connection.recv(20)
        others.go_on()
        connection.sendall(data + MUCH)


@call
def patched_socket(others):
    return talking(socket, others)


@call
def eventlet_socket(others):
    return talking(green_socket, others)


@call
def socket_accept(others):
    def call(who):
        def connect(address):
            with eventlet.connect(address) as connection:
                connection.sendall(b'hello')

        with create_server(('127.0.0.1', 0)) as listener:
            others.then(connect, listener.getsockname())
            with listener.accept()[0] as connection:
                who.check()
                assert connection.recv(100) == b'hello'

    return call


@call
def socket_send_much(others):
    def call(who):
        ours, theirs = socket.socketpair()

        def read():
            size = 0
            while size < len(MUCH):
                size += len(theirs.recv(1 << 20))
            others.go_on()
            theirs.sendall(b'%d' % size)

        with ours, theirs:
            others.then(read)
            ours.sendall(MUCH)
            who.check()
            assert ours.recv(100) == b'%d' % len(MUCH)

    return call


@call
def socket_timeout(others):
    def call(who):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            gone_on = others.since_now()
            ours.settimeout(0.001)
            while not gone_on():
                try:
                    ours.recv(1)
                except TimeoutError:
                    who.check()
                else:
                    raise AssertionError

    return call


@call
def datagrams(others):
    def call(who):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(('127.0.0.1', 0))
            others.then(sock.sendto, b'hello', sock.getsockname())
            assert sock.recvfrom(100) == (b'hello', sock.getsockname())

    return call


@call
def look_up(others):
    def call(who):
        assert socket.getaddrinfo('localhost', 80)
        others.go_on()

    return call


# -- HTTP

def serving(get, others):
    listener = eventlet.listen(('127.0.0.1', 0))
    url = 'http://127.0.0.1:%d/' % listener.getsockname()[1]

    def application(environ, start_response):
        others.go_on()
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [environ['PATH_INFO'].encode(), MUCH]

    server = eventlet.spawn(
        wsgi.server, listener, application, log_output=False,
        keepalive=False)
    left = [6]

    def call(who):
        assert get('%s%d' % (url, id(who))) == b'/%d' % id(who) + MUCH
        left[0] -= 1
        if not left[0]:
            server.kill()
            listener.close()

    return call


@meanwhile.patched_call
def requests_get(others):
    return serving(lambda url: requests.get(url, timeout=60).content, others)


@meanwhile.patched_call
def requests_session(others):
    def get(url):
        with requests.Session() as session:
            return session.get(url, timeout=60).content

    return serving(get, others)


@call
def urlopen(others):
    def get(url):
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.read()

    return serving(get, others)


# -- files and pipes

@call
def pipe_read(others):
    def call(who):
        with late_pipes.Pipe(others, b'hello\n' + MUCH) as reader:
            assert os.read(reader, 6) == b'hello\n'
            data = b''
            while more := os.read(reader, 1 << 20):
                data += more
                who.check()
            assert data == MUCH

    return call


@call
def pipe_write(others):
    def call(who):
        reader, writer = os.pipe()
        taken = event.Event()

        def read():
            with os.fdopen(reader, 'rb') as file:
                taken.send(file.read())

        others.then(read)
        with os.fdopen(writer, 'wb') as file:
            file.write(MUCH)
            who.check()
        assert taken.wait() == MUCH

    return call


@call
def pipe_lines(others):
    def call(who):
        reader, writer = os.pipe()

        def write():
            with os.fdopen(writer, 'w') as file:
                for number in range(3):
                    file.write('%d\n' % number)
                    file.flush()
                    others.go_on()

        eventlet.spawn_n(write)
        with os.fdopen(reader, 'r') as file:
            for number, line in enumerate(file):
                assert line == '%d\n' % number
                who.check()
            assert number == 2

    return call


_directory = tempfile.TemporaryDirectory()
PATH = pathlib.Path(_directory.name)


@call
def files(others):
    def call(who):
        path = PATH / str(id(who))
        with open(path, 'wb') as file:
            file.write(MUCH)
            others.go_on()
            file.write(MUCH)
        with open(path, 'rb') as file:
            assert file.read(len(MUCH)) == MUCH
            others.go_on()
            assert file.read() == MUCH
        number = os.open(path, os.O_RDWR)
        try:
            os.write(number, b'hello')
            who.check()
            os.lseek(number, 0, os.SEEK_SET)
            assert os.read(number, 5) == b'hello'
        finally:
            os.close(number)

    return call


cases.run_all()
_directory.cleanup()
mode.done()
