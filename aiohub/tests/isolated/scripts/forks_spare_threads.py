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

"""Green threads that wait to be used again are as good in a forked child.

In it they are used by the child, and in the parent by the parent.
"""

import cases
import forked
import mode
import used_threads

import eventlet
from eventlet import event
from eventlet import hubs

COUNT = 20


def wait_for(started, happened, number):
    """What each green thread runs, in the parent and in the child."""
    started.append(eventlet.getcurrent())
    assert happened.wait() == 'sent'
    return number


def use(count=COUNT):
    """Have *count* green threads at a time; return them."""
    started, happened = [], event.Event()
    greens = [eventlet.spawn(wait_for, started, happened, number)
              for number in range(count)]
    cases.turns()
    assert started == greens
    happened.send('sent')
    assert [green.wait() for green in greens] == list(range(count))
    return greens


def fill():
    """Have green threads that wait to be used again."""
    spares = used_threads.spares()
    spares.clear()
    started, happened = [], event.Event()
    for number in range(COUNT):
        eventlet.spawn(wait_for, started, happened, number)
    cases.turns()
    happened.send('sent')
    started.clear()
    cases.turns()
    assert len(spares) == COUNT, len(spares)


def use_all():
    """All of them are used, before any is made."""
    spares = used_threads.spares()
    # The green thread that runs this, in some of the places, is one of them.
    expected = set(map(id, spares))
    assert len(expected) >= COUNT - 1
    assert expected <= set(map(id, use()))
    fill()
    forked.both_worlds()


def use_with_new_hub():
    """As oslo.service does in each worker."""
    hubs.use_hub('aiohub.hub' if mode.HUB == 'env' else None)
    assert not used_threads.spares()
    use()
    fill()
    use_all()


def fork_again():
    """In the child of a child they are as good."""
    for place in forked.HERE:
        fill()
        forked.reap(place(use_all))
        use_all()


for place in forked.HERE:
    for child in (use_all, use_with_new_hub, fork_again):
        fill()
        forked.reap(place(child))
        use_all()
for place in forked.THREADS:
    # There the child has none of those that this thread has.
    fill()
    forked.reap(place(use))
    use_all()
mode.done()
