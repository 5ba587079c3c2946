"""What an inspection tells: calls that are stuck in each phase, and where."""

from __future__ import annotations

import json
import os
import resource

import msgspec
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc import REQUEUE, Target
from zmqrpc.core.inspected import Inspected
from zmqrpc.errors import AccessDenied, InvalidArguments
from zmqrpc.inspection_text import WIDTH, lines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario
from zmqrpc.testing import MemoryNode, Network

WORK = Target("work")
OWN = Target("work", namespace="zmqrpc")


def seen(node, events=10) -> Inspected:
    """Inspect a node, or a proxy, and see that it can cross the wire and be shown."""
    told = node.inspect(events)
    msgspec.msgpack.encode(told)
    inspected = msgspec.convert(told, Inspected)
    for line in lines(inspected):
        assert len(line) <= WIDTH, line
        assert line.isprintable(), line
    return inspected


class StuckTests(SynchronousTestCase):
    """Calls that are stuck, on a network in memory: each says where."""

    def setUp(self):
        self.network = Network(7)
        self.addCleanup(self._end)
        self.worker = Worker("one")
        self.server = self.network.serve("work.one", self.worker, host="one")
        self.client = self.network.client()
        (_, self.node) = self.network.nodes

    def _end(self):
        """What was stuck on purpose need not be told."""
        for node in self.network.nodes:
            for asked in node.asked.open():
                asked.deferred.addErrback(lambda _: None)
            node.kill()

    def call(self, method="hold", target=WORK, timeout=60, **options):
        call = getattr(self.client, options.pop("how", "call"))(target, method, timeout=timeout, **options)
        call.addErrback(lambda _: None)
        return call

    def one(self, phase, where, seconds=1.0, node=None):
        """Let time pass; check that one call is in flight, its phase and where it is stuck; return it."""
        self.network.run(seconds)
        (call,) = seen(node or self.node).calls
        self.assertEqual(call.phase, phase)
        self.assertRegex(call.where, where)
        return call

    def warm(self):
        """Have the link up."""
        self.network.result_of(self.client.call(WORK, "add", {"a": 1}))

    def test_nothing(self):
        told = seen(self.node)
        self.assertEqual((told.calls, told.requests, told.left_out), ([], [], {}))
        self.assertIn("nothing is in flight from it", list(lines(told)))

    def test_facts(self):
        """A call has its age, its time left, target, method, member, address, id and attempts; and no argument."""
        self.call(timeout=10, args={"number": 3, "value": "secret"}, context={"user": "hidden"})
        call = self.one("running", "^runs at one at tcp://one:", 2)
        self.assertEqual((call.kind, call.target, call.method, call.member), ("call", "work", "hold", "one"))
        self.assertEqual((call.address, call.attempts), (self.server.address, 1))
        self.assertRegex(call.message, r"^[0-9a-f]{12}/[0-9a-f]{12}/1$")
        self.assertApproximates(call.age, 2, 0.1)
        self.assertApproximates(call.left, 8, 0.1)
        (request,) = seen(self.server).requests
        self.assertEqual((request.kind, request.target, request.method), ("call", "openstack/work", "hold"))
        self.assertEqual((request.client, request.phase), (self.node.instance.hex(), "running"))
        self.assertApproximates(request.age, 2, 0.1)
        self.assertApproximates(request.left, 8, 0.1)
        for node in (self.node, self.server):
            text = json.dumps(node.inspect(1000))
            self.assertNotIn("secret", text)
            self.assertNotIn("hidden", text)

    def test_matchmaker_slow(self):
        self.network.store.come_back(slow=100)
        self.call(target=Target("other"))
        self.one("resolving", "^waits for the matchmaker's answer about other$")

    def test_matchmaker_away(self):
        self.network.store.go_down(after=0.1)
        self.call(target=Target("other"), wait_for_ready=True)
        self.one(
            "resolving",
            r"^waits for the matchmaker, which does not answer \(the store of this test is down; let it come back\)$",
        )
        (topic,) = [topic for topic in seen(self.node).topics if topic.topic == "other"]
        self.assertEqual((topic.knowledge, topic.waiting), ("unknown", 1))
        self.assertIn("lookup_failed", [event.name for event in seen(self.node).events])

    def test_nobody_yet(self):
        self.call(target=Target("other"), wait_for_ready=True)
        self.one("resolving", "^waits for somebody who is ready .*: nobody listens there")

    def test_connecting(self):
        self.network.isolate("one")
        self.call()
        self.one("queued", "^waits for a connection to one at tcp://one:.*, which has not answered HELLO$")

    def test_backing_off(self):
        self.network.refuse("one")
        self.call(target=Target("work", server="one"), wait_for_ready=True)
        self.network.run(8)
        self.network.run_until(lambda: seen(self.node).links[0].phase == "backing off")
        call = seen(self.node).calls[0]
        self.assertRegex(call.where, r"waits for .*one at tcp://one:\d+, backing off, .*refused")
        (link,) = seen(self.node).links
        self.assertGreater(link.tries, 2)
        self.assertGreater(link.next_try or 0, 0)
        self.assertIn("refused", link.trouble)

    def test_queue(self):
        """What waits on the link itself, since it has to go there, says for how long that backs off."""
        self.warm()
        self.call()
        self.network.run(0.5)
        self.network.refuse("one")
        self.network.break_connections("client", "one")
        self.network.run_until(lambda: seen(self.node).links[0].tries)
        link = self.node._links.all()[0]
        waiting = self.call(target=Target("work", server="one"))
        link.enqueue(waiting, self.network.clock.seconds())
        where = self.node._tables.whereabouts.where(waiting, self.network.clock.seconds())
        self.assertRegex(where, r"^waits for a connection to one at .*, backing off for \d\.\d s more: .*refused")
        link.queue.remove(waiting)

    def test_window(self):
        """The window of calls in flight is full."""
        client = self.network.client(host="narrow", max_unsettled_calls=1)
        node = self.network.nodes[-1]
        for number in range(2):
            client.call(WORK, "hold", {"number": number}).addErrback(lambda _: None)
        self.network.run(1)
        running, queued = seen(node).calls
        self.assertEqual((running.phase, queued.phase), ("running", "queued"))
        self.assertRegex(queued.where, r"^waits until one at .* has answered others of the 1 in flight there \(max_un")

    def test_sent_and_mute(self):
        self.warm()
        self.server.clock.pause(10)
        self.call()
        self.one("sent", r"^sent \d\.\d s ago to one at .*, which has not acknowledged it; heard", 0.5)
        call = self.one("sent", r"^sent 3\.\d s ago to one at .*, which has not .*; it is mute since \d\.\d s$", 2.7)
        self.assertApproximates(call.age, 3.2, 0.1)
        (link,) = seen(self.node).links
        self.assertEqual((link.phase, link.in_flight), ("mute", 1))

    def test_running_and_mute(self):
        self.call()
        self.network.run(1)
        self.server.clock.pause(3.5)
        self.one("running", r"^runs at one at .*, as was told before; it is mute since \d\.\d s$", 3)
        self.one("running", r"^runs at one at .*, named by it 0\.\d s ago$", 2)
        self.assertIn("link_heard", [event.name for event in seen(self.node).events])

    def test_acknowledged(self):
        """Before the first BEAT it has arrived, and nobody has said that it runs."""
        self.warm()
        self.call()
        self.network.run_until(lambda: seen(self.node).calls[0].phase == "acknowledged")
        self.one("acknowledged", "^has arrived, and not been named as running, at one at ", 0)

    def test_lost(self):
        """The connection has ended, and the instance is looked for."""
        self.call()
        self.network.run(1)
        self.server.clock.pause(10)
        self.network.break_connections("client", "one")
        self.one("running", r"^sent \d\.\d s ago to one at .*, the link there is connecting: .*", 0.2)

    def test_queued_again(self):
        """What was handed over and certainly did not run gets another number, and is as old as it was."""
        self.warm()
        self.server.clock.pause(10)
        self.call()
        self.network.run(2)
        links = self.node._delivery.links
        (link,) = links.all()
        (call,) = link.pending.take_all()
        link.requeue(call)
        links.dirty.append(link)
        links.kick()
        told = self.one("sent", "^sent 0.5 s ago to one at ", 0.5)
        self.assertTrue(told.message.endswith("/3"))
        self.assertApproximates(told.age, 2.5, 0.01)

    def test_resting(self):
        """A notification that everybody gives back."""

        class Giving:
            def info(self, context, publisher_id, event_type, payload, metadata):
                return REQUEUE

        self.network.listen("events", Giving(), host="ear")
        notifier = self.node.notifier("me", ["events"])
        notifier.info({}, "event", {}).addErrback(lambda _: None)
        call = self.one("resting", "^rests before it is given out again, since everybody .* gave it back", 3)
        self.assertEqual(call.kind, "notification")
        self.assertApproximates(call.age, 3, 0.1)

    def limit(self, option):
        (limit,) = [limit for limit in seen(self.node).limits if limit.option == option]
        return limit

    def test_limits_of_what_is_on_no_link(self):
        """What waits for one topic, or rests, is within the same limits as what waits for one peer."""

        class Giving:
            def info(self, context, publisher_id, event_type, payload, metadata):
                return REQUEUE

        self.network.listen("events", Giving(), host="ear")
        self.node.notifier("me", ["events"]).info({}, "event", bytes(3000)).addErrback(lambda _: None)
        self.network.run(3)
        self.assertEqual((self.limit("max_queued_calls").used, self.limit("max_queued_calls").where), (1, "that rest"))
        self.assertGreater(self.limit("max_queued_bytes").used, 3000)
        self.network.store.come_back(slow=100)
        for number in range(2):
            self.call("echo", Target("other"), args={"value": bytes(5000), "number": number})
        self.network.run(0.1)
        self.assertEqual(
            (self.limit("max_queued_calls").used, self.limit("max_queued_calls").where), (2, "of one topic")
        )
        self.assertGreater(self.limit("max_queued_bytes").used, 10_000)
        self.assertEqual(self.limit("max_queued_bytes").where, "of one topic")

    def test_publishing(self):
        client = self.network.client(host="loud", use_pub_sub=True)
        node = self.network.nodes[-1]
        self.network.serve("news.one", Worker("one"), host="subscriber", use_pub_sub=True)
        client.fanout(Target("news"), "mark").addErrback(lambda _: None)
        call = self.one("publishing", "^waits to be published: no publisher is up$", 2, node)
        self.assertEqual((call.kind, call.method), ("fan-out", "mark"))

    def test_no_way_through_proxies(self):
        client = self.network.client(host="far", use_router_proxy=True)
        node = self.network.nodes[-1]
        client.call(WORK, "hold", wait_for_ready=True).addErrback(lambda _: None)
        self.one("queued", r"^waits for a way to one at .*: no router proxy is recorded", 2, node)

    def test_cast_that_lingers(self):
        """Without acknowledgements a cast is over when it is given away."""
        client = self.network.client(host="quick", rpc_use_acks=False)
        node = self.network.nodes[-1]
        self.network.result_of(client.call(WORK, "add", {"a": 1}))
        self.network.cut("quick", "one")
        self.network.result_of(client.cast(WORK, "mark"))
        self.one("sent", "^is over for its caller, and not acknowledged by one at", 0.1, node)

    def test_oldest_first(self):
        """Of many the oldest are told, whether they are queued, sent or resolved, and how many are left out."""
        for _ in range(300):
            self.call()
            self.network.run(0.01)
        self.network.store.come_back(slow=100)
        self.call(target=Target("other"))
        self.network.run(1)
        told = seen(self.node)
        self.assertEqual((len(told.calls), told.left_out), (200, {"calls": 101}))
        ages = [call.age for call in told.calls]
        self.assertEqual(ages, sorted(ages, reverse=True))
        self.assertApproximates(ages[0], 4.0, 0.1)
        requests = seen(self.server)
        self.assertEqual((len(requests.requests), requests.left_out), (200, {"requests": 100}))
        self.assertIn("in flight from it, the oldest first (101 more are left out):", list(lines(told)))

    def test_moved(self):
        """One that was lost and went elsewhere is as old as it is."""
        self.network.serve("work.two", Worker("two"), host="two")
        self.network.run(1)
        self.call(idempotent=True)
        self.network.run(2)
        (held,) = seen(self.node).calls
        lost = self.network.nodes[0] if held.member == "one" else self.network.nodes[-1]
        lost.kill()
        call = self.one("running", "^runs at ", 2)
        self.assertNotEqual(call.member, held.member)
        self.assertApproximates(call.age, 4, 0.1)
        self.assertIn("calls_moved", [event.name for event in seen(self.node).events])

    def test_events(self):
        """A loss, and what follows from it, is in the ring, and so is what was counted."""
        self.warm()
        self.call()
        self.network.run(1)
        self.server.kill()
        self.network.run(3)
        names = [event.name for event in seen(self.node, 100).events]
        for name in ("started", "records_changed", "link_up", "sent", "link_connecting", "calls_lost", "ServerLost"):
            self.assertIn(name, names)
        (lost,) = [event for event in seen(self.node, 100).events if event.name == "calls_lost"]
        self.assertRegex(lost.text, "^1 call lost with tcp://one:.*: ")
        self.assertEqual(len(seen(self.node, 2).events), 2)
        self.assertGreater(seen(self.node, 2).left_out["events"], 5)

    def test_no_events(self):
        node = MemoryNode(self.network, flight_recorder_events=0)
        node.startService()
        self.assertEqual(seen(node).events, [])

    def test_proxy(self):
        """A proxy tells who is connected to it."""
        proxy = self.network.proxy("relay", use_pub_sub=True)
        server = self.network.serve("far.one", self.worker, host="behind", use_router_proxy=True)
        client = self.network.client(host="before", use_router_proxy=True)
        self.network.result_of(client.call(Target("far"), "add", {"a": 1}))
        self.network.run(6)
        told = seen(proxy)
        self.assertEqual((told.kind, told.stage), ("router-proxy", "running"))
        by_role = {(each.role, each.peer, each.phase) for each in told.connections}
        self.assertIn(("server", server.instance.hex(), "up"), by_role)
        self.assertEqual({role for role, _, _ in by_role}, {"client", "server"})
        self.assertEqual({limit.option for limit in told.limits}, {"LimitNOFILE", "max_clients", "max_filters"})
        self.assertIn("server_came", [event.name for event in told.events])
        self.assertIn("connections:", list(lines(told)))
        (frontend,) = [each for each in seen(self.network.nodes[-1]).proxies if each.role == "frontend"]
        self.assertEqual((frontend.member, frontend.phase), ("relay", "up"))

    def test_local_publisher(self):
        self.network.proxy("relay", use_pub_sub=True)
        local = self.network.proxy("near", proxy_local_publisher=True)
        self.network.run(3)
        told = seen(local)
        (publisher,) = told.connections
        self.assertEqual((told.kind, publisher.role, publisher.phase), ("local-publisher", "publisher", "up"))

    def test_stages(self):
        node = MemoryNode(self.network)
        self.assertEqual(seen(node).stage, "not started")
        node.startService()
        self.assertEqual(seen(node).stage, "running")
        self.network.result_of(node.stopService())
        self.assertEqual(seen(node).stage, "stopped")
        self.call()
        self.network.run(1)
        stopped = self.server.stopService()
        self.assertEqual(seen(self.server).stage, "stopping")
        self.worker.let_go()
        self.network.result_of(stopped)

    def test_hostile_names(self):
        """What callers send is escaped where it is shown, cut, and crosses the wire."""
        nasty = "\x1b[2J\n\udcff{braces}" + "x" * 1000
        self.call(method=nasty.replace("\udcff", ""))
        self.node.notices.record("odd", "{what}", nasty, what=nasty)
        self.server.notices.count("odd", "{peer} {what}", nasty, what=nasty)
        self.network.run(1)
        for node in (self.node, self.server):
            self.assertLess(max(map(len, json.dumps(node.inspect(), indent=0).splitlines())), 2500)
            seen(node)

    def test_descriptors(self):
        """How many file descriptors the process has is told, also when it has none left."""

        def told():
            (limit,) = [limit for limit in seen(self.node).limits if limit.option == "LimitNOFILE"]
            return limit.used, limit.most

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_now = len(os.listdir("/proc/self/fd")) - 1
        self.assertEqual(told(), (open_now, soft))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        self.assertEqual(told(), (3, 3))

    def test_small_messages(self):
        """An inspection is never larger than a message may be: rows are left out."""
        for number in range(100):
            self.call(args={"number": number})
        self.network.run(1)
        for most in (4096, 8192, 65536, 10**6):
            told = self.node._inspection.tell(100, most)
            self.assertLessEqual(len(msgspec.msgpack.encode(told)), most)
            msgspec.convert(told, Inspected)
        self.assertEqual(told["left_out"].get("calls"), None)
        self.assertGreater(self.node._inspection.tell(100, 8192)["left_out"]["calls"], 0)


