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

"""What a signal starts happens while nothing else does.

In this process and in forked ones, which go on or call ``use_hub()``.
"""

import asyncio
import signal

import forked
import mode
import signalling

import aiohub
from eventlet import hubs


def everything() -> None:
    signalling.everything(signalling.at_rest)
    # That needs a timer of the loop, which no other does.
    for way in signalling.WAYS:
        signalling.at_rest(signalling.call_later, way)
    while_a_task_waits()
    some()


def some() -> None:
    """The same with a timer, far away."""
    for act in (signalling.spawn, signalling.create_task):
        for way in signalling.WAYS:
            signalling.at_rest(act, way, seconds=signalling.LONG)


def while_a_task_waits() -> None:
    """The loop has a timer, far away, and a task waits for both."""
    async def wait() -> None:
        await asyncio.wait_for(happened.wait(), signalling.LONG)

    for way in signalling.WAYS:
        happened = asyncio.Event()
        way(happened.set, signal.SIGUSR1)
        mode.when_polling(signalling.send_to_process)
        aiohub.await_(wait())
        signalling.forget(way, signal.SIGUSR1)


def in_a_new_hub() -> None:
    hubs.use_hub()
    everything()


def and_in_a_grandchild() -> None:
    some()
    forked.reap(forked.in_green(in_a_new_hub))
    forked.reap(forked.in_main(everything))
    some()


everything()
for place in (forked.in_main, forked.in_green, forked.in_task):
    for check in (everything, in_a_new_hub, and_in_a_grandchild):
        if mode.ON or check is in_a_new_hub:
            forked.reap(place(check))
            some()
mode.done()
