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

"""Processes that are forked with connections in the pools, and in use.

A child leaves what it inherited to its parent, with ``close=False``, and has
connections of its own.
"""

import db_service
import service

import asyncio
import os

import aiohub
import eventlet
from eventlet import event
from eventlet import hubs

#: So many green threads, and so many tasks, of each way.
USERS = 10
NOTE = ('insert into notes values'
        ' (%(process)s, %(way)s, %(world)s, connection_id())')


class Users:
    """Green threads, green tasks and coroutines that use three ways."""

    def __init__(self, oslo, plain, coroutines):
        self.green = [oslo, plain]
        self.coroutines = coroutines

    def use(self):
        """Let all of them write down which connection they have."""
        threads = [eventlet.spawn(self._note, way, 'green thread')
                   for way in self.green * USERS]

        async def in_tasks():
            await asyncio.gather(
                *(self._note_in_task(way) for way in self.green * USERS),
                *(self._note_in_coroutine() for _ in range(USERS)))

        aiohub.await_(in_tasks())
        for each in threads:
            each.wait()

    def _note(self, way, world):
        with way.begin() as ask:
            ask(NOTE, process=os.getpid(), way=way.user, world=world)

    async def _note_in_task(self, way):
        self._note(way, 'green task')

    async def _note_in_coroutine(self):
        async with self.coroutines.begin() as ask:
            await ask(NOTE, process=os.getpid(), way=self.coroutines.user,
                      world='coroutine')


class Holder:
    """A green thread and a coroutine that are in a transaction for long."""

    def __init__(self, users):
        self.go_on = event.Event()
        self.begun = 0
        self.ended = [eventlet.spawn(self._hold, way) for way in users.green]
        self.ended.append(aiohub.future_to_greenlet(
            self._hold_in_coroutine(users.coroutines)))
        service.until(lambda: self.begun == 3)

    def _hold(self, way):
        with way.begin() as ask:
            before = ask('select connection_id()')
            self.begun += 1
            self.go_on.wait()
            assert ask('select connection_id()') == before
            ask(NOTE, process=0, way=way.user, world='held')

    async def _hold_in_coroutine(self, way):
        async with way.begin() as ask:
            before = await ask('select connection_id()')
            self.begun += 1
            self.go_on.wait()
            assert await ask('select connection_id()') == before
            await ask(NOTE, process=0, way=way.user, world='held')

    def end(self):
        self.go_on.send()
        for each in self.ended:
            each.wait()


def child(users, uses_hub):
    # eventlet's own hub has a poll that the parent uses, too.
    if uses_hub or not service.ON:
        hubs.use_hub()
    service.check_hub()
    for way in users.green:
        way.engine.dispose(close=False)
    mine = Users(*users.green, db_service.Aiomysql())
    mine.use()
    mine.use()
    for way in (*mine.green, mine.coroutines):
        assert not way.checked_out()
        way.close()
    service.check_hub()


def fork(users, uses_hub):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            child(users, uses_hub)
            status = 0
        except BaseException:
            service.LOG.exception('in the child')
        finally:
            os._exit(status)
    return pid


def main_program():
    observer = db_service.Observer()
    observer.ask('use ' + service.TOPIC)
    observer.ask('create table notes (process int, way varchar(80),'
                 ' world varchar(80), connection int)')
    users = Users(db_service.Oslo(), db_service.Plain(),
                  db_service.Aiomysql())
    ways = [*users.green, users.coroutines]
    users.use()
    before = [observer.connections(way) for way in ways]
    holder = Holder(users)

    async def in_task():
        return fork(users, False)

    children = [fork(users, True), eventlet.spawn(fork, users, False).wait()]
    if service.ON:
        # Otherwise it would have to leave the loop that it is in.
        children.append(aiohub.await_(in_task()))
    # At the same time as they do.
    users.use()
    for pid in children:
        ended = service.end_of(pid)
        assert ended == 0, ended
    holder.end()
    users.use()
    # The parent has what it had. Of oslo.db, what overflows is closed.
    for way, had in zip(ways[1:], before[1:], strict=True):
        now = observer.connections(way)
        assert had <= now, (way.user, had, now)
    used = {}
    for process, way, world, connection, count in observer.ask(
            'select process, way, world, connection, count(*) from notes'
            ' group by process, way, world, connection'):
        used.setdefault((process, way), {}).setdefault(world, 0)
        used[process, way][world] += count
    for process in (os.getpid(), *children):
        times = USERS * (3 if process == os.getpid() else 2)
        for way in users.green:
            assert used[process, way.user] == {
                'green thread': times, 'green task': times}, used
        assert used[process, users.coroutines.user] == {
            'coroutine': times}, used
    # No connection was used by two processes.
    shared = observer.ask(
        'select connection from notes where process group by connection'
        ' having count(distinct process) > 1')
    assert not shared, shared
    db_service.settle(observer, *ways)
    for way in ways:
        way.close()
    observer.close()
    service.done()


db_service.begin()
main_program()
