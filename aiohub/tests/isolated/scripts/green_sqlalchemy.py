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

"""SQLAlchemy's asyncio extension in green tasks, with green calls in it.

SQLAlchemy runs its own code, and functions and listeners of the program, in
greenlets that it starts in the coroutine: its children. A child that waits
for the database switches to its parent, which is the greenlet of the task.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
import gc
import logging
import os
import tempfile
from typing import Any
import warnings

import mode

import aiohub
import cases
import eventlet
from eventlet import event as green_event
from eventlet import semaphore
import green_calls
import sqlalchemy
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy.ext import asyncio as async_orm
from sqlalchemy import orm
from sqlalchemy.util import concurrency

# aiosqlite leaves a connection to the garbage collector if its task is
# cancelled while it is being opened; sqlite3 tells since Python 3.13.
warnings.filterwarnings('ignore', message='unclosed database')

directory = tempfile.TemporaryDirectory()
URL = 'sqlite+aiosqlite:///' + os.path.join(directory.name, 'test.db')
SIZE = 3
MOST = 5
TASKS = 200


class Base(async_orm.AsyncAttrs, orm.DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = 'parent'
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    children: orm.Mapped[list['Child']] = orm.relationship()


class Child(Base):
    __tablename__ = 'child'
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    parent_id: orm.Mapped[int] = orm.mapped_column(
        sqlalchemy.ForeignKey('parent.id'))


def make_engine() -> async_orm.AsyncEngine:
    engine = async_orm.create_async_engine(
        URL, pool_size=SIZE, max_overflow=MOST - SIZE, pool_timeout=60)

    @event.listens_for(engine.sync_engine, 'connect')
    def connected(connection: Any, _: object) -> None:
        # In a child, with a green call before and after a query of its own.
        green_calls.call(1)
        cursor = connection.cursor()
        cursor.execute('PRAGMA journal_mode=WAL')
        cursor.execute('PRAGMA synchronous=OFF')
        cursor.close()
        green_calls.call(2)

    return engine


engine = make_engine()
new_session = async_orm.async_sessionmaker(engine, expire_on_commit=False)
# SQLite has one writer, and one that must wait for it blocks its thread. A
# green lock, held while its task awaits.
writing = semaphore.Semaphore()


async def make_tables() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)


async def check_unused() -> None:
    """All connections are back."""
    # A connection that broke is closed by a task that SQLAlchemy shields.
    for _ in range(5000):
        if not engine.pool.checkedout():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(engine.pool.status())


async def check_pool() -> None:
    """They are back, work, and as many can be had as before."""
    await check_unused()
    pool = engine.pool
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MOST):
            connection = await stack.enter_async_context(engine.connect())
            assert await connection.scalar(sqlalchemy.text('SELECT 1')) == 1
        assert pool.checkedout() == MOST
    assert pool.checkedout() == 0


def add(function: Callable[[], Awaitable[None]]) -> Any:
    """Decorator: the coroutine function is a case, and leaves all in order."""

    async def whole() -> None:
        await make_tables()
        try:
            await asyncio.create_task(function())
            await check_pool()
        finally:
            await engine.dispose()

    def run() -> None:
        aiohub.await_(whole())

    cases.add(function.__name__, run)
    return function


async def gather(function: Callable[[int], Awaitable[Any]],
                 count: int = TASKS) -> list[Any]:
    """Run a function in many tasks at once."""
    return await asyncio.gather(*(function(n) for n in range(count)))


# -- many tasks

@add
async def sessions() -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        with writing:
            async with new_session.begin() as session:
                who.call(n)
                session.add(Parent(id=n, name=str(n), children=[
                    Child(id=2 * n), Child(id=2 * n + 1)]))
                await session.flush()
                who.call(n)
        who.check()
        async with new_session() as session:
            found = await session.get(Parent, n)
            who.call(n)
            assert found is not None and found.name == str(n)
            # A lazy load: a child again.
            children = await found.awaitable_attrs.children
            who.check()
            assert sorted(c.id for c in children) == [2 * n, 2 * n + 1]

    await gather(work)
    async with engine.connect() as connection:
        assert await connection.scalar(sqlalchemy.select(
            sqlalchemy.func.count()).select_from(Child)) == 2 * TASKS


@add
async def listeners() -> None:
    calls = []

    def executing(connection: Any, cursor: Any, statement: str, *_: Any,
                  ) -> None:
        green_calls.current_identity().call_in_child(1)
        # A query in between, on the connection of the query.
        inner = connection.connection.cursor()
        inner.execute('SELECT 5')
        assert inner.fetchone() == (5,)
        inner.close()
        green_calls.current_identity().call_in_child(2)
        calls.append(statement)

    def checked(*_: Any) -> None:
        # Some are called in a task that SQLAlchemy shields.
        task = asyncio.current_task()
        green_calls.call(3)
        assert asyncio.current_task() is task is not None

    async def work(n: int) -> None:
        who = green_calls.Identity()
        async with engine.connect() as connection:
            assert await connection.scalar(
                sqlalchemy.text('SELECT :n'), {'n': n}) == n
            who.call(n)
        who.check()

    sync = engine.sync_engine
    wanted = (('before_cursor_execute', executing), ('checkout', checked),
              ('checkin', checked), ('commit', checked),
              ('rollback', checked), ('begin', checked))
    for name, function in wanted:
        event.listen(sync, name, function)
    try:
        await gather(work)
    finally:
        for name, function in wanted:
            event.remove(sync, name, function)
    assert len(calls) == TASKS


@add
async def sync_functions() -> None:
    def function(session: orm.Session, who: Any, n: int) -> int:
        assert eventlet.getcurrent() is not who.green
        for _ in range(3):
            who.call_in_child(n)
            assert session.scalar(sqlalchemy.select(n + 1)) == n + 1
            who.check_in_child()
            green_calls.by_socket(n)
        return n + 7

    async def work(n: int) -> None:
        who = green_calls.Identity()
        async with new_session() as session:
            assert await session.run_sync(function, who, n) == n + 7
            who.check()

    await gather(work, 60)


@add
async def nested_children() -> None:
    async def inner(who: Any, n: int) -> int:
        await asyncio.sleep(0)
        who.call(n)
        return await concurrency.greenlet_spawn(function, who, n - 1)

    def function(who: Any, n: int) -> int:
        who.call_in_child(n)
        if n == 0:
            return 0
        result = concurrency.await_only(inner(who, n)) + 1
        who.call_in_child(n)
        return result

    async def work(n: int) -> None:
        who = green_calls.Identity()
        assert await concurrency.greenlet_spawn(function, who, n % 7) == n % 7
        who.check()

    await gather(work)


@add
async def errors() -> None:
    def raising(n: int, late: bool) -> None:
        green_calls.call(n)
        if late:
            concurrency.await_only(asyncio.sleep(0))
        raise ZeroDivisionError(n)

    async def work(n: int) -> None:
        who = green_calls.Identity()
        async with engine.connect() as connection:
            try:
                await connection.run_sync(lambda _: raising(n, n % 2 == 0))
            except ZeroDivisionError as error:
                assert error.args == (n,)
            else:
                raise AssertionError('it was lost')
            who.call(n)
            try:
                await connection.execute(sqlalchemy.text('SELECT nonsense'))
            except exc.OperationalError as error:
                assert 'nonsense' in str(error)
            else:
                raise AssertionError('it was lost')
            who.call(n)
            # Of green code, with a green call while it is dealt with.
            failed = green_event.Event()
            eventlet.spawn_n(failed.send_exception, ZeroDivisionError())
            try:
                failed.wait()
            except ZeroDivisionError:
                who.call(n)
                await connection.scalar(sqlalchemy.text('SELECT 1'))
                who.check()

    await gather(work, 50)


@add
async def outside_of_children() -> None:
    # Where SQLAlchemy cannot wait it says so: a task is no child of its.
    green_calls.Identity().call(1)
    try:
        concurrency.await_only(asyncio.sleep(0))
    except exc.MissingGreenlet:
        pass
    else:
        raise AssertionError('it waited')


@add
async def streams() -> None:
    with writing:
        async with new_session.begin() as session:
            session.add_all(Parent(id=n, name=str(n)) for n in range(50))

    async def work(n: int) -> None:
        who = green_calls.Identity()
        found = []
        async with new_session() as session:
            result = await session.stream_scalars(
                sqlalchemy.select(Parent).order_by(Parent.id),
                execution_options={'yield_per': 7})
            async for parent in result:
                if parent.id % 9 == n % 9:
                    who.call(n)
                found.append(parent.id)
        assert found == list(range(50))
        async with engine.connect() as connection:
            async with connection.stream(
                    sqlalchemy.select(Parent.id)) as rows:
                # Left early, in the middle.
                async for _ in rows:
                    who.call(n)
                    break

    await gather(work, 40)


@add
async def transactions() -> None:
    async def work(n: int) -> None:
        who = green_calls.Identity()
        with writing:
            async with new_session.begin() as session:
                session.add(Parent(id=n, name='outer'))
                await session.flush()
                who.call(n)
                with contextlib.suppress(ZeroDivisionError):
                    async with session.begin_nested():
                        session.add(Parent(id=n + TASKS, name='inner'))
                        await session.flush()
                        who.call(n)
                        raise ZeroDivisionError()
                who.call(n)

    await gather(work, 50)
    async with engine.connect() as connection:
        names = (await connection.scalars(
            sqlalchemy.select(Parent.name))).all()
    assert names == ['outer'] * 50


@add
async def scoped_sessions() -> None:
    scoped = async_orm.async_scoped_session(
        new_session, scopefunc=asyncio.current_task)

    async def work(n: int) -> Any:
        who = green_calls.Identity()
        session = scoped()
        who.call(n)
        assert await scoped.scalar(sqlalchemy.select(n)) == n
        who.call(n)
        assert scoped() is session
        await scoped.remove()
        return session

    assert len(set(await gather(work))) == TASKS


@add
async def green_threads_beside() -> None:
    async def query(n: int) -> int:
        async with engine.connect() as connection:
            green_calls.call(n)
            answer = await connection.scalar(sqlalchemy.select(n))
        assert isinstance(answer, int)
        return answer

    greens = [eventlet.spawn(lambda n=n: aiohub.await_(query(n)))
              for n in range(TASKS)]
    assert await gather(query) == list(range(TASKS))
    # Green threads, waited for with a green call.
    assert [green.wait() for green in greens] == list(range(TASKS))


# -- SQLAlchemy's own locks and queues

@add
async def locks() -> None:
    lock = concurrency.AsyncAdaptedLock()
    inside = []
    most = []

    def function(who: Any, n: int) -> None:
        with lock:
            inside.append(n)
            most.append(len(inside))
            who.call_in_child(n)
            concurrency.await_only(asyncio.sleep(0))
            who.call_in_child(n)
            inside.remove(n)

    async def work(n: int) -> None:
        who = green_calls.Identity()
        await concurrency.greenlet_spawn(function, who, n)
        who.check()

    await gather(work)
    assert len(most) == TASKS and max(most) == 1, most


@add
async def queues() -> None:
    from sqlalchemy.util import queue

    adapted = queue.AsyncAdaptedQueue(maxsize=3)
    greenly = eventlet.Queue(3)

    def put(n: int) -> None:
        green_calls.call(n)
        adapted.put(n, timeout=60)
        green_calls.call(n)

    def get(_: int) -> None:
        item = adapted.get(timeout=60)
        # From one queue to the other.
        greenly.put(item)

    async def work(n: int) -> None:
        await concurrency.greenlet_spawn(put if n % 2 else get, n)

    tasks = [asyncio.create_task(work(n)) for n in range(TASKS)]
    got = [greenly.get() for _ in range(TASKS // 2)]
    await asyncio.gather(*tasks)
    assert sorted(got) == list(range(1, TASKS, 2))
    assert adapted.empty() and greenly.empty()


@add
async def exhausted_pool() -> None:
    """All connections are taken; who waits for one gives up in some way."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MOST):
            await stack.enter_async_context(engine.connect())

        async def use() -> None:
            async with engine.connect():
                raise AssertionError('there was one left')

        async def by_timeout() -> None:
            with eventlet.Timeout(cases.SOON, False):
                await use()

        async def by_asyncio_timeout() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(cases.SOON):
                    await use()

        async def by_nested_timeouts() -> None:
            with eventlet.Timeout(60):
                with eventlet.Timeout(cases.SOON) as inner:
                    try:
                        await use()
                    except eventlet.Timeout as error:
                        assert error is inner

        async def cancelled() -> None:
            task = asyncio.create_task(use())
            while not task.get_coro().cr_frame:
                await asyncio.sleep(0)
            green_calls.call(1)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        ways = (by_timeout, by_asyncio_timeout, by_nested_timeouts,
                cancelled)
        await asyncio.gather(*(way() for way in ways for _ in range(10)))


