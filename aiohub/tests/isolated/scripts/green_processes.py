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

"""Green calls in coroutines that wait for processes and native threads.

Each in two tasks and a green thread at once, while others go on. After
monkey patching with the names of the standard library; else with eventlet's.
"""

import asyncio
import os
import pathlib
import sqlite3
import subprocess
import tempfile

import cases
import late_pipes
import meanwhile
import mode

import aiohub
from eventlet import db_pool
from eventlet import tpool

if not mode.PATCHED:
    from eventlet.green import os
    from eventlet.green import subprocess

call = meanwhile.call

#: More than fits into a pipe.
MUCH = bytes(range(256)) * 4096

_directory = tempfile.TemporaryDirectory()
PATH = pathlib.Path(_directory.name)


# -- processes

@meanwhile.patched_call
def subprocess_run(others):
    def call(who):
        with late_pipes.Pipe(others, MUCH) as stdin:
            done = subprocess.run(
                ['cat'], stdin=stdin, stdout=subprocess.PIPE, check=True)
        assert done.stdout == MUCH

    return call


@meanwhile.patched_call
def subprocess_run_and_check(others):
    def call(who):
        with late_pipes.Pipe(others, b'exit 3') as stdin:
            try:
                subprocess.run(['sh'], stdin=stdin, timeout=60, check=True)
            except subprocess.CalledProcessError as exc:
                assert exc.returncode == 3
            else:
                raise AssertionError

    return call


@call
def subprocess_check_call(others):
    def call(who):
        with late_pipes.Pipe(others, b'exit 3') as stdin:
            assert subprocess.call(['sh'], stdin=stdin) == 3
        with late_pipes.Pipe(others, b'exit 3') as stdin:
            try:
                subprocess.check_call(['sh'], stdin=stdin)
            except subprocess.CalledProcessError as exc:
                assert exc.returncode == 3
            else:
                raise AssertionError

    return call


@call
def subprocess_popen(others):
    def call(who):
        with late_pipes.Pipe(others, b'echo $0; exit 3') as stdin:
            process = subprocess.Popen(
                ['sh'], stdin=stdin, stdout=subprocess.PIPE)
            who.check()
            assert process.stdout.read() == b'sh\n'
            who.check()
            assert process.wait() == 3
            process.stdout.close()

    return call


@call
def subprocess_communicate(others):
    def call(who):
        with subprocess.Popen(['cat'], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            others.go_on()
            assert process.communicate(MUCH) == (MUCH, None)

    return call


@call
def os_waitpid(others):
    def call(who):
        with late_pipes.Pipe(others, b'exit 3') as stdin:
            pid = os.posix_spawn('/bin/sh', ['sh'], {}, file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0)])
            _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 3

    return call


@call
def asyncio_subprocess(others):
    async def call(who):
        with late_pipes.Pipe(others, MUCH) as stdin:
            process = await asyncio.create_subprocess_exec(
                'sh', '-c', 'cat; exit 3', stdin=stdin,
                stdout=subprocess.PIPE)
            who.check()
            others.go_on()
            who.check()
            output, _ = await process.communicate()
        assert output == MUCH
        assert process.returncode == 3
        others.go_on()
        assert await process.wait() == 3

    return call


# -- native threads

@call
def tpool_execute(others):
    def call(who):
        gone_on = mode.native.Event()
        others.then(gone_on.set)
        assert tpool.execute(lambda: gone_on.wait(60) and who) is who
        who.check()
        try:
            tpool.execute(int, 'none')
        except ValueError:
            pass
        else:
            raise AssertionError

    return call


@call
def to_thread(others):
    async def call(who):
        gone_on = mode.native.Event()
        others.then(gone_on.set)
        assert await asyncio.to_thread(gone_on.wait, 60)
        who.check()
        others.go_on()
        await asyncio.to_thread(int)

    return call


# -- databases

class Database:
    """A module for databases: sqlite, with a function that waits."""

    def __init__(self):
        self.gone_on = mode.native.Event()

    def connect(self, path):
        connection = sqlite3.connect(path, check_same_thread=False)
        # sqlite calls it in a native thread.
        connection.create_function(
            'wait', 0, lambda: int(self.gone_on.wait(60)))
        return connection


@call
def db_pool_sqlite(others):
    database = Database()
    # One connection: everybody else waits for it.
    pool = db_pool.ConnectionPool(
        database, max_size=1, path=PATH / 'pooled')
    with pool.item() as connection:
        connection.cursor().execute('create table t (number integer)')
    users = []

    def call(who):
        with pool.item() as connection:
            assert not users
            users.append(who)
            database.gone_on.clear()
            others.then(database.gone_on.set)
            cursor = connection.cursor()
            cursor.execute('insert into t values (?)', [id(who)])
            who.check()
            cursor.execute('select number, wait() from t where number = ?',
                           [id(who)])
            rows = cursor.fetchall()
            assert rows and set(rows) == {(id(who), 1)}, rows
            who.check()
            connection.commit()
            users.clear()
        # It may wait in a timer to be closed.
        pool.clear()

    return call


@call
def file_in_native_thread(others):
    def call(who):
        path = PATH / str(id(who))
        file = tpool.Proxy(open(path, 'w+b'))
        with file:
            file.write(MUCH)
            who.check()
            file.seek(0)
            others.go_on()
            assert file.read() == MUCH

    return call


# Starts the threads, and what listens to them.
tpool.execute(int)
aiohub.await_(asyncio.to_thread(int))
cases.run_all()
tpool.killall()
_directory.cleanup()
mode.done()
