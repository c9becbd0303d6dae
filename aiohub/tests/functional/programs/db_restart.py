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

"""A server that is stopped, killed and started while it is used."""

import db_service
import service

import asyncio

import aiohub
import eventlet
from oslo_db import api
import pymysql
import sqlalchemy.exc

#: So many green threads and tasks of each way write all the time.
WRITERS = 2
WRITE = 'insert into written values (%(number)s)'


class Writers:
    """Write numbers until they are told to stop, and note which they have."""

    def __init__(self, oslo, plain, coroutines):
        self.written = set()
        self.errors = 0
        self.numbers = 0
        self.stopped = False
        #: How many each has written since the server is back.
        self.since = {}
        self.running = []
        for writer in range(WRITERS):
            self.running += [
                eventlet.spawn(self._write, (0, writer), self._by_oslo, oslo),
                aiohub.future_to_greenlet(self._in_task(
                    (1, writer), self._by_oslo, oslo)),
                eventlet.spawn(self._write, (2, writer), self._once, plain),
                aiohub.future_to_greenlet(self._in_task(
                    (3, writer), self._once, plain)),
                aiohub.future_to_greenlet(self._in_coroutine(
                    (4, writer), coroutines))]
        self.count_anew()

    def count_anew(self):
        self.since = dict.fromkeys(
            ((way, writer) for way in range(5) for writer in range(WRITERS)),
            0)

    def all_write(self):
        for each in self.running:
            if each.dead:
                each.wait()
        return min(self.since.values()) >= 3

    def stop(self):
        self.stopped = True
        for each in self.running:
            each.wait()

    def _next(self):
        self.numbers += 1
        return self.numbers

    def _has_written(self, writer, number):
        self.written.add(number)
        self.since[writer] += 1

    @api.wrap_db_retry(retry_on_disconnect=True, retry_interval=0.3,
                       inc_retry_interval=False, max_retries=1000)
    def _by_oslo(self, way):
        return self._once(way)

    def _once(self, way):
        # A new one each time: the answer to a commit may be lost.
        number = self._next()
        with way.begin() as ask:
            ask(WRITE, number=number)
        return number

    def _write(self, writer, write, way):
        while not self.stopped:
            try:
                self._has_written(writer, write(way))
            except sqlalchemy.exc.OperationalError as exc:
                # The documented error of SQLAlchemy, not of oslo.db.
                assert write == self._once, write
                assert isinstance(exc.orig, pymysql.err.OperationalError)
                self.errors += 1
            eventlet.sleep(0.1)

    async def _in_task(self, *args):
        await asyncio.sleep(0)
        self._write(*args)

    async def _in_coroutine(self, writer, way):
        while not self.stopped:
            number = self._next()
            try:
                async with way.begin() as ask:
                    await ask(WRITE, number=number)
                self._has_written(writer, number)
            except pymysql.err.OperationalError:
                self.errors += 1
            await asyncio.sleep(0.1)


def main_program():
    observer = db_service.Observer()
    observer.ask('use ' + service.TOPIC)
    observer.ask('create table written (number int primary key)'
                 ' engine innodb')
    observer.close()
    ways = [db_service.Oslo(), db_service.Plain(), db_service.Aiomysql()]
    tickers = db_service.Tickers()
    writers = Writers(*ways)
    for line in ('stop', 'kill'):
        writers.count_anew()
        service.until(writers.all_write)
        before = writers.errors
        service.tell(line)
        assert service.hear() == 'gone'
        # It has been noticed, and the others go on.
        service.until(lambda before=before: writers.errors > before + WRITERS)
        tickers.go_on()
        service.tell('start')
        assert service.hear() == 'back'
    writers.count_anew()
    service.until(writers.all_write)
    writers.stop()
    observer = db_service.Observer()
    db_service.settle(observer, *ways)
    observer.ask('use ' + service.TOPIC)
    there = {number for number, in observer.ask('select * from written')}
    # All that was reported as written, and maybe what was when it went away.
    assert writers.written <= there <= set(range(writers.numbers + 1))
    # Not more than what could be under way twice.
    assert len(there - writers.written) <= 2 * 5 * WRITERS
    for way in ways:
        service.until(lambda way=way: (
            len(observer.connections(way)) <= way.limit))
        way.close()
    observer.close()
    tickers.stop()
    service.done()


db_service.begin()
main_program()
