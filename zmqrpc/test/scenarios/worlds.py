"""
The two worlds that a scenario runs in: hosts in memory on one clock, and sockets on this machine.

A scenario is a mix-in with asynchronous tests that know only `World`; two classes below it make it a test case in each
world. In memory every scenario runs under several seeds, since a run costs milliseconds.
"""

from __future__ import annotations

import socket
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from zmqrpc.interfaces import ITransport
from zmqrpc.node import Node
from zmqrpc.proxy_node import ProxyNode
from zmqrpc.reactor_zmq import ZmqTransport
from zmqrpc.record import Record, Role
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scheduling import KeptWaiting
from zmqrpc.testing import MemoryNode, Network, Store
from zmqrpc.testing.clock import ProcessClock
from zmqrpc.testing.proxy import MemoryProxy

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object

SEEDS = range(5)
PATIENCE = 10.0
"""Seconds of a world's time after which what should happen soon counts as not happening."""


class Scenario(_Case):
    """
    What every scenario has.

    :ivar world: the `World` that it runs in.
    """

    world: Any

    async def member(self, name, **options):
        """Serve a `Worker` under a name of the topic ``work``; its node is the worker's `node`."""
        worker = Worker(name)
        worker.node = await self.world.serve(f"work.{name}", worker, **options)
        return worker

    async def fails(self, deferred, error):
        """Wait for a Deferred that must fail with an error; return the error."""
        with self.assertRaises(error) as caught:
            await deferred
        return caught.exception