class InspectionScenarios(Scenario):
    async def test_method(self):
        """Every server has it as a method; who asks sees itself."""
        worker = await self.member("a")
        client = self.world.client()
        call = client.call(WORK, "hold", timeout=30)
        await self.world.eventually("it runs", lambda: worker.held)
        told = msgspec.convert(await client.call(OWN, "inspect", {"events": 3}), Inspected)
        self.assertEqual([request.method for request in told.requests], ["hold"])
        self.assertEqual(len(told.events), 3)
        self.assertEqual(told.serves, ["openstack/work.a"])
        self.assertEqual([each.instance for each in told.clients], [client.node.instance.hex()])
        worker.let_go()
        await call
        for events in (-1, "all", None, 1.5):
            await self.fails(client.call(OWN, "inspect", {"events": events}), InvalidArguments)

    async def test_refused(self):
        """Where the operator does not want it, callers are told so; the process itself may still be asked."""
        worker = await self.member("a", rpc_inspect=False)
        error = await self.fails(self.world.client().call(OWN, "inspect"), AccessDenied)
        self.assertIn("rpc_inspect", str(error))
        self.assertFalse(error.maybe_executed)
        self.assertEqual(worker.node.inspect(events=3)["serves"], ["openstack/work.a"])

    async def test_asked_in_a_crowd(self):
        """Who asks again at once is told the same, at no cost."""
        worker = await self.member("a")
        client = self.world.client()
        first = await client.call(OWN, "inspect")
        inspection = worker.node._inspection
        asked = [inspection.answer(events)["events"] for events in (10, 0, 1, 2, 10_000)]
        self.assertEqual(asked[1:4], [asked[0][:number] for number in range(3)])
        self.assertEqual(asked[0], asked[4])
        self.assertEqual(inspection.answer(1)["left_out"], {"events": len(asked[0]) - 1})
        least = inspection.answer(10, 2500)
        self.assertEqual(sorted(least), ["format", "instance", "kind", "member"])
        msgspec.convert(least, Inspected)
        await self.world.sleep(0.2)
        self.assertNotEqual(await client.call(OWN, "inspect"), first)


class InspectionInMemory(InMemory, InspectionScenarios, TestCase):
    seeds = range(2)


class InspectionOverSockets(OverSockets, InspectionScenarios, TestCase):
    async def test_ten_thousand(self):
        """A node with ten thousand calls in flight is inspected in no time, and its calls go on."""
        worker = await self.member("a", max_running_calls=20_000, max_waiting_time=0)
        client = self.world.client()
        calls = [client.call(WORK, "hold", {"number": number}, timeout=60) for number in range(10_000)]
        await self.world.eventually("all run", lambda: len(worker.held) == 10_000, 50)
        other = self.world.client()
        for node in (client.node, worker.node):
            began = self.world.seconds()
            told = seen(node)
            self.assertLess(self.world.seconds() - began, 1)
            self.assertEqual(len(told.calls) + len(told.requests), 200)
            self.assertEqual(sum(told.left_out.values()), 9_800)
        told = msgspec.convert(await other.call(OWN, "inspect", timeout=10), Inspected)
        self.assertEqual(told.left_out["requests"], 9_800)
        worker.let_go()
        for call in calls:
            self.assertEqual(await call, "a")
