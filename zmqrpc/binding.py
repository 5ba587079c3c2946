"""Where a node listens, and which address others are told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from random import Random
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc import adapters
from zmqrpc.address import LOOPBACK, check_host, is_wildcard, numeric, split_address, split_host, tcp_address
from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.interfaces import IBoundRouter, IPublisher
from zmqrpc.settings import Settings
from zmqrpc.target import Target

_PORTS = ("proxy_frontend_port", "proxy_backend_port", "proxy_publisher_port")


class Binding:
    """
    The **bind address** and the **advertised address** of one node.

    :param line_of: says where a target has to be, `IMatchmaker.bind_address`.
    :param local: whether others on this machine alone can learn of the node.
    :param chance: draws the ports that are tried.
    :ivar address: the advertised address, None before `bind`.
    """

    _log = Logger()
    _warned = False
    _warned_of_loopback = False
    _warned_of_unknown: ClassVar[set[str]] = set()

    def __init__(
        self, settings: Settings, line_of: Callable[[Target], str | None], local: bool, chance: Random
    ) -> None:
        self.address: str | None = None
        self._settings = settings
        self._line_of = line_of
        self._local = local
        self._chance = chance
        self._line: str | None = None
        self._lined: Target | None = None
        self._told_host = self._told_address = ""

    @property
    def fixed(self) -> bool:
        """Whether a fixed table says where this node is: then that is what others know, and not what we tell."""
        return self._line is not None

    def serve(self, target: Target) -> None:
        """
        Take that a target will be served; one whose topic is not known yet says nothing.

        :raises ConfigError: a fixed table has no line for it, or one that this node cannot keep as well.
        """
        line = self._line_of(target) if target.topic is not None else None
        if line == self._line or line is None:
            return
        if self._line is not None:
            raise ConfigError(
                f"{self._table} has {self._lined} at {self._line} and {target} at {line}, and one process listens at "
                "one address; write the same address in both lines, or serve them in two processes"
            )
        if self.address is not None:
            raise ConfigError(
                f"{self._table} has {target} at {line}, and this process listens at {self.address} already; name "
                "the topic when the process is started (--topic)"
            )
        self._line, self._lined = line, target

    def check_listens(self, target: Target) -> None:
        """
        Check that notifications for a target can be listened to.

        :raises ConfigError: the records are a fixed table, which has servers alone.
        """
        try:
            fixed = self._line_of(target) is not None
        except ConfigError:
            fixed = True
        if fixed:
            raise ConfigError(
                f"{self._table} names servers alone, so that no notifier could find a listener of {target}; use "
                "another matchmaker for notifications",
                options=("url",),
            )

    def bind(self, router: IBoundRouter) -> None:
        """
        Bind, and find out which address others are told.

        :raises ConfigError: a setting cannot be used here; `PortRangeExhausted` when no port is free.
        """
        self.address = self.bind_one(router)

    def bind_one(self, socket: IBoundRouter | IPublisher, port: int = 0) -> str:
        """
        Bind one of several sockets.

        :param port: 0 for the one that the node has: of the range, or of its line.
        :return: the address that others are told.
        :raises ConfigError: as `bind`.
        """
        host = self._host()
        told = self._told(host)
        try:
            bound = socket.bind(host, [port] if port else self._ports())
        except PortRangeExhausted as error:
            advice, where = self._port_advice(port) if port else self._advice()
            raise PortRangeExhausted(f"{error}; {advice}", options=where) from error
        except ConfigError as error:
            if self.fixed and self._settings.rpc_zmq_bind_address is None:
                raise ConfigError(
                    f"{error}; {self._table} has {self._lined} at {self._line}: start it on the machine that has this "
                    "address, correct the line, or set rpc_zmq_bind_address to what stands here for it (NAT)",
                    options=("url",),
                ) from error
            raise ConfigError(
                f"{error}; set rpc_zmq_bind_address to *, or to an adapter or address of this machine: "
                f"{adapters.describe()}",
                options=("rpc_zmq_bind_address",),
            ) from error
        address = tcp_address(told[0], told[1] or bound.rpartition(":")[2]) if told else bound
        if is_wildcard(host):
            self._warn_of_wildcard()
        if not self.fixed and not _is_loopback(host):
            self._told_host = told[0] if told else host
            self._told_address = address
        if address != bound:
            self._log.info("bound to {bound}; others are told {address}", bound=bound, address=address)
        return address

    def check_told(self, resolve: Callable[[str], Deferred[str]]) -> None:
        """
        Warn once when others are told a host that cannot be resolved here, or that leads nowhere else.

        The latter is loopback here, while more than this machine can learn of the node. Whoever binds loopback on
        purpose is not warned, nor is whoever wrote the line of a fixed table.

        :param resolve: `ITransport.resolve`.
        """
        if self._told_host:
            resolve(self._told_host).addCallbacks(self._resolved, self._unknown)

    def _unknown(self, failure: Failure) -> None:
        if self._told_host in Binding._warned_of_unknown:
            return
        Binding._warned_of_unknown.add(self._told_host)
        option = self._option_told()
        self._log.warn(
            "others are told {address}, and {host}{option} cannot be resolved here ({error}): who cannot resolve it "
            "either does not reach this node; set {advised} to a name or address that others can reach",
            address=self._told_address,
            host=self._told_host,
            option=f" (option {option})" if option else ", the host name of this machine,",
            error=getattr(failure.value, "strerror", None) or failure.value,
            advised=option or "rpc_zmq_host",
        )

    def _option_told(self) -> str:
        """Name the option that others are told; empty for none."""
        settings = self._settings
        if settings.rpc_zmq_advertised_address is not None:
            return "rpc_zmq_advertised_address"
        if settings.rpc_zmq_host is None:
            return ""
        # A proxy has made the one of the other.
        return "proxy_host" if settings.proxy_host == settings.rpc_zmq_host else "rpc_zmq_host"

    def _resolved(self, address: str) -> None:
        if _is_loopback(address) and not self._local and not Binding._warned_of_loopback:
            Binding._warned_of_loopback = True
            self._log.warn(
                "others are told {address}, {which}; set rpc_zmq_host to a name or address that they "
                "can reach, or rpc_zmq_bind_address to 127.0.0.1 if they should not",
                address=self._told_address,
                which=_why_unreachable(self._told_host, address),
            )

    # Where it listens

    @property
    def _table(self) -> str:
        path = unquote(urlsplit(self._settings.url).path).lstrip("/")
        return f"the fixed table /{path}" if path else "the fixed table"

    def _host(self) -> str:
        named = self._settings.rpc_zmq_bind_address
        if named is not None:
            return named if named == "*" or numeric(named) else self._adapter(named)
        if self._line is not None:
            host = split_address(self._line)[0]
            if numeric(host):
                return host
            # Any other name may mean an address that is not ours, or one that others do not have: 127.0.1.1 of Debian.
            return LOOPBACK if host == "localhost" else "*"
        return LOOPBACK if self._local else "*"

    def _adapter(self, name: str) -> str:
        address = adapters.address_of(name)
        if address is None:
            what = "no adapter or address here"
            if name in adapters.names():
                what = f"an adapter with {adapters.lack(name)}"
            raise ConfigError(
                f"option rpc_zmq_bind_address is {name!r}, {what}; valid are *, an IP address, and the adapters of "
                f"this machine: {adapters.describe()}",
                options=("rpc_zmq_bind_address",),
            )
        return address

    def _ports(self) -> list[int]:
        if self._line is not None:
            return [split_address(self._line)[1]]
        settings = self._settings
        ports = range(settings.rpc_zmq_min_port, settings.rpc_zmq_max_port)
        return self._chance.sample(ports, min(len(ports), settings.rpc_zmq_bind_port_retries))

    def _advice(self) -> tuple[str, tuple[str, ...]]:
        """Say what to do when no port was free, and which options are about it."""
        if self._line is not None:
            return f"{self._table} names this port for {self._lined}: free it, or change the line", ("url",)
        settings = self._settings
        text = (
            f"the range is rpc_zmq_min_port {settings.rpc_zmq_min_port} to rpc_zmq_max_port "
            f"{settings.rpc_zmq_max_port} (exclusive): free a port of it, or widen it"
        )
        return text, ("rpc_zmq_min_port", "rpc_zmq_max_port")

    def _port_advice(self, port: int) -> tuple[str, tuple[str, ...]]:
        named = tuple(name for name in _PORTS if getattr(self._settings, name) == port)
        return "free this port, or give another one; 0 is one of the range", named

    def _warn_of_wildcard(self) -> None:
        if not Binding._warned:
            Binding._warned = True
            self._log.warn(
                "bound to every interface without encryption: whoever reaches this machine can call its methods; "
                "set rpc_zmq_bind_address to an address of a private network"
            )

    # What others are told

    def _told(self, host: str) -> tuple[str, int | None] | None:
        """
        Find which host others are told, and which port where that is not the bound one; None for what is bound.

        :param host: what will be bound.
        """
        settings = self._settings
        if self._line is not None:
            return split_address(self._line)
        if settings.rpc_zmq_advertised_address is not None:
            return split_host(settings.rpc_zmq_advertised_address)
        if is_wildcard(host) or (settings.rpc_zmq_host is not None and not _is_loopback(host)):
            return _name(settings), None
        return None


def _name(settings: Settings) -> str:
    name = settings.rpc_zmq_host
    if name is None:
        return settings.host
    host = check_host(name)
    if host in adapters.names() and name != socket.gethostname():
        raise ConfigError(
            f"option rpc_zmq_host is {name!r}, an adapter of this machine, by which nobody else can reach it; set "
            "rpc_zmq_bind_address to it, and rpc_zmq_host to a name or address",
            options=("rpc_zmq_host",),
        )
    return host


def _why_unreachable(host: str, found: str) -> str:
    if host == found.strip("[]"):
        return "which is loopback: no other machine reaches this node"
    return (
        f"and {host} is {found} here, which is loopback: other machines reach this node only if that name means "
        "another address there"
    )


def _is_loopback(host: str) -> bool:
    address = numeric(host)
    return address is not None and address.is_loopback
