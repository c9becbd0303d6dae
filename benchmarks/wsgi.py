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

"""Requests to eventlet.wsgi: the CPU time that the server takes for each.

Ten requests at once, from a process of its own, which keeps its connections or
makes one for each request. There are two such clients: wrk, which is fast
enough to keep the server busy, and one in Python, with blocking sockets in ten
threads, which often is not.
"""

import subprocess
import sys

import comparing

CLIENTS, REQUESTS = 10, 20

CLIENT = '''
import socket
import sys
import threading

port, clients, loops, keeps = map(int, sys.argv[1:])
REQUEST = b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n%s\\r\\n' % (
    b'' if keeps else b'Connection: close\\r\\n')

def read(file):
    length = 0
    while (line := file.readline()) != b'\\r\\n':
        assert line
        if line.lower().startswith(b'content-length:'):
            length = int(line.split(b':')[1])
    assert file.read(length) == b'Hello\\n'

def connect():
    sock = socket.create_connection(('127.0.0.1', port))
    return sock, sock.makefile('rb')

def work():
    sock = None
    for _ in range(loops):
        if sock is None:
            sock, file = connect()
        sock.sendall(REQUEST)
        read(file)
        if not keeps:
            file.close()
            sock.close()
            sock = None

threads = [threading.Thread(target=work) for _ in range(clients)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print('done')
'''


def _serve(command):
    """Serve a client; return the CPU time, the requests, and what it says.

    :param command: Returns its command line, given the port.
    """
    import eventlet
    from eventlet import greenio
    from eventlet import wsgi

    requests = 0

    def application(environ, start_response):
        nonlocal requests
        requests += 1
        start_response('200 OK', [('Content-Length', '6')])
        return [b'Hello\n']

    listener = eventlet.listen(('127.0.0.1', 0))
    server = eventlet.spawn(wsgi.server, listener, application,
                            log_output=False)
    start = comparing.clock()
    client = subprocess.Popen(
        command(listener.getsockname()[1]), stdout=subprocess.PIPE)
    with greenio.GreenPipe(client.stdout, 'rb') as pipe:
        said = pipe.read()
    took = comparing.clock() - start
    assert client.wait() == 0
    server.kill()
    listener.close()
    return took, requests, said


def _under_wrk(keeps):
    header = [] if keeps else ['--header', 'Connection: close']
    took, requests, said = _serve(lambda port: [
        'wrk', '--threads', '1', '--connections', str(CLIENTS),
        # It knows whole seconds only.
        '--duration', '1s', *header, 'http://127.0.0.1:%d/' % port])
    # It tells of these only if there are any.
    assert b'Non-2xx' not in said and b'Socket errors' not in said, said
    return took / requests


def _under_python(loops, keeps):
    took, requests, said = _serve(lambda port: [
        sys.executable, '-c', CLIENT, str(port), str(CLIENTS),
        str(loops * REQUESTS), str(int(keeps))])
    assert said == b'done\n' and requests == loops * REQUESTS * CLIENTS
    return took


for _keeps in (True, False):
    _name = 'keep-alive' if _keeps else 'no keep-alive'
    comparing.row('WSGI under wrk, ' + _name, 'eventlet', repeats=False,
                  program='wrk')(
        lambda keeps=_keeps: _under_wrk(keeps))
    comparing.row('WSGI under Python, ' + _name, 'eventlet',
                  count=CLIENTS * REQUESTS)(
        lambda loops, keeps=_keeps: _under_python(loops, keeps))

if __name__ == '__main__':
    comparing.main()
