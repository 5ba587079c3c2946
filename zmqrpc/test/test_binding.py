"""Which address a node binds, and which one others are told."""

from __future__ import annotations

import socket
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import adapters
from zmqrpc.binding import Binding
from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.test.logs import LogLines

ONE, TWO = Target("compute", server="one"), Target("compute", server="two")

ADDRESSES = [
    # options, line of a fixed table, local matchmaker; what is bound, what others are told
    ({}, None, True, "127.0.0.1", "tcp://127.0.0.1:5000"),
    ({"rpc_zmq_host": "node-1"}, None, True, "127.0.0.1", "tcp://127.0.0.1:5000"),
    ({}, None, False, "*", "tcp://this-machine:5000"),
    ({"rpc_zmq_host": "Node-1"}, None, False, "*", "tcp://node-1:5000"),
    ({"rpc_zmq_host": "2001:db8::1"}, None, False, "*", "tcp://[2001:db8::1]:5000"),
    ({"rpc_zmq_host": "[2001:db8::1]"}, None, False, "*", "tcp://[2001:db8::1]:5000"),
    ({"rpc_zmq_bind_address": "*"}, None, True, "*", "tcp://this-machine:5000"),
    ({"rpc_zmq_bind_address": "0.0.0.0"}, None, False, "0.0.0.0", "tcp://this-machine:5000"),
    ({"rpc_zmq_bind_address": "::"}, None, False, "::", "tcp://this-machine:5000"),
    ({"rpc_zmq_bind_address": "::", "rpc_zmq_host": "node-1"}, None, False, "::", "tcp://node-1:5000"),
    ({"rpc_zmq_bind_address": "10.0.0.1"}, None, False, "10.0.0.1", "tcp://10.0.0.1:5000"),
    ({"rpc_zmq_bind_address": "[::1]"}, None, False, "[::1]", "tcp://[::1]:5000"),
    ({"rpc_zmq_bind_address": "10.0.0.1", "rpc_zmq_host": "node-1"}, None, False, "10.0.0.1", "tcp://node-1:5000"),
    ({"rpc_zmq_bind_address": "127.0.0.1", "rpc_zmq_host": "node-1"}, None, False, "127.0.0.1", "tcp://127.0.0.1:5000"),
    ({"rpc_zmq_bind_address": "lo"}, None, False, "127.0.0.1", "tcp://127.0.0.1:5000"),
    ({"rpc_zmq_advertised_address": "nat.example"}, None, False, "*", "tcp://nat.example:5000"),
    ({"rpc_zmq_advertised_address": "nat.example:31000"}, None, False, "*", "tcp://nat.example:31000"),
    ({"rpc_zmq_advertised_address": "[2001:db8::1]:31000"}, None, True, "127.0.0.1", "tcp://[2001:db8::1]:31000"),
    ({"rpc_zmq_advertised_address": "2001:db8::1"}, None, True, "127.0.0.1", "tcp://[2001:db8::1]:5000"),
    ({"rpc_zmq_advertised_address": "a", "rpc_zmq_host": "b"}, None, False, "*", "tcp://a:5000"),
    ({}, "10.0.0.1:7000", False, "10.0.0.1", "tcp://10.0.0.1:7000"),
    ({}, "[2001:db8::1]:7000", False, "2001:db8::1", "tcp://[2001:db8::1]:7000"),
    ({}, "node-1:7000", False, "*", "tcp://node-1:7000"),
    ({}, "localhost:7000", False, "127.0.0.1", "tcp://localhost:7000"),
    ({"rpc_zmq_bind_address": "*"}, "203.0.113.1:7000", False, "*", "tcp://203.0.113.1:7000"),
    ({"rpc_zmq_host": "a", "rpc_zmq_advertised_address": "b:1"}, "c:7000", False, "*", "tcp://c:7000"),
]

REFUSED = {
    (
        "rpc_zmq_bind_address",
        "eth77",
    ): "option rpc_zmq_bind_address is 'eth77', no adapter or address here; valid are *,",
    ("rpc_zmq_bind_address", "node-1.example"): "no adapter or address here",
    ("rpc_zmq_bind_address", ""): "no adapter or address here",
    ("rpc_zmq_bind_address", "127.0.0.1:5000"): "no adapter or address here",
    ("rpc_zmq_bind_address", "a" * 300): "no adapter or address here",
    (
        "rpc_zmq_host",
        "lo",
    ): "an adapter of this machine, by which nobody else can reach it; set rpc_zmq_bind_address to",
}


class Router:
    """A socket that can be bound to anything, and keeps the first port of those that were offered."""

    error: Any = None

    def bind(self, host, ports):
        self.host, self.ports = host, list(ports)
        if self.error is not None:
            raise self.error
        numeric = {"*": "0.0.0.0"}.get(host, host.strip("[]"))
        return f"tcp://[{numeric}]:5000" if ":" in numeric else f"tcp://{numeric}:5000"


