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

"""Starts, ends, kills, cancels and times out, both ways, in any order.

Hypothesis chooses. Waiters are built on waiters: a green thread that waits
for a task that waits for a green thread, with some work at the bottom that
waits until it is let on. Whatever happens to one of them ends all, and the
model says what each may see. If nothing else has happened at the same time,
that is one thing.

An argument is the seed to begin with, as printed by a run that failed.
"""

import asyncio
import gc
import random
import sys
from typing import Any

import cases
import mode

import aiohub
import eventlet
import greenlet
import hypothesis
from hypothesis import stateful
from hypothesis import strategies

EXAMPLES = 400
STEPS = 40


class Custom(Exception):
    pass


class Bottom:
    """Work that waits, and cleans up; in a task or a green thread."""

    def __init__(self, green: bool, swallows: bool, cleanup: int) -> None:
        self.gate = cases.Gate()
        self.swallows = swallows
        self.cleanup = cleanup
        self.error: BaseException | None = None
        self.begun = 0
        self.cleaned = 0
        self.let_on = False
        if green:
            thread = eventlet.spawn(self.in_green)
            self.future: Any = aiohub.greenlet_to_future(thread)
        else:
            self.future = aiohub.get_loop().create_task(self.in_task())

    def _result(self) -> str:
        if self.error is not None:
            raise self.error
        return 'result'

    async def in_task(self) -> str:
        self.begun += 1
        try:
            if not self.let_on:
                await self.gate.in_task()
            return self._result()
        except asyncio.CancelledError:
            if self.swallows:
                return 'swallowed'
            raise
        finally:
            try:
                for _ in range(self.cleanup):
                    await asyncio.sleep(0)
            finally:
                self.cleaned += 1

    def in_green(self) -> str:
        self.begun += 1
        try:
            if not self.let_on:
                self.gate.in_green()
            return self._result()
        except greenlet.GreenletExit:
            if self.swallows:
                return 'swallowed'
            raise
        finally:
            try:
                for _ in range(self.cleanup):
                    eventlet.sleep(0)
            finally:
                self.cleaned += 1

    def end(self, error: BaseException | None) -> None:
        self.error = error
        self.let_on = True
        self.gate.open()


class Node:
    """One that waits, for the bottom or for another node."""

    def __init__(self, bottom: Bottom, below: 'Node | None') -> None:
        self.bottom = bottom
        self.below = below
        self.green: Any = None
        self.future: Any = None
        #: Whether it may not see a result any more.
        self.stopped = False

    def waits_for(self) -> Any:
        return (self.below or self.bottom).future

    def is_above(self, other: 'Node') -> bool:
        node: Node | None = self
        while node is not None and node is not other:
            node = node.below
        return node is other

    def token(self) -> Any:
        """Return how it ended, in the words of the model."""
        return token(self.future)


def token(future: Any) -> Any:
    if not future.done():
        return None
    if future.cancelled():
        return 'stopped'
    error = future.exception()
    if isinstance(error, (asyncio.CancelledError, greenlet.GreenletExit)):
        return 'stopped'
    return future.result() if error is None else error


GREEN_WAYS: dict[str, Any] = {
    'await_': lambda future: eventlet.spawn(aiohub.await_, future),
    'async_to_sync': lambda future: eventlet.spawn(
        aiohub.async_to_sync(lambda: future)),
    'future_to_greenlet': aiohub.future_to_greenlet,
    'later': lambda future: aiohub.future_to_greenlet(
        future, autostart_future=False),
}


async def just_await(future: Any) -> Any:
    return await future


async def wait_for(future: Any) -> Any:
    return await asyncio.wait_for(future, 1000)


async def timeout(future: Any) -> Any:
    async with asyncio.timeout(1000):
        return await future


async def gather(future: Any) -> Any:
    return (await asyncio.gather(future))[0]


TASK_WAYS = {'await': just_await, 'wait_for': wait_for, 'timeout': timeout,
             'gather': gather}

if sys.version_info < (3, 12):
    # It loses a cancel as the result comes, and at the second cancel it does
    # not wait for what it has cancelled.
    del TASK_WAYS['wait_for']

pick = strategies.integers(0, 7)


