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

"""Money that is moved between accounts, from both worlds at once.

Green threads with oslo.db, green tasks with SQLAlchemy, coroutines with
aiomysql: they wait for each other's locks, deadlock and try again, and some
are ended in the middle.
"""

import db_service
import service

import asyncio
import random

import aiohub
import eventlet
from eventlet import event
import greenlet
from oslo_db import api
import pymysql

TRANSFERS = 200
ACCOUNTS = 10
BALANCE = 1000

#: What a server that has found a deadlock raises: ER_LOCK_DEADLOCK.
DEADLOCK = 1213

LOCK = 'select balance from accounts where id = %(account)s for update'
MOVE = ('update accounts set balance = balance + %(amount)s'
        ' where id = %(account)s')
NOTE = ('insert into transfers values'
        ' (%(number)s, %(source)s, %(target)s, %(amount)s)')


class Transfer:
    """What is to be moved, and what comes of it."""

    numbers = 0

    def __init__(self, source=None, target=None):
        Transfer.numbers += 1
        self.number = Transfer.numbers
        self.amount = random.randrange(1, 100)
        accounts = random.sample(range(ACCOUNTS), 2)
        self.source = accounts[0] if source is None else source
        self.target = accounts[1] if target is None else target
        self.tries = 0
        self.begun = False
        self.done = False

    def values(self):
        return {'number': self.number, 'source': self.source,
                'target': self.target, 'amount': self.amount}

    # What a subclass does when money has left and has not arrived.

    def halfway(self):
        pass

    async def halfway_async(self):
        pass

    # -- the three ways

    def green(self, way):
        self.begun = True
        with way.begin() as ask:
            self.tries += 1
            ask(LOCK, account=self.source)
            ask(NOTE, **self.values())
            ask(MOVE, account=self.source, amount=-self.amount)
            self.halfway()
            ask(LOCK, account=self.target)
            ask(MOVE, account=self.target, amount=self.amount)

    @api.wrap_db_retry(retry_on_deadlock=True, retry_interval=0.01,
                       max_retry_interval=0.2, max_retries=1000)
    def retried_by_oslo(self, way):
        self.green(way)

    @api.wrap_db_retry(exception_checker=lambda exc: is_deadlock(exc),
                       retry_interval=0.01, max_retry_interval=0.2,
                       jitter=True, max_retries=1000)
    def retried(self, way):
        self.green(way)

    async def in_coroutine(self, way):
        self.begun = True
        while True:
            try:
                async with way.turns, way.begin() as ask:
                    self.tries += 1
                    await ask(LOCK, account=self.source)
                    await ask(NOTE, **self.values())
                    await ask(MOVE, account=self.source, amount=-self.amount)
                    await self.halfway_async()
                    await ask(LOCK, account=self.target)
                    await ask(MOVE, account=self.target, amount=self.amount)
                return
            except pymysql.err.OperationalError as exc:
                if exc.args[0] != DEADLOCK:
                    raise
                await asyncio.sleep(random.uniform(0, 0.2))


def is_deadlock(error):
    origin = getattr(error, 'orig', None)
    return origin is not None and origin.args[0] == DEADLOCK


class Doomed(Transfer):
    """One that does not go on from half way, and is ended there or before."""

    reached = False

    def halfway(self):
        self.reached = True
        event.Event().wait()

    async def halfway_async(self):
        self.reached = True
        await asyncio.get_running_loop().create_future()


class Crossing(Transfer):
    """One of a ring, of which each waits for the lock of the next."""

    def __init__(self, here, there, ring):
        super().__init__(here, there)
        self.ring = ring
        ring.append(self)

    def arrived(self):
        return all(each.tries for each in self.ring)

    def halfway(self):
        self.at_half_way = True
        service.until(lambda: all(
            hasattr(each, 'at_half_way') for each in self.ring))

    async def halfway_async(self):
        self.at_half_way = True
        while not all(hasattr(each, 'at_half_way') for each in self.ring):
            await asyncio.sleep(0.001)


