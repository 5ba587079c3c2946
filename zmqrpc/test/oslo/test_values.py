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

    def test_changed_after(self):
        """What is sent is what it was when it was sent, whatever its sender does to it while it is under way."""
        server = self.child()
        server.do("serve", topic="values", server="one")
        server.do("listen", topic="values", name="heard")
        as_sent = [[{"of": each}, {"lasts": [each]}] for each in range(50)]
        for count, green in ((50, False), (100, True)):
            self.child(green).do("change_after", topic="values", count=50)
            self.assertCountEqual(server.hears(count)[-50:], as_sent)
            # The context of a notifier is what its serializer leaves of it: nothing.
            heard = [told[4] for told in server.hears(count, "heard")[-50:]]
            self.assertCountEqual(heard, [within for _, within in as_sent])
