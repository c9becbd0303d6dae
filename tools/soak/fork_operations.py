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

"""Operations that fork, which a busy service does only with care.

Its green threads and tasks, and the connections they answer at, are in the
child as well, and would answer there, too, as soon as the child waits. So a
child ends, or begins anew with ``use_hub()``. One that has begun anew is
quiet: it forks the children that go on.
"""

import asyncio
from collections.abc import Callable
import json
import os
import socket
import traceback
from typing import Any

import eventlet
from eventlet import hubs

import aiohub
import operation


class Child:
    """A forked child, which does one thing, and ends.

    :param does: What it calls. What that returns or raises is what
        :meth:`answer` returns or raises.
    """

    def __init__(self, does: Callable[[], Any]) -> None:
        self._near, far = socket.socketpair()
        self.pid = os.fork()
        if self.pid:
            far.close()
            return
        try:
            self._near.close()
            try:
                reply = [does(), '']
            except BaseException:
                reply = [None, traceback.format_exc()]
            far.sendall(json.dumps(reply).encode() + b'\n')
        finally:
            # Nothing of the parent's is closed or flushed here.
            os._exit(0)

    def answer(self) -> Any:
        """Wait for what it answers, and for its end."""
        line = b''
        with self._near:
            # Not until the end of the file: a child that was forked meanwhile
            # may still have the other end.
            while not line.endswith(b'\n'):
                received = self._near.recv(4096)
                if not received:
                    break
                line += received
        _, status = os.waitpid(self.pid, 0)
        operation.check('exit status', status, 0)
        answer, error = json.loads(line)
        operation.check('in a child', error, '')
        return answer


@operation.operation(2)
def end(number: int) -> int:
    """A child that ends at once."""
    code = number % 256
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    operation.check('exit status', os.waitstatus_to_exitcode(status), code)
    return operation.answer(number)


def _fork_anew(does: Callable[[], Any]) -> Child:
    """Fork a child that begins anew, as a worker of oslo.service does."""
    def begin_anew() -> Any:
        # It drops what the parent is in the midst of, and Python says so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        hubs.use_hub()
        return does()

    # In a green thread: this may be a task, and a hub cannot be replaced in
    # the step of a task.
    child: Child = eventlet.spawn(Child, begin_anew).wait()
    return child


def _use_both_worlds(number: int) -> int:
    thread = eventlet.spawn(operation.compute_green, number)
    operation.check('answers', aiohub.await_(operation.compute(number)),
                    thread.wait())
    return operation.answer(number)


@operation.operation(2)
def use_hub(number: int) -> int:
    """A child that begins anew."""
    return int(_fork_anew(lambda: _use_both_worlds(number)).answer())


class Inherited:
    """What waits in a process that forks: one echo of each world."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._thread = eventlet.spawn(self._echo)
        self._server = aiohub.await_(
            asyncio.start_server(self._serve, '127.0.0.1', 0))

    def _echo(self) -> None:
        while data := self._far.recv(100):
            self._far.sendall(data)

    async def _serve(self, reader: asyncio.StreamReader,
                     writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async def _ask_server(self, number: int) -> int:
        reader, writer = await asyncio.open_connection(
            *self._server.sockets[0].getsockname())
        writer.write(b'%d\n' % number)
        echo = int(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return echo

    def check(self, number: int) -> None:
        """See that both still answer."""
        self._near.sendall(b'%d' % number)
        operation.check('green echo', int(self._near.recv(100)), number)
        operation.check('asyncio echo',
                        aiohub.await_(self._ask_server(number)), number)

    def close(self) -> None:
        self._thread.kill()
        self._server.close()
        self._near.close()
        self._far.close()


@operation.operation(2)
def go_on(number: int) -> int:
    """A child that goes on with the hub and all that it inherits.

    It is forked by a green thread or in a task, and may close all that: its
    parent, which waits for the same things meanwhile, must not notice.
    """
    closes = bool(number & 2)

    def grandchild(inherited: Inherited) -> int:
        if closes:
            inherited.close()
        else:
            inherited.check(number)
        return _use_both_worlds(number)

    def child() -> int:
        inherited = Inherited()
        inherited.check(number)

        async def fork() -> Child:
            return Child(lambda: grandchild(inherited))

        if number & 1:
            forked = aiohub.await_(fork())
        else:
            forked = eventlet.spawn(
                Child, lambda: grandchild(inherited)).wait()
        if closes:  # otherwise both would read the same answers
            inherited.check(number)
        answer = int(forked.answer())
        inherited.check(number)
        inherited.close()
        return answer

    return int(_fork_anew(child).answer())
