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

"""What is done first when the interpreter ends.

At its end Python calls ``threading._shutdown()``. That calls what was
registered with the module ``threading``, what was registered last first;
executors of ``concurrent.futures`` wait for their threads there. Then it waits
for threads itself, and only then it calls what was registered with ``atexit``,
as what stops processes of ``multiprocessing``. All of these may wait for
somebody who waits for the loop, so what is ours comes before them, as
``asyncio.run()`` ends before the interpreter does.
"""

import atexit
from collections.abc import Callable
import sys
import threading
from typing import Any

#: What is called, in this order.
functions: list[Callable[[], object]] = []

#: Whether they have been.
begun = False

#: What waits for its threads at exit, from when it is imported on.
_JOINERS = ('concurrent.futures.thread', 'concurrent.futures.process')
_minded: list[Any] = []


def mind() -> None:
    """Have the functions be called first.

    Cheap, and called when something begins to run: what waits may have been
    imported since, or the module ``threading`` patched, whose functions are
    then those of another copy.
    """
    # Private to Python, and what concurrent.futures uses, too.
    register = getattr(
        getattr(threading, '_shutdown', None), '__globals__', {},
    ).get('_register_atexit')
    now = [register, sum(name in sys.modules for name in _JOINERS)]
    if now == _minded or begun:
        return
    _minded[:] = now
    # For a Python without it, and for what patches after this.
    atexit.register(_run)
    if register is not None:
        try:
            register(_run)
        except RuntimeError:  # it ends already
            _run()


def _run() -> None:
    global begun
    if not begun:
        begun = True
        for function in functions:
            function()
