"""Every queue and window has a bound, and past it the caller is told."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Hello, Ping, Pong, Welcome, encode_message
from zmqrpc.errors import DeadlineExceeded, Overloaded
from zmqrpc.link import Link
from zmqrpc.outbox import Outbox
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.test_strangers import Peer
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


CROWD = 30


class BoundScenarios(Scenario):
    async def overloaded(self, calls):
        """Wait for all; return how many ended as overloaded, and the results of the others."""
        outcomes: list[tuple[bool, object]] = await DeferredList(calls, consumeErrors=True)
        refused = [outcome.value for good, outcome in outcomes if not good]  # type: ignore[attr-defined]
        for error in refused:
            self.assertIsInstance(error, Overloaded)
            self.assertFalse(error.maybe_executed)
        return len(refused), [outcome for good, outcome in outcomes if good]

    async def test_running_calls(self):
        """A server runs so many calls at once; the next is refused, and there is room again when one has ended."""
        worker = Worker("a")
        await self.world.serve("work.a", worker, max_running_calls=3)
        client = self.world.client()
        held = [client.call(WORK, "hold", {"number": number}, timeout=20) for number in range(3)]
        await self.world.eventually("they run", lambda: len(worker.held) == 3)
        refused, _ = await self.overloaded([client.call(WORK, "mark", timeout=5) for _ in range(2)])
        self.assertEqual(refused, 2)
        worker.let_go()
        await gatherResults(held)
        self.assertEqual(await client.call(WORK, "mark", {"number": 9}, timeout=5), "a")
        self.assertEqual(worker.ran, [0, 1, 2, 9])

    async def test_what_is_said_of_many_calls(self):
        """Each is a number with gaps around it; what is larger than a message may be would end the connection."""
        worker = Worker("a")
        node = await self.world.serve("work.a", worker, max_message_size=4096)
        client = self.world.client(max_message_size=4096)
        held, quick = [], []
        for number in range(1200):
            held.append(client.call(WORK, "hold", {"number": number}, timeout=4))
            quick.append(client.call(WORK, "mark", timeout=4))
        await gatherResults(quick)
        (caller,) = node._callers.all()
        before = caller.identity
        self.assertEqual(len(caller.running), 1200)
        outcomes: list[tuple[bool, object]] = await DeferredList(held, consumeErrors=True)
        self.assertEqual({type(outcome.value) for _, outcome in outcomes}, {DeadlineExceeded})  # type: ignore[attr-defined]
        await self.world.eventually("the server is told", lambda: not caller.running)
        self.assertEqual(caller.identity, before)

    async def test_running_bytes(self):
        """What runs is bounded in bytes too; what is larger by itself may still run alone."""
        worker = Worker("a")
        await self.world.serve("work.a", worker, max_running_bytes=200_000)
        client = self.world.client()

        def hold(number, size):
            return client.call(WORK, "hold", {"number": number, "value": bytes(size)}, timeout=20)

        for sizes, room in (([90_000, 90_000], 10_000), ([500_000], 0)):
            held = [hold(number, size) for number, size in enumerate(sizes)]
            await self.world.eventually("they run", lambda: len(worker.held) == len(sizes))  # noqa: B023
            error = await self.fails(hold(9, room + 20_000), Overloaded)
            self.assertIn("(max_running_bytes)", str(error))
            self.assertFalse(error.maybe_executed)
            if room:
                held.append(hold(2, room))
                await self.world.eventually("the small one runs", lambda: 2 in worker.held)
            worker.let_go()
            self.assertEqual(await gatherResults(held), ["a"] * len(held))
        self.assertEqual(await client.call(WORK, "echo", {"value": "x" * 190_000}, timeout=5), "x" * 190_000)
        self.assertEqual(worker.ran, [0, 1, 2, 0])

    async def test_unsettled_calls(self):
        """Of calls in flight to one instance there are so many; others wait within their own bound."""
        worker = await self.member("a")
        client = self.world.client(max_unsettled_calls=5, max_queued_calls=4)
        await client.call(WORK, "mark")
        calls = [client.call(WORK, "hold", {"number": number}, timeout=20) for number in range(12)]
        await self.world.eventually("the first run", lambda: len(worker.held) == 5)
        for _ in range(3):
            worker.let_go()
            await self.world.sleep(0.02)
        refused, results = await self.overloaded(calls)
        self.assertEqual((refused, len(results)), (3, 9))

    async def test_unsettled_calls_of_the_server(self):
        """The bound that counts is the smaller one, and WELCOME tells the client of the server's."""
        worker = Worker("a")
        await self.world.serve("work.a", worker, max_unsettled_calls=5)
        client = self.world.client()
        calls = [client.call(WORK, "echo", {"value": number}, timeout=5) for number in range(200)]
        self.assertEqual(await gatherResults(calls), list(range(200)))

    async def test_places_of_what_has_expired(self):
        """What waits is not handed to a member that has let others expire, before that one is heard again."""
        router: Any = None
        stopped = False

        def answer(identity, batch):
            for message in () if stopped else batch.messages:
                replies: dict[Any, Any] = {Hello: Welcome(1, batch.sent, "server", [], {}, []), Ping: Pong(0)}
                reply = replies.get(type(message))
                if reply is not None:
                    messages = [encode_message(reply)]
                    router.send(identity, encode_batch(bytes.fromhex("5" * 32), batch.source, 0, (), messages))

        peer = Peer(answer)
        router = await self.world.stranger("work.stops", peer)
        client = self.world.client(max_unsettled_calls=3, max_queued_calls=5)
        await self.fails(client.call(WORK, "mark", timeout=0.2), DeadlineExceeded)
        stopped = True
        calls = []
        for _ in range(8):
            calls.append(client.call(WORK, "mark", timeout=0.3))
            await self.world.sleep(0.01)
        outcomes: list[tuple[bool, object]] = await DeferredList(calls, consumeErrors=True)
        errors = [outcome.value for _, outcome in outcomes]  # type: ignore[attr-defined]
        self.assertEqual({type(error) for error in errors}, {DeadlineExceeded})
        self.assertEqual([error.maybe_executed for error in errors], [True] * 3 + [False] * 5)

    async def test_places_of_what_has_expired_at_a_busy_member(self):
        """A member that is heard gets what has waited and has time left."""
        worker = await self.member("a")
        client = self.world.client(max_unsettled_calls=3, max_queued_calls=5)
        await client.call(WORK, "mark", timeout=5)
        held = [client.call(WORK, "hold", {"number": number}, timeout=0.3) for number in range(3)]
        calls = [client.call(WORK, "echo", {"value": number}, timeout=2) for number in range(5)]
        ended = [Deferred.fromCoroutine(self.fails(call, DeadlineExceeded)) for call in held]
        began = self.world.seconds()
        self.assertEqual(await gatherResults(calls), list(range(5)))
        # Not only when it would have been asked anyway.
        self.assertLess(self.world.seconds() - began, 0.3 + 0.2)
        await gatherResults(ended)
        worker.let_go()

    async def test_queued_calls(self):
        """For a member that is not connected so many calls wait."""
        await self.world.stranger("work.silent", Peer())
        client = self.world.client(max_queued_calls=4)
        calls = [client.call(WORK, "mark", timeout=0.5) for _ in range(10)]
        waiting = [Deferred.fromCoroutine(self.fails(call, DeadlineExceeded)) for call in calls[:4]]
        refused, _ = await self.overloaded(calls[4:])
        self.assertEqual(refused, 6)
        await gatherResults(waiting)

    async def test_queued_bytes(self):
        """What waits for a member is bounded in bytes as well."""
        await self.world.stranger("work.silent", Peer())
        client = self.world.client(max_queued_bytes=10_000)
        await self.fails(client.call(WORK, "mark", timeout=0.2), DeadlineExceeded)
        calls = [client.call(WORK, "echo", {"value": bytes(4_000)}, timeout=0.5) for _ in range(5)]
        waiting = [Deferred.fromCoroutine(self.fails(call, DeadlineExceeded)) for call in calls[:2]]
        refused, _ = await self.overloaded(calls[2:])
        self.assertEqual(refused, 3)
        await gatherResults(waiting)

    async def test_waiting_for_the_store(self):
        """For an answer of the store so many calls wait."""
        await self.member("a")
        self.world.store.come_back(slow=0.2)
        client = self.world.client(max_queued_calls=4)
        refused, results = await self.overloaded([client.call(WORK, "mark", timeout=5) for _ in range(10)])
        self.assertEqual((refused, results), (6, ["a"] * 4))

    async def test_bytes_that_wait_for_the_store(self):
        """What waits for an answer of the store is bounded in bytes as well."""
        self.world.store.go_down(after=0.3)
        client = self.world.client(max_queued_bytes=2**20)
        value = bytes(100_000)
        calls = [client.call(WORK, "echo", {"value": value}, timeout=0.6, wait_for_ready=True) for _ in range(20)]
        waiting = [Deferred.fromCoroutine(self.fails(call, DeadlineExceeded)) for call in calls[:10]]
        for call in calls[10:]:
            error = await self.fails(call, Overloaded)
            self.assertRegex(str(error), r"10 calls of 100\d+ bytes wait for .*\(max_queued_calls, max_queued_bytes\)")
        await gatherResults(waiting)

    async def test_slow_reader(self):
        """More replies than a connection holds reach a client that reads them, in the end."""
        await self.member("a")
        client = self.world.client()
        calls = [client.call(WORK, "give_bytes", {"size": 70_000}, timeout=20) for _ in range(300)]
        self.assertEqual({len(result) for result in await gatherResults(calls)}, {70_000})

    async def test_time_spent_on_links(self):
        """A link is looked at when its own time comes: a look at each of 500 would be most of a client's work."""
        client = self.world.client()
        for number in range(CROWD):
            await self.world.serve(f"work{number}.a", Worker("a"))
            # One after the other, so that no two have their times together.
            await client.call(Target(f"work{number}"), "mark")
            await self.world.sleep(0.015)
        looks: Counter[Link] = Counter()
        sweep = Link.sweep

        def looked(link, now):
            if link in client.node._links.all():
                looks[link] += 1
            sweep(link, now)

        self.patch(Link, "sweep", looked)
        await self.world.sleep(2)
        self.assertEqual(len(looks), CROWD)
        self.assertLessEqual(max(looks.values()), 15)

    async def test_batches_of_bursts(self):
        """A burst of calls is written as one batch, and a single call at once, as soon as it shows which it will be."""
        worker = await self.member("a")
        client = self.world.client()
        await client.call(WORK, "mark")
        written: list[int] = []
        seal = Outbox.seal

        def sealed(outbox, source, *arguments):
            if source == client.node.instance:
                written.append(len(outbox.messages))
            seal(outbox, source, *arguments)

        self.patch(Outbox, "seal", sealed)
        sizes = []
        for burst in (1, 1, 20, 20, 20, 1, 1):
            # Long enough for the other's messages, also where the machine is busy, and too short for a PING.
            await self.world.sleep(0.1)
            written.clear()
            calls = [client.call(WORK, "mark") for _ in range(burst)]
            at_once = len(written)
            await gatherResults(calls)
            sizes.append((at_once, written.copy()))
        self.assertEqual(sizes, [(1, [1]), (1, [1]), (1, [1, 19]), (0, [20]), (0, [20]), (0, [1]), (1, [1])])
        self.assertEqual(len(worker.ran), 65)


class BoundsInMemory(InMemory, BoundScenarios, TestCase):
    pass


class BoundsOverSockets(OverSockets, BoundScenarios, TestCase):
    pass
