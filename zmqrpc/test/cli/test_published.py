"""`zmqrpc fanout` where fan-outs are published: real processes."""

from __future__ import annotations

import json
import signal

from zmqrpc.test.cli.test_zmqrpc import CALC
from zmqrpc.test.processes import ProcessTestCase, until


class PublishedTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.url += "?use_pub_sub=true"
        self.environment["ZMQRPC_URL"] = self.url
        self.module("calc", CALC)

    def fanout(self, text, *options):
        ended = self.run_to_end("zmqrpc", "fanout", "calc", "note", f"text={text}", *options)
        reached = json.loads(ended.stdout)
        named = {key: [each["member"] for each in reached[key]] for key in ("members", "published", "missing")}
        return ended.returncode, named, ended.stderr

    def read(self, member):
        return json.loads(self.run_to_end("zmqrpc", "call", f"calc.{member}", "read").stdout)

    def test_fanout(self):
        """Whom it reached is said, and so is that no publisher is up."""
        proxy = self.start("twistd", "-n", "--pidfile=", "zmq-proxy", "--url", self.url)
        proxy.says("ready: registered")
        apps = ("--app", "calc:Calc", "--topic", "calc", "--server")
        self.serve(*apps, "node-1")
        self.serve(*apps, "node-2", url=self.url.replace("use_pub_sub=true", "use_pub_sub=false"))
        told = {"members": ["node-2"], "published": ["node-1"], "missing": []}
        self.assertEqual(self.fanout("one"), (0, told, ""))
        for member in ("node-1", "node-2"):
            until(lambda member=member: self.read(member) == ["one"], "both have it")
        proxy.signal(signal.SIGTERM)
        proxy.ends()
        status, told, said = self.fanout("two", "--timeout", "1")
        self.assertEqual((status, told), (3, {"members": ["node-2"], "published": [], "missing": ["node-1"]}))
        self.assert_one_sentence("node-1: NoRoute: the fan-out failed: no publisher is up: none is recorded", said)
