"""What is sent again, to whom, and what counts as a repetition, in each topology."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.errors import DeadlineExceeded, ServerLost
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import Network

WORK = Target("work")


class RetryTests(SynchronousTestCase):
    topology = "static-direct"
    proxied = False

    def begin(self, members="ab", drain_timeout=30.0, **options: Any):
        self.network = Network(1)
        self.network.__enter__()
        self.addCleanup(self.network.__exit__, None, None, None)
        self.proxies = [self.network.proxy() for _ in range(2)] if self.proxied else []
        self.workers = {name: Worker(name) for name in members}
        self.nodes = {
            name: self.network.serve(f"work.{name}", worker, drain_timeout=drain_timeout)
            for name, worker in self.workers.items()
        }
        # What is repeated takes from the ten that are lent, and nothing comes in the time of a test.
        self.client = self.network.client(zmq_topology=self.topology, rpc_retry_budget=0, **options)
        self.counts = self.client._delivery.links.notices.counts
        self.network.run(1)

    def call(self, method="mark", number=0, target=WORK, **options):
        return self.client.call(target, method, {"number": number}, **({"timeout": 8} | options))

    def holding(self, number, **options):
        """Make a call that a member holds; return it, and that member's worker and the others."""
        call = self.call("hold", number, **options)
        self.network.run_until(lambda: any(number in worker.held for worker in self.workers.values()))
        (worker,) = (worker for worker in self.workers.values() if number in worker.held)
        return call, worker, [other for other in self.workers.values() if other is not worker]

    def left(self):
        """Spend what is left of the budget; return how much that was."""
        links = self.client._delivery.links
        return sum(links.repetitions.may_repeat(self.network.clock.seconds(), "nobody") for _ in range(20))

    def test_nobody_had_it(self):
        """What waits for a member that is dead, or was given to it in vain, goes elsewhere; that is no repetition."""
        self.begin()
        self.nodes["a"].kill()
        calls = [self.call(number=number) for number in range(30)]
        self.assertEqual({self.network.result_of(call) for call in calls}, {"b"})
        self.assertEqual((self.workers["a"].ran, sorted(self.workers["b"].ran)), ([], list(range(30))))
        self.assertGreaterEqual(self.left(), 9)

    def test_somebody_may_have_had_it(self):
        """It goes nowhere else."""
        self.begin()
        call, worker, (other,) = self.holding(1)
        self.nodes[worker.name].kill()
        with self.assertRaises(ServerLost) as caught:
            self.network.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertEqual((worker.ran, other.ran), ([1], []))

    def test_somebody_may_have_had_it_and_may_run_it_twice(self):
        """It goes elsewhere, as one repetition, and no more often than `rpc_retry_attempts` allows."""
        self.begin("abc", rpc_retry_attempts=1)
        call, first, _ = self.holding(1, idempotent=True)
        self.nodes[first.name].kill()
        first.held.clear()
        self.network.run_until(lambda: any(1 in worker.held for worker in self.workers.values()))
        (second,) = (worker for worker in self.workers.values() if 1 in worker.held)
        self.nodes[second.name].kill()
        with self.assertRaises(ServerLost) as caught:
            self.network.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertIn("; no further one was asked: rpc_retry_attempts is 1 (", str(caught.exception))
        self.assertEqual(sum(len(worker.ran) for worker in self.workers.values()), 2)
        self.assertGreaterEqual(self.left(), 8)

    def test_a_spent_budget_after_a_loss(self):
        """When it is spent the call ends as one that may not run twice."""
        self.begin()
        self.left()
        call, worker, (other,) = self.holding(1, idempotent=True)
        self.nodes[worker.name].kill()
        with self.assertRaises(ServerLost) as caught:
            self.network.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertEqual(other.ran, [])
        self.assertGreaterEqual(self.counts["retry_budget_spent"], 1)

    def test_it_says_why_no_other_was_asked(self):
        """Of what may run twice, and went to nobody all the same; of what may not, nothing is said of others."""
        nobody = "(nobody (listens there|who is recorded can be reached)|the matchmaker cannot tell)"
        for members, spent, options, because in (
            ("a", False, {}, nobody),
            ("ab", True, {}, r"rpc_retry_budget is spent \("),
            ("ab", False, {"rpc_retry_attempts": 0}, r"rpc_retry_attempts is 0 \("),
            ("a", False, {"rpc_retry_attempts": 0}, r"rpc_retry_attempts is 0 \("),
            ("ab", False, {"idempotent": False}, ""),
        ):
            allowed = options.pop("idempotent", True)
            self.begin(members, **options)
            if spent:
                self.left()
            call, worker, others = self.holding(1, idempotent=allowed)
            self.nodes[worker.name].kill()
            with self.assertRaises(ServerLost) as caught:
                self.network.result_of(call)
            self.assert_lost_with(worker.name, caught.exception)
            if because:
                self.assertRegex(str(caught.exception), f"; no other was asked: {because}")
            else:
                self.assertNotIn("was asked", str(caught.exception))
            self.assertEqual([other.ran for other in others], [[]] * len(others))

    # It ended a method that it was to run to its end.

    def stopped(self, worker):
        """Stop a member, which cancels what it runs when its time to drain is up."""
        self.network.result_of(self.nodes[worker.name].stopService())

    def test_a_member_stops_before_it_has_ended(self):
        """What a member that stops has cancelled goes to another if it may run twice, as after a kill."""
        self.begin(drain_timeout=0.5)
        call, worker, (other,) = self.holding(1, idempotent=True)
        plain = self.call("hold", 2, Target("work", server=worker.name))
        self.network.run_until(lambda: len(worker.held) == 2)
        self.stopped(worker)
        with self.assertRaises(ServerLost) as caught:
            self.network.result_of(plain)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertFalse(caught.exception.did_run)
        self.network.run_until(lambda: other.held)
        other.let_go()
        self.assertEqual(self.network.result_of(call), other.name)
        self.assertEqual((worker.ran, other.ran), ([1, 2], [1]))
        self.assertEqual(self.left(), 9)

    def test_a_member_stops_and_no_other_is_asked(self):
        """It ends as lost where nobody else is there, or nothing may be repeated any more."""
        for members, spent, options, because in (
            ("a", False, {}, "(only members that are stopping could take it|nobody listens there)"),
            ("ab", True, {}, "rpc_retry_budget is spent"),
            ("ab", False, {"rpc_retry_attempts": 0}, "rpc_retry_attempts is 0"),
        ):
            self.begin(members, drain_timeout=0.5, **options)
            if spent:
                self.left()
            call, worker, others = self.holding(1, idempotent=True)
            self.stopped(worker)
            with self.assertRaises(ServerLost) as caught:
                self.network.result_of(call)
            self.assertTrue(caught.exception.maybe_executed)
            self.assertIn("the server stopped before the method had ended", str(caught.exception))
            self.assertNotIn("is gone: the server", str(caught.exception))
            self.assertRegex(str(caught.exception), f"had ended; no other was asked: {because}")
            self.assertRegex(str(caught.exception), f"member {worker.name}, .* message [0-9a-f]+/.*, stage running")
            self.assertEqual([other.ran for other in others], [[]] * len(others))

    def test_a_member_stops_and_the_next_comes_later(self):
        """What may wait for somebody to be ready goes to who comes; and what does not come in time says who had it."""
        self.begin("a", drain_timeout=0.5)
        call, worker, _ = self.holding(1, idempotent=True, wait_for_ready=True, timeout=20)
        late, _, _ = self.holding(2, idempotent=True, wait_for_ready=True, timeout=2)
        self.stopped(worker)
        with self.assertRaises(DeadlineExceeded) as caught:
            self.network.result_of(late)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertIn("the server stopped before the method had ended", str(caught.exception))
        other = Worker("b")
        self.network.serve("work.b", other)
        self.network.run_until(lambda: other.held)
        other.let_go()
        self.assertEqual(self.network.result_of(call), "b")

    def test_a_member_had_lost_its_client(self):
        """What it has cancelled since the client was away does not go to it again, though it is there."""
        self.begin()
        call, worker, (other,) = self.holding(1, idempotent=True, timeout=60)
        plain = self.call("hold", 2, Target("work", server=worker.name), timeout=60)
        self.network.run_until(lambda: len(worker.held) == 2)
        self.client_node().clock.pause(10)
        for host in [proxy.host for proxy in self.proxies] or [worker.name]:
            self.network.break_connections("client", host)
        self.network.run_until(lambda: len(worker.cancelled) == 2)
        with self.assertRaises(ServerLost) as caught:
            self.network.result_of(plain)
        self.assertIn("its client had no link to it", str(caught.exception))
        self.network.run_until(lambda: other.held)
        other.let_go()
        self.assertEqual(self.network.result_of(call), other.name)
        self.assertEqual((worker.ran, other.ran), ([1, 2], [1]))

    def client_node(self):
        (node,) = (node for node in self.network.nodes if node.host == "client")
        return node

    def test_what_goes_nowhere_is_no_repetition(self):
        """Calls that are lost with the only member leave the budget to those that can be repeated."""
        self.begin("a")
        calls = [self.call("hold", number, idempotent=True) for number in range(20)]
        worker = self.workers["a"]
        self.network.run_until(lambda: len(worker.held) == 20)
        self.nodes["a"].kill()
        worker.held.clear()
        for call in calls:
            with self.assertRaises(ServerLost) as caught:
                self.network.result_of(call)
            self.assert_lost_with("a", caught.exception)
        self.assertEqual(self.counts["retry_budget_spent"], 0)
        self.assertGreaterEqual(self.left(), 9)

    def assert_lost_with(self, member, error):
        """Check that an error tells who had the call, under which number, and that it may have run."""
        self.assertTrue(error.maybe_executed)
        self.assertIn("the instance that had it is gone: ", str(error))
        self.assertIn(f"member {member}", str(error))
        self.assertRegex(str(error), "message [0-9a-f]{12}/[0-9a-f]{12}/[0-9]+, stage (sent|acknowledged|running)")

    def test_what_is_lost_and_has_no_room_to_wait(self):
        """It ends no other way than what is lost and waits in vain."""
        self.begin("a", max_queued_calls=2)
        worker, calls = self.workers["a"], []
        for number in range(4):
            calls.append(self.call("hold", number, idempotent=True, wait_for_ready=True, timeout=20))
            self.network.run_until(lambda: len(worker.held) == len(calls))
        self.nodes["a"].kill()
        worker.held.clear()
        self.network.run(3)
        ended = [call for call in calls if call.called]
        self.assertEqual(len(ended), 2)
        for call in ended:
            error = self.failureResultOf(call, ServerLost).value
            self.assert_lost_with("a", error)
            self.assertRegex(
                str(error), "; no other was asked: 2 calls of [0-9]+ bytes wait for the matchmaker's answer"
            )
        for call in calls:
            call.addErrback(lambda failure: None)
            call.cancel()

    def test_what_waits_for_another_until_its_time_is_up(self):
        """It says who had it."""
        self.begin("a")
        call, worker, _ = self.holding(1, idempotent=True, wait_for_ready=True)
        self.nodes["a"].kill()
        worker.held.clear()
        with self.assertRaises(DeadlineExceeded) as caught:
            self.network.result_of(call)
        self.assert_lost_with("a", caught.exception)

    def test_all_are_lost_at_once(self):
        """What was lost with one member, and then waits for one that is dead as well, was lost all the same."""
        self.begin()
        call, worker, (other,) = self.holding(1, idempotent=True)
        self.nodes[worker.name].kill()
        self.nodes[other.name].kill()
        worker.held.clear()
        with self.assertRaises(ServerLost) as caught:
            self.network.result_of(call)
        self.assert_lost_with(worker.name, caught.exception)
        self.assertEqual(other.ran, [])

    def test_what_another_is_found_for_later_is_one(self):
        """Calls that are lost with the only member, and wait for another, are repetitions when it comes."""
        self.begin("a")
        calls = [self.call("hold", number, idempotent=True, wait_for_ready=True) for number in range(20)]
        worker = self.workers["a"]
        self.network.run_until(lambda: len(worker.held) == 20)
        self.nodes["a"].kill()
        worker.held.clear()
        self.network.run(2)
        self.assertFalse(any(call.called for call in calls))
        other = Worker("b")
        self.network.serve("work.b", other)
        self.network.run(2)
        self.assertIn(len(other.held), (10, 11, 12, 13, 14))
        lost = [call for call in calls if call.called]
        self.assertEqual(len(lost), 20 - len(other.held))
        for call in lost:
            error = self.failureResultOf(call, ServerLost).value
            self.assert_lost_with("a", error)
        other.let_go()
        for call in calls:
            if call not in lost:
                self.assertEqual(self.network.result_of(call), "b")

    def test_a_lost_connection(self):
        """What was handed over is asked for again at the same instance, runs once, and is no repetition."""
        self.begin("a")
        calls = [self.call("hold", number) for number in range(20)]
        worker = self.workers["a"]
        self.network.run_until(lambda: len(worker.held) == 20)
        self.left()
        for host in [proxy.host for proxy in self.proxies] or ["a"]:
            self.network.break_connections("client", host)
        self.network.run(0.5)
        worker.let_go()
        for call in calls:
            self.assertEqual(self.network.result_of(call), "a")
        self.assertEqual(worker.ran, list(range(20)))

    def test_never_past_the_deadline(self):
        """What has no time left is not sent to another."""
        self.begin()
        call, worker, (other,) = self.holding(1, idempotent=True, timeout=0.5)
        self.network.isolate(worker.name)
        with self.assertRaises(Exception) as caught:
            self.network.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.network.run(3)
        self.assertEqual(other.ran, [])
        self.network.heal()


