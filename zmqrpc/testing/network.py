"""
A network in memory on which whole systems of Nodes run: one process, one `task.Clock`, one seed.

Everything that chance decides is drawn from the seed, so a run that failed fails again in the same way with the same
seed. Time passes only when a test lets it, from event to event: a simulated minute of little traffic costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.testing.clock import ProcessClock
from zmqrpc.testing.connection import Connection
from zmqrpc.testing.pipe import Mark
from zmqrpc.testing.transport import MemoryBoundRouter, MemoryConnectingRouter, MemoryTransport
from zmqrpc.testing.weather import Weather

T = TypeVar("T")

_LOOPBACK = "127.0.0.1"


class Path:
    """
    One direction between two hosts.

    :ivar back: the other direction.
    :ivar cut: whether nothing gets through.
    """

    back: Path

    def __init__(self, network: Network, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.cut = False
        self.own_weather: Weather | None = None
        self._network = network

    @property
    def weather(self) -> Weather:
        """The weather here: its own, or that of the network."""
        return self.own_weather or self._network.weather


class Stuck(AssertionError):
    """What a test waits for does not happen: nothing is scheduled any more, or the time it was given is over."""


class Network:
    """
    Any number of hosts, and the way between each two.

    Hosts are named by who uses them first, and have a numeric address each. A host stays when a process on it ends.

    :param seed: what every chance is drawn from.
    :param weather: what happens to messages where `set_weather` says nothing else.
    :param clock: the clock that everything runs on; None for a new one.
    """

    def __init__(self, seed: int = 0, weather: Weather | None = None, clock: Clock | None = None) -> None:
        self.seed = seed
        self.clock = clock or Clock()
        self.chance = Random(seed)
        self.weather = weather or Weather()
        self._addresses: dict[str, str] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._bound: dict[tuple[str, int], MemoryBoundRouter] = {}
        self._refusing: set[str] = set()
        self._connections: dict[Connection, None] = {}
        self._history = hashlib.sha256()

    # Hosts

    def transport(
        self, host: str, clock: ProcessClock | None = None, max_message_size: int = 64 * 2**20
    ) -> MemoryTransport:
        """
        Make the sockets of a process.

        :param host: the host it runs on.
        :param clock: the clock of the process; None for one that nothing stops.
        """
        self.add_host(host)
        return MemoryTransport(self, host, clock or ProcessClock(self.clock), max_message_size)

    def add_host(self, host: str) -> str:
        """Add a host, unless it is there; return its numeric address."""
        number = len(self._addresses) + 1
        return self._addresses.setdefault(host, f"10.0.{number // 250}.{number % 250 + 1}")

    def address_of(self, host: str) -> str | None:
        """Return the numeric address of a host, None when there is none of that name."""
        return self._addresses.get(host)

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
                server.knocked(_LOOPBACK if target == _LOOPBACK else own)

        self.clock.callLater(self.chance.uniform(*path.weather.delay), arrive)

    # Time

    def step(self) -> bool:
        """Go on to the next event; False when there is none."""
        calls = self.clock.calls
        if not calls:
            return False
        self.clock.advance(max(0.0, calls[0].getTime() - self.clock.seconds()))
        return True

    def run(self, seconds: float) -> None:
        """Let time pass, with everything that happens in it."""
        until = self.clock.seconds() + seconds
        while self.clock.calls and self.clock.calls[0].getTime() <= until:
            self.step()
        self.clock.advance(max(0.0, until - self.clock.seconds()))

    def run_until(self, condition: Callable[[], Any], most: float = 600.0) -> None:
        """
        Let time pass until something holds.

        :param most: seconds, by the clock of the network.
        :raises Stuck: it does not hold by then, or nothing happens any more.
        """
        until = self.clock.seconds() + most
        while not condition():
            if self.clock.seconds() > until:
                raise Stuck(f"it does not hold after {most:g} s (seed {self.seed})")
            if not self.step():
                raise Stuck(f"it does not hold and nothing is scheduled (seed {self.seed})")

    def result_of(self, deferred: Deferred[T], most: float = 600.0) -> T:
        """
        Let time pass until a Deferred fires, and return its result.

        :raises Exception: what it failed with.
        :raises Stuck: it does not fire by then.
        """
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.run_until(lambda: results, most)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    @property
    def history(self) -> str:
        """A digest of everything that has arrived or was lost so far: equal for equal runs."""
        return self._history.hexdigest()

    # For transports and connections

    def connect(self, router: MemoryConnectingRouter, host: str, address: str, identity: bytes) -> Connection:
        """Begin a connection from a host to an address with a numeric host."""
        target, separator, port = address.removeprefix("tcp://").rpartition(":")
        if not (address.startswith("tcp://") and separator and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(f"cannot connect to {address}: Invalid argument")
        path = self._path(host, self._name_of(target, host))
        connection = Connection(self, router, path, (target, int(port)), identity)
        self._connections[connection] = None
        return connection

    def listener(self, address: tuple[str, int], path: Path) -> MemoryBoundRouter | None:
        """Return who takes a connection that comes by a path, None when it is refused."""
        if path.target in self._refusing:
            return None
        host = self._addresses.get(path.target)
        wanted = [(address[0], address[1]), ("0.0.0.0", address[1])]
        for numeric, port in wanted:
            router = self._bound.get((f"{host} {numeric}", port))
            if router is not None:
                return router
        return None

    def bind(self, router: MemoryBoundRouter, host: str, interface: str, ports: Iterable[int]) -> str:
        """Bind a router to the first free port of a host's interface."""
        own = self.add_host(host)
        if interface not in ("*", "0.0.0.0", _LOOPBACK, own):
            raise ConfigError(f"cannot bind {interface}: No such device")
        numeric = "0.0.0.0" if interface == "*" else interface
        tries = 0
        for wanted in ports:
            tries += 1
            port = wanted or self.chance.randint(49152, 65535)
            if not any(self._bound.get((f"{own} {other}", port)) for other in ("0.0.0.0", _LOOPBACK, own)):
                self._bound[f"{own} {numeric}", port] = router
                return f"tcp://{numeric}:{port}"
        raise PortRangeExhausted(f"none of {tries} tries could bind {interface}: Address already in use")

    def unbind(self, router: MemoryBoundRouter) -> None:
        """Free what a router has bound."""
        for key in [key for key, bound in self._bound.items() if bound is router]:
            del self._bound[key]

    def forget(self, connection: Connection) -> None:
        """Take that a connection has ended at both ends."""
        self._connections.pop(connection, None)

    def note(self, what: str, path: Path, item: bytes | Mark = b"") -> None:
        """Add an event to the history."""
        self._history.update(f"{self.clock.seconds():.9f} {what} {path.source} {path.target} ".encode())
        self._history.update(item if type(item) is bytes else str(item).encode())

    def _name_of(self, numeric: str, seen_from: str) -> str:
        """Return the host that has a numeric address, the address itself when none has."""
        if numeric == _LOOPBACK:
            return seen_from
        return next((name for name, address in self._addresses.items() if address == numeric), numeric)

    def _path(self, source: str, target: str) -> Path:
        path = self._paths.get((source, target))
        if path is None:
            path = self._paths[source, target] = Path(self, source, target)
            if source == target:
                path.back = path
            else:
                path.back = back = self._paths[target, source] = Path(self, target, source)
                back.back = path
        return path
