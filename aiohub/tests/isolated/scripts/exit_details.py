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

"""Ends of hubs that are not the end of the interpreter; and odd ones."""

import asyncio
import gc
import os
import sys
import threading

import mode

import aiohub
import eventlet
from eventlet import hubs

mode.may_be_slow()

cleaned: list[str] = []


async def task(name: str) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0.001)
        # As logging does.
        threading.current_thread()
        cleaned.append(name)


async def leaves(name: str) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        cleaned.append(name)
        sys.exit(3)


async def begin(name: str, function=task) -> None:
    tasks.append(asyncio.create_task(function(name)))
    await asyncio.sleep(0)


def choose_hub() -> None:
    hubs.use_hub('aiohub.hub' if mode.HUB == 'env' else None)


def check(*names: str) -> None:
    assert cleaned == list(names), cleaned
    cleaned.clear()


def in_thread(name: str) -> None:
    choose_hub()
    aiohub.get_loop()
    aiohub.await_(begin(name))


tasks: list[object] = []
aiohub.await_(begin('replaced'))
choose_hub()
check('replaced')

if mode.ON:
    aiohub.await_(begin('closed'))
    hubs.get_hub().close()
    check('closed')
    aiohub.await_(begin('closed in green thread'))
    closing = eventlet.spawn(hubs.get_hub().close)
    try:
        eventlet.sleep(60)
    except BaseException as exc:
        assert isinstance(exc, (Exception, eventlet.greenlet.GreenletExit))
    check('closed in green thread')

    # Somebody leaves the program meanwhile: when all have cleaned up.
    aiohub.await_(begin('leaves', leaves))
    aiohub.await_(begin('stays'))
    try:
        hubs.get_hub().close()
    except SystemExit as exc:
        assert exc.code == 3
    else:
        raise AssertionError
    assert sorted(cleaned) == ['leaves', 'stays'], cleaned
    cleaned.clear()

before = len(os.listdir('/proc/self/fd'))
for _ in range(20):
    thread = mode.native.Thread(target=in_thread, args=('thread',))
    thread.start()
    thread.join()
    check('thread')
gc.collect()
if sys.version_info >= (3, 13) and not mode.PATCHED:
    # Before, those that threading did not start stay; patched, it has one of
    # each green thread.
    assert threading.enumerate() == [threading.main_thread()]
if mode.ON:
    # eventlet's hubs leave theirs open.
    assert len(os.listdir('/proc/self/fd')) == before

# What is left for the exit is a hub that is closed, and one that never ran.
aiohub.await_(asyncio.sleep(0))
if mode.ON:
    hubs.get_hub().close()
mode.done()
choose_hub()
aiohub.get_loop()
