"""What the error of a call says, for every class that a call can end with: what a person reads in a log at 3 a.m."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc import Target, errors
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.call import Stage
from zmqrpc.core.envelope import Failure, FailureCode, Goaway, Hello, Nack, Refusal, Reply, Welcome, encode_message
from zmqrpc.core.topic import Topic
from zmqrpc.errors import (
    Cancelled,
    ClientClosed,
    DeadlineExceeded,
    DeliveryError,
    Draining,
    EncodingError,
    InvalidArguments,
    Journey,
    MatchmakerUnavailable,
    MessageTooLarge,
    NoRoute,
    NoSuchMethod,
    NotAcknowledged,
    Overloaded,
    RemoteError,
    ServerLost,
    UnsupportedVersion,
    ZmqRpcError,
)
from zmqrpc.test.scenarios.endpoints import Versioned, Worker
from zmqrpc.test.scenarios.test_strangers import Peer
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")
STRANGER = bytes.fromhex("5" * 32)


class TextScenarios(Scenario):
    """
    Each test ends a call in one way, and looks for every fact that is known then.

    :ivar knows_the_store: whether a client that asks nobody is told what the store has.
    """

    knows_the_store = False

    async def ends(
        self, deferred, error, stage, *texts, ran="it did not run", handed=True, recorded=True, numbered=True
    ):
        """
        Wait for a call to end with exactly this error, and look at what it says.

        :param handed: whether it was given to the member ``a``, and not only meant for the topic.
        :param recorded: whether the record of that is there; else it is said to be gone.
        :param numbered: whether it had a number.
        """
        caught = await self.fails(deferred, error)
        text = str(caught)
        self.assertIs(type(caught), error, text)
        facts = text[text.rindex(" (target ") :]
        wanted = [r"target work(\.a)?"]
        if handed:
            wanted += ["member a", r"at tcp://[\w.:-]+"]
            if numbered:
                wanted.append(r"message [0-9a-f]{12}/[0-9a-f]{12}/[1-9]\d*")
        wanted.append(f"stage {stage}")
        if handed:
            wanted.append(r"record \d+\.\d s old" if recorded else "its record is gone")
        self.assertRegex(facts, rf"^ \({', '.join(wanted)}; {ran}\)$", text)
        for said in texts:
            self.assertIn(said, text)
        self.assertEqual(caught.maybe_executed, ran != "it did not run", text)
        self.assertEqual(caught.did_run, ran == "it ran", text)
        self.assertNotIn("\n", text)

    async def begin(self, *endpoints, **options):
        self.worker = Worker("a")
        self.server = await self.world.serve("work.a", self.worker, *endpoints, **options)
        self.client = self.world.client()
        await self.client.call(WORK, "mark")

    async def holding(self, **options):
        """Make a call that runs until the test ends it."""
        call = self.client.call(WORK, "hold", **options)
        await self.world.eventually("it runs", lambda: self.worker.held and call.stage == Stage.ACKNOWLEDGED)
        return call

    async def answering(self, answer):
        """Register a member ``a`` that welcomes, and answers each request as `answer` says (None: not at all)."""
        router: Any = None

        def take(identity, batch):
            for message in batch.messages:
                if type(message) is Goaway:
                    continue
                said = Welcome(1, batch.sent, "server", [], {}, []) if type(message) is Hello else answer(message)
                if said is not None:
                    sent = int(self.world.clock.seconds() * 1000)
                    router.send(identity, encode_batch(STRANGER, batch.source, sent, (), [encode_message(said)]))

        router = await self.world.stranger("work.a", Peer(take))

    async def test_no_route(self):
        client = self.world.client()
        call = client.call(WORK, "mark", timeout=5)
        await self.ends(call, NoRoute, "resolving", "nobody listens there", handed=False)

    async def test_no_route_tells_what_is_known(self):
        """Members of the topic that are known are named, and topics, in the text of it; it stays short."""
        await self.begin()
        for number in range(12):
            await self.world.record(f"topic-{number:02}.b", "tcp://127.0.0.1:1")
            await self.client.members(Target(f"topic-{number:02}"))
        listed = "; topics with servers are topic-00, topic-01, topic-02, topic-03, topic-04, topic-05, topic-06, "
        rows = [
            (Target("work", server="aa"), "; did you mean a? "),
            (Target("work", server="node-1"), "; members of work are a "),
            (Target("wrok"), "; did you mean work? "),
            (Target("zzzzz"), f"check the name{listed}topic-07, and 5 more "),
            (Target("work", exchange="other"), "; did you mean openstack/work (exchange, slash, topic)? "),
        ]
        for target, says in rows:
            self.assertIn(says, str(await self.fails(self.client.call(target, "mark", timeout=5), NoRoute)))
        fresh = self.world.client()
        text = str(await self.fails(fresh.call(Target("wrok"), "mark", timeout=5), NoRoute))
        self.assertEqual("did you mean work?" in text, self.knows_the_store, text)

    async def test_no_route_to_the_recorded(self):
        """Each of those that are recorded is named, with its state, the age of its record and why."""
        await self.world.record("work.a", "tcp://127.0.0.1:1", "a" * 32)
        await self.world.record("work.b", "tcp://127.0.0.1:2", "b" * 32)
        client = self.world.client()
        call = client.call(WORK, "mark", timeout=5)
        says = "nobody who is recorded can be reached, look after them or wait for one (wait_for_ready): "
        error = await self.fails(call, NoRoute)
        self.assertIn(says, str(error))
        told = r"{} at tcp://127\.0\.0\.1:{}, backing off, record \d+\.\d s old: [^;]+"
        self.assertRegex(str(error), f"{told.format('a', 1)}; {told.format('b', 2)}")
        fanout = await client.fanout(Target("work", server="a"), "mark", timeout=5)
        ((_, _, missed),) = fanout.missing
        failed: Deferred[None] = Deferred()
        failed.errback(missed)
        await self.ends(failed, NoRoute, "queued", "the member cannot be reached", numbered=False)

    async def test_silent_member(self):
        """Whose only member does not answer is told so when that is known; who waits, when the time is up."""
        await self.world.stranger("work.a", Peer())
        client = self.world.client()
        began, by_clock = self.world.seconds(), self.world.clock.seconds()
        error = await self.fails(client.call(WORK, "mark", timeout=30), NoRoute)
        self.assertLess(self.world.seconds() - began, 5)
        silent = (
            r"recorded can be reached.* \(wait_for_ready\): a at tcp://[\d.:]+, .*, record \d\.\d s old: no WELCOME "
        )
        self.assertRegex(str(error), f"{silent}within 2 s: stopped, blocked, cut off, or no zmqrpc")
        error = await self.fails(client.call(WORK, "mark", timeout=3, wait_for_ready=True), DeadlineExceeded)
        # Who has waited already is not advised to.
        waited = silent.replace(r" \(wait_for_ready\)", "")
        self.assertRegex(str(error), f"{waited}|the link is connecting: no WELCOME within 2 s: stopped")
        self.assertNotIn("wait_for_ready", str(error))
        self.assertGreater(self.world.clock.seconds() - by_clock, 4.9)

    async def test_no_matchmaker(self):
        self.world.store.go_down()
        call = self.world.client().call(WORK, "mark", timeout=5)
        away = "the matchmaker cannot tell who listens, look after it: the store of this test is down"
        await self.ends(call, MatchmakerUnavailable, "resolving", away, handed=False)
        call = self.world.client().call(WORK, "mark", timeout=5, wait_for_ready=True)
        await self.ends(call, DeadlineExceeded, "resolving", f"its time was up, {away}", handed=False)

    async def test_no_age(self):
        """A record is not said to be gone where only its age is not told."""
        self.patch(Topic, "age", lambda *_: None)
        await self.world.stranger("work.a", Peer())
        error = await self.fails(self.world.client().call(WORK, "mark", timeout=30), NoRoute)
        self.assertRegex(str(error), r"a at tcp://[\d.:]+, [a-z ]+, record of unknown age: no WELCOME")

    async def test_deadline(self):
        await self.begin()
        for stage, timeout in (("acknowledged", 0.2), ("running", 1.2)):
            self.worker.let_go()
            call = await self.holding(timeout=timeout)
            await self.ends(call, DeadlineExceeded, stage, "its time was up", ran="it may have run")

    async def test_deadline_while_it_waits(self):
        client = self.world.client()
        call = client.call(WORK, "mark", timeout=0.2, wait_for_ready=True)
        await self.ends(call, DeadlineExceeded, "resolving", "nobody listens there", handed=False)
        call = client.call(WORK, "mark", timeout=0)
        await self.ends(call, DeadlineExceeded, "resolving", "its timeout was over at once", handed=False)
        await self.world.stranger("work.a", Peer())
        call = client.call(WORK, "mark", timeout=0.5)
        await self.ends(call, DeadlineExceeded, "queued", "the link is connecting", numbered=False)

    async def test_server_lost(self):
        await self.begin()
        call = await self.holding(timeout=20)
        self.world.kill(self.server)
        await self.ends(call, ServerLost, "acknowledged", "the instance that had it is gone: ", ran="it may have run")

    async def test_server_lost_with_its_record(self):
        """Where the record is gone by then, that is said in place of its age."""
        await self.begin(drain_timeout=0.1)
        call = await self.holding(timeout=20)
        await self.world.stop(self.server)
        await self.ends(call, ServerLost, "running", "the server stopped", ran="it may have run", recorded=False)

    async def test_reply_not_kept(self):
        """It ran, and is not sent elsewhere, whatever its caller allows; an older server cannot say so."""
        said = "the method ran; its reply is not kept any more (max_reply_memory)"
        codes = iter((FailureCode.NOT_KEPT, FailureCode.NOT_KEPT, FailureCode.FORGOTTEN))
        await self.answering(lambda message: Reply(message.sequence, None, Failure(next(codes), "ServerLost", said)))
        client = self.world.client()
        for idempotent, ran in ((False, "it ran"), (True, "it ran"), (False, "it may have run")):
            call = client.call(WORK, "mark", timeout=5, idempotent=idempotent)
            await self.ends(call, ServerLost, "running", said, ran=ran)

    async def test_overloaded_here(self):
        await self.world.stranger("work.a", Peer())
        client = self.world.client(max_queued_calls=1)
        first = client.call(WORK, "mark", timeout=0.5)
        await self.world.eventually("it waits", client.node._delivery.links.all)
        call = client.call(WORK, "mark", timeout=0.5)
        await self.ends(call, Overloaded, "queued", "(max_queued_calls, ", numbered=False)
        await self.fails(first, DeadlineExceeded)

    async def test_overloaded_there(self):
        await self.begin(max_running_calls=1)
        held = await self.holding(timeout=20)
        call = self.client.call(WORK, "mark", timeout=5)
        await self.ends(call, Overloaded, "sent", "1 calls running (max_running_calls)")
        self.worker.let_go()
        await held

    async def test_overloaded_before_the_store_answers(self):
        self.world.store.go_down(after=0.5)
        client = self.world.client(max_queued_calls=1)
        first, second = [client.call(WORK, "mark", timeout=0.2) for _ in range(2)]
        await self.ends(
            second, Overloaded, "resolving", "about this topic (max_queued_calls, max_queued_bytes)", handed=False
        )
        await self.fails(first, DeadlineExceeded)

    async def test_draining(self):
        await self.answering(lambda message: Nack(Refusal.DRAINING, [message.sequence] * 2, "bye"))
        client = self.world.client()
        call = client.call(WORK, "mark", timeout=5)
        await self.ends(call, Draining, "resolving", "a at tcp://", "s old: bye", handed=False)
        (answer,) = await client.call_each(WORK, "mark", timeout=5)
        failed: Deferred[None] = Deferred()
        failed.errback(answer.error)
        await self.ends(failed, Draining, "sent", "the member is stopping")

    async def test_not_acknowledged(self):
        await self.answering(lambda message: None)
        client = self.world.client(rpc_ack_timeout_base=0.05, rpc_retry_attempts=1)
        call = client.call(WORK, "mark", timeout=5)
        await self.ends(call, NotAcknowledged, "sent", "sent 2 times and never acknowledged", ran="it may have run")

    async def test_refused_as_unreadable(self):
        await self.answering(lambda message: Nack(Refusal.UNREADABLE, [message.sequence] * 2, "too deep"))
        call = self.world.client().call(WORK, "mark", timeout=5)
        await self.ends(call, DeliveryError, "sent", "unreadable too deep")

    async def test_too_large(self):
        await self.begin(max_message_size=50_000)
        call = self.client.call(WORK, "echo", {"value": bytes(60_000)})
        await self.ends(call, MessageTooLarge, "queued", "for the member (max_message_size there)", numbered=False)
        call = self.client.call(WORK, "give_bytes", {"size": 60_000})
        says = "bytes is over max_message_size of the server (50000)"
        await self.ends(call, MessageTooLarge, "running", says, ran="it ran")
        small = self.world.client(max_message_size=10_000)
        for _ in range(2):
            call = small.call(WORK, "echo", {"value": bytes(20_000)})
            error = await self.fails(call, MessageTooLarge)
            self.assertIn("max_message_size", str(error))
            self.assertNotIn("there", str(error))
            await small.call(WORK, "mark")
        call = small.call(WORK, "give_bytes", {"size": 20_000})
        says = "bytes is over max_message_size of the client (10000)"
        await self.ends(call, MessageTooLarge, "running", says, ran="it ran")

    async def test_encoding(self):
        await self.begin()
        call = self.client.call(WORK, "echo", {"value": [{"row": object()}]})
        says = "argument['value'][0]['row'] is a builtins.object"
        await self.ends(call, EncodingError, "resolving", says, handed=False)
        call = self.client.call(WORK, "give_object")
        says = "the result['list'][1] is a builtins.object"
        await self.ends(call, EncodingError, "running", says, ran="it ran")

    async def test_cancelled(self):
        await self.begin()
        call = await self.holding(timeout=20)
        call.cancel()
        await self.ends(call, Cancelled, "acknowledged", "its caller cancelled it", ran="it may have run")
        call = self.client.call(Target("work", server="a", exchange="other"), "mark", wait_for_ready=True)
        call.cancel()
        error = await self.fails(call, Cancelled)
        self.assertIn("(target other/work.a, member a, stage resolving; it did not run)", str(error))

    async def test_client_closed(self):
        await self.begin()
        call = await self.holding(timeout=20)
        await self.world.stop(self.client.node)
        await self.ends(call, ClientClosed, "acknowledged", "the client was stopped", ran="it may have run")
        call = self.client.call(Target("work"), "mark")
        await self.ends(call, ClientClosed, "resolving", "the node was not started yet, or is stopped", handed=False)
        self.worker.let_go()

    async def test_remote_errors(self):
        await self.begin(Versioned())
        rows: list[tuple[Target, str, Any, str, str, str]] = [
            (WORK, "fail", RemoteError, "running", "ValueError: broken", "it ran"),
            (WORK, "none", NoSuchMethod, "acknowledged", "no endpoint exposes 'none'", "it did not run"),
            (WORK, "add", InvalidArguments, "acknowledged", "the parameter 'a' is missing", "it did not run"),
        ]
        for target, method, error, stage, text, ran in rows:
            await self.ends(self.client.call(target, method), error, stage, text, ran=ran)
        wrong = Target("work", namespace="math", version="9.0")
        call = self.client.call(wrong, "double")
        await self.ends(call, UnsupportedVersion, "acknowledged", "version 9.0 is wanted")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class TextsInMemory(InMemory, TextScenarios, TestCase):
    knows_the_store = True


class TextsOverSockets(OverSockets, TextScenarios, TestCase):
    pass


class CompletenessTests(SynchronousTestCase):
    NOT_YET = frozenset(("AccessDenied", "AuthenticationFailed"))
    """Nothing brings these about yet."""

    def test_every_class_is_looked_at(self):
        """No error that a call can end with is left out above."""
        classes = {
            name
            for name, kind in vars(errors).items()
            if isinstance(kind, type) and issubclass(kind, (DeliveryError, RemoteError))
        }
        with open(__file__, encoding="utf-8") as source:
            looked_at = set(re.findall(r'(\w+), "(?:resolving|queued|sent|acknowledged|running)"', source.read()))
        self.assertEqual(classes - looked_at, self.NOT_YET)

    def test_facts(self):
        """Facts that are not known are left out."""
        rows = [
            (Journey("work"), "target work, stage queued"),
            (
                Journey("work.a", "a", "tcp://h:1", "x/y/3", "sent", 3.21),
                "target work.a, member a, at tcp://h:1, message x/y/3, stage sent, record 3.2 s old",
            ),
            (
                Journey("work", "a", "tcp://h:1", stage="queued"),
                "target work, member a, at tcp://h:1, stage queued, its record is gone",
            ),
            (
                Journey("work", "a", "tcp://h:1", stage="queued", recorded=True),
                "target work, member a, at tcp://h:1, stage queued, record of unknown age",
            ),
            (
                Journey("work", "a", "tcp://h:1", "x/y/3", "sent", 3.21, "p at tcp://p:9"),
                "target work, member a, at tcp://h:1, through router proxy p at tcp://p:9, message x/y/3, stage sent, "
                "record 3.2 s old",
            ),
        ]
        for journey, text in rows:
            self.assertEqual(str(journey), text)
            self.assertEqual(str(NoRoute("No.", journey)), f"No. ({text}; it did not run)")
        self.assertEqual(str(NoRoute("No.")), "No.")
        self.assertEqual(str(RemoteError("ValueError", "bad")), "ValueError: bad")
        self.assertTrue(issubclass(DeadlineExceeded, ZmqRpcError))
