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

"""What the programs of test_rpc have of oslo.messaging."""

import service

import oslo_messaging


def transport():
    """Make a transport: one for each process."""
    return oslo_messaging.get_rpc_transport(
        service.CONF, allowed_remote_exmods=['builtins'])


def client(transport, **kwargs):
    return oslo_messaging.get_rpc_client(
        transport, oslo_messaging.Target(topic=service.TOPIC), **kwargs)


def server(transport, name, *endpoints, topic=service.TOPIC):
    """Start a server, whose handlers are green threads."""
    started = oslo_messaging.get_rpc_server(
        transport, oslo_messaging.Target(topic=topic, server=name),
        endpoints, executor='eventlet')
    started.start()
    return started


def stop(*servers):
    for each in servers:
        each.stop()
        each.wait()
