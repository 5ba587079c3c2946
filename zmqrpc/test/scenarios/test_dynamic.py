"""Dynamic direct connections: what a message costs, where it goes, and what is left of it."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Hello, Served, Welcome, encode_message
from zmqrpc.core.link import Phase
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.errors import Cancelled, DeadlineExceeded, DeliveryError, NoRoute, ServerLost
from zmqrpc.test.scenarios.test_strangers import STRANGER, Peer
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")
A = Target("work", server="a")
HUNDREDS = 300


class DynamicScenarios(Scenario):
    def client(self, **options):
        """Start a client; its `connected` lists where it has connected to."""
        client = self.world.client(**{"zmq_topology": "dynamic-direct", **options})
        router = client.node._links.connector.router
        client.connected, connect = [], router.connect

        def note(address):
            client.connected.append(address)
            return connect(address)

        router.connect = note
        return client

    def phases(self, client):
        return Counter(link.state.phase for link in client.node._links.all())

    async def at_rest(self, client, *servers):
        """Wait until a client has no connection, and nothing that it remembers beside its links."""
        await self.world.eventually("every link is idle", lambda: set(self.phases(client)) <= {Phase.IDLE})
        self.assertEqual(client.node._links.by_identity, {})
        strategy = vars(client.node._links.strategy)
        self.assertEqual([kept for kept in strategy.values() if isinstance(kept, dict) and kept], [])
        for server in servers:
            await self.world.eventually(
                "it has forgotten its clients", lambda server=server: not server.node._callers._callers
            )

    async def test_one_call(self):
        """It connects to the one whose turn it is and to two more, and to nobody before and after."""
        workers = [await self.member(name) for name in "abcde"]
        client = self.client()
        client.prepare(WORK)
        await self.world.sleep(0.1)
        self.assertEqual(client.connected, [])
        self.assertIn(await client.call(WORK, "mark", timeout=5), "abcde")
        self.assertEqual(len(client.connected), 3)
        await self.at_rest(client, *workers)
        self.assertEqual(sum(len(worker.ran) for worker in workers), 1)

    async def test_to_one_member(self):
        """What is for one member, or for each, connects to nobody else."""
        for name in "abcde":
            await self.member(name)
        client = self.client()
        await client.call(A, "mark", timeout=5)
        self.assertEqual(len(client.connected), 1)
        await self.at_rest(client)
        await client.fanout(WORK, "mark", timeout=5)
        self.assertEqual(len(client.connected), 6)
        await self.at_rest(client)
        await client.cast(A, "mark", timeout=5)
        await self.at_rest(client)
        self.assertEqual(len(client.connected), 7)

    async def test_at_the_same_time(self):
        """Calls at one time share connections."""
        for name in "ab":
            await self.member(name)
        client = self.client()
        calls = [client.call(WORK, "mark", timeout=5) for _ in range(20)]
        self.assertEqual(set(await gatherResults(calls)), {"a", "b"})
        self.assertEqual(len(client.connected), 2)
        await self.at_rest(client)

    async def test_hundreds(self):
        """Nothing is left of hundreds of calls: no connection, no descriptor, no memory of them at their servers."""
        workers = [await self.member(name) for name in "abc"]
        client = self.client()
        await client.call(WORK, "mark", timeout=5)
        await self.at_rest(client, *workers)
        descriptors = len(os.listdir("/proc/self/fd"))
        names = [await client.call(WORK, "mark", {"number": number}, timeout=5) for number in range(HUNDREDS)]
        self.assertEqual(set(names), set("abc"))
        await self.at_rest(client, *workers)
        await self.world.eventually("closed descriptors", lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
        for link in client.node._links.all():
            self.assertEqual((len(link.pending), len(link.queue), link.gathered), (0, 0, 0))
            self.assertLess(len(link.pending.settled.flat(0)), 4)

    async def test_thousands_of_casts(self):
        workers = [await self.member(name) for name in "abc"]
        client = self.client()
        for turn in range(3):
            numbers = range(1000 * turn, 1000 * turn + 1000)
            await gatherResults([client.cast(WORK, "mark", {"number": number}, timeout=20) for number in numbers])
        await self.world.eventually("all have run", lambda: sum(len(worker.ran) for worker in workers) >= 3000)
        ran = Counter(number for worker in workers for number in worker.ran)
        self.assertEqual(ran, Counter(range(3000)))
        await self.at_rest(client, *workers)

    async def silent(self, name):
        """Register a member that is connected to and says nothing."""
        heard: list[Any] = []
        await self.world.stranger(f"work.{name}", Peer(lambda identity, batch: heard.append(batch)), "5" * 32)
        return heard

    async def test_slow_member(self):
        """Whose turn it is has a moment; then another gets the message, once, and the next does not wait so long."""
        heard = await self.silent("a")
        workers = [await self.member(name) for name in "bc"]
        client = self.client()
        took = []
        for number in range(9):
            began = self.world.clock.seconds()
            await client.call(WORK, "mark", {"number": number}, timeout=5)
            took.append(self.world.clock.seconds() - began)
        # That moment begins at its HELLO, which is written with the first call.
        *others, longest = sorted(took)
        self.assertGreater(longest, LinkTimers().late)
        self.assertLess(others[len(others) // 2], LinkTimers().late)
        self.assertEqual(Counter(number for worker in workers for number in worker.ran), Counter(range(9)))
        # HELLO, and nothing else, is given to one that has not said WELCOME.
        self.assertEqual({type(message).__name__ for batch in heard for message in batch.messages}, {"Hello"})

    async def test_dead_members(self):
        """Members that are recorded and dead cost no call as long as one lives, and are taken out of the turns."""
        workers = [await self.member(name) for name in "abcd"]
        client = self.client()
        for worker in workers[:3]:
            self.world.kill(worker.node)
        calls = [client.call(WORK, "mark", timeout=5) for _ in range(20)]
        self.assertEqual(set(await gatherResults(calls)), {"d"})
        await self.world.eventually("nobody is connected", lambda: not self.phases(client)[Phase.UP])
        await self.world.sleep(0.1)
        self.world.kill(workers[3].node)
        error = await self.fails(client.call(WORK, "mark", timeout=10), NoRoute)
        self.assertFalse(error.maybe_executed)
        for name in "abcd":
            self.assertIn(f"{name} at tcp://", str(error))

    async def test_killed_while_it_runs(self):
        worker = await self.member("a")
        await self.member("b")
        client = self.client()
        call = client.call(A, "hold", timeout=20)
        await self.world.eventually("it runs", lambda: worker.held)
        self.world.kill(worker.node)
        self.assertTrue((await self.fails(call, ServerLost)).maybe_executed)
        self.assertEqual({await client.call(WORK, "mark", timeout=5) for _ in range(4)}, {"b"})

    async def test_ends_early(self):
        """Cancelled, or too late: the connection goes as well."""
        worker = await self.member("a")
        client = self.client()
        cancelled, late = (
            client.call(WORK, "hold", {"number": 1}),
            client.call(WORK, "hold", {"number": 2}, timeout=0.4),
        )
        await self.world.eventually("they run", lambda: len(worker.held) == 2)
        self.assertEqual(self.phases(client), {Phase.UP: 1})
        cancelled.cancel()
        await self.fails(cancelled, Cancelled)
        await self.fails(late, DeadlineExceeded)
        await self.at_rest(client)
        await self.world.eventually("it is told", lambda: worker.cancelled == [1, 2])

    async def test_stays_while_it_runs(self):
        """A connection stays for as long as a call runs, however long nothing else is said."""
        worker = await self.member("a")
        client = self.client()
        call = client.call(WORK, "hold", timeout=20)
        await self.world.sleep(0.7)
        self.assertEqual((self.phases(client), len(client.connected)), ({Phase.UP: 1}, 1))
        worker.let_go()
        self.assertEqual(await call, "a")
        await self.at_rest(client)

    async def test_stopping_member(self):
        """A member that stops is heard of over the connection that a call has, and finishes it."""
        worker = await self.member("a")
        await self.member("b")
        client = self.client()
        call = client.call(A, "hold", timeout=20)
        await self.world.eventually("it runs", lambda: worker.held)
        stopped = Deferred.fromCoroutine(self.world.stop(worker.node))
        await self.world.eventually("it says so", lambda: self.phases(client)[Phase.DRAINING])
        names = {await client.call(WORK, "mark", timeout=5) for _ in range(6)}
        worker.let_go()
        self.assertEqual((await call, names), ("a", {"b"}))
        await stopped
        await self.world.eventually("it is gone", lambda: len(client.node._links.all()) == 1)
        await self.at_rest(client)

    async def test_quarantine(self):
        """Who is complained about is neither called nor connected to."""
        workers = [await self.member(name) for name in "abc"]
        client = self.client()
        await client.members(WORK)
        client.neg_acknowledge(A, "wrong answers")
        self.assertEqual({await client.call(WORK, "mark", timeout=5) for _ in range(4)}, {"b", "c"})
        self.assertNotIn(workers[0].node.address, client.connected)
        client.acknowledge(A)
        self.assertEqual({await client.call(WORK, "mark", timeout=5) for _ in range(3)}, {"a", "b", "c"})

    async def test_early_casts(self):
        """Without acknowledgements a cast is over when it is handed over; its connection stays until it has arrived."""
        workers = [await self.member(name) for name in "ab"]
        client = self.client(rpc_use_acks=False)
        await gatherResults([client.cast(WORK, "mark", {"number": number}, timeout=5) for number in range(500)])
        await self.at_rest(client, *workers)
        self.assertEqual(Counter(number for worker in workers for number in worker.ran), Counter(range(500)))

    async def test_linger(self):
        """What is over for its caller keeps a connection no longer than zmq_linger; a call does."""
        heard: list[Any] = []

        def received(identity, batch):
            for message in batch.messages:
                heard.append(type(message).__name__)
                if type(message) is Hello:
                    welcome = Welcome(1, batch.sent, "server", [], {}, [Served("openstack", "work", "m")])
                    payload = encode_batch(STRANGER, batch.source, 0, (), [encode_message(welcome)])
                    router.send(identity, payload)

        router = await self.world.stranger("work.m", Peer(received), STRANGER.hex())
        client = self.client(rpc_use_acks=False, zmq_linger=0.5)
        began = self.world.clock.seconds()
        await client.cast(WORK, "mark", timeout=60)
        await self.at_rest(client)
        self.assertGreater(self.world.clock.seconds() - began, 0.5)
        self.assertEqual(client.node.notices.counts["lingered"], 1)
        self.assertEqual([name for name in heard if name != "Ping"], ["Hello", "Cast", "Goaway"])
        call = client.call(WORK, "mark", timeout=3)
        await client.cast(WORK, "mark", timeout=60)
        await self.fails(call, DeadlineExceeded)
        await self.at_rest(client)

    async def test_wait_for_ready(self):
        """Who would be connected to when needed counts as ready, until that fails."""
        client = self.client()
        waiting = client.call_each(WORK, "mark", timeout=20, wait_for_ready=True)
        await self.world.sleep(0.2)
        dead = await self.member("a")
        self.assertEqual([answer.result for answer in await waiting], ["a"])
        await self.at_rest(client)
        self.world.kill(dead.node)
        reached: list[Any] = []
        client.fanout(WORK, "mark", timeout=20, wait_for_ready=True).addBoth(reached.append)
        await self.world.sleep(0.5)
        self.assertEqual(reached, [])
        await self.member("b")
        await self.world.eventually("somebody is reached", lambda: reached)
        self.assertEqual([name for name, _ in reached[0].members], ["b"])

    async def test_store_that_is_emptied(self):
        """Members that nobody is connected to are asked whether they live, and are called as long as they do."""
        workers = [await self.member(name) for name in "ab"]
        client = self.client()
        for _ in range(2):
            await client.call(WORK, "mark", timeout=5)
        await self.at_rest(client)
        self.world.store.go_read_only()
        self.world.store.forget()
        await self.world.eventually("it asks", lambda: self.phases(client) == {Phase.UP: 2})
        self.assertEqual({await client.call(WORK, "mark", timeout=5) for _ in range(4)}, {"a", "b"})
        self.world.kill(workers[0].node)
        await self.world.eventually("one is left", lambda: len(client.node._links.all()) == 1)
        self.assertEqual({await client.call(WORK, "mark", timeout=5) for _ in range(4)}, {"b"})
        self.world.store.come_back()
        await self.at_rest(client)

    async def test_no_room_anywhere(self):
        """What waits goes to whoever has room, and stays where it is while nobody has."""
        worker = await self.member("a")
        await self.world.stranger("work.silent", Peer())
        client = self.client(max_unsettled_calls=1, max_queued_calls=1)
        calls = [client.call(WORK, "hold", {"number": number}, timeout=3) for number in range(6)]
        outcomes: list[Any] = []
        for call in calls:
            call.addBoth(outcomes.append)
        await self.world.sleep(1.5)
        while len(outcomes) < len(calls):
            worker.let_go()
            await self.world.sleep(0.05)
        errors: list[Any] = [outcome.value for outcome in outcomes if isinstance(outcome, Failure)]
        self.assertEqual([error for error in errors if not isinstance(error, DeliveryError)], [])
        self.assertEqual([error for error in errors if error.maybe_executed], [])
        self.assertEqual(len(worker.ran), outcomes.count("a"))

    async def test_record_that_comes_back(self):
        """A link whose record goes and comes while a call is on it is a link like any other."""
        worker = await self.member("a")
        client = self.client()
        call = client.call(WORK, "hold", timeout=20)
        await self.world.eventually("it runs", lambda: worker.held)
        [link] = client.node._links.all()
        records = list(client.node._delivery.table.leading_to(link.key))
        client.node._links.strategy.gone(link.key)
        client.node._links.strategy.appeared(link.key, records[0])
        self.assertTrue(link.state.available)
        worker.let_go()
        await call
        await self.at_rest(client)
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "a")


class DynamicInMemory(InMemory, DynamicScenarios, TestCase):
    seeds = range(3)


class DynamicOverSockets(OverSockets, DynamicScenarios, TestCase):
    pass
