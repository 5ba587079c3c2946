"""The part of `zmqrpc.reactor_zmq` that publishes and subscribes: XPUB and SUB sockets in the reactor."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import zmq
from zmq.backend import Socket as CSocket
from zope.interface import implementer

from zmqrpc._reactor_zmq import (
    LOSSES,
    NOBLOCK,
    OPENED,
    PASS_SECONDS,
    CallerWatcher,
    Reader,
    bind_tcp,
    hang_up,
    set_options,
)
from zmqrpc.core.keys import LONGEST_SUBSCRIPTION
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IPublisher, IPublisherReceiver, ISubscriber, ISubscriberReceiver

if TYPE_CHECKING:
    from zmqrpc.reactor_zmq import ZmqTransport

PASS_MESSAGES = 256
_MOST_UNREAD = 16
_MORE = int(zmq.SNDMORE) | NOBLOCK


@implementer(IPublisher)
class Publisher(Reader):
    """The XPUB socket of a publisher proxy; made by `ZmqTransport.publisher`."""

    def __init__(self, transport: ZmqTransport, receiver: IPublisherReceiver) -> None:
        sock = transport.socket(zmq.XPUB)
        # Nothing but subscriptions comes in. Whatever passes as one is kept by ZeroMQ before we hear of it, and all
        # that have come in one go: 14 filters of a megabyte took half a gigabyte, and the reactor 5 s. So it takes few
        # at a time, which together are a megabyte.
        set_options(sock, LONGEST_SUBSCRIPTION, transport.keepalive)
        sock.set(zmq.RCVHWM, _MOST_UNREAD)
        # Of a connection that is ended it reads yet what the system has of it: of 6 MB, as Linux likes, 300,000 tokens.
        sock.set(zmq.RCVBUF, LONGEST_SUBSCRIPTION)
        # Every subscription is told, and not only the first to a filter: who subscribes waits for an answer to it.
        sock.set(zmq.XPUB_VERBOSE, 1)
        self._receiver = receiver
        self._port = 0
        self._send = CSocket.send.__get__(sock)
        super().__init__(transport, sock)
        self._monitor = self._monitored(CallerWatcher(receiver))

    def bind(self, host: str, ports: Iterable[int]) -> str:
        address = bind_tcp(self._socket, host, ports)
        self._port = int(address.rpartition(":")[2])
        self.schedule()
        return address

    def publish(self, *frames: Any) -> None:
        if self.closed:
            return
        if not self.wrote:
            self.note_write()
        send = self._send
        try:
            for frame in frames[:-1]:
                send(frame, _MORE)
            send(frames[-1], NOBLOCK)
        except zmq.ZMQError as error:
            self._transport.log.error("ZeroMQ refused to publish: {error}", error=error)

    def close(self, linger: float) -> None:
        self._close_reader(linger)

    def _close_reader(self, linger: float) -> None:
        self._monitor.close()
        super()._close_reader(linger)

    def _read(self) -> bool:
        recv, receiver = self._recv, self._receiver
        until = monotonic() + PASS_SECONDS
        for _ in range(PASS_MESSAGES):
            try:
                frame = recv(NOBLOCK, False)
            except zmq.Again:
                return False
            message = frame.bytes
            alone = not frame.more
            while frame.more:
                frame = recv(NOBLOCK, False)
            try:
                if alone and message[:1] == b"\1":
                    fault = receiver.subscribed(message[1:], int(frame.get(zmq.SRCFD)))
                    if fault:
                        self._refuse(frame, fault)
                elif alone and message[:1] == b"\0":
                    receiver.unsubscribed(message[1:])
                else:
                    receiver.malformed_received(len(message))
            except BaseException:
                self._transport.log.failure("a subscription could not be taken")
            if self.closed:
                return False
            if monotonic() > until:
                break
        return True

    def _refuse(self, subscription: zmq.Frame, fault: str) -> None:
        """
        End the connection that a subscription came by: ZeroMQ follows it already, and takes none back.

        Not by ``XPUB_MANUAL``: there one stray message of anybody has the next subscription go to another connection.
        """
        peer = ""
        # A connection that has ended has left none of this.
        with suppress(zmq.ZMQError):
            peer = str(subscription.get("Peer-Address"))
            hang_up(int(subscription.get(zmq.SRCFD)), self._port, peer)
        self._receiver.refused(peer, len(subscription) - 1, fault)


@implementer(ISubscriber)
class Subscriber(Reader):
    """A SUB socket with one connection; made by `ZmqTransport.subscriber`."""

    def __init__(self, transport: ZmqTransport, receiver: ISubscriberReceiver, address: str) -> None:
        sock = transport.socket(zmq.SUB)
        set_options(sock, transport.max_message_size, transport.keepalive)
        # What it sends is subscriptions. Past its high-water mark libzmq drops them without a word, and the token that
        # is subscribed to last could confirm what never arrived: of 20,000 in one go 1,000 did.
        sock.set(zmq.SNDHWM, 0)
        sock.set(zmq.IPV6, int(address.startswith("tcp://[")))
        self._receiver = receiver
        super().__init__(transport, sock)
        self._monitor = self._monitored(_PublisherWatcher(receiver))
        try:
            sock.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"cannot connect to {address}: {error.strerror}") from error

    def subscribe(self, filter: bytes) -> None:
        self._set(zmq.SUBSCRIBE, filter)

    def unsubscribe(self, filter: bytes) -> None:
        self._set(zmq.UNSUBSCRIBE, filter)

    def close(self) -> None:
        self._close_reader(0)

    def _set(self, option: int, filter: bytes) -> None:
        if not self.closed:
            self._socket.set(option, filter)
            self.note_write()

    def _close_reader(self, linger: float) -> None:
        self._monitor.close()
        super()._close_reader(linger)

    def _read(self) -> bool:
        recv, received = self._recv, self._receiver.published_received
        envelopes = 0
        until = monotonic() + PASS_SECONDS
        while True:
            try:
                frame = recv(NOBLOCK, False)
            except zmq.Again:
                return False
            frames = [frame]
            while frame.more:
                frame = recv(NOBLOCK, False)
                if len(frames) < 4:
                    frames.append(frame)
            try:
                if 2 <= len(frames) <= 3:
                    payload = frames[2] if len(frames) == 3 else None
                    envelopes += received(frames[0].bytes, frames[1].bytes, payload)
                else:
                    envelopes += 1
                    self._receiver.malformed_received("no key and counter" if len(frames) < 2 else "too many frames")
            except BaseException:
                self._transport.log.failure("what was published could not be taken")
            if self.closed:
                return False
            if envelopes >= PASS_MESSAGES or monotonic() > until:
                return True


class _PublisherWatcher:
    """Tells what becomes of the one connection of a SUB socket."""

    events: ClassVar[int] = OPENED | sum(LOSSES)

    def __init__(self, receiver: ISubscriberReceiver) -> None:
        self._receiver = receiver
        self._lost = False

    def take(self, event: int, value: int, address: str) -> None:
        if event == OPENED:
            self._receiver.connected()
        elif not self._lost:
            # A failed handshake is followed by the end of its connection.
            self._lost = True
            self._receiver.connection_lost(LOSSES[event])

    def caught_up(self) -> float | None:
        return None
