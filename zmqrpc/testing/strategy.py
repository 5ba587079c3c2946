"""The contract of `IConnectionStrategy` as a test suite, which every strategy runs, ours or a third party's."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from zmqrpc.client import RPCClient
from zmqrpc.connections import find_factory
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.ways import Through
from zmqrpc.dispatcher import expose
from zmqrpc.errors import Cancelled, DeadlineExceeded, DeliveryError, NoRoute, ServerLost
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory
from zmqrpc.strategy_links import StrategyLinks
from zmqrpc.target import Target
from zmqrpc.testing.network import Network
from zmqrpc.testing.node import MemoryNode
from zmqrpc.testing.weather import Weather

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Case
else:
    _Case = object

WORK = Target("work")


@attrs.define(eq=False)
class Worker:
    """
    One member's methods; it remembers what ran.

    :param name: that of the member.
    :ivar node: the node that serves it, once there is one.
    :ivar ran: the numbers that methods were called with, in order.
    :ivar held: the calls of `hold` that have not ended, by number.
    :ivar cancelled: the numbers of those that were cancelled.
    """

    name: str
    node: Any = None
    ran: list[int] = attrs.field(factory=list)
    held: dict[int, Deferred[str]] = attrs.field(factory=dict)
    cancelled: list[int] = attrs.field(factory=list)

    @expose
    def mark(self, context: Any, number: int = 0) -> str:
        """Answer with the name of the member."""
        self.ran.append(number)
        return self.name

    @expose
    def hold(self, context: Any, number: int = 0) -> Deferred[str]:
        """Answer when the test says so."""
        self.ran.append(number)
        held = self.held[number] = Deferred()
        return held.addBoth(self._ended, number)

    def _ended(self, result: Any, number: int) -> Any:
        del self.held[number]
        if isinstance(result, Failure) and result.check(CancelledError):
            self.cancelled.append(number)
        return result


@attrs.define(eq=False)
class Ear:
    """
    A listener's endpoint.

    :ivar heard: the payloads of the notifications, in order.
    """

    heard: list[int] = attrs.field(factory=list)

    def info(self, context: Any, publisher_id: str, event_type: str, payload: Any, metadata: Any) -> None:
        """Remember the payload."""
        self.heard.append(payload)


class StrategyContract(_Case):
    """
    Mix into a `twisted.trial.unittest.SynchronousTestCase` that has `topology`.

    Each test runs on a `Network` in memory, once for each seed. What the calls, the timers and the links of it leave
    behind fails the test.

    :ivar topology: what ``zmq_topology`` calls it.
    :ivar proxied: whether its links go through router proxies; then each network has two of them.
    :ivar options: options of `Settings` that the clients have besides.
    :ivar seeds: of the networks.
    """

    topology: str
    proxied: ClassVar[bool] = False
    options: ClassVar[dict[str, Any]] = {}
    seeds: ClassVar[range] = range(3)

    def make_network(self, seed: int) -> Network:
        """Make the network of a test; override it where something has to run in it before servers and clients do."""
        network = Network(seed)
        if self.proxied:
            for _ in range(2):
                network.proxy()
        return network

    def on_each_seed(self, test: Callable[[Network], None]) -> None:
        """Run a test on a network for each seed."""
        for seed in self.seeds:
            with self.make_network(seed) as network:
                test(network)

    def client(self, network: Network, **options: Any) -> RPCClient:
        """Start a node that calls by the strategy, and return its client."""
        return network.client(**{"zmq_topology": self.topology, **self.options, **options})

    def workers(self, network: Network, *names: str) -> list[Worker]:
        """Start members of the topic ``work``."""
        workers = [Worker(name) for name in names]
        for worker in workers:
            worker.node = network.serve(Target("work", server=worker.name), worker)
        return workers

    def outcomes(self, network: Network, calls: list[Deferred[Any]]) -> list[Any]:
        """Wait until every call has ended; return the result or the error of each."""
        ended = network.result_of(DeferredList(calls, consumeErrors=True))
        return [value if succeeded else value.value for succeeded, value in ended]

    def error_of(self, network: Network, call: Deferred[Any]) -> Any:
        """Wait until a call has ended, which must fail; return its error."""
        [outcome] = self.outcomes(network, [call])
        self.assertIsInstance(outcome, DeliveryError)
        return outcome

    # The tests

    def test_interface(self) -> None:
        """Its factory is found by its name, and provides what it has to."""
        factory = find_factory(self.topology)
        self.assertTrue(verifyObject(IConnectionStrategyFactory, factory))
        self.assertEqual(factory.name, self.topology)
        with self.make_network(0) as network:
            self.client(network)
            node = network.nodes[-1]
            links = StrategyLinks(node._links, lambda: 1.0)
            strategy = factory.make(links, node.settings, network.clock.seconds, lambda when: None)
            self.assertTrue(verifyObject(IConnectionStrategy, strategy))
            self.assertEqual(strategy.name, self.topology)
            self.assertIsInstance(strategy.transient, bool)
            self.assertEqual(strategy.wake_at, NEVER)

    def test_kinds(self) -> None:
        """Whatever is sent reaches whom it is for, once."""

        def test(network: Network) -> None:
            workers, client = self.workers(network, "a", "b", "c"), self.client(network)
            wait = network.result_of
            self.assertIn(wait(client.call(WORK, "mark", {"number": 1}, timeout=5)), "abc")
            self.assertEqual(wait(client.call(Target("work", server="b"), "mark", {"number": 2}, timeout=5)), "b")
            wait(client.cast(Target("work", server="c"), "mark", {"number": 3}, timeout=5))
            reached = wait(client.fanout(WORK, "mark", {"number": 4}, timeout=5))
            self.assertEqual(([name for name, _ in reached.members], reached.missing), (["a", "b", "c"], ()))
            answers = wait(client.call_each(WORK, "mark", {"number": 5}, timeout=5))
            self.assertEqual([(answer.result, answer.error) for answer in answers], [(name, None) for name in "abc"])
            network.run(1)
            ran = Counter(number for worker in workers for number in worker.ran)
            self.assertEqual(ran, {1: 1, 2: 1, 3: 1, 4: 3, 5: 3})
            self.assertIn(2, workers[1].ran)
            self.assertIn(3, workers[2].ran)

        self.on_each_seed(test)

    def test_ways(self) -> None:
        """What is sent goes through a router proxy where the strategy says so, and else straight to its member."""

        def test(network: Network) -> None:
            [worker], client = self.workers(network, "a"), self.client(network)
            held = client.call(WORK, "hold", timeout=5)
            network.run_until(lambda: worker.held)
            links = network.nodes[-1]._links.all()
            ways = [isinstance(link.state.identity, Through) for link in links if link.pending]
            self.assertEqual(ways, [self.proxied])
            worker.held[0].callback("a")
            self.assertEqual(network.result_of(held), "a")

        self.on_each_seed(test)

    def test_notifications(self) -> None:
        """One listener of each pool has a notification, and others have theirs in turn."""

        def test(network: Network) -> None:
            ears = [(Ear(), pool) for pool in (None, None, "audit")]
            for number, (ear, pool) in enumerate(ears):
                node = MemoryNode(network, host=f"ear-{number}")
                node.listener([Target("events")], [ear], pool)
                node.startService()
                network.result_of(node.when_ready())
            self.client(network)
            notifier = network.nodes[-1].notifier("contract", ["events"])
            for number in range(6):
                self.assertEqual(network.result_of(notifier.info({}, "counted", number)), 2)
            network.run(1)
            self.assertEqual([len(ear.heard) for ear, _ in ears], [3, 3, 6])
            self.assertEqual(sorted(ears[0][0].heard + ears[1][0].heard), list(range(6)))

        self.on_each_seed(test)

    def test_turns(self) -> None:
        """Members have their turns one after the other, called one by one or all at once."""

        def test(network: Network) -> None:
            self.workers(network, "a", "b", "c")
            client = self.client(network)
            one_by_one = [network.result_of(client.call(WORK, "mark", timeout=5)) for _ in range(9)]
            self.assertEqual(one_by_one[:3] * 3, one_by_one)
            self.assertEqual(len(set(one_by_one)), 3)
            at_once = self.outcomes(network, [client.call(WORK, "mark", timeout=5) for _ in range(300)])
            self.assertEqual(Counter(at_once), {"a": 100, "b": 100, "c": 100})

        self.on_each_seed(test)

    def test_order(self) -> None:
        """For one client and one instance the order of calls is the order in which they run."""

        def test(network: Network) -> None:
            [worker], client = self.workers(network, "a"), self.client(network)
            for batch in range(5):
                numbers = range(100 * batch, 100 * batch + 100)
                self.outcomes(network, [client.call(WORK, "mark", {"number": each}, timeout=5) for each in numbers])
            self.assertEqual(worker.ran, list(range(500)))

        self.on_each_seed(test)

    def test_comes_and_goes(self) -> None:
        """Who appears is called as well, and no call fails by one that stops in good order."""

        def test(network: Network) -> None:
            [first], client = self.workers(network, "a"), self.client(network)
            self.assertEqual(network.result_of(client.call(WORK, "mark", timeout=5)), "a")
            self.workers(network, "b")
            network.run(1)
            both = {network.result_of(client.call(WORK, "mark", timeout=5)) for _ in range(4)}
            self.assertEqual(both, {"a", "b"})
            calls = [client.call(WORK, "mark", timeout=5) for _ in range(20)]
            first.node.stopService()
            for _ in range(50):
                calls.append(client.call(WORK, "mark", timeout=5))
                network.run(0.01)
            self.assertLessEqual(set(self.outcomes(network, calls)), {"a", "b"})
            self.assertEqual(network.result_of(client.call(WORK, "mark", timeout=5)), "b")

        self.on_each_seed(test)

    def test_killed(self) -> None:
        """What a member has when it dies is lost, and said to be; what follows goes to others."""

        def test(network: Network) -> None:
            workers, client = self.workers(network, "a", "b"), self.client(network)
            held = client.call(Target("work", server="a"), "hold", {"number": 1}, timeout=20)
            network.run_until(lambda: workers[0].held)
            workers[0].node.kill()
            error = self.error_of(network, held)
            self.assertIsInstance(error, ServerLost)
            self.assertTrue(error.maybe_executed)
            calls = [client.call(WORK, "mark", timeout=5) for _ in range(20)]
            self.assertEqual(set(self.outcomes(network, calls)), {"b"})
            reached = network.result_of(client.fanout(WORK, "mark", timeout=5))
            self.assertEqual([name for name, _ in reached.members], ["b"])
            self.assertEqual([name for name, *_ in reached.missing], ["a"])

        self.on_each_seed(test)

    def test_idempotent(self) -> None:
        """What does no harm when it runs twice goes to another member after a loss."""

        def test(network: Network) -> None:
            workers, client = self.workers(network, "a", "b"), self.client(network)
            call = client.call(WORK, "hold", timeout=20, idempotent=True)
            network.run_until(lambda: any(worker.held for worker in workers))
            dying, other = sorted(workers, key=lambda worker: not worker.held)
            dying.node.kill()
            network.run_until(lambda: other.held)
            other.held[0].callback(other.name)
            self.assertEqual(network.result_of(call), other.name)

        self.on_each_seed(test)

    def test_nobody(self) -> None:
        """Nobody listens, or nobody who is recorded can be reached; who waits for one gets the first that comes."""

        def test(network: Network) -> None:
            client = self.client(network)
            self.assertIsInstance(self.error_of(network, client.call(WORK, "mark", timeout=5)), NoRoute)
            waiting = client.call(WORK, "mark", timeout=60, wait_for_ready=True)
            to_each = client.call_each(WORK, "mark", timeout=60, wait_for_ready=True)
            network.run(1)
            workers = self.workers(network, "a", "b")
            self.assertIn(network.result_of(waiting), "ab")
            self.assertTrue(all(answer.error is None for answer in network.result_of(to_each)))
            for worker in workers:
                worker.node.kill()
            network.run(5)
            error = self.error_of(network, client.call(WORK, "mark", timeout=30))
            self.assertIsInstance(error, NoRoute)
            self.assertFalse(error.maybe_executed)
            waiting = client.call(WORK, "mark", timeout=60, wait_for_ready=True)
            network.run(1)
            self.workers(network, "c")
            self.assertEqual(network.result_of(waiting), "c")

        self.on_each_seed(test)

    def test_given_up(self) -> None:
        """A deadline and a cancellation end a call here and there, handed over or not."""

        def test(network: Network) -> None:
            [worker], client = self.workers(network, "a"), self.client(network)
            network.result_of(client.call(WORK, "mark", timeout=5))
            late = client.call(WORK, "hold", {"number": 1}, timeout=1)
            unwanted = client.call(WORK, "hold", {"number": 2}, timeout=5)
            network.run_until(lambda: len(worker.held) == 2)
            unwanted.cancel()
            self.assertIsInstance(self.error_of(network, unwanted), Cancelled)
            self.assertIsInstance(self.error_of(network, late), DeadlineExceeded)
            network.run_until(lambda: not worker.held)
            self.assertEqual(worker.cancelled, [2, 1])
            unsent = client.call(WORK, "mark", {"number": 3}, timeout=5)
            unsent.cancel()
            self.assertIsInstance(self.error_of(network, unsent), Cancelled)
            self.assertEqual(network.result_of(client.call(WORK, "mark", timeout=5)), "a")

        self.on_each_seed(test)

    def test_refused(self) -> None:
        """A connection that is refused for a while costs no call that another member can take."""

        def test(network: Network) -> None:
            self.workers(network, "a", "b", "c")
            client = self.client(network)
            network.refuse("a")
            calls = [client.call(WORK, "mark", timeout=5) for _ in range(30)]
            self.assertLessEqual(set(self.outcomes(network, calls)), {"a", "b", "c"})
            network.accept("a")
            network.run(20)
            self.assertEqual({network.result_of(client.call(WORK, "mark", timeout=5)) for _ in range(3)}, set("abc"))

        self.on_each_seed(test)

    def test_storm(self) -> None:
        """Whatever the network does: every call ends, and runs at most once, or at least once when that was said."""

        def test(network: Network) -> None:
            workers, client = self.workers(network, "a", "b", "c"), self.client(network)
            network.set_weather(Weather(delay=(0.0001, 0.05), loss=0.01, duplication=0.02, refusal=0.05, breakage=0.01))
            calls = []
            for number in range(300):
                send = client.cast if number % 2 else client.call
                calls.append(send(WORK, "mark", {"number": number}, timeout=40))
                network.run(0.01)
            outcomes = self.outcomes(network, calls)
            network.run(5)
            ran = Counter(number for worker in workers for number in worker.ran)
            for number, outcome in enumerate(outcomes):
                if not isinstance(outcome, Exception):
                    self.assertEqual(ran[number], 1, f"call {number} ended well")
                elif not getattr(outcome, "maybe_executed", True):
                    self.assertEqual(ran[number], 0, f"call {number}: {outcome}")
            self.assertLessEqual(max(ran.values()), 1)

        self.on_each_seed(test)

    def test_at_rest(self) -> None:
        """When a topic is used no more, nothing is left of it: no link, and nothing to wake for."""

        def test(network: Network) -> None:
            workers, client = self.workers(network, "a", "b", "c"), self.client(network, route_ttl=2.0)
            node: MemoryNode = network.nodes[-1]
            self.outcomes(network, [client.call(WORK, "mark", timeout=5) for _ in range(30)])
            workers[1].node.kill()
            self.outcomes(network, [client.cast(WORK, "mark", timeout=5) for _ in range(30)])
            network.run(60)
            self.assertEqual(node._links.all(), [])
            self.assertEqual(node._links.strategy.wake_at, NEVER)
            self.assertIn(network.result_of(client.call(WORK, "mark", timeout=5)), "ac")

        self.on_each_seed(test)

    def test_stopped(self) -> None:
        """A node stops whatever its links are doing."""

        def test(network: Network) -> None:
            self.workers(network, "a", "b", "c")
            for moment in range(20):
                client = self.client(network)
                calls = [client.call(WORK, "mark", timeout=5) for _ in range(5)]
                network.run(moment / 2000)
                network.result_of(client.close())
                self.outcomes(network, calls)

        self.on_each_seed(test)
