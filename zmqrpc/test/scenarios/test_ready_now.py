"""Whether others can find a node now: it knows, says so, and tells who asks, with a store that fails in each way."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zmqrpc import Target
from zmqrpc.core.outage import AGAIN_SECONDS
from zmqrpc.core.readiness import MUTE, PATIENCE
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IOutages
from zmqrpc.matchmaker._outage_watches import OutageWatches
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import MemoryNode, Network
from zmqrpc.testing.store import Store, StoreMatchmaker

WORK = Target("work")
PING = Target("work", namespace="zmqrpc")
DOWN = "the store of this test is down; let it come back"


class FaultyStore(Store):
    """One that can refuse, and that can swallow what is to be registered."""

    refusal: Exception | None = None
    swallows = False
    knows = False

    def __init__(self, clock):
        super().__init__(clock)
        self.swallowed: list[Deferred[None]] = []
        self.outages: list[OutageWatches] = []

    def matchmaker(self, clock=None):
        kind = KnowingMatchmaker if self.knows else FaultyMatchmaker
        return kind(self, super().matchmaker(clock)._matchmaker, clock or self._clock)

    def go_down(self, after=0.0):
        super().go_down(after)
        self.turned()

    def come_back(self, slow=0.0):
        super().come_back(slow)
        self.turned()

    def turned(self):
        for outages in self.outages:
            outages.turned()


class FaultyMatchmaker(StoreMatchmaker):
    _store: FaultyStore

    def register(self, record, expire):
        if self._store.refusal is not None:
            return fail(self._store.refusal)
        if not self._store.swallows:
            return super().register(record, expire)
        self._store.swallowed.append(Deferred())
        return self._store.swallowed[-1]


@implementer(IOutages)
class KnowingMatchmaker(FaultyMatchmaker):
    """One that knows whether its store answers."""

    asked = 0

    def __init__(self, store, matchmaker, clock):
        super().__init__(store, matchmaker, clock)
        self._outages = OutageWatches(clock, self)
        store.outages.append(self._outages)

    def away(self):
        KnowingMatchmaker.asked += 1
        return "" if self._store.available else DOWN

    def failing(self):
        return list(filter(None, [self.away()]))

    def watch_outages(self, turned):
        return self._outages.add(turned)

    def close(self):
        self._outages.close()
        return super().close()


class ReadyNowTests(SynchronousTestCase):
    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.store = FaultyStore(self.network.clock)
        self.lines = LogLines(self, "zmqrpc.registrar")
        self.changes: list[str] = []

    def begin(self, **options):
        """Serve, and have a client that knows the server."""
        self.node = MemoryNode(self.network, self.store, **options)
        self.node.server(WORK, [Worker()])
        self.assertEqual(self.node.not_ready, "it is not started")
        self.node.startService()
        self.stop_watch = self.node.watch_ready(self.changes.append)
        calling = MemoryNode(self.network, self.store)
        calling.startService()
        self.client = calling.client()
        self.network.result_of(self.node.when_ready())
        self.assertEqual(self.pinged(), {"ready": True, "not_ready": ""})
        self.changes.clear()

    def pinged(self):
        return self.network.result_of(self.client.call(PING, "ping", timeout=5))

    def assert_not_ready(self, text, *, lines=1):
        self.assertEqual(self.node.not_ready, text)
        self.assertEqual(self.pinged(), {"ready": False, "not_ready": text})
        self.assertEqual(self.changes, [text])
        self.assertEqual(len(self.lines), lines)

    def assert_ready_again(self, *, lines=2):
        self.assertEqual(self.pinged(), {"ready": True, "not_ready": ""})
        self.assertEqual(self.changes[1:], [""])
        self.assertEqual(len(self.lines), lines, list(self.lines))

    def test_store_away(self):
        """Where the matchmaker knows that its store is away, so does the node within seconds."""
        self.store.knows = True
        self.begin()
        self.store.go_down()
        self.network.run(PATIENCE - 0.5)
        self.assertEqual((self.node.not_ready, self.changes), ("", []))
        self.network.run(2)
        self.assert_not_ready(DOWN)
        self.network.run(60)
        self.assert_not_ready(DOWN)
        self.assertIn(f"not ready: {DOWN}; those who know us are served", self.lines[0])
        self.store.come_back()
        self.network.run(2)
        self.assert_ready_again()
        self.assertRegex(self.lines[1], r"ready again after 6\d s: registered with the matchmaker")

    def test_nobody_asks(self):
        """A matchmaker that knows it says so: as long as nothing changes nobody asks it, there or away."""
        self.store.knows = True
        self.begin(zmq_target_update=180)
        for _ in range(2):
            self.network.run(10)
            self.patch(KnowingMatchmaker, "asked", 0)
            self.network.run(60)
            self.assertLess(KnowingMatchmaker.asked, 3)
            self.store.go_down()

    def test_blink(self):
        self.store.knows = True
        self.begin()
        self.store.go_down()
        self.network.run(PATIENCE - 1.5)
        self.store.come_back()
        self.network.run(60)
        self.assertEqual((self.changes, list(self.lines)), ([], []))

    def test_refresh_fails(self):
        """Where it does not know, the refresh tells that."""
        self.begin(zmq_target_update=30)
        self.store.go_down()
        self.network.run(20)
        self.assertEqual(self.node.not_ready, "")
        self.network.run(30)
        self.assert_not_ready(DOWN)
        self.store.come_back()
        self.network.run(15)
        self.assert_ready_again()

    def test_refresh_overdue(self):
        """A store that neither takes the records nor refuses them."""
        self.begin(zmq_target_update=30)
        self.store.swallows = True
        self.network.run(30 + MUTE + PATIENCE + 1)
        self.assertRegex(
            self.node.not_ready, "^the matchmaker has not answered for [0-9]+ s what was to be registered$"
        )
        self.assertEqual(len(self.lines), 1)
        self.store.swallows = False
        (swallowed,) = self.store.swallowed
        swallowed.callback(None)
        self.assert_ready_again()

    def test_emptied(self):
        """What is registered again in a moment is no reason."""
        self.begin()
        self.store.forget()
        self.network.run(30)
        self.assertEqual(self.changes, [])

    def test_emptied_again_and_again(self):
        self.begin()
        self.store.go_read_only()
        self.store.forget()
        self.network.run(PATIENCE + 5)
        self.assertNotEqual(self.node.not_ready, "")
        self.store.come_back()
        self.network.run(15)
        self.assertEqual(self.node.not_ready, "")

    def test_refused(self):
        """A refusal is logged once, where it comes from, and is a reason all the same."""
        self.begin(zmq_target_update=30)
        self.store.refusal = ConfigError("the topic work is not yours; ask for it")
        self.network.run(40)
        self.assert_not_ready("the topic work is not yours; ask for it")
        self.store.refusal = None
        self.network.run(15)
        self.assert_ready_again()
        self.assertIn("takes what it refused", self.lines[1])

    def test_refused_after_an_outage(self):
        """Where it was said that it is not ready, the end of that is said, whatever else became of it."""
        self.store.knows = True
        self.begin(zmq_target_update=30)
        self.store.go_down()
        self.network.run(60)
        self.store.refusal = ConfigError("the topic work is not yours; ask for it")
        self.store.come_back()
        self.network.run(AGAIN_SECONDS)
        self.assertEqual(len(self.lines.about("not ready: ")), 1, list(self.lines))
        self.store.refusal = None
        self.network.run(60)
        self.assertEqual(len(self.lines.about("ready again after ")), 1, list(self.lines))

    def test_whoever_is_told_raises(self):
        """That is logged, and breaks neither the others who are told nor the node."""
        self.node = MemoryNode(self.network, self.store)
        self.node.server(WORK, [Worker()])
        self.node.watch_ready(lambda text: self.changes.append(text[1 // 0]))
        self.node.watch_ready(self.changes.append)
        self.node.startService()
        self.network.result_of(self.node.when_ready())
        self.assertEqual(self.changes, [""])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.network.result_of(self.node.stopService())

    def test_a_matchmaker_that_raises(self):
        """One that should tell whether its store answers, and cannot, is asked nothing more, and we are ready."""
        self.store.knows = True
        self.patch(KnowingMatchmaker, "away", lambda matchmaker: 1 / 0)
        self.begin()
        self.network.run(60)
        self.assertEqual((self.node.not_ready, self.changes), ("", []))
        self.assertNotEqual(self.flushLoggedErrors(ZeroDivisionError), [])
        self.network.result_of(self.node.stopService())

    def test_absent_at_the_start(self):
        """It is not ready yet, which is no line of its own: whoever started it waits for the one that says ready."""
        self.store.knows = True
        self.store.go_down()
        node = MemoryNode(self.network, self.store)
        node.server(WORK, [Worker()])
        node.startService()
        node.watch_ready(self.changes.append)
        self.assertEqual(node.not_ready, DOWN)
        self.network.run(60)
        self.assertEqual((node.not_ready, list(self.lines)), (DOWN, []))
        self.store.come_back()
        self.network.run(15)
        self.assertEqual((node.not_ready, self.changes, list(self.lines)), ("", [""], []))

    def test_only_calls(self):
        """Who registers nothing has nothing to be found."""
        self.store.knows = True
        node = MemoryNode(self.network, self.store)
        node.startService()
        self.store.go_down()
        self.network.run(60)
        self.assertEqual((node.not_ready, list(self.lines)), ("", []))

    def test_stop(self):
        self.store.knows = True
        self.begin()
        self.stop_watch()
        self.stop_watch()
        self.store.go_down()
        self.network.run(60)
        self.assertEqual((self.changes, len(self.lines)), ([], 1))
        self.store.come_back()
        stopped = self.node.stopService()
        self.assertEqual(self.node.not_ready, "it is stopping")
        self.network.result_of(stopped)
