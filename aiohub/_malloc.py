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

"""Has ``malloc()`` have memory at hand for what loops receive.

asyncio's transports receive up to 256 KiB at once, so CPython asks for that
much and gives nearly all of it back when it knows what has come. glibc maps a
block of that size anew each time, and unmaps it: three system calls and two
page faults for each piece, which make it 14 us in place of 2.4 to send and
receive a few bytes. It learns from what is freed that blocks of a size come
and go (``mallopt(3)``, on ``M_MMAP_THRESHOLD``), but not here: by then the
block is a small one.

Most large programs have freed something larger by chance, as they imported
their modules; small ones have not. Whoever sets the threshold by ``mallopt()``
or ``MALLOC_MMAP_THRESHOLD_`` keeps it, and other libraries than glibc are left
as they are.
"""

#: Bytes; more than what asyncio's transports receive at once with its header.
LARGE = 300_000


def expect_large_blocks() -> None:
    """Free a large block once, from which glibc learns."""
    bytes(LARGE)