class SavingsTests(SynchronousTestCase):
    """What a node has saved when it wants to repeat for the first time."""

    def saved(self, quiet, seconds, afterwards=0.0):
        """Call a thousand times a second after a quiet time, each for one repetition; spend all there is."""
        with Network(1) as network:
            network.serve("work.a", Worker("a"))
            client = network.client(rpc_retry_budget=1)
            network.result_of(client.call(WORK, "mark"))
            network.run(quiet)
            for _ in range(100 * seconds):
                calls = [client.call(WORK, "mark", idempotent=True) for _ in range(10)]
                network.run(0.01)
                for call in calls:
                    self.successResultOf(call)
            network.run(afterwards)
            links, now = client._delivery.links, network.clock.seconds()
            return sum(links.repetitions.may_repeat(now, "nobody") for _ in range(10_000))

    def test_after_a_quiet_time(self):
        """A busy node has saved what a second of its calls brings, however little it had to do an hour ago."""
        for quiet in (1, 3600):
            self.assertTrue(900 <= self.saved(quiet, 4) <= 1100)

    def test_when_calls_have_ceased(self):
        """That does not vanish at once: calls also cease since nobody answers, and then it is wanted; but soon."""
        self.assertGreater(self.saved(1, 4, afterwards=5), 500)
        self.assertEqual(self.saved(1, 4, afterwards=60), 100)


class DynamicRetryTests(RetryTests):
    topology = "dynamic-direct"


class RoutedRetryTests(RetryTests):
    topology = "router-proxy"
    proxied = True

    def test_another_proxy(self):
        """What a proxy has taken with it goes by another, to the same instance, and is no repetition."""
        self.begin("a")
        calls = [self.call("hold", number) for number in range(20)]
        worker = self.workers["a"]
        self.network.run_until(lambda: len(worker.held) == 20)
        self.left()
        self.proxies[0].kill()
        self.network.run(1)
        self.proxies[1].kill()
        self.network.proxy()
        self.network.run(3)
        worker.let_go()
        for call in calls:
            self.assertEqual(self.network.result_of(call), "a")
        self.assertEqual(worker.ran, list(range(20)))
