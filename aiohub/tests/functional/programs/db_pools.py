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

"""Pools: no more connections than they may have, and everybody's turn."""

import db_service
import service

import asyncio

import aiohub
import eventlet
from eventlet import greenpool
from oslo_db.sqlalchemy import enginefacade
import sqlalchemy.exc

#: So many green threads, and so many tasks, want a connection of each way.
WANTED = 100
#: How many of these give up while they wait.
GIVE_UP = 20

LOCKED = 'select number from gate lock in share mode'


class Crowd:
    """Green threads and tasks that all want to see what is locked."""

    def __init__(self, way):
        self.way = way
        self.seen = 0
        self.started = 0
        if isinstance(way, db_service.Aiomysql):
            task = self._see_async
            green = aiohub.async_to_sync(task)
        else:
            green, task = self._see, self._see_in_task
        loop = aiohub.get_loop()
        self.green = []
        self.tasks = []
        for _ in range(WANTED):
            self.green.append(eventlet.spawn(self._quietly, green))
            self.tasks.append(loop.create_task(task()))

    def _quietly(self, see):
        # eventlet prints what ends a green thread.
        try:
            see()
        except eventlet.Timeout:
            pass

    def _see(self):
        self.started += 1
        with self.way.begin() as ask:
            assert ask(LOCKED) == [(1,)]
            self.seen += 1

    async def _see_in_task(self):
        self._see()

    async def _see_async(self):
        self.started += 1
        async with self.way.begin() as ask:
            assert await ask(LOCKED) == ((1,),)
            self.seen += 1

    def give_up(self):
        """Let the last ones stop waiting: they have no connection yet."""
        for green in self.green[-GIVE_UP:-GIVE_UP // 2]:
            green.kill()
        for green in self.green[-GIVE_UP // 2:]:
            green.kill(eventlet.Timeout())
        for task in self.tasks[-GIVE_UP:]:
            task.cancel()
        self._wait(self.tasks[-GIVE_UP:])
        del self.tasks[-GIVE_UP:]
        del self.green[-GIVE_UP:]

    def wait(self):
        for green in self.green:
            green.wait()
        self._wait(self.tasks)

    def _wait(self, tasks):
        async def wait():
            return await asyncio.gather(*tasks, return_exceptions=True)

        for answer in aiohub.await_(wait()):
            assert answer is None or isinstance(
                answer, asyncio.CancelledError), answer


def limits(ways):
    observer = db_service.Observer()
    gate = db_service.Observer()
    tickers = db_service.Tickers()
    gate.ask('use ' + service.TOPIC)
    gate.ask('create table gate (number int primary key) engine innodb')
    gate.ask('insert into gate values (1)')
    gate.ask('begin')
    gate.ask('select number from gate for update')
    crowds = [Crowd(way) for way in ways]
    service.until(lambda: all(
        crowd.started == 2 * WANTED
        and observer.waiting(crowd.way) >= crowd.way.limit
        for crowd in crowds))
    # As many as there may be, and all of them wait.
    for crowd in crowds:
        assert not crowd.seen
        assert len(observer.connections(crowd.way)) == crowd.way.limit
    tickers.go_on()
    for crowd in crowds:
        crowd.give_up()
    tickers.go_on()
    for crowd in crowds:
        assert len(observer.connections(crowd.way)) == crowd.way.limit
    gate.ask('commit')
    for crowd in crowds:
        crowd.wait()
        assert crowd.seen == 2 * (WANTED - GIVE_UP), crowd.seen
    db_service.settle(observer, *ways)
    for way in ways:
        # Without an overflow none had to be made anew.
        made = observer.made(way)
        assert isinstance(way, db_service.Oslo) or made == way.limit, (
            way.user, made)
    tickers.stop()
    observer.close()
    gate.close()


def timeouts():
    """Who waits for too long is told so, and nobody else is."""
    manager = enginefacade.transaction_context()
    manager.configure(max_pool_size=1, max_overflow=0, pool_timeout=0.2)
    plain = db_service.Plain(1, pool_timeout=0.2)

    def oslo():
        with manager.reader.using(db_service.Oslo.context.from_dict({})) as s:
            return s.execute(sqlalchemy.text('select 1')).scalar()

    def asks_plain():
        with plain.begin() as ask:
            return ask('select 1')[0][0]

    timeout = sqlalchemy.exc.TimeoutError
    for holder, asks in (
            (manager.writer.get_engine(), oslo), (plain.engine, asks_plain)):
        with holder.connect():
            pool = greenpool.GreenPool(20)
            for function in (asks, db_service.in_task(asks)):
                for error in pool.imap(
                        lambda _, function=function: db_service.error_of(
                            timeout, function), range(10)):
                    assert 'QueuePool limit of size 1' in str(error), error
        assert asks() == db_service.in_task(asks)() == 1
        holder.dispose()


def timeouts_of_tasks(way):
    """aiomysql has no timeout for who waits: asyncio's is used."""
    async def hold_all():
        connections = [await way.pool.acquire() for _ in range(way.limit)]
        for _ in range(3):
            try:
                async with asyncio.timeout(0.05):
                    await way.pool.acquire()
            except TimeoutError:
                pass
            else:
                raise AssertionError('no error')
        for connection in connections:
            way.pool.release(connection)
        async with way.begin() as ask:
            assert await ask('select 1') == ((1,),)

    aiohub.await_(hold_all())
    assert not way.checked_out()


db_service.begin()
ways = [db_service.Oslo(), db_service.Plain(), db_service.Aiomysql()]
limits(ways)
timeouts()
timeouts_of_tasks(ways[2])
for way in ways:
    way.close()
service.done()
