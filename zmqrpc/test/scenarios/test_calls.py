"""One client, one server: what comes back from a call, a cast and a stub."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.core.batch import BATCH_OVERHEAD
from zmqrpc.errors import (
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    EncodingError,
    InvalidArguments,
    MessageTooLarge,
    NoSuchMethod,
    RemoteError,
    UnsupportedVersion,
)
from zmqrpc.test.scenarios.endpoints import Versioned, Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class CallScenarios(Scenario):
    async def begin(self, **options):
        self.worker = Worker("one")
        self.server = await self.world.serve("work.one", self.worker, Versioned(), **options)
        self.client = self.world.client(**options)

    async def test_kinds_of_methods(self):
        """A method may answer at once, by a Deferred, or be asynchronous."""
        await self.begin()
        for method in ("add", "add_later", "add_async"):
            self.assertEqual(await self.client.call(WORK, method, {"a": 1, "b": 2}), 3, method)
        self.assertEqual(await self.client.call(WORK, "add", {"a": 1}), 11)

    async def test_values(self):
        """Values cross the wire as they are."""
        await self.begin()
        value: object = [None, True, -(2**63), 2**64 - 1, 1.5, "\N{SNOWMAN}", b"\0\xff", {"a": {"b": []}}]
        self.assertEqual(await self.client.call(WORK, "echo", {"value": value}), value)
        self.assertEqual(await self.client.call(WORK, "echo", {"value": (1, 2)}), [1, 2])

    async def test_context(self):
        """The caller's context is the method's first argument; without one it is empty."""
        await self.begin()
        context = {"user": "ada", "roles": ["admin"]}
        self.assertEqual(await self.client.call(WORK, "tell_context", context=context), context)
        self.assertEqual(await self.client.call(WORK, "tell_context"), {})

    async def test_stub(self):
        """A stub's methods are the server's."""
        await self.begin()
        self.assertEqual(await self.client.stub(WORK).add(a=1, b=2), 3)
        error = self.assertRaises(TypeError, self.client.stub(WORK).add, 1, 2)
        self.assertIn("add() takes its arguments by name", str(error))
        self.assertEqual(await self.client.stub(Target("work", namespace="math", version="2.1")).double(a=4), 8)

    async def test_runs_for_longer_than_silence_may_last(self):
        """Who runs a call says so, or is asked."""
        worker = await self.member("a")
        client = self.world.client()
        call = client.call(WORK, "hold", call_monitor_timeout=0.3)
        await self.world.sleep(0.9)
        worker.let_go()
        self.assertEqual(await call, "a")
        self.assertEqual(worker.ran, [0])

    async def test_cast(self):
        """A cast ends when its member has it; its method runs, and what it returns or raises is nobody's."""
        await self.begin()
        self.assertIsNone(await self.client.cast(WORK, "mark", {"number": 5}))
        self.assertIsNone(await self.client.cast(WORK, "fail"))
        await self.world.eventually("the cast runs", lambda: self.worker.ran == [5])
        await self.client.call(WORK, "add", {"a": 1})
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_cast_without_acks(self):
        """Without acknowledgements a cast ends when it is handed over, and still runs."""
        await self.begin(rpc_use_acks=False)
        await self.client.cast(WORK, "mark", {"number": 5})
        await self.client.call(WORK, "add", {"a": 1})
        self.assertEqual(self.worker.ran, [5])

    async def test_method_raises(self):
        """What a method raises comes back by name and text, and the server lives."""
        await self.begin()
        error = await self.fails(self.client.call(WORK, "fail", {"text": "no disk"}), RemoteError)
        self.assertEqual((error.type_name, error.message, error.traceback), ("ValueError", "no disk", ""))
        self.assertTrue(error.maybe_executed)
        error = await self.fails(self.client.call(WORK, "fail_async"), RemoteError)
        self.assertEqual(error.type_name, "KeyError")
        self.assertEqual(await self.client.call(WORK, "add", {"a": 1}), 11)
        self.assertEqual(len(self.flushLoggedErrors(ValueError, KeyError)), 2)

    async def test_tracebacks(self):
        """A server that is told to sends the traceback."""
        await self.begin(send_tracebacks=True)
        error = await self.fails(self.client.call(WORK, "fail"), RemoteError)
        self.assertIn("endpoints.py", error.traceback)
        self.flushLoggedErrors(ValueError)

    async def test_unencodable_result(self):
        """A result that cannot cross the wire is named by its place; the method has run."""
        await self.begin()
        error = await self.fails(self.client.call(WORK, "give_object"), EncodingError)
        self.assertTrue(error.maybe_executed)
        self.assertIn("object", str(error))
        self.assertIn("list", str(error))

    async def test_unencodable_arguments(self):
        """Arguments that cannot cross the wire are refused at once, and nothing runs."""
        await self.begin()
        for value in (object(), float("nan"), 2**64, {1: 2}):
            error = await self.fails(self.client.call(WORK, "echo", {"value": value}), EncodingError)
            self.assertFalse(error.maybe_executed)
        error = await self.fails(self.client.cast(WORK, "mark", context={"it": object()}), EncodingError)
        self.assertIn("context", str(error))

    async def test_arguments_that_do_not_fit(self):
        """The parameter that is missing or too many is named."""
        await self.begin()
        for arguments, name in (({}, "a"), ({"a": 1, "wrong": 2}, "wrong")):
            error = await self.fails(self.client.call(WORK, "add", arguments), InvalidArguments)
            self.assertIn(repr(name), str(error))
            self.assertFalse(error.maybe_executed)

    async def test_no_such_method(self):
        """Only what is exposed can be called, by its own name and namespace."""
        await self.begin()
        wrong = ["not_exposed", "__init__", "nothing", "add ", ""]
        for method in wrong:
            error = await self.fails(self.client.call(WORK, method), NoSuchMethod)
            self.assertFalse(error.maybe_executed)
        await self.fails(self.client.call(Target("work", namespace="other"), "add"), NoSuchMethod)
        await self.fails(self.client.call(WORK, "double", {"a": 1}), NoSuchMethod)

    async def test_no_such_method_tells_which_there_are(self):
        """The text of it has the name that is most like it, or those that there are; it is short in any case."""
        await self.begin()
        exposed = "; exposed are add, add_async, add_later, echo, fail, fail_async, give_bytes, give_object, and "
        rows = [
            (WORK, "add_latr", "no endpoint exposes 'add_latr'; did you mean add_later?"),
            (WORK, "zzz", f"no endpoint exposes 'zzz'{exposed}"),
            (WORK, "double", "no endpoint exposes 'double'; did you mean math.double (namespace, dot, method)?"),
            (Target("work", namespace="maths"), "dble", "has the namespace 'maths'; did you mean math.double?"),
            (Target("work", namespace="qq"), "zzz", f"has the namespace 'qq'{exposed}"),
            (Target("work", namespace="math", version="2.0"), "treble", "exposes 'math.treble'; did you mean math.d"),
            (Target("work", namespace="zmqrpc"), "describe_", "exposes 'zmqrpc.describe_'"),
            (WORK, "n" * 100_000, "no endpoint exposes 'nnn"),
        ]
        for target, method, says in rows:
            error = await self.fails(self.client.call(target, method), NoSuchMethod)
            self.assertIn(says, str(error))
            self.assertNotRegex(str(error), r"[ ,]zmqrpc\.")
            self.assertLess(len(str(error)), 600)

    async def test_versions(self):
        """The major version is equal and the minor one enough, or nothing runs."""
        await self.begin()
        for version in ("2.3", "2.0", "2"):
            target = Target("work", namespace="math", version=version)
            self.assertEqual(await self.client.call(target, "double", {"a": 1}), 2)
        for wrong in ("2.4", "1.0", "3.0", None):
            target = Target("work", namespace="math", version=wrong)
            error = await self.fails(self.client.call(target, "double", {"a": 1}), UnsupportedVersion)
            self.assertFalse(error.maybe_executed)

    async def test_too_large(self):
        """A call or reply over a limit fails alone; its neighbours succeed."""
        await self.begin()
        small = self.world.client(max_message_size=10_000)
        calls = [
            small.call(WORK, "add", {"a": 1}),
            self.fails(small.call(WORK, "echo", {"value": bytes(10_000)}), MessageTooLarge),
            small.call(WORK, "add", {"a": 2}),
            self.fails(small.call(WORK, "give_bytes", {"size": 10_000}), MessageTooLarge),
            small.call(WORK, "add", {"a": 3}),
        ]
        results = [await call for call in calls]
        self.assertEqual([results[0], results[2], results[4]], [11, 12, 13])
        self.assertFalse(results[1].maybe_executed)
        self.assertTrue(results[3].maybe_executed)

    async def test_limit(self):
        """The limit counts what is around a message as well, and its refusal names what is over it."""
        await self.begin()
        small = self.world.client(max_message_size=10_000)
        fits = bytes(10_000 - BATCH_OVERHEAD - 100)
        self.assertEqual(await small.call(WORK, "echo", {"value": fits}), fits)
        fresh = self.world.client(max_message_size=10_000)
        error = await self.fails(fresh.call(WORK, "echo", {"value": fits + bytes(100)}), MessageTooLarge)
        self.assertRegex(str(error), r" 100\d\d bytes are over max_message_size of this client \(10000\)")

    async def test_too_large_for_the_member(self):
        """A call over the member's limit, which only WELCOME tells, fails alone as well, queued or not."""
        await self.world.serve("work.small", Worker(), max_message_size=10_000)
        client = self.world.client()
        for _ in range(2):
            calls = [
                client.call(WORK, "add", {"a": 1}),
                self.fails(client.call(WORK, "echo", {"value": bytes(20_000)}), MessageTooLarge),
                client.call(WORK, "add", {"a": 2}),
            ]
            results = [await call for call in calls]
            self.assertEqual([results[0], results[2]], [11, 12])
            self.assertFalse(results[1].maybe_executed)

    async def test_large(self):
        """What is far larger than a batch goes through."""
        await self.begin()
        value = bytes(3_000_000)
        self.assertEqual(await self.client.call(WORK, "echo", {"value": value}), value)

    async def test_odd_timeouts(self):
        """A timeout that is no time, and a method that is no name, are refused; the neighbours are served."""
        await self.begin()
        for timeout in (float("inf"), float("nan"), 1e30, "5"):
            error = await self.fails(self.client.call(WORK, "add", {"a": 1}, timeout=timeout), ConfigError)
            self.assertIn("timeout", str(error))
            await self.fails(self.client.fanout(WORK, "add", {"a": 1}, timeout=timeout), ConfigError)
            await self.fails(self.client.members(WORK, timeout=timeout), ConfigError)
        await self.fails(self.client.call(WORK, 5), ConfigError)
        self.assertEqual(await self.client.call(WORK, "add", {"a": 1}), 11)

    async def test_deadline(self):
        """A call that is not answered ends at its deadline, as perhaps executed, and is cancelled where it runs."""
        await self.begin()
        began = self.world.seconds()
        error = await self.fails(self.client.call(WORK, "hold", timeout=0.1), DeadlineExceeded)
        self.assertLess(self.world.seconds() - began, 0.2)
        self.assertIsInstance(error, TimeoutError)
        self.assertTrue(error.maybe_executed)
        self.assertEqual(error.journey.stage, "acknowledged")
        self.assertIn("stage acknowledged", str(error))
        await self.world.eventually("it is cancelled", lambda: self.worker.cancelled == [0])

    async def test_no_time(self):
        """A call without any time ends at once and does not run."""
        await self.begin()
        for timeout in (0, -1):
            error = await self.fails(self.client.call(WORK, "mark", timeout=timeout), DeadlineExceeded)
            self.assertFalse(error.maybe_executed)
        self.assertEqual(self.worker.ran, [])

    async def test_cancel(self):
        """Cancelling a call cancels the Deferred of its method, and only that."""
        await self.begin()
        call = self.client.call(WORK, "hold", {"number": 1})
        other = self.client.call(WORK, "hold", {"number": 2})
        await self.world.eventually("both run", lambda: len(self.worker.held) == 2)
        call.cancel()
        error = await self.fails(call, Cancelled)
        self.assertIsInstance(error, CancelledError)
        self.assertTrue(error.maybe_executed)
        await self.world.eventually("it is cancelled", lambda: self.worker.cancelled == [1])
        self.worker.let_go()
        self.assertEqual(await other, "one")

    async def test_cancel_early(self):
        """A call that is cancelled before it is handed over does not run."""
        await self.begin()
        call = self.client.call(WORK, "mark", {"number": 1})
        call.cancel()
        error = await self.fails(call, Cancelled)
        self.assertFalse(error.maybe_executed)
        await self.client.call(WORK, "mark", {"number": 2})
        self.assertEqual(self.worker.ran, [2])

    async def test_order(self):
        """For one client and one instance the order of calls and casts is the order of dispatch."""
        await self.begin()
        sent = list(range(1000))
        calls = []
        for number in sent:
            send = self.client.cast if number % 3 else self.client.call
            calls.append(send(WORK, "mark", {"number": number}))
            if number % 100 == 50:
                await self.world.sleep(0.001)
        await gatherResults(calls)
        await self.client.call(WORK, "add", {"a": 1})
        self.assertEqual(self.worker.ran, sent)

    async def test_many(self):
        """A thousand calls at once each get their own answer."""
        await self.begin()
        calls = [self.client.call(WORK, "echo", {"value": number}) for number in range(1000)]
        self.assertEqual(await gatherResults(calls), list(range(1000)))


class CallsInMemory(InMemory, CallScenarios, TestCase):
    pass


class CallsOverSockets(OverSockets, CallScenarios, TestCase):
    pass