@add
async def killed_while_it_waits() -> None:
    greens: list[Any] = []
    for waits_greenly in (False, True):
        started = green_event.Event()

        def function(_: object, green: Any = waits_greenly,
                     started: Any = started) -> None:
            started.send()
            if green:
                eventlet.Queue().get()
            else:
                concurrency.await_only(asyncio.Event().wait())
            raise AssertionError('nobody wakes it')

        async def victim(function: Any = function) -> None:
            greens.append(eventlet.getcurrent())
            async with engine.connect() as connection:
                await connection.run_sync(function)
                raise AssertionError('the kill was lost')

        task = asyncio.create_task(victim())
        started.wait()
        green_calls.call(1)
        eventlet.kill(greens.pop())
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()


# -- cut off at each moment

class Stop(BaseException):
    pass


def is_no_reset(record: logging.LogRecord) -> bool:
    # A rollback that is cut off is logged, and the connection dropped.
    return not record.getMessage().startswith('Exception during reset')


async def transaction(sync: bool, started: green_event.Event) -> None:
    """What is cut off: everything that a task does with the database."""
    started.send(eventlet.getcurrent())
    with writing:
        async with new_session() as session:
            green_calls.by_event(1)
            async with session.begin():
                session.add(Parent(name='x'))
                if sync:
                    await session.run_sync(green_function)
                await session.flush()
                green_calls.by_queue(1)


