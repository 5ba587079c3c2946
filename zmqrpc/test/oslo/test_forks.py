"""A process forks, as a service does for its workers: each fork calls and serves by itself."""

from __future__ import annotations

import signal
from typing import Any

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.processes import until
from zmqrpc.test.servers import RedisServer


class ForkTests(OsloTestCase):
    def assert_all_call(self, url: str) -> None:
        """Have a parent that has called, and one that has not, fork four: all five call, and at once."""
        server = self.child(url=url)
        server.do("serve", topic="forks", server="one")
        pid = str(server.do("pid"))
        for green in (False, True):
            for parent_calls in (True, False):
                parent = self.child(green, url)
                if parent_calls:
                    self.assertEqual(parent.do("calls", topic="forks", count=20), {pid: 20})
                outcomes = parent.do("fork_and_call", topic="forks", forks=4, calls=20)
                self.assertEqual([counts for counts, _ in outcomes], [{pid: 20}] * 5)
                self.assertLess(max(seconds for _, seconds in outcomes), 5)
                # What a fork does at its end is none of its parent's affair.
                self.assertEqual(parent.do("calls", topic="forks", count=40, threads=4), {pid: 40})
                self.assertEqual((parent.leave(), parent.err), (0, ""))

    def test_redis(self):
        """All five find the server in Redis, to which each has a connection of its own."""
        self.assert_all_call(RedisServer(self).url)

    def test_sqlite(self):
        """All five find the server in a file."""
        self.assert_all_call(self.url)

    def test_bare(self):
        """Forks of a green parent that has not called need not be prepared, as oslo.service prepares its workers."""
        server = self.child()
        server.do("serve", topic="forks", server="one")
        pid = str(server.do("pid"))
        parent = self.child(True)
        outcomes = parent.do("fork_and_call", topic="forks", forks=8, calls=20, how="bare")
        self.assertEqual([counts for counts, _ in outcomes], [{pid: 20}] * 9)
        self.assertEqual((parent.leave(), parent.err), (0, ""))

    def test_untold(self):
        """A fork of which nobody tells, as those that uWSGI makes in C, can call all the same."""
        server = self.child()
        server.do("serve", topic="forks", server="one")
        pid = str(server.do("pid"))
        parent = self.child()
        parent.do("serve", topic="other", server="parent")
        self.assertEqual(parent.do("calls", topic="forks", count=20), {pid: 20})
        for _ in range(2):
            outcomes = parent.do("fork_and_call", topic="forks", forks=3, calls=40, threads=8, how="untold")
            self.assertEqual([counts for counts, _ in outcomes], [{pid: 40}] * 4)
        self.assertEqual(server.do("call", topic="other", method="name"), "parent")
        self.assertEqual((parent.leave(), parent.err), (0, ""))

    def test_under_way(self):
        """A process forks again and again while its threads call: no lock is held for ever in a fork."""
        server = self.child()
        server.do("serve", topic="forks", server="one")
        pid = str(server.do("pid"))
        parent = self.child()
        under_way = parent.begin("calls_until", topic="forks", threads=10, gate="forked")
        until(lambda: parent.do("called") > 20, "calls")
        for _ in range(5):
            outcomes = parent.do("fork_and_call", topic="forks", forks=2, calls=8, threads=2)
            self.assertEqual([counts for counts, _ in outcomes], [{pid: 8}] * 3)
        parent.do("open", gate="forked")
        self.assertEqual(list(parent.ended(under_way)), [pid])

    def test_comes_back(self):
        """A fork that a method makes, and that comes back out of it, ends there, and says why: it answers nobody."""
        for green in (False, True):
            server = self.child(green)
            server.do("serve", topic=f"back-{green}", server="one")
            client = self.child(green)
            for each, raises in enumerate((False, True)):
                status = client.do("call", topic=f"back-{green}", method="fork", args={"raises": raises}, timeout=10)
                self.assertEqual(status, 1)
                self.assertEqual(server.err.count("is a fork and came back"), each + 1)
            self.assertEqual(client.do("call", topic=f"back-{green}", method="name"), "one")


class WorkerTests(OsloTestCase):
    def assert_balanced(self, counts: dict[str, int], pids: list[int]) -> None:
        self.assertEqual(set(counts), {str(pid) for pid in pids})
        self.assertLessEqual(max(counts.values()) - min(counts.values()), 1, counts)

    def workers(self, parent: Any, topic: str, count: int) -> list[int]:
        """Have workers forked, all under one name."""
        pids: list[int] = parent.do("fork_workers", topic=topic, count=count, server="parent")
        return pids

    def test_balance(self):
        """Calls of one client go to the workers of one topic in turn, also when it is used by several threads."""
        parent = self.child()
        pids = self.workers(parent, "balance", 8)
        for green in (False, True):
            client = self.child(green)
            self.reach(client, "balance", 8)
            self.assert_balanced(client.do("calls", topic="balance", count=160), pids)
            self.assert_balanced(client.do("calls", topic="balance", count=160, threads=8), pids)
        self.assertEqual(parent.do("end_workers", pids=pids), [0] * 8)
        self.assertEqual((parent.leave(), parent.err), (0, ""))

    def assert_parent_serves(self, green: bool) -> None:
        """Have a parent that serves fork workers that serve the same: each of them is one of five."""
        topic = f"both-{green}"
        log = self.directory / topic
        parent = self.child(green, log=str(log))
        parent.do("serve", topic=topic, server="parent")
        client = self.child(green)
        pid = parent.do("pid")
        self.assertEqual(client.do("calls", topic=topic, count=4), {str(pid): 4})
        pids = self.workers(parent, topic, 4)
        fresh = self.child(green)
        self.reach(fresh, topic, 5)
        self.assert_balanced(fresh.do("calls", topic=topic, count=50), [pid, *pids])
        # Each hears what is for all; of what is for one of their name each has its share.
        fresh.do("cast", topic=topic, fanout=True, method="number", args={"value": 1})
        for _ in range(20):
            fresh.do("cast", topic=topic, server="parent", method="number", args={"value": 2})
        until(lambda: sorted(log.read_text().split()) == ["1"] * 5 + ["2"] * 20, log.read_text)
        self.assert_balanced(fresh.do("calls", topic=topic, count=50, server="parent"), [pid, *pids])
        # One is killed; the parent's own and the others go on.
        killed = pids.pop()
        parent.do("kill_worker", pid=killed, number=signal.SIGKILL)
        until(lambda: str(killed) not in fresh.do("calls", topic=topic, count=25, timeout=2), "the dead one is gone")
        self.assert_balanced(fresh.do("calls", topic=topic, count=40), [pid, *pids])
        self.assertEqual(parent.do("end_workers", pids=pids), [0] * 3)
        # They were withdrawn.
        self.assertEqual(fresh.do("calls", topic=topic, count=8), {str(pid): 8})
        parent.do("end", server="parent")
        self.assertEqual((parent.leave(), parent.err), (0, ""))

    def test_parent_serves(self):
        """Workers that are forked from a process that serves have servers of their own, and that goes on."""
        self.assert_parent_serves(False)

    def test_green_parent_serves(self):
        """So it is with green threads."""
        self.assert_parent_serves(True)
