"""
What ``--debug`` logs: one line for each message that is dispatched.

That is a request, a REPLY or a NACK. What opens links, keeps them alive and acknowledges is not told. The batches are
read a second time for it, by what is put around the sockets: without ``--debug`` nothing is there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from zmqrpc.core.batch import Batch, decode_batch
from zmqrpc.core.envelope import Nack, Refusal, Reply, Request
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.spelling import printable

_MOST_TEXT = 200
_MOST_REMEMBERED = 10_000
"""Calls of which it is remembered when they were seen."""

_DIGITS = 12
"""Of each instance in the id of a message; the errors of calls write it so too."""


class MessageLog:
    """
    Writes the lines of one process.

    :param seconds: the monotonic clock.
    """

    log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._seen: OrderedDict[str, float] = OrderedDict()

    def tell(self, payload: Any, way: str) -> None:
        """
        Write a line for each message of a payload.

        :param way: where it comes from or goes to, and what becomes of it.
        """
        try:
            batch = decode_batch(payload)
        except RemoteProtocolError:
            # It is counted where it is dropped.
            return
        for message in batch.messages:
            if isinstance(message, Request):
                self._tell_request(batch, message, way)
            elif isinstance(message, Reply):
                self._tell_reply(batch, message, way)
            elif isinstance(message, Nack) and message.ranges:
                self._tell_nack(batch, message, way)

    def _tell_request(self, batch: Batch, request: Request, way: str) -> None:
        message_id = _id(batch.source, batch.destination, request.sequence)
        self._seen[message_id] = self._seconds()
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        member = f".{request.member}" if request.member else ""
        self.log.debug(
            "{kind} {topic} {method}, message {message_id}{again}, {way}",
            kind=_kind(request),
            topic=printable(f"{request.exchange}/{request.topic}{member}", _MOST_TEXT),
            method=printable(request.method, _MOST_TEXT),
            message_id=message_id,
            again=f" for time {request.attempt}" if request.attempt > 1 else "",
            way=way,
        )

    def _tell_reply(self, batch: Batch, reply: Reply, way: str) -> None:
        message_id = _id(batch.destination, batch.source, reply.sequence)
        seen = self._seen.pop(message_id, None)
        self.log.debug(
            "{kind} of message {message_id}, {way}: {outcome}{after}",
            kind=_kind(reply),
            message_id=message_id,
            way=way,
            outcome="a result"
            if reply.failure is None
            else printable(reply.failure.type_name, _MOST_TEXT) or "a failure",
            after="" if seen is None else f" after {(self._seconds() - seen) * 1000:.1f} ms",
        )

    def _tell_nack(self, batch: Batch, nack: Nack, way: str) -> None:
        self.log.debug(
            "{kind} of message {message_id}, {way}: {outcome}",
            kind=_kind(nack),
            message_id=_id(batch.destination, batch.source, ",".join(map(str, nack.ranges[:20:2]))),
            way=way,
            outcome=printable(nack.text, _MOST_TEXT) or Refusal(nack.reason).words,
        )


def _kind(message: Request | Reply | Nack) -> str:
    return type(message).__name__.upper()


def _id(client: bytes | None, server: bytes | None, number: int | str) -> str:
    """Write the id of a message: client instance, server instance and number; what is published has no server."""
    ends = (b"" if end is None else end for end in (client, server))
    return "/".join([*(end.hex()[:_DIGITS] or "published" for end in ends), str(number)])
