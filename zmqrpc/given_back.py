"""What proxies give back of what was for clients, and the ways that end with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zmqrpc.caller import Caller
from zmqrpc.core.batch import decode_batch
from zmqrpc.core.envelope import Ack, Failure, FailureCode, Refusal, Reply, encode_message
from zmqrpc.core.ways import Through
from zmqrpc.outbox import RETRY_FULL

if TYPE_CHECKING:
    from zmqrpc.callers import Callers


class GivenBack:
    """
    That of one node.

    :param callers: the clients.
    :ivar full: the ways from which something came back of late, and until when nothing is written to them. What went
        there meanwhile would come back too, and nothing bounds what is on its way to and fro.
    """

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self.full: dict[Through, float] = {}
        self._kept: list[tuple[Caller, Through, bytes]] = []
        self._bytes = 0

    def way_ended(self, connection: bytes) -> None:
        """Take that a connection to a proxy has ended: whoever called by it asks again by another, for answers too."""
        for caller in self._callers.connected():
            if isinstance(caller.identity, Through) and caller.identity.connection == connection:
                self._callers.detach(caller)
                text = "the way to client {peer} has ended, with the connection to its router proxy"
                self._callers.notices.record("client_strayed", text, caller.instance)
                caller.strayed_at = self._callers.seconds()

    def returned(self, way: Through, payload: bytes, reason: Refusal) -> None:
        """
        Take that a proxy gave back what was for a client.

        :param reason: OVERLOADED keeps it for a while, within ``max_queued_bytes``; TOO_LARGE makes failures of what is
            too large by itself; else the client is not there.
        """
        caller, notices = self._callers.at(way), self._callers.notices
        if caller is None:
            notices.count("returned_late")
        elif reason is Refusal.TOO_LARGE:
            self._say_less(caller, decode_batch(payload).messages)
        elif reason is not Refusal.OVERLOADED:
            self._callers.gone(caller)
            caller.strayed_at = self._callers.seconds()
        else:
            self._keep(caller, way, payload)

    def _keep(self, caller: Caller, way: Through, payload: bytes) -> None:
        self.full[way] = self._callers.seconds() + RETRY_FULL
        self._callers.sweep_by(self.full[way])
        if self._bytes + len(payload) > self._callers.settings.max_queued_bytes:
            text = "the way to client {client} is full; replies that came back are dropped"
            self._callers.notices.count("replies_dropped", text, way, client=caller.instance)
        else:
            self._kept.append((caller, way, payload))
            self._bytes += len(payload)

    def _say_less(self, caller: Caller, messages: Sequence[Any]) -> None:
        """Answer in smaller batches, as the limit of the client at this proxy is not known, or without a result."""
        caller.narrow()
        for message in messages:
            if type(message) is Reply and len(messages) == 1:
                text = "the result is over max_message_size of the client, by the router proxy on the way to it"
                failure = Failure(FailureCode.TOO_LARGE, "MessageTooLarge", text)
                caller.write(encode_message(Reply(message.sequence, None, failure)))
            elif type(message) in (Reply, Ack):
                caller.write(encode_message(message))

    def send_again(self) -> None:
        """Write once more what came back since a way was full."""
        now = self._callers.seconds()
        self.full = {way: until for way, until in self.full.items() if until > now}
        if self.full:
            self._callers.sweep_by(min(self.full.values()))
        kept, self._kept = self._kept, []
        self._bytes = 0
        for caller, way, payload in kept:
            if self._callers.at(way) is caller:
                caller.write_again(payload)
