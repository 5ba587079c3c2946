"""Processes that exit without `cleanup()`, as most services do, and what a transport costs that is never used."""

from __future__ import annotations

import json
import time

from zmqrpc.test.oslo.processes import Child, OsloTestCase
from zmqrpc.test.processes import until
from zmqrpc.test.servers import RedisServer

PROMPTLY = 2.0
"""Seconds within which a process ends."""


class ExitTests(OsloTestCase):
    def assert_leaves(self, child: Child) -> None:
        began = time.monotonic()
        self.assertEqual((child.leave(), child.err, child.out), (0, "", ""))
        self.assertLess(time.monotonic() - began, PROMPTLY)

    def assert_exits(self, green: bool, url: str) -> None:
        topic = f"exits-{green}"
        server, client, idle = (self.child(green, url) for _ in range(3))
        server.do("serve", topic=topic, server="one")
        server.do("serve", topic=topic, server="two")
        server.do("listen", topic=topic, name="heard", batch_size=10, batch_timeout=60)
        idle.do("serve", topic=topic, server="idle")
        until(lambda: len(client.do("calls", topic=topic, count=3, method="name")) == 3, "all answer")
        self.assertEqual(client.do("calls", topic=topic, count=6, method="name"), {"one": 2, "two": 2, "idle": 2})
        client.do("notify", topic=topic)
        # It has not stopped its servers, and closes nothing.
        self.assert_leaves(idle)
        self.assertEqual(client.do("calls", topic=topic, count=6, method="name"), {"one": 3, "two": 3})
        # Threads of it wait.
        for _ in range(10):
            client.begin("call", topic=topic, method="nap", args={"seconds": 1}, timeout=20)
            client.begin("call", topic="nobody", method="name", timeout=20)
        client.do("call", topic=topic, method="name")
        self.assert_leaves(client)
        self.pause(1)
        self.assert_leaves(server)
        fresh = self.child(url=url)
        seconds, error = fresh.do("seconds", what="call", topic=topic, method="name", timeout=20, at_least_once=True)
        self.assertIn("MessageUndeliverable", error["kinds"])
        self.assertLess(seconds, PROMPTLY)

    def test_sqlite(self):
        """A process ends at once, quietly, and is found no more."""
        self.assert_exits(False, self.url)

    def test_redis_green(self):
        """So does one with green threads, and its records in Redis are withdrawn."""
        redis = RedisServer(self)
        url = f"{redis.url}?rpc_zmq_bind_address=127.0.0.1"
        self.assert_exits(True, url)
        # It is no matter to the end of a process whether Redis answers. A busy machine may hold one of them up.
        for green in (False, True):
            seconds = []
            for _ in range(2):
                child = self.child(green, url)
                child.do("serve", topic="stopped", server="one")
                redis.stop_answering()
                began = time.monotonic()
                self.assertEqual(child.leave(), 0)
                seconds.append(time.monotonic() - began)
                # That others may still find it is said.
                self.assertNotIn("Traceback", child.err)
                redis.answer_again()
            self.assertLess(min(seconds), PROMPTLY)

    def test_last_words(self):
        """What a process has said just before it exits is heard."""
        server = self.child()
        server.do("serve", topic="last", server="one")
        server.do("listen", topic="last", name="heard")
        client = self.child()
        client.do("last_words", topic="last", count=50)
        self.assert_leaves(client)
        # They run in threads, one of which may overtake another.
        self.assertCountEqual([told["value"] for _, told in server.hears(50)], range(50))
        self.assertCountEqual([told[4] for told in server.hears(50, "heard")], range(50))

    def test_forgotten(self):
        """A server keeps no answers for who has exited."""
        server = self.child()
        server.do("serve", topic="forgets", server="one")
        for green in (False, True):
            client = self.child(green)
            client.do("calls", topic="forgets", count=5)
            client.do("cast", topic="forgets", method="note")
            self.assertEqual(client.leave(), 0)
        told = self.run_to_end("zmqrpc", "inspect", "--json", "--url", self.url, "forgets")
        # The one is that to the question.
        (seen,) = json.loads(told.stdout)
        self.assertEqual(sum(each["unsettled"] for each in seen["clients"]), 1, told.stdout)

    def test_unused(self):
        """Transports that are never used cost no thread, descriptor or file, also when they are cleaned up."""
        for green in (False, True):
            child = self.child(green)
            self.assertEqual(child.do("construct", count=144), [[], []])
            self.assertEqual(list(self.directory.glob("matchmaker*")), [])
            self.assert_leaves(child)

    def test_cleanup(self):
        """A transport may be cleaned up twice, and used again; in a fork that leaves the parent's alone."""
        server = self.child()
        server.do("serve", topic="cleanup", server="one")
        for green in (False, True):
            client = self.child(green)
            before = len(client.do("descriptors"))
            for _ in range(3):
                client.do("call", topic="cleanup", method="name")
                client.do("cleanup")
                client.do("cleanup")
            # The reactor stays.
            self.assertLess(len(client.do("descriptors")), before + 10)
            calls = client.begin("calls_until", topic="cleanup", threads=4, gate="enough", method="name")
            outcomes = client.do("fork_and_clean_up", topic="cleanup")
            self.assertEqual(outcomes, ["one", "one"])
            client.do("open", gate="enough")
            self.assertEqual(set(client.ended(calls)), {"one"})
            self.assert_leaves(client)

    def test_cleanup_under_calls(self):
        """Calls that wait when their transport is cleaned up end with an error of oslo.messaging."""
        server, client = self.child(), self.child()
        server.do("serve", topic="cleanup", server="one")
        call = client.begin("seconds", what="call", topic="cleanup", method="wait", args={"gate": "a"}, timeout=20)
        server.hears(1)
        client.do("cleanup")
        _, error = client.ended(call)
        self.assertIn("MessagingException", error["kinds"])


class ApplicationTests(OsloTestCase):
    def test_own_reactor(self):
        """An application that runs Twisted's reactor itself is served by that, in which it may not block."""
        url = self.redis_url()
        server = self.child(url=url)
        server.do("serve", topic="other", server="one")
        self.environment = {**self.environment, "PYTHONWARNINGS": "ignore"}
        ended = self.python("-m", "zmqrpc.test.oslo.application", url)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        told = json.loads(ended.stdout)
        self.assertEqual(told.pop("answers"), ["one"] * 20)
        self.assertEqual(told.pop("own"), "application")
        self.assertNotIn("zmqrpc", told.pop("threads"))
        refused = told.pop("refused")
        self.assertIn("RuntimeError: a blocking call of oslo.messaging was made in the thread of the reactor", refused)
        self.assertEqual(told.pop("fork"), "one")
        self.assertEqual(told, {})
        # Nor is it found any more by who has never known it.
        listed = self.run_to_end("zmqrpc", "ls", "--url", url)
        self.assertIn("other", listed.stdout)
        self.assertNotIn("application", listed.stdout)
