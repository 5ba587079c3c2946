"""
The part of `zmqrpc.reactor_zmq` below its sockets: their options, what is read in the reactor, the monitors.

Nothing ever raises out of `doRead`: Twisted would remove the reader and leave a deaf socket.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Protocol

import zmq
from twisted.internet.abstract import isIPv6Address
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zmq.backend import Socket as CSocket
from zmq.backend import zmq_poll
from zope.interface import implementer

from zmqrpc._reactor_backlog import HIGH_WATER
from zmqrpc.core.handshakes import LONGEST, Failed, Handshakes
from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.inherited import forget
from zmqrpc.interfaces import IBoundReceiver, ILinkReceiver, IPublisherReceiver

if TYPE_CHECKING:
    from zmqrpc.reactor_zmq import ZmqTransport

PASS_EVENTS = 256
PASS_SECONDS = 0.002
NOBLOCK = int(zmq.NOBLOCK)
_LONGEST_INTERVAL = 2**31 - 1
_KEEPALIVE = (zmq.TCP_KEEPALIVE, zmq.TCP_KEEPALIVE_IDLE, zmq.TCP_KEEPALIVE_INTVL, zmq.TCP_KEEPALIVE_CNT)
_POLLIN = int(zmq.POLLIN)

_EVENT = struct.Struct("=HI")
_CONNECTED = int(zmq.EVENT_CONNECTED)
_ACCEPTED = int(zmq.EVENT_ACCEPTED)
OPENED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_ENDED = int(zmq.EVENT_DISCONNECTED)
_SILENT = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
_FAILURES = {
    _SILENT: "the handshake failed",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "the peer does not speak ZMTP 3",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "authentication failed",
}
LOSSES = {
    _ENDED: "the connection ended",
    int(zmq.EVENT_CLOSED): "connection refused",
    **_FAILURES,
    # Its system takes connections for a process that reads none of them.
    _SILENT: "it takes connections and does not answer: stopped, overloaded, or no zmqrpc",
}


def set_options(sock: zmq.Socket[bytes], max_message_size: int, keepalive: tuple[int, int, int, int]) -> None:
    """
    Set what every socket of ours needs.

    No ZMTP heartbeats: with a finite high-water mark libzmq 4.3.5 aborts the process when a peer dies while we are
    behind. ZAP_DOMAIN refuses ZMTP 1 and 2, whose handshakes abort it or turn a web server's error page to messages.
    """
    sock.set(zmq.ZAP_DOMAIN, b"zmqrpc")
    sock.set(zmq.TCP_MAXRT, 1500)
    sock.set(zmq.HANDSHAKE_IVL, 2000)
    sock.set(zmq.CONNECT_TIMEOUT, 2000)
    sock.set(zmq.RECONNECT_IVL, _LONGEST_INTERVAL)
    sock.set(zmq.SNDHWM, HIGH_WATER)
    sock.set(zmq.RCVHWM, HIGH_WATER)
    sock.set(zmq.MAXMSGSIZE, max_message_size)
    sock.set(zmq.BACKLOG, 1024)
    for option, value in zip(_KEEPALIVE, keepalive, strict=True):
        sock.set(option, value)
    sock.set(zmq.LINGER, 0)


def bind_tcp(sock: zmq.Socket[bytes], host: str, ports: Iterable[int]) -> str:
    """Bind the first port that is free; as `IBoundRouter.bind`."""
    numeric_v6 = isIPv6Address(host.strip("[]"))
    sock.set(zmq.IPV6, int(numeric_v6))
    host = f"[{host.strip('[]')}]" if numeric_v6 else host
    tried: list[int] = []
    why = "there is no port in the range"
    for port in ports:
        tried.append(port)
        try:
            sock.bind(f"tcp://{host}:{port}")
        except zmq.ZMQError as error:
            why = zmq.strerror(error.errno or 0)
            # A range may begin below 1024, where only root may bind.
            if error.errno not in (zmq.EADDRINUSE, EACCES):
                raise ConfigError(f"cannot bind {host}:{port}: {why}") from error
        else:
            return last_endpoint(sock)
    span = f" on any of {len(tried)} ports tried, {min(tried)} to {max(tried)}" if len(tried) > 1 else ""
    raise PortRangeExhausted(f"cannot bind {host}{f' on port {tried[0]}' if len(tried) == 1 else span}: {why}")


def unopened(error: OSError | zmq.ZMQError) -> ConfigError:
    """Say that ZeroMQ opens nothing: that happens when there are no descriptors left."""
    return ConfigError(
        f"ZeroMQ cannot open a socket: {error.strerror}; raise LimitNOFILE, or open less in this process"
    )


def last_endpoint(sock: zmq.Socket[bytes]) -> str:
    """Return the address that a socket was bound to last."""
    return bytes(sock.get(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()


@implementer(IReadDescriptor)
class Reader:
    """
    A ZeroMQ socket in the reactor.

    :ivar wrote: whether something was written since readiness was looked at, which consumes the edge of the descriptor.
    """

    def __init__(self, transport: ZmqTransport, sock: zmq.Socket[bytes]) -> None:
        self._transport = transport
        self._socket = sock
        self._fd = int(sock.getsockopt(zmq.FD))
        self._recv = CSocket.recv.__get__(sock)
        self._poll = [(sock, _POLLIN)]
        self._scheduled = False
        self.closed = self.wrote = False
        transport.reactor.addReader(self)
        self.schedule()

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return type(self).__name__

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: Twisted says this when its reactor stops, and the socket's owner closes it."""

    def doRead(self) -> None:
        if self.closed:
            return
        forget()
        self._transport.passing = True
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

    def note_write(self) -> None:
        """Take that something is written, and have readiness looked at again when it was in no pass."""
        self.wrote = True
        if not self._transport.passing:
            self._transport.kick()

    def recheck(self) -> None:
        """Look at readiness again after a write."""
        self.wrote = False
        if not self._scheduled and not self.closed and zmq_poll(self._poll, 0):
            self.schedule()

    def of(self, transport: ZmqTransport) -> bool:
        """Tell whether it is one of a transport."""
        return self._transport is transport

    def forked(self) -> None:
        """Do nothing any more. It keeps its descriptor: out of the reactor it would be out of the parent's as well."""
        self.closed = True

    def abandon(self) -> None:
        """Close a socket that its owner has forgotten."""
        self._transport.log.error("a {kind} was not closed before its transport", kind=type(self).__name__)
        self._close_reader(0)

    def _monitored(self, watcher: Watcher) -> Monitor:
        """Return the monitor of its socket, which is closed where there can be none."""
        try:
            return Monitor(self._transport, self._socket, watcher)
        except ConfigError:
            # Not by its subclass, which would close the monitor first.
            Reader._close_reader(self, 0)
            raise

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
            self._fd = -1
            self._transport.forget(self)
            self._transport.reactor.removeReader(self)
            self._socket.close(int(linger * 1000))


