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

"""The broker, and when it was down."""

import asyncio
import logging
import random
import time

from aiohub.tests.functional import rabbitmq

#: How long after it is back RPC may still say that it was away, in seconds:
#: connections that were lost are noticed late, and opened again later still.
AFTERWARDS = 45

# It warns of each process that has ended when it is to be ended.
logging.getLogger('pifpaf').setLevel(logging.ERROR)


class Broker:
    """A RabbitMQ that is stopped or killed at random, and started again."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rabbit = rabbitmq.RabbitMQ()
        self._back = float('-inf')

    async def start(self) -> str:
        """Start it, and return its address."""
        await asyncio.to_thread(self._rabbit.setUp)
        return self._rabbit.url

    async def stop(self) -> None:
        await asyncio.to_thread(self._rabbit.cleanUp)

    async def restart(self) -> str:
        """End it and start it again; return what was done."""
        killed = self._rng.random() < 0.5
        away = self._rng.uniform(0, 3)
        self._back = float('inf')
        await asyncio.to_thread(
            self._rabbit.kill if killed else self._rabbit.stop)
        await asyncio.sleep(away)
        await asyncio.to_thread(self._rabbit.start)
        self._back = time.monotonic()
        return 'killed' if killed else 'stopped'

    def was_down(self, since: float) -> bool:
        """Whether what began at *since* and ends now may have met that."""
        return since < self._back + AFTERWARDS
