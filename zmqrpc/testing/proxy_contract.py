"""The contract of `IProxy` and `IProxyFactory` as test suites, which every proxy can run, ours or a third party's."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from zmqrpc.core.envelope import WIRE_VERSION, Goaway, Hello, Nack, Ping, Pong, Refusal, Welcome
from zmqrpc.core.keys import SELF_KEY, decode_counter, instance_key, token_key, topic_key
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IProxy, IProxyFactory
from zmqrpc.proxy import find_factory, make_proxy
from zmqrpc.record import PROXIES, Role
from zmqrpc.settings import Settings
from zmqrpc.site import Site
from zmqrpc.testing.network import Network
from zmqrpc.testing.proxy import MemoryProxy
from zmqrpc.testing.proxy_peer import ProxyPeer, ProxySubscriber

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Case
else:
    _Case = object

OPAQUE = b"\xc1 no batch at all"
"""A payload that no proxy may look into."""


class ProxyContract(_Case):
    """
    Mix into a `twisted.trial.unittest.TestCase` (or `SynchronousTestCase`) that has `kind`.

    The proxy runs as `ProxyNode` runs it, on a network in memory. What it leaves behind fails the test.

    :ivar kind: the name of the factory, as ``--type`` gives it.
    :ivar options: options of `Settings` that it needs.
    :ivar network: the network that everything is on; it is closed after each test.
    :ivar peers: who has connected to a proxy; they are closed after each test.
    """

    kind: str
    options: dict[str, Any] = {}

    def setUp(self) -> None:
        self.network = Network(seed=1)
        self.addCleanup(self.network.close)
        self.peers: list[ProxyPeer] = []
        self.addCleanup(self._close_peers)

    def _close_peers(self) -> None:
        for peer in self.peers:
            peer.close()

    def start(self, **options: Any) -> MemoryProxy:
        """Start a proxy."""
        return self.network.proxy(**{"proxy_type": self.kind, **self.options, **options})

    def make_proxy(self) -> Any:
        """Make a proxy that nobody runs."""
        settings = Settings(proxy_type=self.kind, **self.options)
        site = Site(
            self.network.clock,
            settings,
            transport=self.network.transport("nobody"),
            matchmaker=self.network.store.matchmaker(),
        )
        return make_proxy(find_factory(settings), site)

    # The tests

    def test_interfaces(self) -> None:
        """Factory and proxy provide their interfaces."""
        factory = find_factory(Settings(proxy_type=self.kind, **self.options))
        self.assertTrue(verifyObject(IProxyFactory, factory))
        self.assertTrue(verifyObject(IPlugin, factory))
        self.assertEqual(factory.name, self.kind)
        self.assertTrue(verifyObject(IProxy, self.make_proxy()))

    def test_nothing_before_the_start(self) -> None:
        """Who only makes one holds nothing: a process may fork before it starts."""
        self.make_proxy()
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def test_records(self) -> None:
        """What it registers leads to it: role and host, its instance, and addresses that take connections."""
        proxy = self.start(host="north")
        for record in proxy.records:
            self.assertIn(record.role, (Role.ROUTER, Role.PUBLISHER))
            self.assertEqual((record.exchange, record.topic), PROXIES)
            self.assertEqual((record.member, record.instance), ("north", proxy.instance.hex()))
            self.assertIn(len(record.addresses), (1, 2))
            for address in record.addresses:
                self.assertRegex(address, r"^tcp://north:\d+$|^tcp://10\.")
        self.assertEqual(sorted(map(str, self.network.store.records())), sorted(map(str, proxy.records)))

    def test_stop(self) -> None:
        """It withdraws its records, and stops though nobody says goodbye; nothing of it is left."""
        proxy = self.start()
        self.network.result_of(proxy.stopService(), 10)
        self.assertEqual(proxy.stage, "stopped")
        self.assertEqual(self.network.store.records(), [])
        self.network.run(5)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def test_port_in_use(self) -> None:
        """An address that cannot be bound is a `ConfigError` at the start, and the stop after it is clean."""
        first = self.start(host="north")
        ports = {int(address.rpartition(":")[2]) for record in first.records for address in record.addresses}
        if not ports:
            return
        second = MemoryProxy(
            self.network,
            host="north",
            proxy_type=self.kind,
            **{**self.options, "rpc_zmq_min_port": min(ports), "rpc_zmq_max_port": min(ports) + 1},
        )
        self.assertRaises(ConfigError, second.startService)
        self.network.result_of(second.stopService(), 10)
        self.assertEqual(second.stage, "stopped")

    def test_store_down(self) -> None:
        """It starts without the matchmaker, and registers when that is back."""
        self.network.store.go_down()
        proxy = self.start()
        self.network.run(5)
        self.network.store.come_back()
        self.network.result_of(proxy.when_ready(), 30)
        self.assertEqual(len(self.network.store.records()), len(proxy.records))


class RouterContract(ProxyContract):
    """The contract of a proxy that routes: what docs/spec/wire says in "Through a router proxy"."""

    def connect(self, proxy: MemoryProxy, role: str, hello: bool = True, **limits: int) -> ProxyPeer:
        """Connect to a proxy as a client or a server, and say HELLO."""
        (record,) = (record for record in proxy.records if record.role is Role.ROUTER)
        address = record.addresses[0 if role == "client" else -1]
        peer = ProxyPeer(self.network, address, f"host-of-{role}-{len(self.peers)}")
        self.peers.append(peer)
        if hello:
            peer.hello(role, **limits)
            self.network.run_until(lambda: peer.said, 5, "WELCOME")
        return peer

    def pair(self) -> tuple[MemoryProxy, ProxyPeer, ProxyPeer]:
        """Start a proxy, with a client and a server at it."""
        proxy = self.start()
        return proxy, self.connect(proxy, "client"), self.connect(proxy, "server")

    def answer(self, peer: ProxyPeer) -> Any:
        """Wait for what the proxy says next."""
        before = len(peer.said)
        self.network.run_until(lambda: len(peer.said) > before, 5, "an answer of the proxy")
        return peer.said[-1]

    def assert_lives(self, proxy: MemoryProxy) -> None:
        """Fail unless a client reaches a server."""
        client, server = self.connect(proxy, "client"), self.connect(proxy, "server")
        client.send_to(server, b"are you there")
        self.network.run_until(lambda: server.received, 5, "a message through the proxy")

    def test_welcome(self) -> None:
        """HELLO is answered by WELCOME: wire version, role, and the largest message."""
        proxy, client, server = self.pair()
        for peer in (client, server):
            (welcome,) = peer.said
            self.assertEqual(type(welcome).__name__, "Welcome")
            self.assertEqual((welcome.version, welcome.role), (1, "router"))
            self.assertEqual(welcome.limits.get("message"), proxy.settings.max_message_size)

    def test_forwarded(self) -> None:
        """Keys and payloads arrive as they were sent, in order, in both directions."""
        _, client, server = self.pair()
        payloads = [b"%d" % number for number in range(300)] + [b"", OPAQUE, bytes(100_000)]
        for payload in payloads:
            client.send_to(server, payload)
            server.send_to(client, payload)
        self.network.run_until(lambda: len(client.received) == len(server.received) == len(payloads), 10)
        self.assertEqual(server.received, [(instance_key(server.instance), payload) for payload in payloads])
        self.assertEqual(client.received, [(instance_key(client.instance), payload) for payload in payloads])

    def test_apart(self) -> None:
        """Each gets what is for it, and nothing else."""
        proxy = self.start()
        clients = [self.connect(proxy, "client") for _ in range(3)]
        servers = [self.connect(proxy, "server") for _ in range(3)]
        for client in clients:
            for server in servers:
                client.send_to(server, client.instance + server.instance)
        self.network.run_until(lambda: all(len(server.received) == 3 for server in servers), 5)
        for server in servers:
            wanted = {client.instance + server.instance for client in clients}
            self.assertEqual({payload for _, payload in server.received}, wanted)

    def test_unroutable(self) -> None:
        """What is for nobody comes back, with its payload; so does what a client sends to a client."""
        proxy, client, _ = self.pair()
        other = self.connect(proxy, "client")
        for key in (instance_key(bytes(16)), instance_key(client.instance), instance_key(other.instance)):
            client.send(key, OPAQUE)
            nack = self.answer(client)
            self.assertEqual((nack.reason, nack.ranges, nack.returned), (Refusal.UNROUTABLE, [], OPAQUE))
        self.assertEqual(other.received, [])

    def test_gone(self) -> None:
        """What is for a connection that has ended comes back."""
        _, client, server = self.pair()
        server.close()
        self.peers.remove(server)
        self.network.run(1)
        client.send_to(server, OPAQUE)
        nack = self.answer(client)
        self.assertEqual((nack.reason, nack.returned), (Refusal.UNROUTABLE, OPAQUE))

    def test_newest_connection(self) -> None:
        """An instance that connects again is reached by its new connection."""
        proxy, client, server = self.pair()
        again = self.connect(proxy, "server", hello=False)
        again.instance = server.instance
        self.network.run(0.01)
        again.hello("server")
        self.network.run_until(lambda: again.said, 5, "WELCOME")
        client.send_to(server, OPAQUE)
        self.network.run_until(lambda: again.received, 5, "a message by the new connection")
        self.assertEqual(server.received, [])

    def test_too_large(self) -> None:
        """What is larger than its receiver accepts comes back: it would end the connection."""
        proxy = self.start()
        client, server = self.connect(proxy, "client"), self.connect(proxy, "server", message=5000)
        client.send_to(server, bytes(5001))
        self.assertEqual(self.answer(client).reason, Refusal.TOO_LARGE)
        client.send_to(server, bytes(5000))
        self.network.run_until(lambda: server.received, 5, "a message that is not too large")

    def test_without_hello(self) -> None:
        """Who has said no HELLO is told so, whatever it sends, and nothing of it is forwarded."""
        proxy, _, server = self.pair()
        stranger = self.connect(proxy, "client", hello=False)
        for send in (
            lambda: stranger.send_to(server, OPAQUE),
            lambda: stranger.send(topic_key("openstack", "compute"), OPAQUE),
            lambda: stranger.say(Ping(1)),
        ):
            send()
            nack = self.answer(stranger)
            self.assertEqual((nack.reason, nack.returned), (Refusal.WRONG_INSTANCE, None))
        self.assertEqual(server.received, [])

    def test_ping(self) -> None:
        """PING is answered with its token."""
        _, client, server = self.pair()
        for peer in (client, server):
            peer.say(Ping(77))
            self.assertEqual(self.answer(peer), Pong(77))

    def test_bad_version(self) -> None:
        """HELLO of another wire version is refused, with those that are spoken."""
        proxy, _, _ = self.pair()
        stranger = self.connect(proxy, "client", hello=False)
        stranger.say(Hello(7, 8, "client", [], {}, []))
        nack = self.answer(stranger)
        self.assertEqual(nack.reason, Refusal.BAD_VERSION)
        self.assertIn("1", nack.text)

    def test_bad_input(self) -> None:
        """Whatever comes is refused or dropped, and counted; the proxy lives."""
        proxy, client, server = self.pair()
        counted = proxy.notices.counts.total()
        garbage = [
            (b"\xff", OPAQUE),
            (b"I", OPAQUE),
            (instance_key(server.instance)[:-1], OPAQUE),
            (instance_key(server.instance) + b"x", OPAQUE),
            (topic_key("openstack", "compute")[:-1], OPAQUE),
            (token_key(bytes(16)), OPAQUE),
            (bytes(2**20), OPAQUE),
            (SELF_KEY, b""),
            (SELF_KEY, OPAQUE),
            (SELF_KEY, bytes(100_000)),
            (SELF_KEY, client.batch(Hello(1, 1, "emperor", [], {}, []))),
            (SELF_KEY, client.batch(Nack(1, []))),
        ]
        for key, payload in garbage:
            client.send(key, payload)
        client.send_bare(OPAQUE)
        self.network.run(1)
        self.assertEqual(server.received, [])
        self.assertEqual(proxy.notices.counts.total() - counted, len(garbage) + 1, proxy.notices.counts)
        self.assert_lives(proxy)

    def test_hello_without_a_key(self) -> None:
        """Who does not know yet who is there is told so, is not learned, and is no trouble."""
        proxy, client, server = self.pair()
        counted = proxy.notices.counts.total()
        asking = self.connect(proxy, "client", hello=False)
        asking.instance = client.instance
        asking.send_bare(asking.batch(Hello(WIRE_VERSION, WIRE_VERSION, "client", [], {}, [])))
        self.network.run(1)
        (welcome,) = asking.said
        self.assertIsInstance(welcome, Welcome)
        self.assertEqual(welcome.role, "router")
        self.assertEqual(welcome.extensions, {"not_ready": ""})
        server.send_to(client, OPAQUE)
        self.network.run(1)
        self.assertEqual((asking.received, len(client.received)), ([], 1))
        self.assertEqual(proxy.notices.counts.total(), counted)

    def test_not_ready(self) -> None:
        """WELCOME tells who asks that others cannot find it, and why."""
        self.network.store.go_down()
        proxy = self.start()
        if not proxy.records:
            return
        self.network.run(1)
        asking = self.connect(proxy, "client")
        self.network.run(1)
        self.assertEqual(asking.said[0].extensions, {"not_ready": proxy.not_ready})
        self.assertNotEqual(proxy.not_ready, "")

    def test_drain(self) -> None:
        """A stop tells everybody, forwards until each client has said GOAWAY, then ends; newcomers are told too."""
        proxy, client, server = self.pair()
        stopping = proxy.stopService()
        self.network.run_until(lambda: "Goaway" in client.kinds() and "Goaway" in server.kinds(), 5)
        self.assertEqual(self.network.store.records(), [], "first its records, then the goodbye")
        late = self.connect(proxy, "client")
        self.network.run_until(lambda: "Goaway" in late.kinds(), 5)
        for _ in range(15):
            client.send_to(server, b"question")
            server.send_to(client, b"answer")
            late.say(Ping(1))
            self.network.run(0.3)
        self.assertEqual((len(server.received), len(client.received)), (15, 15))
        self.assertEqual(proxy.stage, "stopping")
        client.leave()
        late.leave()
        self.network.result_of(stopping, 1)
        self.network.run(1)
        self.assertTrue(client.lost and server.lost)

    def test_drain_of_the_silent(self) -> None:
        """A client that says nothing for two seconds counts as gone; servers are not waited for."""
        proxy, _, server = self.pair()
        began = self.network.clock.seconds()
        stopping = proxy.stopService()
        self.network.result_of(stopping, 5)
        self.assertLess(abs(self.network.clock.seconds() - began - 2), 0.5)
        self.assertIn(Goaway(f"{proxy.host} is stopping"), server.said)

    def test_drain_timeout(self) -> None:
        """One that does not leave is waited for up to the drain timeout, and no longer."""
        proxy = self.start(drain_timeout=4.0)
        client = self.connect(proxy, "client")
        stopping = proxy.stopService()
        done: list[None] = []
        stopping.addCallback(done.append)
        for _ in range(20):
            client.say(Ping(1))
            self.network.run(0.25)
        self.assertTrue(done)

    def test_silent_for_a_minute(self) -> None:
        """It forgets who says nothing for a minute: what is for that one comes back."""
        _, client, server = self.pair()
        for _ in range(8):
            client.say(Ping(1))
            self.network.run(10)
        client.send_to(server, OPAQUE)
        nack = self.answer(client)
        self.assertEqual((nack.reason, nack.returned), (Refusal.UNROUTABLE, OPAQUE))


class PublisherContract(RouterContract):
    """
    The contract of a proxy that routes and publishes: what "Through a publisher proxy" says of its frontend.

    :ivar options: those that have it publish.
    """

    options = {"use_pub_sub": True}

    def test_registered_twice(self) -> None:
        """It has a record for each of its roles, with one frontend."""
        router, publisher = sorted(self.start().records, key=lambda record: record.role is Role.PUBLISHER)
        self.assertEqual((router.role, publisher.role), (Role.ROUTER, Role.PUBLISHER))
        self.assertEqual(router.addresses[0], publisher.addresses[0])
        self.assertNotIn(publisher.addresses[1], router.addresses)

    def test_feature(self) -> None:
        """WELCOME says that it publishes."""
        _, client, _ = self.pair()
        self.assertIn("publish", client.said[0].features)

    def test_nobody_subscribes(self) -> None:
        """What nobody subscribes to comes back."""
        _, client, _ = self.pair()
        client.send(topic_key("openstack", "compute"), OPAQUE)
        nack = self.answer(client)
        self.assertEqual((nack.reason, nack.returned), (Refusal.UNROUTABLE, OPAQUE))

    def test_published(self) -> None:
        """What is published reaches who subscribes, and is answered under its key with the counter that it has."""
        proxy, client, _ = self.pair()
        (address,) = (record.addresses[-1] for record in proxy.records if record.role is Role.PUBLISHER)
        subscriber = ProxySubscriber(self.network, address)
        self.addCleanup(subscriber.close)
        key = topic_key("openstack", "compute")
        subscriber.subscribe(key)
        self.network.run_until(lambda: subscriber.counters(key), 5, "the counter that greets a subscriber")
        for number in range(3):
            client.send(key, OPAQUE + b"%d" % number)
        client.send(topic_key("openstack", "compute2"), OPAQUE)
        self.network.run_until(lambda: len(client.received) == 3 and len(subscriber.payloads(key)) == 3, 5)
        self.assertEqual(subscriber.payloads(key), [OPAQUE + b"%d" % number for number in range(3)])
        counted = [counter for counter, payload in subscriber.received[key] if payload is not None]
        self.assertEqual(client.received, [(key, counter) for counter in counted])
        self.assertEqual([decode_counter(counter).count for counter in counted], [1, 2, 3])
