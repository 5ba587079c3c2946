"""The network in memory itself: its faults are those of a network, and a run replays exactly."""

from __future__ import annotations

import subprocess
import sys

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.errors import ConfigError, DeadlineExceeded, MatchmakerUnavailable, NoRoute, ServerLost
from zmqrpc.test.processes import ENVIRONMENT
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.sim.story import Story
from zmqrpc.testing import MemoryNode, Network, Store, Stuck, Weather

WORK = Target("work")


class NetworkTests(SynchronousTestCase):
    def begin(self, weather=None, **options):
        self.network = Network(3, weather)
        self.store = Store(self.network.clock)
        self.worker = Worker("a")
        self.server = MemoryNode(self.network, self.store, "server", **options)
        self.server.server(Target("work", server="a"), [self.worker])
        self.server.startService()
        self.node = MemoryNode(self.network, self.store, "client", **options)
        self.node.startService()
        self.client = self.node.client()
        self.network.result_of(self.server.when_ready())

    def call(self, method="mark", **options):
        return self.client.call(WORK, method, **options)

    def result_of(self, deferred):
        return self.network.result_of(deferred)

    @property
    def now(self):
        return self.network.clock.seconds()

    def test_delay(self):
        """A call takes two delays of the network, and of each direction its own."""
        self.begin(Weather(delay=(0.1, 0.1), reading=(0, 0)))
        self.result_of(self.call())
        for there_and_back, weather in ((0.2, None), (0.4, Weather(delay=(0.3, 0.3), reading=(0, 0))), (0.2, None)):
            self.network.set_weather(weather, "server", "client")
            began = self.now
            self.result_of(self.call())
            self.assertAlmostEqual(self.now - began, there_and_back)

    def test_far_away(self):
        """A member is reached whose answers take so long that the HELLOs of one link together are late."""
        self.begin(Weather(delay=(0.5, 0.5)))
        self.assertEqual(self.result_of(self.call(timeout=20)), "a")

    def test_short_partition(self):
        """What a partition has held arrives when it heals, and nobody notices."""
        self.begin()
        self.result_of(self.call())
        self.network.partition("client", "server")
        calls = [self.call(timeout=5) for _ in range(3)]
        self.network.run(1)
        self.assertEqual([call.called for call in calls], [False] * 3)
        self.assertEqual(len(self.worker.ran), 1)
        self.network.heal("client", "server")
        self.assertEqual([self.result_of(call) for call in calls], ["a"] * 3)
        self.assertAlmostEqual(self.now, 1, places=1)

    def test_broken_while_its_server_stops(self):
        """The GOAWAY that comes with WELCOME counts: nothing new goes there."""
        self.begin()
        held = self.call("hold", timeout=20)
        self.network.run_until(lambda: self.worker.held)
        self.store.go_read_only()
        self.server.stopService()
        self.network.run(0.1)
        self.network.break_connections("client", "server")
        self.network.run(1)
        [link] = self.node._links.all()
        self.assertTrue(link.state.stopping)
        self.worker.let_go()
        self.assertEqual(self.result_of(held), "a")

    def test_long_partition(self):
        """A partition of more than 1.5 s ends the connection and takes what it has held."""
        self.begin()
        self.result_of(self.call())
        self.network.partition("client", "server")
        call = self.call(timeout=20)
        with self.assertRaises(ServerLost) as caught:
            self.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertLess(self.now, 4)
        self.network.heal()
        self.network.run(20)
        self.assertEqual(len(self.worker.ran), 1)
        self.assertEqual(self.result_of(self.call()), "a")

    def test_cut_one_way(self):
        """When only the answers are cut off, the call runs, and its caller cannot know."""
        self.begin()
        self.result_of(self.call())
        self.network.cut("server", "client")
        with self.assertRaises(DeadlineExceeded) as caught:
            self.result_of(self.call(timeout=1))
        self.assertTrue(caught.exception.maybe_executed)
        self.assertEqual(len(self.worker.ran), 2)

    def test_isolated_from_the_start(self):
        """A member that is recorded and cannot be reached costs a call a try of 2 s."""
        self.begin()
        self.network.isolate("server")
        with self.assertRaises(NoRoute):
            self.result_of(self.call(timeout=20))
        self.assertAlmostEqual(self.now, 2, places=1)
        self.network.heal("server")
        self.network.run(2)
        self.assertEqual(self.result_of(self.call()), "a")

    def test_refused(self):
        """A host that refuses is not reached, and reached again when it does not."""
        self.begin()
        self.network.refuse("server")
        with self.assertRaises(NoRoute) as caught:
            self.result_of(self.call(timeout=20))
        self.assertIn("refused", str(caught.exception))
        self.network.accept("server")
        self.network.run(2)
        self.assertEqual(self.result_of(self.call()), "a")

    def test_broken_connection(self):
        """A broken connection is made anew, and a call that was under way is answered once."""
        self.begin()
        self.result_of(self.call())
        calls = [self.client.call(WORK, "hold", {"number": number}, timeout=5) for number in range(3)]
        self.network.run_until(lambda: len(self.worker.held) == 3)
        self.network.break_connections("client", "server")
        self.network.run(0.1)
        self.worker.let_go()
        self.assertEqual([self.result_of(call) for call in calls], ["a"] * 3)
        self.assertEqual(self.worker.ran, [0, 0, 1, 2])
        self.assertLess(self.now, 1)

    def test_broken_connection_while_the_store_is_empty(self):
        """A connection that breaks is made anew though the store has lost the record, and nothing else changes."""
        for old in (0, 2):
            self.begin()
            calls = [self.call("hold", timeout=5)]
            self.network.run_until(lambda: self.worker.held)
            self.network.run(old)
            self.empty()
            self.network.break_connections("client", "server")
            calls.append(self.call(timeout=5))
            self.network.run(0.2)
            self.worker.let_go()
            self.assertEqual([self.result_of(call) for call in calls], ["a"] * 2)
            self.assertEqual(len(self.result_of(self.client.members(WORK))), 1)

    def test_partition_while_the_store_is_empty(self):
        """Who is lost after the store has lost it is gone, until it registers again."""
        self.begin()
        self.result_of(self.call())
        self.empty()
        self.network.partition("client", "server")
        with self.assertRaises(ServerLost):
            self.result_of(self.call(timeout=20))
        self.assertEqual(self.result_of(self.client.members(WORK)), [])
        self.network.heal()
        with self.assertRaises(NoRoute):
            self.result_of(self.call(timeout=5))
        self.store.come_back()
        self.assertEqual(self.result_of(self.call(timeout=20, wait_for_ready=True)), "a")

    def test_expired_behind_a_partition(self):
        """A record that expires while nobody reaches its instance goes, and comes back with it."""
        self.begin(zmq_target_expire=6)
        self.result_of(self.call())
        self.network.isolate("server")
        self.store.go_read_only()
        self.network.run(7)
        self.assertEqual(self.result_of(self.client.members(WORK)), [])
        self.network.heal()
        self.store.come_back()
        self.assertEqual(self.result_of(self.call(timeout=20, wait_for_ready=True)), "a")

    def test_expired_where_everybody_is_reached(self):
        """A record that expires because its instance cannot refresh it is kept by those who are connected to it."""
        self.begin(zmq_target_expire=6)
        self.result_of(self.call())
        self.store.go_read_only()
        self.network.run(30)
        self.assertEqual(self.store.records(), [])
        self.assertEqual(self.result_of(self.call()), "a")
        self.network.run(30)
        with self.assertRaises(ServerLost) as caught:
            self.server.kill()
            self.result_of(self.call())
        self.assertGreater(caught.exception.journey.record_age, 60)

    def empty(self):
        self.store.go_read_only()
        self.store.forget()
        self.network.run(0.05)

    def test_loss(self):
        """Messages that vanish are sent again until they are answered, and run once."""
        acks = {"rpc_ack_timeout_base": 0.2, "rpc_ack_timeout_multiplier": 1, "rpc_retry_attempts": -1}
        # More is lost than the budget would allow to be repeated.
        self.begin(rpc_retry_budget=-1, **acks)
        self.result_of(self.call())
        self.network.set_weather(Weather(loss=0.3))
        calls = []
        for number in range(100):
            calls.append(self.client.cast(WORK, "mark", {"number": number}, timeout=50))
            self.network.run(0.05)
        for call in calls:
            self.result_of(call)
        self.assertEqual(sorted(self.worker.ran), sorted([0, *range(100)]))

    def test_duplication(self):
        """Messages that come twice run once."""
        self.begin(Weather(duplication=0.5))
        for number in range(200):
            self.assertEqual(self.result_of(self.client.call(WORK, "mark", {"number": number})), "a")
        self.assertEqual(self.worker.ran, list(range(200)))
        self.assertGreater(self.server.notices.counts["repeated"], 20)

    def test_same_host(self):
        """Nodes of one host reach each other, also when it is isolated."""
        self.begin()
        neighbour = MemoryNode(self.network, self.store, "server")
        neighbour.startService()
        self.network.isolate("server")
        self.assertEqual(self.result_of(neighbour.client().call(WORK, "mark")), "a")

    def test_store_is_apart(self):
        """A network that is partitioned and a store that is down have nothing to do with each other."""
        self.begin()
        self.store.go_down(after=2)
        with self.assertRaises(MatchmakerUnavailable):
            self.result_of(self.call(timeout=20))
        self.assertAlmostEqual(self.now, 2, places=1)

    def test_killed_is_dead(self):
        """A killed node does nothing any more, and its host stays."""
        self.begin()
        call = self.client.call(WORK, "hold")
        self.network.run_until(lambda: self.worker.held)
        self.node.kill()
        self.worker.let_go()
        self.network.run(100)
        self.assertFalse(call.called)
        self.assertEqual(self.node.clock.getDelayedCalls(), [])
        self.assertIsNotNone(self.network.address_of("client"))

    def test_paused(self):
        """Time goes on step by step for all others while one process stands."""
        self.begin()
        seen = []
        for number in range(1, 40):
            self.network.clock.callLater(number / 10, lambda: seen.append(self.network.clock.seconds()))
        began = self.now
        self.server.clock.callLater(0.05, lambda: None)
        self.server.clock.pause(3.0)
        self.network.run(2.0)
        self.assertEqual([round(when - began, 6) for when in seen], [number / 10 for number in range(1, 21)])
        self.network.close()

    def test_stuck(self):
        """A test that waits for what never happens is told so, with the seed."""
        network = Network(17)
        with self.assertRaisesRegex(Stuck, "nothing is scheduled .seed 17"):
            network.result_of(Deferred())
        network.clock.callLater(100, lambda: None)
        with self.assertRaisesRegex(Stuck, "after 5 s .seed 17, at 5.0000 s"):
            network.run_until(lambda: False, 5)

    def test_weather_is_checked(self):
        """A chance is a chance, and a range in order."""
        for wrong in ({"loss": 2}, {"refusal": -0.1}, {"delay": (2, 1)}, {"reading": (-1, 0)}):
            with self.assertRaises(ConfigError):
                Weather(**wrong)


class ReplayTests(SynchronousTestCase):
    def history(self, seed):
        story = Story(seed)
        story.run()
        self.flushLoggedErrors()
        return story.network.history

    def test_replay(self):
        """One seed gives one run, whatever ran before it, and another gives another."""
        histories = {seed: self.history(seed) for seed in range(12)}
        for seed in reversed(histories):
            self.assertEqual(self.history(seed), histories[seed])
        self.assertEqual(len(set(histories.values())), len(histories))

    def test_replay_in_another_process(self):
        """No run depends on the order of sets and hashes, which each process draws for itself."""
        program = "from zmqrpc.test.sim.story import Story\nstory = Story(5); story.run(); print(story.network.history)"
        histories = set()
        for hash_seed in ("1", "2"):
            environment = {**ENVIRONMENT, "PYTHONHASHSEED": hash_seed}
            command = [sys.executable, "-c", program]
            done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            histories.add(done.stdout.strip())
        self.assertEqual(histories, {self.history(5)})
