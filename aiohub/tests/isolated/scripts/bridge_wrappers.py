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

"""The decorators, and context managers and iterators of the other side."""

import asyncio
import contextlib
import inspect

import mode
import rows

import aiohub
import eventlet
import greenlet


@rows.row
def functions():
    """Decorators keep the name, signature and docstring."""

    @aiohub.async_to_sync
    async def get(url: str, *, again: bool = False) -> str:
        """Get it."""
        return await rows.give(url)

    @aiohub.async_to_sync(autokill_greenlet=False)
    async def get_more(url: str) -> str:
        return await rows.give(url)

    @aiohub.sync_to_async
    def fetch(url: str, *, again: bool = False) -> str:
        """Fetch it."""
        return rows.green_give(url)

    @aiohub.sync_to_async(autocancel_future=False)
    def fetch_more(url: str) -> str:
        return rows.green_give(url)

    assert (get.__name__, get.__doc__) == ('get', 'Get it.')
    assert str(inspect.signature(get)) == (
        '(url: str, *, again: bool = False) -> str')
    assert not inspect.iscoroutinefunction(get)
    assert inspect.iscoroutinefunction(fetch)
    assert str(inspect.signature(fetch)) == str(inspect.signature(get))
    assert (fetch.__name__, fetch.__doc__) == ('fetch', 'Fetch it.')
    assert get('a', again=True) == get_more('a') == 'a'
    assert aiohub.await_(fetch('b')) == aiohub.await_(fetch_more('b')) == 'b'

    class Client:
        @aiohub.async_to_sync
        async def get(self, url):
            return await rows.give((self, url))

        @aiohub.sync_to_async
        def fetch(self, url):
            return rows.green_give((self, url))

    client = Client()
    assert client.get(1) == (client, 1)
    assert aiohub.await_(client.fetch(2)) == (client, 2)


@rows.row
def context_managers():
    log = []

    @contextlib.asynccontextmanager
    async def async_cm():
        task = asyncio.current_task()
        await asyncio.sleep(0)
        try:
            yield 5
        except rows.Failure:
            await asyncio.sleep(0)
            log.append('swallowed')
        finally:
            await asyncio.sleep(0)
            assert asyncio.current_task() is task
            log.append('left')

    with aiohub.wrap_async_context_manager(async_cm()) as value:
        assert value == 5
        eventlet.sleep(0)
        assert not log
        # The body may cross again.
        assert aiohub.await_(rows.give(6)) == 6
    assert log == ['left']
    with aiohub.wrap_async_context_manager(async_cm()):
        raise rows.Failure()
    assert log == ['left', 'swallowed', 'left']

    def in_body(exc):
        with aiohub.wrap_async_context_manager(async_cm()):
            raise exc

    error = ValueError('body')
    assert rows.raises(ValueError, in_body, error) is error

    @contextlib.asynccontextmanager
    async def fails_to_enter():
        raise rows.Failure('enter')
        yield

    def enter():
        with aiohub.wrap_async_context_manager(fails_to_enter()):
            raise AssertionError('entered')

    rows.raises(rows.Failure, enter)

    def expire():
        timeout = asyncio.timeout(0.001)
        with aiohub.wrap_async_context_manager(timeout):
            while not timeout.expired():
                eventlet.sleep(0.001)

    rows.raises(TimeoutError, expire)

    def group():
        with aiohub.wrap_async_context_manager(asyncio.TaskGroup()) as tasks:
            tasks.create_task(rows.give(1))
            tasks.create_task(rows.fail())
            eventlet.sleep(0.001)

    exc = rows.raises(ExceptionGroup, group)
    assert isinstance(exc.exceptions[0], rows.Failure)
    with aiohub.wrap_async_context_manager(asyncio.TaskGroup()) as tasks:
        task = tasks.create_task(rows.give(3))
    assert task.result() == 3

    # The other way.
    log.clear()

    @contextlib.contextmanager
    def green_cm():
        green = greenlet.getcurrent()
        eventlet.sleep(0)
        try:
            yield 7
        except rows.Failure:
            log.append('swallowed')
        finally:
            eventlet.sleep(0)
            assert greenlet.getcurrent() is green
            log.append('left')

    @contextlib.contextmanager
    def fails_to_enter_green():
        eventlet.sleep(0)
        raise rows.Failure('enter')
        yield

    lock = eventlet.semaphore.Semaphore()

    async def main():
        async with aiohub.wrap_sync_context_manager(green_cm()) as value:
            assert value == 7
            await asyncio.sleep(0)
            assert not log
        assert log == ['left']
        async with aiohub.wrap_sync_context_manager(green_cm()):
            raise rows.Failure()
        assert log == ['left', 'swallowed', 'left']
        try:
            async with aiohub.wrap_sync_context_manager(green_cm()):
                raise error
        except ValueError as exc:
            assert exc is error
        else:
            raise AssertionError('swallowed')
        try:
            async with aiohub.wrap_sync_context_manager(
                    fails_to_enter_green()):
                raise AssertionError('entered')
        except rows.Failure:
            pass
        async with aiohub.wrap_sync_context_manager(lock):
            assert lock.locked()
            other = eventlet.spawn(lock.acquire)
            await asyncio.sleep(0.001)
            assert not other.dead
        assert await aiohub.greenlet_to_future(other)

    aiohub.await_(main())


@rows.row
def iterators():
    log = []

    async def numbers():
        task = asyncio.current_task()
        try:
            for n in range(3):
                await asyncio.sleep(0)
                yield n
                assert asyncio.current_task() is task
        finally:
            await asyncio.sleep(0)
            log.append('closed')

    assert list(aiohub.wrap_async_iterator(numbers())) == [0, 1, 2]
    assert log.pop() == 'closed'
    for n in aiohub.wrap_async_iterator(numbers()):
        assert n == 0
        break
    # for drops the iterator, and so closes it.
    assert log.pop() == 'closed'

    async def failing():
        yield 1
        raise rows.Failure('second')

    iterator = aiohub.wrap_async_iterator(failing())
    assert next(iterator) == 1
    rows.raises(rows.Failure, next, iterator)
    assert list(iterator) == []

    def green_numbers():
        green = greenlet.getcurrent()
        try:
            for n in range(3):
                eventlet.sleep(0)
                yield n
                assert greenlet.getcurrent() is green
        finally:
            eventlet.sleep(0)
            log.append('closed')

    def green_failing():
        yield 1
        raise rows.Failure('second')

    async def main():
        wrap = aiohub.wrap_sync_iterator
        assert [n async for n in wrap(green_numbers())] == [0, 1, 2]
        assert log.pop() == 'closed'
        assert [n async for n in wrap([1, 2])] == [1, 2]
        assert [n async for n in wrap([])] == []
        async with contextlib.aclosing(wrap(green_numbers())) as items:
            async for n in items:
                break
        assert log.pop() == 'closed'
        got = []
        try:
            async for n in wrap(green_failing()):
                got.append(n)
        except rows.Failure:
            assert got == [1]
        else:
            raise AssertionError('no exception')

    aiohub.await_(main())


rows.run_all()
mode.done()
