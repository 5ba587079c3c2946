"""The hosts of a network in memory, the way between each two, and what is bound and connected there."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from random import Random

from twisted.internet.task import Clock

from zmqrpc.address import LOOPBACK
from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.testing.clock import ProcessClock, SortedClock
from zmqrpc.testing.connection import Connection
from zmqrpc.testing.ends import Bound, Connecting
from zmqrpc.testing.pipe import Item
from zmqrpc.testing.transport import MemoryTransport
from zmqrpc.testing.weather import Weather

_EVENTS = 200
"""How many of the last events are kept for the text of a failure, which leaves out what only keeps links alive."""


class Path:
    """
    One direction between two hosts.

    :param source: the name of the host that it leads from.
    :param target: that of the host it leads to.
    :ivar own_weather: what happens to messages on it; None for the weather of the network.
    :ivar back: the other direction.
    :ivar cut: whether nothing gets through.
    """

    back: Path

    def __init__(self, wiring: Wiring, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.cut = False
        self.own_weather: Weather | None = None
        self._wiring = wiring

    @property
    def weather(self) -> Weather:
        """The weather here: its own, or that of the network."""
        return self.own_weather or self._wiring.weather


class Wiring:
    """
    What the sockets of all processes see of the network.

    :param seed: what every chance is drawn from.
    :param weather: what happens to messages.
    :param clock: the clock that everything runs on; None for a new one.
    :ivar chance: gives everything that happens by chance.
    :ivar events: the last ones: when, what happened, from where to where, and a message or a mark.
    """

    def __init__(self, seed: int = 0, weather: Weather | None = None, clock: Clock | None = None) -> None:
        self.seed = seed
        self.clock = clock or SortedClock()
        self.chance = Random(seed)
        self.weather = weather or Weather()
        self.events: deque[tuple[float, str, str, str, Item]] = deque(maxlen=_EVENTS)
        self._addresses: dict[str, str] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._bound: dict[tuple[str, int], Bound] = {}
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

    @property
    def history(self) -> str:
        """A digest of everything that has arrived or was lost so far: equal for equal runs."""
        return self._history.hexdigest()

    def paths(self) -> list[Path]:
        """List the ways that were ever used, or cut."""
        return list(self._paths.values())

    def refusing(self) -> list[str]:
        """List the hosts that refuse connections."""
        return sorted(self._refusing)

    def ends_left(self) -> list[str]:
        """List what is bound or connected."""
        bound = [f"{host} {port} is bound" for host, port in self._bound]
        return bound + [f"a connection to {each.address[0]}:{each.address[1]}" for each in self._connections]

    # For transports and connections

    def connect(self, router: Connecting, host: str, address: str, identity: bytes) -> Connection:
        """Begin a connection from a host to an address with a numeric host, or to a path on the host itself."""
        if address.startswith("ipc://"):
            connection = Connection(self, router, self._path(host, host), (address.removeprefix("ipc://"), 0), identity)
            self._connections[connection] = None
            return connection
        target, separator, port = address.removeprefix("tcp://").rpartition(":")
        if not (address.startswith("tcp://") and separator and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(f"cannot connect to {address}: Invalid argument")
        path = self._path(host, self._name_of(target, host))
        connection = Connection(self, router, path, (target, int(port)), identity)
        self._connections[connection] = None
        return connection

    def listener(self, address: tuple[str, int], path: Path) -> Bound | None:
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

    def bind(self, router: Bound, host: str, interface: str, ports: Iterable[int]) -> str:
        """Bind a router to the first free port of a host's interface."""
        own = self.add_host(host)
        if interface not in ("*", "0.0.0.0", LOOPBACK, own):
            raise ConfigError(f"cannot bind {interface}: No such device")
        numeric = "0.0.0.0" if interface == "*" else interface
        tries = 0
        for wanted in ports:
            tries += 1
            port = wanted or self.chance.randint(49152, 65535)
            if not any(self._bound.get((f"{own} {other}", port)) for other in ("0.0.0.0", LOOPBACK, own)):
                self._bound[f"{own} {numeric}", port] = router
                return f"tcp://{numeric}:{port}"
        raise PortRangeExhausted(f"cannot bind {interface} on any of {tries} ports tried: Address already in use")

    def bind_path(self, router: Bound, host: str, path: str) -> str:
        """Bind a router to a path of a host."""
        key = (f"{self.add_host(host)} {path}", 0)
        if key in self._bound:
            raise ConfigError(f"somebody listens at {path} already; it is run once on each host")
        self._bound[key] = router
        return f"ipc://{path}"

    def unbind(self, router: Bound) -> None:
        """Free what a router has bound."""
        for key in [key for key, bound in self._bound.items() if bound is router]:
            del self._bound[key]

    def forget(self, connection: Connection) -> None:
        """Take that a connection has ended at both ends."""
        self._connections.pop(connection, None)

    def note(self, what: str, path: Path, item: Item = b"") -> None:
        """Add an event to the history."""
        self.events.append((self.clock.seconds(), what, path.source, path.target, item))
        self._history.update(f"{self.clock.seconds():.9f} {what} {path.source} {path.target} ".encode())
        for part in item if type(item) is tuple else (item,):
            self._history.update(part if type(part) is bytes else str(part).encode())

    def _name_of(self, numeric: str, seen_from: str) -> str:
        """Return the host that has a numeric address, the address itself when none has."""
        if numeric == LOOPBACK:
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
