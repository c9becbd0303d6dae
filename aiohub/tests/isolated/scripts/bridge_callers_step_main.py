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

"""The main greenlet makes a first step, or gets what is for it after one."""

import asyncio
from collections.abc import Callable
import os
import signal
from typing import Any
from unittest import mock

import cases
import first_steps
import mode

import eventlet
from eventlet import hubs

import aiohub
from aiohub import _first_step

loop = aiohub.get_loop()


def interrupt_in(function: Callable[[], Any]) -> None:
    try:
        function()
    except KeyboardInterrupt:
        return
    raise AssertionError('nothing was raised')


def ctrl_c_in_the_step() -> None:
    seen: list[str] = []

    async def begin() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
        seen.append('went on')

    interrupt_in(lambda: aiohub.await_(begin()))
    assert not seen, seen
    cases.turns()  # once
    assert aiohub.await_(first_steps.answer()) == 'answer'


def ctrl_c_before_the_step() -> None:
    """As with any task that is cancelled before it has begun."""
    seen: list[str] = []

    async def begin() -> None:
        seen.append('begun')

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with mock.patch.object(_first_step.KIND, '_step', interrupt):
        interrupt_in(lambda: aiohub.await_(begin()))
    cases.turns()
    assert not seen, seen


def ctrl_c_before_the_hub_makes_it() -> None:
    """It is for the main greenlet: who waits has the loop make the step."""
    seen: list[str] = []

    async def begin() -> str:
        seen.append('begun')
        return 'answer'

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    loop.state.spare_greenlets.clear()  # type: ignore[attr-defined]
    green = eventlet.spawn(aiohub.await_, begin())
    with mock.patch.object(_first_step.KIND, '_step', interrupt):
        interrupt_in(green.wait)
    assert green.wait() == 'answer'
    assert seen == ['begun'], seen


def ctrl_c_after_the_step() -> None:
    """The task waits then, or has ended."""
    make_step = _first_step.KIND._step
    seen: list[str] = []

    async def begin() -> None:
        try:
            if len(seen) < 2:
                await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            seen.append('over')

    def interrupt(first: Any) -> None:
        make_step(first)
        raise KeyboardInterrupt

    for coroutine in begin(), begin(), first_steps.answer():
        with mock.patch.object(_first_step.KIND, '_step', interrupt):
            interrupt_in(lambda coroutine=coroutine: aiohub.await_(coroutine))
        aiohub.await_(first_steps.answer())
    cases.turns()
    assert seen == ['over', 'over'], seen


def a_green_thread_leaves_in_it() -> None:
    """The main greenlet gets it when the step is over."""
    seen: list[str] = []

    async def begin() -> str:
        first_steps.leave_to(other, KeyboardInterrupt())
        seen.append('went on')
        return 'over'

    def work() -> None:
        seen.append(aiohub.await_(begin()))

    other = first_steps.waiting(first_steps.wait)
    green = eventlet.spawn(work)
    interrupt_in(green.wait)
    if mode.ON:
        assert asyncio.current_task(loop) is None
    green.wait()
    assert seen == ['went on', 'over'], seen
    cases.turns()  # once
    assert aiohub.await_(first_steps.answer()) == 'answer'


def the_main_greenlet_makes_it() -> None:
    """And a green thread leaves in it: who makes it gets it afterwards."""
    seen: list[str] = []

    async def begin() -> None:
        try:
            first_steps.leave_to(other, KeyboardInterrupt())
            await asyncio.sleep(0)
            seen.append('went on')
        finally:
            seen.append('over')

    other = first_steps.waiting(first_steps.wait)
    try:
        aiohub.await_(begin())
        cases.turns()
    except KeyboardInterrupt:
        seen.append('left')
    assert seen[-2:] == ['over', 'left'], seen
    cases.turns()  # once
    assert aiohub.await_(first_steps.answer()) == 'answer'


def close_the_hub_in_it() -> None:
    """As in a step that the loop makes: at once, and nothing of it goes on."""
    async def begin() -> None:
        await eventlet.spawn(lambda: hubs.get_hub().close())

    hub: Any = hubs.get_hub()
    eventlet.spawn(aiohub.await_, begin())
    cases.until(hub.loop.is_closed)
    assert hubs.get_hub() is not hub
    eventlet.sleep(0)
    for _ in range(2):
        assert aiohub.await_(first_steps.answer()) == 'answer'


with first_steps.long_moment:
    for function in (ctrl_c_in_the_step, a_green_thread_leaves_in_it,
                     the_main_greenlet_makes_it):
        eventlet.sleep(0)
        assert aiohub.await_(first_steps.answer()) == 'answer'
        function()
if mode.ON:
    with first_steps.long_moment:
        for function in (ctrl_c_before_the_step, ctrl_c_after_the_step,
                         ctrl_c_before_the_hub_makes_it):
            eventlet.sleep(0)
            assert aiohub.await_(first_steps.answer()) == 'answer'
            function()
        close_the_hub_in_it()

mode.done()
