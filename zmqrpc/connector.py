"""The connecting socket of a node: for the links to those it calls, and for those to proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from zmqrpc.core.link import LinkState, Phase
from zmqrpc.core.link_effects import Effect
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import GONE, IConnectingRouter, ITransport


def resolve(
    transport: ITransport, address: str, turn: int, connect: Callable[[str], None], fail: Callable[[str], None]
) -> None:
    """
    Turn an advertised address into one that ZeroMQ can be given: with a number in place of a host name.

    :param turn: as of `ITransport.resolve`.
    :param connect: takes that address.
    :param fail: takes the reason why there is none.
    """
    scheme, _, rest = address.partition("://")
    if scheme != "tcp":
        connect(address)
        return
    host, _, port = rest.rpartition(":")
    resolved: Deferred[str] = transport.resolve(host, turn)
    resolved.addCallbacks(
        lambda numeric: connect(f"tcp://{numeric}:{port}"),
        lambda failure: fail(f"the host name {host} cannot be resolved: {failure.value}"),
    )


class Connected(Protocol):
    """
    What has a connection of its own: a link, or one to a proxy.

    :ivar address: the advertised address it connects to.
    :ivar attempt: which connection it asked for last.
    """

    address: str
    attempt: int
    state: LinkState

    def perform(self, effects: list[Effect], now: float) -> None:
        """Do what the state machine asks for."""


class Connector:
    """
    Makes connections, and ends them.

    :param receiver: the `ILinkReceiver`.
    :param seconds: the monotonic clock.
    :ivar send: writes one payload, as `IConnectingRouter.send`; the socket's own method, to spare a call for each.
    """

    def __init__(self, transport: ITransport, receiver: Any, seconds: Callable[[], float]) -> None:
        self._transport = transport
        self._receiver = receiver
        self._seconds = seconds
        self._router: IConnectingRouter | None = None
        self._closed = False
        self.send: Callable[[bytes, bytes], int] = self._send_nowhere

    @property
    def router(self) -> IConnectingRouter:
        """The connecting socket; made at the first use, since a process that only serves directly needs none."""
        if self._router is None:
            self._router = self._transport.connecting_router(self._receiver)
            self.send = self._router.send
        return self._router

    def _send_nowhere(self, identity: bytes, payload: bytes) -> int:
        return GONE

    def connect(self, end: Connected, known: dict[Any, Any]) -> None:
        """
        Resolve the address of an end and connect it.

        :param known: gets the end by its routing id.
        """
        attempt = end.attempt
        resolve(
            self._transport,
            end.address,
            end.state.fails,
            lambda numeric: self._connect_numeric(end, attempt, numeric, known),
            lambda reason: self._unresolved(end, attempt, reason),
        )

    def _connect_numeric(self, end: Connected, attempt: int, address: str, known: dict[Any, Any]) -> None:
        if not self._waits(end, attempt):
            return
        try:
            identity = self.router.connect(address)
        except ConfigError as error:
            now = self._seconds()
            end.perform(end.state.lost(now, str(error)), now)
            return
        # Opening the socket may have taken longer than a peer has for its answer.
        now = self._seconds()
        known[identity] = end
        end.perform(end.state.connected(now, identity), now)
        # Readiness is looked at again after what was written, also outside a pass.
        self._transport.kick()

    def _unresolved(self, end: Connected, attempt: int, reason: str) -> None:
        if self._waits(end, attempt):
            now = self._seconds()
            end.perform(end.state.lost(now, reason), now)

    def _waits(self, end: Connected, attempt: int) -> bool:
        """Tell whether an end still waits for the address of this attempt; it may have been closed meanwhile."""
        state = end.state
        waits = end.attempt == attempt and state.phase is Phase.CONNECTING and state.identity is None
        return waits and not self._closed

    def forked(self) -> None:
        """Connect nothing any more: this process is a fork."""
        self._closed = True

    def read(self) -> None:
        """Read what has arrived; not from within a pass."""
        if self._router is not None:
            self._router.drain()
            self._transport.kick()

    def disconnect(self, identity: bytes, known: dict[Any, Any]) -> None:
        """Read what has arrived, then disconnect."""
        self.read()
        known.pop(identity, None)
        if self._router is not None:
            # Whoever heard of what was read may have stopped the node.
            self._router.disconnect(identity)

    def close(self, linger: float, deaf: Iterable[bytes] = ()) -> None:
        """
        Close the socket; what was written is delivered for up to `linger` seconds.

        :param deaf: the connections whose peers are not expected to read it: they would take the whole time.
        """
        self._closed = True
        if self._router is not None:
            for identity in deaf:
                self._router.disconnect(identity)
            self._router.close(linger)
            self._router = None
            self.send = self._send_nowhere
