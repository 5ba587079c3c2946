"""Several transports in one process."""

from __future__ import annotations

from functools import partial
from typing import Any

from zmqrpc.test.oslo.processes import Child, OsloTestCase
from zmqrpc.test.processes import until


class TransportTests(OsloTestCase):
    def test_two_urls(self):
        """Transports with different URLs live in one process, each for itself."""
        other = self.redis_url()
        server, client = self.child(), self.child()
        for name, url in (("sqlite", None), ("redis", other)):
            server.do("serve", topic="two", server=name, url=url)
        for _ in range(2):
            self.assertEqual(client.do("call", topic="two", method="name"), "sqlite")
            self.assertEqual(client.do("call", topic="two", method="name", url=other), "redis")
            client.do("cleanup")
        self.assertEqual(client.do("call", topic="two", method="name", url=other), "redis")
        for child in (server, client):
            self.assertEqual((child.leave(), child.err), (0, ""))

    def assert_apart(self, green: bool) -> None:
        urls = [self.url, self.redis_url()]
        processes = [self.child(green), self.child(green)]
        for number, process in enumerate(processes):
            for store, url in enumerate(urls):
                process.do("serve", topic="both", server=f"{number}", says=f"{number} at {store}", url=url)
        whom = {"topic": "both", "count": 200, "threads": 4, "method": "name", "timeout": 10}
        few = {**whom, "count": 2, "threads": 1}
        for process in processes:
            for url in urls:
                until(partial(self.both_answer, process, {**few, "url": url}), "both answer")
        begun = [
            (process, store, process.begin("calls", **whom, url=url))
            for process in processes
            for store, url in enumerate(urls)
        ]
        for process, store, number in begun:
            self.assertEqual(set(process.ended(number)), {f"0 at {store}", f"1 at {store}"})
        for process in processes:
            process.do("cleanup")
        for process in processes:
            self.assertEqual(set(process.do("calls", **whom, url=urls[1])), {"0 at 1", "1 at 1"})
        for process in processes:
            self.assertEqual((process.leave(), process.err), (0, ""))

    def both_answer(self, process: Child, whom: dict[str, Any]) -> bool:
        """Tell whether a client has heard from both: it passes over one that is slow to answer its greeting."""
        return len(process.do("calls", **whom)) == 2

    def test_apart(self):
        """Two processes call and serve at two stores at once: no call goes astray, and one transport ends alone."""
        self.assert_apart(False)

    def test_apart_green(self):
        """So it is with green threads."""
        self.assert_apart(True)

    def test_twice(self):
        """Two transports with the same URL are two: each calls and serves, for both, and one ends alone."""
        for green in (False, True):
            topic = f"twice-{green}"
            whom = {"topic": topic, "count": 10, "method": "name"}
            process, other = self.child(green), self.child(green)
            process.do("serve", topic=topic, server="first")
            process.do("call", topic=topic, method="name")
            process.do("begin_another")
            process.do("serve", topic=topic, server="second")
            for who in (process, other):
                until(partial(self.both_answer, who, {**whom, "count": 2}), "both answer")
                self.assertEqual(who.do("calls", **whom), {"first": 5, "second": 5})
            other.do("cast", topic=topic, fanout=True, method="note")
            self.assertEqual(sorted(name for name, _ in process.hears(2)), ["first", "second"])
            process.do("cleanup")
            self.assertEqual(set(other.do("calls", topic=topic, count=10, method="name")), {"first", "second"})
            self.assertEqual(process.do("call", topic=topic, server="second", method="name"), "second")
            process.do("end", server="second")
            self.assertEqual(other.do("calls", topic=topic, count=10, method="name"), {"first": 10})
            for child in (process, other):
                self.assertEqual((child.leave(), child.err), (0, ""))
