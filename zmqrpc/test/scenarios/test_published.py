"""Fan-outs through publisher proxies: who gets them, what is reached, and what a lost publisher costs."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc import Target
from zmqrpc.errors import Cancelled, DeadlineExceeded, MessageTooLarge, NoRoute
from zmqrpc.interfaces import FULL
from zmqrpc.record import Role
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario
from zmqrpc.testing import MemoryNode, Network, Weather

WORK = Target("work")


class PublishedCase(SynchronousTestCase):
    """A network with publisher proxies, servers that subscribe, and a client that publishes."""

    proxy_count = 1
    members = "ab"
    topology = "static-direct+pub-sub"

    def setUp(self):
        self.network = Network(7)
        self.proxies = [self.network.proxy(use_pub_sub=True) for _ in range(self.proxy_count)]
        self.workers: dict[str, Worker] = {}
        self.nodes: dict[str, Any] = {}
        for member in self.members:
            self.serve(member)
        self.client = self.network.client(zmq_topology=self.topology)
        self.node: Any = self.network.nodes[-1]

    def tearDown(self):
        self.network.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    def serve(self, member, **options):
        self.workers[member] = worker = Worker(member)
        options = {"zmq_topology": self.topology, **options}
        self.nodes[member] = self.network.serve(Target("work", server=member), worker, **options)
        return worker

    def fanout(self, number=0, target=WORK, client=None, **options):
        return self.network.result_of((client or self.client).fanout(target, "mark", {"number": number}, **options))

    def ran(self):
        """Let what is under way arrive, and return what each ran."""
        self.network.run(0.5)
        return {name: worker.ran for name, worker in self.workers.items()}

    def both(self, ran):
        return {"a": ran, "b": ran}

    def names(self, listed):
        return [each[0] for each in listed]

    def missed(self, member):
        return self.nodes[member].notices.counts["fanout_missed"]

    def sticky(self):
        """Return the proxy that the client publishes by."""
        (key,) = self.node._publishing.describe().publishers.values()
        return next(proxy for proxy in self.proxies if key == proxy.instance.hex())


class OnePublisherTests(PublishedCase):
    def test_it_is_published_for_those_who_subscribe(self):
        reached = self.fanout(1)
        self.assertEqual((self.names(reached.published), reached.members, reached.missing), (["a", "b"], (), ()))
        self.assertEqual(reached.published[0][1], self.nodes["a"].instance.hex())
        self.assertEqual(self.ran(), {"a": [1], "b": [1]})

    def drop_one(self, key):
        """Have the proxy find the connection of the client full once, for an answer under a key that begins so."""
        proxy: Any = self.proxies[0]._proxy
        router = proxy._routers[0]
        send, left = router.send_keyed, [True]

        def send_keyed(identity, name, payload):
            return FULL if name.startswith(key) and left and left.pop() else send(identity, name, payload)

        router.send_keyed = send_keyed

    def test_an_answer_is_dropped(self):
        """The next ones are not taken for it: the client connects anew, and what had no answer is published again."""
        self.fanout(1)
        self.drop_one(b"T")
        for number in range(2, 7):
            waiting = self.client.fanout(WORK, "mark", {"number": number}, timeout=5)
            self.assertEqual(self.names(self.network.result_of(waiting).published), ["a", "b"], number)
        self.assertEqual(self.ran(), self.both(list(range(1, 7))))
        described = self.node._publishing.describe()
        self.assertEqual((described.open, described.unanswered_bytes), (0, 0))
        self.assertEqual(self.proxies[0].notices.counts["answers_dropped"], 1)

    def start_server(self, member):
        """Start a server without waiting for it."""
        self.workers[member] = worker = Worker(member)
        self.nodes[member] = node = MemoryNode(self.network, host=f"late-{member}", zmq_topology=self.topology)
        node.server(Target("work", server=member), [worker])
        node.startService()
        return node, worker

    def registered(self):
        """List the members that are recorded."""
        sightings = self.network.result_of(self.network.store.matchmaker().records())
        return sorted(sighting.record.member for sighting in sightings if sighting.record.role is Role.SERVER)

    def test_a_server_that_starts(self):
        """What is said to be published for it reaches it, from the first on."""
        self.network.set_weather(Weather(delay=(0.005, 0.02)))
        _, worker = self.start_server("c")
        results: dict[int, Any] = {}
        for number in range(200):
            waiting = self.client.fanout(WORK, "mark", {"number": number})
            waiting.addCallback(partial(results.__setitem__, number))
            self.network.run(0.002)
        self.network.run(2)
        said = [number for number, reached in results.items() if "c" in self.names(reached.published)]
        self.assertEqual((len(results), len(said) > 50), (200, True))
        self.assertEqual(set(said) - set(worker.ran), set())

    def test_a_server_that_is_added(self):
        """To a node that runs; what it serves already stays registered."""
        node = self.nodes["a"]
        self.network.cut("a", self.proxies[0].host)
        node.server(Target("more", server="new"), [Worker("new")])
        self.network.run(1.0)
        self.assertEqual(self.registered(), ["a", "b"])
        self.network.heal()
        self.network.result_of(node.when_ready())
        self.assertEqual(self.registered(), ["a", "b", "new"])

    def test_publishers_that_are_not_there(self):
        """A server is registered after two seconds without them."""
        self.network.refuse(self.proxies[0].host)
        node, _ = self.start_server("c")
        ready = node.when_ready()
        self.network.run(1.9)
        self.assertEqual(self.registered(), ["a", "b"])
        self.network.run(0.2)
        self.assertEqual(self.registered(), ["a", "b", "c"])
        self.network.result_of(ready)

    def test_no_publisher_is_recorded(self):
        """A server is registered at once, like one that does not subscribe."""
        self.network.result_of(self.proxies[0].stopService())
        times = []
        for member, topology in (("c", "static-direct"), ("d", "static-direct+pub-sub")):
            self.topology = topology
            node, _ = self.start_server(member)
            began = self.network.clock.seconds()
            self.network.run_until(partial(bool, node._registrar._stored), 5)
            times.append(self.network.clock.seconds() - began)
            self.network.result_of(node.when_ready())
        self.assertLess(times[1], times[0] + 0.01)

    def test_a_server_that_stops_before_it_is_registered(self):
        self.network.refuse(self.proxies[0].host)
        node, _ = self.start_server("c")
        ready = node.when_ready()
        self.network.run(0.5)
        self.network.result_of(node.stopService())
        self.failureResultOf(ready, CancelledError)
        self.network.run(3)
        self.assertEqual(self.registered(), ["a", "b"])

    def hold_answers(self, *keys):
        """Have the client read what comes under keys that begin so only when it drops the connection."""
        proxies, router = self.node._proxies, self.node._links.connector.router
        receive, drain, held = proxies.keyed_received, router.drain, []

        def keyed_received(identity, key, payload):
            if key.startswith(keys):
                held.append((identity, key, bytes(payload)))
                return 1
            return receive(identity, key, payload)

        def drain_held():
            drain()
            for arguments in held:
                receive(*arguments)
            held.clear()

        proxies.keyed_received, router.drain = keyed_received, drain_held

    def lose_the_publisher(self):
        """Have the client lose the connection, and get no other."""
        (proxy,) = [proxy for proxy in self.node._proxies.there.clients.values() if proxy.up and proxy.publishes]
        self.network.refuse(self.proxies[0].host)
        self.node._proxies.connection_lost(proxy.connection, "it was reset")
        self.network.run(0.1)

    def test_an_answer_that_is_read_when_the_connection_is_lost(self):
        """It ends what it answers."""
        self.fanout(1)
        self.hold_answers(b"T")
        waiting = self.client.fanout(WORK, "mark", {"number": 2}, timeout=5)
        self.assertEqual(self.ran(), self.both([1, 2]))
        self.assertNoResult(waiting)
        self.lose_the_publisher()
        self.assertEqual(self.names(self.successResultOf(waiting).published), ["a", "b"])

    def test_given_back_when_the_connection_is_lost(self):
        """What is given back is not taken for published, nor the answer that follows for another."""
        self.fanout(1)
        given_back = self.given_back()
        self.hold_answers(b"", b"T")
        second = self.client.fanout(WORK, "mark", {"number": 2}, timeout=1)
        self.network.run(0.05)
        given_back.clear()
        third = self.client.fanout(WORK, "mark", {"number": 3}, timeout=1)
        self.network.run(0.05)
        self.assertEqual(self.ran(), self.both([1, 3]))
        self.lose_the_publisher()
        self.assertNoResult(second)
        self.assertEqual(self.names(self.successResultOf(third).published), ["a", "b"])
        self.assertEqual(len(self.network.result_of(second).missing), 2)

    def given_back(self):
        """Have the proxy give back what is published while the list that is returned has something in it."""
        publisher: Any = self.proxies[0]._proxy
        publications = publisher._publisher._publications
        publish, while_full = publications.publish, [True]
        publications.publish = lambda *arguments: None if while_full else publish(*arguments)
        return while_full

    def test_given_back_and_published_in_one_pass(self):
        """Answers count in the order in which they come."""
        self.fanout(1)
        given_back = self.given_back()
        self.hold_answers(b"", b"T")
        second = self.client.fanout(WORK, "mark", {"number": 2}, timeout=5)
        self.network.run(0.05)
        given_back.clear()
        third = self.client.fanout(WORK, "mark", {"number": 3}, timeout=5)
        self.network.run(0.05)
        self.node._links.connector.router.drain()
        self.assertNoResult(second)
        self.successResultOf(third)
        del self.node._proxies.keyed_received
        self.network.result_of(second)
        self.assertEqual(self.node._publishing.describe().unanswered_bytes, 0)

    def test_a_publisher_that_takes_less(self):
        """What is too large for it ends at once, and disturbs nothing else."""
        self.network.result_of(self.proxies[0].stopService())
        self.network.run(1)
        self.network.proxy(use_pub_sub=True, max_message_size=2**16)
        self.network.run(3)
        self.fanout(1)
        large = self.client.fanout(WORK, "mark", {"number": "x" * 2**17}, timeout=5)
        reached = self.network.result_of(large)
        self.assertEqual({type(error) for _, _, error in reached.missing}, {MessageTooLarge})
        self.fanout(2)
        self.assertEqual(self.ran(), self.both([1, 2]))

    def test_who_subscribes_is_listed_once_for_many(self):
        """However many they are, a fan-out costs the client no more; the list is made anew when they change."""
        self.fanout(0)
        self.network.run(1)
        first, second = self.fanout(1), self.fanout(2)
        self.assertIs(first.published, second.published)
        self.serve("c")
        self.assertEqual(self.names(self.fanout(3).published), ["a", "b", "c"])
        self.network.result_of(self.nodes["c"].stopService())
        self.network.run(1)
        self.assertEqual(self.fanout(4).published, first.published)

    def test_the_others_get_it_one_by_one(self):
        """Whoever does not subscribe, on one matchmaker with those who do; each gets it once."""
        self.serve("c", zmq_topology="static-direct")
        reached = self.fanout(1)
        self.assertEqual((self.names(reached.members), self.names(reached.published)), (["c"], ["a", "b"]))
        self.assertEqual(self.ran(), {"a": [1], "b": [1], "c": [1]})

    def test_a_client_that_does_not_publish(self):
        """Who subscribes is reached one by one all the same."""
        client = self.network.client(zmq_topology="static-direct")
        reached = self.fanout(1, client=client)
        self.assertEqual((self.names(reached.members), reached.published), (["a", "b"], ()))
        self.fanout(2)
        self.assertEqual(self.ran(), {"a": [1, 2], "b": [1, 2]})

    def test_both_sides_say_that_they_disagree(self):
        """Where a proxy publishes and a server does not subscribe: each of them once."""
        server, proxy = LogLines(self, "zmqrpc.publishers"), LogLines(self, "zmqrpc.disagreement")
        self.serve("c", zmq_topology=self.topology.removesuffix("+pub-sub"))
        self.network.run(400)
        (line,) = server
        self.assertIn(f"use_pub_sub is false here, but proxies that are recorded publish: {self.proxies[0].host}", line)
        (line,) = proxy.about("use_pub_sub is true here")
        self.assertIn("openstack/work.c", line)

    def test_for_one_member_it_is_not_published(self):
        reached = self.fanout(1, Target("work", server="a"))
        self.assertEqual((self.names(reached.members), reached.published), (["a"], ()))
        self.assertEqual(self.ran(), {"a": [1], "b": []})

    def test_calls_and_casts_as_ever(self):
        self.assertIn(self.network.result_of(self.client.call(WORK, "mark", {"number": 1})), "ab")
        self.network.result_of(self.client.cast(Target("work", server="a"), "mark", {"number": 2}))
        answers = self.network.result_of(self.client.call_each(WORK, "mark", {"number": 3}))
        self.assertEqual([answer.result for answer in answers], ["a", "b"])

    def test_two_clients_of_a_node(self):
        """They share the numbers; another node has its own."""
        node = MemoryNode(self.network, zmq_topology=self.topology)
        clients = [node.client(), node.client(), self.client]
        node.startService()
        for number, client in enumerate(clients * 2):
            self.fanout(number, client=client)
        self.assertEqual(self.ran(), self.both(list(range(6))))
        self.network.run(3)
        self.assertEqual(self.missed("a"), 0)

    def test_in_order_and_in_batches(self):
        waiting = [self.client.fanout(WORK, "mark", {"number": number}) for number in range(500)]
        results = self.network.result_of(gatherResults(waiting))
        self.assertEqual({self.names(reached.published) == ["a", "b"] for reached in results}, {True})
        self.assertEqual(self.ran(), self.both(list(range(500))))

    def test_topics_are_apart(self):
        """One topic begins like the other, and one is in another exchange."""
        near, elsewhere = Worker("near"), Worker("elsewhere")
        self.network.serve(Target("work_more", server="a"), near, zmq_topology=self.topology)
        self.network.serve(Target("work", server="a", exchange="x"), elsewhere, zmq_topology=self.topology)
        self.fanout(1)
        self.fanout(2, Target("work_more"))
        self.fanout(3, Target("work", exchange="x"))
        self.assertEqual(self.ran(), self.both([1]))
        self.assertEqual((near.ran, elsewhere.ran), ([2], [3]))

    def test_members_of_one_node(self):
        """A node that serves two members of the topic runs it for both."""
        more = Worker("c")
        self.nodes["a"].server(Target("work", server="c"), [more])
        self.network.result_of(self.nodes["a"].when_ready())
        reached = self.fanout(1)
        self.assertEqual(self.names(reached.published), ["a", "b", "c"])
        self.assertEqual(self.ran(), self.both([1]))
        self.assertEqual(more.ran, [1])

    def test_a_topic_that_is_served_later(self):
        self.fanout(1)
        other = Worker("other")
        self.nodes["a"].server(Target("other", server="a"), [other])
        self.network.result_of(self.nodes["a"].when_ready())
        self.fanout(2, Target("other"))
        self.ran()
        self.assertEqual(other.ran, [2])

    def test_a_server_that_appears(self):
        """It is found in under two seconds, and misses nothing from when it is ready."""
        self.fanout(1)
        self.serve("c")
        self.network.run(2.0)
        reached = self.fanout(2)
        self.assertEqual(self.names(reached.published), ["a", "b", "c"])
        self.assertEqual(self.ran(), {"a": [1, 2], "b": [1, 2], "c": [2]})

    def test_a_publisher_that_appears(self):
        """In under two seconds clients publish by it, and servers hear it."""
        self.fanout(1)
        self.proxies.append(self.network.proxy(use_pub_sub=True))
        self.network.run(2.0)
        self.proxies[0].kill()
        self.network.run(0.1)
        self.fanout(2)
        self.assertEqual(self.ran(), self.both([1, 2]))

    def test_cancelled(self):
        """Before it is published nobody gets it, and no number is used up."""
        waiting = self.client.fanout(WORK, "mark", {"number": 1})
        waiting.cancel()
        error = self.failureResultOf(waiting, Cancelled).value
        self.assertFalse(error.maybe_executed)
        self.fanout(1)
        waiting = self.client.fanout(WORK, "mark", {"number": 2})
        waiting.cancel()
        error = self.failureResultOf(waiting, Cancelled).value
        self.assertIn("0 of 2 members had acknowledged it", str(error))
        self.fanout(3)
        self.assertEqual(self.ran(), self.both([1, 3]))
        self.network.run(3)
        self.assertEqual(self.missed("a"), 0)

    def test_odd_requests(self):
        error = self.failureResultOf(self.client.fanout(WORK, "echo", {"value": bytes(2**27)}), MessageTooLarge).value
        self.assertIn("of this client", str(error))
        waiting = self.client.fanout(WORK, "mark", timeout=0)
        self.failureResultOf(waiting, DeadlineExceeded)
        self.fanout(1)
        self.assertEqual(self.ran(), self.both([1]))

    def test_what_it_cost_is_told_by_nobody(self):
        """A method that raises or is missing at a subscriber is logged there; its client hears that it is published."""
        reached = self.network.result_of(self.client.fanout(WORK, "fail"))
        self.assertEqual(self.names(reached.published), ["a", "b"])
        self.network.run(0.5)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)


class NoPublisherTests(PublishedCase):
    proxy_count = 0
    members = ""

    def test_no_publisher_is_recorded(self):
        """Servers are ready and say so; who publishes waits until its deadline, and is told why."""
        lines = LogLines(self, "zmqrpc.publishers")
        self.serve("a")
        self.assertEqual(len(lines.about("no proxy that publishes is recorded")), 1)
        began = self.network.clock.seconds()
        reached = self.fanout(1, timeout=3.0)
        self.assertAlmostEqual(self.network.clock.seconds() - began, 3.0, delta=0.1)
        ((member, _, error),) = reached.missing
        self.assertEqual((member, reached.members, reached.published), ("a", (), ()))
        self.assertIsInstance(error, NoRoute)
        self.assertIn("no publisher is up: none is recorded in the matchmaker, start one", str(error))
        self.assertFalse(error.maybe_executed)
        # Who does not subscribe is reached all the same.
        self.serve("b", zmq_topology="static-direct")
        self.network.run(1)
        reached = self.fanout(2, timeout=3.0)
        self.assertEqual((self.names(reached.members), self.names(reached.missing)), (["b"], ["a"]))
        self.assertEqual(self.ran(), {"a": [], "b": [2]})

    def test_one_comes_in_time(self):
        self.serve("a")
        waiting = self.client.fanout(WORK, "mark", {"number": 1})
        self.network.run(5)
        self.assertNoResult(waiting)
        self.network.proxy(use_pub_sub=True)
        self.assertEqual(self.names(self.network.result_of(waiting).published), ["a"])
        self.assertEqual(self.ran(), {"a": [1]})

    def test_one_that_is_recorded_and_down(self):
        proxy = self.network.proxy(use_pub_sub=True)
        self.serve("a")
        proxy.kill()
        self.network.run(1)
        ((_, _, error),) = self.fanout(1, timeout=3.0).missing
        self.assertIsInstance(error, NoRoute)
        self.assertIn(f"look after those that are recorded: {proxy.host} at tcp://", str(error))

    def test_proxies_that_are_set_otherwise(self):
        """Who publishes and who subscribes say that the proxies do not."""
        lines = LogLines(self, "zmqrpc.publishers")
        proxy = self.network.proxy()
        self.serve("a")
        self.network.run(4)
        self.assertEqual(len(lines.about(f"do not publish: {proxy.host} at tcp://")), 2)

    def test_some_proxies_are_set_otherwise(self):
        """Who publishes and who subscribes both name those that do not publish, once, however often they come back."""
        self.serve("a")
        lines = LogLines(self, "zmqrpc.publishers")
        self.network.proxy(use_pub_sub=True)
        for _ in range(3):
            other = self.network.proxy("odd")
            self.network.run(10)
            self.assertEqual(self.names(self.fanout(1).published), ["a"])
            self.network.result_of(other.stopService())
            self.network.run(10)
        self.assertEqual(len(lines), 2)
        self.assertEqual(len(lines.about("some of the proxies that are recorded do not publish: odd at tcp://")), 2)

    def test_where_no_proxy_publishes_it_goes_to_each(self):
        """Also that of a client that has only just begun, and knows of no proxy yet."""
        self.network.proxy()
        for member in "ab":
            self.serve(member)
        # Until the client has heard of the proxy as well.
        self.network.run(0.5)
        began = self.network.clock.seconds()
        late = self.network.client(host="late", zmq_topology=self.topology)
        for number, client in enumerate((self.client, late, late)):
            reached = self.fanout(number, client=client)
            self.assertEqual((self.names(reached.members), reached.published, reached.missing), (["a", "b"], (), ()))
        self.assertLess(self.network.clock.seconds() - began, 1)
        self.assertEqual(self.ran(), self.both([0, 1, 2]))

    def none_will_publish(self, **options):
        """Have a fan-out wait for a publisher when it becomes known that the proxies do not publish; return its end."""
        arguments = {"number": 1}
        waiting = self.client.fanout(WORK, "mark", arguments, timeout=20, **options)
        self.network.run(1)
        self.assertNoResult(waiting)
        arguments["number"] = 2
        began = self.network.clock.seconds()
        self.network.proxy()
        reached = self.network.result_of(waiting)
        self.assertLess(self.network.clock.seconds() - began, 1)
        return reached

    def test_what_waits_when_the_first_proxy_does_not_publish(self):
        """It goes to each, as what comes after it does; who does not subscribe has it already, and gets no other."""
        for member in "ab":
            self.serve(member)
        self.serve("c", zmq_topology="static-direct")
        reached = self.none_will_publish()
        self.assertEqual((self.names(reached.members), reached.published, reached.missing), (["a", "b", "c"], (), ()))
        self.assertEqual(self.ran(), {"a": [1], "b": [1], "c": [1]})
        # It took no number among those that are published.
        self.network.proxy(use_pub_sub=True)
        self.network.run(3)
        self.fanout(3)
        self.network.run(3)
        self.assertEqual((self.ran()["a"], self.missed("a")), ([1, 3], 0))

    def test_one_of_those_that_it_goes_to_is_gone(self):
        for member in "ab":
            self.serve(member)
        self.nodes["b"].kill()
        reached = self.none_will_publish()
        self.assertEqual((self.names(reached.members), self.names(reached.missing)), (["a"], ["b"]))

    def test_cancelled_when_it_goes_to_each(self):
        self.serve("a")
        waiting = self.client.fanout(WORK, "mark", {"number": 1}, timeout=20)
        self.network.run(1)
        self.network.partition("client", "a")
        self.network.proxy()
        self.network.run(0.2)
        waiting.cancel()
        self.failureResultOf(waiting, Cancelled)
        self.network.heal()
        described = self.node._publishing.describe()
        self.assertEqual((described.open, self.ran()["a"]), (0, []))

    def test_wait_for_ready(self):
        """It is sent when a subscriber and a publisher are there."""
        waiting = self.client.fanout(WORK, "mark", {"number": 1}, wait_for_ready=True)
        self.network.run(2)
        self.network.proxy(use_pub_sub=True)
        self.network.run(2)
        self.assertNoResult(waiting)
        self.serve("a")
        self.assertEqual(self.names(self.network.result_of(waiting).published), ["a"])
        self.assertEqual(self.ran(), {"a": [1]})

    def test_wait_for_ready_until_the_deadline(self):
        self.serve("a")
        reached = self.fanout(1, timeout=3.0, wait_for_ready=True)
        self.assertEqual(self.names(reached.missing), ["a"])

    def test_nobody_subscribes_there(self):
        """A member whose record says that it subscribes, and which reaches no publisher."""
        self.network.proxy(use_pub_sub=True)
        self.serve("a", subscribe_on=("127.0.0.1:1",))
        ((member, _, error),) = self.fanout(1, timeout=2.0).missing
        self.assertEqual(member, "a")
        self.assertIsInstance(error, NoRoute)
        self.assertIn("nobody is subscribed at any publisher", str(error))

    def test_subscribe_on(self):
        """It outranks the matchmaker, and may name several."""
        proxies = [self.network.proxy(use_pub_sub=True) for _ in range(3)]
        named = tuple(proxy.records[-1].addresses[-1].removeprefix("tcp://") for proxy in proxies[:2])
        self.serve("a", subscribe_on=named)
        addresses = {each.address for each in self.nodes["a"]._subscriptions._subscriptions}
        self.assertEqual(addresses, {f"tcp://{each}" for each in named})
        for number in range(5):
            self.fanout(number)
        self.assertEqual(self.ran(), {"a": list(range(5))})

    def test_a_publisher_that_is_cut_off_does_not_hold_up(self):
        """A server is ready without it after two seconds, and says so."""
        lines = LogLines(self, "zmqrpc.subscriptions")
        proxies = [self.network.proxy(use_pub_sub=True) for _ in range(2)]
        self.network.add_host("a")
        self.network.partition("a", proxies[1].host)
        began = self.network.clock.seconds()
        self.serve("a")
        self.assertAlmostEqual(self.network.clock.seconds() - began, 2.0, delta=0.2)
        (line,) = lines.about("not subscribed yet")
        self.assertIn(proxies[1].records[-1].addresses[-1], line)
        self.network.heal()
        self.network.run(3)
        self.assertEqual(len(lines.about(f"subscribed at the publisher {proxies[1].records[-1].addresses[-1]}")), 1)


class ThreePublishersTests(PublishedCase):
    proxy_count = 3

    def stream(self, first, number, kill=None):
        """Publish one fan-out every 5 ms; kill the proxy they go by after half of them."""
        waiting = []
        for each in range(first, first + number):
            waiting.append(self.client.fanout(WORK, "mark", {"number": each}, timeout=20))
            self.network.run(0.005)
            if kill is not None and each == first + number // 2:
                kill()
        return self.network.result_of(gatherResults(waiting))

    def test_one_publisher_at_a_time(self):
        self.stream(0, 50)
        self.assertEqual(self.ran(), self.both(list(range(50))))
        self.assertEqual(self.nodes["a"].notices.counts["repeated"], 0)

    def test_one_is_killed(self):
        """Nothing is lost, nothing comes twice, and each fan-out ends as published."""
        results = self.stream(0, 200, lambda: self.sticky().kill())
        self.assertEqual({self.names(reached.published) == ["a", "b"] for reached in results}, {True})
        self.fanout(200)
        for member, ran in self.ran().items():
            self.assertEqual(sorted(ran), list(range(201)), member)
        self.network.run(3)
        self.assertEqual([self.missed(member) for member in "ab"], [0, 0])
        self.assertGreater(self.nodes["a"].notices.counts["repeated"], 0)

    def test_one_stops(self):
        self.stream(0, 200, lambda: self.sticky().stopService())
        self.fanout(200)
        for member, ran in self.ran().items():
            self.assertEqual(sorted(ran), list(range(201)), member)
        self.network.run(3)
        self.assertEqual([self.missed(member) for member in "ab"], [0, 0])

    def test_one_is_cut_off(self):
        """From the client, or from a subscriber: what that one misses it has counted exactly."""
        self.stream(0, 10)
        proxy = self.sticky()
        self.network.partition("client", proxy.host)
        self.stream(10, 50)
        self.network.heal()
        self.network.run(5)
        proxy = self.sticky()
        self.network.partition("a", proxy.host)
        self.stream(60, 400)
        self.network.heal()
        self.network.run(5)
        self.stream(460, 2)
        self.network.run(5)
        ran = self.ran()
        self.assertEqual(sorted(ran["b"]), list(range(462)))
        self.assertEqual(len(set(ran["a"])), len(ran["a"]))
        self.assertEqual(len(ran["a"]) + self.missed("a"), 462)
        self.assertGreater(self.missed("a"), 0)
        self.assertEqual(self.missed("b"), 0)

    def test_the_last_one_is_missed(self):
        """It is counted though nothing follows it."""
        self.stream(0, 10)
        proxy = self.sticky()
        self.network.break_connections("a", proxy.host)
        self.network.refuse(proxy.host)
        self.network.run(0.05)
        self.fanout(10)
        self.network.accept(proxy.host)
        self.network.run(5)
        self.assertEqual(self.ran(), {"a": list(range(10)), "b": list(range(11))})
        self.assertEqual([self.missed(member) for member in "ab"], [1, 0])

    def test_all_are_killed(self):
        self.stream(0, 10)
        for proxy in self.proxies:
            proxy.kill()
        self.network.run(1)
        waiting = self.client.fanout(WORK, "mark", {"number": 10})
        self.network.run(1)
        self.network.proxy(use_pub_sub=True)
        self.assertEqual(self.names(self.network.result_of(waiting).published), ["a", "b"])
        self.assertEqual(self.ran(), self.both(list(range(11))))

    def test_a_server_that_stops(self):
        """It withdraws its record, and takes nothing more; no error, and nothing is counted."""
        self.stream(0, 10)
        self.network.result_of(self.nodes["b"].stopService())
        self.network.run(1)
        self.assertEqual(self.names(self.fanout(10).published), ["a"])
        self.assertEqual(self.ran(), {"a": list(range(11)), "b": list(range(10))})


class LocalPublisherTests(PublishedCase):
    """Servers that subscribe on the local publisher of their node."""

    proxy_count = 2

    def serve(self, member, **options):
        local: Any = self.network.proxy(proxy_local_publisher=True)
        self.locals = [*getattr(self, "locals", ()), local]
        address = local._proxy.address.removeprefix("tcp://")
        return super().serve(member, subscribe_on=(address,), **options)

    def test_each_once(self):
        for number in range(20):
            reached = self.fanout(number)
        self.assertEqual(self.names(reached.published), ["a", "b"])
        self.assertEqual(self.ran(), self.both(list(range(20))))
        self.network.run(3)
        self.assertEqual([self.missed(member) for member in "ab"], [0, 0])

    def test_a_central_publisher_is_killed(self):
        waiting = []
        for number in range(100):
            waiting.append(self.client.fanout(WORK, "mark", {"number": number}))
            self.network.run(0.005)
            if number == 50:
                self.sticky().kill()
        self.network.result_of(gatherResults(waiting))
        self.network.run(1)
        self.assertEqual({name: sorted(ran) for name, ran in self.ran().items()}, self.both(list(range(100))))
        self.network.run(3)
        self.assertEqual([self.missed(member) for member in "ab"], [0, 0])

    def test_a_local_publisher_is_killed(self):
        """What its node misses is counted there, exactly; the other has each."""
        self.fanout(0)
        self.locals[0].kill()
        for number in range(1, 50):
            self.fanout(number)
        self.network.run(3)
        self.assertEqual(self.ran(), {"a": [0], "b": list(range(50))})
        # Another takes its place, under the same address.
        address = self.locals[0]._proxy.address
        port = int(address.rpartition(":")[2])
        self.network.proxy(self.locals[0].host, proxy_local_publisher=True, proxy_publisher_port=port)
        self.network.run(4)
        self.fanout(50)
        self.network.run(3)
        self.assertEqual(self.ran(), {"a": [0, 50], "b": list(range(51))})
        self.assertEqual([self.missed(member) for member in "ab"], [49, 0])


class RoutedTests(OnePublisherTests):
    """The same with calls that go through router proxies."""

    topology = "router-proxy+pub-sub"


class PublishedScenarios(Scenario):
    """The same over sockets, in short."""

    options = {"zmq_topology": "static-direct+pub-sub"}

    async def test_everybody_gets_it(self):
        await self.world.proxy(use_pub_sub=True)
        workers = [await self.member(name, **self.options) for name in "ab"]
        plain = await self.member("c")
        client = self.world.client(**self.options)
        reached = await client.fanout(WORK, "mark", {"number": 1})
        self.assertEqual([member for member, _ in reached.published], ["a", "b"])
        self.assertEqual([member for member, _ in reached.members], ["c"])
        await self.world.eventually("all ran it", lambda: all(worker.ran == [1] for worker in (*workers, plain)))
        waiting = [client.fanout(WORK, "mark", {"number": number}) for number in range(2, 300)]
        await gatherResults(waiting)
        await self.world.eventually("all ran all", lambda: all(worker.ran[-1] == 299 for worker in workers))
        self.assertEqual([worker.ran for worker in workers], [list(range(1, 300))] * 2)

    async def test_a_publisher_is_killed(self):
        """Nothing is lost, and nothing comes twice."""
        proxies = [await self.world.proxy(use_pub_sub=True) for _ in range(3)]
        workers = [await self.member(name, **self.options) for name in "ab"]
        client = self.world.client(**self.options)
        waiting = []
        for number in range(200):
            waiting.append(client.fanout(WORK, "mark", {"number": number}))
            await self.world.sleep(0.002)
            if number == 100:
                (key,) = client.node._publishing.describe().publishers.values()
                self.world.kill(next(each for each in proxies if each.instance.hex() == key))
        results = await gatherResults(waiting)
        self.assertEqual({len(reached.published) for reached in results}, {2})
        await self.world.eventually("all ran all", lambda: all(len(worker.ran) >= 200 for worker in workers))
        for worker in workers:
            self.assertEqual(sorted(worker.ran), list(range(200)))
            self.assertEqual(worker.node.notices.counts["fanout_missed"], 0)


class PublishedInMemory(InMemory, PublishedScenarios, TestCase):
    pass


class PublishedOverSockets(OverSockets, PublishedScenarios, TestCase):
    pass
