"""How long a node that is told to stop goes on, whatever waits to run there and whatever runs."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.testing import Network

WORK = Target("work")
DRAIN = 2.0
EACH = 0.1
"""Seconds for which a method keeps its process from everything else."""

CLOSING = 0.05
"""Seconds that a stop takes in memory when it waits for nothing."""


class Worker:
    """
    Has a method that keeps its process from everything else, and one that never ends.

    :ivar ran: the numbers that the first was called with, in order.
    """

    def __init__(self, network):
        self.network = network
        self.node: Any = None
        self.ran = []

    @expose
    def work(self, context, number):
        self.ran.append(number)
        # A moment longer, so that nothing of this process is called before this has returned.
        self.node.clock.pause(EACH + 1e-6)
        self.network.run(EACH)

    @expose
    def hold(self, context):
        return Deferred()


class DrainTests(SynchronousTestCase):
    def setUp(self):
        self.network = Network(1)
        self.addCleanup(self._close)
        self.worker = Worker(self.network)
        self.node = self.worker.node = self.network.serve(WORK, self.worker, drain_timeout=DRAIN)
        self.client = self.network.client()

    def _close(self):
        for node in self.network.nodes:
            if node.state == "running":
                self.network.result_of(node.stopService())

    def ask(self, method, **arguments):
        self.client.call(WORK, method, arguments, timeout=60).addErrback(lambda _: None)

    def wait_to_run(self, count):
        """Have so many calls wait to run, behind one that has run."""
        for number in range(count + 1):
            self.ask("work", number=number)
        self.network.run_until(lambda: self.worker.ran)
        self.assertEqual(len(self.node._callers.requests.waiting), count)

    def took(self, deferred):
        began = self.network.clock.seconds()
        self.network.result_of(deferred)
        return self.network.clock.seconds() - began

    def test_all_begin(self):
        """A drain ends when the last one that waited has begun."""
        self.wait_to_run(10)
        self.assertLess(abs(self.took(self.node.drain()) - 10 * EACH), EACH + CLOSING)
        self.assertEqual(self.worker.ran, list(range(11)))

    def test_more_wait_than_can_run(self):
        """A drain ends with the drain timeout, whatever waits to run."""
        self.wait_to_run(100)
        self.assertLess(abs(self.took(self.node.drain()) - DRAIN), EACH + CLOSING)
        self.assertTrue(self.node._callers.requests.waiting)

    def test_no_second_drain_timeout(self):
        """What a stop has waited with for what waits to run, it has not for what runs."""
        self.ask("hold")
        self.wait_to_run(10)
        self.assertLess(abs(self.took(self.node.stopService()) - DRAIN), EACH + CLOSING)
        self.assertEqual(self.worker.ran, list(range(11)))

    def test_more_wait_than_can_run_at_a_stop(self):
        self.ask("hold")
        self.wait_to_run(100)
        self.assertLess(abs(self.took(self.node.stopService()) - DRAIN), EACH + CLOSING)

    def test_stop_after_a_drain_in_vain(self):
        """What a drain has waited for in vain, a stop does not wait for once more."""
        self.ask("hold")
        self.wait_to_run(100)
        self.network.result_of(self.node.drain())
        self.assertLess(self.took(self.node.stopService()), EACH + CLOSING)

    def test_stop_after_a_drain(self):
        """What a drain has left running has the drain timeout when the node is stopped later."""
        self.ask("hold")
        self.wait_to_run(10)
        self.network.result_of(self.node.drain())
        self.network.run(30)
        self.assertLess(abs(self.took(self.node.stopService()) - DRAIN), EACH + CLOSING)

    def linger(self, **options):
        """Stop a node while something runs there, and return for how many seconds what was written may be delivered."""
        given = []
        node = self.network.serve(Target("other"), self.worker, drain_timeout=DRAIN, **options)
        self.client.call(Target("other"), "hold", timeout=60).addErrback(lambda _: None)
        self.network.run_until(lambda: node._callers.requests.running)
        close = node._site.transport.close
        self.patch(node._site.transport, "close", lambda linger: given.append(linger) or close(linger))
        self.network.result_of(node.stopService())
        return given

    def test_what_was_written(self):
        """It has what is left of the drain timeout, and a second at least; or the time that is set for it."""
        self.assertEqual(self.linger(), [1.0])
        self.assertEqual(self.linger(zmq_linger=7.0), [7.0])