class Watcher(Protocol):
    """
    What makes sense of a monitor's events.

    :cvar events: which it wants, as libzmq's mask.
    """

    events: ClassVar[int]

    def take(self, event: int, value: int, address: str) -> None:
        """Take one event."""

    def caught_up(self) -> float | None:
        """
        Take that there are no more events up to now.

        :return: the seconds after which to say so again, None for not before there were others.
        """


class Monitor(Reader):
    """The events of a socket's connections, in bounded passes."""

    _numbers = count(1)

    def __init__(self, transport: ZmqTransport, watched: zmq.Socket[bytes], watcher: Watcher) -> None:
        self._watched = watched
        self._watcher = watcher
        self._later: IDelayedCall | None = None
        address = f"inproc://zmqrpc-monitor-{next(self._numbers)}"
        try:
            watched.monitor(address, watcher.events)
        except zmq.ZMQError as error:
            raise unopened(error) from error
        sock = transport.socket(zmq.PAIR)
        # An unread monitor at its high-water mark freezes libzmq's I/O thread; it must be set before the connect.
        sock.set(zmq.RCVHWM, 0)
        sock.set(zmq.LINGER, 0)
        sock.connect(address)
        super().__init__(transport, sock)

    def _read(self) -> bool:
        until = monotonic() + PASS_SECONDS
        for _ in range(PASS_EVENTS):
            try:
                event, value = _EVENT.unpack(self._recv(NOBLOCK))
                address = self._recv(NOBLOCK).decode()
            except zmq.Again:
                self._caught_up()
                return False
            self._watcher.take(event, value, address)
            if self.closed:
                return False
            if monotonic() > until:
                break
        return True

    def _caught_up(self) -> None:
        again = self._watcher.caught_up()
        if again is not None and self._later is None and not self.closed:
            self._later = self._transport.reactor.callLater(again, self._read_again)

    def _read_again(self) -> None:
        self._later = None
        self.schedule()

    def close(self) -> None:
        if not self.closed:
            if self._later is not None:
                self._later.cancel()
            # The PAIR must be closed before the context ends, or that hangs.
            self._watched.monitor(None, 0)
            self._close_reader(0)


