"""The node of a proxy: which proxy it runs, where that is, and what it says about the servers it finds."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc import Target
from zmqrpc.disagreement import LOOKUP_SECONDS, MOST_TOPICS, SOON_SECONDS, Disagreement
from zmqrpc.errors import ConfigError
from zmqrpc.proxy_lines import placed
from zmqrpc.proxy_node import ProxyNode
from zmqrpc.record import PROXIES, Record, Role
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines
from zmqrpc.test.ports import free_port
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import MemoryNode, MemoryProxy, Network, Store


def record(member, subscribes=False, role=Role.SERVER, topic="compute"):
    return Record(role, "openstack", topic, member, "1" * 32, ("tcp://10.9.9.9:1",), subscribes=subscribes)


class DisagreementTests(SynchronousTestCase):
    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.lines = LogLines(self, "zmqrpc.disagreement")

    def register(self, *records):
        for each in records:
            self.network.result_of(self.network.store.matchmaker().register(each, 300))

    def said(self):
        self.network.run(200)
        return list(self.lines)

    def test_agree(self):
        self.register(record("one"), record("two"), record("x", True, Role.LISTENER))
        self.network.proxy()
        self.assertEqual(self.said(), [])

    def test_differ(self):
        """It names each once; one that comes later is named then, and so is one that has changed and changed back."""
        self.register(record("one", True), record("two"))
        self.network.proxy()
        (said,) = self.said()
        self.assertIn(
            "use_pub_sub is false here and true for openstack/compute.one: this proxy publishes nothing", said
        )
        self.register(record("three", True))
        self.assertEqual(len(self.said()), 2)
        self.assertIn("for openstack/compute.three: this", self.said()[1])
        self.register(record("one"))
        self.said()
        self.register(record("one", True))
        self.assertEqual(len(self.said()), 3)

    def test_one_that_comes_to_the_proxy(self):
        """It is named within seconds, and once; also where it serves something more."""
        self.network.proxy()
        self.network.run(10)
        options = {"zmq_topology": "static-direct+pub-sub"}
        node = self.network.serve(Target("work", server="a"), Worker("a"), **options)
        self.network.run(SOON_SECONDS + 1)
        (said,) = self.lines
        self.assertIn("use_pub_sub is false here and true for openstack/work.a: this", said)
        self.network.serve(Target("work", server="b"), Worker("b"), **options)
        node.server(Target("more", server="a"), [Worker("a")])
        self.network.serve(Target("other", server="c"), Worker("c"), zmq_topology="static-direct")
        self.network.run(SOON_SECONDS + 1)
        self.assertEqual(len(self.lines), 3)
        self.assertIn("for openstack/work.b: this", "".join(self.lines[1:]))
        self.assertIn("for openstack/more.a: this", "".join(self.lines[1:]))
        self.assertEqual(len(self.said()), 3)

    def test_one_that_comes_to_a_proxy_that_publishes(self):
        self.network.proxy(use_pub_sub=True)
        self.network.run(10)
        self.network.serve(Target("work", server="a"), Worker("a"), zmq_topology="router-proxy")
        self.network.run(SOON_SECONDS + 1)
        (said,) = self.lines
        self.assertIn("use_pub_sub is true here and false for openstack/work.a: fan-outs are sent to each", said)

    def test_many(self):
        self.register(*(record(f"{number:02}", True) for number in range(20)))
        self.network.proxy()
        (said,) = self.said()
        self.assertIn("openstack/compute.07, and 12 more: this", said)

    def test_store_down(self):
        """It looks again when there is something to look at."""
        self.register(record("one", True))
        self.network.store.go_down()
        self.network.proxy()
        self.assertEqual(self.said(), [])
        self.network.store.come_back()
        self.assertEqual(len(self.said()), 1)


class LookupsTests(SynchronousTestCase):
    """What a proxy asks the matchmaker since servers came: anybody may say HELLO, and serve what he likes."""

    def setUp(self):
        self.now = 5.0
        self.asked: list[tuple[float, str]] = []
        self.disagreement = Disagreement(self, True, 1e6, lambda: self.now, lambda: 1.0, lambda when: None)  # type: ignore[arg-type]

    # As a matchmaker

    def lookup(self, exchange, topic):
        self.asked.append((self.now, topic))
        return succeed([])

    def records(self):
        return succeed([])

    def run_until(self, then):
        """Sweep whenever that is wanted."""
        while self.disagreement.wake_at <= then:
            self.now = self.disagreement.wake_at
            self.disagreement.sweep(self.now)
        self.now = then

    def came(self, *names):
        self.disagreement.server_came([("x", name) for name in names])

    def test_not_before_the_start_nor_after_the_stop(self):
        self.came("early")
        self.disagreement.begin(5.0)
        self.assertEqual(self.disagreement.wake_at, 5.0 + 1e6)
        self.disagreement.stop()
        self.came("late")
        self.assertEqual(self.disagreement.wake_at, float("inf"))

    def test_no_names(self):
        self.disagreement.begin(5.0)
        self.came("", "a\0", "y" * 256, "\ud800")
        self.assertEqual(self.disagreement.wake_at, 5.0 + 1e6)

    def test_each_after_the_last_that_came(self):
        """A topic is looked up when whoever came last is registered, and no more often than that takes."""
        self.disagreement.begin(5.0)
        self.came("a")
        self.now += SOON_SECONDS - 1
        self.came("a", "b")
        self.run_until(100)
        self.assertEqual(
            self.asked,
            [(5 + SOON_SECONDS, "a"), (5 + 2 * SOON_SECONDS - 1, "b"), (5 + 2 * SOON_SECONDS, "a")],
        )

    def test_one_topic(self):
        """Whoever comes again and again has his topic looked up once in so many seconds."""
        self.disagreement.begin(5.0)
        for _ in range(600):
            self.came("a")
            self.run_until(self.now + 0.05)
        times = [when for when, _ in self.asked]
        self.assertGreater(len(times), 8)
        for before, after in pairwise(times):
            self.assertGreaterEqual(after - before, SOON_SECONDS)

    def test_many_topics(self):
        """However many topics come, few are looked up at a time, one after the other; what is too many is left out."""
        self.disagreement.begin(5.0)
        for first in range(0, 3 * MOST_TOPICS, 100):
            self.came(*(f"{first + number}" for number in range(100)))
            self.run_until(self.now + 0.01)
        self.run_until(1000)
        times = [when for when, _ in self.asked]
        for before, after in pairwise(times):
            self.assertGreaterEqual(round(after - before, 6), LOOKUP_SECONDS)
        self.assertEqual([name for _, name in self.asked], [f"{number}" for number in range(MOST_TOPICS)])
        self.assertEqual(self.disagreement.wake_at, 5.0 + 1e6)

    @given(st.lists(st.tuples(st.floats(0, 2), st.lists(st.sampled_from("abcdefgh"), min_size=1)), max_size=40))
    def test_rates(self, comings):
        """Whatever comes when: the rates are kept, and each that came is looked up once it is registered."""
        self.setUp()
        self.disagreement.begin(5.0)
        last: dict[str, float] = {}
        for pause, names in comings:
            self.run_until(self.now + pause)
            self.came(*names)
            last.update(dict.fromkeys(names, self.now))
        self.run_until(self.now + 100)
        looked: dict[str, float] = {}
        free_at = 0.0
        for when, name in self.asked:
            self.assertGreaterEqual(when, free_at)
            self.assertGreaterEqual(round(when - looked.get(name, 0), 6), SOON_SECONDS)
            free_at, looked[name] = when + LOOKUP_SECONDS, when
        self.assertEqual(looked.keys(), last.keys())
        for name, came in last.items():
            self.assertGreaterEqual(looked[name], came + SOON_SECONDS)


class LogTests(SynchronousTestCase):
    """What an operator reads."""

    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.lines = LogLines(self)

    def test_addresses(self):
        """Each address is named with who connects there."""
        self.network.proxy("north", use_pub_sub=True)
        self.network.proxy("south", proxy_frontend_port=0)
        where = r"tcp://[^ ]+"
        for line, text in zip(
            self.lines.about("router-proxy "),
            (
                rf"north is a router at {where} \(frontend\), {where} \(backend\), instance",
                rf"north is a publisher at {where} \(frontend\), {where} \(publisher\), instance",
                rf"south is a router at {where} \(frontend and backend\), instance",
            ),
            strict=True,
        ):
            self.assertRegex(line, text)

    def test_connections(self):
        """Who is connected to a proxy says to which side of it, and why it uses it no more."""
        for end, why in (
            (lambda proxy: proxy.kill(), "the connection ended"),
            (lambda proxy: proxy.clock.pause(2.5), "it does not answer, and is taken again when it does"),
            (lambda proxy: proxy.stopService(), r"proxy-\d is stopping"),
        ):
            proxy = self.network.proxy()
            self.lines.clear()
            node = MemoryNode(self.network, zmq_topology="router-proxy")
            node.client()
            node.server(Target("work", server="one"), [Worker()])
            node.startService()
            self.network.run(2)
            end(proxy)
            self.network.run(6)
            for side in ("frontend", "backend"):
                name = rf"the {side} of proxy {proxy.host} at tcp://[^ ]+"
                said = [line for line in self.lines if re.search(rf"connected to {name}$", line)]
                self.assertTrue(said, (side, self.lines))
                lost = [line for line in self.lines if re.search(rf"^{name} is used no more: {why}$", line)]
                self.assertTrue(lost, (side, why, self.lines))


class Lines:
    """What a fixed table says of one proxy."""

    def __init__(self, **lines):
        self.lines = lines

    def bind_address(self, target):
        assert (target.exchange, target.server) == (PROXIES[0], "p")
        return self.lines.get(target.topic)


class PlaceTests(SynchronousTestCase):
    def place(self, lines, **options):
        settings, fixed = placed(Settings(rpc_zmq_host="p", **options), Lines(**lines))  # type: ignore[arg-type]
        self.assertEqual(fixed, bool(lines))
        return settings

    def test_free(self):
        settings = self.place({}, proxy_frontend_port=7)
        self.assertEqual((settings.proxy_frontend_port, settings.rpc_zmq_advertised_address), (7, None))

    def test_lines(self):
        lines = {"frontend": "10.0.0.1:1", "backend": "10.0.0.1:2", "publisher": "10.0.0.1:3"}
        settings = self.place(lines, use_pub_sub=True)
        ports = settings.proxy_frontend_port, settings.proxy_backend_port, settings.proxy_publisher_port
        self.assertEqual(ports, (1, 2, 3))
        self.assertEqual(settings.rpc_zmq_bind_address, "10.0.0.1")
        self.assertEqual(settings.rpc_zmq_advertised_address, "10.0.0.1")
        settings = self.place({"frontend": "north:1", "backend": "north:1"}, proxy_frontend_port=1)
        self.assertEqual((settings.proxy_frontend_port, settings.proxy_backend_port), (1, None))
        self.assertEqual((settings.rpc_zmq_bind_address, settings.rpc_zmq_advertised_address), ("*", "north"))
        settings = self.place({"frontend": "localhost:1"}, rpc_zmq_advertised_address="a", proxy_frontend_port=0)
        self.assertEqual((settings.rpc_zmq_bind_address, settings.rpc_zmq_advertised_address), ("127.0.0.1", "a"))

    def test_refused(self):
        for lines, options, text in (
            ({"frontend": "a:1", "backend": "b:2"}, {}, "has the proxy p on several hosts, a and b"),
            (
                {"frontend": "a:1"},
                {"proxy_frontend_port": 2},
                "option proxy_frontend_port is 2, and the fixed table has",
            ),
            (
                {"frontend": "a:1", "backend": "a:1"},
                {"proxy_backend_port": 2},
                "option proxy_backend_port is 2, and the fixed table has one address for both sides of p",
            ),
            (
                {"frontend": "a:1", "publisher": "a:3"},
                {},
                "the fixed table has p publish at a:3, and without use_pub_sub it publishes nothing; set",
            ),
        ):
            refused = self.assertRaises(ConfigError, self.place, lines, **options)
            self.assertIn(text, str(refused))


class KindTests(SynchronousTestCase):
    def refused(self, text, **options):
        refused = self.assertRaises(ConfigError, MemoryProxy, Network(), **options)
        self.assertIn(text, str(refused))

    def test_refused(self):
        self.refused("there is no kind of proxy 'bogus'; valid are local-publisher, router-proxy", proxy_type="bogus")
        self.refused(
            "option proxy_type is 'router-proxy', and proxy_local_publisher is set; give one of them",
            proxy_type="router-proxy",
            proxy_local_publisher=True,
        )
        self.refused("a backend port is given and no frontend port", proxy_backend_port=5)
        self.refused(
            "options proxy_frontend_port and proxy_backend_port are both 5; give each its own port, or leave out",
            proxy_backend_port=5,
            proxy_frontend_port=5,
        )
        for name in ("proxy_frontend_port", "proxy_backend_port"):
            ports = {"proxy_frontend_port": 4, "proxy_backend_port": 6, "proxy_publisher_port": 5, name: 5}
            refused = self.assertRaises(ConfigError, MemoryProxy, Network(), use_pub_sub=True, **ports)
            text = f"options {name} and proxy_publisher_port are both 5; give each its own port"
            self.assertEqual(str(refused), text)

    def test_without_effect(self):
        """What a kind of proxy has no use for is refused, 0 as well."""
        for port in (0, 50003):
            self.refused(
                f"option proxy_publisher_port is {port}, and without use_pub_sub nothing is published; set",
                proxy_publisher_port=port,
            )
        for name, value, said in (
            ("proxy_frontend_port", 50001, "50001"),
            ("proxy_frontend_port", 0, "0"),
            ("proxy_backend_port", 50002, "50002"),
            ("proxy_ipc", True, "true"),
        ):
            options: dict[str, Any] = {name: value}
            self.refused(
                f"option {name} is {said}, and a local publisher has nothing of the kind",
                proxy_local_publisher=True,
                **options,
            )

    def test_dummy(self):
        refused = self.assertRaises(ConfigError, ProxyNode, reactor, "zmq://")
        self.assertIn("the matchmaker dummy is known in one process only", str(refused))

    def test_hosts(self):
        """The host of the proxy is before that of the node; loopback is bound alone."""
        for host, bound in (("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::1", "::1"), ("north", None)):
            node = ProxyNode(reactor, Settings(url="zmq+sqlite:///x", proxy_host=host, rpc_zmq_host="south"))
            self.assertEqual((node.settings.host, node.settings.rpc_zmq_bind_address), (host, bound))

    def test_local_publisher(self):
        """One that publishes for its own host binds loopback, unless it is told otherwise."""
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({"rpc_zmq_host": "south"}, "127.0.0.1"),
            ({"proxy_host": "north"}, "127.0.0.1"),
            ({"proxy_host": "::1"}, "::1"),
            ({"rpc_zmq_bind_address": "*"}, "*"),
        )
        for options, bound in cases:
            settings = Settings(url="zmq+redis://north", proxy_local_publisher=True, **options)
            node = ProxyNode(reactor, settings, matchmaker=Store(reactor).matchmaker())
            self.assertEqual(node.settings.rpc_zmq_bind_address, bound)

    def test_one_advertised_port(self):
        network = Network()
        self.addCleanup(network.close)
        proxy = MemoryProxy(network, rpc_zmq_advertised_address="public:7")
        refused = self.assertRaises(ConfigError, proxy.startService)
        self.assertIn("'public:7', with a port, and a proxy has several; give the host alone", str(refused))
        network.result_of(proxy.stopService())

    def test_once(self):
        network = Network()
        proxy = network.proxy()
        network.close()
        self.assertIn("started once", str(self.assertRaises(ConfigError, proxy.startService)))


class FixedTableTests(TestCase):
    async def test_line(self):
        """A proxy of a fixed table binds what its line says, and what it registers is what is there."""
        ports = free_port(), free_port()
        path = Path(self.mktemp()).absolute()
        lines = {"frontend": f"127.0.0.1:{ports[0]}", "backend": f"127.0.0.1:{ports[1]}"}
        path.write_text(json.dumps({"$proxies": {"p": lines, "q": {"frontend": "a:1"}}}))
        node = ProxyNode(reactor, Settings(url=f"zmq+file://{path}", proxy_host="p"))
        self.addCleanup(node.stopService)
        log = LogLines(self, "zmqrpc.proxy_node")
        node.startService()
        self.assertEqual(len(log.about("nobody who goes by the same fixed table calls or publishes through")), 1)
        (ours,) = node.records
        self.assertEqual((ours.instance, ours.addresses), ("", tuple(f"tcp://127.0.0.1:{port}" for port in ports)))
        await node.when_ready()
        refused = self.assertRaises(
            ConfigError, ProxyNode, reactor, Settings(url=f"zmq+file://{path}", proxy_host="other")
        )
        self.assertIn("has no proxy other; its proxies are p, q; write a line for this proxy, or give it", str(refused))
