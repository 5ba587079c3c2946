"""
The half of `zmqrpc.reactor_zmq` below its sockets: what is read in the reactor, and the monitors among it.

Nothing ever raises out of `doRead`: Twisted would remove the reader and leave a deaf socket.
"""

from __future__ import annotations

import struct
from itertools import count
from typing import TYPE_CHECKING

import zmq
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zmq.backend import Socket as CSocket
from zmq.backend import zmq_poll
from zope.interface import implementer

from zmqrpc.interfaces import ILinkReceiver

if TYPE_CHECKING:
    from zmqrpc.reactor_zmq import ZmqTransport

PASS_EVENTS = 256
NOBLOCK = int(zmq.NOBLOCK)
_POLLIN = int(zmq.POLLIN)

_LOST_EVENTS = {
    int(zmq.EVENT_DISCONNECTED): "the connection ended",
    int(zmq.EVENT_CLOSED): "connection refused",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "the handshake failed",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "the peer does not speak ZMTP 3",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "authentication failed",
}
_EVENT = struct.Struct("=HI")


@implementer(IReadDescriptor)
class Reader:
    """A ZeroMQ socket in the reactor."""

    def __init__(self, transport: ZmqTransport, sock: zmq.Socket[bytes]) -> None:
        self._transport = transport
        self._socket = sock
        self._fd = int(sock.getsockopt(zmq.FD))
        self._recv = CSocket.recv.__get__(sock)
        self._poll = [(sock, _POLLIN)]
        self._scheduled = False
        self.closed = False
        transport.reactor.addReader(self)
        self.schedule()

    def fileno(self) -> int:
        return -1 if self.closed else self._fd

    def logPrefix(self) -> str:
        return type(self).__name__

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: Twisted says this when its reactor stops, and the socket's owner closes it."""

    def doRead(self) -> None:
        if self.closed:
            return
        try:
            again = self._read()
        except BaseException:
            # SystemExit too: after anything that is raised here Twisted removes the reader.
            self._transport.log.failure("a pass over a ZeroMQ socket failed")
            again = True
        self._transport.end_pass()
        if again:
            self.schedule()

    def _read(self) -> bool:
        """Deliver what is readable; return whether something may be left."""
        raise AssertionError("only its subclasses are used")

    def readable(self) -> bool:
        return bool(zmq_poll(self._poll, 0))

    def schedule(self) -> None:
        """Read soon, though the descriptor will not say so: its edge has been consumed."""
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self._transport.reactor.callLater(0, self._scheduled_read)

    def _scheduled_read(self) -> None:
        self._scheduled = False
        self.doRead()

    def _close_reader(self, linger: float) -> None:
        if not self.closed:
            self.closed = True
            self._transport.forget(self)
            self._transport.reactor.removeReader(self)
            self._socket.close(int(linger * 1000))


class Monitor(Reader):
    """The events of a socket's connections."""

    _numbers = count(1)

    def __init__(
        self,
        transport: ZmqTransport,
        watched: zmq.Socket[bytes],
        identities: dict[str, bytes],
        receiver: ILinkReceiver,
    ) -> None:
        self._watched = watched
        self._identities = identities
        self._receiver = receiver
        address = f"inproc://zmqrpc-monitor-{next(self._numbers)}"
        watched.monitor(address, sum(_LOST_EVENTS))
        sock = transport.context.socket(zmq.PAIR)
        # An unread monitor at its high-water mark freezes libzmq's I/O thread; it must be set before the connect.
        sock.set(zmq.RCVHWM, 0)
        sock.set(zmq.LINGER, 0)
        sock.connect(address)
        super().__init__(transport, sock)

    def _read(self) -> bool:
        for _ in range(PASS_EVENTS):
            try:
                event, _ = _EVENT.unpack(self._recv(NOBLOCK))
                address = self._recv(NOBLOCK).decode()
            except zmq.Again:
                return False
            identity = self._identities.get(address)
            if identity is not None and event in _LOST_EVENTS:
                self._receiver.connection_lost(identity, _LOST_EVENTS[event])
                if self.closed:
                    return False
        return True

    def close(self) -> None:
        if not self.closed:
            # The PAIR must be closed before the context ends, or that hangs.
            self._watched.monitor(None, 0)
            self._close_reader(0)