class LinkWatcher:
    """
    Tells which connections of a connecting socket come about, and which are lost.

    :param identities: the routing id of each address that is connected to.
    """

    events: ClassVar[int] = _CONNECTED | OPENED | sum(LOSSES)

    def __init__(self, identities: dict[str, bytes], receiver: ILinkReceiver) -> None:
        self._identities = identities
        self._receiver = receiver

    def take(self, event: int, value: int, address: str) -> None:
        identity = self._identities.get(address)
        if identity is None:
            return
        if event in LOSSES:
            self._receiver.connection_lost(identity, LOSSES[event])
        else:
            self._receiver.connection_progressed(identity)

    def caught_up(self) -> float | None:
        return None


class CallerWatcher:
    """
    Tells which connections to a bound socket come to nothing.

    ACCEPT_FAILED is not among its events: a process out of descriptors gets it without end, faster than it can be read.
    """

    events: ClassVar[int] = _ACCEPTED | OPENED | _ENDED | sum(_FAILURES)

    def __init__(self, receiver: IBoundReceiver | IPublisherReceiver) -> None:
        self._receiver = receiver
        self._handshakes = Handshakes()

    def take(self, event: int, value: int, address: str) -> None:
        handshakes = self._handshakes
        if event == _ACCEPTED:
            handshakes.accepted(value, _peer_of(value), monotonic())
        elif event == OPENED:
            self._tell(handshakes.opened())
        elif event == _ENDED:
            self._tell(handshakes.ended(value))
        elif event in _FAILURES:
            handshakes.failed(_FAILURES[event])

    def caught_up(self) -> float | None:
        self._tell(self._handshakes.caught_up(monotonic()))
        return LONGEST if self._handshakes.unclear else None

    def _tell(self, failures: Iterable[Failed]) -> None:
        for failure in failures:
            self._receiver.handshake_failed(failure.peer, failure.reason)


def _peer_of(descriptor: int) -> str:
    """
    Return the numeric address at the other end of a descriptor that is libzmq's; empty when it is closed by now.

    A descriptor is only asked, or shut down. It is never closed, and never copied: to close a copy could take the locks
    of a file that has the number by now.
    """
    with suppress(OSError, ValueError, IndexError), _borrowed(descriptor) as asked:
        return str(asked.getpeername()[0])
    return ""


def hang_up(descriptor: int, port: int, peer: str) -> None:
    """
    End a TCP connection that is libzmq's, which reads the end of it and closes it.

    :param descriptor: of the connection; something else may have it by now, and is left alone.
    :param port: its port here.
    :param peer: the numeric address at its other end.
    """
    with suppress(OSError, ValueError, IndexError), _borrowed(descriptor) as borrowed:
        if (borrowed.getsockname()[1], borrowed.getpeername()[0]) == (port, peer):
            borrowed.shutdown(socket.SHUT_RDWR)


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    borrowed = socket.socket(fileno=descriptor)
    try:
        yield borrowed
    finally:
        borrowed.detach()
