"""Notifications: pools, turns, what is given back, and what becomes of them when listeners are lost."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.trial.unittest import TestCase

from zmqrpc import HANDLED, REQUEUE, Target, expose
from zmqrpc.core.notification import arguments_of
from zmqrpc.errors import (
    Cancelled,
    ClientClosed,
    ConfigError,
    DeadlineExceeded,
    EncodingError,
    MatchmakerUnavailable,
    MessageTooLarge,
    NoRoute,
    Overloaded,
)
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

TOPIC = "events"


class Ear:
    """
    An endpoint that remembers what it heard.

    :ivar heard: the payloads, in order.
    :ivar answers: what it returns, the first one first; then None.
    :ivar held: what `warn` was given, and has not been let go.
    """

    def __init__(self, *answers: Any) -> None:
        self.node: Any = None
        self.heard: list[Any] = []
        self.facts: list[tuple[Any, ...]] = []
        self.answers = list(answers)
        self.held: list[Deferred[Any]] = []
        self.cancelled = 0

    def info(self, context, publisher_id, event_type, payload, metadata):
        self.heard.append(payload)
        self.facts.append((context, publisher_id, event_type, metadata))
        return self.answers.pop(0) if self.answers else None

    async def error(self, context, publisher_id, event_type, payload, metadata):
        self.heard.append(payload)
        return await succeed(self.answers.pop(0) if self.answers else None)

    def warn(self, context, publisher_id, event_type, payload, metadata):
        self.heard.append(payload)
        held: Deferred[Any] = Deferred()
        self.held.append(held)
        return held.addErrback(self._cancelled)

    def _cancelled(self, failure):
        failure.trap(CancelledError)
        self.cancelled += 1
        return failure

    def let_go(self, answer=None):
        held, self.held = self.held, []
        for each in held:
            each.callback(answer)

    def sample(self, context, publisher_id, event_type, payload, metadata):
        self.heard.append(payload)
        raise ValueError(payload)


def waits(deferred):
    """Tell whether a Deferred has no result yet."""
    return not deferred.called or isinstance(deferred.result, Deferred)


class Ears:
    """Mix in before a scenario: it has listeners."""

    world: Any

    async def ear(self, *answers, topic=TOPIC, **options):
        ear = Ear(*answers)
        ear.node = await self.world.listen(topic, ear, **options)
        return ear


class NotificationScenarios(Ears, Scenario):
    """In memory and over sockets."""

    async def test_it_arrives_as_it_was_sent(self):
        ear = await self.ear()
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await notifier.info({"user": "ada"}, "vm.started", {"id": [1, b"x"]}), 1)
        self.assertEqual(await notifier.info(None, "vm.stopped", None), 1)
        self.assertEqual(ear.heard, [{"id": [1, b"x"]}, None])
        (context, publisher, event, metadata), (nothing, _, _, later) = ear.facts
        self.assertEqual((context, publisher, event, nothing), ({"user": "ada"}, "publisher", "vm.started", {}))
        self.assertEqual(sorted(metadata), ["message_id", "timestamp"])
        self.assertNotEqual(metadata["message_id"], later["message_id"])
        self.assertRegex(metadata["timestamp"], r"\d{4}-\d\d-\d\dT[\d:.]{15}\+00:00")

    async def test_forwarded(self):
        """What somebody else has written arrives with his name, his id and his time."""
        ear = await self.ear()
        written = arguments_of("nova.host1", "vm.started", [1, None], "id-1", "2026-01-02 03:04:05.678")
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await notifier.forward("info", {"user": "ada"}, written), 1)
        self.assertEqual(ear.heard, [[1, None]])
        metadata = {"message_id": "id-1", "timestamp": "2026-01-02 03:04:05.678"}
        self.assertEqual(ear.facts, [({"user": "ada"}, "nova.host1", "vm.started", metadata)])
        await self.fails(notifier.forward("info", None, {**written, "event_type": 7}), ConfigError)
        await self.fails(notifier.forward("info", None, {**written, "payload": object()}), EncodingError)

    async def test_one_copy_for_each_pool(self):
        """Within a pool strictly one gets it, in turn; no pool is one pool."""
        pools = {pool: [await self.ear(pool=pool) for _ in range(3)] for pool in (None, "audit", "bill")}
        notifier = self.world.notifier(TOPIC)
        for number in range(9):
            self.assertEqual(await notifier.info({}, "e", number), 3)
        for pool, ears in pools.items():
            self.assertEqual(sorted(n for ear in ears for n in ear.heard), list(range(9)), pool)
            self.assertEqual([len(ear.heard) for ear in ears], [3, 3, 3], pool)

    async def test_order(self):
        """What one notifier sends one after the other runs in that order at a listener."""
        ear = await self.ear()
        notifier = self.world.notifier(TOPIC)
        await gatherResults([notifier.info({}, "e", number) for number in range(500)])
        self.assertEqual(ear.heard, list(range(500)))

    async def test_a_method_that_blocks(self):
        """It may be marked as for calls."""

        class Blocking:
            @expose(thread=True)
            def info(self, context, publisher_id, event_type, payload, metadata):
                return REQUEUE if payload.pop() else None

        await self.world.listen(TOPIC, Blocking())
        self.assertEqual(await self.world.notifier(TOPIC).info({}, "e", [0]), 1)

    async def test_a_listener_is_killed_while_its_endpoint_runs(self):
        """Another of its pool gets it; the copies of other pools are not touched."""
        ears, audit = [await self.ear() for _ in range(2)], await self.ear(pool="audit")
        sent = self.world.notifier(TOPIC).warn({}, "e", 1)
        await self.world.eventually("both pools have it", lambda: audit.held and any(ear.held for ear in ears))
        audit.let_go()
        lost, left = sorted(ears, key=lambda ear: not ear.held)
        self.world.kill(lost.node)
        await self.world.eventually("the other one has it", lambda: left.held)
        left.let_go()
        self.assertEqual(await sent, 2)
        self.assertEqual((audit.heard, lost.heard, left.heard), ([1], [1], [1]))

    async def test_another_of_the_pool_gets_what_is_given_back(self):
        giving, taking = await self.ear(*[REQUEUE] * 4), await self.ear()
        notifier = self.world.notifier(TOPIC)
        began = self.world.seconds()
        for number in range(8):
            self.assertEqual(await notifier.info({}, "e", number), 1)
        self.assertEqual(sorted(giving.heard[4:] + taking.heard), list(range(8)))
        self.assertGreater(len(giving.heard), 4)
        self.assertLess(self.world.seconds() - began, 1)

    async def test_a_listener_that_stops_finishes_what_runs(self):
        ear = await self.ear()
        notifier = self.world.notifier(TOPIC)
        sent = notifier.warn({}, "e", 1)
        await self.world.eventually("it runs", lambda: ear.held)
        stopping = self.world.stop(ear.node)
        stopped = Deferred.fromCoroutine(stopping)
        await self.world.sleep(0.1)
        other = await self.ear()
        self.assertEqual(await notifier.info({}, "e", 2), 1)
        self.assertFalse(stopped.called)
        ear.let_go()
        self.assertEqual(await sent, 1)
        await stopped
        self.assertEqual((ear.heard, other.heard, ear.cancelled), ([1], [2], 0))

    async def test_batches(self):
        heard = []

        class Batches:
            def info(self, notifications):
                heard.append([each.payload for each in notifications])

        node = self.world.node()
        node.listener([Target(TOPIC)], [Batches()], batch_size=2, batch_timeout=0.1)
        node.startService()
        await node.when_ready()
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await gatherResults([notifier.info({}, "e", number) for number in range(3)]), [1] * 3)
        self.assertEqual(heard, [[0, 1], [2]])


class MoreScenarios(Ears, Scenario):
    """What the network in memory shows as well, and in less time."""

    async def test_each_priority_has_its_method(self):
        heard = []

        class All:
            pass

        def hear(priority):
            return lambda self, context, publisher_id, event_type, payload, metadata: heard.append(priority)

        priorities = ["audit", "critical", "debug", "error", "info", "sample", "warn"]
        for priority in priorities:
            setattr(All, priority, hear(priority))
        await self.world.listen(TOPIC, All())
        notifier = self.world.notifier(TOPIC)
        for priority in priorities:
            self.assertEqual(await getattr(notifier, priority)({}, "e", 1), 1)
        self.assertEqual(heard, priorities)

    async def test_several_topics(self):
        """The number is the sum over the topics."""
        one = await self.ear(topic="one")
        two = await self.ear(topic="two")
        other = await self.ear(topic="two", pool="p")
        self.assertEqual(await self.world.notifier("one", "two", "nobody").info({}, "e", 1), 3)
        self.assertEqual([ear.heard for ear in (one, two, other)], [[1]] * 3)

    async def test_a_target_is_a_topic_of_another_exchange(self):
        ear = Ear()
        node = self.world.node()
        node.listener([Target(TOPIC, exchange="other"), Target("more", server="m")], [ear])
        node.startService()
        await node.when_ready()
        self.assertEqual(await self.world.notifier(TOPIC).info({}, "e", 0), 0)
        self.assertEqual(await self.world.notifier(Target(TOPIC, exchange="other"), "more").info({}, "e", 1), 2)
        self.assertEqual(ear.heard, [1, 1])

    async def test_nobody_listens(self):
        """It is no error; a server of the topic is no listener."""
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await notifier.info({}, "e", 1), 0)
        await self.world.serve(f"{TOPIC}.a", Worker())
        self.assertEqual(await notifier.info({}, "e", 1), 0)
        self.assertEqual(notifier.node.notices.counts["nobody_notified"], 2)

    async def test_who_listens_later_is_found(self):
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await notifier.info({}, "e", 1), 0)
        ear = await self.ear()
        self.assertEqual(await notifier.info({}, "e", 2), 1)
        self.assertEqual(ear.heard, [2])

    async def test_servers_and_listeners_under_one_topic(self):
        """Calls never reach listeners, and notifications never reach servers, on one node or two."""
        both, ear, worker = Ear(), await self.ear(), await self.member("b")
        node = self.world.node()
        mixed = Worker("a")
        node.server(Target("work", server="a"), [mixed])
        node.listener([Target("work", server="a"), Target(TOPIC, server="a")], [both])
        node.startService()
        await node.when_ready()
        client, notifier = self.world.client(), self.world.notifier("work", TOPIC)
        for number in range(4):
            self.assertIn(await client.call(Target("work"), "mark", {"number": number}), "ab")
            self.assertEqual(await notifier.info({}, "e", number), 2)
        self.assertEqual(sorted(mixed.ran + worker.ran), [0, 1, 2, 3])
        self.assertEqual(len(mixed.ran), 2)
        self.assertEqual(len(both.heard), 4 + 2)
        self.assertEqual(len(ear.heard), 2)
        self.assertEqual([member for member, _ in await client.members(Target("work"))], ["a", "b"])
        await self.fails(client.call(Target(TOPIC), "info"), NoRoute)
        self.assertEqual(await client.members(Target(TOPIC)), [])
        await self.fails(client.fanout(Target(TOPIC), "info"), NoRoute)

    async def test_acknowledged_when_its_endpoint_has_returned(self):
        ear = await self.ear()
        sent = self.world.notifier(TOPIC).warn({}, "e", 1)
        await self.world.eventually("it runs", lambda: ear.held)
        await self.world.sleep(1.2)
        self.assertTrue(waits(sent))
        ear.let_go(HANDLED)
        self.assertEqual(await sent, 1)

    async def test_what_raises_is_logged_and_acknowledged(self):
        ear = await self.ear()
        self.assertEqual(await self.world.notifier(TOPIC).sample({}, "e", "broken"), 1)
        self.assertEqual((ear.heard, len(self.flushLoggedErrors(ValueError))), (["broken"], 1))

    async def test_a_priority_that_nobody_has(self):
        """A listener takes part in the pool, so it is acknowledged; it is counted."""
        ear = await self.ear()
        self.assertEqual(await self.world.notifier(TOPIC).debug({}, "e", 1), 1)
        self.assertEqual((ear.heard, ear.node.notices.counts["priority_not_listened_to"]), ([], 1))

    async def test_several_endpoints(self):
        """One after the other; the first that gives it back is the last."""
        first, second, third = Ear(None, REQUEUE), Ear(), Ear()
        node = await self.world.listen(TOPIC, first, second, third)
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await notifier.info({}, "e", 1), 1)
        self.assertEqual(await notifier.info({}, "e", 2), 1)
        self.assertEqual([ear.heard for ear in (first, second, third)], [[1, 2, 2], [1, 2], [1, 2]])
        self.assertEqual(node.notices.counts["requeued"], 1)
        sent = notifier.warn({}, "e", 3)
        for ear in (first, second, third):
            await self.world.eventually("it is its turn", lambda ear=ear: ear.held)
            ear.let_go()
        self.assertEqual(await sent, 1)

    # Given back

    async def test_alone_it_gets_it_again(self):
        """After a rest, which grows; the endpoints that are asynchronous too."""
        ear = await self.ear(REQUEUE, REQUEUE, HANDLED)
        began, by_clock = self.world.seconds(), self.world.clock.seconds()
        self.assertEqual(await self.world.notifier(TOPIC).error({}, "e", 1), 1)
        self.assertEqual(ear.heard, [1, 1, 1])
        self.assertGreater(self.world.clock.seconds() - by_clock, 0.15)
        self.assertLess(self.world.seconds() - began, 1.5)

    async def test_given_back_it_is_still_one(self):
        """The next hand-over is no new message, of which a share may be repeated."""
        await self.ear(REQUEUE, REQUEUE, HANDLED)
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await notifier.info({}, "e", 1), 1)
        self.assertEqual(notifier.node._delivery.links.repetitions.first_hand_overs, 1)

    async def test_given_back_until_the_deadline(self):
        ear = await self.ear(*[REQUEUE] * 100)
        error = await self.fails(self.world.notifier(TOPIC).info({}, "e", 1, timeout=0.9), DeadlineExceeded)
        self.assertTrue(error.maybe_executed)
        self.assertIn("gave it back", str(error))
        self.assertTrue(3 < len(ear.heard) < 9, ear.heard)

    async def test_cancelled_while_it_rests(self):
        ear = await self.ear(*[REQUEUE] * 100)
        sent = self.world.notifier(TOPIC).info({}, "e", 1)
        await self.world.eventually("it was given back", lambda: len(ear.heard) > 1)
        sent.cancel()
        error = await self.fails(sent, Cancelled)
        self.assertTrue(error.maybe_executed)
        await self.world.sleep(1)
        count = len(ear.heard)
        await self.world.sleep(3)
        self.assertEqual(len(ear.heard), count)

    async def test_stopped_while_it_rests(self):
        ear = await self.ear(*[REQUEUE] * 100)
        notifier = self.world.notifier(TOPIC)
        sent = notifier.info({}, "e", 1)
        await self.world.eventually("it was given back", lambda: ear.heard)
        await self.world.sleep(0.02)
        await self.world.stop(notifier.node)
        await self.fails(sent, ClientClosed)
        await self.fails(notifier.info({}, "e", 1), ClientClosed)

    # Lost

    async def test_the_only_listener_is_killed(self):
        """It waits for another."""
        ear = await self.ear()
        sent = self.world.notifier(TOPIC).warn({}, "e", 1)
        await self.world.eventually("it runs", lambda: ear.held)
        self.world.kill(ear.node)
        await self.world.sleep(3)
        self.assertTrue(waits(sent))
        other = await self.ear()
        await self.world.eventually("the other one has it", lambda: other.held)
        other.let_go()
        self.assertEqual(await sent, 1)

    async def test_nobody_comes_after_a_loss(self):
        ear = await self.ear()
        sent = self.world.notifier(TOPIC).warn({}, "e", 1, timeout=4)
        await self.world.eventually("it runs", lambda: ear.held)
        self.world.kill(ear.node)
        error = await self.fails(sent, DeadlineExceeded)
        self.assertTrue(error.maybe_executed)
        self.assertIn("events, the pool without a name", str(error))
        says = "no listener of the pool without a name can be reached, look after them or start another: "
        self.assertIn(says, str(error))
        self.assertNotIn("wait_for_ready", str(error))

    async def test_the_other_pools_are_named(self):
        """Who looks for the pool that does not take it finds which are there, and what to do."""
        lost = await self.ear(pool="audit")
        others = [await self.ear(HANDLED, pool=pool) for pool in ("billing", None)]
        self.world.kill(lost.node)
        await self.world.sleep(3)
        text = str(await self.fails(self.world.notifier(TOPIC).info({}, "e", 1, timeout=2), DeadlineExceeded))
        self.assertIn("no listener of pool audit can be reached, look after them or start another: ", text)
        self.assertIn("; events is listened to by pool billing, the pool without a name", text)
        self.assertEqual([ear.heard for ear in others], [[1], [1]])

    async def test_a_connection_that_breaks(self):
        """The same instance is asked again under the same number, and does not run it twice."""
        ear = await self.ear()
        notifier = self.world.notifier(TOPIC)
        sent = notifier.warn({}, "e", 1)
        await self.world.eventually("it runs", lambda: ear.held)
        self.world.network.break_connections(ear.node.host, notifier.node.host)
        await self.world.sleep(2)
        ear.let_go()
        self.assertEqual((await sent, ear.heard), (1, [1]))

    async def test_one_pool_of_two_does_not_have_it(self):
        """It fails, and tells that another may have it."""
        ear = await self.ear()
        slow = await self.ear(*[REQUEUE] * 100, pool="slow")
        error = await self.fails(self.world.notifier(TOPIC).info({}, "e", 1, timeout=0.5), DeadlineExceeded)
        self.assertTrue(error.maybe_executed)
        self.assertIn("pool slow", str(error))
        self.assertEqual(ear.heard, [1])
        self.assertGreater(len(slow.heard), 1)

    async def test_neither_pool_has_it_and_one_may(self):
        """It fails as the first does, whose listener is gone, and tells that the other may have run it."""
        gone = await self.ear(pool="a")
        ear = await self.ear(pool="b")
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await notifier.info({}, "e", 1), 2)
        self.world.network.isolate(gone.node.host)
        await self.world.sleep(3)
        error = await self.fails(notifier.warn({}, "e", 2, timeout=0.5), DeadlineExceeded)
        self.assertEqual((gone.heard, ear.heard), ([1], [1, 2]))
        self.assertIn("pool a", str(error))
        self.assertTrue(error.maybe_executed)
        ear.let_go()

    # Stops

    async def test_a_stop_that_does_not_wait_longer_gives_it_to_another(self):
        ear = await self.ear(drain_timeout=0.3)
        sent = self.world.notifier(TOPIC).warn({}, "e", 1)
        await self.world.eventually("it runs", lambda: ear.held)
        other = await self.ear()
        await self.world.stop(ear.node)
        await self.world.eventually("another one has it", lambda: other.held)
        other.let_go()
        self.assertEqual((await sent, ear.cancelled), (1, 1))
        self.flushLoggedErrors(CancelledError)

    async def test_a_rolling_restart_loses_nothing(self):
        ears = [await self.ear() for _ in range(2)]
        notifier = self.world.notifier(TOPIC)
        sent = []
        for number in range(60):
            sent.append(notifier.info({}, "e", number))
            await self.world.sleep(0.02)
            if number in (15, 35):
                stopping = Deferred.fromCoroutine(self.world.stop(ears[number == 35].node))
                await self.world.sleep(0.1)
                ears.append(await self.ear())
                await stopping
        self.assertEqual(await gatherResults(sent), [1] * 60)
        self.assertEqual(sorted(n for ear in ears for n in ear.heard), list(range(60)))

    # Bounds, and what cannot be sent

    async def test_past_the_bound_of_a_listener(self):
        ear = await self.ear(max_running_calls=2)
        notifier = self.world.notifier(TOPIC)
        sent = [notifier.warn({}, "e", number) for number in range(2)]
        await self.world.eventually("they run", lambda: len(ear.held) == 2)
        await self.fails(notifier.warn({}, "e", 2), Overloaded)
        ear.let_go()
        self.assertEqual(await gatherResults(sent), [1, 1])

    async def test_the_matchmaker_is_down(self):
        self.world.store.available = False
        error = await self.fails(self.world.notifier(TOPIC).info({}, "e", 1, timeout=5), MatchmakerUnavailable)
        self.assertFalse(error.maybe_executed)

    async def test_known_pools_are_notified_while_the_matchmaker_is_down(self):
        ear = await self.ear()
        notifier = self.world.notifier(TOPIC)
        await notifier.info({}, "e", 1)
        self.world.store.available = False
        self.assertEqual(await notifier.info({}, "e", 2), 1)
        self.assertEqual(ear.heard, [1, 2])

    async def test_a_record_that_vanishes_is_kept(self):
        """The store has lost it, and the link shows that the listener is there."""
        ear = await self.ear(pool="p")
        notifier = self.world.notifier(TOPIC)
        await notifier.info({}, "e", 1)
        for sighting in list(await self.world.store.matchmaker().records()):
            await self.world.store.matchmaker().withdraw(sighting.record)
        self.assertEqual(await notifier.info({}, "e", 2), 1)
        self.assertEqual(ear.heard, [1, 2])

    async def test_what_cannot_be_sent(self):
        await self.ear()
        notifier = self.world.notifier(TOPIC, max_message_size=5000)
        for payload, error in ((object(), EncodingError), ({1: 2}, EncodingError), (bytes(5000), MessageTooLarge)):
            found = await self.fails(notifier.info({}, "e", payload), error)
            self.assertFalse(found.maybe_executed)
        contexts: list[Any] = [[], "ada", {"a": object()}]
        for context in contexts:
            await self.fails(notifier.info(context, "e", 1), EncodingError)
        await self.fails(notifier.info({}, 7, 1), ConfigError)
        await self.fails(notifier.info({}, "e", 1, timeout="soon"), ConfigError)
        await self.fails(notifier.info({}, "e", 1, timeout=0), DeadlineExceeded)
        mine = {"list": [1]}
        sent = notifier.info(mine, "e", mine)
        mine["list"].append(object())  # type: ignore[arg-type]
        self.assertEqual(await sent, 1)

    async def test_cancelled(self):
        """An endpoint that has begun goes on."""
        ear = await self.ear()
        sent = self.world.notifier(TOPIC).warn({}, "e", 1)
        await self.world.eventually("it runs", lambda: ear.held)
        sent.cancel()
        self.assertTrue((await self.fails(sent, Cancelled)).maybe_executed)
        await self.world.sleep(0.2)
        self.assertEqual((len(ear.held), ear.cancelled), (1, 0))
        ear.let_go()

    async def test_its_time_is_up_while_an_endpoint_runs(self):
        ear = await self.ear()
        error = await self.fails(self.world.notifier(TOPIC).warn({}, "e", 1, timeout=0.3), DeadlineExceeded)
        self.assertTrue(error.maybe_executed)
        await self.world.sleep(1.5)
        self.assertEqual((len(ear.held), ear.cancelled), (1, 0))
        ear.let_go()


class BatchScenarios(Ears, Scenario):
    async def batches(self, *answers, **options):
        heard = []

        class Batches:
            def info(self, notifications):
                heard.append([each.payload for each in notifications])
                answer = answers[len(heard) - 1] if len(heard) <= len(answers) else None
                return succeed(answer) if len(heard) % 2 else answer

            def error(self, notifications):
                heard.append([each.payload for each in notifications])
                raise ValueError("broken")

        return await self.world.listen(TOPIC, Batches(), **options), heard

    async def test_full_and_late(self):
        """205 come as 100, 100, and what is left when its time is up."""
        _, heard = await self.batches(batch_size=100, batch_timeout=0.5)
        notifier = self.world.notifier(TOPIC)
        began = self.world.clock.seconds()
        sent = await gatherResults([notifier.info({}, "e", number) for number in range(205)])
        self.assertEqual((sent, list(map(len, heard))), ([1] * 205, [100, 100, 5]))
        self.assertEqual([number for batch in heard for number in batch], list(range(205)))
        self.assertGreater(self.world.clock.seconds() - began, 0.45)

    async def test_each_priority_has_its_own(self):
        _, heard = await self.batches(batch_size=2, batch_timeout=0.2)
        notifier = self.world.notifier(TOPIC)
        sent = [getattr(notifier, name)({}, "e", name) for name in ("info", "error", "info", "error", "info")]
        self.assertEqual(await gatherResults(sent), [1] * 5)
        self.assertEqual(heard, [["info", "info"], ["error", "error"], ["info"]])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_given_back(self):
        _, heard = await self.batches(REQUEUE, REQUEUE, batch_size=2, batch_timeout=0.05)
        notifier = self.world.notifier(TOPIC)
        self.assertEqual(await gatherResults([notifier.info({}, "e", number) for number in range(2)]), [1, 1])
        self.assertEqual((heard[0], {number for batch in heard[2:] for number in batch}), ([0, 1], {0, 1}))

    async def test_a_stop_hands_on_what_waits(self):
        node, heard = await self.batches(batch_size=10, batch_timeout=100)
        sent = self.world.notifier(TOPIC).info({}, "e", 1)
        await self.world.sleep(0.2)
        self.assertEqual(heard, [])
        await self.world.stop(node)
        self.assertEqual((await sent, heard), (1, [[1]]))

    async def test_a_stop_cancels_the_work_of_a_batch_once(self):
        cancelled: list[Any] = []

        class Slow:
            def info(self, notifications):
                work: Deferred[None] = Deferred(cancelled.append)
                return work

        node = await self.world.listen(TOPIC, Slow(), batch_size=2, drain_timeout=0.2)
        notifier = self.world.notifier(TOPIC)
        sent = [notifier.info({}, "e", number) for number in range(2)]
        await self.world.sleep(0.2)
        await self.world.stop(node)
        self.assertEqual(len(cancelled), 1)
        _, heard = await self.batches(batch_size=2, batch_timeout=0.1)
        self.assertEqual(await gatherResults(sent), [1, 1])
        self.assertEqual(sorted(number for batch in heard for number in batch), [0, 1])
        self.flushLoggedErrors(CancelledError)


class NotificationsInMemory(InMemory, NotificationScenarios, TestCase):
    """On simulated networks."""


class NotificationsOverSockets(OverSockets, NotificationScenarios, TestCase):
    """On this machine."""


class MoreInMemory(InMemory, MoreScenarios, TestCase):
    """On simulated networks."""


class BatchesInMemory(InMemory, BatchScenarios, TestCase):
    """On simulated networks."""
