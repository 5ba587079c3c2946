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

    def test_not_withdrawn(self):
        """What stays in the store after a stop is one line, with names; and where nothing stays there is none."""
        for down in (False, True):
            node = MemoryNode(self.network, self.store)
            for number in range(12):
                node.server(Target(f"topic-{number}", server="a"), [Worker()])
            node.startService()
            self.network.run(1)
            if down:
                self.store.go_down(after=0.1)
            self.network.result_of(node.stopService())
            self.assertEqual(len(self.lines), down, self.lines)
        (line,) = self.lines
        self.assertIn("topic-0.a, topic-1.a, ", line)
        self.assertIn("topic-7.a, ...: the store of this test is down", line)
        self.assertIn("until it expires (zmq_target_expire)", line)

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
