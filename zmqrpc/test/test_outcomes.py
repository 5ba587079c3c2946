"""How calls end without a result, where no scenario shows it."""

from __future__ import annotations

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.envelope import Kind
from zmqrpc.core.routing import RoutingTable
from zmqrpc.errors import Draining, NoRoute
from zmqrpc.notices import Notices
from zmqrpc.outcomes import Outcomes
from zmqrpc.settings import Settings
from zmqrpc.target import Pool, Target
from zmqrpc.waiter import Waiter


class NobodyTests(SynchronousTestCase):
    def nobody(self, *served):
        """Return why a call ends of which only these topics are known; and how many of them were looked at."""
        looked_at = count()

        def go_through():
            for name in served:
                next(looked_at)
                yield "openstack", name

        outcomes = Outcomes(bytes(16), Settings(), RoutingTable(), lambda: 1.0, Notices(lambda: 1.0).record)
        outcomes.served = go_through
        call = Waiter(lambda _: None)
        call.begin(Kind.CALL, Target("work"), b"", 10.0)
        error, text = outcomes.nobody(call, (), ())
        self.assertIs(error, NoRoute)
        return text, next(looked_at)

    def test_notification(self):
        """It is told of its pool; it waits by itself, so that nobody is told how to have a call wait."""
        outcomes = Outcomes(bytes(16), Settings(), RoutingTable(), lambda: 1.0, Notices(lambda: 1.0).record)
        call = Waiter(lambda _: None)
        call.begin(Kind.NOTIFY, Pool("x", "events", "audit"), b"", 10.0)
        self.assertEqual(outcomes.nobody(call, (), ()), (NoRoute, "no listener of pool audit is there, start one"))
        call.stopping = "a at tcp://a:1, stopping"
        error, text = outcomes.nobody(call, (), ())
        self.assertIs(error, Draining)
        self.assertEqual(
            text, "only listeners of pool audit that stop are left, start another: a at tcp://a:1, stopping"
        )

    def test_few_topics_are_all_compared(self):
        text, looked_at = self.nobody(*(f"other-{number}" for number in range(150)), "wrok")
        self.assertIn("did you mean wrok?", text)
        self.assertEqual(looked_at, 151)

    def test_of_many_topics_the_first_are_compared(self):
        """However many there are: this is done for every call that finds nobody."""
        text, looked_at = self.nobody(*(f"other-{number:05}" for number in range(10_000)))
        self.assertIn("topics with servers are other-00000, other-00001, ", text)
        self.assertLessEqual(looked_at, 200)
