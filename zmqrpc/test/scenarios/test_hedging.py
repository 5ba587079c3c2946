"""Calls that are sent to a second member when they take longer than most."""

from __future__ import annotations

from gc import collect
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.errors import Cancelled, DeadlineExceeded, DeliveryError, NoRoute, NoSuchMethod, RemoteError, ServerLost
from zmqrpc.hedging import HedgingClient
from zmqrpc.testing import Network
from zmqrpc.waiter import Waiter

WORK = Target("work")


class Member:
    """
    One member whose calls take as long as the test says.

    :ivar seconds: how long they take; None until the test ends them.
    :ivar held: those it has to end.
    :ivar cancelled: how many were cancelled.
    """

    def __init__(self, name, clock):
        self.name = name
        self.clock = clock
        self.seconds: float | None = 0.0
        self.held: list[Deferred[object]] = []
        self.ran = self.cancelled = 0

    @expose
    def quick(self, context):
        return self.name

    @expose
    def work(self, context):
        self.ran += 1
        if self.seconds is None:
            held: Deferred[object] = Deferred(self._cancelled)
            self.held.append(held)
            return held
        return deferLater(self.clock, self.seconds, lambda: self.name) if self.seconds else succeed(self.name)

    def _cancelled(self, held):
        self.cancelled += 1
        self.held.remove(held)


class Older:
    """One that has not got the method yet, as in the middle of a rolling upgrade."""

    @expose
    def other(self, context):
        """Do something else."""