class BindingTests(SynchronousTestCase):
    def setUp(self):
        self.router: Any = Router()
        self.patch(socket, "gethostname", lambda: "this-machine")
        self.patch(Binding, "_warned", False)
        self.lines = LogLines(self, "zmqrpc.binding")

    def make(self, line=None, local=False, **options):
        lines = line if isinstance(line, dict) else dict.fromkeys((ONE, TWO), line)
        return Binding(Settings(**options), lines.__getitem__, local, Random(1))

    def bound(self, *arguments, **options):
        binding = self.make(*arguments, **options)
        binding.serve(ONE)
        binding.bind(self.router)
        return binding

    def refused(self, binding, error=ConfigError):
        binding.serve(ONE)
        return str(self.assertRaises(error, binding.bind, self.router))

    def test_addresses(self):
        for options, line, local, host, address in ADDRESSES:
            binding = self.bound(line, local, **options)
            self.assertEqual((self.router.host, binding.address), (host, address), (options, line))
            self.assertEqual(binding.fixed, line is not None)

    def test_refused(self):
        """What cannot be used is refused before anything is bound."""
        for (option, value), text in REFUSED.items():
            self.assertIn(text, self.refused(self.make(**{option: value})))
        self.assertFalse(hasattr(self.router, "host"))

    def test_ports(self):
        """Each port of the range at most once, in an order that nobody knows, and no more than may be tried."""
        options = {"rpc_zmq_min_port": 6000, "rpc_zmq_max_port": 6010}
        self.bound(**options)
        self.assertEqual(sorted(self.router.ports), list(range(6000, 6010)))
        self.assertNotEqual(self.router.ports, list(range(6000, 6010)))
        self.bound(rpc_zmq_bind_port_retries=3, **options)
        self.assertEqual(len(self.router.ports), 3)
        self.bound("a:7000", rpc_zmq_bind_port_retries=3, **options)
        self.assertEqual(self.router.ports, [7000])

    def test_exhausted(self):
        """The text names the range, or the line of the table."""
        self.router.error = PortRangeExhausted("cannot bind * on any of 9 ports tried, 1 to 9: Address already in use")
        text = self.refused(self.make(rpc_zmq_min_port=6000), PortRangeExhausted)
        self.assertIn("ports tried, 1 to 9: Address already in use; the range is rpc_zmq_min_port 6000", text)
        self.assertIn("to rpc_zmq_max_port 65536 (exclusive)", text)
        text = self.refused(self.make("a:7000"), PortRangeExhausted)
        self.assertIn("the fixed table names this port for compute.one: free it, or change the line", text)

    def test_not_here(self):
        """An address of another machine is refused with those of this one."""
        self.router.error = ConfigError("cannot bind 203.0.113.7:5: Cannot assign requested address")
        text = self.refused(self.make(rpc_zmq_bind_address="203.0.113.7"))
        self.assertIn("Cannot assign requested address; set rpc_zmq_bind_address to *, or to an adapter or", text)
        self.assertIn("lo (127.0.0.1)", text)

    def test_two_lines(self):
        """Two servers of one process have to be at one address."""
        binding = self.make({ONE: "a:1", TWO: "a:2"})
        binding.serve(ONE)
        text = str(self.assertRaises(ConfigError, binding.serve, TWO))
        self.assertIn("the fixed table has compute.one at a:1 and compute.two at a:2", text)
        same = self.make({ONE: "a:1", TWO: "a:1"})
        same.serve(ONE)
        same.serve(TWO)
        same.bind(self.router)
        self.assertEqual(same.address, "tcp://a:1")

    def test_line_too_late(self):
        """Who is bound already cannot be where a line wants it; a topic that was not known said nothing."""
        binding = self.make({ONE: "a:1"})
        binding.serve(Target(server="one"))
        binding.bind(self.router)
        text = str(self.assertRaises(ConfigError, binding.serve, ONE))
        self.assertIn("compute.one at a:1, and this process listens at tcp://this-machine:5000 already", text)

    def test_warning(self):
        """The warning comes once for a process, and names the option; what is bound and told is logged each time."""
        for host in ("127.0.0.1", "*", "::", "0.0.0.0"):
            self.bound(rpc_zmq_bind_address=host)
        (warning,) = self.lines.about("without encryption")
        self.assertIn("set rpc_zmq_bind_address", warning)
        told = self.lines.about("others are told tcp://this-machine:5000")
        self.assertEqual(len(told), 3)
        self.assertIn("bound to tcp://0.0.0.0:5000", told[0])

    def test_warning_of_loopback(self):
        """Whose name is loopback here is warned of it, once; not whose matchmaker is local, or who asked for it."""
        found = {"this-machine": "127.0.1.1", "node-1": "10.0.0.1", "::1": "[::1]", "127.0.0.1": "127.0.0.1"}

        def resolve(host):
            return succeed(found[host]) if host in found else fail(OSError("no such host"))

        rows: list[tuple[dict[str, Any], Any, bool, str]] = [
            ({}, None, False, "others are told tcp://this-machine:5000, and this-machine is 127.0.1.1 here"),
            (
                {"rpc_zmq_host": "127.0.0.1"},
                None,
                False,
                "others are told tcp://127.0.0.1:5000, which is loopback: no other machine reaches this node",
            ),
            (
                {"rpc_zmq_advertised_address": "::1"},
                None,
                False,
                "others are told tcp://[::1]:5000, which is loopback: no",
            ),
            ({"rpc_zmq_bind_address": "127.0.0.1"}, None, False, ""),
            ({"rpc_zmq_host": "node-1"}, None, False, ""),
            ({"rpc_zmq_host": "unknown"}, None, False, ""),
            ({"rpc_zmq_bind_address": "127.0.0.1", "rpc_zmq_host": "this-machine"}, None, False, ""),
            ({"rpc_zmq_bind_address": "*"}, None, True, ""),
            ({}, "this-machine:7000", False, ""),
        ]
        for options, line, local, says in rows:
            self.patch(Binding, "_warned_of_loopback", False)
            self.lines.clear()
            for _ in range(2):
                self.bound(line, local, **options).check_told(resolve)
            warned = self.lines.about("which is loopback")
            self.assertEqual([text[: len(says)] for text in warned], [says] if says else [], options)

    def test_warning_of_unknown(self):
        """A host that is told and that nobody here can resolve is warned of, once, with the option that says it."""

        def resolve(host):
            return fail(socket.gaierror(-2, "Name or service not known"))

        rows: list[tuple[dict[str, Any], Any, bool, str]] = [
            (
                {"rpc_zmq_host": "no.such"},
                None,
                False,
                "no.such (option rpc_zmq_host) cannot be resolved here (Name or",
            ),
            ({"rpc_zmq_host": "a", "proxy_host": "a"}, None, False, "a (option proxy_host) cannot be resolved here"),
            ({"rpc_zmq_advertised_address": "nat"}, None, False, "nat (option rpc_zmq_advertised_address) cannot be"),
            ({}, None, False, "this-machine, the host name of this machine, cannot be resolved here (Name or"),
            ({"rpc_zmq_bind_address": "*", "rpc_zmq_host": "b"}, None, True, "b (option rpc_zmq_host) cannot be"),
            ({"rpc_zmq_host": "no.such"}, None, True, ""),
            ({}, "no.such:7000", False, ""),
        ]
        for options, line, local, says in rows:
            self.patch(Binding, "_warned_of_unknown", set())
            self.lines.clear()
            for _ in range(2):
                self.bound(line, local, **options).check_told(resolve)
            warned = self.lines.about("cannot be resolved")
            self.assertEqual(len(warned), bool(says), options)
            for text in warned:
                self.assertIn(f":5000, and {says}", text)


