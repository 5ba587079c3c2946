"""Whatever a client finds where a record leads: each call ends, in time, with an error that says what was found."""

import os
import time
from typing import Any

from zmqrpc import Target
from zmqrpc.core.envelope import (
    Ack,
    Beat,
    Call,
    Goaway,
    Hello,
    Nack,
    Ping,
    Pong,
    Refusal,
    Reply,
    Served,
    Welcome,
    encode_message,
)
from zmqrpc.core.envelope import Failure as RemoteFailure
from zmqrpc.errors import DeadlineExceeded, DeliveryError, Draining, MessageTooLarge, NoRoute, RemoteError, ServerLost
from zmqrpc.test.integration.nodes import LIMITS, NodeCase, PretendedServer
from zmqrpc.test.integration.support import TcpServer, eventually, pause
from zmqrpc.test.logs import LogLines
from zmqrpc.test.ports import free_port


class BadServerTests(NodeCase):
    def setUp(self):
        super().setUp()
        self.caller, self.client = self.calling()
        self.counts = self.caller.notices.counts

    def call(self, value="hello", timeout=10.0, **options):
        return self.client.call(self.target, "echo", {"value": value}, timeout=timeout, **options)

    async def no_route(self, address, *texts, within=4.0, instance=None):
        """A call has to end as not executed, long before its deadline."""
        await self.record(address, instance or os.urandom(16))
        begin = time.monotonic()
        error = await self.assertEnds(NoRoute, self.call(), address, *texts)
        self.assertFalse(error.maybe_executed)
        self.assertLess(time.monotonic() - begin, within)
        return error

    async def next_one(self):
        """A true server beside the bad one is used."""
        await self.serve(member="true")
        client = self.caller.client()
        target = self.target.__class__(self.topic, server="true")
        self.assertEqual(await client.call(target, "echo", {"value": "true"}, timeout=5), "true")

    # Where nobody speaks our language

    async def test_refused(self):
        await self.no_route(f"tcp://127.0.0.1:{free_port()}", "connection refused", within=1.0)
        await self.next_one()

    async def test_web_server(self):
        server = TcpServer(self, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await self.no_route(server.address, within=3.0)
        self.assertEqual(self.counts["malformed"], 0)
        await self.next_one()

    async def test_other_banners(self):
        for says in (b"SSH-2.0-OpenSSH_9.2p1\r\n", b"220 mail ESMTP\r\n", b"+PONG\r\n", os.urandom(3000), b"\xff"):
            self.caller, self.client = self.calling()
            server = TcpServer(self, says)
            record = await self.record(server.address, os.urandom(16))
            await self.assertEnds(NoRoute, self.call(), server.address)
            await self._matchmaker.withdraw(record)

    async def test_silence(self):
        """Who accepts the connection and says nothing."""
        await self.no_route(TcpServer(self, b"").address)
        await self.next_one()

    async def test_unresolvable(self):
        await self.no_route("tcp://no-such-host.invalid:5000", "cannot be resolved")

    async def test_bad_address(self):
        await self.no_route("tcp://127.0.0.1:http", "cannot connect")

    # Where somebody does, and is not who is recorded

    async def test_no_welcome(self):
        await self.no_route(PretendedServer(self).address, "no WELCOME within 2 s")
        await self.next_one()

    async def test_bad_version(self):
        """The error names the versions that the server speaks."""

        def refuse(server, sender, message):
            server.say(sender, Nack(Refusal.BAD_VERSION, [], "wire versions 2 to 7 are spoken here, not 1 to 1"))

        server = PretendedServer(self, refuse)
        await self.no_route(server.address, "wire versions 2 to 7 are spoken here", within=1.0)

    async def test_another_instance(self):
        """A record that leads to somebody else, who is a server as well."""
        true = await self.serve(member="other")
        instance = os.urandom(16)
        error = await self.no_route(true.address, "answered in place of", within=1.0, instance=instance)
        self.assertIn(instance.hex(), str(error))
        self.assertIn(true.instance.hex(), str(error))
        self.assertEqual(self.echo.ran, [])

    async def test_another_member(self):
        """A record without an instance that leads to a server of something else: nothing is sent there."""
        true = self.node()
        true.server(Target("other", server="one"), [self.echo])
        true.startService()
        await true.when_ready()
        await self.record(true.address)
        promised = f"it serves 'openstack/other.one', and its record says 'openstack/{self.topic}.one'"
        error = await self.assertEnds(NoRoute, self.call(), true.address, promised, true.instance.hex())
        self.assertFalse(error.maybe_executed)
        self.assertEqual(self.echo.ran, [])

    async def misfit(self, text, named=True, **changes):
        """A WELCOME that is not what the record promises opens no link: nothing but HELLO is said to its sender."""
        server = PretendedServer(self, lambda server, sender, message: server.welcome(sender, **changes))
        if named:
            error = await self.no_route(server.address, text, within=1.0, instance=server.instance)
        else:
            await self.record(server.address)
            error = await self.assertEnds(NoRoute, self.call(), server.address, text)
        self.assertIn(server.instance.hex(), str(error))
        await self.next_one()
        self.assertEqual({type(message) for message in server.heard}, {Hello})

    async def test_welcome_of_another_version(self):
        await self.misfit("it speaks wire version 2, and 1 was offered", version=2)

    async def test_welcome_of_a_client(self):
        await self.misfit("it is a 'client', and its record says server", role="client")

    async def test_welcome_of_a_client_that_is_learned(self):
        await self.misfit("it is a 'client', and its record says server", named=False, role="client")

    async def test_welcome_without_targets(self):
        await self.misfit("it serves nothing, and its record says", named=False)

    async def test_welcome_of_other_targets(self):
        others = [Served("openstack", self.topic, "two"), Served("nova", self.topic, "one"), Served("", "", None)]
        await self.misfit(f"it serves 'openstack/{self.topic}.two', 'nova/", named=False, targets=others)

    async def test_learned(self):
        """A record without an instance is good for whoever lists the target, and WELCOME may be said again."""
        listed = [Served("openstack", "other", "one"), Served("openstack", self.topic, "one")]

        def answer(server, sender, message):
            if isinstance(message, Hello):
                server.welcome(sender, targets=listed)
            elif isinstance(message, Call):
                server.say(sender, Reply(message.sequence, message.sequence))
                server.welcome(sender, targets=listed[: message.sequence % 3])

        server = PretendedServer(self, answer)
        await self.record(server.address)
        self.assertEqual([await self.call() for _ in range(6)], [1, 2, 3, 4, 5, 6])
        self.assertEqual(len([message for message in server.heard if isinstance(message, Hello)]), 1)

    async def test_successor_of_the_learned(self):
        """Who has the address next is used when it serves the same, and not when it serves something else."""
        port = free_port()
        listed = [Served("openstack", self.topic, "one")]

        def serving(targets):
            def answer(server, sender, message):
                if isinstance(message, Hello):
                    server.welcome(sender, targets=targets)
                elif isinstance(message, Call):
                    server.say(sender, Reply(message.sequence, server.instance))

            return answer

        first = PretendedServer(self, serving(listed), port=port)
        await self.record(first.address)
        self.assertEqual(await self.call(), first.instance)
        first.close()
        other = PretendedServer(self, serving([Served("openstack", "other", "one")]), port=port)
        await eventually("its HELLO", lambda: other.heard)
        await self.assertEnds(NoRoute, self.call(), "it serves 'openstack/other.one'", other.instance.hex())
        other.close()
        third = PretendedServer(self, serving(listed), port=port)
        self.assertEqual(await self.call(wait_for_ready=True), third.instance)

    async def test_ourselves(self):
        """A HELLO in answer to a HELLO: connected to itself, or to another client."""

        def greet(server, sender, message):
            server.say(sender, Hello(1, 1, "client", [], LIMITS, []))

        await self.no_route(PretendedServer(self, greet).address, "connected to itself", within=1.0)

    async def test_garbage_for_welcome(self):
        def scold(server, sender, message):
            for payload in (b"", b"junk", os.urandom(100), b"\x91" * 100_000):
                server.socket.send_multipart([sender, payload])
            server.socket.send_multipart([sender, b"a", b"b"])
            server.say(sender, b"\x93\x63\x01\x02", source=server.instance)

        lines = LogLines(self)
        await self.no_route(PretendedServer(self, scold).address, "no WELCOME")
        self.assertGreaterEqual(self.counts["malformed"], 5)
        self.assertLessEqual(len(lines.about("malformed")), 3)

    async def test_odd_welcome(self):
        """A WELCOME of a slow, wrong or lying clock opens the link all the same."""
        for echoed in (0, 2**63, 2**64 - 1):

            def answer(server, sender, message, echoed=echoed):
                if isinstance(message, Hello):
                    server.welcome(sender, echoed=echoed)
                elif isinstance(message, Call):
                    server.say(sender, Reply(message.sequence, "hello"))

            _, self.client = self.calling()
            server = PretendedServer(self, answer)
            record = await self.record(server.address, server.instance)
            self.assertEqual(await self.call(), "hello")
            await self._matchmaker.withdraw(record)

    async def test_tiny_limits(self):
        """A server that takes nothing, or nothing more."""
        for limits, error in (
            ({"message": 0}, MessageTooLarge),
            ({"message": 2**20, "unsettled": 0}, DeadlineExceeded),
        ):

            def answer(server, sender, message, limits=limits):
                if isinstance(message, Hello):
                    server.welcome(sender, limits=limits)

            _, self.client = self.calling()
            server = PretendedServer(self, answer)
            record = await self.record(server.address, server.instance)
            ended = await self.assertEnds(error, self.call(timeout=0.5))
            self.assertFalse(ended.maybe_executed)
            await self._matchmaker.withdraw(record)

    # Where the right one answers, and misbehaves

    async def up(self, answer):
        """Have a link to a server that says WELCOME, and then what the test wants."""

        def first(server, sender, message):
            if isinstance(message, Hello):
                server.welcome(sender)
            else:
                answer(server, sender, message)

        server = PretendedServer(self, first)
        await self.record(server.address, server.instance)
        return server

    async def test_welcome_and_then_nothing(self):
        await self.up(lambda server, sender, message: None)
        begin = time.monotonic()
        error = await self.assertEnds(DeadlineExceeded, self.call(timeout=0.5))
        self.assertTrue(error.maybe_executed)
        self.assertLess(time.monotonic() - begin, 0.7)
        error = await self.assertEnds(DeadlineExceeded, self.call(timeout=3), "answers no PING either")
        self.assertTrue(error.maybe_executed)

    async def test_odd_answers(self):
        """Everything that answers nothing is counted, and the answer that follows is taken."""

        def answer(server, sender, message):
            if not isinstance(message, Call):
                return
            number = message.sequence
            server.say(
                sender,
                *(Reply(number + 1, "of another call"), Ack([0, 2**63]), Beat([5, 1]), Nack(3, [number + 1, 2**63])),
                *(Ping(1), Pong(2**63), Welcome(9, 0, "", [], {}, []), Call(1, 1, 0, 1, "", "", "", "", "", "", {})),
                *(b"\x93\x63\x01\x02", b"\x92\x05\xa1x", b"\xc0", b"\x90"),
            )
            server.socket.send_multipart([sender, b"junk"])
            server.socket.send_multipart([sender, b"two", b"frames"])
            server.say(sender, Reply(number, "forged"), source=os.urandom(16))
            arguments: Any = message.arguments
            server.say(sender, Reply(number, arguments["value"]))

        await self.up(answer)
        for value in ("first", "second"):
            self.assertEqual(await self.call(value), value)
        for name in ("late_reply", "unexpected", "malformed", "wrong_instance"):
            self.assertGreater(self.counts[name], 0, name)

    async def test_odd_failures(self):
        """Codes and reasons that we do not know are read as the specification says."""
        answers = [
            (Reply(1, None, RemoteFailure(999, "New", "what")), RemoteError, True),
            (Reply(2, "both", RemoteFailure(0, "", "")), RemoteError, True),
            (Nack(999, [3, 3], "new reason"), DeliveryError, False),
            (Nack(8, [4, 2**63]), DeliveryError, False),
            (Reply(5, b"\x00", None, "application/x-odd"), DeliveryError, True),
        ]

        def answer(server, sender, message):
            if isinstance(message, Call):
                server.say(sender, answers[message.sequence - 1][0])

        await self.up(answer)
        for _, error, maybe_executed in answers:
            ended = await self.assertEnds(error, self.call())
            self.assertEqual(ended.maybe_executed, maybe_executed, str(ended))

    async def test_requests_for_us(self):
        """A server cannot call its clients."""
        server = await self.up(lambda server, sender, message: None)
        calling = self.call(timeout=1)
        await eventually("the call", lambda: any(isinstance(message, Call) for message in server.heard))
        await self.assertEnds(DeadlineExceeded, calling)

    async def test_goaway_and_then_nothing(self):
        """What was handed over to one that stops ends at its deadline, and the next call hears of it."""
        server = await self.up(
            lambda server, sender, message: server.say(sender, Goaway("bye")) if isinstance(message, Call) else None
        )
        error = await self.assertEnds(DeadlineExceeded, self.call(timeout=0.5))
        self.assertTrue(error.maybe_executed)
        self.assertTrue(any(isinstance(message, Goaway) for message in server.heard))
        error = await self.assertEnds(Draining, self.call(timeout=0.5), "bye")
        self.assertFalse(error.maybe_executed)

    async def test_successor(self):
        """
        Another instance on the port of a dead one does not answer for it.

        What the dead one had may have run: that is what the caller hears, whatever the successor says before it is
        known.
        """
        port = free_port()
        first = PretendedServer(self, lambda server, sender, message: server.open(sender, message), port=port)
        await self.record(first.address, first.instance)
        calling = self.call("for the first")
        await eventually("the call", lambda: any(isinstance(message, Call) for message in first.heard))

        def usurp(server, sender, message):
            if isinstance(message, Hello):
                server.say(sender, Reply(1, "forged"))
                server.say(sender, Nack(Refusal.DRAINING, [1, 1], "forged"), Ack([1, 1]), Reply(1, "forged"))
                server.welcome(sender)

        first.close()
        second = PretendedServer(self, usurp, port=port)
        error = await self.assertEnds(ServerLost, calling)
        self.assertTrue(error.maybe_executed)
        self.assertFalse([message for message in second.heard if isinstance(message, Call)])

    async def test_death(self):
        """A call whose server dies ends as perhaps executed, soon after the second in which it might come back."""
        server = await self.up(lambda server, sender, message: server.open(sender, message))
        calling = self.call("for the dead")
        await eventually("the call", lambda: any(isinstance(message, Call) for message in server.heard))
        begin = time.monotonic()
        server.close()
        error = await self.assertEnds(ServerLost, calling)
        self.assertTrue(error.maybe_executed)
        self.assertLess(time.monotonic() - begin, 1.5)

    async def test_back_again(self):
        """The same instance on a new connection gets its calls again, under their numbers."""
        port = free_port()
        first = PretendedServer(self, lambda server, sender, message: server.open(sender, message), port=port)
        await self.record(first.address, first.instance)
        calling = self.call("twice")
        await eventually("the call", lambda: any(isinstance(message, Call) for message in first.heard))
        first.close()

        def answer(server, sender, message):
            if not server.open(sender, message) and isinstance(message, Call):
                server.say(sender, Reply(message.sequence, [message.sequence, message.attempt]))

        PretendedServer(self, answer, instance=first.instance, port=port)
        self.assertEqual(await calling, [1, 2])
        await pause(0.01)

    async def test_oversize_reply(self):
        """A frame over our limit ends the link, and the call with it."""
        self.caller, self.client = self.calling(max_message_size=100_000)

        def answer(server, sender, message):
            if not server.open(sender, message) and isinstance(message, Call):
                server.socket.send_multipart([sender, b"x" * 200_000])

        await self.up(answer)
        error = await self.assertEnds(DeliveryError, self.call(timeout=3))
        self.assertTrue(error.maybe_executed)

    def test_encodings(self):
        """The raw messages above are what they say: a message of kind 99, and a REPLY whose number is a str."""
        self.assertEqual(encode_message([99, 1, 2]), b"\x93\x63\x01\x02")
        self.assertEqual(encode_message([5, "x"]), b"\x92\x05\xa1x")
