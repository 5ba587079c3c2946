"""Methods that misbehave: their callers get a typed error, and the server lives."""

import time
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail, gatherResults, succeed
from twisted.internet.task import deferLater

from zmqrpc import Target, expose
from zmqrpc.errors import (
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    EncodingError,
    InvalidArguments,
    MessageTooLarge,
    NoSuchMethod,
    Overloaded,
    RemoteError,
    UnsupportedVersion,
)
from zmqrpc.test.integration.nodes import Echo, NodeCase
from zmqrpc.test.integration.support import eventually, pause, reactor
from zmqrpc.test.logs import LogLines


class Speechless(Exception):
    def __str__(self):
        raise ValueError("no words")


class Bad:
    """
    Every way a method can misbehave.

    :ivar begun: how many Deferreds it gave out.
    :ivar cancelled: how many of them were cancelled.
    """

    def __init__(self):
        self.begun = 0
        self.cancelled = 0

    @expose
    def raises(self, context, name):
        errors: dict[str, BaseException] = {
            "ValueError": ValueError("out of range"),
            "SystemExit": SystemExit(2),
            "KeyboardInterrupt": KeyboardInterrupt(),
            "GeneratorExit": GeneratorExit(),
            "surrogate": OSError("no file \udcff.txt"),
            "speechless": Speechless(),
            "long": ValueError("x" * 1_000_000),
        }
        raise errors[name]

    @expose
    async def raises_later(self, context, name):
        await deferLater(reactor, 0.001)
        self.raises(context, name)

    @expose
    async def raises_soon(self, context, name):
        self.raises(context, name)

    @expose
    def fails(self, context, name):
        try:
            self.raises(context, name)
        except BaseException:
            return fail()

    @expose
    def returns(self, context, what):
        values: dict[str, Any] = {
            "object": object(),
            "deep object": {"rows": [1, {"cell": object()}]},
            "key": {1: 2},
            "NaN": float("nan"),
            "surrogate": "\udcff",
            "surrogate key": {"\udcff": 1},
            "large int": 2**64,
            "set": {1, 2},
            "exception": ValueError("returned"),
            "class": Echo,
            "generator": iter(()),
        }
        endless: list[Any] = []
        endless.append(endless)
        values["endless"] = endless
        return values[what]

    @expose
    async def returns_later(self, context, what):
        await deferLater(reactor, 0.001)
        return self.returns(context, what)

    @expose
    def large(self, context, size):
        return b"x" * size

    @expose
    def block(self, context, seconds, value=None):
        self.begun += 1
        time.sleep(seconds)

    @expose
    async def block_later(self, context, seconds):
        await deferLater(reactor, 0.01)
        time.sleep(seconds)

    @expose
    def endless(self, context):
        self.begun += 1

        def count(_):
            self.cancelled += 1

        return Deferred(count)

    @expose
    def stubborn(self, context):
        """What cannot be cancelled either."""

        self.begun += 1

        def refuse(_):
            self.cancelled += 1
            raise ValueError("not me")

        return Deferred(refuse)

    @expose
    def gathered(self, context):
        return gatherResults([succeed(1), succeed(2)])

    @expose
    def gathered_later(self, context):
        return gatherResults([deferLater(reactor, 0.001, lambda: 1), succeed(2)])

    @expose
    def listed(self, context):
        return DeferredList([succeed(1)])

    @expose
    def add(self, context, a, b=0, *, c=0):
        return a + b + c

    @expose
    def type_error(self, context, a):
        return a + None

    def hidden(self, context):
        raise AssertionError("not exposed")


