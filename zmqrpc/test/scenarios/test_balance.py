"""How calls are shared by members of which one is slow, in numbers."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.errors import Cancelled
from zmqrpc.testing import Network

WORK = Target("work")
MEMBERS = 10
CALLS = 1200
IN_FLIGHT = 50


class Taking:
    """A method that takes about so many seconds on the clock of the network."""

    def __init__(self, network, seconds):
        self.network = network
        self.seconds = seconds
        self.ran = 0

    @expose
    def work(self, context):
        self.ran += 1
        return deferLater(self.network.clock, self.seconds * self.network.chance.uniform(0.5, 1.5))


class SlowMemberTests(SynchronousTestCase):
    def load(self, slow, balance="least-outstanding", topology="static-direct"):
        """
        Keep fifty calls in flight to ten members, of which one takes longer.

        :param slow: how many times as long.
        :return: the seconds in which 99 of 100 calls ended, the first hundred left out; and how many ran at that one.
        """
        network = Network(3)
        with network:
            if topology == "router-proxy":
                network.proxy()
            members = [Taking(network, 0.01 * (1 if number else slow)) for number in range(MEMBERS)]
            for number, member in enumerate(members):
                network.serve(f"work.m{number}", member)
            client = network.client(balance=balance, zmq_topology=topology)
            times: dict[int, float] = {}
            left = CALLS

            def call(_=None):
                nonlocal left
                if left:
                    left -= 1
                    number, began = left, network.clock.seconds()
                    ended = client.call(WORK, "work", timeout=30)
                    ended.addCallback(lambda _: times.update({number: network.clock.seconds() - began}))
                    ended.addCallback(call)

            for _ in range(IN_FLIGHT):
                call()
            network.run_until(lambda: len(times) == CALLS)
            ordered = sorted(taken for number, taken in times.items() if number < CALLS - 100)
            return ordered[int(len(ordered) * 0.99)], members[0].ran

    def test_one_of_ten(self):
        """The slowest of a hundred calls take no more than twice as long as when all are well."""
        for topology in ("static-direct", "router-proxy"):
            well, share = self.load(1, topology=topology)
            self.assertLess(abs(share - CALLS / MEMBERS), CALLS / MEMBERS / 2)
            for slow in (2.5, 5, 20):
                with self.subTest(topology=topology, slow=slow):
                    taken, ran = self.load(slow, topology=topology)
                    self.assertLessEqual(taken, 2 * well)
                    self.assertGreaterEqual(ran, 1)
                    self.assertLess(ran, 0.5 * CALLS / MEMBERS)

    def test_what_is_cancelled_at_once(self):
        """It is not taken for a call that took until the member said something again."""
        with Network(3) as network:
            network.serve("work.a", Taking(network, 0.01))
            client = network.client(balance="least-outstanding")
            network.result_of(client.call(WORK, "work"))
            (link,) = client._delivery.links.all()
            pending: Any = link.pending
            known = pending.typical
            for _ in range(8):
                call = client.call(WORK, "work")
                network.run(0.0001)
                call.cancel()
                self.failureResultOf(call, Cancelled)
                network.run(0.7)
            self.assertEqual(pending.typical, known)

    def test_in_turn(self):
        """Each has its turn, however long it takes."""
        taken, ran = self.load(5, "round-robin")
        self.assertEqual(ran, CALLS / MEMBERS)
        self.assertGreater(taken, 0.06)
