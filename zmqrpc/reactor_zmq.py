"""
ZeroMQ sockets on the Twisted reactor; with its other parts, `zmqrpc._reactor_zmq` and so on, all that imports zmq.

Hot path, measured on 200 B messages: pyzmq's bound C methods with plain int flags read a frame in 0.17 us where
``recv_multipart`` takes 5.6 us for five; a pass that reads until EAGAIN delays its neighbours by 36 ms at the 99th
percentile, one that stops after 256 envelopes or 2 ms by 2 ms.

libzmq's file descriptor is edge triggered, and `send` consumes its edge: readiness is looked at again after every pass
that wrote, or wake-ups are missed (6 of 48 bursts without). Who writes in no pass, as a timer does, has one follow.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable
from itertools import count
from time import monotonic
from types import BuiltinFunctionType
from typing import Any

import zmq
from twisted.internet import selectreactor
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zmq.backend import Socket as CSocket
from zmq.backend import zmq_poll
from zope.interface import implementer

from zmqrpc._reactor_backlog import Backlog
from zmqrpc._reactor_pubsub import Publisher, Subscriber
from zmqrpc._reactor_zmq import NOBLOCK as _NOBLOCK
from zmqrpc._reactor_zmq import (
    PASS_SECONDS,
    CallerWatcher,
    LinkWatcher,
    Monitor,
    Reader,
    bind_tcp,
    last_endpoint,
    set_options,
    unopened,
)
from zmqrpc.errors import ConfigError
from zmqrpc.inherited import forget
from zmqrpc.interfaces import (
    FULL,
    GONE,
    SENT,
    IBoundReceiver,
    IBoundRouter,
    IConnectingRouter,
    ILinkReceiver,
    IPublisherReceiver,
    IRouterReceiver,
    ISubscriberReceiver,
    ITransport,
)
from zmqrpc.settings import Settings
from zmqrpc.unpatched import unpatched

PASS_ENVELOPES = 256
_BURST = 8
_DRAIN_MESSAGES = 100_000
_SNDMORE = int(zmq.SNDMORE)
_PADDINGS = 8
_MOST_SELECTED = 1024
"""FD_SETSIZE."""
_SPARE = 64
"""What a context and its sockets may take."""
_OPENED = 16
"""More descriptors than a context, a socket, its monitor and a bind take together: nine, as measured."""
_NOBODY = {errno.ECONNREFUSED, errno.ENOENT}
_SOMEBODY = {0, errno.EAGAIN}
"""What connecting to a path says; EAGAIN of who has as many connections to accept as may wait: connect(2)."""
_DEFAULTS = Settings()


class _Router(Reader):
    """What the two ROUTERs have in common: reading whole messages in bounded passes, and writing."""

    _monitor: Monitor

    def __init__(self, transport: ZmqTransport, receiver: IRouterReceiver) -> None:
        sock = transport.socket(zmq.ROUTER)
        set_options(sock, transport.max_message_size, transport.keepalive)
        sock.set(zmq.ROUTER_MANDATORY, 1)
        self._receiver = receiver
        self._send = CSocket.send.__get__(sock)
        self._backlog = Backlog(transport.max_queued_bytes)
        self._large = self._backlog.large
        super().__init__(transport, sock)

    def send(self, identity: bytes, payload: bytes) -> int:
        if self.closed:
            return GONE
        if len(payload) >= self._large:
            return self._send_large(payload, identity)
        if not self.wrote:
            self.note_write()
        try:
            self._send(identity, _SNDMORE | _NOBLOCK)
            self._send(payload, _NOBLOCK)
        except zmq.ZMQError as error:
            return self._unsent(error)
        return SENT

    def send_keyed(self, identity: bytes, key: bytes, payload: Any) -> int:
        if self.closed:
            return GONE
        if len(payload) >= self._large:
            return self._send_large(payload, identity, key)
        if not self.wrote:
            self.note_write()
        try:
            self._send(identity, _SNDMORE | _NOBLOCK)
            self._send(key, _SNDMORE | _NOBLOCK)
            # What was received is a frame of ZeroMQ's, which is handed on without a copy.
            self._send(payload, _NOBLOCK)
        except zmq.ZMQError as error:
            return self._unsent(error)
        return SENT

    def _send_large(self, payload: Any, identity: bytes, *key: bytes) -> int:
        backlog, size = self._backlog, len(payload)
        if backlog.is_full(identity, size):
            return FULL
        if not self.wrote:
            self.note_write()
        frame = backlog.frame(payload)
        try:
            for head in (identity, *key):
                self._send(head, _SNDMORE | _NOBLOCK)
            self._send(frame, _NOBLOCK)
        except zmq.ZMQError as error:
            return self._unsent(error)
        backlog.add(identity, frame, size)
        return SENT

    def _unsent(self, error: zmq.ZMQError) -> int:
        if error.errno == zmq.EAGAIN:
            return FULL
        if error.errno != zmq.EHOSTUNREACH:
            self._transport.log.error("ZeroMQ refused a message: {error}", error=error)
        return GONE

    def _close_reader(self, linger: float) -> None:
        self._monitor.close()
        super()._close_reader(linger)

    def _read(self, most: int = PASS_ENVELOPES, seconds: float = PASS_SECONDS) -> bool:
        recv, received = self._recv, self._receiver.payload_received
        envelopes = 0
        until = 0.0
        burst = 1
        while True:
            for _ in range(burst):
                try:
                    identity = recv(_NOBLOCK)
                except zmq.Again:
                    return False
                frame = recv(_NOBLOCK, False)
                try:
                    if frame.more:
                        envelopes += self._take_keyed(identity, frame.bytes)
                    else:
                        envelopes += received(identity, frame.buffer)
                except BaseException:
                    self._transport.log.failure("a message could not be taken")
                if self.closed:
                    return False
                if envelopes >= most or (until and monotonic() > until):
                    return True
            if not zmq_poll(self._poll, 0):
                return False
            if not until:
                # The clock is read from the second message on: most passes have one.
                until = monotonic() + seconds
            burst = _BURST

    def _take_keyed(self, identity: bytes, key: bytes) -> int:
        frame = self._recv(_NOBLOCK, False)
        if not frame.more:
            return self._receiver.keyed_received(identity, key, frame)
        while self._recv(_NOBLOCK, False).more:
            pass
        self._receiver.malformed_received(identity, "more than two frames")
        return 1


@implementer(IBoundRouter)
class BoundRouter(_Router):
    """The ROUTER that others connect to; made by `ZmqTransport.bound_router`."""

    def __init__(self, transport: ZmqTransport, receiver: IBoundReceiver) -> None:
        super().__init__(transport, receiver)
        self._monitor = self._monitored(CallerWatcher(receiver))

    def bind(self, host: str, ports: Iterable[int]) -> str:
        address = bind_tcp(self._socket, host, ports)
        self.schedule()
        return address

    def bind_path(self, path: str) -> str:
        _check_free(path)
        try:
            self._socket.bind(f"ipc://{path}")
        except zmq.ZMQError as error:
            raise ConfigError(f"cannot bind {path}: {zmq.strerror(error.errno or 0)}") from error
        self.schedule()
        return last_endpoint(self._socket)

    def close(self, linger: float) -> None:
        self._close_reader(linger)


@implementer(IConnectingRouter)
class ConnectingRouter(_Router):
    """The ROUTER that connects to others; made by `ZmqTransport.connecting_router`."""

    def __init__(self, transport: ZmqTransport, receiver: ILinkReceiver) -> None:
        super().__init__(transport, receiver)
        self._numbers = count(1)
        self._addresses: dict[bytes, str] = {}
        self._identities: dict[str, bytes] = {}
        self._paddings: dict[str, int] = {}
        self._monitor = self._monitored(LinkWatcher(self._identities, receiver))

    def connect(self, address: str) -> bytes:
        unique = self._unique(address)
        identity = b"L%d" % next(self._numbers)
        self._socket.set(zmq.CONNECT_ROUTING_ID, identity)
        self._socket.set(zmq.IPV6, int(address.startswith("tcp://[")))
        try:
            self._socket.connect(unique)
        except zmq.ZMQError as error:
            raise ConfigError(f"cannot connect to {address}: {error.strerror}") from error
        self.note_write()
        self._addresses[identity] = unique
        self._identities[unique] = identity
        return identity

    def disconnect(self, identity: bytes) -> None:
        unique = self._addresses.pop(identity, None)
        if unique is None or self.closed:
            return
        del self._identities[unique]
        try:
            self._socket.disconnect(unique)
        except zmq.ZMQError as error:
            # ENOENT: libzmq has given this connection up itself (a protocol error, or ZAP's refusal).
            if error.errno != 2:
                self._transport.log.error("ZeroMQ refused to disconnect: {error}", error=error)
        self.note_write()

    def drain(self) -> None:
        self.readable()
        if self._read(_DRAIN_MESSAGES, float("inf")):
            self.schedule()

    def close(self, linger: float = 0) -> None:
        self._close_reader(linger)

    def _unique(self, address: str) -> str:
        """
        Spell the address as no other connection of this socket does.

        Monitor events and `disconnect` name a connection by the string it was given, so two connections must not share
        one; a zero-padded port (or ``./`` in a path) means the same to libzmq and comes back verbatim.
        """
        head, separator, tail = address.rpartition(":" if address.startswith("tcp://") else "/")
        padding = self._paddings.get(address, 0)
        while True:
            filler = "0" if separator == ":" else "./"
            unique = f"{head}{separator}{filler * padding}{tail}"
            padding += 1
            if unique not in self._identities:
                break
        self._paddings[address] = padding if padding < _PADDINGS else 0
        return unique


@implementer(ITransport)
class ZmqTransport:
    """
    The ZeroMQ context and sockets of one Node.

    :param reactor: a reactor with `addReader`; it must not be the select reactor's copy of another thread.
    :param max_message_size: frames over it end the connection they come by, bytes.
    :param keepalive: as `Settings.keepalive`.
    :param max_queued_bytes: bytes in large messages that libzmq may hold for one connection; about as many in others.
    :ivar passing: whether a pass is under way, at whose end it is looked what can be read.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        max_message_size: int,
        keepalive: tuple[int, int, int, int] = _DEFAULTS.keepalive,
        max_queued_bytes: int = _DEFAULTS.max_queued_bytes,
    ) -> None:
        self.reactor = reactor
        self.max_message_size = max_message_size
        self.keepalive = keepalive
        self.max_queued_bytes = max_queued_bytes
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._pass_ended: Callable[[], None] = lambda: None
        self._readers: list[Reader] = []
        self._kicked = self.passing = False

    @property
    def context(self) -> zmq.Context[zmq.Socket[bytes]]:
        if self._context is None:
            raise AssertionError("the transport is not open")
        return self._context

    def open(self, pass_ended: Callable[[], None]) -> None:
        # Some sockets are made with the first call: who starts us learns now that there can be none.
        _check_descriptors()
        # What eventlet puts in the place of select has not its limit.
        if isinstance(self.reactor, SelectReactor) and isinstance(selectreactor._select, BuiltinFunctionType):
            _check_select()
        # Not sooner: twistd forks between making a service and starting it, and a context does not survive a fork.
        try:
            self._context = zmq.Context()
        except zmq.ZMQError as error:
            raise unopened(error) from error
        self._context.set(zmq.MAX_SOCKETS, 65535)
        self._pass_ended = pass_ended

    def socket(self, kind: int) -> zmq.Socket[bytes]:
        """
        Make a socket.

        :raises ConfigError: there are no file descriptors for it.
        """
        _check_descriptors()
        try:
            return self.context.socket(kind)
        except zmq.ZMQError as error:
            raise unopened(error) from error

    def bound_router(self, receiver: IBoundReceiver) -> BoundRouter:
        router = BoundRouter(self, receiver)
        self._readers.append(router)
        return router

    def connecting_router(self, receiver: ILinkReceiver) -> ConnectingRouter:
        router = ConnectingRouter(self, receiver)
        self._readers.append(router)
        return router

    def publisher(self, receiver: IPublisherReceiver) -> Publisher:
        publisher = Publisher(self, receiver)
        self._readers.append(publisher)
        return publisher

    def subscriber(self, receiver: ISubscriberReceiver, address: str) -> Subscriber:
        subscriber = Subscriber(self, receiver, address)
        self._readers.append(subscriber)
        return subscriber

    def forget(self, reader: Any) -> None:
        if reader in self._readers:
            self._readers.remove(reader)

    def kick(self) -> None:
        if not self._kicked:
            self._kicked = True
            self.reactor.callLater(0, self._kick)

    def _kick(self) -> None:
        self._kicked = False
        forget()
        self.end_pass()

    def end_pass(self) -> None:
        self.passing = True
        try:
            self._pass_ended()
        except BaseException:
            self.log.failure("the end of a pass failed")
        for reader in self._readers:
            if reader.wrote:
                reader.recheck()
        self.passing = False

    def resolve(self, host: str, turn: int = 0) -> Deferred[str]:
        if isIPAddress(host):
            return succeed(host)
        if isIPv6Address(host.strip("[]")):
            return succeed(f"[{host.strip('[]')}]")
        # Never by libzmq: it resolves in its I/O thread and freezes every other connection meanwhile.
        look_up = unpatched("socket").getaddrinfo
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), _resolve, look_up, host, turn)

    def forked(self, leave: Callable[[], None]) -> None:
        for reader in self.reactor.getReaders():
            # Monitors are among them.
            if isinstance(reader, Reader) and reader.of(self):
                reader.forked()
        self._pass_ended = leave
        self.end_pass = leave  # type: ignore[method-assign]

    def close(self, linger: float) -> Deferred[None]:
        context, self._context = self._context, None
        done: Deferred[None] = Deferred()
        if context is None:
            return succeed(None)
        self._pass_ended = lambda: None
        for reader in list(self._readers):
            # Whoever made it should have; left open, it would never let the context end.
            reader.abandon()

        def finish() -> None:
            if not done.called:
                if patience.active():
                    patience.cancel()
                done.callback(None)

        def terminate() -> None:
            context.term()
            self.reactor.callFromThread(finish)

        def give_up() -> None:
            self.log.error("ZeroMQ did not end within {seconds} s; left behind", seconds=linger + 1)
            finish()

        patience = self.reactor.callLater(linger + 1, give_up)
        # A daemon thread of its own: the reactor's pool is joined at exit and would hang with it.
        unpatched("threading").Thread(target=terminate, name="zmqrpc-term", daemon=True).start()
        return done


