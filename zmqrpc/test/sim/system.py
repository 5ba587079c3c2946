"""A simulated system: places where one process after another runs, all drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from zmqrpc import Target
from zmqrpc.core.agenda import NEVER
from zmqrpc.errors import ConfigError
from zmqrpc.test.little_proxy import LittleProxy
from zmqrpc.test.sim.asked import Asked
from zmqrpc.test.sim.endpoint import Endpoint, Run
from zmqrpc.testing import History, MemoryNode, MemoryProxy, Network, Weather
from zmqrpc.testing.judge import most_runs

TOPIC = "work"
EVENTS = "events"
DRIFT = 0.001
"""By how much of a second clocks are fast or slow in each: twice what NTP corrects."""

OPTIONS: dict[str, Any] = {
    "rpc_ack_timeout_base": 0.7,
    "zmq_target_expire": 6,
    "zmq_target_update": 1.0,
    "drain_timeout": 3.0,
}
TIGHT: dict[str, tuple[Any, ...]] = {
    "max_running_calls": (2, 5),
    "max_unsettled_calls": (1, 4),
    "max_queued_calls": (1, 4),
    "max_reply_memory": (1024, 2048),
    "max_running_bytes": (1024, 2048),
    "max_queued_bytes": (1024, 2048),
    "max_unsettled_bytes": (1024, 2048),
}
"""Limits that some systems have; each is two of them, and drawn for each process."""

OTHERS: dict[str, tuple[Any, ...]] = {
    "balance": ("least-outstanding",),
    "rpc_use_acks": (False,),
    "rpc_retry_attempts": (0, 1, -1),
    "rpc_retry_budget": (0.0, -1.0),
    "call_monitor_timeout": (0.0, 1.5, 2.0),
    "max_waiting_time": (0.0, 0.05),
}
"""What else than the default some processes have."""

AWAKE = 0.1
"""For how many seconds at least a process does what it has to that has stood, before it stands again."""

LONG_EVERY = 10
LONG_FIRST = 5
"""Of so many seeds one is a long day, from that on: with faults, methods and timeouts that outlast every timer."""

_PROXY_PORTS = ("proxy_frontend_port", "proxy_backend_port", "proxy_publisher_port")


@attrs.define(eq=False)
class Place:
    """
    A host and what runs there.

    :ivar role: ``client``, ``server`` or ``proxy``.
    :ivar options: options of `Settings` that its processes are started with.
    :ivar topic: what a server serves there.
    :ivar process: the one that runs; None while there is none.
    :ivar client: what a client calls with; `notifier` alike.
    :ivar stands_until: when it goes on, if it stands.
    :ivar began: when that process has started.
    """

    host: str
    role: str
    options: dict[str, Any]
    topic: str = TOPIC
    process: Any = None
    client: Any = None
    notifier: Any = None
    stands_until: float = 0.0
    began: float = 0.0


class System:
    """
    One to three clients, two to four servers, up to three proxies, a store, and the network between them.

    :param seed: what everything is drawn from.
    :param gentle: whether there are always three proxies that publish, and nothing is lost on the way.
    :ivar chance: draws whatever else has to be drawn.
    :ivar calls: how most clients call.
    :ivar publishes: whether fan-outs are published.
    :ivar tight: whether processes have small limits.
    :ivar proxied: whether there are proxies, and `little` whether those are `LittleProxy`.
    :ivar rough: whether messages are lost, or connections, by the weather alone.
    :ivar long: whether the day is long, with `slowest`, `longest_timeout` and `longest_stand` in seconds.
    :ivar hedges: whether clients hedge, and ask mostly for what may be hedged.
    :ivar history: what is asked, runs and is told.
    :ivar asked: what has been asked, and has not ended.
    :ivar runs: the methods that do not end at once.
    :ivar patience: the ``call_monitor_timeout`` of each instance that is no proxy.
    :ivar most_runs: how often something idempotent may run, by the instance that asks for it.
    :ivar all_go_at: when every process goes on that stands.
    :ivar is_busy: whether a method runs that takes some time, and is called further up.
    :ivar clocks_go: whether the clock of no process has stood so far.
    :ivar events: what befell whom, for the search of a fault.
    :ivar stops: the processes that were told to stop, and what fires when they have.
    """

    def __init__(self, seed: int, gentle: bool = False) -> None:
        self.chance = Random(seed)
        self.calls = self.chance.choice(["static-direct", "static-direct", "dynamic-direct", "router-proxy"])
        self.publishes = gentle or self.chance.random() < 0.3
        self.tight = not gentle and self.chance.random() < 0.25
        self.proxied = self.publishes or self.calls == "router-proxy"
        # Those of our own reading of the specification can also be told to misbehave; they publish nothing.
        self.little = self.proxied and not self.publishes and self.chance.random() < 0.3
        weather = self.weather(gentle=gentle)
        self.rough = bool(weather.loss or weather.refusal or weather.breakage or weather.duplication)
        self.network = Network(seed, weather)
        self.long = not gentle and seed % LONG_EVERY == LONG_FIRST
        self.slowest, self.longest_timeout, self.longest_stand = (10.0, 20.0, 12.0) if self.long else (1.5, 3.0, 3.0)
        self.hedges = not gentle and self.chance.random() < 0.1
        self.history = History(self.network.clock.seconds)
        self.asked = Asked(self.history, self.network.clock.seconds)
        self.runs: list[Run] = []
        self.patience: dict[str, float] = {}
        self.most_runs: dict[str, float] = {}
        self.clocks_go = True
        self._gentle = gentle
        self.is_busy = False
        self.all_go_at = 0.0
        self.events: list[str] = []
        self.stops: list[tuple[Any, Deferred[None]]] = []
        self.places: list[Place] = []
        (self._populate_gently if gentle else self._populate)()

    def _populate(self) -> None:
        chance, suffix = self.chance, "+pub-sub" * self.publishes
        for number in range(chance.choice([1, 2, 2, 3]) if self.proxied else 0):
            self._add(f"proxy-{number}", "proxy", OPTIONS | {"use_pub_sub": self.publishes})
        for number in range(chance.choice([2, 2, 2, 3, 4])):
            self._add(f"server-{number}", "server", OPTIONS | {"zmq_topology": self.calls + suffix})
        for number in range(chance.choice([1, 1, 1, 2, 3])):
            # One that goes its own way finds the servers all the same.
            calls = self.calls if chance.random() < 0.8 else "static-direct"
            publishes = suffix if chance.random() < 0.9 else ""
            self._add(f"client-{number}", "client", OPTIONS | {"zmq_topology": calls + publishes})

    def _populate_gently(self) -> None:
        for number in range(3):
            self._add(f"proxy-{number}", "proxy", {"use_pub_sub": True, "drain_timeout": 5.0})
        for number in range(4):
            self._add(f"server-{number}", "server", {"use_pub_sub": True, "drain_timeout": 10.0})
        for number, calls in enumerate(["router-proxy", "router-proxy", "static-direct"]):
            self._add(f"client-{number}", "client", {"zmq_topology": f"{calls}+pub-sub"})

    def weather(self, bad: bool = False, gentle: bool = False) -> Weather:
        """
        Draw what happens to messages.

        Nobody sends a message twice as it is. A server knows by its filter that it has it; a proxy does not, and gives
        the second copy back when the server is gone to which the first has gone: so only where there are no proxies.

        :param bad: whether it is that of one way between two hosts, and worse than there is everywhere.
        :param gentle: whether there is nothing but delay.
        """
        chance, much = self.chance, 5 if bad else 1
        rough = 0.2 if bad else chance.choice([0.001, 0.005, 0.03])
        delay = (rough / 5, rough)
        if gentle or (not bad and chance.random() < 0.3):
            return Weather(delay=delay)
        return Weather(
            delay=delay,
            loss=chance.choice([0, 0, 0.03 * much]),
            duplication=0 if self.proxied else chance.choice([0, 0, 0.1 * much]),
            refusal=chance.choice([0, 0, 0.2 * much]),
            breakage=chance.choice([0, 0, 0.01 * much]),
        )

    @property
    def now(self) -> float:
        """The time by no process's clock."""
        return self.network.clock.seconds()

    def note(self, what: str) -> None:
        """Remember what happens."""
        self.events.append(f"{self.now:.4f} {what}")

    # Who is there

    def of(self, *roles: str) -> list[Place]:
        """List the places of some roles where a process runs."""
        return [place for place in self.places if place.role in roles and place.process is not None]

    def _add(self, host: str, role: str, options: dict[str, Any]) -> None:
        if self.tight or (self.hedges and role == "server"):
            options |= {
                name: self.chance.choice(limits) for name, limits in TIGHT.items() if self.chance.random() < 0.4
            }
        if "max_reply_memory" in options:
            # Several clients together pass it sooner than one of them alone.
            options |= {"max_replies_memory": options["max_reply_memory"]}
        if role == "client" and self.hedges:
            options |= {"hedge_calls": True}
        if role != "proxy" and not self._gentle:
            options |= {name: self.chance.choice(each) for name, each in OTHERS.items() if self.chance.random() < 0.2}
        place = Place(host, role, options)
        self.places.append(place)
        self.start(place)

    def start(self, place: Place, ports: tuple[int, ...] = ()) -> None:
        """
        Start a process, and again in a moment when its predecessor still has the ports.

        :param ports: those that it has to bind; none for any.
        """
        try:
            process = getattr(self, f"_start_{place.role}")(place, dict(place.options), ports)
        except ConfigError:
            self.network.clock.callLater(0.1, self.start, place, ports)
            return
        place.process, place.began, place.stands_until = process, self.now, 0.0
        if place.role != "proxy":
            instance, settings = process.instance.hex(), process.settings
            self.patience[instance] = settings.call_monitor_timeout
            self.most_runs[instance] = most_runs(settings)
        self.note(f"{place.host} starts, {process.instance.hex()[:8]}")

    def _set_drift(self, process: Any) -> None:
        process.clock.set_rate(self.chance.uniform(1 - DRIFT, 1 + DRIFT))

    def _start_client(self, place: Place, options: dict[str, Any], ports: tuple[int, ...]) -> MemoryNode:
        node = MemoryNode(self.network, host=place.host, **options)
        self._set_drift(node)
        node.startService()
        place.client, place.notifier = node.client(), node.notifier(place.host, [EVENTS])
        return node

    def _start_server(self, place: Place, options: dict[str, Any], ports: tuple[int, ...]) -> MemoryNode:
        if ports:
            options |= {"rpc_zmq_min_port": ports[0], "rpc_zmq_max_port": ports[0] + 1}
        node = MemoryNode(self.network, host=place.host, **options)
        self._set_drift(node)
        endpoint = Endpoint(self, node, place)
        node.server(Target(TOPIC, server=place.host), [endpoint])
        if self.chance.random() < 0.5:
            node.listener([Target(EVENTS)], [endpoint], place.host)
        try:
            node.startService()
        except ConfigError:
            self.network.nodes.remove(node)
            raise
        return node

    def _start_proxy(self, place: Place, options: dict[str, Any], ports: tuple[int, ...]) -> Any:
        if self.little:
            return LittleProxy(self.network, place.host)
        options |= dict(zip(_PROXY_PORTS, ports, strict=False))
        proxy = MemoryProxy(self.network, host=place.host, **options)
        self._set_drift(proxy)
        try:
            proxy.startService()
        except ConfigError:
            self.network.proxies.remove(proxy)
            raise
        return proxy

    # Who goes

    def kill(self, place: Place) -> tuple[int, ...]:
        """End a process without a goodbye; return the ports that it had bound."""
        process, place.process = place.process, None
        ports = ports_of(process)
        self.note(f"{place.host} is killed, {process.instance.hex()[:8]}")
        self._killed(process)
        return ports

    def stop(self, place: Place) -> tuple[int, ...]:
        """Tell a process to stop; return the ports that it has bound."""
        if self.little and place.role == "proxy":
            return self.kill(place)
        process, place.process = place.process, None
        ports = ports_of(process)
        self.note(f"{place.host} is told to stop, {process.instance.hex()[:8]}")
        self.stops.append((process, process.stopService()))
        return ports

    def kill_in_its_stop(self, process: Any) -> None:
        """Kill a process that was told to stop."""
        self.note(f"{process.instance.hex()[:8]} is killed in its stop")
        self._killed(process)

    def _killed(self, process: Any) -> None:
        if isinstance(process, MemoryNode):
            self.history.died(process.instance.hex(), "client" if process.address is None else "server")
        process.kill()
        self.stops = [(other, stopped) for other, stopped in self.stops if other is not process]

    def stand(self, place: Place, seconds: float, clock: bool) -> None:
        """Let a process stand, as SIGSTOP does; or its clock as well, as a host that is suspended does."""
        if place.stands_until + AWAKE > self.now > AWAKE:
            return
        self.note(f"{place.host} {'is suspended' if clock else 'stands'} for {seconds:.3f} s")
        place.stands_until = self.now + seconds
        self.all_go_at = max(self.all_go_at, place.stands_until)
        self.clocks_go = self.clocks_go and not clock
        if place.role != "proxy":
            self.history.stood(place.process.instance.hex(), seconds, clock)
        (place.process.clock.suspend if clock else place.process.clock.pause)(seconds)

    def block(self, place: Place, node: MemoryNode, seconds: float) -> None:
        """Let a process stand from the end of its pass on, as one whose method does not return; not one that stops."""
        if place.process is node:
            self.stand(place, seconds, clock=False)

    def keep_busy(self, place: Place, node: MemoryNode, seconds: float) -> None:
        """Let a process do nothing else for some time, while all others go on; one at a time, and none that stops."""
        if self.is_busy or place.process is not node or place.stands_until + AWAKE > self.now:
            return
        self.is_busy = True
        self.stand(place, seconds, clock=False)
        self.network.run(seconds)
        self.is_busy = False

    # The end

    def stop_all(self, most: float) -> None:
        """
        Stop everything, and let time pass until nothing of it should be left.

        :param most: seconds that a process may take.
        """
        self.network.run_until(lambda: all(place.process for place in self.places), 10, "all start again")
        # Nodes say goodbye through proxies.
        for roles in (("client", "server"), ("proxy",)):
            for place in self.of(*roles):
                self.stop(place)
            self.network.result_of(gatherResults([stopped for _, stopped in self.stops]), most)
        # One that was told to stop long ago may have stood until now.
        self.network.run(max(0.0, self.all_go_at - self.now) + 3)

    def left(self) -> Iterator[object]:
        """List what a system leaves that has stopped, and should not."""
        yield from self.network.clock.getDelayedCalls()
        yield from self.network.ends_left()
        for node in self.network.nodes:
            if node.state == "stopped":
                yield from node._links.all()
                yield from node._callers.requests.waiting
                yield from ["calls that run"] * node._callers.requests.running
                if node._delivery.wake_at < NEVER:
                    yield "calls that wait for discovery"
            elif node.state != "killed":
                yield f"a node that is {node.state}"


def ports_of(process: Any) -> tuple[int, ...]:
    """List the ports that a process has bound, in the order in which its options name them."""
    addresses: list[str] = []
    if isinstance(process, MemoryProxy):
        router, *publishers = process.records
        addresses = [*router.addresses, *(publisher.addresses[-1] for publisher in publishers)]
    elif isinstance(process, MemoryNode) and process.address is not None:
        addresses = [process.address]
    return tuple(int(address.rpartition(":")[2]) for address in addresses)