class AdapterTests(SynchronousTestCase):
    def test_loopback(self):
        self.assertIn("lo", adapters.names())
        self.assertEqual(adapters.address_of("lo"), "127.0.0.1")
        self.assertIn("lo (127.0.0.1)", adapters.describe())

    def test_kinds_of_addresses(self):
        """Every adapter is listed: with an IPv4 address, with one of IPv6, and with none that one can name it by."""
        table = Path(self.mktemp())
        table.write_text(
            "fe800000000000000000000000000001 02 40 20 80 both\n"
            "20010db8000000000000000000000001 02 40 00 80 both\n"
            "fe800000000000000000000000000002 03 40 20 80 near\n"
            "20010db8000000000000000000000003 04 40 00 48 late\n"
        )
        self.patch(adapters, "_TABLE", str(table))
        self.patch(adapters, "names", lambda: ["both", "late", "lo", "near"])
        router: Any = Router()
        listed = "both (2001:db8::1), late (no address), lo (127.0.0.1), near (only a link-local address)"
        self.assertEqual(adapters.describe(), listed)
        for name, what in (
            ("near", "an adapter with only a link-local address"),
            ("late", "an adapter with no address"),
            ("eth77", "no adapter or address here"),
        ):
            binding = Binding(Settings(rpc_zmq_bind_address=name), lambda target: None, False, Random(1))
            error = str(self.assertRaises(ConfigError, binding.bind, router))
            self.assertIn(f"is {name!r}, {what}; valid are", error)
            self.assertIn(listed, error)

    def test_none(self):
        for name in ("eth77", "", "a" * 16, "a\0b", "\N{SNOWMAN}", "\udcff"):
            self.assertIsNone(adapters.address_of(name))
