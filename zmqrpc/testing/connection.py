"""One connection of the network in memory: its two pipes, its ends, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall

from zmqrpc.interfaces import FULL, SENT
from zmqrpc.testing.pipe import Item, Mark, Message, Pipe

if TYPE_CHECKING:
    from zmqrpc.testing.ends import Bound, Connecting
    from zmqrpc.testing.wiring import Path, Wiring

ROOM = 1000
"""Messages that fit into one direction of a connection until its reader has read some: ZeroMQ's high-water mark."""

UNACKNOWLEDGED_SECONDS = 1.5
"""How long a connection stands that a partition keeps its data from being acknowledged (``TCP_MAXRT``)."""

CONNECT_SECONDS = 2.0
"""How long it is tried to connect through a partition (``CONNECT_TIMEOUT``)."""

ENDED = "the connection ended"
REFUSED = "connection refused"


class Connection:
    """
    What a socket made by connecting, from end to end.

    The connecting end is told of its loss and keeps the routing id until it disconnects; at the bound end the id is
    gone when the loss arrives.

    :param address: numeric host and port that it goes to.
    :param identity: its routing id at the connecting end.
    :ivar server: the socket at the bound end; None before that has taken it.
    :ivar server_identity: its routing id there.
    :ivar forward: carries what the connecting end writes.
    :ivar backward: carries what the bound end writes.
    :ivar lost: whether the connecting end has been told that it is lost.
    :ivar released: whether the connecting end has given it up.
    :ivar gone: whether the bound end knows it no more.
    """

    def __init__(
        self,
        network: Wiring,
        client: Connecting,
        path: Path,
        address: tuple[str, int],
        identity: bytes,
    ) -> None:
        self.address = address
        self.identity = identity
        self.server: Bound | None = None
        self.server_identity = b""
        self.lost = self.released = self.gone = False
        self._network = network
        self._client = client
        self._path = path
        self._opened = False
        self._patience: IDelayedCall | None = None
        self.forward = Pipe(network, path, self._arrived_at_server, self._held)
        self.backward = Pipe(network, path.back, self._arrived_at_client, self._held)
        self.forward.write(Mark.OPEN)

    @property
    def over(self) -> bool:
        """Whether neither end knows it any more."""
        return (self.lost or self.released) and self.gone

    def goes_between(self, first: str, second: str) -> bool:
        """Tell whether its ends are on these two hosts."""
        return {self._path.source, self._path.target} == {first, second}

    # What its ends do

    def write_forward(self, payload: Message) -> int:
        """Write from the connecting end; after a loss it goes nowhere, as in ZeroMQ, until the end disconnects."""
        return self._write(self.forward, payload)

    def write_subscription(self, payload: bytes) -> None:
        """Write from the connecting end what is never refused: there are not more of them than the end has filters."""
        self._write(self.forward, payload, float("inf"))

    def write_backward(self, payload: Message) -> int:
        """Write from the bound end."""
        return self._write(self.backward, payload)

    def release(self, abruptly: bool = True) -> None:
        """
        Take that the connecting end disconnects, or its process dies: what it has not read is gone.

        :param abruptly: whether what it has written is lost in part; else it lingers until it has arrived.
        """
        if not self.released:
            self.released = True
            self.backward.drop()
            if abruptly:
                self.forward.cut_short()
            else:
                self.forward.write(Mark.END)
            self._forget_if_over()

    def leave(self, abruptly: bool) -> None:
        """
        Take that the bound end closes.

        :param abruptly: whether what it has written is lost in part; else it lingers until it has arrived.
        """
        if not self.gone:
            self.gone = True
            self.forward.drop()
            if abruptly:
                self.backward.cut_short()
            else:
                self.backward.write(Mark.END)
            self._forget_if_over()

    def refuse(self) -> str:
        """Take that the bound end ends it, with all that is under way; return the numeric address of the other end."""
        self._reset()
        own = self._network.address_of(self._path.source) or ""
        return self.address[0] if self.address[0] == own or self._path.source == self._path.target else own

    def snap(self) -> None:
        """Break it, as a router on the way might; both ends hear of it after what still arrives."""
        self.forward.cut_short()
        self.backward.cut_short()

    def healed(self) -> None:
        """Take that the path may have healed."""
        if not self._path.cut and not self._path.back.cut:
            self._relax()
        self.forward.heal()
        self.backward.heal()

    # What arrives

    def _arrived_at_server(self, item: Item) -> None:
        if item is Mark.OPEN:
            self._open()
        elif item is Mark.END:
            self._gone()
        elif self.server is not None and not self.gone and not self.server.arrived(self, item):  # type: ignore[arg-type]
            self._reset()

    def _open(self) -> None:
        chance, refusal = self._network.chance, self._path.weather.refusal
        server = self._network.listener(self.address, self._path)
        fits = server is not None and server.partner == self._client.kind
        if server is None or not fits or (refusal and chance.random() < refusal):
            self.forward.drop()
            self.backward.write(Mark.REFUSED)
            self._gone()
            return
        self.server = server
        self.server_identity = server.accept(self)
        self.backward.write(Mark.OPEN)

    def _arrived_at_client(self, item: Item) -> None:
        if self.released or self.lost:
            return
        if item is Mark.OPEN:
            self._opened = True
            self._client.opened(self)
        elif isinstance(item, Mark):
            self._lose(REFUSED if item is Mark.REFUSED else ENDED)
        elif not self._client.arrived(self, item):
            self._reset()

    # How it ends

    def _write(self, pipe: Pipe, payload: Message, room: float = ROOM) -> int:
        if pipe.unread >= room:
            return FULL
        pipe.write(payload)
        breakage = pipe.path.weather.breakage
        if breakage and self._network.chance.random() < breakage:
            self.snap()
        return SENT

    def _held(self) -> None:
        if self._patience is None and not self.over:
            seconds = UNACKNOWLEDGED_SECONDS if self._opened else CONNECT_SECONDS
            self._patience = self._network.clock.callLater(seconds, self._reset)

    def _reset(self) -> None:
        """End it at both ends at once, with all that is under way."""
        self._relax()
        reason = ENDED if self._opened else REFUSED
        self.forward.drop()
        self.backward.drop()
        self._gone()
        self._lose(reason)

    def _relax(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._patience = None

    def _gone(self) -> None:
        """End it at the bound end, which closes its side in turn."""
        if not self.gone:
            self.gone = True
            if self.server is not None:
                self.server.gone(self)
        self.backward.write(Mark.END)
        self._forget_if_over()

    def _lose(self, reason: str) -> None:
        """End it at the connecting end, which closes its side in turn."""
        if not self.lost:
            self.lost = True
            if not self.released:
                self._client.lost(self, reason)
        self.forward.cut_short()
        self._forget_if_over()

    def _forget_if_over(self) -> None:
        if self.over:
            self._relax()
            self.forward.drop()
            self.backward.drop()
            self._network.forget(self)
