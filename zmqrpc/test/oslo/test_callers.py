"""Many threads call at once."""

from __future__ import annotations

from zmqrpc.test.oslo.processes import OsloTestCase


class CallerTests(OsloTestCase):
    def assert_many(self, green: bool, threads: int) -> None:
        server, client = self.child(green), self.child(green)
        server.do("serve", topic="many", server="one")
        pid = str(server.do("pid"))
        one = client.do("timed", topic="many", count=1000, threads=1)
        many = client.do("timed", topic="many", count=2000, threads=threads)
        self.assertEqual([one[0], many[0]], [{pid: 1000}, {pid: 2000 // threads * threads}])
        # Threads that wake each other up to no purpose would make it many times slower.
        self.assertLess(many[1], 4 * one[1])
        # All of them wait at the same time, more than the server runs at a time.
        calls = client.begin("calls_until", topic="many", threads=threads, gate="enough", method="nap", timeout=20)
        client.do("calls", topic="many", count=5, timeout=20)
        client.do("open", gate="enough")
        self.assertEqual(set(client.ended(calls)), {"one"})
        self.assertEqual((client.leave(), client.err), (0, ""))

    def test_threads(self):
        """200 threads are answered as fast as one, and wait together."""
        self.assert_many(False, 200)

    def test_green_threads(self):
        """So are 400 green ones."""
        self.assert_many(True, 400)
