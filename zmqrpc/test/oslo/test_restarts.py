"""Servers that are not there yet, that end in every way, and that are there again."""

from __future__ import annotations

from collections import Counter
from typing import Any

from zmqrpc.test.oslo.processes import Child, OsloTestCase
from zmqrpc.test.processes import until

AT_ONCE = 0.5
"""Seconds within which something for nobody must have returned."""


class RestartTests(OsloTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.directory / "numbers"

    def server(self, name: str, green: bool = False) -> Child:
        child = self.child(green, log=str(self.log))
        child.do("serve", topic="restart", server=name)
        return child

    def assert_outcomes(self, outcomes: dict[str, Any], *names: str) -> Counter[str]:
        """Check that no call hung, ended otherwise than with an answer or `MessagingTimeout`, or ran twice."""
        (longest,) = outcomes.pop("seconds")
        self.assertLess(longest, 4.5)
        ran = Counter(self.log.read_text().splitlines())
        self.assertEqual([number for number, times in ran.items() if times > 1], [])
        lost = [
            number
            for outcome, numbers in outcomes.items()
            if outcome not in names and "nobody listens there" not in outcome
            for number in numbers
        ]
        self.assertEqual({outcome.split(":")[0] for outcome in outcomes} - {*names, "MessagingTimeout"}, set())
        for name in names:
            self.assertEqual([each for each in outcomes[name] if str(each) not in ran], [])
        return Counter({"lost": len(lost), "ran": len(ran)})

    def assert_restart(self, green: bool) -> None:
        first = self.server("first", green)
        client = self.child(green)
        calls = client.begin("call_until", topic="restart", threads=4, gate="enough", timeout=3)
        until(lambda: self.log.exists() and self.log.stat().st_size > 200, "calls")
        first.process.kill()
        second = self.server("second", green)
        size = self.log.stat().st_size
        until(lambda: self.log.stat().st_size > size + 200, "calls go to the new one")
        # It comes to its end as programs do.
        second.do("end", server="second")
        self.assertEqual((second.leave(), second.err), (0, ""))
        third = self.server("third", green)
        size = self.log.stat().st_size
        until(lambda: self.log.stat().st_size > size + 200, "calls go to the newest one")
        third.stop_running()
        stopped = client.begin("seconds", what="call", topic="restart", method="name", timeout=1)
        seconds, error = client.ended(stopped)
        self.assertIn("MessagingTimeout", error["kinds"])
        self.assertIn("restart", error["text"])
        self.assertLess(seconds, 1.9)
        waits = client.begin("call", topic="restart", method="name", timeout=10)
        self.pause(2)
        third.run_again()
        self.assertEqual(client.ended(waits), "third")
        size = self.log.stat().st_size
        until(lambda: self.log.stat().st_size > size + 200, "calls go on")
        client.do("open", gate="enough")
        counted = self.assert_outcomes(client.ended(calls), "first", "second", "third")
        # Of four threads: those that the killed one had, and twice those that its stopped successor had for 3 s.
        self.assertLessEqual(counted["lost"], 12)

    def test_restart(self):
        """Calls go on while their only server is killed, restarted, stopped and continued; none hangs or runs twice."""
        self.assert_restart(False)

    def test_green_restart(self):
        """So it is when server and client have green threads."""
        self.assert_restart(True)

    def test_rolling_restart(self):
        """Of two servers one after another ends, and is started again: no call fails."""
        ones = [self.server("one"), self.server("two")]
        client = self.child()
        calls = client.begin("call_until", topic="restart", threads=4, gate="enough", timeout=3)
        for each in range(4):
            size = self.log.stat().st_size if self.log.exists() else 0
            until(lambda size=size: self.log.exists() and self.log.stat().st_size > size + 200, "calls")
            old = ones.pop(0)
            old.do("end", server=["one", "two"][each % 2])
            self.assertEqual((old.leave(), old.err), (0, ""))
            ones.append(self.server(["one", "two"][each % 2]))
        client.do("open", gate="enough")
        self.assertEqual(self.assert_outcomes(client.ended(calls), "one", "two")["lost"], 0)


class NobodyTests(OsloTestCase):
    def assert_at_once(self, client: Child, act: str, kinds: Any = None, **arguments: Any) -> Any:
        seconds, error = client.do("seconds", what=act, **arguments)
        self.assertLess(seconds, AT_ONCE, arguments)
        if kinds is None:
            self.assertIsNone(error)
        else:
            self.assertIn(kinds, error["kinds"])
        return error

    def assert_nobody(self, green: bool) -> None:
        """Check what becomes of what nobody listens to, and that a call finds who listens within its timeout."""
        topic = f"nobody-{green}"
        client = self.child(green)
        # It begins the reactor.
        error = client.do("seconds", what="call", topic=topic, method="name", timeout=0.5)[1]
        self.assertIn("MessagingTimeout", error["kinds"])
        self.assertIn(topic, error["text"])
        self.assertIn("listens", error["text"])
        for name in ("a", "b.c", "d@e"):
            self.assert_at_once(client, "cast", topic=name, method="note")
            self.assert_at_once(client, "cast", topic=name, server="host-1.example", method="note")
            self.assert_at_once(client, "cast", topic=name, fanout=True, method="note")
            self.assert_at_once(client, "notify", topic=name)
        waits = client.begin("call", topic=topic, method="name", timeout=20)
        directed = client.begin("call", topic=topic, server="late", method="name", timeout=20)
        error = self.assert_at_once(
            client, "call", "MessageUndeliverable", topic=topic, method="name", timeout=20, at_least_once=True
        )
        self.assertNotIn("MessagingException", error["kinds"])
        self.assertEqual(error["facts"]["routing_key"], topic)
        self.assertEqual(error["facts"]["exchange"], "openstack")
        self.assertEqual(error["facts"]["message"]["method"], "name")
        self.assertIn(topic, str(error["facts"]["exception"]))
        self.assert_at_once(client, "cast", "MessageUndeliverable", topic=topic, method="note", at_least_once=True)
        server = self.child(green)
        server.do("serve", topic=topic, server="late")
        self.assertEqual([client.ended(waits), client.ended(directed)], ["late", "late"])
        client.do("call", topic=topic, method="name", at_least_once=True)

    def test_nobody(self):
        """What nobody listens to returns at once, and a call waits for who does within its timeout."""
        self.assert_nobody(False)

    def test_nobody_green(self):
        """So it is with green threads."""
        self.assert_nobody(True)
