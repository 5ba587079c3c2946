"""
A network in memory on which whole systems of Nodes run: one process, one `task.Clock`, one seed.

Everything that chance decides is drawn from the seed, so a run that failed fails again in the same way with the same
seed. Time passes only when a test lets it, from event to event: a simulated minute of little traffic costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

from zmqrpc.address import LOOPBACK
from zmqrpc.client import RPCClient
from zmqrpc.core.agenda import NEVER
from zmqrpc.errors import DeliveryError
from zmqrpc.server import RPCServer
from zmqrpc.target import Target
from zmqrpc.testing.clock import SortedClock
from zmqrpc.testing.fake import Fake
from zmqrpc.testing.node import MemoryNode
from zmqrpc.testing.proxy import MemoryProxy
from zmqrpc.testing.report import report, where_it_waits
from zmqrpc.testing.store import Store
from zmqrpc.testing.weather import Weather
from zmqrpc.testing.wiring import Wiring

T = TypeVar("T")

_SETTLE_SECONDS = 5.0
"""How long what nodes leave behind when they stop is on its way: connections that end, timers that find nothing."""


class Stuck(AssertionError):
    """What a test waits for does not happen: nothing is scheduled any more, or the time it was given is over."""


class Unfinished(AssertionError):
    """A test has ended and left something: calls that nobody waited for, timers, or calls that were expected."""


class Network(Wiring):
    """
    Any number of hosts, and the way between each two.

    Hosts are named by who uses them first, and have a numeric address each. A host stays when a process on it ends.
    As a context manager it closes itself.

    :param seed: what every chance is drawn from.
    :param weather: what happens to messages where `set_weather` says nothing else.
    :param clock: the clock that everything runs on; None for a new one.
    :ivar clock: the same.
    :ivar store: where the nodes register that are given no other store.
    :ivar nodes: every node that was made here, dead or alive.
    :ivar proxies: every proxy.
    """

    def __init__(self, seed: int = 0, weather: Weather | None = None, clock: Clock | None = None) -> None:
        super().__init__(seed, weather, clock)
        self.store = Store(self.clock)
        self.nodes: list[MemoryNode] = []
        self.proxies: list[MemoryProxy] = []
        self._fakes: list[Fake] = []
        self._failed = False

    def everybody(self) -> list[MemoryNode | MemoryProxy]:
        """List the nodes and the proxies."""
        return [*self.nodes, *self.proxies]

    # Who takes part

    def serve(self, target: Target | str, *endpoints: object, host: str | None = None, **options: Any) -> MemoryNode:
        """
        Start a node that serves endpoints under a target, and let time pass until it is registered.

        :param target: a `Target`, or its spelling: ``calc``, or ``calc.one`` for the member ``one``.
        :param host: where it runs; None for a host called like the member, or like the topic when none is named.
        :param options: options of `Settings` that differ.
        :raises ConfigError: as `Node.server`.
        """
        node, _ = self._serve(target, endpoints, host, options)
        return node

    def client(self, targets: Iterable[Target] = (), host: str = "client", **options: Any) -> RPCClient:
        """
        Start a node that only calls, and return its client, whose `close` stops it.

        :param targets: as for `Node.client`.
        :param options: options of `Settings` that differ.
        """
        node = MemoryNode(self, host=host, **options)
        client = node.client(targets)
        node.startService()
        client.closes_with(node.stopService)
        return client

    def listen(
        self, target: Target | str, *endpoints: object, pool: str | None = None, host: str | None = None, **options: Any
    ) -> MemoryNode:
        """
        Start a node that listens for notifications, and let time pass until it is registered.

        :param target: a `Target`; or a topic, taken literally.
        :param pool: as for `Node.listener`.
        :param host: as for `serve`.
        :param options: options of `Settings` that differ.
        :raises ConfigError: as `Node.listener`.
        """
        target = Target(target) if isinstance(target, str) else target
        node = MemoryNode(self, host=host or target.server or target.topic, **options)
        node.listener([target], endpoints, pool)
        self._start(node)
        return node

    def proxy(self, host: str | None = None, **options: Any) -> MemoryProxy:
        """
        Start a proxy, and let time pass until it is registered.

        :param host: where it runs, and its name; None for a new one.
        :param options: options of `Settings` that differ; ``proxy_type`` names a kind that is no router proxy.
        :raises ConfigError: as `ProxyNode`.
        """
        proxy = MemoryProxy(self, host=host, **options)
        self._start(proxy)
        return proxy

    def fake(self, target: Target | str, *methods: type | str, host: str | None = None, **options: Any) -> Fake:
        """
        Serve a double under a target: it answers as it is told, for the test of a client.

        :param methods: an endpoint's class, whose methods, parameters and `target` it takes over; or names of methods.
        :param host: as for `serve`.
        :return: the double; `close` verifies it.
        """
        fake = Fake(*methods, name=str(target), clock=self.clock)
        fake.node, server = self._serve(target, [fake.endpoint], host, options)
        # What a double raises was asked for; trial would take the line in the log for a fault of the test.
        server.log = Logger(observer=LogPublisher())
        self._fakes.append(fake)
        return fake

    def _serve(
        self, target: Target | str, endpoints: Iterable[object], host: str | None, options: dict[str, Any]
    ) -> tuple[MemoryNode, RPCServer]:
        target = Target.parse(target) if isinstance(target, str) else target
        node = MemoryNode(self, host=host or target.server or target.topic, **options)
        server = node.server(target, endpoints)
        self._start(node)
        return node, server

    def _start(self, node: MemoryNode | MemoryProxy) -> None:
        node.startService()
        if self.store.available and self.store.writable:
            self.result_of(node.when_ready())

    # Faults

    def set_weather(self, weather: Weather | None, source: str | None = None, target: str | None = None) -> None:
        """
        Change the weather: everywhere, or from one host to another.

        :param weather: None for that of the network again.
        """
        if source is not None and target is not None:
            self._path(source, target).own_weather = weather
        else:
            self.weather = weather or Weather()

    def cut(self, source: str, target: str) -> None:
        """
        Let nothing through from one host to another; what is under way is held.

        A connection whose data is held, or not acknowledged, for 1.5 s ends at both ends, and takes the data with it.
        """
        self._path(source, target).cut = True

    def partition(self, first: str, second: str) -> None:
        """Let nothing through between two hosts."""
        self.cut(first, second)
        self.cut(second, first)

    def isolate(self, host: str) -> None:
        """Let nothing through between a host and any other."""
        for other in self._addresses:
            if other != host:
                self.partition(host, other)

    def heal(self, first: str | None = None, second: str | None = None) -> None:
        """Let everything through again between two hosts, between one and all others, or everywhere."""
        named = {first, second} - {None}
        for path in self._paths.values():
            if named <= {path.source, path.target}:
                path.cut = False
        for connection in list(self._connections):
            connection.healed()

    def refuse(self, host: str) -> None:
        """Refuse new connections to a host, as a firewall does or a process out of descriptors."""
        self._refusing.add(host)

    def accept(self, host: str) -> None:
        """Take back `refuse`."""
        self._refusing.discard(host)

    def break_connections(self, first: str, second: str) -> None:
        """Break every connection between two hosts; of what is under way a part still arrives."""
        for connection in list(self._connections):
            if connection.goes_between(first, second):
                connection.snap()

    def knock(self, host: str, address: str) -> None:
        """
        Connect from a host as somebody who does not speak ZeroMQ's protocol: a port scanner, a browser.

        :param address: ``tcp://host:port``, the address of a node for example.
        """
        name, _, port = address.removeprefix("tcp://").rpartition(":")
        own, target = self.add_host(host), self._addresses.get(name, name)
        path = self._path(host, self._name_of(target, host))

        def arrive() -> None:
            server = None if path.cut else self.listener((target, int(port)), path)
            if server is not None:
                server.knocked(LOOPBACK if target == LOOPBACK else own)

        self.clock.callLater(self.chance.uniform(*path.weather.delay), arrive)

    # Time

    def step(self) -> bool:
        """Go on to the next event; False when there is none."""
        at = self._next_at()
        if at == NEVER:
            return False
        self.clock.advance(max(0.0, at - self.clock.seconds()))
        return True

    def run(self, seconds: float) -> None:
        """Let time pass, with everything that happens in it."""
        until = self.clock.seconds() + seconds
        clock = self.clock
        if isinstance(clock, SortedClock):
            clock.run_until(until)
            return
        while self._next_at() <= until:
            self.step()
        clock.advance(max(0.0, until - clock.seconds()))

    def run_until(self, condition: Callable[[], Any], most: float = 600.0, what: str = "") -> None:
        """
        Let time pass until something holds.

        :param most: seconds, by the clock of the network.
        :param what: what is waited for, for the text of the error; None for the line that has the condition.
        :raises Stuck: it does not hold by then, or nothing happens any more. The text says what was waited for, which
            calls are in flight, who serves, and what the network did last.
        """
        self._run_until(condition, most, lambda: what or where_it_waits(condition))

    def result_of(self, waited_for: Deferred[T] | Coroutine[Any, Any, T], most: float = 600.0) -> T:
        """
        Let time pass until a Deferred fires or a coroutine returns, and return its result.

        :raises Exception: what it failed with; a note on a `DeliveryError` says when, who served, and what was broken.
        :raises Stuck: as `run_until`.
        """
        deferred = waited_for if isinstance(waited_for, Deferred) else Deferred.fromCoroutine(waited_for)
        results: list[Any] = []
        deferred.addBoth(results.append)
        self._run_until(lambda: results, most, lambda: self._name(waited_for))
        if isinstance(results[0], Failure):
            if isinstance(results[0].value, DeliveryError):
                facts = report(self, "serving", "broken")
                results[0].value.add_note(f"in memory, seed {self.seed}, at {self.clock.seconds():.4f} s\n{facts}")
            results[0].raiseException()
        result: T = results[0]
        return result

    def _next_at(self) -> float:
        clock = self.clock
        if isinstance(clock, SortedClock):
            return clock.next_at()
        return min((call.getTime() for call in clock.calls), default=NEVER)

    def _name(self, waited_for: object) -> str:
        asked = (node.asked.find(waited_for) for node in self.nodes if isinstance(waited_for, Deferred))
        found = next(filter(None, asked), None)
        return where_it_waits(waited_for) if found is None else str(found)

    def _run_until(self, condition: Callable[[], Any], most: float, name: Callable[[], str]) -> None:
        until = self.clock.seconds() + most
        while not condition():
            why = ""
            if not self.clock.calls:
                why = "this cannot happen: nothing is scheduled"
            elif self._next_at() > until:
                self.run(until - self.clock.seconds())
                why = f"this has not happened after {most:g} s"
            if why:
                self._failed = True
                when = f"(seed {self.seed}, at {self.clock.seconds():.4f} s)"
                raise Stuck(f"{why} {when}: {name()}\n{report(self)}")
            self.step()

    # The end

    def close(self) -> None:
        """
        End the test: stop every node that runs, and say what was left.

        :raises Unfinished: a call has not ended, a timer is still to come when all nodes have stopped, or a double
            was called in another way than it was told. Not when a wait has failed before: that is the error to see.
        """
        now = self.clock.seconds()
        left = [asked for node in self.nodes if node.state != "killed" for asked in node.asked.open()]
        faults = [f"  this has not ended, wait for it or cancel it: {asked.describe(now)}" for asked in left]
        for asked in left:
            asked.deferred.addErrback(lambda failure: None)
        self._calm()
        for node in reversed(self.nodes):
            if node.state == "running":
                node.stopService()
        self.run_until(lambda: all(node.state != "stopping" for node in self.nodes), what="every node stops")
        # Last, since nodes say goodbye through them.
        for proxy in self.proxies:
            if proxy.state == "running":
                proxy.stopService()
        self.run_until(lambda: all(proxy.state != "stopping" for proxy in self.proxies), what="every proxy stops")
        self.run(_SETTLE_SECONDS)
        for call in list(self.clock.getDelayedCalls()):
            faults.append(f"  this is still to come, cancel it before the end: {call}")
            call.cancel()
        faults += [f"  {fault}" for fake in self._fakes for fault in fake.faults()]
        if faults and not self._failed:
            self._failed = True
            raise Unfinished(f"the test has ended (seed {self.seed}, at {now:.4f} s), and:\n" + "\n".join(faults))

    def _calm(self) -> None:
        """Take back every fault, so that nodes stop as they do on a good day."""
        for store in {id(node.store): node.store for node in self.everybody()}.values():
            store.come_back()
        self.heal()
        self.weather = Weather()
        for path in self.paths():
            path.own_weather = None

    def __enter__(self) -> Self:
        """Return the network."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it; what failed inside is not hidden by what it left."""
        self._failed = self._failed or error is not None
        self.close()