class Runner:
    """Runs transfers in the three ways, and ends some."""

    def __init__(self):
        self.oslo = db_service.Oslo()
        self.plain = db_service.Plain()
        self.coroutines = db_service.Aiomysql()
        self.ways = [self.oslo, self.plain, self.coroutines]
        self.running = []
        self.loop = aiohub.get_loop()

    def start(self, transfer, timeout=None):
        """Start one, in each way in turn.

        :param timeout: After which a timeout ends it, of the kind that its
            world has.
        """
        which = transfer.number % 3
        if which == 0:
            running = eventlet.spawn(self._green_thread, transfer, timeout)
        elif which == 1:
            running = self.loop.create_task(
                self._green_task(transfer, timeout))
        else:
            running = self.loop.create_task(
                self._coroutine(transfer, timeout))
        self.running.append((transfer, running))

    def _green_thread(self, transfer, timeout):
        with eventlet.Timeout(timeout, False):
            transfer.retried_by_oslo(self.oslo)
            transfer.done = True

    async def _green_task(self, transfer, timeout):
        if transfer.number % 2:
            with eventlet.Timeout(timeout, False):
                transfer.retried(self.plain)
                transfer.done = True
            return
        try:
            async with asyncio.timeout(timeout):
                transfer.retried(self.plain)
                transfer.done = True
        except TimeoutError:
            assert timeout is not None

    async def _coroutine(self, transfer, timeout):
        try:
            async with asyncio.timeout(timeout):
                await transfer.in_coroutine(self.coroutines)
                transfer.done = True
        except TimeoutError:
            assert timeout is not None

    def end_doomed(self):
        for transfer, running in self.running:
            if isinstance(transfer, Doomed):
                if isinstance(running, asyncio.Task):
                    running.cancel()
                else:
                    running.kill()

    def wait(self):
        for transfer, running in self.running:
            try:
                if isinstance(running, asyncio.Task):
                    aiohub.await_(running)
                else:
                    running.wait()
            except (asyncio.CancelledError, greenlet.GreenletExit):
                assert isinstance(transfer, Doomed)
        transfers = [transfer for transfer, _ in self.running]
        self.running.clear()
        return transfers


class Books:
    """The accounts, as somebody sees them who moves nothing."""

    def __init__(self):
        self.observer = db_service.Observer()
        ask = self.ask = self.observer.ask
        ask('use ' + service.TOPIC)
        ask('create table accounts (id int primary key, balance int not null)'
            ' engine innodb')
        ask('create table transfers (number int primary key, source int,'
            ' target int, amount int) engine innodb')
        for account in range(ACCOUNTS):
            ask('insert into accounts values (%(account)s, %(balance)s)',
                account=account, balance=BALANCE)

    def check(self, transfers, ways):
        """Make sure that what was reported has been done, and no more."""
        db_service.settle(self.observer, *ways)
        for transfer in transfers:
            assert transfer.done is not isinstance(transfer, Doomed), vars(
                transfer)
        done = {transfer.number: transfer for transfer in transfers
                if transfer.done}
        expected = dict.fromkeys(range(ACCOUNTS), BALANCE)
        rows = self.ask('select * from transfers')
        assert {row[0] for row in rows} == set(done)
        for number, source, target, amount in rows:
            assert done[number].values() == {
                'number': number, 'source': source, 'target': target,
                'amount': amount}
            expected[source] -= amount
            expected[target] += amount
        balances = dict(self.ask('select id, balance from accounts'))
        assert balances == expected, (balances, expected)
        assert sum(balances.values()) == ACCOUNTS * BALANCE


def deadlocks(runner):
    """The locks of one world are what the other waits for."""
    while Transfer.numbers % 3:
        Transfer.numbers += 1
    ring = []
    for here in range(3):
        runner.start(Crossing(here, (here + 1) % 3, ring))
    transfers = runner.wait()
    # One of them had to give way.
    assert sum(transfer.tries for transfer in transfers) > 3
    return transfers


def many(runner, tickers):
    """Transfers at random, beside some that are ended in the middle."""
    # Two of each way come half way, with a lock that others wait for then;
    # or they wait for their pool.
    first = [Doomed(source=account) for account in range(6)]
    doomed = [Doomed(source=random.randrange(6)) for _ in range(54)]
    timed = [Doomed(source=random.randrange(6)) for _ in range(18)]
    transfers = [Transfer() for _ in range(TRANSFERS)]
    for each in first:
        runner.start(each)
    service.until(lambda: all(each.reached for each in first))
    for each in doomed + transfers:
        runner.start(each)
    for each in timed:
        runner.start(each, timeout=0.5)
    service.until(lambda: all(
        each.begun for each in doomed + transfers + timed))
    assert not any(each.reached for each in doomed)
    tickers.go_on()
    runner.end_doomed()
    tickers.go_on()
    return runner.wait()


def main_program():
    seed = random.randrange(2 ** 32)
    service.LOG.info('the seed is %d', seed)
    random.seed(seed)
    books = Books()
    runner = Runner()
    tickers = db_service.Tickers()
    transfers = deadlocks(runner)
    books.check(transfers, runner.ways)
    transfers += many(runner, tickers)
    books.check(transfers, runner.ways)
    tickers.stop()
    for way in runner.ways:
        way.close()
    books.observer.close()
    service.done()


db_service.begin()
main_program()
