"""What a user's test is told when it waits in vain, fails, or leaves something behind."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, errors
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import MemoryNode, Network, Stuck, Unfinished

WORK = Target("work")


class FailureTestCase(SynchronousTestCase):
    def setUp(self):
        self.network = Network(seed=7)
        self.worker = Worker("one")
        self.server = self.network.serve("work.one", self.worker)
        self.client = self.network.client()

    def call(self, method="hold", timeout=100, **arguments):
        return self.client.call(WORK, method, arguments, timeout=timeout)

    def stuck(self, waited_for, most=5.0):
        """Return the text of a wait that ends in vain."""
        with self.assertRaises(Stuck) as caught:
            self.network.result_of(waited_for, most)
        return str(caught.exception)

    def section(self, text, title):
        """Return the lines of one part of a text."""
        (found,) = re.findall(rf"^{title}:(.*\n(?:  .*\n)*)", f"{text}\n", re.MULTILINE)
        return [line.strip() for line in found.splitlines() if line.strip()]


class Deaf:
    """Takes nothing of what it has asked a connection for."""

    def connection_progressed(self, identity: bytes) -> None:
        pass


class StuckTests(FailureTestCase):
    def test_call(self):
        """The call that was waited for is named, and how far it got."""
        text = self.stuck(self.call(number=3))
        first, *_ = text.splitlines()
        self.assertRegex(
            first, r"^this has not happened after 5 s \(seed 7, at 5\.\d+ s\): call of hold\(number=3\) at work"
        )
        (flying,) = self.section(text, "in flight")
        self.assertRegex(flying, r"client: call of hold\(number=3\) at work, 5 s old: running, ")
        self.assertIn(f"running, runs at one at {self.server.address}, named by it ", flying)
        self.assertEqual(
            self.section(text, "serving"), [f"openstack/work.one at {self.server.address}: running on one"]
        )
        self.assertEqual(self.section(text, "broken"), ["nothing"])
        events = self.section(text, "last events, newest first")
        self.assertRegex(events[0], r"^0\.\d+ s from one to client: ACK arrived$")
        self.assertRegex(events[1], r"^0\.\d+ s from client to one: CALL hold arrived$")

    def test_many(self):
        """What else is in flight is listed, up to a bound, and what has ended is not."""
        self.network.result_of(self.call("add", a=1))
        calls = [self.call(number=number) for number in range(15)]
        flying = self.section(self.stuck(calls[7]), "in flight")
        self.assertEqual(len(flying), 11)
        self.assertIn("hold(number=0)", flying[0])
        self.assertEqual(flying[-1], "and 5 more")
        self.worker.let_go()
        self.network.run(1)
        self.assertEqual(self.section(self.stuck(Deferred()), "in flight"), ["nothing"])

    def test_every_kind(self):
        """Whatever a client was asked is in the list, by positional or named arguments, of a stub as well."""
        self.network.isolate("one")
        self.network.store.go_down(after=1000)
        client = self.network.client(host="other")
        client.cast(WORK, method="add", args={"a": b"x" * 1000}, wait_for_ready=True)
        client.fanout(WORK, "add", wait_for_ready=True)
        client.members(Target("nobody"))
        client.stub(WORK).hold(number=1)
        wrong: Any = [1]
        client.call(WORK, "add", wrong).addErrback(lambda failure: None)
        flying = self.section(self.stuck(Deferred(), 1), "in flight")
        for line, pattern in zip(
            flying,
            (
                r"other: cast of add\(a=b'x+\.\.\.x+'\) at work, 1\.?\d* s old: resolving",
                r"other: fanout of add\(\) at work, ",
                r"other: members of nobody, ",
                r"other: call of hold\(number=1\) at work, .*: resolving",
            ),
            strict=True,
        ):
            self.assertRegex(line, pattern)

    def test_coroutine(self):
        """A coroutine is named by the line that it waits in, however deep."""

        async def deeper() -> object:
            return await self.call(number=1)  # here

        async def scenario() -> object:
            await self.call("add", a=1)
            return await deeper()

        self.assertRegex(
            self.stuck(scenario()), r"at 5\.\d+ s\): return await self\.call\(number=1\)  # here \(/.*:\d+\)"
        )

    def test_condition(self):
        """A condition is named by its line, or as the test says."""
        with self.assertRaisesRegex(Stuck, r"this cannot happen.*: .*run_until\(lambda: 1 > 2.*test_failures\.py:\d+"):
            Network().run_until(lambda: 1 > 2, 1)
        with self.assertRaisesRegex(Stuck, "after 1 s .*: the moon is full\n"):
            self.network.run_until(lambda: False, 1, what="the moon is full")

    def test_odd(self):
        """What has no name is shown as it is."""
        self.assertIn("<Deferred at 0x", self.stuck(Deferred()))

        class Never:
            def __call__(self):
                return False

        with self.assertRaisesRegex(Stuck, "Never object at"):
            self.network.run_until(Never(), 1)

    def test_broken(self):
        """What the test itself has broken is listed."""
        other = self.network.serve("work.two", Worker())
        self.network.cut("client", "one")
        self.network.refuse("one")
        self.network.store.go_read_only()
        other.kill()
        self.network.run_until(lambda: self.server.stopService().called)
        text = self.stuck(Deferred(), 1)
        self.assertEqual(
            self.section(text, "broken"),
            [
                "the store is read-only",
                "nothing gets through from client to one",
                "one refuses connections",
                "a node on one is stopped",
                "a node on two is killed",
            ],
        )
        self.network.store.forget()
        serving = self.section(self.stuck(Deferred(), 1), "serving")
        self.assertIn(f"{other.address}: killed on two, without a record", serving)
        self.network.store.go_down()
        self.assertIn("the store is down", self.section(self.stuck(Deferred(), 1), "broken"))

    def test_link(self):
        """A call that waits for a connection says so, and why there is none."""
        self.network.isolate("one")
        (flying,) = self.section(self.stuck(self.call(), 1), "in flight")
        self.assertRegex(flying, r": queued, waits for a connection to one at .*, which has not answered HELLO$")
        self.network.heal()
        self.network.refuse("one")
        text = self.stuck(self.client.call(WORK, "add", {"a": 1}, timeout=50, wait_for_ready=True), 20)
        self.assertIn("from one to client: refused of a connection arrived", text)

    def test_strangers(self):
        """What arrives and is no batch of ours is counted in bytes."""
        transport = self.network.transport("stranger")
        transport.open(lambda: None)
        received: Any = Deaf()
        router = transport.connecting_router(received)
        port = str(self.server.address).rpartition(":")[2]
        identity = router.connect(f"tcp://{self.network.address_of('one')}:{port}")
        router.send(identity, b"what is this")
        text = self.stuck(Deferred(), 1)
        self.assertIn("from stranger to one: 12 bytes that cannot be read arrived", text)


class NoteTests(FailureTestCase):
    def test_delivery(self):
        """A call that was not answered brings who serves, as notes, which unittest and pytest show."""
        with self.assertRaises(errors.NoRoute) as caught:
            self.network.result_of(self.client.call(Target("wrok"), "add"))
        (note,) = caught.exception.__notes__
        when, *lines = note.splitlines()
        self.assertRegex(when, r"^in memory, seed 7, at 0\.\d+ s$")
        serving = f"  openstack/work.one at {self.server.address}: running on one"
        self.assertEqual(lines, ["serving:", serving, "broken: nothing"])

    def test_raised(self):
        """What the method raised is said by itself."""
        with self.assertRaises(errors.RemoteError) as caught:
            self.network.result_of(self.call("fail"))
        self.assertFalse(hasattr(caught.exception, "__notes__"))
        self.flushLoggedErrors(ValueError)


class CloseTests(FailureTestCase):
    def left(self):
        """Return what a test is told that it has left."""
        with self.assertRaises(Unfinished) as caught:
            self.network.close()
        first, *lines = str(caught.exception).splitlines()
        self.assertRegex(first, r"^the test has ended \(seed 7, at \d+\.\d+ s\), and:$")
        return lines

    def test_tidy(self):
        """A test that waits for its calls leaves nothing, and need not stop anything."""
        self.network.result_of(self.call("add", a=1))
        self.network.close()
        self.assertEqual([node.state for node in self.network.nodes], ["stopped", "stopped"])
        self.network.close()

    def test_call(self):
        """A call that nobody waited for is named, and its failure is nobody's."""
        self.call("add", a=1)
        self.network.run(1)
        self.call(number=1)
        self.network.run(2)
        (line,) = self.left()
        self.assertRegex(
            line, r"^  this has not ended, wait for it or cancel it: call of hold\(number=1\) at work, 2 s old: "
        )
        self.assertEqual(self.flushLoggedErrors(), [])
        self.network.close()

    def test_cancelled(self):
        """One that was cancelled has ended."""
        call = self.call(number=1)
        call.addErrback(lambda failure: None)
        call.cancel()
        self.network.close()

    def test_timer(self):
        """A timer that an endpoint or a test has left is named."""
        deferLater(self.server.clock, 1000, lambda: None)
        self.network.clock.callLater(500, self.fail)
        lines = self.left()
        self.assertEqual(len(lines), 2)
        self.assertIn("this is still to come, cancel it before the end: <DelayedCall", lines[0])
        self.network.run(2000)

    def test_expected(self):
        """What a double was to be asked, and was not, is named."""
        bank = self.network.fake("bank", "pay")
        bank.expect("pay", sum=5)
        self.assertEqual(
            self.left(),
            [
                "  bank was to be called, and was not: pay(sum=5), which returns None",
                "  bank was called in this order: not at all",
            ],
        )

    def test_whatever_is_broken(self):
        """Faults of the test do not keep it from ending, and take no real time."""
        self.network.result_of(self.call("add", a=1))
        self.network.isolate("one")
        self.network.store.go_down(after=50)
        dead, stopping = self.network.nodes[0], MemoryNode(self.network)
        stopping.startService()
        stopping.stopService()
        MemoryNode(self.network)
        self.network.serve("work.two", Worker()).kill()
        self.network.run(1)
        self.network.close()
        self.assertEqual(
            [node.state for node in self.network.nodes if node is not dead][-3:], ["stopped", "not started", "killed"]
        )

    def test_after_a_failure(self):
        """When a wait has ended in vain, that is the error to see."""
        self.stuck(self.call(number=1))
        self.network.close()

    def test_context_manager(self):
        """It closes itself, and does not hide what failed inside."""
        with self.assertRaises(Unfinished), self.network:
            self.call(number=1)
        with self.assertRaisesRegex(ZeroDivisionError, "the real one"), Network() as network:
            network.serve("work.one", Worker())
            network.client().call(WORK, "hold")
            raise ZeroDivisionError("the real one")
        self.assertEqual([node.state for node in network.nodes], ["stopped", "stopped"])
