"""The sockets of ZeroMQ and those in memory keep one contract."""

from __future__ import annotations

import socket

from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from zmqrpc.reactor_zmq import ZmqTransport
from zmqrpc.testing import Network
from zmqrpc.testing.transport_contract import LIMIT, TransportContract


class ZmqTransportTests(TransportContract, TestCase):
    def make_transport(self):
        return ZmqTransport(reactor, LIMIT)

    def turn(self):
        return deferLater(reactor, 0.002)

    def knock(self, address):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        with socket.create_connection((host, int(port))) as knocking:
            knocking.sendall(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
            return knocking.getsockname()[0]


class MemoryTransportTests(TransportContract, TestCase):
    def setUp(self):
        self.network = Network(seed=7)

    def make_transport(self):
        return self.network.transport("here", max_message_size=LIMIT)

    def turn(self):
        self.network.run(0.002)
        return succeed(None)

    def knock(self, address):
        self.network.knock("here", address)
        return "127.0.0.1"
