"""What the driver leaves alone in the process of a service, and what it says there."""

from __future__ import annotations

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.processes import until
from zmqrpc.test.servers import RedisServer


class MannersTests(OsloTestCase):
    def assert_leaves_alone(self, green: bool) -> None:
        child = self.child(green)
        before = child.do("belongs_to_service", set_up=True)
        child.do("serve", topic="manners", server="one")
        child.do("listen", topic="manners", name="heard")
        self.assertEqual(child.do("calls", topic="manners", count=40, threads=4, method="name"), {"one": 40})
        child.do("notify", topic="manners")
        child.hears(1, "heard")
        self.assertEqual(child.do("belongs_to_service"), before)
        self.assertEqual(before["stack"], 128 * 1024)
        for server in ("one", "heard"):
            child.do("end", server=server)
        child.do("cleanup")
        self.assertEqual(child.do("belongs_to_service"), before)
        self.assertEqual((child.leave(), child.err), (0, ""))

    def test_leaves_alone(self):
        """Signals, what wakes up for them, and the size of stacks are the service's, and stay."""
        self.assert_leaves_alone(False)

    def test_leaves_alone_green(self):
        """So it is with green threads."""
        self.assert_leaves_alone(True)

    def test_says(self):
        """What zmqrpc complains of is logged as ``zmqrpc`` where the service logs, and nothing is printed."""
        redis = RedisServer(self)
        for green in (False, True):
            child = self.child(green, redis.url)
            child.do("log_to_list")
            child.do("serve", topic="says", server="one")
            redis.kill()
            logged = until(lambda child=child: child.do("logged"), "something is logged")
            names = {name.partition(".")[0] for name, _, _ in logged}
            self.assertEqual((names, child.err, child.out), ({"zmqrpc"}, "", ""))
            self.assertLessEqual({level for _, level, _ in logged}, {"WARNING", "ERROR"})
            redis.start()
