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
"""Hubs that are closed or replaced in less usual ways; see also closing."""

import asyncio
import gc
import os
import weakref

import mode

import eventlet
from eventlet import debug
from eventlet import event
from eventlet import hubs
from eventlet import patcher

native = patcher.original('threading')


def descriptors() -> int:
    return len(os.listdir('/proc/self/fd'))


def fresh():  # type: ignore
    hubs.use_hub('aiohub.hub')
    eventlet.sleep(0)
    return hubs.get_hub()


def kept() -> None:
    """A closed hub that something refers to holds no descriptor."""
    class Held:
        def call(self, *args: object) -> None:
            pass

    hub = fresh()
    r, w = os.pipe()
    held = [Held() for _ in range(4)]
    hub.schedule_call_global(60, held[0].call)
    eventlet.sleep(0)
    hub.schedule_call_global(60, held[1].call)
    hub.schedule_call_global(0, held[2].call)
    hub.add(hub.READ, r, held[3].call, None, None)
    references = [weakref.ref(each) for each in held]
    held.clear()
    before = descriptors()
    hub.close()
    assert descriptors() == before - 3, (before, descriptors())
    gc.collect()
    assert [each() for each in references] == [None] * 4, references
    patcher.original('os').close(r)
    patcher.original('os').close(w)


def by_another_hub() -> None:
    hub = fresh()
    hubs.use_hub('epolls')
    assert hub.loop.is_closed()
    eventlet.sleep(0)


def by_the_unwrapped_function() -> None:
    """Somebody may have imported use_hub() before there was a hub."""
    hub = fresh()
    hubs.use_hub.__wrapped__('aiohub.hub')
    assert not hub.loop.is_closed()
    other = hubs.get_hub()
    assert hub.loop.is_closed()
    assert hubs.get_hub() is other
    eventlet.sleep(0)


def by_nothing() -> None:
    """use_hub() that fails has dropped the hub all the same."""
    hub = fresh()
    try:
        hubs.use_hub('no.such_hub')
    except ImportError:
        pass
    else:
        raise AssertionError('found it')
    assert hub.loop.is_closed()


def in_a_callback() -> None:
    """The hub that runs it is closed when the next one is made."""
    hub = fresh()
    errors: list[object] = []
    hub.loop.set_exception_handler(lambda loop, what: errors.append(what))
    hub.loop.call_soon(hubs.use_hub, 'aiohub.hub')
    called: list[int] = []
    hub.loop.call_soon(called.append, 1)
    while not called:
        eventlet.sleep(0)
    assert not errors, errors
    assert not hub.loop.is_closed()
    eventlet.sleep(0)
    assert hubs.get_hub() is not hub
    assert hub.loop.is_closed()


def by_a_green_thread() -> None:
    """What waited in a closed hub ends without waking who closed it."""
    main = eventlet.getcurrent()
    fresh()
    left_behind = eventlet.spawn(event.Event().wait)
    eventlet.sleep(0)
    opened = event.Event()

    def close_and_wait() -> object:
        hubs.get_hub().close()
        hubs.get_hub().schedule_call_global(0, main.switch)
        return opened.wait()

    closing = eventlet.spawn(close_and_wait)
    hubs.get_hub().switch()
    hub = hubs.get_hub()
    back = hub.schedule_call_global(0, main.switch)
    left_behind.throw()
    back.cancel()
    assert left_behind.dead
    assert not closing.dead
    opened.send('opened')
    assert closing.wait() == 'opened'


def killed_after_closing() -> None:
    """What waited in a closed hub is killed; it wakes who kills it once."""
    fresh()
    never = event.Event()
    left_behind = [eventlet.spawn(never.wait) for _ in range(2)]
    eventlet.sleep(0)
    for green in left_behind:
        hubs.get_hub().close()
        green.kill()
        assert green.dead
        opened = event.Event()
        eventlet.spawn_after(0.01, opened.send, 'opened')
        assert opened.wait() == 'opened'


def hooks_run_once() -> None:
    """However many hubs there were, a child renews its hub once."""
    for _ in range(3):
        hub = fresh()
    calls = []
    renew = hub.loop.renew_after_fork
    hub.loop.renew_after_fork = lambda *args: calls.append(renew(*args))
    pid = os.fork()
    if not pid:
        os._exit(len(calls))
    assert os.waitstatus_to_exitcode(
        patcher.original('os').waitpid(pid, 0)[1]) == 1


def executor_is_let_go() -> None:
    """What is called at exit does not keep the executors of old loops."""
    hub = fresh()

    async def program() -> None:
        await asyncio.to_thread(int)

    task = hub.loop.create_task(program())
    while not task.done():
        eventlet.sleep(0.001)
    executor = weakref.ref(hub.loop.state.native_executor)
    del task
    hub.close()
    del hub
    fresh()
    gc.collect()
    assert executor() is None


def flag_of_other_hubs() -> None:
    """eventlet's asyncio hub still refuses several readers."""
    fresh()
    answers = []

    def target() -> None:
        hubs.use_hub('asyncio')
        try:
            debug.hub_prevent_multiple_readers(False)
        except RuntimeError as exc:
            answers.append(exc)

    thread = native.Thread(target=target)
    thread.start()
    thread.join()
    assert len(answers) == 1


# After setup() the next hub is of the same kind, by whatever way it comes.
hubs.get_hub().close()
eventlet.sleep(0)
mode.check_hub()

checks = [kept, by_another_hub, by_the_unwrapped_function, by_nothing,
          in_a_callback, by_a_green_thread, killed_after_closing,
          hooks_run_once, executor_is_let_go]
if not mode.PATCHED:
    checks.append(flag_of_other_hubs)
for check in checks:
    try:
        check()
    except BaseException:
        print('in', check.__name__)
        raise
fresh()
mode.done()