class BadMethodTests(NodeCase):
    def setUp(self):
        super().setUp()
        self.bad = Bad()

    async def start(self, **options):
        self.server = await self.serve(self.bad, self.echo, **options)
        self.caller, self.client = self.calling()

    def call(self, method, timeout=5.0, **arguments):
        return self.client.call(self.target, method, arguments, timeout=timeout)

    async def lives(self):
        self.assertEqual(await self.call("echo", value="alive"), "alive")

    async def test_raises(self):
        """Every exception of a method, SystemExit and its like included, ends that call and nothing else."""
        await self.start()
        names = ("ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit")
        for method in ("raises", "raises_later", "raises_soon", "fails"):
            for name in names:
                error = await self.assertEnds(RemoteError, self.call(method, name=name), name)
                self.assertEqual((error.type_name, error.maybe_executed), (name, True), method)
                await self.lives()
        self.assertEqual(len(self.flushLoggedErrors()), 4 * len(names))

    async def test_texts(self):
        """Whatever the text of an exception is, the caller hears of it."""
        await self.start()
        for method in ("raises", "raises_later"):
            await self.assertEnds(RemoteError, self.call(method, name="surrogate"), "OSError: no file \\udcff.txt")
            await self.assertEnds(RemoteError, self.call(method, name="speechless"), "Speechless: (the text of")
            error = await self.assertEnds(RemoteError, self.call(method, name="long"), "ValueError: xxx")
            self.assertEqual(len(error.message), 4096)
            await self.lives()
        self.flushLoggedErrors()

    async def test_tracebacks(self):
        """A traceback with a lone surrogate in it crosses as well."""
        await self.start(send_tracebacks=True)
        error = await self.assertEnds(RemoteError, self.call("raises", name="surrogate"))
        self.assertIn("in raises", error.traceback)
        self.flushLoggedErrors()

    async def test_unencodable(self):
        """The text says where in the result it is, and what it is."""
        await self.start()
        cases = {
            "object": "the result is a builtins.object",
            "deep object": "the result['rows'][1]['cell'] is a builtins.object",
            "key": "key 1",
            "NaN": "NaN",
            "surrogate": "lone surrogate",
            "surrogate key": "udcff",
            "large int": "outside -2",
            "set": "builtins.set",
            "exception": "ValueError",
            "class": "type",
            "generator": "tuple_iterator",
            "endless": "nested deeper than 100",
        }
        for method in ("returns", "returns_later"):
            for what, text in cases.items():
                error = await self.assertEnds(EncodingError, self.call(method, what=what), text)
                self.assertTrue(error.maybe_executed)
                await self.lives()

    async def test_too_large(self):
        """A reply over the caller's limit ends its call; those beside it do not notice."""
        await self.start()
        _, client = self.calling(max_message_size=100_000)
        beside = [client.call(self.target, "echo", {"value": number}) for number in range(50)]
        large = client.call(self.target, "large", {"size": 100_000})
        error = await self.assertEnds(MessageTooLarge, large, "is over max_message_size of the client (100000)")
        self.assertTrue(error.maybe_executed)
        self.assertEqual(await gatherResults(beside), list(range(50)))
        self.assertEqual(len(await client.call(self.target, "large", {"size": 98_000})), 98_000)

    async def test_blocks(self):
        """A method that blocks is logged with its stack; those that waited are served after it."""
        await self.start()
        lines = LogLines(self)
        await self.lives()
        blocking = self.call("block", seconds=2.0)
        beside = [self.call("echo", value=number) for number in range(20)]
        await blocking
        self.assertEqual(await gatherResults(beside), list(range(20)))
        (line,) = lines.about("the reactor has been blocked")
        self.assertIn("time.sleep(seconds)", line)
        self.assertIn("in block", line)

    async def test_blocks_and_is_flooded(self):
        """What waits for methods that block is bounded in bytes; past it calls are refused, and did not run."""
        await self.start(max_running_bytes=300_000)
        await self.lives()
        calls = [self.call("block", seconds=0.01, value=bytes(100_000)) for _ in range(60)]
        outcomes: list[tuple[bool, Any]] = await DeferredList(calls, consumeErrors=True)
        refused = [outcome.value for good, outcome in outcomes if not good]
        self.assertGreater(len(refused), 0)
        self.assertEqual(self.bad.begun, 60 - len(refused))
        self.assertGreater(self.bad.begun, 1)
        for error in refused:
            self.assertIsInstance(error, Overloaded)
            self.assertIn("(max_running_bytes)", str(error))
            self.assertFalse(error.maybe_executed)
        await self.lives()

    async def test_blocks_later(self):
        """Also one that waited before it blocks."""
        await self.start()
        lines = LogLines(self)
        await self.lives()
        blocking = self.call("block_later", seconds=2.0)
        await blocking
        (line,) = lines.about("the reactor has been blocked")
        self.assertIn("in block_later", line)

    async def test_never(self):
        """A call without an answer ends at its deadline, and so does the method."""
        await self.start()
        begin = time.monotonic()
        error = await self.assertEnds(DeadlineExceeded, self.call("endless", timeout=0.3))
        self.assertTrue(error.maybe_executed)
        self.assertLess(time.monotonic() - begin, 0.5)
        await eventually("that it is cancelled", lambda: self.bad.cancelled == 1)
        await self.lives()

    async def test_cancel(self):
        """A caller that gives up is told that the method may have run; it is cancelled."""
        await self.start()
        calling = self.call("endless")
        await eventually("that it runs", lambda: self.bad.begun == 1)
        calling.cancel()
        error = await self.assertEnds(Cancelled, calling)
        self.assertTrue(error.maybe_executed)
        await eventually("that it is cancelled", lambda: self.bad.cancelled == 1)

    async def test_cannot_be_cancelled(self):
        """A method whose cancellation raises harms no message that comes with it."""
        await self.start()
        await self.lives()
        calls = [self.call("stubborn") for _ in range(3)]
        await eventually("that they run", lambda: self.bad.begun == 3)
        for calling in calls:
            calling.cancel()
        beside = self.call("echo", value="beside", timeout=2)
        for calling in calls:
            await self.assertEnds(Cancelled, calling)
        self.assertEqual(await beside, "beside")
        self.assertEqual(self.bad.cancelled, 3)
        await self.server.stopService()
        self.assertEqual(self.bad.cancelled, 6)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 6)

    async def test_kinds_of_deferred(self):
        """What Twisted makes of several Deferreds is a Deferred too."""
        await self.start()
        for method in ("gathered", "gathered_later"):
            self.assertEqual(await self.call(method), [1, 2])
        self.assertEqual(await self.call("listed"), [[True, 1]])

    async def test_arguments(self):
        """Arguments that do not fit are named, and the method did not run."""
        await self.start()
        cases: list[tuple[dict[str, Any], str]] = [
            ({}, "the parameter 'a' is missing"),
            ({"b": 1}, "the parameter 'a' is missing"),
            ({"a": 1, "d": 2}, "there is no parameter 'd'; there are a, b, c"),
            ({"a": 1, "context": 2}, "there is no parameter 'context'"),
            ({"a": 1, "self": 2}, "there is no parameter 'self'"),
            ({"a": 1, "": 2}, "there is no parameter ''"),
            ({"a": 1, "not a name": 2}, "there is no parameter 'not a name'"),
        ]
        for arguments, text in cases:
            error = await self.assertEnds(InvalidArguments, self.client.call(self.target, "add", arguments), text)
            self.assertFalse(error.maybe_executed)
        self.assertEqual(await self.call("add", a=1, c=2), 3)
        error = await self.assertEnds(RemoteError, self.call("type_error", a=1), "TypeError")
        self.assertTrue(error.maybe_executed)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    async def test_no_such_method(self):
        """What is not exposed is not there."""
        await self.start()
        for name in ("hidden", "__init__", "cancelled", "", "add.__call__", "x" * 10_000):
            error = await self.assertEnds(NoSuchMethod, self.call(name))
            self.assertFalse(error.maybe_executed)
        target = Target(self.topic, server="one", namespace="other")
        await self.assertEnds(NoSuchMethod, self.client.call(target, "add", {"a": 1}), "other")
        target = Target(self.topic, server="one", version="2.0")
        await self.assertEnds(UnsupportedVersion, self.client.call(target, "add", {"a": 1}), "2.0")

    async def test_two_of_one_name(self):
        """Two processes with one member name share its calls; each gets every fan-out."""
        first, second = Echo(), Echo()
        await self.serve(first)
        await self.serve(second)
        _, client = self.calling()
        await gatherResults([client.call(self.target, "echo", {"value": number}) for number in range(10)])
        self.assertEqual((len(first.ran), len(second.ran)), (5, 5))
        reached = await client.fanout(Target(self.topic), "echo", {"value": "all"})
        self.assertEqual([member for member, _ in reached.members], ["one", "one"])
        self.assertEqual((first.ran[-1], second.ran[-1]), ("all", "all"))

    async def test_stop_in_a_callback(self):
        """A client that is closed by what it receives ends its other calls."""
        await self.start()
        await self.lives()
        ended: list[Any] = []

        def close(result):
            self.caller.stopService()
            return result

        calls = [self.call("endless")] + [self.call("echo", value=number) for number in range(20)]
        calls[1].addCallback(close)
        for calling in calls:
            calling.addBoth(ended.append)
        await eventually("all ends", lambda: len(ended) == 21)
        await pause(0.05)

    def test_nothing_exposed(self):
        self.assertRaises(ConfigError, self.node().server, self.target, [object()])
