"""Methods that block run in threads, and everything else is as for others."""

import contextvars
import subprocess
import sys
import threading
import time
from textwrap import dedent
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import blockingCallFromThread

from zmqrpc import Target, expose
from zmqrpc.errors import (
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    EncodingError,
    InvalidArguments,
    Overloaded,
    RemoteError,
    ServerLost,
)
from zmqrpc.test.integration.nodes import NodeCase
from zmqrpc.test.integration.support import eventually, pause, reactor
from zmqrpc.test.processes import ENVIRONMENT
from zmqrpc.testing import MemoryNode, Network, Store

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE")


class Blocking:
    """
    Every way to use a thread.

    :ivar begun: the numbers of the calls of `block` that began.
    :ivar ended: of those that ended.
    :ivar gate: lets those go that wait.
    """

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.gate = threading.Event()
        self.client: Any = None

    @expose(thread=True)
    def block(self, context, number=0):
        self.begun.append(number)
        self.gate.wait(20)
        self.ended.append(number)
        return number

    @expose(thread=True)
    def sleep(self, context, seconds):
        time.sleep(seconds)
        return [context, threading.current_thread() is threading.main_thread()]

    @expose(thread=True)
    def fails(self, context):
        raise ValueError("no disk")

    @expose(thread=True)
    def exits(self, context):
        raise SystemExit(3)

    @expose(thread=True)
    def gives_object(self, context):
        return object()

    @expose(thread=True)
    def gives_coroutine(self, context):
        async def coroutine():
            return 1

        return coroutine()

    @expose(thread=True)
    def gives_deferred(self, context):
        return Deferred()

    @expose(thread=True)
    def variable(self, context):
        return VARIABLE.get("unset")

    @expose(thread=True)
    def calls(self, context, topic):
        return blockingCallFromThread(reactor, self.client.call, Target(topic), "quick")

    @expose()
    def quick(self, context):
        return "quick"


