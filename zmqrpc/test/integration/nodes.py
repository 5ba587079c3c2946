"""Nodes of a test, in this process and on real ports, and servers that only pretend to be one."""

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from zmqrpc import Node, Settings, Target, expose
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Hello, Ping, Pong, Welcome, encode_message
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.record import Record, Role
from zmqrpc.test.integration.support import RawPeers, arrived, reactor

LIMITS = {"message": 2**20, "unsettled": 1000}


class Echo:
    """
    What most servers of these tests serve.

    :ivar ran: the values in the order in which they came.
    """

    def __init__(self):
        self.ran: list[Any] = []

    @expose
    def echo(self, context, value):
        self.ran.append(value)
        return value

    @expose
    async def later(self, context, value, seconds):
        self.ran.append(value)
        await deferLater(reactor, seconds)
        return value

    @expose
    def never(self, context):
        return Deferred()


class NodeCase(TestCase):
    """
    Has a topic of its own.

    :ivar target: the topic's one member, ``one``.
    """

    timeout = 60

    def setUp(self):
        self.peers = RawPeers(self)
        self.topic = self.id().rpartition(".")[2]
        self.target = Target(self.topic, server="one")
        self.echo = Echo()
        self._matchmaker = make_matchmaker(reactor, Settings())
        self.addCleanup(self._matchmaker.close)

    def node(self, **options):
        node = Node(reactor, Settings(**{"drain_timeout": 0.05, **options}))
        self.addCleanup(node.stopService)
        return node

    async def serve(self, *endpoints, member="one", **options):
        """Return a node that serves, and can be called by now."""
        node = self.node(**options)
        node.server(Target(self.topic, server=member), endpoints or [self.echo])
        node.startService()
        await node.when_ready()
        return node

    def calling(self, **options):
        """Return a node that runs, and its client."""
        node = self.node(**options)
        node.startService()
        return node, node.client()

    async def record(self, address, instance=None, member="one"):
        """Have the matchmaker say that somebody listens there."""
        record = Record(
            role=Role.SERVER,
            exchange="openstack",
            topic=self.topic,
            member=member,
            instance=instance.hex() if instance else "",
            addresses=(address,),
        )
        await self._matchmaker.register(record, 0)
        self.addCleanup(self._matchmaker.withdraw, record)
        return record

    async def assertEnds(self, error, calling, *texts):
        """A call has to end with exactly this error, whose text holds these."""
        with self.assertRaises(error) as caught:
            await calling
        for text in texts:
            self.assertIn(text, str(caught.exception))
        return caught.exception


class PretendedServer:
    """
    A server that answers as the test wants.

    :param answer: is called with itself, the routing id and each message; by default nobody is answered.
    :ivar heard: every message that came.
    """

    def __init__(self, case, answer=None, instance=None, port=None):
        self.instance = instance or os.urandom(16)
        self.heard: list[Any] = []
        self.answer = answer or (lambda server, sender, message: None)
        self.socket, self.address = case.peers.router(port)
        self._reading = LoopingCall(self._read)
        ended = self._reading.start(0.003)
        case.addCleanup(lambda: ended)
        case.addCleanup(self.close)

    def close(self):
        if self._reading.running:
            self._reading.stop()
            self.socket.close(0)

    def _read(self):
        while (frames := arrived(self.socket)) is not None:
            try:
                batch = decode_batch(frames[1])
            except RemoteProtocolError:
                raise AssertionError(f"a Node wrote {frames[1]!r}") from None
            for message in batch.messages:
                self.client = batch.source
                self.sent = batch.sent
                self.heard.append(message)
                self.answer(self, frames[0], message)

    def say(self, sender, *messages, source=None, destination=None):
        encoded = [message if isinstance(message, bytes) else encode_message(message) for message in messages]
        payload = encode_batch(source or self.instance, destination or self.client, 0, (), encoded)
        self.socket.send_multipart([sender, payload])

    def welcome(self, sender, **changes):
        welcome = {"version": 1, "echoed": self.sent, "role": "server", "features": [], "limits": LIMITS, "targets": []}
        self.say(sender, Welcome(**{**welcome, **changes}))

    def open(self, sender, message):
        """Do what keeps a link open; return whether there is nothing else to do about the message."""
        if isinstance(message, Hello):
            self.welcome(sender)
        elif isinstance(message, Ping):
            self.say(sender, Pong(message.token))
        else:
            return False
        return True
