"""The service behind `zmq-rpc-server`, started and stopped in this process."""

from __future__ import annotations

import atexit
import os
import socket
import sys
from io import StringIO

from twisted.application.service import IService, Service
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from zmqrpc import Target, connect, expose
from zmqrpc.configuration import load
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IRPCApplication
from zmqrpc.tap import _refusal
from zmqrpc.tap._log import LogFile
from zmqrpc.tap._notify import Supervisor
from zmqrpc.tap._refusal import Refusals, StartRefused
from zmqrpc.tap._serving import Serving
from zmqrpc.test.ports import free_port


class Calc:
    @expose
    def add(self, context, a, b):
        return a + b


class Words:
    target = Target(namespace="words")

    @expose
    def join(self, context, a, b):
        return f"{a} {b}"


class Plain:
    pass


@implementer(IService)
class Counting(Service):
    """An endpoint with a life of its own; it writes down when things happen."""

    def __init__(self, events):
        self.events = events
        self.stopped = succeed(None)
        self.answer: Deferred[int] = Deferred()

    def startService(self):
        super().startService()
        self.events.append("start")

    def stopService(self):
        super().stopService()
        self.events.append("stop")
        return self.stopped

    @expose
    def count(self, context):
        self.events.append("count")
        return self.answer.addCallback(self._counted)

    def _counted(self, result):
        self.events.append("counted")
        return result


@implementer(IPlugin, IRPCApplication)
class Given:
    """An application whose endpoints the test gives."""

    name = "given"

    def __init__(self, endpoints, topic="calc"):
        self.topic = topic
        self.given = endpoints

    def endpoints(self, reactor, client, settings):
        self.client, self.settings = client, settings
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


async def _later_or_never():
    raise ZeroDivisionError


def versioned(version):
    class Versioned:
        target = Target(namespace="v", version=version)

        @expose
        def get(self, context):
            return version

    return Versioned()


class Raises:
    @property
    def target(self):
        return 1 / 0


@implementer(IService)
class FailsToStart(Calc, Service):
    def startService(self):
        return _later_or_never()


@implementer(IService)
class StartsLater(Calc, Service):
    def __init__(self, started):
        self.started = started

    def startService(self):
        return self.started


class Listed(Calc):
    target = Target("calc")


@implementer(IPlugin, IRPCApplication)
class ListedApplication:
    name = "listed"
    topic = "calc"

    def endpoints(self, reactor, client, settings):
        return [Calc()]


