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


"""Calls from native threads end when the loop they wait for does."""

import asyncio
import gc
import os
import traceback
import warnings

import cases
import mode
import rows

import aiohub
from aiohub import from_thread
import eventlet
from eventlet import event
from eventlet import hubs
from eventlet import patcher

native = patcher.original('threading')
native_time = patcher.original('time')


class Caller:
    """A native thread that makes a call."""

    def __init__(self, *call) -> None:
        self.call = call
        self.ended: list[object] = []
        self.thread = native.Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        try:
            self.ended.append(self.call[0](*self.call[1:]))
        except BaseException as exc:
            self.ended.append(exc)

    def answer(self) -> object:
        """Return how it ended; the hub does not run meanwhile."""
        self.thread.join(60)
        assert self.ended, 'it waits for ever'
        return self.ended[0]

    def check_closed(self) -> None:
        answer = self.answer()
        assert isinstance(answer, aiohub.HubClosedError), answer
        assert str(answer).endswith('closed.'), answer


class Endless:
    """What does not end, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = 0

    async def in_task(self) -> None:
        self.begun += 1
        # Its end is not what is shown.
        asyncio.current_task()._log_destroy_pending = False
        await asyncio.get_running_loop().create_future()

    def in_green(self) -> None:
        self.begun += 1
        event.Event().wait()


def use_hub() -> None:
    hubs.use_hub()


def close() -> None:
    hub = hubs.get_hub()
    if mode.ON:
        hub.close()
    else:
        hubs.use_hub()


def while_they_wait():
    for end in (use_hub, close):
        aiohub.get_loop()
        endless = Endless()
        callers = [Caller(call, *args) for call, *args in (
            (from_thread.run, endless.in_task),
            (from_thread.run_sync, endless.in_green)) * 3]
        cases.until(lambda: endless.begun == len(callers))  # noqa: B023
        end()
        for caller in callers:
            caller.check_closed()
        assert not from_thread._calls


def before_they_have_begun():
    """What was asked for and never called leaves nothing un-awaited."""
    eventlet.sleep(0)
    loop = aiohub.get_loop()
    endless = Endless()
    callers = [Caller(from_thread.run, endless.in_task),
               Caller(from_thread.run_sync, endless.in_green)]
    # The hub does not run.
    while len(from_thread._calls) < len(callers):
        native_time.sleep(0.001)
    use_hub()
    for caller in callers:
        caller.check_closed()
    assert loop.is_closed() and not endless.begun


def while_they_begin():
    def soon():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, 5)
        return future

    def call_until_closed(told):
        count = 0
        try:
            while True:
                assert from_thread.run(soon) == 5
                assert from_thread.run_sync(lambda: 6) == 6
                count += 1
                told.add(count)
        except aiohub.AiohubError:
            return count

    for n in range(20):
        eventlet.sleep(0)
        aiohub.get_loop()
        told: set[int] = set()
        callers = [Caller(call_until_closed, told) for _ in range(4)]
        cases.until(lambda: len(told) >= n % 5)  # noqa: B023
        use_hub()
        for caller in callers:
            assert isinstance(caller.answer(), int), caller.ended
    assert not from_thread._calls


def just_when_they_are_answered():
    """The answer was there first."""
    eventlet.sleep(0)
    aiohub.get_loop()
    callers = [Caller(from_thread.run, rows.give, 5),
               Caller(from_thread.run_sync, rows.green_give, 5),
               Caller(from_thread.run, rows.fail)]
    while len(from_thread._calls) < 3 and not any(
            caller.ended for caller in callers):
        native_time.sleep(0.001)
    cases.until(lambda: not from_thread._calls)
    use_hub()
    first, second, third = [caller.answer() for caller in callers]
    assert (first, second) == (5, 5)
    assert isinstance(third, rows.Failure), third


def with_a_loop_that_the_program_closes():
    hubs.use_hub()
    loop = aiohub.get_loop()
    if loop.is_running():
        return
    caller = Caller(from_thread.run, rows.give, 5)
    while not from_thread._calls:
        native_time.sleep(0.001)
    loop.close()
    caller.check_closed()
    hubs.use_hub()


def in_child(check) -> None:
    """Fork; run a check there."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            check()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert patcher.original('os').waitpid(pid, 0)[1] == 0


def in_a_forked_child():
    """The calls of the parent stay its own."""
    eventlet.sleep(0)
    loop = aiohub.get_loop()
    future = loop.create_future()

    async def wait():
        begun.append(1)
        return await future

    def check():
        assert not from_thread._calls
        new = Caller(from_thread.run, rows.give, 6)
        cases.until(lambda: new.ended)
        assert new.answer() == 6, new.ended
        # Nobody waits for the copy.
        future.set_result(7)
        eventlet.sleep(0)
        eventlet.sleep(0)
        use_hub()
        gc.collect()

    begun = []
    caller = Caller(from_thread.run, wait)
    cases.until(lambda: begun)
    in_child(check)
    future.set_result(5)
    cases.until(lambda: caller.ended)
    assert caller.answer() == 5


def in_a_child_forked_by_another_thread():
    """The hub's thread is not in it."""
    aiohub.get_loop()

    def check():
        answer = Caller(from_thread.run, rows.give, 6).answer()
        assert isinstance(answer, aiohub.AiohubError), answer
        assert 'get_loop()' in str(answer), answer

    assert Caller(in_child, check).answer() is None


warnings.simplefilter('error', RuntimeWarning)
for show in (while_they_wait, before_they_have_begun, while_they_begin,
             just_when_they_are_answered,
             with_a_loop_that_the_program_closes, in_a_forked_child,
             in_a_child_forked_by_another_thread):
    try:
        show()
        gc.collect()
        assert not rows.complaints, rows.complaints
    except BaseException:
        print('in', show.__name__)
        raise
mode.done()
