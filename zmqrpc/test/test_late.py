"""How what is sent in one burst is shared between listeners that have not answered HELLO yet."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.connections.dynamic_direct import PATIENCE
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.settings import LEAST_OUTSTANDING, ROUND_ROBIN
from zmqrpc.testing import MemoryNode, Network, Weather

BURST = 8
A_MOMENT = 0.01


class Ear:
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.at: list[float] = []

    def info(self, context, publisher_id, event_type, payload, metadata):
        self.heard.append(payload)
        self.at.append(self.now())

    def now(self):
        raise NotImplementedError


class LateTests(SynchronousTestCase):
    """
    A notifier that has just begun, and two listeners.

    :cvar options: those of the notifier's node.
    :cvar late: seconds that a listener has to answer.
    """

    options: dict[str, Any] = {}
    late = LinkTimers().late

    def setUp(self):
        self.network = Network(1)
        self.addCleanup(self.close)
        self.ears = {name: Ear() for name in "ab"}
        self.nodes = {}
        for name, ear in self.ears.items():
            ear.now = self.network.clock.seconds  # type: ignore[method-assign]
            self.nodes[name] = self.network.listen("events", ear, host=name)
        self.ends: list[Any] = []

    def close(self):
        for node in self.network.nodes:
            self.network.result_of(node.stopService())

    def delay(self, name, seconds):
        """Have what goes from the notifier to a listener, and back, take so much time altogether."""
        weather = Weather(delay=(seconds / 2, seconds / 2))
        self.network.set_weather(weather, "publisher", name)
        self.network.set_weather(weather, name, "publisher")

    def burst(self, count=BURST, **options):
        """Send a burst, as the first that this process sends."""
        node = self.node = MemoryNode(self.network, host="publisher", **self.options, **options)
        node.startService()
        self.notifier = node.notifier("publisher", ["events"])
        self.began = self.network.clock.seconds()
        self.send(range(count))

    def send(self, numbers):
        self.ends += [self.notifier.info({}, "event", number) for number in numbers]

    def heard(self):
        """Return what each has heard, in order, when everything has arrived."""
        ends, self.ends = self.ends, []
        for end in ends:
            self.assertEqual(self.network.result_of(end), 1)
        return sorted(ear.heard for ear in self.ears.values())

    def stand(self, seconds, count=BURST, **options):
        """Have everybody stand when the notifier has written HELLO, and nobody has read it."""
        self.burst(count, **options)
        self.network.run_until(lambda: "connecting" in self.standings())
        self.network.run(1e-4)
        for node in self.network.nodes:
            node.clock.pause(seconds)

    def standings(self):
        return {link.state.standing for link in self.node._links.all()}

    def test_all_processes_stand(self):
        """Where everybody stands for longer than a peer has to answer, nobody is late: each gets what was for it."""
        self.stand(self.late + A_MOMENT)
        self.assertEqual(self.heard(), [[0, 2, 4, 6], [1, 3, 5, 7]])

    def test_all_processes_stand_for_long(self):
        self.stand(6 * self.late)
        self.assertEqual(self.heard(), [[0, 2, 4, 6], [1, 3, 5, 7]])

    def test_many(self):
        """Of many that are sent while everybody stands, two that are alike get as many, however calls are balanced."""
        for balance in (ROUND_ROBIN, LEAST_OUTSTANDING):
            for ear in self.ears.values():
                ear.heard.clear()
            self.stand(self.late + A_MOMENT, 256, balance=balance)
            self.network.run(2 * self.late)
            self.send(range(256, 300))
            least, most = sorted(map(len, self.heard()))
            self.assertEqual(least + most, 300)
            self.assertLess(most, 1.5 * least, balance)

    def test_both_answer_late(self):
        """Both are slow, and answer at the same time: neither takes what waits for the other."""
        for name in "ab":
            self.delay(name, self.late + A_MOMENT)
        self.burst()
        self.assertEqual(self.heard(), [[0, 2, 4, 6], [1, 3, 5, 7]])

    def test_one_answers_late(self):
        """Another is there: what waits for the slow one goes there at once, and what comes later is shared again."""
        self.delay("b", self.late + A_MOMENT)
        self.burst()
        self.heard()
        self.assertEqual((len(self.ears["a"].heard), self.ears["b"].heard), (BURST, []))
        self.assertLess(self.ears["a"].at[-1] - self.began, self.late + A_MOMENT)
        self.network.run(self.late)
        self.check_later()

    def check_later(self):
        self.send(range(BURST, 2 * BURST))
        self.heard()
        self.assertEqual([len(ear.heard) for ear in self.ears.values()], [BURST + BURST // 2, BURST // 2])

    def test_one_answers_late_and_the_other_never(self):
        """What waits for one that is dead waits no longer than until the first is up."""
        answers = self.late + A_MOMENT
        self.delay("a", answers)
        self.delay("b", 1000)
        self.burst()
        self.heard()
        self.assertEqual(len(self.ears["a"].heard), BURST)
        self.assertLess(self.ears["a"].at[-1] - self.began, 3 * answers)


class DynamicLateTests(LateTests):
    """The same, where a connection is made for a message."""

    options = {"zmq_topology": "dynamic-direct"}
    late = PATIENCE

    def check_later(self):
        """Each burst waits as long for the slow one: its connection is not kept."""
