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

"""What an operation of the service is, and what the right answer to it is.

A client asks for an operation with a number. Each operation does something
that is hard, checks what it sees of it, and computes the answer where its
work is done: in another green thread, task, thread or process.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import eventlet

#: By name: the functions, and how often each is asked for.
functions: dict[str, Callable[[int], Any]] = {}
weights: dict[str, int] = {}

#: The addresses of the two servers of the service.
doors: dict[str, str] = {}


class WrongError(Exception):
    """Something is not as it has to be; the message says what."""


def operation(weight: int) -> Callable[[Callable[[int], Any]],
                                       Callable[[int], Any]]:
    """Offer a function or a coroutine function to the clients."""
    def register(function: Callable[[int], Any]) -> Callable[[int], Any]:
        kind = function.__module__.removesuffix('_operations')
        name = f'{kind}-{function.__name__}'
        functions[name] = function
        weights[name] = weight
        return function

    return register


def answer(number: int) -> int:
    return number * 2654435761 % 2 ** 32


async def compute(number: int) -> int:
    await asyncio.sleep(number % 3 / 1000)
    return answer(number)


def compute_green(number: int) -> int:
    eventlet.sleep(number % 3 / 1000)
    return answer(number)


def check(what: str, seen: object, expected: object) -> None:
    """Raise :exc:`WrongError` if something is not what is expected."""
    if seen != expected:
        raise WrongError(f'{what}: {seen!r} instead of {expected!r}')


def never(what: str) -> WrongError:
    """Return the error for a place that cannot be reached."""
    return WrongError(f'{what}: this cannot happen')
