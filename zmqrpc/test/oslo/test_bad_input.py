"""What is wrong is said in a sentence, of URLs, values and messages; and users of zmqrpc itself are understood."""

from __future__ import annotations

import json
import socket

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.processes import until

APPLICATION = """
    from zmqrpc import expose

    class Plain:
        @expose
        def echo(self, context, value=None):
            return value

        @expose
        def context(self, context):
            return context

        @expose
        def fail(self, context):
            raise KeyError("not there")

        @expose
        def raw(self, context):
            return b"bytes"

        @expose
        def text(self, context, value):
            return {"oslo.json": value}
"""


class BadInputTests(OsloTestCase):
    def test_urls(self):
        """A transport whose URL is wrong is refused with what is wrong, and what would be right."""
        child = self.child()
        for url, *words in (
            (f"{self.url}?use_pub_sob=true", "use_pub_sob", "use_pub_sub"),
            (f"{self.url}?use_pub_sub=perhaps", "use_pub_sub", "perhaps"),
            (f"{self.url}?zmq_topology=ring", "ring", "router-proxy"),
            (f"{self.url}?rpc_zmq_min_port=many", "rpc_zmq_min_port", "many"),
            ("zmq+nothing://host", "nothing", "redis"),
            ("zmq+redis://user:secret@host:port", "port"),
            ("zmq+redis://user:secret@host:99999", "port"),
            ("zmq+redis://:secret@host/database", "database"),
            ("zmq+sentinel://:secret@", "host"),
            ("zmq+etcd://:secret@host", "user"),
            ("zmq+sqlite://", "sqlite"),
            ("zmq+file:///nothing/ring.json", "/nothing/ring.json"),
            ("zmq+dummy://?use_pub_sub=true", "dummy", "proxies"),
            ("zmq://?rpc_zmq_matchmaker=nothing", "nothing", "redis"),
        ):
            failure = self.fails(child, "call", topic="topic", method="method", url=url, timeout=1)
            # That one is no URL, and not read by us.
            self.assertIn("ValueError" if url.endswith(":port") else "InvalidTransportURL", failure.kinds, url)
            for word in words:
                self.assertIn(word, failure.text, url)
            self.assertNotIn("secret", failure.text)
        # What was right before stays right.
        child.do("serve", topic="topic", server="one")
        self.assertEqual(child.do("call", topic="topic", method="name"), "one")

    def test_options(self):
        """An option of the configuration that is wrong is refused as one of the URL."""
        for name, value, kind in (
            ("use_pub_sub", "perhaps", "ConfigFileValueError"),
            ("rpc_zmq_min_port", 0, "ConfigFileValueError"),
            ("rpc_zmq_max_port", 2000, "InvalidTransportURL"),
        ):
            path = self.directory / f"{name}.conf"
            path.write_text(f"[DEFAULT]\nrpc_response_timeout = 5\n[oslo_messaging_zmq]\n{name} = {value}\n")
            child = self.child(path=str(path))
            failure = self.fails(child, "call", topic="topic", method="method")
            self.assertIn(kind, failure.kinds)
            self.assertIn(name, failure.text)

    def test_too_large(self):
        """A message that is larger than what may be sent is refused to who sends it."""
        url = f"{self.url}?max_message_size=100000"
        child = self.child(url=url)
        child.do("serve", topic="large", server="one")
        self.assertEqual(child.do("call", topic="large", method="echo", args={"value": "x" * 50_000}), "x" * 50_000)
        for act in ("call", "cast"):
            failure = self.fails(child, act, topic="large", method="echo", args={"value": "x" * 200_000})
            self.assertIn("MessageDeliveryFailure", failure.kinds)
            self.assertIn("max_message_size", failure.text)

    def test_targets_and_times(self):
        """What no name can be is an error of oslo.messaging; an empty server is none, and no time is too long."""
        child = self.child()
        child.do("serve", topic="topic", server="one")
        for act in ("call", "cast"):
            failure = self.fails(child, act, topic="x" * 300, method="name", timeout=1)
            self.assertIn("InvalidTarget", failure.kinds)
            self.assertIn("MessagingException", failure.kinds)
        self.assertEqual(child.do("call", topic="topic", server="", method="name", timeout=1e12), "one")
        for timeout in (0, -1):
            failure = self.fails(child, "call", topic="topic", method="name", timeout=timeout)
            self.assertIn("MessagingTimeout", failure.kinds)
            self.assertIn("its timeout was over at once", failure.text)
        for monitor in (10, -1, 0, 2e9):
            named = child.do("call", topic="topic", method="name", timeout=0.5, call_monitor_timeout=monitor)
            self.assertEqual(named, "one")

    def test_no_port(self):
        """A server and a listener for which no port is free raise what oslo.messaging's own would."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            url = f"{self.redis_url()}&rpc_zmq_min_port={port}&rpc_zmq_max_port={port + 1}"
            child = self.child(url=url)
            for failure in (
                self.fails(child, "serve", topic="topic", server="one"),
                self.fails(child, "listen", topic="topic", name="heard"),
            ):
                self.assertLessEqual({"ServerListenError", "MessagingException"}, set(failure.kinds))
                self.assertIn("topic", failure.text)
                self.assertIn(f"on port {port}: Address already in use", failure.text)

    def test_time_of_the_url(self):
        """It is that of calls for which no time is given."""
        child = self.child(url=f"{self.url}?rpc_response_timeout=0.5")
        for timeout, least in ((None, 0.5), (1.5, 1.5)):
            seconds, error = child.do("seconds", what="call", topic="nobody", method="name", timeout=timeout)
            self.assertIn("MessagingTimeout", error["kinds"])
            self.assertGreaterEqual(seconds, least)
            self.assertLess(seconds, least + 5)

    def test_fanout_to_one_that_is_full(self):
        """Who has a fan-out does not get it again, when another has no room for it."""
        full, other = self.child(url=f"{self.url}?max_running_calls=1"), self.child()
        full.do("serve", topic="topic", server="full")
        other.do("serve", topic="topic", server="other")
        self.reach(other, "topic", 2)
        held = other.begin("call", topic="topic", server="full", method="wait", args={"gate": "held"}, timeout=30)
        full.hears(1)
        failure = self.fails(other, "cast", topic="topic", fanout=True, method="note")
        self.assertIn("MessageDeliveryFailure", failure.kinds)
        self.assertIn("max_running_calls", failure.text)
        other.do("cast", topic="topic", server="other", method="note", args={"last": True})
        # They run in threads, one of which may overtake another.
        self.assertCountEqual(other.hears(2), [["other", {}], ["other", {"last": True}]])
        full.do("open", gate="held")
        self.assertEqual(other.ended(held), "full")

    def zmqrpc(self, *words: str):
        return self.run_to_end("zmqrpc", words[0], "--url", self.url, *words[1:])

    def test_from_zmqrpc(self):
        """``zmqrpc call`` is answered by a server of oslo.messaging, and told of what is wrong; it goes on."""
        server = self.child()
        server.do("serve", topic="oslo", server="one")
        server.do("listen", topic="oslo", name="heard")
        for value in (5, "text", [1, {"a": None}], 1.5):
            called = self.zmqrpc("call", "oslo", "echo", f"value={json.dumps(value)}")
            self.assertEqual((called.returncode, called.stderr), (0, ""))
            self.assertEqual(json.loads(called.stdout), value)
        called = self.zmqrpc("call", "--context", '{"user": "ada"}', "oslo", "context", "value=1")
        self.assertEqual(json.loads(called.stdout), [{"user": "ada"}, {"value": 1}])
        for words, text in (
            (("oslo", "fail", 'kind="ValueError"'), "no value"),
            (("oslo", "nothing"), "nothing"),
            (("oslo", "echo", 'oslo.json="no json"'), "oslo.json"),
            (("oslo", "echo", 'oslo.json="[1]"'), "oslo.json"),
            (("oslo", "echo", "oslo.json=5"), "oslo.json"),
            (("oslo", "echo", 'oslo.json="[5, {}]"'), ""),
            (("oslo", "echo", 'oslo.json="[{}, {}]"'), ""),
        ):
            called = self.zmqrpc("call", *words)
            self.assertEqual(called.returncode, 5, called)
            self.assert_one_sentence(text, called.stderr)
        self.assertEqual(self.zmqrpc("cast", "oslo", "note", "value=1").returncode, 0)
        self.assertEqual(server.hears(2)[1:], [["one", {"value": 1}]])
        self.assertEqual(self.zmqrpc("notify", "oslo.info", "info", "event", "value=1").returncode, 0)
        self.assertEqual(server.hears(1, "heard")[0][3:5], ["event", {"value": 1}])
        # What no listener can read is told there, and done with.
        for text in ('oslo.json="no json"', 'oslo.json="[1]"', "oslo.json=5"):
            self.assertEqual(self.zmqrpc("notify", "oslo.info", "info", "event", text).returncode, 0)
        until(lambda: server.err.count("a notification of the type event cannot be read") == 3, lambda: server.err)
        self.assertEqual(self.zmqrpc("notify", "oslo.info", "info", "event", "value=2").returncode, 0)
        self.assertEqual(server.hears(2, "heard")[1][3:5], ["event", {"value": 2}])
        self.assertIn("one", self.zmqrpc("ping", "oslo").stdout)
        self.assertIn("any_method", self.zmqrpc("describe", "oslo").stdout)
        self.assertEqual(server.do("call", topic="oslo", method="name"), "one")

    def test_to_zmqrpc(self):
        """A client of oslo.messaging calls a server of zmqrpc."""
        self.module("plain", APPLICATION)
        self.environment["PYTHONPATH"] += f":{self.directory}"
        self.serve("--app", "plain:Plain", "--topic", "plain")
        client = self.child()
        for value in (5, "text", [1, {"a": None}], 2**64 - 1):
            self.assertEqual(client.do("call", topic="plain", method="echo", args={"value": value}), value)
        self.assertEqual(client.do("call", topic="plain", method="context", context={"user": "ada"}), {"user": "ada"})
        failure = self.fails(client, "call", topic="plain", method="fail")
        self.assertEqual(
            (failure.type, failure.facts["exc_type"]), ("oslo_messaging.rpc.client.RemoteError", "KeyError")
        )
        self.assertIn("not there", failure.text)
        for method, args in (("nothing", {}), ("echo", {"other": 1}), ("echo", {"value": 2**70})):
            failure = self.fails(client, "call", topic="plain", method=method, args=args)
            self.assertIn("RemoteError", failure.kinds)
        self.assertEqual(client.do("call", topic="plain", method="text", args={"value": "[1]"}), [1])
        for bad in ("no json", 5):
            failure = self.fails(client, "call", topic="plain", method="text", args={"value": bad})
            self.assertIn("MessagingException", failure.kinds)
        client.do("cast", topic="plain", method="echo")
        self.assertEqual(client.do("call", topic="plain", method="echo"), None)