class HedgingTests(SynchronousTestCase):
    topology = "static-direct"

    def begin(self, members="ab", calls=30, **options: Any):
        """Start members and a client, and let it see how long calls take: 10 ms."""
        self.network = Network(1)
        self.network.__enter__()
        self.addCleanup(self.network.__exit__, None, None, None)
        if self.topology == "router-proxy":
            self.network.proxy()
        self.members = {}
        self.nodes = {}
        for name in members:
            self.members[name] = Member(name, self.network.clock)
            self.nodes[name] = self.network.serve(f"work.{name}", self.members[name])
        options = {"hedge_calls": True, "zmq_topology": self.topology, **options}
        self.client: Any = self.network.client(**options)
        self.counts = self.client._delivery.links.notices.counts
        for member in self.members.values():
            member.seconds = 0.01
        for _ in range(calls):
            self.network.result_of(self.call())
        for member in self.members.values():
            member.ran = 0
        self.counts.clear()

    def call(self, target=WORK, **options):
        return self.client.call(target, "work", **({"idempotent": True, "timeout": 5} | options))

    def hold(self, *names):
        """Have members keep their calls."""
        for name in names:
            self.members[name].seconds = None

    def first(self):
        """Make a call which the member whose turn it is keeps; return it, that member and the other."""
        self.hold(*self.members)
        call = self.call()
        self.network.run_until(lambda: any(member.held for member in self.members.values()))
        has, other = sorted(self.members.values(), key=lambda member: -len(member.held))
        return call, has, other

    def ran(self):
        return sum(member.ran for member in self.members.values())

    def test_the_second_wins(self):
        """The first is cancelled at its server then."""
        self.begin()
        call, has, other = self.first()
        other.seconds = 0.01
        self.assertEqual(self.network.result_of(call), other.name)
        self.network.run(0.1)
        self.assertEqual((has.ran, has.cancelled, other.ran, other.cancelled), (1, 1, 1, 0))
        self.assertEqual(self.counts["hedged"], 1)

    def test_the_first_wins(self):
        self.begin()
        call, has, other = self.first()
        self.network.run_until(lambda: other.held)
        has.held.pop().callback("first")
        self.assertEqual(self.network.result_of(call), "first")
        self.network.run(0.1)
        self.assertEqual((has.cancelled, other.cancelled), (0, 1))

    def test_not_before_most_have_ended(self):
        """Calls took 10 ms, and some for the way: until then one is enough."""
        self.begin()
        call, has, other = self.first()
        began = self.network.clock.seconds()
        self.network.run_until(lambda: other.held)
        self.assertTrue(0.008 < self.network.clock.seconds() - began < 0.03)
        has.held.pop().callback("first")
        self.network.result_of(call)

    def test_both_in_one_pass(self):
        """Of two answers that come in one pass one counts, and nothing is left of the other."""
        self.begin()
        call, has, other = self.first()
        self.network.run_until(lambda: other.held)
        links = self.client._delivery.links
        pending = [each for link in links.all() for each in link.pending.outstanding()]
        self.assertEqual(len(pending), 2)
        # As `Links.payload_received` does with what one batch brings: both are taken, then each is fired.
        for each in pending:
            each.link.pending.take(each.sequence)
        for number, each in enumerate(pending):
            each.succeed(number)
        self.assertEqual(self.successResultOf(call), 0)
        self.network.run(0.1)
        for member in (has, other):
            member.held.pop().callback("late")

    def test_each_method_by_itself(self):
        """What most calls of one method take says nothing of another at the same target."""
        self.begin()
        for _ in range(1000):
            self.network.result_of(self.client.call(WORK, "quick", idempotent=True))
        self.counts.clear()
        for _ in range(20):
            self.network.result_of(self.call())
        self.assertLessEqual(self.counts["hedged"], 2)
        self.assertLessEqual(self.ran(), 22)

    def test_too_few_are_known(self):
        self.begin(calls=19)
        call, has, other = self.first()
        self.network.run(1)
        self.assertEqual(other.ran, 0)
        has.held.pop().callback("first")
        self.assertEqual(self.network.result_of(call), "first")

    def test_only_idempotent_calls_to_bare_topics(self):
        self.begin()
        self.hold("a", "b")
        calls = [self.call(idempotent=False), self.call(Target("work", server="a"))]
        for call in calls:
            self.assertIsInstance(call, Waiter)
        self.network.run(1)
        self.assertEqual(self.ran(), 2)
        for member in self.members.values():
            while member.held:
                member.held.pop().callback(member.name)
        self.network.result_of(gatherResults(calls))

    def test_there_is_no_other(self):
        self.begin("a")
        self.hold("a")
        call = self.call()
        self.network.run(0.5)
        self.members["a"].held.pop().callback("alone")
        self.assertEqual(self.network.result_of(call), "alone")
        self.assertEqual((self.counts["hedged"], self.counts["retry_budget_spent"]), (0, 0))

    def test_off_by_default(self):
        with Network(1) as network:
            self.assertNotIsInstance(network.client(), HedgingClient)

    def test_the_method_raises(self):
        """What a method raises is an answer, and the other is cancelled."""
        self.begin()
        call, has, other = self.first()
        self.network.run_until(lambda: other.held)
        other.held.pop().errback(ValueError("odd"))
        with self.assertRaises(RemoteError):
            self.network.result_of(call)
        self.flushLoggedErrors(ValueError)
        self.network.run(0.1)
        self.assertEqual(has.cancelled, 1)

    def refused(self):
        """Make a call that one member keeps, and whose copy was refused at the other; return both the call and that."""
        self.begin("a")
        self.nodes["b"] = self.network.serve("work.b", Older())
        self.network.result_of(self.client.call(Target("work", server="b"), "other"))
        self.network.run_until(lambda: len(self.client._delivery.table.routes[WORK].choices) == 2)
        self.hold("a")
        has = self.members["a"]
        call = self.call()
        self.network.run_until(lambda: has.held or call.called)
        if not has.held:
            # Its turn was the other's, which refused it at once.
            self.failureResultOf(call, NoSuchMethod)
            call = self.call()
        self.network.run_until(lambda: self.counts["hedged"])
        self.network.run(0.5)
        return call, has

    def test_the_second_is_refused(self):
        """That is no answer of the method, and no end while the first may run it."""
        call, has = self.refused()
        self.assertFalse(call.called)
        has.held.pop().callback("first")
        self.assertEqual(self.network.result_of(call), "first")
        self.assertEqual(has.cancelled, 0)

    def test_the_second_is_refused_and_the_first_lost(self):
        call, has = self.refused()
        self.nodes["a"].kill()
        with self.assertRaises((DeliveryError, RemoteError)) as caught:
            self.network.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertNotIn("it did not run", str(caught.exception))
        has.held.clear()

    def test_the_second_is_refused_and_the_caller_cancels(self):
        call, has = self.refused()
        call.cancel()
        self.assertTrue(self.failureResultOf(call, Cancelled).value.maybe_executed)
        self.network.run(0.1)
        self.assertEqual(has.cancelled, 1)

    def test_all_refuse(self):
        """Then it certainly did not run, and the time in which it was refused tells nothing."""
        self.begin("a")
        for node in self.nodes.values():
            self.network.result_of(node.stopService())
        self.network.serve("work.b", Older())
        for _ in range(2):
            with self.assertRaises(NoSuchMethod) as caught:
                self.network.result_of(self.call(wait_for_ready=True))
            self.assertFalse(caught.exception.maybe_executed)
        (times,) = self.client._hedging._times.values()
        self.assertEqual(times._total, 30)

    def test_the_second_is_lost(self):
        """That is no end while the first lives."""
        self.begin()
        call, has, other = self.first()
        self.network.run_until(lambda: other.held)
        self.nodes[other.name].kill()
        self.network.run(2)
        self.assertFalse(call.called)
        has.held.pop().callback("first")
        self.assertEqual(self.network.result_of(call), "first")
        other.held.clear()

    def test_as_patient_as_the_caller_says(self):
        """The second copy waits for a silent instance as long as the first does, here longer than others."""
        self.begin()
        self.hold("a", "b")
        call = self.call(call_monitor_timeout=0, timeout=60)
        self.network.run_until(lambda: any(member.held for member in self.members.values()))
        has, other = sorted(self.members.values(), key=lambda member: -len(member.held))
        self.network.run_until(lambda: other.held)
        self.nodes[other.name].clock.pause(8)
        self.network.run(9)
        self.assertEqual((other.cancelled, len(other.held)), (0, 1))
        other.held.pop().callback("second")
        self.assertEqual(self.network.result_of(call), "second")
        self.network.run(0.1)
        self.assertEqual(has.cancelled, 1)

    def test_the_first_is_lost(self):
        """It has gone to the other member as well by then, as it is idempotent."""
        self.begin()
        call, has, other = self.first()
        self.network.run_until(lambda: other.held)
        self.nodes[has.name].kill()
        self.network.run(2)
        other.held.pop(0).callback("second")
        self.assertEqual(self.network.result_of(call), "second")
        self.network.run(0.1)
        self.assertEqual((len(other.held), has.cancelled), (0, 0))
        has.held.clear()

    def test_both_are_lost(self):
        """The error is that of the first, and says that it may have run."""
        self.begin()
        call, has, other = self.first()
        self.network.run_until(lambda: other.held)
        for node in self.nodes.values():
            node.kill()
        with self.assertRaises((ServerLost, NoRoute)) as caught:
            self.network.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        has.held.clear()
        other.held.clear()

    def test_the_time_is_up(self):
        self.begin()
        self.hold("a", "b")
        call = self.call(timeout=0.2)
        with self.assertRaises(DeadlineExceeded) as caught:
            self.network.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.network.run(0.1)
        self.assertEqual([member.cancelled for member in self.members.values()], [1, 1])

    def test_the_caller_cancels(self):
        """Then both are cancelled at their servers."""
        self.begin()
        for second in (False, True):
            call, has, other = self.first()
            if second:
                self.network.run_until(lambda: other.held)  # noqa: B023
            call.cancel()
            self.assertTrue(self.failureResultOf(call, Cancelled).value.maybe_executed)
            self.network.run(0.1)
            self.assertEqual(len(has.held) + len(other.held), 0)
        self.assertEqual(sum(member.cancelled for member in self.members.values()), 3)

    def test_nothing_is_kept_of_what_has_ended(self):
        """Neither the request nor the result, however long it is until it would have been due."""
        self.begin()
        for member in self.members.values():
            member.seconds = 0.2
        for _ in range(100):
            self.network.result_of(self.call())
        for member in self.members.values():
            member.seconds = 0.01
        calls = [self.call() for _ in range(5)]
        due = [each[2] for each in self.client._hedging._due if not each[2].over]
        links = self.client._delivery.links.all()
        kept = [ref(call) for link in links for call in (*link.pending.outstanding(), *link.queue)]
        self.assertEqual((len(due), len(kept)), (5, 5))
        self.network.result_of(gatherResults(calls))
        self.assertLessEqual(set(due), {each[2] for each in self.client._hedging._due})
        collect()
        self.assertEqual([each() for each in kept], [None] * 5)
        self.assertFalse(any(hasattr(each, "outcome") for each in due))

    def test_targets_in_use_are_not_forgotten(self):
        """Of too many those go first that were not called for longest."""
        self.begin(max_routes=3)
        for _ in range(5):
            for name in "xyz":
                self.network.result_of(self.call(Target(name), timeout=0.01).addErrback(lambda _: None))
                self.network.result_of(self.call())
        (times,) = [times for times in self.client._hedging._times.values() if times.slow is not None]
        self.assertEqual(times._total, 45)

    def test_bad_arguments(self):
        self.begin()
        self.failureResultOf(self.call(args={"a": object()}))

    def test_the_client_stops(self):
        self.begin()
        call, has, other = self.first()
        self.network.run_until(lambda: other.held)
        self.network.result_of(self.client.close())
        self.assertTrue(self.failureResultOf(call).value.maybe_executed)
        for member in (has, other):
            while member.held:
                member.held.pop().callback(None)

    def test_no_more_than_the_budget(self):
        """When every call takes long, those that are sent twice are a tenth of them."""
        self.begin(calls=200)
        for member in self.members.values():
            member.seconds = 0.05
        sent = 200
        for _ in range(1000):
            self.call().addErrback(lambda _: None)
            sent += 1
            self.network.run(0.002)
        self.network.run(1)
        hedged = self.counts["hedged"]
        self.assertTrue(1000 <= self.ran() <= 1000 + hedged, self.ran())
        self.assertTrue(20 <= hedged <= 0.1 * sent, hedged)

    def test_in_numbers(self):
        """One call in fifty takes a second: with hedges next to none does, for a tenth more work at most."""
        taken = {}
        for hedge in (False, True):
            self.begin("abc", hedge_calls=hedge)
            times: list[float] = []

            def call():
                began = self.network.clock.seconds()
                for member in self.members.values():
                    # Drawn anew for each, from the seed.
                    member.seconds = 1.0 if self.network.chance.random() < 0.02 else 0.01
                done = self.call()
                done.addCallback(lambda _: times.append(self.network.clock.seconds() - began))  # noqa: B023

            for _ in range(1000):
                call()
                self.network.run(0.005)
            self.network.run(3)
            times.sort()
            taken[hedge] = times[985]
            self.assertEqual(len(times), 1000)
            self.assertLessEqual(self.ran(), 1100)
        self.assertGreater(taken[False], 0.9)
        self.assertLess(taken[True], 0.1)


class RoutedHedgingTests(HedgingTests):
    topology = "router-proxy"


class DynamicHedgingTests(HedgingTests):
    topology = "dynamic-direct"
