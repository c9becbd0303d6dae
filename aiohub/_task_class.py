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

"""``asyncio.Task``, called directly, makes green tasks too.

Some make tasks without the loop: aiohttp's server does, for each connection.
``Task`` is a C type, and nothing that it calls could see the coroutine first.
So ``asyncio.Task`` becomes a class that, called, makes a plain task of a green
coroutine, and that otherwise stands for the plain one.
"""

import asyncio
from typing import Any

from aiohub import _handles
from aiohub import _loop_state
from aiohub import tasks

#: ``asyncio.Task`` without us.
PlainTask: Any = getattr(asyncio.Task, 'aiohub_plain', asyncio.Task)


class _MakesGreenTasks(type):
    def __call__(cls, coro: Any, *args: Any, **kwargs: Any) -> Any:
        if tasks.enabled and type(coro) not in tasks.KINDS:
            loop = kwargs.get('loop') or asyncio._get_running_loop()
            if _loop_state.of(loop) is not None:
                coro = tasks.green(coro, loop)
        if cls is Task:
            task = PlainTask(coro, *args, **kwargs)
        else:
            task = super().__call__(coro, *args, **kwargs)
        if getattr(task, '_source_traceback', None):  # in debug mode
            _handles.leave_out_caller(task)
        return task

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is Task:
            return isinstance(instance, PlainTask)
        return super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        if cls is Task:
            return issubclass(subclass, PlainTask)
        return super().__subclasscheck__(subclass)


class Task(PlainTask, metaclass=_MakesGreenTasks):  # type: ignore[misc]
    __doc__ = PlainTask.__doc__
    __module__ = PlainTask.__module__
    aiohub_plain = PlainTask


# Python 3.11 has none.
_factory: Any = getattr(asyncio, 'eager_task_factory', None)
#: What ``asyncio.eager_task_factory`` is without us.
PLAIN_EAGER_FACTORY: Any = getattr(_factory, 'aiohub_plain', _factory)
#: And with us.
EAGER_FACTORY: Any = None
if PLAIN_EAGER_FACTORY is not None:
    EAGER_FACTORY = vars(asyncio)['create_eager_task_factory'](Task)
    EAGER_FACTORY.aiohub_plain = PLAIN_EAGER_FACTORY


def replace() -> None:
    """Have tasks be green that are made by calling ``asyncio.Task``.

    When the first loop is made, and not when this is imported. Who has
    imported the name from asyncio before keeps the plain class.
    """
    module: Any = asyncio.tasks
    module.Task = asyncio.Task = Task  # type: ignore[misc]
    if PLAIN_EAGER_FACTORY is not None:
        # It has the class that asyncio.Task was before.
        module.eager_task_factory = EAGER_FACTORY
        vars(asyncio)['eager_task_factory'] = EAGER_FACTORY
