"""`zmqrpc notify` and `zmqrpc listen`, as users run them: real processes."""

from __future__ import annotations

import json
import signal
from subprocess import PIPE, Popen

from zmqrpc.test.processes import LIMIT, ProcessTestCase, command, until


class NotificationTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.environment["ZMQRPC_URL"] = self.url

    def notify(self, *words):
        return self.run_to_end("zmqrpc", "notify", *words)

    def listen(self, *words):
        listening = self.start("zmqrpc", "listen", *words)
        until(lambda: "listening to" in listening.err, lambda: listening.out + listening.err)
        return listening

    def test_there_and_back(self):
        """Each pool has a copy; listeners of one pool share; everything of it is printed at once."""
        nobody = self.notify("events", "info", "vm.started")
        self.assertEqual((nobody.returncode, nobody.stdout), (0, "0\n"))
        self.assertIn("does not exist", nobody.stderr)
        audit, first, second = (
            self.listen("--pool", "audit", "events", "more"),
            self.listen("events"),
            self.listen("events"),
        )
        for number in range(4):
            sent = self.notify("events", "info", "vm.started", f"number={number}", "--context", '{"user": "ada"}')
            self.assertEqual((sent.returncode, sent.stdout, sent.stderr), (0, "2\n", ""))
        sent = self.notify("more", "error", "disk", 'bytes={"$bytes": "aGk="}', "--publisher", "me", "--json")
        self.assertEqual((sent.stdout, sent.stderr), ("1\n", ""))
        until(lambda: audit.out.count("\n") == 5, lambda: audit.out)
        printed = [json.loads(line) for line in audit.out.splitlines()]
        said = printed[0]
        self.assertEqual(len({each.pop("message_id") for each in printed}), 5)
        self.assertRegex(said.pop("timestamp"), r"^\d{4}-\d\d-\d\dT")
        self.assertRegex(said.pop("publisher_id"), r"^zmqrpc\.")
        self.assertEqual(
            said,
            {
                "topic": "events",
                "priority": "info",
                "event_type": "vm.started",
                "payload": {"number": 0},
                "context": {"user": "ada"},
            },
        )
        last = printed[-1]
        self.assertEqual(
            (last["topic"], last["priority"], last["publisher_id"], last["payload"]),
            ("more", "error", "me", {"bytes": {"$bytes": "aGk="}}),
        )
        until(lambda: (first.out + second.out).count("\n") == 4, lambda: first.out + second.out)
        shared = [[json.loads(line)["payload"]["number"] for line in each.out.splitlines()] for each in (first, second)]
        self.assertEqual(sorted(number for each in shared for number in each), [0, 1, 2, 3])
        listed = self.run_to_end("zmqrpc", "ls", "events").stdout
        self.assertEqual(listed.count(" listener "), 3, listed)
        self.assertEqual(listed.count("(audit)"), 1, listed)
        for listening, sign in ((audit, signal.SIGTERM), (first, signal.SIGINT), (second, signal.SIGINT)):
            listening.signal(sign)
            self.assertEqual(listening.ends(), 0, listening.err)
        self.assertIn("nobody is registered", self.run_to_end("zmqrpc", "ls").stderr)
        again = self.notify("events", "info", "vm.started")
        self.assertEqual((again.returncode, again.stdout), (0, "0\n"))
        self.assertIn("nobody listens to events", again.stderr)

    def test_the_reader_has_left(self):
        """What cannot be printed is given back, and the listener ends."""
        words = [*command("zmqrpc"), "listen", "events"]
        listening = Popen(words, stdout=PIPE, stderr=PIPE, env=self.environment)
        assert listening.stdout is not None and listening.stderr is not None
        self.addCleanup(listening.wait)
        self.addCleanup(listening.kill)
        self.assertIn(b"listening to", listening.stderr.readline())
        listening.stdout.close()
        sent = self.notify("events", "info", "x", "--timeout", "1")
        self.assertEqual(sent.returncode, 4, sent.stderr)
        self.assertEqual(listening.wait(LIMIT), 141)
        self.assertEqual(listening.stderr.read(), b"")
        listening.stderr.close()

    def test_no_matchmaker(self):
        """A fixed table has no listeners; a store that does not answer is waited for, and people are told."""
        (self.directory / "ring.json").write_text('{"events": {"one": "127.0.0.1:5999"}}')
        refused = self.run_to_end("zmqrpc", "listen", "--url", f"zmq+file://{self.directory}/ring.json", "events")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("names servers alone", refused.stderr)
        url = f"zmq+redis://127.0.0.1:{self.taken_port()}"
        waiting = self.start("zmqrpc", "listen", "--url", url, "events", "--exchange", "x")
        until(lambda: "not registered yet" in waiting.err, lambda: waiting.err)
        self.assertRegex(waiting.err, "nobody can find it: the Redis server .* no answer to SUBSCRIBE within 1 s")
        waiting.signal()
        self.assertEqual(waiting.ends(), 0, waiting.err)
        self.assertEqual(self.notify("--url", url, "events", "info", "x", "--timeout", "3").returncode, 6)