class Machine(stateful.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.bottoms: list[Bottom] = []
        self.nodes: list[Node] = []
        #: What happened to a bottom: whom it reached, and how it looks.
        self.events: dict[Bottom, list[Any]] = {}
        #: How those ended that had when nothing was under way.
        self.settled: dict[Node, Any] = {}

    def _node(self, number: int) -> Node:
        return self.nodes[number % len(self.nodes)]

    # -- what happens

    @stateful.initialize(
        green=strategies.booleans(), swallows=strategies.booleans(),
        cleanup=strategies.integers(0, 3),
        ways=strategies.lists(strategies.sampled_from(
            [*GREEN_WAYS, *TASK_WAYS]), min_size=1, max_size=5))
    def begin(self, green: bool, swallows: bool, cleanup: int,
              ways: list[str]) -> None:
        """Most of it happens to the first few."""
        self.start(green, swallows, cleanup)
        for number, way in enumerate(ways):
            self.wait(number - 1, number > 0, way)

    @stateful.rule(green=strategies.booleans(), swallows=strategies.booleans(),
                   cleanup=strategies.integers(0, 3))
    def start(self, green: bool, swallows: bool, cleanup: int) -> None:
        bottom = Bottom(green, swallows, cleanup)
        self.bottoms.append(bottom)
        self.events[bottom] = []

    @stateful.precondition(lambda self: self.bottoms)
    @stateful.rule(number=pick, on_node=strategies.booleans(),
                   way=strategies.sampled_from(
                       [*GREEN_WAYS, *TASK_WAYS]))
    def wait(self, number: int, on_node: bool, way: str) -> None:
        if on_node and self.nodes:
            below = self._node(number)
            node = Node(below.bottom, below)
        else:
            node = Node(self.bottoms[number % len(self.bottoms)], None)
        future = node.waits_for()
        if way in GREEN_WAYS:
            node.green = GREEN_WAYS[way](future)
            node.future = aiohub.greenlet_to_future(node.green)
        else:
            node.future = aiohub.get_loop().create_task(
                TASK_WAYS[way](future))
        self.nodes.append(node)
        # One that has not begun ends alone when it is stopped.
        cases.turns(4)

    @stateful.precondition(lambda self: self.bottoms)
    @stateful.rule(number=pick, fails=strategies.booleans())
    def end(self, number: int, fails: bool) -> None:
        bottom = self.bottoms[number % len(self.bottoms)]
        if bottom.let_on or bottom.future.done():
            return
        error = Custom('bottom') if fails else None
        bottom.end(error)
        self.events[bottom].append((None, error or 'result'))

    @stateful.precondition(lambda self: self.nodes)
    @stateful.rule(number=pick, kind=strategies.sampled_from(
        ['kill', 'custom', 'timeout', 'cancel']))
    def stop(self, number: int, kind: str) -> None:
        node = self._node(number)
        if node.future.done():
            return
        node.stopped = True
        thrown: Any = 'stopped'
        if node.green is None or kind == 'cancel':
            node.future.cancel()
        elif kind == 'kill' or not node.green:
            # eventlet prints what else kills one that has not begun.
            node.green.kill()
        else:
            thrown = Custom(kind)
            if kind == 'timeout':
                thrown = eventlet.Timeout(None)
            node.green.kill(thrown)
        self.events[node.bottom].append((node, thrown))

    @stateful.precondition(lambda self: self.nodes)
    @stateful.rule(number=pick, kind=strategies.sampled_from(
        ['kill', 'custom', 'cancel']), fails=strategies.booleans(),
        turns=strategies.integers(0, 3))
    def end_and_stop(self, number: int, kind: str, fails: bool,
                     turns: int) -> None:
        """At the same time, or nearly."""
        bottom = self._node(number).bottom
        self.end(self.bottoms.index(bottom), fails)
        cases.turns(turns)
        self.stop(number, kind)

    @stateful.precondition(lambda self: self.bottoms)
    @stateful.rule(number=pick)
    def cancel_bottom(self, number: int) -> None:
        bottom = self.bottoms[number % len(self.bottoms)]
        if not bottom.future.done():
            bottom.future.cancel()
            self.events[bottom].append((None, 'stopped'))

    @stateful.rule(count=strategies.integers(1, 3))
    def turn(self, count: int) -> None:
        cases.turns(count)

    # -- what must come of it

    def _allowed(self, node: Node) -> list[Any]:
        """Return what a node may see."""
        allowed: list[Any] = []
        stopped = False
        for reached, seen in self.events[node.bottom]:
            if reached is None or node.is_above(reached):
                allowed.append(seen)
            else:
                allowed.append('stopped')
            if reached is not None or seen == 'stopped':
                stopped = True
        if stopped and node.bottom.swallows:
            allowed.append('swallowed')
        return allowed

    @stateful.rule()
    def settle(self) -> None:
        """Let all end that something has happened to, and compare."""
        reached = [b for b in self.bottoms if self.events[b]]
        nodes = [n for n in self.nodes if n.bottom in reached]
        futures = [b.future for b in reached] + [n.future for n in nodes]
        cases.until(lambda: all(future.done() for future in futures))
        cases.turns()
        for node in nodes:
            seen = node.token()
            if node in self.settled:
                assert seen is self.settled[node]
                continue
            allowed = self._allowed(node)
            if node.below in self.settled:
                # It came when all was over, and sees what is there.
                allowed.append(self.settled[node.below])
            assert any(seen is one or seen == one for one in allowed), (
                seen, allowed)
            assert seen != 'result' or not node.stopped, 'a lost cancel'
            self.settled[node] = seen
        for bottom in reached:
            assert bottom.begun == bottom.cleaned <= 1
            # Who comes later sees what has become of it.
            self.events[bottom] = [(None, token(bottom.future))]

    @stateful.invariant()
    def nobody_ends_before_what_it_waits_for(self) -> None:
        for node in self.nodes:
            assert not node.future.done() or node.waits_for().done()

    def teardown(self) -> None:
        for bottom in self.bottoms:
            if not (bottom.let_on or bottom.future.done()):
                bottom.end(None)
                self.events[bottom].append((None, 'result'))
        self.settle()
        # Its exception is somebody's, as all are.
        for bottom in self.bottoms:
            token(bottom.future)
        for node in self.nodes:
            token(node.future)
        self.bottoms, self.nodes = [], []
        self.settled, self.events = {}, {}


def play() -> None:
    seed = int(sys.argv[1]) if sys.argv[1:] else random.randrange(2 ** 32)
    print('seed', seed)
    stateful.run_state_machine_as_test(
        hypothesis.seed(seed)(Machine), settings=hypothesis.settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None,
            database=None, derandomize=False,
            suppress_health_check=list(hypothesis.HealthCheck)))


watch = cases.Watch()
aiohub.await_(asyncio.sleep(0))
wrong = watch.run(play, None)
gc.collect()
sys.stderr = sys.__stderr__
assert not wrong, '\n'.join(wrong)
mode.done()
