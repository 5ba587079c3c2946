"""
Servers on adapters that the test makes, in network namespaces of its own, and calls from one namespace to another.

That takes root, and the program ``ip``; `make test` installs it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

from zmqrpc.test.processes import ENVIRONMENT, ProcessTestCase, Running, command, run_to_end
from zmqrpc.test.tap.test_twistd import CALC
from zmqrpc.test.warm import WarmInterpreter

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
SERVER = ("twistd", "-n", "--pidfile=", "zmq-rpc-server", "--app", "calc:Calc", "--topic", "calc", "--server", "one")


class NamespaceCase(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.module("calc", CALC)
        self.warm = {}
        """What runs commands in each namespace."""

    def ip(self, *words):
        """Run ``ip``."""
        if IP is None:
            raise AssertionError("the program ip is missing; install it with: sudo apt-get install iproute2")
        done = subprocess.run([IP, *words], capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise AssertionError(
                f"`ip {' '.join(words)}` failed ({done.stderr.strip()}); these tests make network namespaces and "
                "adapters, run them as root and on a kernel that lets root do so"
            )

    def namespace(self, name):
        """Make a network namespace of which only the loopback adapter is up; return its name."""
        name = f"zmqrpc-{os.getpid()}-{name}"
        self.ip("netns", "add", name)
        self.addCleanup(self.ip, "netns", "del", name)
        self.warm[name] = WarmInterpreter(ENVIRONMENT, str(IP), "netns", "exec", name)
        self.addCleanup(self.warm[name].close)
        self.ip("-n", name, "link", "set", "lo", "up")
        return name

    def cable(self, namespace, adapter, other_namespace, other_adapter):
        """Make two adapters with a cable between them."""
        # Not of the type dummy, which not every kernel has.
        peer = ("peer", "name", other_adapter, "netns", other_namespace)
        self.ip("-n", namespace, "link", "add", adapter, "type", "veth", *peer)

    def address(self, namespace, adapter, *addresses):
        """Give an adapter its addresses, and set it up."""
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self.ip("-n", namespace, "address", "add", address, "dev", adapter, *nodad)
        self.ip("-n", namespace, "link", "set", adapter, "up")

    def start_inside(self, namespace, url):
        """Start the server in a namespace, until it is registered."""
        words = [*command(SERVER[0]), *SERVER[1:], "--url", url]
        running = Running(words, self.directory, self.environment, warm=self.warm[namespace])
        self.addCleanup(running.kill)
        running.says("ready: registered")
        return running

    def run_inside(self, namespace, *words):
        command_line = [*command(words[0]), *words[1:]]
        return run_to_end(command_line, self.directory, self.environment, warm=self.warm[namespace])

    def assert_called(self, namespace, server, url=None):
        """Call the server from a namespace, and end it."""
        called = self.run_inside(
            namespace, "zmqrpc", "call", "--url", url or self.url, "--timeout", "10", "calc.one", "pid"
        )
        self.assertEqual((called.stdout, called.stderr), (f"{server.process.pid}\n", ""))
        server.signal()
        self.assertEqual(server.ends(), -signal.SIGTERM)


class AdapterTests(NamespaceCase):
    """One namespace, with adapters as an operator may have them."""

    def setUp(self):
        super().setUp()
        self.name, outside = self.namespace("host"), self.namespace("outside")
        for adapter, *addresses in (
            ("wired7", "10.77.0.1/24", "10.77.0.2/24", "fd00:77::1/64"),
            ("six7", "fd00:78::1/64"),
            ("bare7",),
        ):
            self.cable(self.name, adapter, outside, adapter)
            self.address(self.name, adapter, *addresses)
            self.address(outside, adapter)

    def serve_at(self, bind_address):
        return self.start_inside(self.name, f"{self.url}?rpc_zmq_bind_address={bind_address}")

    def test_bound(self):
        """What is bound is what others are told, and they reach it: adapters, and addresses of either kind."""
        for bind_address, host in (
            ("wired7", "10.77.0.1"),
            ("six7", r"\[fd00:78::1\]"),
            ("10.77.0.2", "10.77.0.2"),
            ("fd00:77::1", r"\[fd00:77::1\]"),
            ("[fd00:77::1]", r"\[fd00:77::1\]"),
            ("::1", r"\[::1\]"),
            ("lo", "127.0.0.1"),
        ):
            server = self.serve_at(bind_address)
            self.assertRegex(server.out, rf"serving topic calc as member one at tcp://{host}:\d+,")
            self.assertNotIn("others are told", server.out)
            self.assertNotIn("without encryption", server.out)
            self.assert_called(self.name, server)

    def test_refused(self):
        """An adapter without an address, none at all, and an address of another machine: what there is, is listed."""
        # Whether it gets an address of its link by itself is this machine's setting.
        there = r"bare7 \((no|only a link-local) address\), lo \(127.0.0.1\), six7 \(fd00:78::1\), wired7 \(10.77.0.1\)"
        for bind_address, text in (
            ("bare7", "option rpc_zmq_bind_address is 'bare7', an adapter with"),
            ("eth7", "option rpc_zmq_bind_address is 'eth7', no adapter or address here;"),
            ("10.77.0.3", "Cannot assign requested address; set rpc_zmq_bind_address"),
            ("fd00:77::2", "Cannot assign requested address; set rpc_zmq_bind_address"),
        ):
            ended = self.run_inside(self.name, *SERVER, "--url", f"{self.url}?rpc_zmq_bind_address={bind_address}")
            self.assertNotEqual(ended.returncode, 0)
            self.assert_one_sentence(text, ended.stderr)
            self.assertRegex(ended.stderr, there)


class TwoHostsTests(NamespaceCase):
    """Two namespaces with a cable between them."""

    def setUp(self):
        super().setUp()
        self.left, self.right = self.namespace("left"), self.namespace("right")
        self.cable(self.left, "cable", self.right, "cable")
        self.address(self.left, "cable", "10.88.0.1/24", "fd00:88::1/64")
        self.address(self.right, "cable", "10.88.0.2/24", "fd00:88::2/64")

    def test_wildcard(self):
        """Bound to everything, a server is reached by the name that it tells, over IPv4 and IPv6."""
        for bind_address, host, told in (
            ("*", "10.88.0.1", "10.88.0.1"),
            ("::", "fd00:88::1", r"\[fd00:88::1\]"),
            ("::", "10.88.0.1", "10.88.0.1"),
        ):
            server = self.start_inside(self.left, f"{self.url}?rpc_zmq_bind_address={bind_address}&rpc_zmq_host={host}")
            self.assertRegex(server.out, rf"as member one at tcp://{told}:\d+,")
            self.assertEqual(server.out.count("without encryption"), 1)
            self.assert_called(self.right, server)

    def test_adapter(self):
        """An adapter is bound, and the other host learns its address."""
        server = self.start_inside(self.left, f"{self.url}?rpc_zmq_bind_address=cable")
        self.assertIn("at tcp://10.88.0.1:", server.out)
        self.assert_called(self.right, server)

    def test_fixed_table(self):
        """A line of a fixed table is bound and called, over IPv4 and IPv6."""
        for address in ("10.88.0.1:5001", "[fd00:88::1]:5001"):
            (self.directory / "ring.json").write_text(f'{{"calc": {{"one": "{address}"}}}}')
            url = f"zmq+file://{self.directory}/ring.json"
            server = self.start_inside(self.left, url)
            self.assertIn(f"at tcp://{address},", server.out)
            self.assertNotIn("without encryption", server.out)
            self.assert_called(self.right, server, url)