def green_function(session: orm.Session) -> None:
    green_calls.by_event(1)
    session.scalar(sqlalchemy.select(1))
    green_calls.by_queue(1)


async def cut_off(cut: Callable[[Any, Any], None],
                  expected: type[BaseException]) -> None:
    """Cut it off after each number of turns; the pool stays whole."""
    done = 0
    sweep = 0
    pool_log = logging.getLogger(
        type(engine.pool).__module__ + '.' + type(engine.pool).__qualname__)
    pool_log.addFilter(is_no_reset)
    while done < 20:
        started = green_event.Event()
        task = asyncio.create_task(transaction(sweep % 2 == 0, started))
        green = started.wait()
        # Native threads take many turns for what green ones do in one.
        for _ in range(sweep // 2 if mode.PATCHED else 3 * sweep):
            await asyncio.sleep(0)
        if task.done():
            done += 1
        cut(task, green)
        try:
            await task
        except expected:
            pass
        sweep += 1
        # A cursor that is still referred to, by a traceback, keeps a closed
        # connection and its locks. The loop refers to the task in this step.
        del task, green
        await asyncio.sleep(0)
        gc.collect()
        await check_unused()
        assert writing.balance == 1
        if sweep % 8 == 0:
            # The next one makes its connection, too.
            await engine.dispose()


@add
async def cancelled_at_each_turn() -> None:
    await cut_off(
        lambda task, green: task.cancel(), asyncio.CancelledError)


@add
async def stopped_at_each_turn() -> None:
    def cut(task: Any, green: Any) -> None:
        if not task.done():
            eventlet.kill(green, Stop())

    await cut_off(cut, Stop)


# -- a Timeout in a child

@add
async def timeout_of_a_green_call() -> None:
    """Around a green call in a function that SQLAlchemy runs."""

    def function(session: orm.Session) -> str:
        who = green_calls.current_identity()
        queue = eventlet.Queue()
        for _ in range(3):
            with eventlet.Timeout(cases.SOON, False):
                queue.get()
                raise AssertionError('it got something')
            who.check_in_child()
            assert session.scalar(sqlalchemy.select(3)) == 3
            who.check_in_child()
        return 'done'

    async def work(n: int) -> None:
        who = green_calls.Identity()
        async with new_session() as session:
            assert await session.run_sync(function) == 'done'
            who.check()

    await gather(work, 20)


@add
async def timeout_of_a_query() -> None:
    """Around a query in a function that SQLAlchemy runs."""
    ended = []

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            # The cleanup waits in both ways, too.
            await asyncio.sleep(0)
            green_calls.call(1)
            ended.append(True)

    def function(session: orm.Session) -> str:
        who = green_calls.current_identity()
        for _ in range(3):
            before = len(ended)
            with eventlet.Timeout(cases.SOON, False):
                concurrency.await_only(never())
                raise AssertionError('it ended')
            assert len(ended) > before
            who.check_in_child()
            assert session.scalar(sqlalchemy.select(3)) == 3
            who.call_in_child(1)
        # It ends with one, and is not asked to wait again.
        with eventlet.Timeout(cases.SOON, False):
            concurrency.await_only(never())
        return 'done'

    async def work(n: int) -> None:
        who = green_calls.Identity()
        async with new_session() as session:
            assert await session.run_sync(function) == 'done'
            who.check()

    await gather(work, 5)
    assert len(ended) == 20


cases.run_all()
directory.cleanup()
mode.done()