class World:
    """
    What a scenario may do.

    :ivar clock: what its time goes by.
    :ivar store: where its nodes register.
    """

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.store = Store(clock)
        self.nodes: list[Any] = []
        self._callers: list[Any] = []
        self._strangers: list[Any] = []
        self._ending: list[Deferred[Any]] = []
        self._names = 0

    def node(self, **options):
        """Make a node that is not started; it is stopped at the end, unless it is killed before."""
        self._names += 1
        node = self._make_node(f"host-{self._names}", options)
        self.nodes.append(node)
        return node

    def client(self, **options):
        """Start a node that only calls."""
        node = self.node(**options)
        node.startService()
        client = node.client()
        client.node = node
        return client

    async def proxy(self, **options):
        """Start a proxy, and wait until it is registered; it is stopped after all nodes, unless it is killed before."""
        self._names += 1
        proxy = self._make_proxy(f"proxy-{self._names}", options)
        # The last that are stopped.
        self.nodes.insert(0, proxy)
        proxy.startService()
        await proxy.when_ready()
        return proxy

    async def serve(self, target, *endpoints, **options):
        """Start a node that serves endpoints under a target, and wait until it is registered."""
        node = self.node(**options)
        node.server(Target.parse(target), endpoints)
        node.startService()
        await node.when_ready()
        return node

    async def listen(self, topic, *endpoints, pool=None, batch_size=None, batch_timeout=None, **options):
        """Start a node that listens for notifications, and wait until it is registered."""
        node = self.node(**options)
        node.listener([Target(topic)], endpoints, pool, batch_size=batch_size, batch_timeout=batch_timeout)
        node.startService()
        await node.when_ready()
        return node

    def notifier(self, *topics, **options):
        """Start a node that only notifies."""
        node = self.node(**options)
        node.startService()
        notifier = node.notifier("publisher", topics)
        notifier.node = node
        return notifier

    async def stranger(self, target, receiver, instance="5" * 32):
        """Register something under a target that is no Node: what it receives goes to `receiver`, which may answer."""
        transport = self._make_transport(f"host-of-{target}")
        transport.open(lambda: None)
        router = transport.bound_router(receiver)
        self._strangers.append((transport, partial(router.close, 0)))
        await self.record(target, self._bind(router, f"host-of-{target}"), instance)
        return router

    async def record(self, target, address, instance=""):
        """Register an address under a target; as a fixed table does when there is no instance."""
        named = Target.parse(target)
        record = Record(
            role=Role.SERVER,
            exchange="openstack",
            topic=named.topic or "",
            member=named.server or "",
            instance=instance,
            addresses=(address,),
        )
        await self.store.matchmaker().register(record, 300)
        return record

    def caller(self, receiver):
        """Make a socket that connects and is no Node's."""
        transport = self._make_transport("host-of-caller")
        transport.open(lambda: None)
        router = transport.connecting_router(receiver)
        self._callers.append((transport, router.close))
        return Kicking(transport, router)

    def knock(self, address):
        """Connect to an address as somebody who does not speak ZeroMQ's protocol."""
        raise NotImplementedError

    async def numeric(self, address):
        """Resolve the host of an address."""
        transport = self._make_transport("host-of-caller")
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        return f"tcp://{await transport.resolve(host)}:{port}"

    def kill(self, node):
        """End a node as SIGKILL ends a process."""
        self.nodes.remove(node)
        self._ending.append(maybeDeferred(node.kill))

    async def stop(self, node):
        """Stop a node in good order."""
        self.nodes.remove(node)
        await node.stopService()

    def seconds(self):
        """Tell the time that limits are measured by: what else runs on the machine does not count."""
        return self.clock.seconds()

    def sleep(self, seconds):
        """Let time pass."""
        return deferLater(self.clock, seconds)

    async def eventually(self, what, holds, patience=PATIENCE):
        """Wait until something holds."""
        until = self.clock.seconds() + patience
        while not holds():
            if self.clock.seconds() > until:
                raise AssertionError(f"waited {patience} s for this: {what}")
            await self.sleep(0.005)

    def _make_node(self, host: str, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _make_proxy(self, host: str, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _make_transport(self, host: str) -> Any:
        raise NotImplementedError

    def _bind(self, router: Any, host: str) -> str:
        raise NotImplementedError

    async def close(self):
        """Stop every node, the newest first, so that neither it nor its goodbye waits for somebody who is gone."""
        nodes, self.nodes = self.nodes, []
        self.store.come_back()
        for _, close in self._callers:
            close()
        for node in reversed(nodes):
            await node.stopService()
        for _, close in self._strangers:
            close()
        ending = [transport.close(0) for transport, _ in (*self._callers, *self._strangers)]
        await gatherResults([*ending, *self._ending])


class Kicking:
    """A connecting ROUTER whose messages are written outside of passes, and looked after."""

    def __init__(self, transport, router):
        self.connect = router.connect
        self._transport = transport
        self._router = router

    def send(self, identity, payload):
        self._transport.kick()
        return self._router.send(identity, payload)


class MemoryWorld(World):
    """Everything on a `Network`."""

    def __init__(self, seed):
        self.network = Network(seed)
        super().__init__(self.network.clock)

    def _make_node(self, host, options):
        return MemoryNode(self.network, self.store, host, **options)

    def _make_proxy(self, host, options):
        return MemoryProxy(self.network, self.store, host, **options)

    def _make_transport(self, host):
        return self.network.transport(host)

    def _bind(self, router, host):
        return router.bind(self.network.add_host(host), [0])

    def knock(self, address):
        self.network.knock("host-of-knocker", address)


class SocketWorld(World):
    """Everything on the loopback interface and the reactor of the test."""

    def __init__(self):
        super().__init__(reactor)
        self._kept_waiting = KeptWaiting()

    def seconds(self):
        return self.clock.seconds() - self._kept_waiting.seconds()

    def _make_node(self, host, options):
        return MortalNode(self.store, Settings(rpc_zmq_bind_address="127.0.0.1", **options))

    def _make_proxy(self, host, options):
        return MortalProxy(self.store, Settings(proxy_host="127.0.0.1", **options))

    def _make_transport(self, host):
        return ZmqTransport(reactor, 64 * 2**20)

    def _bind(self, router, host):
        return router.bind("127.0.0.1", [0])

    def knock(self, address):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        with socket.create_connection((host, int(port))) as knocking:
            knocking.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")


class Mortal:
    """Mix in before a node: it has sockets, and can end without a goodbye, though its process goes on."""

    def __init__(self, store, settings):
        self.clock = ProcessClock(reactor)
        self.sockets = MortalTransport(ZmqTransport(reactor, settings.max_message_size))
        matchmaker = self.matchmaker = store.matchmaker(self.clock)
        super().__init__(self.clock, settings, transport=self.sockets, matchmaker=matchmaker)  # type: ignore[call-arg]

    def kill(self):
        self.clock.stop()
        ended = self.sockets.kill()
        self.matchmaker.kill()
        return ended


class MortalNode(Mortal, Node):
    pass


class MortalProxy(Mortal, ProxyNode):
    pass


@implementer(ITransport)
class MortalTransport:
    """ZeroMQ's sockets, and a list of them."""

    def __init__(self, transport):
        self._transport = transport
        self._bound = []
        self._connecting = []
        self._subscribing = []

    def open(self, pass_ended):
        self._transport.open(pass_ended)

    def bound_router(self, receiver):
        self._bound.append(self._transport.bound_router(receiver))
        return self._bound[-1]

    def connecting_router(self, receiver):
        self._connecting.append(self._transport.connecting_router(receiver))
        return self._connecting[-1]

    def publisher(self, receiver):
        self._bound.append(self._transport.publisher(receiver))
        return self._bound[-1]

    def subscriber(self, receiver, address):
        self._subscribing.append(self._transport.subscriber(receiver, address))
        return self._subscribing[-1]

    def resolve(self, host, turn=0):
        return self._transport.resolve(host, turn)

    def kick(self):
        self._transport.kick()

    def forked(self, leave):
        self._transport.forked(leave)

    def close(self, linger):
        return self._transport.close(linger)

    def kill(self):
        for router in self._bound:
            router.close(0)
        for each in (*self._connecting, *self._subscribing):
            each.close()
        return self._transport.close(0)


class InMemory:
    """Mix in before a scenario: it runs in a `MemoryWorld`, once for each seed."""

    seeds = SEEDS

    def __init_subclass__(cls):
        for name in dir(cls):
            if name.startswith("test_") and iscoroutinefunction(getattr(cls, name)):
                setattr(cls, name, _for_each_seed(getattr(cls, name)))


def _for_each_seed(test):
    @wraps(test)
    def run(self):
        for seed in self.seeds:
            world = self.world = MemoryWorld(seed)
            try:
                world.network.result_of(Deferred.fromCoroutine(test(self)))
                world.network.result_of(Deferred.fromCoroutine(world.close()))
                world.network.run(2.5)
                self.assertEqual(world.clock.getDelayedCalls(), [])
            except BaseException as error:
                error.add_note(f"in memory, seed {seed}, at {world.clock.seconds():.4f} s")
                raise

    return run


class OverSockets:
    """Mix in before a scenario: it runs in a `SocketWorld`."""

    timeout = 60

    def setUp(self):
        self.world = SocketWorld()

    def tearDown(self):
        return Deferred.fromCoroutine(self.world.close())
