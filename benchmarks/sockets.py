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

"""Round trips between two ends of a socket, one pair and many at once."""

import asyncio
import socket

import comparing

TRIPS = 10


def _round_trips(loops, pairs, spawn, wrap):
    def answer(sock):
        for _ in range(loops * TRIPS):
            sock.sendall(sock.recv(100))

    def ask(sock):
        for _ in range(loops * TRIPS):
            sock.sendall(b'x' * 100)
            sock.recv(100)

    ends = [[wrap(end) for end in socket.socketpair()] for _ in range(pairs)]
    start = comparing.clock()
    waits = [spawn(work, end) for pair in ends
             for work, end in zip((answer, ask), pair, strict=True)]
    for wait in waits:
        wait()
    took = comparing.clock() - start
    for pair in ends:
        for end in pair:
            end.close()
    return took


def _eventlet(pairs):
    def measure(loops):
        import eventlet
        from eventlet import greenio

        return _round_trips(
            loops, pairs, lambda *args: eventlet.spawn(*args).wait,
            greenio.GreenSocket)

    return measure


def _gevent(pairs):
    def measure(loops):
        import gevent
        import gevent.socket

        def wrap(end):
            return gevent.socket.socket(
                end.family, end.type, fileno=end.detach())

        return _round_trips(
            loops, pairs, lambda *args: gevent.spawn(*args).get, wrap)

    return measure


for _pairs in (1, 100):
    _name = '%d pair%s of sockets' % (_pairs, 's' * (_pairs > 1))
    comparing.row(_name, 'eventlet', count=_pairs * TRIPS)(_eventlet(_pairs))
    comparing.row(_name, 'gevent')(_gevent(_pairs))


def _fan_out(loops, spawn, wrap):
    """Ask 100 services at once, and wait for all answers; then again."""
    def serve(sock):
        while data := sock.recv(100):
            sock.sendall(data)

    def ask(sock):
        sock.sendall(b'x' * 100)
        return sock.recv(100)

    ends = [[wrap(end) for end in socket.socketpair()] for _ in range(100)]
    serving = [spawn(serve, right) for _, right in ends]
    start = comparing.clock()
    for _ in range(loops):
        for wait in [spawn(ask, left) for left, _ in ends]:
            assert wait() == b'x' * 100
    took = comparing.clock() - start
    for left, _ in ends:
        left.close()
    for wait in serving:
        wait()
    return took


@comparing.row('fan-out to 100 services', 'eventlet', count=100)
def fan_out(loops):
    import eventlet
    from eventlet import greenio

    return _fan_out(loops, lambda *args: eventlet.spawn(*args).wait,
                    greenio.GreenSocket)


@comparing.row('fan-out to 100 services', 'gevent')
def fan_out_gevent(loops):
    import gevent
    import gevent.socket

    return _fan_out(
        loops, lambda *args: gevent.spawn(*args).get,
        lambda end: gevent.socket.socket(
            end.family, end.type, fileno=end.detach()))


@comparing.row('asyncio streams, echo', 'asyncio', 'asyncio', TRIPS)
async def streams(loops):
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    start = comparing.clock()
    for _ in range(loops * TRIPS):
        writer.write(b'a line of text\n')
        await writer.drain()
        await reader.readline()
    took = comparing.clock() - start
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return took


if __name__ == '__main__':
    comparing.main()
