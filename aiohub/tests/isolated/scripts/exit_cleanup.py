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

"""At exit tasks and generators clean up; it prints what does.

The argument says how the program ends.
"""

import asyncio
import os
import signal
import sys

import mode

import aiohub
import eventlet
from eventlet import patcher
from eventlet import tpool

mode.may_be_slow()

native_os = patcher.original('os')
kept: list[object] = []


def say(what: str) -> None:
    # In one piece, as others print too.
    native_os.write(1, what.encode() + b'\n')


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def awaits() -> None:
    try:
        await for_ever()
    finally:
        await asyncio.sleep(0.001)
        say('awaits')


async def green_call() -> None:
    try:
        await for_ever()
    finally:
        eventlet.sleep(0.001)
        assert eventlet.spawn(int).wait() == 0
        say('green_call')


async def in_green_call() -> None:
    try:
        eventlet.sleep(60)
    finally:
        say('in_green_call')


async def native_threads() -> None:
    try:
        await for_ever()
    finally:
        assert await asyncio.to_thread(int) == 0
        assert tpool.execute(int) == 0
        say('native_threads')


async def fails() -> None:
    try:
        await for_ever()
    finally:
        raise ValueError


async def makes_another() -> None:
    try:
        await for_ever()
    finally:
        kept.append(asyncio.create_task(for_ever()))
        kept.append(asyncio.create_task(awaits()))
        await asyncio.sleep(0)


async def generator():
    try:
        yield 1
    finally:
        await asyncio.sleep(0.001)
        say('generator')


def job(loop: asyncio.AbstractEventLoop) -> None:
    """Work of a native thread, which needs the loop once more."""
    assert ending.wait(60)
    ran = mode.native.Event()
    loop.call_soon_threadsafe(ran.set)
    assert ran.wait(60)
    say('job')


async def tells_job() -> None:
    try:
        await for_ever()
    finally:
        ending.set()


def waits_for_task() -> None:
    try:
        aiohub.await_(for_ever())
    finally:
        say('waits_for_task')


def sleeps() -> None:
    # eventlet does not end it, and neither do we.
    try:
        eventlet.sleep(60)
    finally:
        say('sleeps')


async def begin() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda loop, context: say(type(context['exception']).__name__))
    for function in (awaits, native_threads, fails, makes_another, tells_job):
        kept.append(asyncio.create_task(function()))
    kept.append(asyncio.create_task(green_call()))
    kept.append(asyncio.create_task(in_green_call()))
    kept.append(generator())
    assert await anext(kept[-1]) == 1
    loop.run_in_executor(None, job, loop)
    await asyncio.sleep(0)


async def exit_in_task() -> None:
    sys.exit()


ending = mode.native.Event()
tpool.execute(int)
aiohub.await_(begin())
eventlet.spawn(waits_for_task)
eventlet.spawn(sleeps)
eventlet.sleep(0)
mode.check_hub()
how = sys.argv[1]
if how == 'sys.exit':
    sys.exit()
elif how == 'green':
    eventlet.spawn(sys.exit)
    eventlet.sleep(60)
elif how == 'task':
    aiohub.await_(exit_in_task())
elif how == 'callback':
    aiohub.get_loop().call_soon(sys.exit)
    eventlet.sleep(60)
elif how == 'error':
    raise LookupError
elif how == 'interrupt':
    os.kill(os.getpid(), signal.SIGINT)
    eventlet.sleep(60)
