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
"""Who logs in one process does not hold up who logs in another.

The locks of oslo.log's handlers are pipes, which a child has in common with
its parent until it gets its own.
"""

import io
import logging
import os as patched_os
import signal
import threading

import forked
import mode

import eventlet
from oslo_config import cfg
from oslo_log import log as oslo_logging
from oslo_log import pipe_mutex

conf = cfg.ConfigOpts()
oslo_logging.register_options(conf)
conf([])
oslo_logging.setup(conf, 'test')
os = forked.native_os
LOG = logging.getLogger('test.forks')


class Stream(io.StringIO):
    """Calls something while a line is written, with the lock held."""

    during = staticmethod(lambda: None)

    def write(self, text: str) -> int:
        during, self.during = self.during, Stream.during
        during()
        return super().write(text)


stream = Stream()
handler = logging.StreamHandler(stream)
LOG.addHandler(handler)
LOG.propagate = False
kinds = vars(pipe_mutex)
assert type(handler.lock) is kinds['_ReallyPipeMutex'], handler.lock
# Private names of oslo.log. If they are other ones now, aiohub/_logging.py
# has to be adapted.
assert {'rfd', 'wfd', 'owner'} <= vars(handler.lock).keys()


def log(text: str) -> None:
    """Write a line, without waiting for ever; the lock is free then."""
    with eventlet.Timeout(60):
        LOG.warning(text)
        assert stream.getvalue().endswith(text + '\n'), stream.getvalue()
        check_free()


def check_free() -> None:
    """One can take the lock, and only one."""
    handler.acquire()
    assert handler.lock.owner is not None
    other = eventlet.spawn(handler.lock.acquire, blocking=False)
    assert other.wait() is False
    handler.release()


def die_while_logging() -> None:
    stream.during = lambda: os.kill(os.getpid(), signal.SIGKILL)
    LOG.warning('never written')


def killed_in_the_middle() -> None:
    """The parent, and the other children, log as if nothing were."""
    gate, open_gate = os.pipe()
    logging_later = forked.in_green(
        lambda: [os.read(gate, 1), log('in another child')])
    pid = forked.in_green(die_while_logging)
    assert patched_os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    log('in the parent')
    os.write(open_gate, b'x')
    forked.reap(logging_later)
    forked.reap(forked.in_green(lambda: log('in a later child')))
    os.close(gate)
    os.close(open_gate)


def parent_in_the_middle() -> None:
    """A child does not wait for its parent's line either."""
    ready, say_ready = os.pipe()
    gate, open_gate = os.pipe()

    def child() -> None:
        os.write(say_ready, b'x')
        os.read(gate, 1)
        log('in the child')

    pid = forked.in_green(child)
    os.read(ready, 1)
    stream.during = lambda: [os.write(open_gate, b'x'), forked.reap(pid)]
    log('by the parent')
    for fd in (ready, say_ready, gate, open_gate):
        os.close(fd)


def forked_in_the_middle() -> None:
    """Who forks while it holds the lock has to give it back in both."""
    pids: list[int] = []
    stream.during = lambda: pids.append(patched_os.fork())
    LOG.warning('in both')
    if not pids[0]:
        forked.finish(lambda: log('the child'))
    log('the parent')
    forked.reap(pids[0])


def held_by_another_thread() -> None:
    """The child waits: the one who gives the lock back is the parent's."""
    taken, tell_taken = os.pipe()
    gate, open_gate = os.pipe()
    native = forked.patcher.original('threading')

    def hold() -> None:
        handler.acquire()
        os.write(tell_taken, b'x')
        os.read(gate, 1)
        handler.release()

    thread = native.Thread(target=hold)
    thread.start()
    os.read(taken, 1)
    pid = forked.in_green(lambda: log('when it was given back'))
    os.write(open_gate, b'x')
    thread.join()
    forked.reap(pid)
    log('after that')
    for fd in (taken, tell_taken, gate, open_gate):
        os.close(fd)


def closed() -> None:
    """A lock that was closed with its handler stays so."""
    gone = logging.StreamHandler(io.StringIO())
    LOG.addHandler(gone)
    lock, gone.lock = gone.lock, None
    lock.close()
    gone.lock = lock
    before = len(os.listdir('/proc/self/fd'))

    def child() -> None:
        assert lock.rfd is None
        # A child has a poll and a self-pipe of its own, for those it had.
        assert len(os.listdir('/proc/self/fd')) == before
        LOG.removeHandler(gone)
        log('without it')

    forked.reap(forked.in_green(child))
    LOG.removeHandler(gone)


killed_in_the_middle()
parent_in_the_middle()
forked_in_the_middle()
held_by_another_thread()
closed()
log('the end')
assert threading.active_count() == 1
mode.done()
