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

"""eventlet's ``db_pool`` over PyMySQL in coroutines, with a real server.

In two tasks and a green thread at once, while others go on. Needs PyMySQL,
and the server ``mariadbd``, which it starts for itself.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

import cases
import meanwhile
import mode
import pymysql

import eventlet
from eventlet import db_pool
from eventlet import tpool

SERVER = shutil.which(
    'mariadbd', path=os.environ.get('PATH', '') + ':/usr/sbin')


class Server:
    """A server with a new database, that can be reached by its socket."""

    def __init__(self, directory):
        path = pathlib.Path(directory)
        self.socket = str(path / 'socket')
        options = {
            'datadir': path, 'socket': self.socket, 'pid-file': path / 'pid',
            'log-error': path / 'log', 'innodb-log-file-size': '4M',
            'innodb-buffer-pool-size': '8M'}
        self.process = subprocess.Popen([
            SERVER, '--no-defaults', '--skip-grant-tables',
            '--skip-networking',
            *(['--user=root'] if os.geteuid() == 0 else []),
            *('--%s=%s' % item for item in options.items())],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.exists(self.socket):
            assert self.process.poll() is None, (path / 'log').read_text()
            eventlet.sleep(0.01)
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute('create database pooled')
            cursor.execute('create table pooled.t (number bigint)')

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def connect(self, **kwargs):
        return pymysql.connect(unix_socket=self.socket, user='root', **kwargs)


def ask(cursor, query, *args):
    cursor.execute(query, args)
    return cursor.fetchall()


def querying(kind, others):
    # Two connections for three: one has to wait for the others.
    pool = kind(pymysql, max_size=2, unix_socket=server.socket, user='root',
                database='pooled')
    users = []

    def release(connection, name):
        with connection, connection.cursor() as cursor:
            assert ask(cursor, 'select release_lock(%s)', name) == ((1,),)

    def call(who):
        name = 'lock-%d' % id(who)
        holder = server.connect()
        with holder.cursor() as cursor:
            assert ask(cursor, 'select get_lock(%s, 0)', name) == ((1,),)
        with pool.item() as connection:
            users.append(who)
            assert len(users) <= 2
            cursor = connection.cursor()
            others.then(release, holder, name)
            # The server answers when the others have gone on.
            assert ask(cursor, 'select get_lock(%s, 60)', name) == ((1,),)
            who.check()
            assert ask(cursor, 'select release_lock(%s)', name) == ((1,),)
            ask(cursor, 'insert into t values (%s)', id(who))
            rows = ask(cursor, 'select number from t where number = %s',
                       id(who))
            assert rows and set(rows) == {(id(who),)}, rows
            connection.rollback()
            assert not ask(cursor, 'select number from t where number = %s',
                           id(who))
            users.remove(who)
            who.check()
        # It may wait in a timer to be closed.
        pool.clear()

    return call


@meanwhile.patched_call
def green_connections(others):
    return querying(db_pool.RawConnectionPool, others)


@meanwhile.call
def connections_in_native_threads(others):
    return querying(db_pool.TpooledConnectionPool, others)


@meanwhile.patched_call
def connection(others):
    def call(who):
        with server.connect() as connection:
            with connection.cursor() as cursor:
                others.go_on()
                assert ask(cursor, 'select %s', id(who)) == ((id(who),),)

    return call


tpool.execute(int)
with tempfile.TemporaryDirectory() as directory:
    server = Server(directory)
    try:
        cases.run_all()
    finally:
        server.stop()
tpool.killall()
mode.done()
