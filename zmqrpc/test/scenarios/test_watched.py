"""Calls that run are watched: who is dead, stopped or blocked is told from who takes long."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.errors import ConfigError, DeadlineExceeded, ServerLost
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import Network, Weather

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Case
else:
    _Case = object

WORK = Target("work")
PATIENCE = 5.0
"""The default of ``call_monitor_timeout``."""


class Blocking(Worker):
    """A worker one of whose methods keeps its process from everything else."""

    @expose
    def block(self, context, seconds, number=0):
        self.ran.append(number)
        self.node.clock.pause(seconds)
        return deferLater(self.node.clock, 0, lambda: self.name)


class WatchedCase(_Case):
    """Two servers and a client, in one topology."""

    topology = ""
    proxy_count = 0

    def setUp(self):
        self.network = Network(7)
        self.lines = LogLines(self)
        self.proxies = [self.network.proxy() for _ in range(self.proxy_count)]
        self.workers = {name: self.serve(name) for name in "ab"}
        self.client = self.connect()
        # All are connected and at rest.
        for name in "ab":
            self.result_of(self.call(name=name))

    def tearDown(self):
        self.network.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    def serve(self, name: str, **options: Any) -> Blocking:
        worker = Blocking(name)
        worker.node = self.network.serve(f"work.{name}", worker, zmq_topology=self.topology, **options)
        return worker

    def connect(self, host: str = "client", **options: Any) -> Any:
        client: Any = self.network.client(host=host, zmq_topology=self.topology, **options)
        client.node = self.network.nodes[-1]
        return client

    def call(self, method: str = "mark", name: str | None = None, timeout: float = 60.0, **options: Any) -> Any:
        return self.client.call(Target("work", server=name), method, timeout=timeout, **options)

    def held(self, name: str = "a", **options: Any) -> Any:
        """Make a call that runs until the test ends it."""
        call = self.call("hold", name, **options)
        self.network.run_until(lambda: self.workers[name].held, what="it runs")
        return call

    def idle(self) -> None:
        """Let nothing happen for longer than between two BEATs."""
        self.network.run(0.7)

    def result_of(self, waited_for: Any) -> Any:
        return self.network.result_of(waited_for)

    def lost(self, call: Any, text: str = "") -> float:
        """Wait until a call is lost; return the time."""
        with self.assertRaises(ServerLost) as caught:
            self.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.assertIn(text, str(caught.exception))
        return self.now

    @property
    def now(self) -> float:
        return self.network.clock.seconds()

    def links(self) -> dict[str, Any]:
        return {link.member: link for link in self.client.node._links.all()}

    # A server that is stopped.

    def test_stopped(self):
        """Its caller hears of it, within the patience and a second, and new calls go to the other within two."""
        call = self.held()
        self.idle()
        self.workers["a"].node.clock.pause(10)
        stopped = self.now
        queued = [self.call(args={"number": number}, name="a", timeout=2.0) for number in range(5)]
        for each in queued:
            with self.assertRaises(DeadlineExceeded) as caught:
                self.result_of(each)
            self.assertTrue(caught.exception.maybe_executed)
        self.assertLessEqual(self.now - stopped, 2.0001)
        for _ in range(10):
            began = self.now
            self.assertEqual(self.result_of(self.call()), "b")
            self.assertLess(self.now - began, 0.1)
        ended = self.lost(call, "silent for 5 s (call_monitor_timeout): stopped, blocked or cut off")
        self.assertLessEqual(ended - stopped, PATIENCE + 1.01)
        self.assertGreater(ended - stopped, PATIENCE)
        # It goes on: what was too late by then is not run, what ran is cancelled, and it is called again.
        self.network.run(stopped + 10 - self.now)
        self.assertEqual(self.workers["a"].cancelled, [])
        self.network.run(12)
        self.assertEqual((self.workers["a"].ran, self.workers["a"].cancelled), ([0, 0], [0]))
        self.assertEqual(self.result_of(self.call(name="a")), "a")

    def test_stopped_and_idempotent(self):
        """It goes to another, where there is one; else it waits for this one, as long as that is tried."""
        directed = self.held(args={"number": 1}, idempotent=True)
        calls = [self.call("hold", args={"number": number}, idempotent=True) for number in (2, 3)]
        self.network.run_until(lambda: len(self.workers["a"].held) == 2 and self.workers["b"].held)
        self.workers["a"].node.clock.pause(10)
        stopped = self.now
        self.network.run_until(lambda: len(self.workers["b"].held) == 2)
        self.assertLessEqual(self.now - stopped, PATIENCE + 1.01)
        self.workers["b"].let_go()
        self.assertEqual([self.result_of(call) for call in calls], ["b", "b"])
        with self.assertRaises(ServerLost) as caught:
            self.result_of(directed)
        self.assertTrue(caught.exception.maybe_executed)
        self.network.run(10)
        self.workers["a"].let_go()

    def test_stopped_for_a_little_longer(self):
        """Who goes on within the second after that is asked again under the same numbers: nothing is lost."""
        calls = [self.held()] + [self.call("hold", "a", args={"number": number}) for number in (1, 2)]
        cast = self.client.cast(Target("work", server="a"), "mark", {"number": 3}, timeout=60)
        self.idle()
        # Heard after the last BEAT: what that named is not asked for of one who is silent.
        self.result_of(self.call(name="a", args={"number": 5}))
        self.workers["a"].node.clock.pause(PATIENCE + 0.3)
        late = self.call("hold", "a", args={"number": 4})
        self.network.run(PATIENCE + 0.1)
        self.assertFalse(late.called)
        self.network.run_until(lambda: 4 in self.workers["a"].held)
        self.network.run(0.1)
        self.assertEqual([call.attempts for call in calls], [2, 2, 2])
        self.workers["a"].let_go()
        self.assertEqual([self.result_of(call) for call in (*calls, late)], ["a"] * 4)
        self.result_of(cast)
        self.assertEqual(sorted(self.workers["a"].ran[1:]), [0, 1, 2, 3, 4, 5])

    def test_blocked(self):
        """A method that blocks its process is as one that is stopped."""
        call = self.call("block", "a", args={"seconds": 10.0})
        began = self.now
        beside = self.held("b")
        ended = self.lost(call)
        self.assertLessEqual(ended - began, PATIENCE + 1.01)
        self.workers["b"].let_go()
        self.assertEqual(self.result_of(beside), "b")
        self.network.run(20)
        self.assertEqual(self.result_of(self.call(name="a")), "a")

    def test_never(self):
        """With 0 only the deadline counts."""
        self.result_of(self.client.close())
        self.client = self.connect(call_monitor_timeout=0)
        call = self.held()
        self.workers["a"].node.clock.pause(30)
        self.network.run(30.5)
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(call), "a")
        self.assertEqual(len(self.workers["a"].ran), 2)

    # A patience of its own.

    def test_shorter(self):
        """It ends alone, and is cancelled; the others and their link stay."""
        short = self.held(call_monitor_timeout=1.0)
        other = self.call("hold", "a", args={"number": 1})
        self.idle()
        stopped = self.now
        self.workers["a"].node.clock.pause(3)
        identity = self.links()["a"].state.identity
        ended = self.lost(short, "silent for ")
        self.assertLessEqual(ended - stopped, 1.6)
        self.network.run(3)
        self.assertEqual(self.links()["a"].state.identity, identity)
        self.assertEqual((list(self.workers["a"].held), self.workers["a"].cancelled), ([1], [0]))
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(other), "a")

    def test_silent_before(self):
        """A call that is made while its instance is silent already waits as long as one that was made before."""
        before = self.held()
        self.idle()
        self.workers["a"].node.clock.pause(4)
        self.network.run(1.2)
        made = self.now
        late = self.call("hold", "a", args={"number": 1}, call_monitor_timeout=1.0)
        waited = self.lost(late) - made
        self.assertGreaterEqual(waited, 1.0)
        self.assertLessEqual(waited, 1.6)
        self.network.run(3)
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(before), "a")

    def test_shorter_and_idempotent(self):
        """It goes to another, and not back to who is silent."""
        call = self.held(idempotent=True, call_monitor_timeout=1.0)
        self.workers["a"].node.clock.pause(8)
        with self.assertRaises(ServerLost) as caught:
            self.result_of(call)
        self.assertTrue(caught.exception.maybe_executed)
        self.network.run(8)
        bare = [
            self.client.call(WORK, "hold", {"number": number}, timeout=60, idempotent=True, call_monitor_timeout=1.0)
            for number in (1, 2)
        ]
        self.network.run(0.2)
        self.workers["b"].node.clock.pause(4)
        self.network.run_until(lambda: len(self.workers["a"].held) == 2)
        self.workers["a"].let_go()
        self.assertEqual([self.result_of(call) for call in bare], ["a", "a"])
        self.network.run(5)

    def test_longer(self):
        """While it waits the link stays, and the others end alone."""
        long = self.held(call_monitor_timeout=30.0)
        forever = self.call("hold", "a", args={"number": 1}, call_monitor_timeout=0)
        other = self.call("hold", "a", args={"number": 2})
        self.idle()
        stopped = self.now
        self.workers["a"].node.clock.pause(12)
        self.assertLessEqual(self.lost(other) - stopped, PATIENCE + 1.01)
        self.network.run(stopped + 13 - self.now)
        self.assertEqual(self.workers["a"].cancelled, [2])
        self.workers["a"].let_go()
        self.assertEqual([self.result_of(long), self.result_of(forever)], ["a", "a"])

    def test_bad_ones(self):
        for bad in (-1, float("nan"), float("inf"), True, "5", [1]):
            call = self.call(call_monitor_timeout=bad)
            error = self.failureResultOf(call, ConfigError).value
            self.assertIn(f"the call_monitor_timeout {bad!r} of 'mark' is no number of seconds from 0", str(error))

    def test_of_a_stub(self):
        stub = self.client.stub(Target("work", server="a"), call_monitor_timeout=1, timeout=60)
        call = stub.hold()
        self.network.run_until(lambda: self.workers["a"].held)
        stopped = self.now
        self.workers["a"].node.clock.pause(3)
        self.assertLessEqual(self.lost(call) - stopped, 2.1)
        self.network.run(4)

    # A call that takes long.

    def test_long(self):
        """A method that waits for minutes is never taken for a dead one, whatever happens to its connections."""
        calls = [self.held(timeout=2000), self.call("hold", "b", 2000)]
        for minute in range(9):
            self.network.run(60)
            # Each is lost more often than a call may be repeated by the timer.
            if minute < 7:
                for first in ("client", *(proxy.host for proxy in self.proxies)):
                    for second in "ab":
                        self.network.break_connections(first, second)
                for proxy in self.proxies:
                    self.network.break_connections("client", proxy.host)
        self.assertEqual([call.called for call in calls], [False, False])
        self.assertEqual([call.stage.name for call in calls], ["RUNNING", "RUNNING"])
        for worker in self.workers.values():
            worker.let_go()
        self.assertEqual([self.result_of(call) for call in calls], ["a", "b"])
        self.assertEqual([len(worker.ran) for worker in self.workers.values()], [2, 2])

    def test_long_of_a_client_that_is_stopped(self):
        """Its connection stands, so its calls go on."""
        call = self.held(timeout=200)
        self.client.node.clock.pause(20)
        self.network.run(21)
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(call), "a")
        self.assertEqual(self.workers["a"].cancelled, [])

    def test_reply_that_is_lost(self):
        """Who speaks and names a call no more is asked for it, under its number."""
        call = self.held()
        beside = self.call("hold", "a", args={"number": 1})
        self.network.run(2)
        for host in ("client", *(proxy.host for proxy in self.proxies)):
            self.network.set_weather(Weather(loss=1.0), "a", host)
        self.workers["a"].held[0].callback("done")
        self.network.run(0.1)
        for host in ("client", *(proxy.host for proxy in self.proxies)):
            self.network.set_weather(None, "a", host)
        began = self.now
        self.assertEqual(self.result_of(call), "done")
        self.assertLess(self.now - began, PATIENCE + 0.1)
        self.assertFalse(beside.called)
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(beside), "a")
        self.assertEqual(self.workers["a"].ran[1:], [0, 1])

    # A client that is gone.

    gone_after = 1.6

    def test_client_is_killed(self):
        """What runs for it is cancelled; a cast goes on, and what runs for others."""
        other = self.connect("other")
        theirs = other.call(Target("work", server="a"), "hold", {"number": 9}, timeout=60)
        for number in range(3):
            self.held(args={"number": number}, timeout=60)
        self.result_of(self.client.cast(Target("work", server="a"), "hold", {"number": 7}, timeout=60))
        self.network.run_until(lambda: len(self.workers["a"].held) == 5)
        self.client.node.kill()
        self.network.run(self.gone_after)
        self.assertEqual((self.workers["a"].cancelled, sorted(self.workers["a"].held)), ([0, 1, 2], [7, 9]))
        self.network.run(5)
        self.assertEqual(self.workers["a"].node.notices.counts["caller_gone"], 3)
        self.assertEqual(len(self.lines.about("has no link any more, so 3 of its calls are cancelled")), 1)
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(theirs), "a")

    def test_client_stops(self):
        """Also one that stops and says so."""
        call = self.held()
        closing = self.client.close()
        call.addErrback(lambda _: None)
        self.result_of(closing)
        self.network.run(self.gone_after)
        self.assertEqual(self.workers["a"].cancelled, [0])

    def test_client_that_is_cut_off_for_a_moment(self):
        """Who comes back in time has missed nothing."""
        call = self.held()
        for turn in range(4):
            self.network.run(1.1 + turn / 7)
            for first, second in [("client", "a"), *(("client", proxy.host) for proxy in self.proxies)]:
                self.network.break_connections(first, second)
        self.network.run(4)
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(call), "a")


class DirectTests(WatchedCase, SynchronousTestCase):
    topology = "static-direct"

    numbers = count(1000)

    def load(self, seconds: float) -> list[Any]:
        """Call 200 times a second for a while; return what became of the calls."""
        outcomes: list[Any] = []
        for _ in range(int(seconds * 200)):
            call = self.call(args={"number": next(self.numbers)}, timeout=10.0)
            call.addCallbacks(outcomes.append, lambda failure: outcomes.append(failure.value))
            self.network.run(0.005)
        return outcomes

    def test_killed(self):
        """The caller of what ran there hears of it at once, and a second later nobody notices any more."""
        call = self.held()
        self.load(0.5)
        self.workers["a"].node.kill()
        killed = self.now
        self.assertLessEqual(self.lost(call) - killed, 0.5)
        self.load(1.0)
        self.assertEqual(self.load(1.0), ["b"] * 200)
        ran = [number for worker in self.workers.values() for number in worker.ran if number >= 1000]
        self.assertEqual(len(ran), len(set(ran)))

    def test_killed_and_idempotent(self):
        call = self.client.call(WORK, "hold", {"number": 1}, timeout=60, idempotent=True)
        self.network.run_until(lambda: self.workers["a"].held or self.workers["b"].held)
        first, second = sorted(self.workers.values(), key=lambda worker: not worker.held)
        first.node.kill()
        killed = self.now
        self.network.run_until(lambda: second.held)
        self.assertLessEqual(self.now - killed, 1.0)
        second.let_go()
        self.assertEqual(self.result_of(call), second.name)
        self.assertEqual([worker.ran.count(1) for worker in (first, second)], [1, 1])


class DynamicTests(WatchedCase, SynchronousTestCase):
    topology = "dynamic-direct"


class RoutedTests(WatchedCase, SynchronousTestCase):
    topology = "router-proxy"
    proxy_count = 3
    gone_after = 3.8

    def test_silent_proxies(self):
        """A silent proxy is left as before; when all are silent, calls wait for one that goes on."""
        call = self.held(timeout=100)
        for proxy in self.proxies:
            proxy.clock.pause(20)
        self.network.run(15)
        self.assertFalse(call.called)
        self.network.run(10)
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(call), "a")
        self.assertEqual(self.workers["a"].cancelled, [])

    def test_silent_proxy_before_a_stopped_server(self):
        """Neither keeps the other from being noticed."""
        call = self.held()
        self.idle()
        stopped = self.now
        self.workers["a"].node.clock.pause(30)
        # Later the server is given up before its proxy is.
        self.network.run(3)
        [way] = {link.state.identity for link in self.client.node._links.all() if link.member == "a"}
        proxies = self.client.node._proxies.there.describe()
        [silent] = [proxy for proxy in self.proxies if proxies[proxy.instance.hex()] == way.connection]
        silent.clock.pause(30)
        self.lost(call)
        # The proxy is left 2.5 s after its last word at the latest, and the server is given up after that.
        self.assertLessEqual(self.now - stopped, PATIENCE + 1 + 2.5)
        self.network.run(40)

    def test_client_that_comes_back_too_late(self):
        """It is told that its call was cancelled, and nothing runs twice."""
        call = self.held(timeout=100)
        for proxy in self.proxies:
            self.network.partition("client", proxy.host)
        self.network.run(8)
        self.assertEqual(self.workers["a"].cancelled, [0])
        self.assertFalse(call.called)
        self.network.heal()
        self.lost(call, "the server cancelled it: its client had no link to it")
        self.assertEqual(self.workers["a"].ran[1:], [0])

    def test_no_proxy(self):
        """That there is none says nothing of a client, nor of a server."""
        call = self.held(timeout=100)
        for proxy in self.proxies:
            proxy.kill()
        self.network.run(10)
        self.network.proxy()
        self.network.run(3)
        self.workers["a"].let_go()
        self.assertEqual(self.result_of(call), "a")
        self.assertEqual(self.workers["a"].cancelled, [])
