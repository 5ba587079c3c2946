"""A client whose fan-outs come published, in the place of a `zmqrpc.caller.Caller`: it has no link to us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zmqrpc.core.envelope import Nack, Refusal, read_message
from zmqrpc.core.seen import Seen
from zmqrpc.notices import Notices

if TYPE_CHECKING:
    from zmqrpc.running import RunningRequest

_NEW = Seen.NEW


class _NoFilter:
    """Admits everything: what comes here was asked for in `zmqrpc.core.fanouts` already."""

    def admit(self, sequence: int) -> Seen:
        return _NEW

    def answered(self, sequence: int, reply: bytes) -> None:
        """Keep nothing."""

    def __len__(self) -> int:
        return 0


class FanoutCaller:
    """
    One client instance under one topic, as one server of it sees it.

    :param topic: exchange and topic, for the log.
    :ivar running: as of `Caller`, and so are the others.
    """

    has_link = False
    filter = _NoFilter()
    identity = b""
    largest, limited_by = 0, "nobody"
    """Never looked at, since it is never answered."""

    __slots__ = ("_notices", "_topic", "acks", "instance", "running", "until")

    def __init__(self, instance: bytes, topic: str, notices: Notices) -> None:
        self.instance = instance
        self.running: dict[int, RunningRequest] = {}
        self.acks: dict[int, None] = {}
        self.until = 0.0
        self._topic = topic
        self._notices = notices

    def acknowledge(self, sequence: int) -> None:
        """Do nothing: its client is told by the publisher that it is published, and by nobody that it came."""

    def acknowledge_soon(self, sequence: int) -> None:
        """As `acknowledge`."""

    def write(self, encoded: bytes) -> None:
        """Log why a fan-out does not run, since its client is not told."""
        nack = read_message(encoded)
        if type(nack) is Nack:
            self._notices.count(
                "fanout_refused",
                "a published fan-out to {topic} of client {client} did not run: {reason}: {why}",
                self.instance,
                topic=self._topic,
                client=self.instance,
                reason=Refusal(nack.reason).words,
                why=nack.text,
            )