class ServingTests(TestCase):
    url = "zmq+dummy://"

    def setUp(self):
        self.said = StringIO()
        self.patch(sys, "__stderr__", self.said)

    def make(self, *found, target=None, **options):
        configuration = load(url=self.url, given={"drain_timeout": 5.0})
        named = [(f"app{number}", thing) for number, thing in enumerate(found)]
        target = target or Target(server="node-1")
        serving = Serving(reactor, Refusals("test"), configuration, named, target, **options)
        self.addCleanup(serving.stopService)
        return serving

    async def client(self):
        client = await connect(reactor, self.url)
        self.addCleanup(client.close)
        return client

    async def ask(self, target, method, **arguments):
        client = await self.client()
        return await client.call(target, method, arguments, timeout=10, wait_for_ready=True)

    def assertRefused(self, serving, text):
        self.assertRaises(StartRefused, serving.startService)
        self.assertIn(text, self.said.getvalue())
        self.assertFalse(serving.running)

    async def test_endpoint_and_application(self):
        """Applications of one topic share a server; the others have their own."""
        application = Given([Words()], topic=None)
        serving = self.make(Calc, application, Given([Calc()], "other"), target=Target("calc", server="node-1"))
        serving.privilegedStartService()
        serving.startService()
        self.assertEqual(await self.ask(Target("calc", server="node-1"), "add", a=1, b=2), 3)
        self.assertEqual(await self.ask(Target("calc", namespace="words"), "join", a=1, b=2), "1 2")
        self.assertEqual(await self.ask(Target("other"), "add", a=1, b=2), 3)
        self.assertEqual(application.settings.drain_timeout, 5)

    async def test_fixed_table(self):
        """The line is bound while the process may still have the rights to, whoever names the topic."""
        path = os.path.abspath(self.mktemp())
        self.url = f"zmq+file://{path}"
        for made in (Given([Calc()]), Calc, Listed, ListedApplication):
            address = f"127.0.0.1:{free_port()}"
            with open(path, "w") as table:
                table.write(f'{{"calc": {{"node-1": "{address}"}}}}')
            topic = "calc" if made is Calc else None
            serving = self.make(made, target=Target(topic, server="node-1"))
            serving.privilegedStartService()
            self.assertEqual(serving._node.address, f"tcp://{address}")
            serving.startService()
            self.assertEqual(await self.ask(Target("calc"), "add", a=1, b=2), 3)
            await serving.stopService()

    async def test_started_again(self):
        serving = self.make(Calc, target=Target("calc"))
        for _ in range(2):
            serving.startService()
            self.assertEqual(await self.ask(Target("calc"), "add", a=1, b=2), 3)
            await serving.stopService()

    async def test_later(self):
        """Endpoints may come later: bound at once, served when they are there."""
        later: Deferred[list[object]] = Deferred()
        serving = self.make(Given(later))
        serving.startService()
        self.assertEqual(await (await self.client()).members(Target("calc")), [])
        answer = Deferred.fromCoroutine(self.ask(Target("calc"), "add", a=1, b=2))
        later.callback([Calc()])
        self.assertEqual(await answer, 3)

    async def test_ready_is_last(self):
        """That it is ready is not said before every server is there."""
        path = self.mktemp()
        later: Deferred[list[object]] = Deferred()
        serving = self.make(Given(later), Given([Calc()], "other"), log_file=LogFile(path))
        serving.startService()
        await _turn()
        with open(path) as log:
            self.assertNotIn("ready", log.read())
        later.callback([Calc()])
        written = ""
        while "ready: registered" not in written:
            await _turn()
            with open(path) as log:
                written = log.read()
        self.assertRegex(written, r"(?s)topic other .*topic calc .*ready: registered")

    async def test_stopped_before_later(self):
        """Who stops does not wait for endpoints any more."""
        cancelled: list[object] = []
        serving = self.make(Given(Deferred(cancelled.append)))
        serving.startService()
        await serving.stopService()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])

    async def test_stopped_beside_another(self):
        """One of several services that stops, or is refused, before it serves keeps nobody from being ready."""
        path = f"/tmp/zmqrpc-test-{os.getpid()}.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(path)
            self.addCleanup(os.unlink, path)
            told.setblocking(False)
            supervisor = Supervisor(MemoryReactorClock(), {"NOTIFY_SOCKET": path})
            stopped = self.make(Given(Deferred()), supervisor=supervisor)
            refused = self.make(Given(ZeroDivisionError()), supervisor=supervisor)
            served = self.make(Calc(), target=Target("calc", server="node-2"), supervisor=supervisor)
            stopped.startService()
            self.assertRefused(refused, "ZeroDivisionError")
            self.flushLoggedErrors(ZeroDivisionError)
            served.startService()
            self.assertRaises(BlockingIOError, self.until_ready, told)
            await stopped.stopService()
            self.until_ready(told)

    def until_ready(self, told):
        while told.recv(1000) != b"READY=1":
            pass

    async def test_failed_later(self):
        """It stops the process, whose status is then not 0."""
        stopped: list[bool] = []
        at_exit: list[object] = []
        self.patch(reactor, "stop", lambda: stopped.append(True))
        self.patch(atexit, "register", lambda *what: at_exit.append(what))
        later: Deferred[list[object]] = Deferred()
        serving = self.make(Given(later))
        serving.startService()
        later.errback(ZeroDivisionError())
        await _turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((stopped, at_exit), ([True], [(_refusal._end,)]))
        self.assertEqual(
            self.said.getvalue(),
            "test: the application app0 raised when it was asked for endpoints: ZeroDivisionError\n",
        )

    async def test_service_endpoint(self):
        """It runs before its server is found, and until the last call has ended."""
        events: list[str] = []
        counting = Counting(events)
        serving = self.make(Given([counting]))
        serving.startService()
        self.assertEqual(events, ["start"])
        answer = Deferred.fromCoroutine(self.ask(Target("calc"), "count"))
        while "count" not in events:
            await _turn()
        stopping = serving.stopService()
        await _turn()
        counting.answer.callback(7)
        self.assertEqual(await answer, 7)
        await stopping
        self.assertEqual(events, ["start", "count", "counted", "stop"])

    async def test_service_endpoint_fails_to_stop(self):
        counting = Counting([])
        counting.stopped = Deferred()
        counting.stopped.errback(ZeroDivisionError())
        serving = self.make(Given([counting]))
        serving.startService()
        await serving.stopService()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_refused(self):
        """What is wrong at the start is raised, and everything is given back."""
        for found, text in (
            (Calc, "names no topic; give one with --topic"),
            (Given([Plain()]), "exposes no method"),
            (
                Given(ZeroDivisionError("oh")),
                "application app0 raised when it was asked for endpoints: ZeroDivisionError: oh",
            ),
            (Given(fail(ZeroDivisionError("oh"))), "application app0 raised when it was asked"),
            (Given(_later_or_never()), "application app0 raised when it was asked for endpoints: ZeroDivisionError"),
            (Given(None), "application app0 gave an object of type NoneType as its endpoints; give a list of objects"),
            (Given("calc"), "application app0 gave an object of type str as its endpoints"),
            (Given([]), "application app0 cannot be served: it offers nothing"),
            (Given([Raises()]), "endpoints of the application app0 raised: ZeroDivisionError"),
            (Given([FailsToStart()]), "endpoint FailsToStart of the application app0 raised when it was started"),
        ):
            self.assertRefused(self.make(found), text)
            self.assertEqual(self.said.getvalue().count("\n"), 1, self.said.getvalue())
            self.said.truncate(0)
            self.said.seek(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    def test_bad_names(self):
        for given, text in (
            (Given([Calc()], "a\nb"), "application app0 cannot be served: the topic 'a\\nb'"),
            (Given([Calc()], 5), "application app0 cannot be served: the topic 5 is not text"),
        ):
            self.assertIn(text, str(self.assertRaises(ConfigError, self.make, given)))

    def test_refused_together(self):
        """Of two applications neither may hide a method of the other."""
        for first, second, text in (
            (Given([Calc()]), Given([Calc()]), "app0 and app1 both serve add in version 1.0 of openstack/calc.node-1"),
            (Given([Words()]), Given([Words()]), "app0 and app1 both serve words.join in version 1.0"),
            (Given([versioned("2.1")]), Given([versioned("2.0")]), "both serve v.get in version 2.0"),
            (Calc, Given(ZeroDivisionError(), "other"), "application app1 raised"),
        ):
            self.assertRefused(self.make(first, second, target=Target("calc", server="node-1")), text)
        self.flushLoggedErrors(ZeroDivisionError)
        serving = self.make(Given([versioned("2.1"), Words()]), Given([versioned("1.0"), Calc()]))
        serving.startService()

    def test_twice(self):
        configuration = load(url=self.url)
        found = [("calc:Calc", Calc), ("calc:Calc", Calc)]
        serving = Serving(reactor, Refusals("test"), configuration, found, Target("calc"))
        self.addCleanup(serving.stopService)
        self.assertRefused(serving, "--app calc:Calc is given twice")

    async def test_service_that_takes_its_time(self):
        """What a service of the application waits for is waited for, before others find its server."""
        started: Deferred[None] = Deferred()
        serving = self.make(Given([StartsLater(started)]))
        serving.startService()
        self.assertEqual(await (await self.client()).members(Target("calc")), [])
        answer = Deferred.fromCoroutine(self.ask(Target("calc"), "add", a=1, b=2))
        started.callback(None)
        self.assertEqual(await answer, 3)

    def test_service_of_refused(self):
        events: list[str] = []
        self.assertRefused(
            self.make(Given([Counting(events), Plain()])), "app0 cannot be served: the endpoint zmqrpc.test.tap"
        )
        self.assertEqual(events, [])
        self.assertRefused(self.make(Given([Counting(events), FailsToStart()])), "raised when it was started")
        self.flushLoggedErrors(ZeroDivisionError)
        return _turn().addCallback(lambda _: self.assertEqual(events, ["start", "stop"]))

    async def test_log_file(self):
        path = self.mktemp()
        serving = self.make(Given([Calc()]), log_file=LogFile(path))
        serving.startService()
        await serving.stopService()
        with open(path) as log:
            lines = [line.rstrip().split("] ")[1] for line in log]
        self.assertRegex("\n".join(lines), "\nserving topic calc as member node-1 at tcp://127.0.0.1:")
        self.assertEqual(lines[-1], "stopped")

    def test_log_file_gone(self):
        self.assertRefused(self.make(Calc, log_file=LogFile("/no/such/x.log")), "cannot be written")


def _turn():
    """Let the reactor have a turn."""
    turn: Deferred[None] = Deferred()
    reactor.callLater(0.01, turn.callback, None)
    return turn