def _check_descriptors() -> None:
    """
    Check that there are descriptors for whatever ZeroMQ opens next: where it misses one, it may abort the process.

    :raises ConfigError: there are too few.
    """
    opened: list[int] = []
    try:
        for _ in range(_OPENED):
            opened.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise unopened(error) from error
    finally:
        for each in opened:
            os.close(each)


def _check_free(path: str) -> None:
    """
    Check that nobody listens at a path: ZeroMQ would take it away from whoever does.

    :raises ConfigError: somebody does, be it one who is stopped and accepts nothing, or it cannot be told.
    """
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            error = caller.connect_ex(path)
        except OSError as refused:
            # Longer than the kernel takes.
            raise ConfigError(f"cannot bind {path}: {refused}") from refused
    if error in _NOBODY:
        return
    if error in _SOMEBODY:
        raise ConfigError(f"somebody listens at {path} already; it is run once on each host")
    raise ConfigError(
        f"cannot tell whether somebody listens at {path} ({os.strerror(error)}); remove it if nobody does"
    )


def _check_select() -> None:
    """
    Refuse the select reactor where descriptors are used up to about what it takes: it would drop ours, and be deaf.

    :raises ConfigError: so it is.
    """
    lowest = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.close(lowest)
    if lowest > _MOST_SELECTED - _SPARE:
        raise ConfigError(
            f"the select reactor takes no descriptor above {_MOST_SELECTED - 1}, and this process has about {lowest} "
            "open; choose another (twistd --reactor=epoll)"
        )


def _resolve(look_up: Callable[..., Any], host: str, turn: int) -> str:
    try:
        found = look_up(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no host name: {error}") from error
    # A server that binds `*` listens on IPv4 alone, whatever this machine would prefer.
    found.sort(key=lambda item: item[0] == socket.AF_INET6)
    family, _, _, _, address = found[turn % len(found)]
    return f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])
