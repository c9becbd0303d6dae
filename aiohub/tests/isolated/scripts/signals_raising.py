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

"""What a handler of a signal raises arrives in the main greenlet.

And the hub goes on afterwards, with all who wait.
"""

import signal

import forked
import mode
import signalling

import eventlet
from eventlet import event
from eventlet import hubs


class Failure(Exception):
    pass


def everything() -> None:
    # asyncio tells the exception handler of the loop of anything else.
    for how in (KeyboardInterrupt(), SystemExit(3)):
        for way in signalling.WAYS:
            raises(how, way)
    raises(Failure(), signalling.by_signal)


def raises(how: BaseException, way: signalling.Way) -> None:
    def handler() -> None:
        raise how

    left, right = forked.socket.socketpair()
    reading = eventlet.spawn(left.recv, 1)
    sleeping = eventlet.spawn(eventlet.sleep, 0.01)
    way(handler, signal.SIGUSR1)
    mode.when_polling(signalling.send_to_process)
    try:
        event.Event().wait()
    except type(how) as exc:
        assert exc is how
    else:
        raise AssertionError('it did not arrive')
    signalling.forget(way, signal.SIGUSR1)
    sleeping.wait()
    right.sendall(b'x')
    assert reading.wait() == b'x'
    left.close()
    right.close()
    for act in (signalling.spawn, signalling.create_task):
        signalling.at_rest(act, signalling.by_loop)


def in_a_new_hub() -> None:
    hubs.use_hub()
    everything()


everything()
if mode.ON:
    forked.reap(forked.in_main(everything))
forked.reap(forked.in_main(in_a_new_hub))
mode.done()
