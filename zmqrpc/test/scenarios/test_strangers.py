"""Peers that are no Nodes, or not as they should be: each has a specified outcome, and nobody else suffers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as TwistedTimeoutError
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import (
    Call,
    Cancel,
    Cast,
    Fanout,
    Goaway,
    Hello,
    Nack,
    Ping,
    Refusal,
    Reply,
    Served,
    Welcome,
    encode_message,
)
from zmqrpc.errors import Cancelled, DeadlineExceeded, Draining, NoRoute, ServerLost
from zmqrpc.server import RPCServer
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")
STRANGER = bytes.fromhex("5" * 32)
GARBAGE = [b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\xc1" * 100, b"\x97\x01", bytes(range(256)) * 50]


class Peer:
    """A peer that answers as a test says; it takes the place of a receiver."""

    def __init__(self, answer: Any = lambda identity, batch: None) -> None:
        self.batches: list[Any] = []
        self.losses: list[Any] = []
        self.answer = answer

    def payload_received(self, identity, payload):
        batch = decode_batch(payload)
        self.batches.append(batch)
        self.answer(identity, batch)
        return 1

    def malformed_received(self, identity, reason):
        pass

    def handshake_failed(self, peer, reason):
        pass

    def connection_progressed(self, identity):
        pass

    def connection_lost(self, identity, reason):
        self.losses.append(reason)

    def messages(self):
        return [message for batch in self.batches for message in batch.messages]

    def kinds(self):
        return [type(message) for message in self.messages()]


class StrangerScenarios(Scenario):
    def batch(self, *messages, source=STRANGER, destination=None, sent=None, settled=()):
        if sent is None:
            sent = int(self.world.clock.seconds() * 1000)
        return encode_batch(source, destination, sent, settled, [encode_message(message) for message in messages])

    async def caller(self, node):
        """Connect to a node as a client that only does what the test says; return how it writes, and what it hears."""
        peer = Peer()
        router = self.world.caller(peer)
        identity = router.connect(await self.world.numeric(node.address))
        return lambda payload: router.send(identity, payload), peer

    def hello(self, lowest=1, highest=1, **options):
        return self.batch(Hello(lowest, highest, "client", [], {}, []), **options)

    def call(self, sequence, method="mark", number=0):
        return Call(sequence, 1, 1, 60_000, "openstack", "work", None, None, None, method, {"number": number})

    # Members.

    async def test_silent_member(self):
        """A member that accepts and says nothing costs a call no more than its deadline."""
        await self.world.stranger("work.silent", Peer())
        client = self.world.client()
        began = self.world.seconds()
        error = await self.fails(client.call(WORK, "mark", timeout=0.3), DeadlineExceeded)
        self.assertFalse(error.maybe_executed)
        self.assertLess(self.world.seconds() - began, 0.5)

    async def test_silent_member_among_others(self):
        """Calls that wait for a member which says nothing go to another when it is given up."""
        await self.world.stranger("work.silent", Peer())
        worker = await self.member("a")
        client = self.world.client()
        calls = [client.call(WORK, "mark", {"number": number}, timeout=8) for number in range(6)]
        self.assertEqual([await call for call in calls], ["a"] * 6)
        self.assertEqual(sorted(worker.ran), list(range(6)))

    async def test_member_that_falls_silent(self):
        """A member that was welcoming and then says nothing ends a call at its deadline, as perhaps executed."""
        router: Any = None

        def answer(identity, batch):
            if type(batch.messages[0]) is Hello:
                router.send(
                    identity, self.batch(Welcome(1, batch.sent, "server", [], {}, []), destination=batch.source)
                )

        peer = Peer(answer)
        router = await self.world.stranger("work.silent", peer)
        client = self.world.client()
        error = await self.fails(client.call(WORK, "mark", timeout=0.3), DeadlineExceeded)
        self.assertTrue(error.maybe_executed)
        self.assertIn(Call, peer.kinds())

    async def draining_stranger(self):
        """Make a member that welcomes, and refuses every request since it stops, without having said GOAWAY."""
        router: Any = None

        def answer(identity, batch):
            for message in batch.messages:
                if type(message) is Hello:
                    reply: Any = Welcome(1, batch.sent, "server", [], {}, [])
                elif type(message) in (Call, Cast, Fanout):
                    reply = Nack(Refusal.DRAINING, [message.sequence, message.sequence], "bye")
                else:
                    continue
                router.send(identity, self.batch(reply, destination=batch.source))

        router = await self.world.stranger("work.stops", Peer(answer))

    async def test_member_that_drains(self):
        """What one that stops refuses ends as draining when there is nobody else; it did not run."""
        await self.draining_stranger()
        client = self.world.client()
        for send in (client.call, client.cast):
            error = await self.fails(send(WORK, "mark", timeout=5), Draining)
            self.assertFalse(error.maybe_executed)
            self.assertIn("stops at tcp://", str(error))
            self.assertIn("bye", str(error))
        [(_, _, error)] = (await client.fanout(WORK, "mark", timeout=5)).missing
        self.assertIsInstance(error, Draining)
        dead = await self.member("dead")
        self.world.kill(dead.node)
        error = await self.fails(client.call(WORK, "mark", timeout=5), Draining)
        self.assertIn("dead at tcp://", str(error))

    async def test_member_that_drains_among_others(self):
        """What one that stops refuses is run by another."""
        await self.draining_stranger()
        await self.member("a")
        client = self.world.client()
        calls = [client.call(WORK, "mark", {"number": number}, timeout=8) for number in range(6)]
        self.assertEqual([await call for call in calls], ["a"] * 6)

    async def test_member_that_drains_comes_last(self):
        """A call that a lost member may have run is lost when only one is left which stops, and says so."""
        worker = await self.member("a")
        client = self.world.client()
        call = client.call(WORK, "hold", timeout=8, idempotent=True)
        await self.world.eventually("it runs", lambda: worker.held)
        await self.draining_stranger()
        self.world.kill(worker.node)
        error = await self.fails(call, ServerLost)
        self.assertTrue(error.maybe_executed)
        self.assertIn("only members that are stopping could take it", str(error))

    async def test_fanout_is_cancelled(self):
        """It ends as cancelled, also where nobody has it yet, and takes back what nobody has acknowledged."""
        router: Any = None
        welcomes = False

        def answer(identity, batch):
            if welcomes and type(batch.messages[0]) is Hello:
                router.send(
                    identity, self.batch(Welcome(1, batch.sent, "server", [], {}, []), destination=batch.source)
                )

        peer = Peer(answer)
        router = await self.world.stranger("work.silent", peer)
        client = self.world.client()
        waiting = client.fanout(Target("nobody"), "mark", wait_for_ready=True)
        queued = client.fanout(WORK, "mark")
        await self.world.eventually("the HELLO", lambda: peer.batches)
        for fanout in (waiting, queued):
            fanout.cancel()
            error = await self.fails(fanout, Cancelled)
            self.assertIsInstance(error, CancelledError)
            self.assertFalse(error.maybe_executed)

        welcomes = True
        worker = await self.member("a")
        client = self.world.client()
        sent = client.fanout(WORK, "mark", {"number": 5})
        await self.world.eventually("all have it", lambda: worker.ran and Fanout in peer.kinds())
        await self.world.sleep(0.1)
        sent.cancel()
        error = await self.fails(sent, Cancelled)
        self.assertTrue(error.maybe_executed)
        self.assertIn("1 of 2 members", str(error))
        await self.world.eventually("the CANCEL", lambda: Cancel in peer.kinds())
        self.assertEqual(worker.ran, [5])

    async def test_fanout_times_out(self):
        """`addTimeout` works on a fan-out as on every Deferred."""
        await self.world.stranger("work.silent", Peer())
        fanout = self.world.client().fanout(WORK, "mark")
        fanout.addTimeout(0.1, self.world.clock)
        await self.fails(fanout, TwistedTimeoutError)

    async def test_member_that_talks_nonsense(self):
        """What a member sends that cannot be read is dropped and counted, and what is good is taken."""
        router: Any = None

        def answer(identity, batch):
            for garbage in GARBAGE:
                router.send(identity, garbage)
            for message in batch.messages:
                if type(message) is Hello:
                    welcome = Welcome(1, batch.sent, "server", [], {}, [])
                    router.send(identity, self.batch(welcome, destination=batch.source))
                elif type(message) is Call:
                    stray = [
                        Reply(message.sequence + 1, "wrong"),
                        self.call(1),
                        Ping(1, None),
                        Welcome(1, 0, "x", [], {}, []),
                    ]
                    reply = Reply(message.sequence, "good")
                    router.send(identity, self.batch(*stray, reply, reply, destination=batch.source))

        router = await self.world.stranger("work.loud", Peer(answer))
        client = self.world.client()
        for _ in range(3):
            self.assertEqual(await client.call(WORK, "mark", timeout=5), "good")
        self.assertGreater(client.node.notices.counts["malformed"], 10)

    async def test_member_of_another_version(self):
        """A member that speaks no version of ours is named in the error."""
        router: Any = None

        def answer(identity, batch):
            nack = Nack(Refusal.BAD_VERSION, [], "wire versions 7 to 9 are spoken here")
            router.send(identity, self.batch(nack, destination=batch.source))

        router = await self.world.stranger("work.new", Peer(answer))
        error = await self.fails(self.world.client().call(WORK, "mark", timeout=5), NoRoute)
        self.assertIn("7 to 9", str(error))

    async def welcoming(self, target, welcome, instance=""):
        """Register a member that says this WELCOME and serves what it lists; return what it hears, and its voice."""
        router: Any = None
        source = bytes.fromhex(instance) or STRANGER
        identities: list[Any] = []

        def say(*messages):
            router.send(identities[-1], self.batch(*messages, source=source, destination=peer.batches[-1].source))

        def answer(identity, batch):
            served = {(target.exchange, target.topic) for target in welcome.targets}
            for message in batch.messages:
                if type(message) is Hello:
                    identities.append(identity)
                    welcome.echoed = batch.sent
                    say(welcome)
                elif type(message) is Call and (message.exchange, message.topic) in served:
                    say(Reply(message.sequence, "good"))
                elif type(message) is Call:
                    say(Nack(Refusal.NOT_SERVED, [message.sequence, message.sequence], "not here"))

        peer = Peer(answer)
        router = await self.world.stranger(target, peer, instance)
        return peer, say

    async def test_members_that_are_not_what_their_record_says(self):
        """A WELCOME that does not keep what the record promises opens no link; the error says what was found."""
        other = Served("openstack", "work", "other")
        # whether the record names the instance, the WELCOME, what the error says
        rows = [
            (True, Welcome(2, 0, "server", [], {}, []), "it speaks wire version 2, and 1 was offered"),
            (True, Welcome(1, 0, "client", [], {}, []), "it is a 'client', and its record says server"),
            (False, Welcome(1, 0, "router", [], {}, []), "it is a 'router', and its record says server"),
            (False, Welcome(1, 0, "server", [], {}, []), "it serves nothing, and its record says 'openstack/work3.m'"),
            (False, Welcome(1, 0, "server", [], {}, [other]), "it serves 'openstack/work.other', and its record says"),
        ]
        client = self.world.client()
        for number, (named, welcome, says) in enumerate(rows):
            peer, _ = await self.welcoming(f"work{number}.m", welcome, f"{number + 1:032x}" if named else "")
            began = self.world.seconds()
            error = await self.fails(client.call(Target(f"work{number}"), "mark", timeout=8), NoRoute)
            self.assertIn(f"answered: {says}", str(error))
            self.assertFalse(error.maybe_executed)
            self.assertLess(self.world.seconds() - began, 1)
            self.assertNotIn(Call, peer.kinds())

    async def test_member_that_is_not_what_its_record_says_among_others(self):
        """What waits for such a member goes to another."""
        peer, _ = await self.welcoming("work.m", Welcome(1, 0, "server", [], {}, []))
        worker = await self.member("a")
        client = self.world.client()
        calls = [client.call(WORK, "mark", {"number": number}, timeout=8) for number in range(6)]
        self.assertEqual([await call for call in calls], ["a"] * 6)
        self.assertEqual(sorted(worker.ran), list(range(6)))
        self.assertNotIn(Call, peer.kinds())

    async def test_member_whose_instance_is_learned(self):
        """A record that names no instance leads to whoever has the address and lists the target in its WELCOME."""
        targets = [Served("openstack", "other", "m"), Served("openstack", "work", "m")]
        peer, say = await self.welcoming("work.m", Welcome(1, 0, "server", [], {}, targets))
        client = self.world.client()
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "good")
        self.assertEqual((peer.batches[0].destination, peer.batches[-1].destination), (None, STRANGER))

        # Said again, it changes nothing about the link that is open, whatever it says.
        for again in ([], targets[:1], targets):
            say(Welcome(1, 0, "server", [], {}, again))
            self.assertEqual(await client.call(WORK, "mark", timeout=5), "good")
        say(Welcome(2, 0, "client", [], {"message": 1}, []))
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "good")
        self.assertEqual(peer.kinds().count(Hello), 1)
        await self.world.eventually("the count", lambda: client.node.notices.counts["unexpected"] == 1)

    async def test_server_of_something_else(self):
        """A fixed table with a wrong line: nothing runs at the server that has the address."""
        worker = Worker("a")
        node = await self.world.serve("other.a", worker)
        await self.world.record("work.a", node.address)
        client = self.world.client()
        error = await self.fails(client.call(WORK, "mark", timeout=5), NoRoute)
        self.assertIn("it serves 'openstack/other.a', and its record says 'openstack/work.a'", str(error))
        self.assertEqual(worker.ran, [])

    async def test_server_that_adds_what_its_record_says(self):
        """A link that was refused opens once the server lists what the record promises, and not again for more."""
        node = await self.world.serve("other.a", Worker("other"))
        await self.world.record("work.a", node.address)
        client = self.world.client()
        await self.fails(client.call(WORK, "mark", timeout=5), NoRoute)
        worker = Worker("a")
        node._callers.add(RPCServer(Target("work", server="a", exchange="openstack"), [worker], node._threads))
        self.assertEqual(await client.call(WORK, "mark", timeout=8, wait_for_ready=True), "a")
        node._callers.add(RPCServer(Target("more", server="a", exchange="openstack"), [worker], node._threads))
        await self.world.sleep(0.05)
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "a")

    async def test_record_that_is_mended(self):
        """What a record promises may change without another link: the next WELCOME is held against the new one."""
        welcome = Welcome(1, 0, "server", [], {}, [Served("openstack", "work", "right")])
        await self.welcoming("work.wrong", welcome)
        [wrong] = self.world.store.records()
        client = self.world.client()
        await self.fails(client.call(WORK, "mark", timeout=5), NoRoute)
        await self.world.record("work.right", wrong.addresses[0])
        self.assertEqual(await client.call(WORK, "mark", timeout=8, wait_for_ready=True), "good")

    async def test_one_instance_at_two_addresses(self):
        """A fixed table that leads to one instance twice opens one link to it, and each call has its own answer."""
        worker = Worker("m")
        node = await self.world.serve("other.a", worker)
        for topic in ("one", "two"):
            node._callers.add(RPCServer(Target(topic, server="m", exchange="openstack"), [worker], node._threads))
        first = await self.world.record("one.m", node.address)
        numeric = await self.world.numeric(node.address)
        spelling = numeric if numeric != node.address else numeric.replace("127.0.0.1", "localhost")
        await self.world.record("two.m", spelling)
        client = self.world.client()
        for number in range(5):
            self.assertEqual(await client.call(Target("one"), "echo", {"value": number}, timeout=5), number)
        # What tries to be a second link takes the server's attention for a moment.
        await self.world.sleep(1.1)
        error = await self.fails(client.call(Target("two"), "echo", {"value": 99}, timeout=5), NoRoute)
        self.assertIn(f"{node.address} leads there already", str(error))
        for number in range(5):
            self.assertEqual(await client.call(Target("one"), "echo", {"value": number}, timeout=5), number)

        # Once the table is mended the other address may lead there, and no number is used twice.
        await self.world.store.matchmaker().withdraw(first)
        later = client.call(Target("two"), "echo", {"value": 99}, timeout=9, wait_for_ready=True)
        self.assertEqual(await later, 99)

    async def test_several_targets_at_one_address(self):
        """One line of a fixed table that is wrong does not keep the others of its address from being used."""
        welcome = Welcome(1, 0, "server", [], {}, [Served("openstack", "more", "m")])
        await self.welcoming("work.m", welcome)
        [record] = self.world.store.records()
        await self.world.record("more.m", record.addresses[0])
        client = self.world.client()
        calls = [client.call(WORK, "mark", timeout=5), client.call(Target("more"), "mark", timeout=5)]
        error = await self.fails(calls[0], NoRoute)
        self.assertEqual(await calls[1], "good")
        self.assertIn("not here", str(error))
        self.assertEqual(await client.call(Target("more"), "mark", timeout=5), "good")

    async def test_member_that_serves_no_more(self):
        """A record that vanishes is kept as long as its instance says that it serves that member."""
        router: Any = None
        hello: Any = None

        def welcome(*targets):
            sent, identity, source = hello
            router.send(identity, self.batch(Welcome(1, sent, "server", [], {}, [*targets]), destination=source))

        def answer(identity, batch):
            nonlocal hello
            for message in batch.messages:
                if type(message) is Hello:
                    hello = batch.sent, identity, batch.source
                    welcome(Served("openstack", "work", "part", None), Served("openstack", "work", "other", None))
                elif type(message) is Call:
                    router.send(identity, self.batch(Reply(message.sequence, "here"), destination=batch.source))

        router = await self.world.stranger("work.part", Peer(answer))
        client = self.world.client()
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "here")
        self.world.store.forget()
        await self.world.sleep(0.05)
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "here")
        welcome(Served("openstack", "work", "other", None))
        await self.world.sleep(0.05)
        await self.fails(client.call(WORK, "mark", timeout=5), NoRoute)
        self.assertEqual(await client.members(WORK), [])

    async def test_member_that_leaves_and_is_recorded_again(self):
        """A member that said it stops gets nothing new, though its record vanishes and comes back meanwhile."""
        router: Any = None

        def answer(identity, batch):
            for message in batch.messages:
                if type(message) is Hello:
                    welcome = Welcome(1, batch.sent, "server", [], {}, [Served("openstack", "work", "leaving")])
                    router.send(identity, self.batch(welcome, destination=batch.source))
                elif type(message) is Call:
                    leave = [Reply(message.sequence, "here"), Goaway("stopping")]
                    router.send(identity, self.batch(*leave, destination=batch.source))

        router = await self.world.stranger("work.leaving", Peer(answer))
        client = self.world.client()
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "here")
        [record] = self.world.store.records()
        for change in (self.world.store.forget, lambda: self.world.store.matchmaker().register(record, 300)):
            change()
            await self.world.sleep(0.05)
            error = await self.fails(client.call(WORK, "mark", timeout=1), Draining)
        self.assertIn("stopping", str(error))

    async def test_member_that_is_doubted(self):
        """The matchmaker hears of a member that cannot be reached again and again, and when it answers after all."""
        router: Any = None
        answers = [Nack(Refusal.BAD_VERSION, [], "not yet")] * 3

        def answer(identity, batch):
            for message in batch.messages:
                if type(message) is Hello:
                    welcome = Welcome(1, batch.sent, "server", [], {}, [])
                    router.send(identity, self.batch(answers.pop() if answers else welcome, destination=batch.source))

        router = await self.world.stranger("work.late", Peer(answer))
        client = self.world.client()
        await self.fails(client.call(WORK, "mark", timeout=5), NoRoute)
        self.assertEqual(self.world.store.hints, [])
        await self.world.eventually("the WELCOME", lambda: len(self.world.store.hints) > 1)
        await self.world.sleep(0.5)
        [record] = self.world.store.records()
        self.assertEqual(self.world.store.hints, [(record, "not yet"), (record, None)])

    # Clients, and those who are none.

    async def test_knock(self):
        """Who does not speak ZeroMQ's protocol is counted, and nobody else notices."""
        worker = await self.member("a")
        for number in range(1, 4):
            self.world.knock(worker.node.address)
            counts = worker.node.notices.counts
            await self.world.eventually("the count", lambda: counts["handshake_failed"] == number)  # noqa: B023
            self.assertEqual(await self.world.client().call(WORK, "mark"), "a")

    async def test_client_that_talks_nonsense(self):
        """Garbage is counted and dropped, and the next valid message is served, from this client and others."""
        worker = await self.member("a")
        write, peer = await self.caller(worker.node)
        for garbage in GARBAGE:
            write(garbage)
        write(self.hello())
        await self.world.eventually("the WELCOME", lambda: Welcome in peer.kinds())
        instance = peer.batches[-1].source
        for garbage in GARBAGE:
            write(garbage)
        write(self.batch(self.call(1, number=5), destination=instance))
        await self.world.eventually("the REPLY", lambda: Reply in peer.kinds())
        self.assertEqual(worker.node.notices.counts["malformed"], 2 * len(GARBAGE))
        self.assertEqual(await self.world.client().call(WORK, "mark"), "a")
        self.assertEqual(worker.ran, [5, 0])

    async def test_client_of_another_version(self):
        """A client without a common version is told which are spoken."""
        worker = await self.member("a")
        write, peer = await self.caller(worker.node)
        write(self.hello(7, 9))
        await self.world.eventually("the NACK", peer.messages)
        [nack] = peer.messages()
        self.assertEqual((type(nack), nack.reason), (Nack, Refusal.BAD_VERSION))

    async def test_client_that_says_hello_and_nothing(self):
        """It keeps nobody from anything, and a stop of the server does not wait for it for long."""
        worker = await self.member("a", drain_timeout=5)
        write, peer = await self.caller(worker.node)
        write(self.hello())
        await self.world.eventually("the WELCOME", lambda: Welcome in peer.kinds())
        self.assertEqual(await self.world.client().call(WORK, "mark"), "a")
        began = self.world.seconds()
        await self.world.stop(worker.node)
        self.assertIn(Goaway, peer.kinds())
        self.assertLess(self.world.seconds() - began, 3)

    async def test_without_hello(self):
        """What comes over a connection without HELLO does not run; it is answered, so that its client begins anew."""
        worker = await self.member("a")
        for message in (self.call(1), Ping(1, None)):
            write, peer = await self.caller(worker.node)
            write(self.batch(message, destination=worker.node.instance))
            await self.world.eventually("the NACK", peer.messages)
            [nack] = peer.messages()
            self.assertEqual((type(nack), nack.reason), (Nack, Refusal.WRONG_INSTANCE))
        self.assertEqual(worker.ran, [])

    async def test_for_another_instance(self):
        """What is meant for another instance does not run; who asks with HELLO is told who is here."""
        worker = await self.member("a")
        write, peer = await self.caller(worker.node)
        write(self.hello(destination=b"x" * 16))
        await self.world.eventually("the WELCOME", lambda: Welcome in peer.kinds())
        self.assertEqual(peer.batches[0].source, worker.node.instance)
        write(self.batch(self.call(1), destination=b"x" * 16))
        await self.world.eventually("the NACK", lambda: Nack in peer.kinds())
        self.assertEqual(worker.ran, [])

    async def test_repeated(self):
        """A message that comes again is answered from memory and does not run again, settled or not."""
        worker = await self.member("a")
        write, peer = await self.caller(worker.node)
        write(self.hello())
        for replies in range(1, 4):
            write(self.batch(self.call(1, number=7), destination=worker.node.instance))
            await self.world.eventually("the reply", lambda: peer.kinds().count(Reply) == replies)  # noqa: B023
        write(self.batch(self.call(1), self.call(2, number=8), destination=worker.node.instance, settled=(1,)))
        await self.world.eventually("the last reply", lambda: peer.kinds().count(Reply) == 4)
        self.assertEqual(worker.ran, [7, 8])

    async def test_old_hello(self):
        """A HELLO of an earlier connection that is read late does not take the answers from the later one."""
        worker = await self.member("a")
        now = int(self.world.clock.seconds() * 1000) + 10_000
        write, peer = await self.caller(worker.node)
        write(self.hello(sent=now))
        await self.world.eventually("the WELCOME", lambda: Welcome in peer.kinds())
        late, other = await self.caller(worker.node)
        late(self.hello(sent=now - 5))
        await self.world.eventually("its WELCOME", lambda: Welcome in other.kinds())
        write(self.batch(self.call(1), destination=worker.node.instance, sent=now + 1))
        await self.world.eventually("the REPLY", lambda: Reply in peer.kinds())
        self.assertNotIn(Reply, other.kinds())

    async def test_expired(self):
        """A message whose time was up on its way does not run."""
        worker = await self.member("a")
        write, peer = await self.caller(worker.node)
        write(self.hello(sent=100_000))
        await self.world.eventually("the WELCOME", lambda: Welcome in peer.kinds())
        write(self.batch(self.call(1), destination=worker.node.instance, sent=100_000 - 60_001))
        await self.world.eventually("the answer", lambda: len(peer.messages()) > 1)
        nack = peer.messages()[-1]
        self.assertEqual((type(nack), nack.reason), (Nack, Refusal.EXPIRED))
        self.assertEqual(worker.ran, [])

    async def test_unknown_kind(self):
        """A message of a kind from the future is refused by itself, and its neighbours are served."""
        worker = await self.member("a")
        write, peer = await self.caller(worker.node)
        write(self.hello())
        await self.world.eventually("the WELCOME", lambda: Welcome in peer.kinds())
        unknown = b"\x93\x63\x05\xa3xyz"  # [99, 5, "xyz"]
        sent = int(self.world.clock.seconds() * 1000)
        encoded = [unknown, encode_message(self.call(1, number=3))]
        write(encode_batch(STRANGER, worker.node.instance, sent, (), encoded))
        await self.world.eventually("the REPLY", lambda: Reply in peer.kinds())
        await self.world.eventually("the NACK", lambda: Nack in peer.kinds())
        nack = next(message for message in peer.messages() if type(message) is Nack)
        self.assertEqual((nack.reason, nack.ranges), (Refusal.UNREADABLE, [5, 5]))
        self.assertEqual(worker.ran, [3])


class StrangersInMemory(InMemory, StrangerScenarios, TestCase):
    pass


class StrangersOverSockets(OverSockets, StrangerScenarios, TestCase):
    pass
