"""Services that find each other in etcd."""

from __future__ import annotations

from zmqrpc.test.etcd import single
from zmqrpc.test.oslo.processes import OsloTestCase


class EtcdTests(OsloTestCase):
    def assert_serves(self, green: bool) -> None:
        url = f"{single(self).url}?rpc_zmq_bind_address=127.0.0.1"
        server, client = (self.child(green, url) for _ in range(2))
        server.do("serve", topic="etcd", server="one")
        server.do("listen", topic="etcd", name="heard")
        self.assertEqual(client.do("calls", topic="etcd", count=40, threads=4, method="name"), {"one": 40})
        client.do("cast", topic="etcd", fanout=True, method="note")
        client.do("notify", topic="etcd")
        for name in ("", "heard"):
            server.hears(1, name)
        server.do("end", server="one")
        failure = self.fails(client, "call", topic="etcd", method="name", at_least_once=True)
        self.assertIn("MessageUndeliverable", failure.kinds)
        for child in (server, client):
            self.assertFalse(child.do("has_reactor"))
            self.assertEqual((child.leave(), child.err), (0, ""))

    def test_serves(self):
        """They do in the reactor of a thread, and no other reactor comes into being."""
        self.assert_serves(False)

    def test_serves_green(self):
        """So they do in that of a green thread."""
        self.assert_serves(True)
