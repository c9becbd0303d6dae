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

"""Green calls in callbacks: each call, in each way in which the loop calls.

They give what they give in a green thread, the callback finds itself
unchanged, and one warning says where.
"""

import asyncio
import contextvars

import callback_calls
import cases
import in_callback
import mode

import aiohub
import eventlet

loop = aiohub.get_loop()
variable = contextvars.ContextVar('variable', default='none')


def make(calls):
    """Make green calls; what the callback is stays the same."""
    me = eventlet.getcurrent()
    token = variable.set(me)
    task = asyncio.current_task()
    for call in calls:
        call()
        assert variable.get() is me
        assert asyncio.current_task() is task
        assert asyncio.get_running_loop() is loop
        assert eventlet.getcurrent() is me is in_callback.greenlet_of_loop()
    variable.reset(token)
    return 'made'


def call_once(call, way):
    assert in_callback.call(lambda: make([call]), way) == 'made'
    in_callback.warnings()


for name, function in callback_calls.CALLS.items():
    for way in ('call_soon', 'call_later', 'plain_task'):
        cases.add('%s_by_%s' % (name, way), call_once, function,
                  in_callback.WAYS[way])


def call_all(way):
    calls = callback_calls.CALLS.values()
    assert in_callback.call(lambda: make(calls), way) == 'made'
    # As if nothing had been.
    assert in_callback.call(lambda: make([])) == 'made'
    in_callback.warnings()


for name, way in in_callback.WAYS.items():
    cases.add('all_by_' + name, call_all, way)


@cases.case
def some_in_each_callback_of_a_turn():
    """They run one after the other, in the order they were called."""
    log = []

    def work(number):
        log.append((number, 'begun'))
        for call in (callback_calls.sleep_zero, callback_calls.get_from_queue,
                     callback_calls.receive, callback_calls.sleep):
            call()
        log.append((number, 'ended'))

    ended = [in_callback.begin(lambda n=n: work(n)) for n in range(10)]
    for callback in ended:
        callback.wait()
    assert log == [(n, what) for n in range(10)
                   for what in ('begun', 'ended')], log
    in_callback.warnings()


cases.run_all()
mode.done()
