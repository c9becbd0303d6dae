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

"""Connections that the server kills: in use, in a query, and in the pool."""

import db_service
import service

import aiohub
import eventlet
from oslo_db import api
from oslo_db import exception
import pymysql
import sqlalchemy.exc

ID = 'select connection_id()'
#: Never answered.
LONG = 'select sleep(3600)'


class Green:
    """What is done with a green way, by green threads or by green tasks."""

    def __init__(self, way, error):
        self.way = way
        self.error = error
        self.asking = []

    def use(self):
        """Return the identifier of a connection that works."""
        with self.way.begin() as ask:
            return ask(ID)[0][0]

    def can_be_noticed(self):
        # SQLAlchemy asks the server.
        return True

    def asks(self, statement, before=int):
        with self.way.begin() as ask:
            self.asking.append(ask(ID)[0][0])
            before()
            return ask(statement)


class Async:
    """The same in coroutines."""

    error = pymysql.err.OperationalError

    def __init__(self, way):
        self.way = way
        self.asking = []

    async def use(self):
        async with self.way.pool.acquire() as connection:
            self.last = connection
        async with self.way.begin() as ask:
            return (await ask(ID))[0][0]

    def can_be_noticed(self):
        # This is how the pool sees it. It does not ask the server, which has
        # forgotten a connection before it closes the socket.
        return self.last._reader.at_eof()

    async def asks(self, statement, before=int):
        async with self.way.begin() as ask:
            self.asking.append((await ask(ID))[0][0])
            before()
            return await ask(statement)


def in_green_thread(function):
    def run(*args):
        def caught():
            try:
                return function(*args), None
            except Exception as exc:
                # eventlet would print it.
                return None, exc

        answer, error = eventlet.spawn(caught).wait()
        if error is not None:
            raise error
        return answer

    return run


def kills(observer, tickers, case, runs):
    """Kill connections of a way, which *runs* makes calls of."""
    way, asking = case.way, case.asking
    use, asks = runs(case.use), runs(case.asks)
    asking.clear()
    # In the pool: nobody notices.
    killed = [use()]
    assert use() == killed[0]
    observer.kill(killed[0])
    service.until(lambda: not observer.connections(way)
                  and case.can_be_noticed())
    assert use() not in killed
    # In use, between two queries.
    db_service.error_of(
        case.error, asks, ID, lambda: observer.kill(asking[0]))
    assert use() not in asking
    # In a query, while others go on.
    caught = eventlet.spawn(db_service.error_of, case.error, asks, LONG)
    service.until(lambda: len(asking) == 2)
    tickers.go_on()
    assert not caught.dead
    observer.kill(asking[1])
    caught.wait()
    last = use()
    assert last not in killed + asking
    db_service.settle(observer, way)
    # The server forgets one that was killed some time after its client has
    # heard of it.
    service.until(lambda: observer.connections(way) == {last})


def retried(observer, oslo):
    """oslo.db's decorator tries again when the connection is lost."""
    tries = []

    @api.wrap_db_retry(retry_on_disconnect=True, retry_interval=0.01)
    def work():
        with oslo.begin() as ask:
            tries.append(ask(ID)[0][0])
            if len(tries) < 3:
                observer.kill(tries[-1])
            return ask('select %(tries)s', tries=len(tries))

    for runs in (in_green_thread, db_service.in_task):
        tries.clear()
        assert runs(work)() == [(3,)]
        assert len(set(tries)) == 3, tries


def main_program():
    observer = db_service.Observer()
    tickers = db_service.Tickers()
    oslo = db_service.Oslo()
    plain = db_service.Plain()
    coroutines = db_service.Aiomysql()
    for case in (Green(oslo, exception.DBConnectionError),
                 Green(plain, sqlalchemy.exc.OperationalError)):
        for runs in (in_green_thread, db_service.in_task):
            kills(observer, tickers, case, runs)
    kills(observer, tickers, Async(coroutines), aiohub.async_to_sync)
    retried(observer, oslo)
    tickers.stop()
    for way in (oslo, plain, coroutines):
        way.close()
    observer.close()
    service.done()


db_service.begin()
main_program()
