"""Calls through router proxies: what becomes of them when proxies, servers and clients come and go."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.core.batch import RETURN_OVERHEAD, decode_batch, encode_batch
from zmqrpc.core.envelope import Call, Ping, Refusal, encode_message
from zmqrpc.core.keys import topic_key
from zmqrpc.core.link import Phase
from zmqrpc.core.ways import Through
from zmqrpc.errors import (
    ClientClosed,
    DeadlineExceeded,
    Draining,
    MessageTooLarge,
    NoRoute,
    Overloaded,
    RemoteError,
    ServerLost,
)
from zmqrpc.interfaces import FULL, GONE, SENT
from zmqrpc.test.little_proxy import LittleProxy
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import MemoryNode, Network, Weather

WORK = Target("work")


class RoutedCase(SynchronousTestCase):
    """A network with proxies, servers that serve directly too, and a client that goes through proxies."""

    proxy_count = 1
    members = "a"

    def setUp(self):
        self.network = Network(5)
        self.lines = LogLines(self)
        self.proxies = [self.proxy() for _ in range(self.proxy_count)]
        self.workers = {}
        self.servers = {}
        for member in self.members:
            self.serve(member)
        self.client = self.network.client(zmq_topology="router-proxy")
        self.node = self.network.nodes[-1]

    def tearDown(self):
        self.network.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    def proxy(self, **options):
        return LittleProxy(self.network, f"proxy-{self.network.chance.getrandbits(20)}", **options)

    def serve(self, member, **options):
        self.workers[member] = worker = Worker(member)
        self.servers[member] = self.network.serve(Target("work", server=member), worker, **options)

    def result_of(self, waited_for, most=600.0):
        return self.network.result_of(waited_for, most)

    def call(self, method="mark", target=WORK, **options):
        return self.client.call(target, method, **options)

    def proxied(self):
        """List the proxies that the links of the client go through, one for each link that has one."""
        ways = [link.state.identity for link in self.node._links.all()]
        proxies = {connection: key for key, connection in self.node._proxies.there.describe().items()}
        return [proxies.get(way.connection) for way in ways if isinstance(way, Through)]

    def in_use(self):
        """Return the proxy that the one link goes through."""
        [key] = self.proxied()
        return next(proxy for proxy in self.proxies if proxy.instance.hex() == key)

    def load(self, most=60.0):
        """Call all members a hundred times a second, and list how each call ended."""
        outcomes: list[Any] = []
        numbers = iter(range(100_000))

        def one():
            call = self.call(args={"number": next(numbers)}, timeout=most)
            call.addCallbacks(outcomes.append, lambda failure: outcomes.append(failure.value))

        loop = LoopingCall(one)
        loop.clock = self.network.clock
        loop.start(0.01, now=False).addErrback(lambda failure: outcomes.append(failure.value))
        self.addCleanup(lambda: loop.running and loop.stop())
        return loop, outcomes

    def end(self, load):
        loop, outcomes = load
        loop.stop()
        self.network.run(3)
        self.assertEqual([each for each in outcomes if isinstance(each, Exception)], [])
        ran = sorted(number for worker in self.workers.values() for number in worker.ran)
        self.assertEqual(ran, list(range(len(outcomes))), "each call has run once")

    @property
    def now(self):
        return self.network.clock.seconds()


class OneProxyTests(RoutedCase):
    def test_call(self):
        self.assertEqual(self.result_of(self.call()), "a")
        self.assertGreater(self.proxies[0].forwarded, 0)
        self.assertEqual(self.proxied(), [self.proxies[0].instance.hex()])

    def test_each_kind(self):
        self.result_of(self.client.cast(WORK, "mark", {"number": 1}))
        reached = self.result_of(self.client.fanout(WORK, "mark", {"number": 2}))
        self.assertEqual([member for member, _ in reached.members], ["a"])
        answers = self.result_of(self.client.call_each(WORK, "mark", {"number": 3}))
        self.assertEqual([answer.result for answer in answers], ["a"])
        self.assertEqual(self.workers["a"].ran, [1, 2, 3])
        described = self.result_of(self.client.call(Target("work", namespace="zmqrpc"), "describe"))
        self.assertIn("mark", [method["method"] for method in described])

    def test_notifications(self):
        """One copy for each pool goes through the proxy; another of the pool gets what a killed listener had."""
        held: dict[str, list[Any]] = {"a": [], "b": [], "c": []}

        class Ear:
            def __init__(self, name):
                self.name = name

            def info(self, context, publisher_id, event_type, payload, metadata):
                held[self.name].append(Deferred())
                return held[self.name][-1]

        nodes = {name: self.network.listen("events", Ear(name), host=name) for name in "ab"}
        late = self.servers["a"]
        late.listener([Target("events")], [Ear("c")], "audit")
        self.result_of(late.when_ready())
        sent = self.node.notifier("test", ["events"]).info({}, "e", 1)
        self.network.run_until(lambda: held["c"] and (held["a"] or held["b"]))
        self.assertEqual(set(self.proxied()), {self.proxies[0].instance.hex()})
        held["c"][0].callback(None)
        lost, left = ("a", "b") if held["a"] else ("b", "a")
        nodes[lost].kill()
        self.network.run_until(lambda: held[left])
        held[left][0].callback(None)
        self.assertEqual(self.result_of(sent), 2)
        self.assertEqual([len(held[name]) for name in "abc"], [1, 1, 1])

    def test_one_socket(self):
        self.proxies[0].withdraw()
        self.proxies[0].kill()
        self.proxies = [self.proxy(one_socket=True)]
        self.assertEqual(self.result_of(self.call()), "a")
        self.assertGreater(self.proxies[0].forwarded, 0)

    def test_long_call_beats(self):
        call = self.call("hold", timeout=30)
        self.network.run(10)
        self.assertEqual(call.stage.name, "RUNNING")
        self.workers["a"].held[0].callback("done")
        self.assertEqual(self.result_of(call), "done")

    def test_cancel(self):
        call = self.call("hold", args={"number": 7})
        self.network.run_until(lambda: self.workers["a"].held)
        call.addErrback(lambda failure: None)
        call.cancel()
        self.network.run_until(lambda: self.workers["a"].cancelled == [7])

    def test_order(self):
        calls = [self.call(args={"number": number}) for number in range(500)]
        for call in calls:
            self.result_of(call)
        self.assertEqual(self.workers["a"].ran, list(range(500)))

    def test_dead_member_holds_up_nobody(self):
        """Its record stays for a while; calls that other members can take never wait for it."""
        self.serve("b")
        self.result_of(self.client.fanout(WORK, "mark"))
        self.servers["b"].kill()
        self.network.run(5)
        longest = 0.0
        for _ in range(400):
            began = self.now
            self.assertEqual(self.result_of(self.call()), "a")
            longest = max(longest, self.now - began)
            self.network.run(0.05)
        self.assertLess(longest, 0.1)

    def test_dead_member_holds_up_one_fanout(self):
        """The first one waits until it is known that it is not just being connected anew; the others do not."""
        self.serve("b")
        self.result_of(self.client.fanout(WORK, "mark"))
        self.network.run(3)
        self.servers["b"].kill()
        longest = []
        for _ in range(200):
            began = self.now
            reached = self.result_of(self.client.fanout(WORK, "mark"))
            longest.append(self.now - began)
            ((member, _, error),) = reached.missing
            self.assertEqual((member, error.maybe_executed), ("b", False))
            self.assertIn("no router proxy is connected to it", str(error))
            self.network.run(0.13)
        self.assertLess(longest[0], 1.2)
        self.assertLess(max(longest[1:]), 0.1)

    def test_fanout_to_a_member_that_is_connected_anew(self):
        """Its connection to the proxy has broken, and it is back in a moment: it is reached."""
        self.network.run(2)
        self.result_of(self.client.fanout(WORK, "mark"))
        self.network.run(3)
        self.network.refuse(self.proxies[0].host)
        self.network.break_connections("a", self.proxies[0].host)
        self.network.run(0.1)
        waiting = self.client.fanout(WORK, "mark")
        self.network.run(0.1)
        self.network.accept(self.proxies[0].host)
        reached = self.result_of(waiting)
        self.assertEqual([member for member, _ in reached.members], ["a"])

    def test_server_killed(self):
        call = self.call("hold")
        self.network.run_until(lambda: self.workers["a"].held)
        began = self.now
        self.servers["a"].kill()
        with self.assertRaises(ServerLost) as caught:
            self.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertLess(self.now - began, 2)
        self.serve("b")
        self.assertEqual(self.result_of(self.call(wait_for_ready=True)), "b")

    def test_idempotent_call_moves_on(self):
        call = self.call("hold", idempotent=True)
        self.network.run_until(lambda: self.workers["a"].held)
        self.serve("b")
        self.servers["a"].kill()
        began = self.now
        self.network.run_until(lambda: self.workers["b"].held)
        self.assertLess(self.now - began, 2)
        self.workers["b"].held[0].callback("done")
        self.assertEqual(self.result_of(call), "done")

    def test_calls_to_a_server_that_was_killed_go_to_others(self):
        self.serve("b")
        self.result_of(self.client.call_each(WORK, "mark"))
        self.servers["a"].kill()
        self.network.run(0.1)
        # What the proxy gives back has not run, and runs elsewhere.
        self.assertEqual({self.result_of(self.call()) for _ in range(4)}, {"b"})

    def test_server_stops(self):
        self.serve("b")
        held = self.call("hold", target=Target("work", server="a"), timeout=20)
        self.network.run_until(lambda: self.workers["a"].held)
        stopped = self.servers["a"].stopService()
        self.assertEqual({self.result_of(self.call()) for _ in range(4)}, {"b"})
        self.workers["a"].held[0].callback("done")
        self.assertEqual(self.result_of(held), "done")
        began = self.now
        self.result_of(stopped)
        self.assertLess(self.now - began, 0.5)

    def test_only_server_stops(self):
        held = self.call("hold", timeout=20)
        self.network.run_until(lambda: self.workers["a"].held)
        stopped = self.servers["a"].stopService()
        with self.assertRaises(Draining):
            self.result_of(self.call())
        self.workers["a"].held[0].callback("done")
        self.assertEqual(self.result_of(held), "done")
        self.result_of(stopped)

    def test_client_killed(self):
        """What is for a client that is gone comes back, is counted, and forgotten with it."""
        call = self.call("hold")
        self.network.run_until(lambda: self.workers["a"].held)
        self.node.kill()
        self.network.run(0.1)
        self.workers["a"].held[0].callback("done")
        self.network.run(2)
        self.assertFalse(call.called)
        self.assertGreaterEqual(self.servers["a"].notices.counts["replies_dropped"], 1)

    def test_client_says_goodbye(self):
        self.result_of(self.call())
        self.result_of(self.client.close())
        self.network.run(1)
        self.assertEqual(len(self.servers["a"]._callers._callers), 0)
        self.assertIn(self.node.instance, self.proxies[0].left)

    def test_connection_of_the_server_to_the_proxy_breaks(self):
        """The answer that it loses is asked for again."""
        call = self.call("hold", timeout=20)
        self.network.run_until(lambda: self.workers["a"].held)
        self.network.break_connections("a", self.proxies[0].host)
        self.workers["a"].held[0].callback("done")
        began = self.now
        self.assertEqual(self.result_of(call), "done")
        self.assertLess(self.now - began, 2)
        self.assertEqual(self.workers["a"].ran, [0])

    def test_connection_of_the_client_to_the_proxy_breaks(self):
        self.result_of(self.call())
        calls = [self.call(args={"number": number}) for number in range(1, 51)]
        self.network.break_connections("client", self.proxies[0].host)
        for call in calls:
            self.result_of(call)
        self.assertEqual(self.workers["a"].ran, list(range(51)))

    def test_proxy_that_has_forgotten_the_client(self):
        self.result_of(self.call())
        self.proxies[0].forget(self.node.instance)
        self.assertEqual(self.result_of(self.call()), "a")

    def test_proxy_that_has_forgotten_the_server(self):
        """The server does not notice before its next PING; what comes back meanwhile is sent again."""
        self.result_of(self.call())
        self.proxies[0].forget(self.servers["a"].instance)
        with self.assertRaises(NoRoute) as caught:
            self.result_of(self.call())
        self.assertFalse(caught.exception.maybe_executed)
        self.assertIn("is not connected to it", str(caught.exception))
        self.network.run(6)
        self.assertEqual(self.result_of(self.call()), "a")

    def test_no_proxy_is_connected_to_the_server(self):
        """It may be behind a firewall for them: calls fail as if it could not be reached directly."""
        self.network.run(2)
        self.network.partition("a", self.proxies[0].host)
        self.network.run(3)
        began = self.now
        with self.assertRaises(NoRoute) as caught:
            self.result_of(self.call())
        self.assertLess(self.now - began, 2.5)
        self.assertIn("no router proxy is connected to it, 1 are up", str(caught.exception))
        self.network.heal()
        self.assertEqual(self.result_of(self.call(wait_for_ready=True)), "a")

    def test_overloaded_on_the_way(self):
        self.result_of(self.call())

        def deny(payload):
            calls = any(type(message) is Call for message in decode_batch(payload).messages)
            return Refusal.OVERLOADED if calls else None

        self.proxies[0].deny = deny
        with self.assertRaises(Overloaded) as caught:
            self.result_of(self.call())
        self.assertFalse(caught.exception.maybe_executed)
        self.assertIn(self.proxies[0].host, str(caught.exception))

    def test_too_large_on_the_way(self):
        """A proxy may have been told another limit than the client: that ends the call, and nothing else."""
        self.result_of(self.call())
        self.proxies[0].deny = lambda payload: Refusal.TOO_LARGE if len(payload) > 500 else None
        held = self.call("hold", timeout=20)
        self.network.run_until(lambda: self.workers["a"].held)
        way = self.node._links.all()[0].state.identity
        too_large = self.call(args={"number": bytes(600)})
        self.network.run_until(lambda: too_large.called)
        error = self.failureResultOf(too_large, MessageTooLarge).value
        self.assertFalse(error.maybe_executed)
        self.assertIn(f"the router proxy {self.proxies[0].host} at ", str(error))
        # Those that are too large only together arrive one by one.
        calls = [self.call(args={"number": number}) for number in range(1, 31)]
        mixed = self.call(args={"number": bytes(600)})
        for call in calls:
            self.assertEqual(self.result_of(call), "a")
        self.network.run_until(lambda: mixed.called)
        self.failureResultOf(mixed, MessageTooLarge)
        self.assertEqual(sorted(self.workers["a"].ran), [0, 0, *range(1, 31)])
        self.assertEqual(self.node._links.all()[0].state.identity, way)
        self.workers["a"].held[0].callback("done")
        self.assertEqual(self.result_of(held), "done")

    def left_alone(self):
        """Close the client; return how many connections it did not wait for."""
        router: Any = self.node._links.connector.router
        disconnected: list[bytes] = []
        disconnect = router.disconnect

        def noted(identity):
            disconnected.append(identity)
            disconnect(identity)

        router.disconnect = noted
        self.result_of(self.client.close())
        return len(disconnected)

    def test_close_does_not_wait_for_a_silent_proxy(self):
        """Nobody reads what is written to it, so that the linger would take its whole second."""
        self.result_of(self.call())
        self.proxies[0].silent = True
        with self.assertRaises(DeadlineExceeded):
            self.result_of(self.call(timeout=4))
        self.assertEqual(self.left_alone(), 1)

    def test_close_does_not_wait_for_who_never_said_welcome(self):
        self.proxies[0].silent = True
        self.client = self.network.client(host="other", zmq_topology="router-proxy")
        self.node = self.network.nodes[-1]
        with self.assertRaises(NoRoute):
            self.result_of(self.call(timeout=4))
        self.assertEqual(self.left_alone(), 1)

    def test_close_waits_for_who_reads(self):
        self.result_of(self.call())
        self.assertEqual(self.left_alone(), 0)

    def test_close_waits_where_casts_have_ended_for_their_callers(self):
        self.client = self.network.client(host="other", zmq_topology="router-proxy", rpc_use_acks=False)
        self.node = self.network.nodes[-1]
        self.result_of(self.call())
        self.proxies[0].silent = True
        self.result_of(self.client.cast(WORK, "mark"))
        self.network.run(4)
        self.assertEqual(self.left_alone(), 0)

    def in_order(self, deny):
        """Make calls in several batches, of which the proxy gives some back; return what ran in which order."""
        self.result_of(self.call())
        self.network.run(2)
        self.proxies[0].deny = deny
        pad = {"pad": "x" * 200}
        calls = [self.call(args={"number": number}, context=pad) for number in range(1, 751)]
        for call in calls:
            self.result_of(call)
        return self.workers["a"].ran[1:]

    def test_order_of_what_is_too_large_on_the_way(self):
        """What comes back in several batches goes on in the order of its calls."""
        ran = self.in_order(lambda payload: Refusal.TOO_LARGE if len(payload) > 20000 else None)
        self.assertEqual(ran, list(range(1, 751)))

    def test_order_of_what_is_given_back(self):
        """Of the first to come back it is known at once that its connection is of no use, of the others later."""
        denied: list[float] = []

        def deny(payload):
            calls = any(type(message) is Call for message in decode_batch(payload).messages)
            if not calls or (denied and self.now > denied[0] + 0.0005):
                return None
            denied.append(self.now)
            return Refusal.UNROUTABLE

        ran = self.in_order(deny)
        self.assertGreater(len(denied), 2)
        self.assertEqual(ran, list(range(1, 751)))

    def test_too_large_and_not_given_back(self):
        """Which one it was is not known: none is ended for it, and the error of the one whose time is up tells it."""
        self.result_of(self.call())
        proxy = self.proxies[0]
        proxy.deny = lambda payload: Refusal.TOO_LARGE if len(payload) > 500 else None
        proxy.keeps = True
        held = self.call("hold", timeout=60)
        self.network.run_until(lambda: self.workers["a"].held)
        too_large = self.call(args={"number": bytes(600)}, timeout=5)
        self.network.run(1)
        self.assertEqual(self.node.notices.counts["too_large"], 1)
        self.assertEqual(len(self.lines.about("too_large: the proxy at tcp://")), 1)
        self.assertEqual(self.result_of(self.call(args={"number": 7})), "a")
        self.network.run_until(lambda: too_large.called)
        error = self.failureResultOf(too_large, DeadlineExceeded).value
        self.assertIn(f"the proxy {proxy.host} refused a message as too large, perhaps this one", str(error))
        self.workers["a"].held[0].callback("done")
        self.assertEqual(self.result_of(held), "done")

    def test_what_could_not_be_given_back(self):
        """Nothing is given to a proxy that would be over our own limit when it comes back with a NACK around it."""
        limit = 10_000
        client = self.network.client(zmq_topology="router-proxy", max_message_size=limit)
        self.result_of(client.call(WORK, "mark"))
        sizes: list[int] = []
        self.proxies[0].deny = lambda payload: sizes.append(len(payload))
        for size in range(limit - 2000, limit):
            call = client.call(WORK, "mark", {"number": bytes(size)})
            self.network.run_until(lambda: call.called)  # noqa: B023
            if isinstance(call.result, str):
                self.result_of(call)
            else:
                error = self.failureResultOf(call, MessageTooLarge).value
                self.assertIn("too large for this client (max_message_size)", str(error))
                self.assertFalse(error.maybe_executed)
                break
        self.assertTrue(limit - 2000 < max(sizes) <= limit - RETURN_OVERHEAD, max(sizes))
        proxy = self.network.nodes[-1]._proxies.there.all()[0]
        self.assertEqual(proxy.largest, limit - RETURN_OVERHEAD)
        self.assertEqual(proxy.publish(topic_key("x", "work"), bytes(limit - RETURN_OVERHEAD + 1)), FULL)

    def test_reply_that_is_too_large_on_the_way(self):
        self.result_of(self.call())
        self.proxies[0].deny = lambda payload: Refusal.TOO_LARGE if len(payload) > 500 else None
        large = self.call("give_bytes", args={"size": 600})
        calls = [self.call(args={"number": number}) for number in range(50)]
        self.network.run_until(lambda: large.called)
        self.assertTrue(self.failureResultOf(large, MessageTooLarge).value.maybe_executed)
        for call in calls:
            self.assertEqual(self.result_of(call), "a")
        self.assertEqual(self.servers["a"].notices.counts["replies_dropped"], 0)

    def test_reply_that_the_way_has_no_room_for(self):
        self.result_of(self.call())
        denied: list[bytes] = []

        def deny(payload):
            if decode_batch(payload).source == self.servers["a"].instance and len(denied) < 3:
                denied.append(payload)
                return Refusal.OVERLOADED
            return None

        self.proxies[0].deny = deny
        self.assertEqual(self.result_of(self.call(timeout=5)), "a")
        self.assertEqual(len(denied), 3)

    def test_server_that_serves_more(self):
        self.result_of(self.call())
        self.servers["a"].server(Target("more", server="a"), [Worker("more")])
        self.assertEqual(self.result_of(self.client.call(Target("more"), "mark")), "more")

    def test_store_is_emptied(self):
        """The connection to a proxy shows that it lives."""
        self.result_of(self.call())
        self.network.store.forget()
        self.network.run(1)
        self.assertEqual(self.result_of(self.call()), "a")

    def test_store_is_down(self):
        self.result_of(self.call())
        self.network.store.go_down()
        self.network.run(200)
        self.assertEqual(self.result_of(self.call()), "a")

    def test_mute_proxy(self):
        self.result_of(self.call())
        self.proxies[0].silent = True
        call = self.call(timeout=4)
        with self.assertRaises(DeadlineExceeded) as caught:
            self.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.proxies[0].silent = False
        self.network.run(1)
        self.assertEqual(self.result_of(self.call()), "a")

    def named(self):
        return f"router proxy {self.proxies[0].host} at {self.proxies[0].record.addresses[0]}"

    def test_failed_call_names_its_proxy(self):
        """Also where the method raised, and who is to look for it has two logs to read."""
        with self.assertRaises(RemoteError) as raised:
            self.result_of(self.call("no_such"))
        self.assertEqual(f"router proxy {raised.exception.journey.through}", self.named())
        self.assertIn(f", through {self.named()}, message ", str(raised.exception))
        call = self.call("hold")
        self.network.run_until(lambda: self.workers["a"].held)
        call.cancel()
        self.assertIn(f", through {self.named()}, message ", str(self.failureResultOf(call).value))

    def test_call_without_welcome_through_a_proxy(self):
        """The server is stopped, the proxy is not: no other trouble than that is told, however early it ends."""
        self.network.run(1)
        self.servers["a"].clock.pause(2)
        client = self.network.client(host="other", zmq_topology="router-proxy")
        with self.assertRaises(DeadlineExceeded) as caught:
            self.result_of(client.call(WORK, "mark", timeout=1))
        said = f"the link is connecting: no WELCOME of the member has come yet through {self.named()} (target work, "
        self.assertIn(said, str(caught.exception))
        self.network.run(2)

    def test_mute_member_or_proxy(self):
        """Either may be stopped."""
        self.result_of(self.call())
        self.proxies[0].clock.pause(5)
        with self.assertRaises(DeadlineExceeded) as caught:
            self.result_of(self.call(timeout=4))
        said = f"no PING is answered through {self.named()} either: that proxy or the member is stopped, blocked or cut"
        self.assertIn(said, str(caught.exception))
        self.network.run(2)

    def test_draining_proxy_serves_on_while_it_is_the_only_one(self):
        held = self.call("hold", timeout=20)
        self.network.run_until(lambda: self.workers["a"].held)
        self.proxies[0].go_away()
        self.network.run(1)
        self.assertEqual(self.result_of(self.call()), "a")
        self.assertNotIn(self.node.instance, self.proxies[0].left)
        self.workers["a"].held[0].callback("done")
        self.assertEqual(self.result_of(held), "done")
        self.proxies[0].go_away()
        self.network.run_until(lambda: self.node.instance in self.proxies[0].left)
        # The next one takes over as soon as it is there.
        self.proxies.append(self.proxy())
        self.network.run(1)
        self.proxies[0].kill()
        self.assertEqual(self.result_of(self.call()), "a")


class NoProxyTests(RoutedCase):
    proxy_count = 0

    def test_none_is_recorded(self):
        began = self.now
        with self.assertRaises(NoRoute) as caught:
            self.result_of(self.call(timeout=3))
        self.assertAlmostEqual(self.now - began, 3, places=1)
        self.assertIn("no router proxy is recorded in the matchmaker, start one (zmq-proxy)", str(caught.exception))
        self.assertFalse(caught.exception.maybe_executed)

    def test_none_is_up(self):
        self.proxies.append(self.proxy())
        self.result_of(self.call())
        self.proxies[0].kill()
        self.network.run(0.1)
        with self.assertRaises(NoRoute) as caught:
            self.result_of(self.call(timeout=3))
        self.assertIn(f"no router proxy is up, look after them: {self.proxies[0].host} at tcp:", str(caught.exception))

    def test_fan_out(self):
        reached = self.result_of(self.client.fanout(WORK, "mark", timeout=2))
        [(member, _, error)] = reached.missing
        self.assertEqual(member, "a")
        self.assertIsInstance(error, NoRoute)

    def test_proxy_comes(self):
        """What waits goes on at once."""
        calls = [self.call(args={"number": number}, timeout=30) for number in range(3)]
        self.network.run(5)
        self.assertEqual([call.called for call in calls], [False] * 3)
        began = self.now
        self.proxies.append(self.proxy())
        for call in calls:
            self.result_of(call)
        self.assertLess(self.now - began, 0.5)
        self.assertEqual(self.workers["a"].ran, [0, 1, 2])

    def test_what_was_in_flight_waits_for_another_proxy(self):
        """That there is no proxy says nothing of the server, which remembers what it ran."""
        self.proxies.append(self.proxy())
        call = self.call("hold", timeout=30)
        self.network.run_until(lambda: self.workers["a"].held)
        self.proxies[0].kill()
        self.network.run(5)
        self.workers["a"].held[0].callback("done")
        self.network.run(5)
        self.assertFalse(call.called)
        self.proxies.append(self.proxy())
        self.assertEqual(self.result_of(call), "done")
        self.assertEqual(self.workers["a"].ran, [0])

    def test_bounded(self):
        self.result_of(self.client.close())
        client = self.network.client(zmq_topology="router-proxy", max_queued_calls=3)
        calls = [client.call(WORK, "mark", timeout=2) for _ in range(5)]
        outcomes = []
        for call in calls:
            call.addErrback(lambda failure: outcomes.append(failure.type))
        self.network.run(3)
        self.assertEqual(sorted(outcomes, key=str), sorted([Overloaded] * 2 + [NoRoute] * 3, key=str))

    def test_server_comes_after_the_proxy(self):
        call = self.call(target=Target("late"), wait_for_ready=True, timeout=20)
        self.proxies.append(self.proxy())
        self.network.run(3)
        self.network.serve(Target("late", server="z"), Worker("z"))
        self.assertEqual(self.result_of(call), "z")

    def test_store_that_has_never_answered(self):
        self.result_of(self.client.close())
        self.network.store.go_down()
        client = self.network.client(zmq_topology="router-proxy")
        self.assertIn("the matchmaker has not said yet", self.network.nodes[-1]._proxies.missing)
        self.network.run(2)
        self.proxies.append(self.proxy(registers=False))
        self.network.store.come_back()
        self.proxies[0].register()
        self.assertEqual(self.result_of(client.call(WORK, "mark")), "a")


class TwoProxiesTests(RoutedCase):
    proxy_count = 2

    def test_one_that_was_stopped_and_goes_on(self):
        """
        A link goes back to it before it has brought back what the server says to what it had when it was stopped.

        That says nothing of the HELLO which follows, nor of what was sent another way meanwhile.
        """
        self.result_of(self.call())
        self.network.run(2)
        ran = self.workers["a"].ran
        ran.clear()
        stopped = self.in_use()
        [other] = (proxy for proxy in self.proxies if proxy is not stopped)
        load = self.load()
        held = self.call("hold", args={"number": -1}, timeout=60)
        self.network.run(1)
        stopped.clock.pause(4)
        late = self.call("hold", args={"number": -2}, timeout=60)
        self.network.run(3.9)
        self.assertIs(self.in_use(), other)
        self.network.set_weather(Weather(delay=(0.05, 0.06)), "a", stopped.host)
        proxy: Any = self.node._proxies.there.client(stopped.instance.hex())
        self.network.run_until(lambda: proxy.up)
        self.assertEqual(self.servers["a"].notices.counts.get("wrong_instance", 0), 0)
        other.kill()
        self.network.run_until(lambda: self.servers["a"].notices.counts.get("wrong_instance"))
        self.network.run(2)
        self.assertIs(self.in_use(), stopped)
        self.workers["a"].let_go()
        for call in (held, late):
            self.result_of(call)
        for number in (-1, -2):
            ran.remove(number)
        self.end(load)

    def test_server_that_has_forgotten_the_way(self):
        """It says so to each batch of a pass; the link loses the way once, and opens it anew at once."""
        self.result_of(self.call())
        self.network.run(3)
        [caller] = self.servers["a"]._callers._callers.values()
        self.servers["a"]._callers.detach(caller)
        calls = [self.call("echo", args={"value": bytes(40_000)}) for _ in range(10)]
        known = self.servers["a"].notices.counts
        self.network.run_until(lambda: known.get("wrong_instance"))
        self.node.clock.pause(0.1)
        self.network.run(0.1)
        self.assertGreater(known["wrong_instance"], 1)
        for call in calls:
            self.assertEqual(len(self.result_of(call, 0.05)), 40_000)


class ThreeProxiesTests(RoutedCase):
    proxy_count = 3
    members = "abcdef"

    def test_one_proxy_for_each_instance(self):
        self.result_of(self.client.call_each(WORK, "mark"))
        before = self.proxied()
        self.assertEqual(len(before), 6)
        self.assertGreater(len(set(before)), 1)
        self.proxies.append(self.proxy())
        self.network.run(2)
        self.assertEqual(self.proxied(), before)

    def test_one_is_killed(self):
        load = self.load()
        self.network.run(1)
        victim = next(proxy for proxy in self.proxies if proxy.instance.hex() in self.proxied())
        victim.kill()
        self.network.run(2)
        self.assertNotIn(victim.instance.hex(), self.proxied())
        self.end(load)

    def test_one_after_the_other_is_killed(self):
        load = self.load()
        for proxy in list(self.proxies):
            self.network.run(0.3)
            self.proxies.append(self.proxy())
            self.network.run(0.3)
            proxy.kill()
        self.network.run(1)
        self.end(load)

    def test_far_away(self):
        """Where an answer takes longer than it is waited for, links come up all the same."""
        self.network.set_weather(Weather(delay=(0.1, 0.2)))
        self.network.run(2)
        load = self.load()
        self.network.run(4)
        self.assertEqual(len(self.proxied()), 6)
        self.end(load)

    def test_one_is_mute(self):
        load = self.load()
        self.network.run(1)
        victim = next(proxy for proxy in self.proxies if proxy.instance.hex() in self.proxied())
        victim.silent = True
        self.network.run(4)
        self.assertNotIn(victim.instance.hex(), self.proxied())
        self.end(load)

    def test_one_is_killed_while_another_is_silent(self):
        """Nobody knows of that yet; the third is asked in a moment."""
        load = self.load(most=10)
        self.network.run(1)
        held = self.client.call_each(WORK, "hold", {"number": -1}, timeout=10)
        self.network.run(0.1)
        victim = next(proxy for proxy in self.proxies if proxy.instance.hex() in self.proxied())
        silent = next(proxy for proxy in self.proxies if proxy is not victim)
        silent.silent = True
        self.network.run(0.05)
        victim.kill()
        self.network.run(0.6)
        third = next(proxy for proxy in self.proxies if proxy not in (victim, silent))
        self.assertIn(third.instance.hex(), self.proxied())
        self.network.run(3)
        self.assertEqual(set(self.proxied()), {third.instance.hex()})
        for worker in self.workers.values():
            worker.let_go()
        self.assertEqual([answer.error for answer in self.result_of(held)], [None] * 6)
        self.assertEqual({worker.ran.count(-1) for worker in self.workers.values()}, {1})
        for worker in self.workers.values():
            worker.ran.remove(-1)
        self.end(load)

    def test_one_is_killed_while_all_others_are_silent(self):
        """What is in flight waits as if no proxy were up."""
        load = self.load(most=20)
        self.network.run(1)
        for proxy in self.proxies[1:]:
            proxy.silent = True
        self.network.run(0.05)
        self.proxies[0].kill()
        self.network.run(6)
        for proxy in self.proxies[1:]:
            proxy.silent = False
        self.network.run(2)
        self.end(load)

    def test_one_drains(self):
        load = self.load()
        self.network.run(1)
        victim = next(proxy for proxy in self.proxies if proxy.instance.hex() in self.proxied())
        victim.go_away()
        self.network.run(0.1)
        self.assertNotIn(victim.instance.hex(), self.proxied())
        victim.go_away()
        self.network.run_until(lambda: self.node.instance in victim.left)
        victim.kill()
        self.network.run(1)
        self.end(load)

    def test_call_in_flight_when_its_proxy_is_killed_while_its_server_stops(self):
        self.members = "a"
        call = self.call("hold", target=Target("work", server="a"), timeout=30)
        self.network.run_until(lambda: self.workers["a"].held)
        stopped = self.servers["a"].stopService()
        self.network.run(0.5)
        link: Any = self.node._links.get(self.servers["a"].instance.hex())
        proxies: Any = self.node._proxies
        key = proxies.behind(link.state.identity.connection).key
        next(proxy for proxy in self.proxies if proxy.instance.hex() == key).kill()
        self.network.run(0.5)
        self.workers["a"].held[0].callback("done")
        self.assertEqual(self.result_of(call), "done")
        self.result_of(stopped)
        self.network.run(1)
        self.assertIsNone(self.node._links.get(self.servers["a"].instance.hex()))

    def test_client_stops_while_it_looks_for_another_proxy(self):
        """At any moment; the load ends with it, and nothing is left."""
        for number in range(8):
            client = self.network.client(host=f"client-{number}", zmq_topology="router-proxy")
            node = self.network.nodes[-1]
            held = client.call_each(WORK, "hold", {"number": number}, timeout=30)
            self.network.run_until(lambda: all(worker.held for worker in self.workers.values()))
            self.proxies[0].kill()
            for proxy in self.proxies[1:]:
                proxy.silent = number % 2 == 0
            self.network.run(number * 0.002 if number < 4 else number * 0.15)
            self.result_of(node.stopService())
            self.assertEqual({type(answer.error) for answer in self.result_of(held)}, {ClientClosed})
            for proxy in self.proxies[1:]:
                proxy.silent = False
            for worker in self.workers.values():
                worker.let_go()
            self.proxies[0] = self.proxy()
            self.network.run(1)

    def test_server_stops_while_a_proxy_is_silent(self):
        """What it did not run is refused, and goes elsewhere, as soon as the client comes by another proxy."""
        self.result_of(self.client.call_each(WORK, "mark"))
        link: Any = self.node._links.get(self.servers["a"].instance.hex())
        proxies: Any = self.node._proxies
        key = proxies.behind(link.state.identity.connection).key
        next(proxy for proxy in self.proxies if proxy.instance.hex() == key).silent = True
        stopped = self.servers["a"].stopService()
        calls = [self.call("echo", args={"value": number}, timeout=10) for number in range(12)]
        self.assertEqual([self.result_of(call) for call in calls], list(range(12)))
        self.result_of(stopped, 1)

    def test_server_stops_while_all_proxies_are_silent(self):
        """That a proxy is silent, a client knows after up to 2.5 s; so long the server is there for it."""
        self.result_of(self.client.call_each(WORK, "mark"))
        for proxy in self.proxies:
            proxy.silent = True
        stopped = self.servers["a"].stopService()
        self.network.run(2.9)
        self.assertFalse(stopped.called)
        self.result_of(stopped, 0.5)

    def test_answer_that_comes_by_the_proxy_that_was_left(self):
        """It stops, and is connected yet; nobody may be there any more to repeat the answer."""
        target = Target("work", server="a")
        held, refused, cast = (self.call("hold", target=target, args={"number": n}, timeout=5) for n in range(3))
        self.network.run_until(lambda: len(self.workers["a"].held) == 3)
        link: Any = self.node._links.get(self.servers["a"].instance.hex())
        proxies: Any = self.node._proxies
        before = link.state.identity
        key = proxies.behind(before.connection).key
        stopping = next(proxy for proxy in self.proxies if proxy.instance.hex() == key)
        for proxy in self.proxies:
            proxy.silent = proxy is not stopping
        stopping.go_away()
        self.network.run_until(lambda: link.state.identity not in (before, None))
        self.workers["a"].held[0].callback("done")
        self.workers["a"].held[1].errback(ValueError("no"))
        self.assertEqual(self.result_of(held, 0.1), "done")
        self.assertRaises(RemoteError, self.result_of, refused, 0.1)
        self.assertIs(link.state.phase, Phase.CONNECTING)
        for proxy in self.proxies:
            proxy.silent = False
        self.workers["a"].held[2].callback("done")
        self.assertEqual(self.result_of(cast), "done")
        self.flushLoggedErrors(ValueError)

    def test_servers_and_proxies_come_and_go(self):
        load = self.load()
        for number, member in enumerate(list(self.servers)[:4]):
            self.serve(f"{member}{number}")
            self.proxies.append(self.proxy())
            self.network.run(0.5)
            stopping = self.servers.pop(member).stopService()
            self.proxies.pop(0).kill()
            self.result_of(stopping)
            self.network.run(0.3)
        self.end(load)


class BrokerTests(RoutedCase):
    proxy_count = 2
    path = "/run/zmq-broker"

    def setUp(self):
        super().setUp()
        self.there = True
        self.patch(self.node._proxies.there, "_broker", lambda: f"ipc://{self.path}" if self.there else None)

    def broker(self, host="client"):
        broker = LittleProxy(self.network, host, path=self.path)
        self.proxies.append(broker)
        return broker

    def test_preferred_while_it_answers(self):
        self.there = False
        self.result_of(self.call())
        broker = self.broker()
        self.network.run(1)
        self.assertNotEqual(self.proxied(), [f"ipc://{self.path}"])
        self.there = True
        self.network.run(1.5)
        self.assertEqual(self.proxied(), [f"ipc://{self.path}"])
        self.assertEqual(self.result_of(self.call()), "a")
        # The same proxy is recorded too: a client has one link to it.
        self.assertNotIn(broker.instance.hex(), self.node._proxies.there.describe())
        broker.kill()
        self.network.run(0.1)
        self.assertEqual(self.result_of(self.call()), "a")
        self.assertNotEqual(self.proxied(), [f"ipc://{self.path}"])

    def test_one_that_stops_keeps_its_servers(self):
        """Also those that are clients of it: what other clients have on it, or send yet, is to be answered."""
        broker = self.broker()
        self.serve("b", host="client", zmq_topology="router-proxy")
        node = self.servers["b"]
        self.patch(node._proxies.there, "_broker", lambda: f"ipc://{self.path}")
        self.network.run(3)
        key = broker.instance.hex()
        self.assertIn(f"ipc://{self.path}", node._proxies.there.describe())
        self.assertNotIn(key, node._proxies.there.describe())
        broker.go_away()
        self.network.run(3)
        self.assertTrue(node._proxies.there.servers[key].connected)

    def test_one_that_does_not_answer(self):
        broker = self.broker()
        broker.silent = True
        began = self.now
        self.assertEqual(self.result_of(self.call()), "a")
        self.assertLess(self.now - began, 0.3)
        broker.silent = False
        self.network.run(8)
        self.assertEqual(self.proxied(), [f"ipc://{self.path}"])

    def test_one_that_is_stopped_and_goes_on(self):
        """It is recorded too; a second connection would take from the first what is for the client."""
        broker = self.broker()
        self.network.run(2)
        self.assertEqual(self.result_of(self.call()), "a")
        self.assertEqual(self.proxied(), [f"ipc://{self.path}"])
        self.workers["a"].ran.clear()
        load = self.load()
        broker.clock.pause(4)
        self.network.run(3.9)
        self.assertNotIn(broker.instance.hex(), self.node._proxies.there.describe())
        self.assertNotEqual(self.proxied(), [f"ipc://{self.path}"])
        self.network.run(0.5)
        self.assertEqual(self.proxied(), [f"ipc://{self.path}"])
        self.end(load)

    def test_socket_that_nobody_listens_on(self):
        self.network.run(10)
        self.assertEqual(self.result_of(self.call()), "a")


class Publishing:
    """Writes down what it is told, as who has something published."""

    def __init__(self):
        self.told: list[Any] = []

    def publisher_up(self, proxy):
        self.told.append(("up", proxy.key))

    def publisher_lost(self, proxy):
        self.told.append(("lost", proxy.key))

    def published(self, proxy, connection, key, counter):
        self.told.append(("published", proxy.key, connection, key, counter))

    def returned(self, proxy, connection, payload, reason):
        self.told.append(("returned", proxy.key, connection, payload, reason))


class PublishingTests(SynchronousTestCase):
    """What who publishes is offered: the proxies that publish, and what comes of it."""

    def setUp(self):
        self.network = Network(8)
        self.node = MemoryNode(self.network, host="client", zmq_topology="router-proxy")
        proxies: Any = self.node._proxies
        self.publishing = proxies.publishing = Publishing()
        self.sightings: list[Any] = []
        proxies.publishers = self
        self.wake_at = float("inf")
        self.node.startService()
        self.proxy = LittleProxy(self.network, "proxy", publishes=True)
        self.key = self.proxy.instance.hex()
        self.network.run(1)

    def tearDown(self):
        self.network.close()

    def sweep(self, now):
        pass

    def found(self, sightings, now):
        self.sightings.append([sighting.record for sighting in sightings])

    def publishers(self):
        """List the proxies that are up and publish."""
        return [proxy for proxy in self.node._proxies.there.clients.values() if proxy.up and proxy.publishes]

    def test_up_and_lost(self):
        [proxy] = self.publishers()
        self.assertEqual((proxy.key, proxy.member, proxy.up, proxy.publishes), (self.key, "proxy", True, True))
        self.assertEqual(proxy.address, self.proxy.record.addresses[0])
        self.proxy.kill()
        self.network.run(0.1)
        self.assertEqual(self.publishers(), [])
        self.assertEqual(proxy.publish(topic_key("x", "work"), b"late"), GONE)
        self.assertEqual(self.publishing.told, [("up", self.key), ("lost", self.key)])

    def test_published_and_given_back(self):
        [proxy] = self.publishers()
        key, payload = topic_key("x", "work"), encode_batch(self.node.instance, None, 1, (), [encode_message(Ping(1))])
        self.assertEqual(proxy.publish(key, payload), SENT)
        self.network.run(0.1)
        self.proxy.publishes = False
        self.assertEqual(proxy.publish(key, payload), SENT)
        self.network.run(0.1)
        self.assertEqual(
            self.publishing.told[1:],
            [
                ("published", self.key, proxy.connection, key, b"1"),
                ("returned", self.key, proxy.connection, payload, Refusal.UNROUTABLE),
            ],
        )

    def test_records_are_told_after_each_change(self):
        self.assertEqual(self.sightings, [[], [self.proxy.record]])
        self.proxy.withdraw()
        self.network.run(70)
        self.assertEqual(self.sightings[2:], [[]])


class InteroperationTests(SynchronousTestCase):
    """Whoever is configured as he likes can be called by everybody on one matchmaker."""

    topologies = ("static-direct", "router-proxy")

    def test_pairwise(self):
        network = Network(6)
        LittleProxy(network, "proxy")
        for topology in self.topologies:
            network.serve(Target("work", server=topology), Worker(topology), zmq_topology=topology)
        for topology in self.topologies:
            client = network.client(host=f"client-{topology}", zmq_topology=topology)
            for member in self.topologies:
                self.assertEqual(network.result_of(client.call(Target("work", server=member), "mark")), member)
            reached = network.result_of(client.fanout(WORK, "mark"))
            self.assertEqual(sorted(member for member, _ in reached.members), sorted(self.topologies))
        network.close()

    def test_a_node_that_is_both(self):
        network = Network(7)
        proxy = LittleProxy(network, "proxy", one_socket=True)
        node = MemoryNode(network, host="both", zmq_topology="router-proxy")
        node.server(WORK, [Worker("both")])
        client = node.client()
        node.startService()
        self.assertEqual(network.result_of(client.call(WORK, "mark", timeout=5, wait_for_ready=True)), "both")
        self.assertGreater(proxy.forwarded, 0)
        network.close()
