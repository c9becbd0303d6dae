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

"""A service of oslo.service, ``programs/wsgi_service.py``, as it is run.

The same tests hold with aiohub on and off. What differs is the hub.
"""

import contextlib
import os
import signal
import socket
import struct

from oslotest import base

from aiohub.tests.functional import service_process

AIOHUB = 'aiohub.hub'
EPOLLS = 'eventlet.hubs.epolls'
LOOPS = {AIOHUB: 'aiohub.loop', EPOLLS: 'aiohub._green_loop'}
REST = b'x' * 1_000_000


class ServiceTestCase(base.BaseTestCase):
    enabled = True
    by_environment = False
    hub = AIOHUB

    def start(self, **options):
        options.setdefault('workers', 4)
        options.setdefault('enabled', self.enabled)
        return self.useFixture(service_process.ServiceProcess(
            by_environment=self.by_environment, **options))

    def end(self, service):
        """Have it end by SIGTERM, with nothing left and nothing odd."""
        service.signal(signal.SIGTERM)
        self.assertEqual(0, service.wait())
        self.assertEqual('', service.errors())

    def check_load(self, load):
        load.end()
        self.assertEqual([], load.errors)

    def check_hub(self, service, pids, hub, **expected):
        """Make sure that these workers say that they are on the hub."""
        for pid, answer in service.ask_every('/info', pids).items():
            self.assertEqual(
                {'hub': hub, 'loop': LOOPS[hub], 'on': hub == AIOHUB,
                 'greeting': 'hello', **expected}, answer, pid)


class Workers:
    """What holds for ``launch(workers=4)`` on every hub."""

    def test_workers_answer(self):
        service = self.start()
        workers = service.workers(4)
        self.assertEqual([self.hub] * 4, list(workers.values()))
        self.check_hub(service, workers, self.hub)
        for path in service_process.Load.KINDS:
            answers = service.ask_every(path + '?id=x', workers)
            self.assertEqual({'x'}, set(answers.values()))
        [(pid, line)] = service.logged(
            r'eventlet hub (\S+), ((?!worker).)*$', 'aiohub')
        self.assertEqual((service.pid, self.hub), (pid, line[1]))
        self.end(service)

    def test_sigterm_drains(self):
        service = self.start()
        workers = service.workers(4)
        gate = self.useFixture(service_process.Gate(service))
        gate.hold(workers)
        service.signal(signal.SIGTERM)
        # Each has stopped to accept, and none has ended.
        service.wait_for_log('^Serving what has begun$', 4)
        self.assertEqual({service.pid, *workers}, set(service.processes()))
        self.assertEqual({REST}, gate.open())
        self.assertEqual(0, service.wait())
        self.assertEqual(
            {(pid, '0') for pid in workers},
            {(int(line[1]), line[2]) for _, line in service.logged(
                r'^Child (\d+) exited with status (\d+)$')})
        self.assertEqual('', service.errors())


class MoreWorkers(Workers):
    def test_sighup_loses_no_request(self):
        service = self.start(greeting='hello')
        old = service.workers(4)
        gate = self.useFixture(service_process.Gate(service))
        gate.hold(old)
        load = self.useFixture(service_process.Load(service))
        load.wait_for_answers()
        service.configure(greeting='goodbye')
        service.signal(signal.SIGHUP)
        # Nobody accepts now, and connections wait for the new ones.
        service.wait_for_log('^Serving what has begun$', 4)
        self.assertEqual({REST}, gate.open())
        new = service.workers(4, besides=old)
        self.assertEqual([self.hub] * 4, list(new.values()))
        self.assertLessEqual(load.wait_for_answers(), set(new))
        self.check_hub(service, new, self.hub, greeting='goodbye')
        self.check_load(load)
        self.assertEqual({service.pid, *new}, set(service.processes()))
        self.end(service)

    def test_killed_worker_comes_back(self):
        service = self.start()
        old = service.workers(4)
        for victim in list(old)[:2]:
            # Serving, it does not log: on epolls, the processes share the
            # locks of oslo.log's handlers, and one that is killed with a
            # lock keeps it for ever.
            gate = self.useFixture(service_process.Gate(service))
            gate.hold([victim])
            os.kill(victim, signal.SIGKILL)
            gate.path.touch()
            service.wait_for_log('^Child %d killed by signal 9$' % victim)
            new = service.workers(4, besides=[victim])
            self.assertEqual([self.hub] * 4, list(new.values()))
        self.check_hub(service, new, self.hub)
        self.end(service)

    def test_sigterm_under_load(self):
        service = self.start()
        service.workers(4)
        load = self.useFixture(service_process.Load(service))
        load.wait_for_answers()
        service.signal(signal.SIGTERM)
        self.assertEqual(0, service.wait())
        load.end()
        # The socket is closed when the parent is gone, and with it the
        # connections that nobody has accepted.
        for error in load.errors:
            self.assertRegex(error, '^(NotAccepted|Closed)Error')
        self.assertEqual('', service.errors())

    def test_clients_that_go(self):
        """Their connections are closed, and nothing else is told."""
        service = self.start(workers=1)
        service.wait_for_log('^Serving$')

        def answered():
            # A client may go before its request is read.
            for kind in service_process.Load.KINDS:
                with contextlib.closing(service.connect()) as connection:
                    connection.request('GET', kind + '?id=x')
                    # Have it reset: half closed, it could be written to.
                    connection.sock.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack('ii', 1, 0))
            return len(service.logged('HTTP/1.1" 200')) >= 30

        service_process.wait_for(answered, '30 answers to nobody')
        self.end(service)

    def test_sigint(self):
        """The parent exits at once, and its workers when they notice."""
        service = self.start(workers=2)
        workers = service.workers(2)
        gate = self.useFixture(service_process.Gate(service))
        gate.hold(workers)
        service.signal(signal.SIGINT)
        self.assertEqual(1, service.process.wait(service_process.DEADLINE))
        service.wait_for_log('^Parent process has died unexpectedly', 2)
        service.wait_for_log('^Serving what has begun$', 2)
        self.assertEqual({REST}, gate.open())
        service.wait()
        self.assertEqual('', service.errors())

    def test_mutate(self):
        """SIGHUP changes options of workers that go on."""
        service = self.start(
            workers=2, greeting='hello', restart_method='mutate')
        workers = service.workers(2)
        load = self.useFixture(service_process.Load(service))
        load.wait_for_answers()
        service.configure(greeting='goodbye', enabled=not self.enabled)
        service.signal(signal.SIGHUP)
        # In each process, that one option has changed and one may not.
        service.wait_for_log(r'^Option api.greeting changed', 3)
        service.wait_for_log(
            '^Ignoring change to immutable option aiohub.enabled', 3)
        service.wait_for_log('^Reset$', 3)
        load.wait_for_answers()
        self.check_hub(service, workers, self.hub, greeting='goodbye')
        self.check_load(load)
        self.assertEqual({service.pid, *workers}, set(service.processes()))
        self.end(service)

    def test_one_process(self):
        """``launch(workers=1)`` serves in the process itself."""
        service = self.start(workers=1, greeting='hello')
        service.wait_for_log('^Serving$')
        self.assertEqual([service.pid], service.processes())
        gate = self.useFixture(service_process.Gate(service))
        gate.hold([service.pid])
        load = self.useFixture(service_process.Load(service, clients=4))
        load.wait_for_answers()
        service.configure(greeting='goodbye')
        service.signal(signal.SIGHUP)
        service.wait_for_log('^Serving what has begun$')
        self.assertEqual({REST}, gate.open())
        service.wait_for_log('^Serving$', 2)
        load.wait_for_answers()
        self.check_hub(service, [service.pid], self.hub, greeting='goodbye')
        self.check_load(load)
        gate = self.useFixture(service_process.Gate(service))
        gate.hold([service.pid])
        service.signal(signal.SIGTERM)
        service.wait_for_log('^Serving what has begun$', 2)
        self.assertEqual({REST}, gate.open())
        self.assertEqual(0, service.wait())
        self.assertEqual('', service.errors())