class ThreadTests(NodeCase):
    async def begin(self, **options):
        self.blocking = Blocking()
        self.addCleanup(self.blocking.gate.set)
        self.server = await self.serve(self.blocking, **options)
        _, self.client = self.calling()

    async def test_beside_the_reactor(self):
        """While methods block in threads, others are served; each has its context and result."""
        await self.begin()
        began = time.monotonic()
        slow = [self.client.call(self.target, "sleep", {"seconds": 0.3}, context={"user": "ada"}) for _ in range(5)]
        self.assertEqual(await self.client.call(self.target, "quick"), "quick")
        self.assertLess(time.monotonic() - began, 0.25)
        self.assertEqual(await gatherResults(slow), [[{"user": "ada"}, False]] * 5)
        self.assertLess(time.monotonic() - began, 1.2)

    async def test_errors(self):
        """What it raises, or cannot bring, ends the call as for others."""
        await self.begin()
        error = await self.assertEnds(RemoteError, self.client.call(self.target, "fails"), "ValueError: no disk")
        self.assertTrue(error.maybe_executed)
        await self.assertEnds(RemoteError, self.client.call(self.target, "exits"), "SystemExit: 3")
        await self.assertEnds(EncodingError, self.client.call(self.target, "gives_object"), "builtins.object")
        await self.assertEnds(InvalidArguments, self.client.call(self.target, "sleep"), "'seconds' is missing")
        await self.assertEnds(InvalidArguments, self.client.call(self.target, "block", {"context": 1}), "'context'")
        self.assertEqual(await self.client.call(self.target, "quick"), "quick")
        self.assertEqual(len(self.flushLoggedErrors(ValueError, SystemExit)), 2)

    async def test_asynchronous_results(self):
        """What belongs to the reactor cannot be returned from a thread, and the error says so."""
        await self.begin()
        for method, kind in (("gives_coroutine", "coroutine"), ("gives_deferred", "Deferred")):
            text = f"Blocking.{method} returned a {kind} from a thread"
            await self.assertEnds(RemoteError, self.client.call(self.target, method), "TypeError", text)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    async def test_context_variables(self):
        """Context variables are those of where the method would have run."""
        await self.begin()
        (server,) = self.server._offers.servers
        run = server.run

        def traced(request):
            token = VARIABLE.set("of the call")
            try:
                return run(request)
            finally:
                VARIABLE.reset(token)

        self.patch(server, "run", traced)
        self.assertEqual(await self.client.call(self.target, "variable"), "of the call")

    async def test_calls_others(self):
        """A method in a thread can call others by way of the reactor."""
        await self.begin()
        self.blocking.client = self.client
        self.assertEqual(await self.client.call(self.target, "calls", {"topic": self.topic}), "quick")

    async def test_most_threads(self):
        """There are so many threads and no more; what waits for one counts as running."""
        await self.begin(rpc_thread_pool_size=2, max_running_calls=4)
        calls = [self.client.call(self.target, "block", {"number": number}) for number in range(4)]
        await eventually("two begin", lambda: len(self.blocking.begun) == 2)
        await self.assertEnds(Overloaded, self.client.call(self.target, "quick"), "4 calls running")
        self.blocking.gate.set()
        self.assertEqual(await gatherResults(calls), [0, 1, 2, 3])
        self.assertEqual(await self.client.call(self.target, "quick"), "quick")

    async def test_cancelled(self):
        """A call that waits for a thread does not begin when it is cancelled; one that runs counts until it returns."""
        await self.begin(rpc_thread_pool_size=1)
        running, waiting = [self.client.call(self.target, "block", {"number": number}) for number in range(2)]
        await eventually("one begins", lambda: self.blocking.begun)
        requests = self.server._callers._requests
        await eventually("both count", lambda: requests.running == 2)
        waiting.cancel()
        await self.assertEnds(Cancelled, waiting)
        await eventually("it does not count any more", lambda: requests.running == 1)
        running.cancel()
        await self.assertEnds(Cancelled, running)
        self.assertEqual(await self.client.call(self.target, "quick"), "quick")
        self.assertEqual(requests.running, 1)
        self.blocking.gate.set()
        await eventually("it has ended", lambda: requests.running == 0)
        self.assertEqual(self.blocking.begun, [0])

    async def test_deadline(self):
        """A deadline holds, whatever a thread does; what waits for a thread by then does not begin."""
        await self.begin(rpc_thread_pool_size=1)
        began = time.monotonic()
        calls = [self.client.call(self.target, "block", {"number": number}, timeout=0.3) for number in range(2)]
        for call in calls:
            await self.assertEnds(DeadlineExceeded, call)
        self.assertLess(time.monotonic() - began, 1)
        await eventually("the other is given up", lambda: self.server._callers._requests.running == 1)
        self.blocking.gate.set()
        await eventually("it has ended", lambda: self.server._callers._requests.running == 0)
        self.assertEqual(self.blocking.begun, [0])

    async def test_drain(self):
        """A stop waits for threads, also for what was cancelled and still runs."""
        await self.begin(drain_timeout=20)
        call = self.client.call(self.target, "block")
        gone = self.client.call(self.target, "block", {"number": 1})
        await eventually("they run", lambda: len(self.blocking.begun) == 2)
        gone.cancel()
        await self.assertEnds(Cancelled, gone)
        stopped = self.server.stopService()
        await pause(0.1)
        self.assertFalse(stopped.called)
        self.blocking.gate.set()
        self.assertEqual(await call, 0)
        await stopped
        self.assertEqual(sorted(self.blocking.ended), [0, 1])

    async def test_drain_is_over(self):
        """A stop waits no longer than it may; callers hear that the method may have run."""
        await self.begin(rpc_thread_pool_size=1, drain_timeout=0.1)
        calls = [self.client.call(self.target, "block", {"number": number}, timeout=20) for number in range(2)]
        await eventually("one begins", lambda: self.blocking.begun)
        await self.server.stopService()
        for call in calls:
            self.assertTrue((await self.assertEnds(ServerLost, call)).maybe_executed)
        self.blocking.gate.set()
        await eventually("the thread ends", lambda: self.blocking.ended == [0])
        await eventually("no thread is left", lambda: not [t for t in threading.enumerate() if "zmqrpc" in t.name])
        self.assertEqual(self.blocking.begun, [0])

    async def test_no_thread_without_need(self):
        """Nobody who exposes nothing that blocks has a thread for it; others have none before the first call."""
        await self.begin()
        await self.client.call(self.target, "quick")
        self.assertIsNone(self.server._threads._pool)

    def test_refused(self):
        """What cannot run in a thread, or is no method, is refused at the start."""

        class Asynchronous:
            @expose(thread=True)
            async def later(self, context):
                pass

        with self.assertRaisesRegex(ConfigError, r"Asynchronous\.later is asynchronous and cannot run in a thread"):
            self.node().server(self.target, [Asynchronous()])
        for wrong in ("name", 5):
            with self.assertRaisesRegex(ConfigError, "write @expose or"):
                expose(wrong)  # type: ignore[call-overload]

    def test_in_memory(self):
        """In simulated time methods run in place, with the same results and errors."""
        network = Network()
        store = Store(network.clock)
        server = MemoryNode(network, store, "server")
        server.server(Target("work"), [Blocking()])
        server.startService()
        caller = MemoryNode(network, store, "caller")
        caller.startService()
        client = caller.client()
        sleep = client.call(Target("work"), "sleep", {"seconds": 0})
        self.assertEqual(network.result_of(sleep), [{}, True])
        for method, error in (("fails", ValueError), ("gives_coroutine", TypeError)):
            with self.assertRaisesRegex(RemoteError, error.__name__):
                network.result_of(client.call(Target("work"), method))
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_process_exits(self):
        """A process ends though a thread of it never does."""
        source = """
            import threading
            from twisted.internet import reactor
            from twisted.internet.task import react
            from zmqrpc import Node, Settings, Target, expose, use_monotonic_clock

            begun = threading.Event()

            class Blocking:
                @expose(thread=True)
                def block(self, context):
                    begun.set()
                    threading.Event().wait()

            async def main(reactor):
                node = Node(reactor, Settings(drain_timeout=0.2))
                node.server(Target("work"), [Blocking()])
                node.startService()
                await node.when_ready()
                call = node.client().call(Target("work"), "block", timeout=30)
                call.addErrback(lambda failure: print(failure.type.__name__))
                while not begun.is_set():
                    from twisted.internet.task import deferLater
                    await deferLater(reactor, 0.01)
                await node.stopService()
                print("stopped")

            use_monotonic_clock(reactor)
            react(main)
            """
        ended = subprocess.run(
            [sys.executable, "-c", dedent(source)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stdout.split()[-1], ended.stderr), (0, "stopped", ""))
