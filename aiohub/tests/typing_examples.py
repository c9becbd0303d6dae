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

"""How types go through the public functions; strict mypy checks this file.

Nothing here is run. A type that gets lost on the way (becomes Any) makes an
``assert_type`` fail, an argument that is not complained about any more an
unused ``type: ignore``.
"""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Generator
from collections.abc import Iterator
import contextlib
from typing import Any
from typing import assert_type
from typing import TypeVar

import aiohub
from aiohub import from_thread

_T = TypeVar('_T')


async def get(url: str, *, retries: int = 3) -> bytes:
    return url.encode() * retries


def read(path: str, size: int = -1) -> bytes:
    return path.encode()[:size]


async def nothing() -> None:
    pass


class Answer:
    """Something with ``__await__``."""

    def __await__(self) -> Generator[Any, None, int]:
        yield
        return 1


# -- green code waits for asyncio

def waits(task: asyncio.Task[str], future: 'asyncio.Future[float]') -> None:
    assert_type(aiohub.await_(get('url')), bytes)
    assert_type(aiohub.await_(task), str)
    assert_type(aiohub.await_(future), float)
    assert_type(aiohub.await_(Answer()), int)
    assert_type(
        aiohub.await_(asyncio.wait_for(get('url', retries=1), 5)), bytes)
    assert_type(
        aiohub.await_(asyncio.gather(get('url'), Answer())),
        tuple[bytes, int])
    body: bytes = aiohub.await_(get('url'))
    number: int = aiohub.await_(get('url'))  # type: ignore[assignment]
    aiohub.await_(get)  # type: ignore[arg-type]
    aiohub.await_(1)  # type: ignore[arg-type]
    del body, number


def waits_for_any(awaitable: Awaitable[_T]) -> _T:
    return aiohub.await_(awaitable)


def spawns() -> None:
    # eventlet's green threads have no types.
    aiohub.future_to_greenlet(get('url'), autocancel_future=False).wait()
    aiohub.spawn_for_awaitable(get('url')).wait()
    aiohub.future_to_greenlet(get)  # type: ignore[arg-type]
    aiohub.spawn_for_awaitable(1)  # type: ignore[arg-type]
    assert_type(aiohub.get_loop(), asyncio.AbstractEventLoop)


# -- decorators

@aiohub.async_to_sync
async def fetch(url: str, *, retries: int = 3) -> bytes:
    return await get(url, retries=retries)


@aiohub.async_to_sync(autocancel_future=False)
async def fetch_anyway(url: str, *, retries: int = 3) -> bytes:
    return await get(url, retries=retries)


@aiohub.sync_to_async
def load(path: str, size: int = -1) -> bytes:
    return read(path, size)


@aiohub.sync_to_async(autokill_greenlet=False)
def load_anyway(path: str, size: int = -1) -> bytes:
    return read(path, size)


def calls() -> None:
    assert_type(fetch('url'), bytes)
    assert_type(fetch('url', retries=1), bytes)
    assert_type(fetch_anyway('url', retries=1), bytes)
    assert_type(aiohub.async_to_sync(get)('url'), bytes)
    assert_type(aiohub.async_to_sync(nothing), Callable[[], None])
    fetch(1)  # type: ignore[arg-type]
    fetch('url', 1)  # type: ignore[call-arg]
    fetch('url', attempts=1)  # type: ignore[call-arg]
    fetch_anyway(1)  # type: ignore[arg-type]
    fetch_anyway()  # type: ignore[call-arg]
    aiohub.async_to_sync(read)  # type: ignore[arg-type]


async def awaits() -> None:
    await assert_type(load('path'), Coroutine[Any, Any, bytes])
    assert_type(await load('path'), bytes)
    assert_type(await load('path', size=1), bytes)
    assert_type(await load_anyway('path', 1), bytes)
    assert_type(await aiohub.sync_to_async(read)('path'), bytes)
    assert_type(await asyncio.create_task(load('path')), bytes)
    await load(1)  # type: ignore[arg-type]
    await load('path', length=1)  # type: ignore[call-arg]
    await load_anyway(1)  # type: ignore[arg-type]
    await load_anyway()  # type: ignore[call-arg]


# -- methods

class Client:
    @aiohub.async_to_sync
    async def fetch(self, url: str) -> bytes:
        return await get(url)

    @aiohub.sync_to_async
    def load(self, path: str) -> bytes:
        return read(path)


async def calls_methods(client: Client) -> None:
    assert_type(client.fetch('url'), bytes)
    assert_type(await client.load('path'), bytes)
    client.fetch(1)  # type: ignore[arg-type]
    await client.load(1)  # type: ignore[arg-type]


# -- context managers and iterators

@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[bytes]:
    yield await get(url)


@contextlib.contextmanager
def lock(name: str) -> Iterator[int]:
    yield len(name)


async def lines(url: str) -> AsyncIterator[bytes]:
    yield await get(url)


def rows(path: str) -> Iterator[bytes]:
    yield read(path)


class Stream:
    """An asynchronous iterable that is no generator."""

    def __aiter__(self) -> AsyncIterator[str]:
        raise NotImplementedError


def holds() -> None:
    with aiohub.wrap_async_context_manager(connect('url')) as connection:
        assert_type(connection, bytes)
    with aiohub.wrap_async_context_manager(asyncio.Lock()) as locked:
        assert_type(locked, None)
    for line in aiohub.wrap_async_iterator(lines('url')):
        assert_type(line, bytes)
    for text in aiohub.wrap_async_iterator(Stream()):
        assert_type(text, str)
    assert_type(aiohub.wrap_async_iterator(lines('url')), Iterator[bytes])
    aiohub.wrap_async_context_manager(lock('x'))  # type: ignore[arg-type]
    aiohub.wrap_async_iterator(rows('path'))  # type: ignore[arg-type]


async def holds_async() -> None:
    async with aiohub.wrap_sync_context_manager(lock('name')) as number:
        assert_type(number, int)
    async for row in aiohub.wrap_sync_iterator(rows('path')):
        assert_type(row, bytes)
    async for item in aiohub.wrap_sync_iterator([1, 2]):
        assert_type(item, int)
    aiohub.wrap_sync_context_manager(
        connect('url'))  # type: ignore[arg-type]
    aiohub.wrap_sync_iterator(lines('url'))  # type: ignore[arg-type]


# -- from native threads

def in_native_thread() -> None:
    assert_type(from_thread.run(get, 'url', retries=1), bytes)
    assert_type(from_thread.run(nothing), None)
    assert_type(from_thread.run_sync(read, 'path', size=1), bytes)
    from_thread.run(get, 1)  # type: ignore[arg-type]
    from_thread.run(get, 'url', attempts=1)  # type: ignore[call-arg]
    from_thread.run(read, 'path')  # type: ignore[arg-type]
    from_thread.run_sync(read, 1)  # type: ignore[arg-type]
    from_thread.run_sync(read)  # type: ignore[call-arg]


# -- switching on

def switches(conf: Any) -> None:
    assert_type(aiohub.setup(conf), bool)
    assert_type(aiohub.enabled(), bool)