class TestOn(MoreWorkers, ServiceTestCase):
    """With ``enabled = true``."""


class TestOff(MoreWorkers, ServiceTestCase):
    """With ``enabled = false``."""

    enabled = False
    hub = EPOLLS


class TestEnvironment(Workers, ServiceTestCase):
    """With nothing but ``EVENTLET_HUB=aiohub.hub``."""

    enabled = False
    by_environment = True


class TestSwitching(ServiceTestCase):
    def reload(self, service, old, enabled, hub):
        """Have new workers, which are to be on that hub; return them."""
        service.configure(enabled=enabled)
        service.signal(signal.SIGHUP)
        new = service.workers(2, besides=old)
        self.assertEqual([hub] * 2, list(new.values()))
        self.check_hub(service, new, hub)
        return new

    def test_sighup(self):
        """The workers follow the file, and no request is lost."""
        service = self.start(workers=2)
        workers = service.workers(2)
        load = self.useFixture(service_process.Load(service))
        for hub in (EPOLLS, AIOHUB, EPOLLS):
            load.wait_for_answers()
            workers = self.reload(service, workers, hub == AIOHUB, hub)
            self.assertLessEqual(load.wait_for_answers(), set(workers))
        self.check_load(load)
        # One that comes later follows too. It may be killed while it logs
        # its last request.
        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        workers = service.workers(2, besides=[killed])
        self.assertEqual([EPOLLS] * 2, list(workers.values()))
        # Nothing but the signal wakes them: they have nothing to do.
        self.end(service)

    def test_sighup_switches_on(self):
        service = self.start(workers=2, enabled=False)
        workers = service.workers(2)
        workers = self.reload(service, workers, True, AIOHUB)
        workers = self.reload(service, workers, False, EPOLLS)
        self.end(service)

    def test_sighup_with_a_wrong_value(self):
        """The workers go on with what it was, and say so."""
        service = self.start(workers=2)
        workers = service.workers(2)
        workers = self.reload(service, workers, False, EPOLLS)
        workers = self.reload(service, workers, 'perhaps', EPOLLS)
        said = service.logged('options are not valid.*perhaps', 'aiohub')
        self.assertEqual(set(workers), {pid for pid, _ in said})
        self.reload(service, workers, True, AIOHUB)
        service.signal(signal.SIGTERM)
        self.assertEqual(0, service.wait())

    def test_restart(self):
        for enabled in (True, False, True):
            service = self.start(workers=2, enabled=enabled)
            workers = service.workers(2)
            hub = AIOHUB if enabled else EPOLLS
            self.check_hub(service, workers, hub)
            self.end(service)

    def test_what_does_not_switch_says_so(self):
        """A process that serves itself stays on its hub."""
        service = self.start(workers=1, setup_at_reset=True)
        service.wait_for_log('^Serving$')
        service.configure(enabled=False)
        service.signal(signal.SIGHUP)
        service.wait_for_log(
            'enabled is false, but this process is on the aiohub hub and '
            'stays there')
        service.wait_for_log('^Serving$', 2)
        self.check_hub(service, [service.pid], AIOHUB)
        self.end(service)
