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

"""A clean-up that never ends; Ctrl-C ends it."""

import asyncio

import mode

import aiohub

mode.may_be_slow()


async def never() -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.create_future()
    finally:
        print('cleaning up', flush=True)
        await loop.create_future()


async def begin() -> None:
    tasks.append(asyncio.create_task(never()))
    await asyncio.sleep(0)


tasks: list[object] = []
aiohub.await_(begin())
mode.check_hub()
