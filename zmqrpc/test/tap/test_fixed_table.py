"""`twistd zmq-rpc-server` and `zmqrpc` with a fixed table, as users run them."""

from __future__ import annotations

import json
import os
import signal

from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ProcessTestCase, until
from zmqrpc.test.tap.test_twistd import CALC, RPC_SERVER

CALC_APP = ("--app", "calc:Calc", "--topic", "calc")


class FixedTableProcessTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.module("calc", CALC)
        self.path = self.directory / "ring.json"
        self.url = f"zmq+file://{self.path}"

    def write(self, table):
        new = self.directory / "ring.json.new"
        new.write_text(table if isinstance(table, str) else json.dumps(table))
        os.replace(new, self.path)

    def call(self, *arguments, url=None):
        return self.run_to_end("zmqrpc", "call", "--url", url or self.url, "--timeout", "10", *arguments)

    def pid(self, target):
        called = self.call(target, "pid")
        self.assertEqual((called.stderr, called.returncode), ("", 0))
        return int(called.stdout)

    def assert_server_refused(self, text, *options, url=None):
        ended = self.run_to_end("twistd", *RPC_SERVER, "--url", url or self.url, *CALC_APP, *options)
        self.assertEqual(ended.returncode, 2)
        self.assert_one_sentence(text, ended.stderr)

    def test_two_members(self):
        """Each binds its own line; members are called by name, together, and after a restart."""
        ports = [free_port(), free_port()]
        self.write({"calc": {name: f"127.0.0.1:{port}" for name, port in zip(("one", "two"), ports, strict=True)}})
        servers = {name: self.serve(*CALC_APP, "--server", name) for name in ("one", "two")}
        for (name, server), port in zip(servers.items(), ports, strict=True):
            self.assertIn(f"topic calc as member {name} at tcp://127.0.0.1:{port}, exchange openstack", server.out)
            self.assertEqual(self.pid(f"calc.{name}"), server.process.pid)
        self.assertEqual(self.call("calc", "add", "a=1", "b=2").stdout, "3\n")
        reached = self.run_to_end("zmqrpc", "fanout", "--url", self.url, "calc", "pid").stdout
        self.assertTrue("one" in reached and "two" in reached, reached)
        servers["one"].signal()
        self.assertEqual(servers["one"].ends(), -signal.SIGTERM)
        again = self.serve(*CALC_APP, "--server", "one")
        self.assertEqual(self.pid("calc.one"), again.process.pid)

    def test_list(self):
        """In a list the host names the member, which is what --host makes of a server."""
        port = free_port()
        self.write({"calc": [f"127.0.0.1:{port}"]})
        server = self.serve(*CALC_APP, "--host", "127.0.0.1")
        self.assertEqual(self.pid("calc.127.0.0.1"), server.process.pid)
        self.assertEqual(self.pid("calc"), server.process.pid)

    def test_ipv6(self):
        port = free_port()
        self.write({"calc": {"six": f"[::1]:{port}"}})
        server = self.serve(*CALC_APP, "--server", "six")
        self.assertIn(f"at tcp://[::1]:{port}", server.out)
        self.assertEqual(self.pid("calc.six"), server.process.pid)

    def test_wide(self):
        """A name in the line may mean any address: all are bound, with a warning, and others are told the name."""
        self.write({"calc": {"one": f"any-name:{free_port()}"}})
        server = self.serve(*CALC_APP, "--server", "one")
        self.assertEqual(server.out.count("without encryption"), 1)
        self.assertIn("at tcp://any-name:", server.out)

    def test_exchange(self):
        port = free_port()
        self.write({"nova/calc": {"one": f"127.0.0.1:{port}"}})
        self.assert_server_refused("has no topic openstack/calc; its topics are nova/calc", "--server", "one")
        server = self.serve(*CALC_APP, "--server", "one", "--exchange", "nova")
        self.assertEqual(self.call("calc", "pid").returncode, 3)
        url = f"{self.url}?control_exchange=nova"
        self.assertEqual(self.call("calc", "pid", url=url).stdout, f"{server.process.pid}\n")

    def test_no_line(self):
        """Who has no line does not start, and is told whose lines there are; in the background as well."""
        self.write({"calc": {"one": "127.0.0.1:5001", "two": "127.0.0.1:5002"}})
        text = (
            f"the fixed table {self.path} has no member three under the topic openstack/calc; its members are one, two"
        )
        self.assert_server_refused(text, "--server", "three")
        ended = self.run_to_end("twistd", "zmq-rpc-server", "--url", self.url, *CALC_APP, "--server", "three")
        self.assertEqual(ended.returncode, 2)
        self.assertIn(text, ended.stderr.splitlines()[0])

    def test_port_taken(self):
        port = self.taken_port()
        self.write({"calc": {"one": f"127.0.0.1:{port}"}})
        self.assert_server_refused(
            f"cannot bind 127.0.0.1 on port {port}: Address already in use; the fixed table "
            f"{self.path} names this port for openstack/calc.one: free it, or change the line (--url)",
            *("--server", "one"),
        )

    def test_not_here(self):
        self.write({"calc": {"one": "203.0.113.7:5001"}})
        self.assert_server_refused(
            f"cannot bind 203.0.113.7:5001: Cannot assign requested address; the fixed table {self.path} has "
            "openstack/calc.one at 203.0.113.7:5001: start it on the machine that has this address, correct the line",
            *("--server", "one"),
        )
        port = free_port()
        self.write({"calc": {"one": f"203.0.113.7:{port}"}})
        server = self.serve(*CALC_APP, "--server", "one", url=f"{self.url}?rpc_zmq_bind_address=127.0.0.1")
        self.assertIn(f"bound to tcp://127.0.0.1:{port}; others are told tcp://203.0.113.7:{port}", server.out)

    def test_two_lines(self):
        """Two topics of one process need one address."""
        self.write({"calc": {"one": "127.0.0.1:5001"}, "other": {"one": "127.0.0.1:5002"}})
        applications = ("--app", "calc:Calc", "--app", "given:Other", "--topic", "calc")
        self.module(
            "given",
            "from calc import Calc\nfrom zmqrpc import Target\nclass Other(Calc):\n    target = Target('other')\n",
        )
        options = ("--url", self.url, *applications, "--server", "one")
        ended = self.run_to_end("twistd", *RPC_SERVER, *options)
        self.assert_one_sentence(
            "has openstack/calc.one at 127.0.0.1:5001 and openstack/other.one at 127.0.0.1:5002", ended.stderr
        )
        port = free_port()
        self.write({"calc": {"one": f"127.0.0.1:{port}"}, "other": {"one": f"127.0.0.1:{port}"}})
        server = self.serve(*applications, "--server", "one")
        for topic in ("calc", "other"):
            self.assertEqual(self.pid(topic), server.process.pid)

    def test_broken(self):
        """A table that cannot be used: one sentence with file and line; status 2 of the client."""
        for table, text in (
            ("", " is empty; write"),
            ('{"calc": {"one": "127.0.0.1:1",\n"one": "127.0.0.1:2"}}', ", line 2: 'one' is in line 1 already"),
            ('{"calc": ["127.0.0.1"]}', ", line 1: '127.0.0.1' has no port; write host:port"),
            ('{"calc":\n ["127.0.0.1:5",]}', ", line 2: "),
            (None, " cannot be read: No such file or directory"),
        ):
            if table is None:
                self.path.unlink()
            else:
                self.write(table)
            called = self.call("calc", "pid")
            self.assertEqual(called.returncode, 2)
            self.assert_one_sentence(f"the fixed table {self.path}{text}", called.stderr)
        self.assert_server_refused(text, "--server", "one")

    def test_line_taken_out(self):
        """A server whose line is taken out says so, is not called any more, and is again when the line is back."""
        self.write({"calc": {"one": f"127.0.0.1:{free_port()}"}})
        table = self.path.read_text()
        server = self.serve(*CALC_APP, "--server", "one")
        self.write({})
        server.says("has no line for calc.one")
        self.assertEqual(self.call("calc", "pid").returncode, 3)
        self.write(table)
        server.says("at its address again")
        self.assertEqual(self.pid("calc"), server.process.pid)
        self.write("{")
        server.says("reading a fixed table fails")
        self.path.write_text(table)
        server.says("works again")
        server.signal()
        self.assertEqual(server.ends(), -signal.SIGTERM)
        until(lambda: "stopped" in server.out, "its end")
        self.assertNotIn("Traceback", server.out)
