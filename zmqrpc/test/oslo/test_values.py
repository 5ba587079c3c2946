"""What services send arrives as JSON would bring it, and what JSON refuses is refused as it would be."""

from __future__ import annotations

from zmqrpc.test.oslo.processes import OsloTestCase


class ValueTests(OsloTestCase):
    def test_values(self):
        """Arguments, contexts and results arrive as `jsonutils` would bring them, or are refused as it would."""
        server = self.child()
        server.do("serve", topic="values", server="one")
        server.do("serve", topic="values", server="other", exchange="exchange", namespace="named", version="2.3")
        client = self.child()
        self.assertEqual(client.do("carried", topic="values"), {})
        self.assertEqual(client.do("carried", topic="values", context=True), {})
        self.assertEqual(client.do("brought", topic="values"), {})
        self.assertEqual(client.do("call", topic="values", method="context"), [{}, {}])
        # What it is addressed with.
        named = {"topic": "values", "exchange": "exchange", "method": "context", "args": {"a": 1}}
        answer = client.do("call", **named, namespace="named", version="2.1", context={"user": "ada"})
        self.assertEqual(answer, [{"user": "ada"}, {"a": 1}])
        for wrong in ({"namespace": "named", "version": "2.4"}, {"namespace": "other"}, {}):
            failure = self.fails(client, "call", **named, **wrong)
            self.assertIn("UnsupportedVersion", failure.text)
        self.assertEqual(server.err.count("Traceback"), server.err.count("UnsupportedVersion: "), server.err)
