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

"""Three ways to one database, and what its server says about them.

oslo.db and SQLAlchemy are green code, in green threads and green tasks;
aiomysql is for coroutines. Each way has a name on the server of its own.
"""

import service

import asyncio
import contextlib
import functools

import aiohub
import aiomysql
import eventlet
from oslo_context import context
from oslo_db import options
from oslo_db.sqlalchemy import enginefacade
import pymysql
import sqlalchemy


def begin():
    service.CONF.register_opts(options.database_opts, 'database')
    service.begin()
    Observer().ask('create database ' + service.TOPIC)


def _url(user):
    url = sqlalchemy.make_url(service.CONF.database.connection)
    return url.set(username='%s-%s' % (user, service.TOPIC))


def _arguments(user, **kwargs):
    url = _url(user)
    return {'host': url.host, 'port': url.port, 'user': url.username, **kwargs}


class Observer:
    """A connection to the server that belongs to none of the ways."""

    def __init__(self):
        self.connection = pymysql.connect(**_arguments(
            'observer', autocommit=True))

    def ask(self, statement, **values):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def connections(self, way):
        """Return the identifiers of the connections that a way has."""
        return {number for number, in self.ask(
            'select id from information_schema.processlist'
            ' where user = %(user)s', user=way.user)}

    def made(self, way):
        """Return how many connections a way has made so far."""
        return self.ask(
            'select total_connections from information_schema.user_statistics'
            ' where user = %(user)s', user=way.user)[0][0]

    def waiting(self, way):
        """Return how many connections wait for a lock."""
        return self._transactions(way, "and trx_state = 'LOCK WAIT'")

    def transactions(self, way):
        """Return how many connections are in a transaction."""
        return self._transactions(way, '')

    def _transactions(self, way, condition):
        # The server makes this table anew only when nobody has read it for
        # 0.1 seconds: CACHE_MIN_IDLE_TIME_NS of its trx0i_s.cc.
        eventlet.sleep(0.15)
        return self.ask(
            'select count(*) from information_schema.innodb_trx'
            ' join information_schema.processlist'
            ' on id = trx_mysql_thread_id where user = %(user)s ' + condition,
            user=way.user)[0][0]

    def kill(self, connection):
        self.ask('kill %(connection)s', connection=connection)

    def close(self):
        self.connection.close()


def _ask(connection, statement, **values):
    result = connection.exec_driver_sql(statement, values)
    return result.fetchall() if result.returns_rows else result.rowcount


class _Green:
    """A way that can be gone by green threads and by green tasks."""

    def checked_out(self):
        return self.engine.pool.checkedout()


class Oslo(_Green):
    """oslo.db, as its section of the configuration file says."""

    limit = 8
    user = 'oslo-' + service.TOPIC
    # All requests have one: who is in which transaction goes by the thread,
    # or the task, that asks.
    context = context.RequestContext()

    def __init__(self):
        self.engine = enginefacade.writer.get_engine()

    @contextlib.contextmanager
    def begin(self, facade=enginefacade.writer):
        """Give a function that executes statements in a transaction."""
        with facade.using(self.context) as session:
            yield functools.partial(_ask, session.connection())

    def close(self):
        self.engine.dispose()


class Plain(_Green):
    """SQLAlchemy with PyMySQL."""

    user = 'plain-' + service.TOPIC

    def __init__(self, limit=8, **kwargs):
        self.limit = limit
        self.engine = sqlalchemy.create_engine(
            _url('plain').set(drivername='mysql+pymysql'), **{
                'pool_size': limit, 'max_overflow': 0, 'pool_timeout': 100,
                'pool_pre_ping': True, **kwargs})

    @contextlib.contextmanager
    def begin(self):
        """Give a function that executes statements in a transaction."""
        with self.engine.begin() as connection:
            yield functools.partial(_ask, connection)

    def close(self):
        self.engine.dispose()


async def _ask_async(connection, statement, **values):
    async with connection.cursor() as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


class Aiomysql:
    """A pool of aiomysql, which coroutines use."""

    limit = 8
    user = 'aiomysql-' + service.TOPIC

    def __init__(self):
        self.pool = aiohub.await_(aiomysql.create_pool(
            **_arguments('aiomysql', db=service.TOPIC), minsize=0,
            maxsize=self.limit))
        #: For who may be ended in a transaction. The pool closes such a
        #: connection, and tells nobody of those who wait for one.
        self.turns = asyncio.Semaphore(self.limit)

    @contextlib.asynccontextmanager
    async def begin(self):
        """Give a function that executes statements in a transaction."""
        async with self.pool.acquire() as connection:
            await connection.begin()
            yield functools.partial(_ask_async, connection)
            # Otherwise the pool closes it, as it is in a transaction.
            await connection.commit()

    def checked_out(self):
        return self.pool.size - self.pool.freesize

    def close(self):
        self.pool.close()
        aiohub.await_(self.pool.wait_closed())


class Tickers:
    """A green thread and a task that go on while others wait."""

    def __init__(self):
        self._ticks = [0, 0]
        self._stopped = False
        self._ended = [eventlet.spawn(self._tick_green),
                       aiohub.future_to_greenlet(self._tick())]

    def _tick_green(self):
        while not self._stopped:
            eventlet.sleep(0.005)
            self._ticks[0] += 1

    async def _tick(self):
        while not self._stopped:
            await asyncio.sleep(0.005)
            self._ticks[1] += 1

    def go_on(self):
        """Wait until both have gone on."""
        before = list(self._ticks)
        service.until(lambda: all(
            now > then + 3 for now, then in zip(
                self._ticks, before, strict=True)))

    def stop(self):
        self._stopped = True
        for each in self._ended:
            each.wait()


def error_of(kind, function, *args):
    """Return what a function raises, which must be of a kind."""
    try:
        function(*args)
    except kind as exc:
        return exc
    raise AssertionError('no error')


def settle(observer, *ways):
    """Wait until no connection is used, or in a transaction.

    The server finds out that a connection is closed when what it does for it
    has come to its end.
    """
    service.until(lambda: not any(map(observer.transactions, ways)))
    service.until(lambda: not any(way.checked_out() for way in ways))


def in_task(function):
    """Return a function that runs another one in a green task."""
    @aiohub.async_to_sync
    async def run(*args):
        await asyncio.sleep(0)
        return function(*args)

    return run
