"""A matchmaker that takes no record of ours, for good: it may be put right while the server runs."""

from __future__ import annotations

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import MemoryNode, Network
from zmqrpc.testing.store import Store, StoreMatchmaker


class RefusingMatchmaker(StoreMatchmaker):
    _store: RefusingStore

    def register(self, record, expire):
        if self._store.refusal is not None:
            return fail(self._store.refusal)
        return super().register(record, expire)


class RefusingStore(Store):
    refusal: Exception | None = None

    def matchmaker(self, clock=None):
        return RefusingMatchmaker(self, super().matchmaker(clock)._matchmaker, clock or self._clock)


class RefusedRecordsTests(SynchronousTestCase):
    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.store = RefusingStore(self.network.clock)
        self.lines = LogLines(self, "zmqrpc.registrar")
        node = MemoryNode(self.network, self.store)
        node.server(Target("work"), [Worker()])
        self.start = node.startService

    def test_logged_once(self):
        """Each refusal is one line, however often it is repeated; so is the next, also of the same text."""
        self.store.refusal = ConfigError("the topic work is not yours; ask for it")
        self.start()
        self.network.run(60)
        (line,) = self.lines
        self.assertIn("the topic work is not yours; ask for it", line)
        self.assertIn("tried again", line)
        self.store.refusal = ConfigError("the topic work is full")
        self.network.run(60)
        self.assertEqual(len(self.lines), 2)
        refusal, self.store.refusal = self.store.refusal, None
        self.network.run(60)
        self.assertEqual(len(self.store.records()), 1)
        self.assertEqual(len(self.lines), 3)
        self.assertIn("takes", self.lines[2])
        self.store.refusal = refusal
        self.network.run(400)
        self.assertEqual(len(self.lines), 4)

    def stopped(self, *targets, before=lambda: None, **options):
        """Let a node serve and stop while the store does not answer; return what is logged then."""
        self.lines.clear()
        node = MemoryNode(self.network, self.store, **options)
        for target in targets or [Target("work", server="a")]:
            node.server(target, [Worker()])
        before()
        node.startService()
        self.network.run(1)
        self.store.go_down(after=0.1)
        self.network.result_of(node.stopService())
        self.store.come_back()
        return self.lines

    def test_not_withdrawn(self):
        """What stays in the store after a stop is one line, with names."""
        (line,) = self.stopped(*[Target(f"topic-{number}", server="a") for number in range(12)])
        self.assertIn("at the stop, openstack/topic-0.a, openstack/topic-1.a, ", line)
        self.assertIn("/topic-7.a, ...: the store of this test is down; let it come back; others may find it", line)
        self.assertTrue(line.endswith("others may find it for up to 300 s more (zmq_target_expire)"), line)

    def test_withdrawn(self):
        node = MemoryNode(self.network, self.store)
        node.server(Target("work"), [Worker()])
        node.startService()
        self.network.run(1)
        self.network.result_of(node.stopService())
        self.assertEqual((self.store.records(), self.lines), ([], []))

    def test_not_withdrawn_and_never_expires(self):
        (line,) = self.stopped(zmq_target_expire=0)
        self.assertIn("others may find it until it is removed there, as it never expires (zmq_target_expire)", line)

    def test_not_withdrawn_of_several_exchanges(self):
        (line,) = self.stopped(*[Target("work", server="a", exchange=exchange) for exchange in ("nova", "cinder")])
        self.assertIn("nova/work.a, cinder/work.a: ", line)

    def test_what_was_never_stored_is_not_left(self):
        self.assertEqual(self.stopped(before=lambda: self.store.go_down(after=0.1)), [])

    def test_what_the_second_withdrawal_removes_is_not_left(self):
        """A stop during a registration withdraws at once, and again when the store has answered."""
        node = MemoryNode(self.network, self.store)
        node.server(Target("work"), [Worker()])
        self.store.come_back(slow=1.0)
        node.startService()
        self.network.run(0.5)
        stopped = node.stopService()
        self.network.run(0.6)
        self.assertEqual(len(self.store.records()), 1)
        self.store.go_read_only()
        self.network.run(0.6)
        self.store.come_back()
        self.network.result_of(stopped)
        self.assertEqual((self.store.records(), self.lines), ([], []))

    def test_outage(self):
        """An outage is the matchmaker's to log, and one in between does not make a refusal new."""
        self.store.refusal = MatchmakerUnavailable("the store does not answer")
        self.start()
        self.network.run(60)
        self.assertEqual(self.lines, [])
        for error in (ConfigError("no"), self.store.refusal, ConfigError("no")):
            self.store.refusal = error
            self.network.run(60)
        self.assertEqual(len(self.lines), 1)
