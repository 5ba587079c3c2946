"""
Which of the connections that a bound socket accepts never become connections of ZeroMQ.

A monitor tells that a connection was accepted and that it ended, by its descriptor. It does not tell which one has
opened: that event names none. And when a peer does not even begin to speak ZMTP, only the end is told, as for one that
opened and went. So they are counted against each other. As long as handshakes overlap it may not be known which have
failed; it is known how many, at the latest when all that began with them are over or too old to have failed.
"""

from __future__ import annotations

from itertools import takewhile

from msgspec import Struct

NOT_ZMTP = "it does not speak ZMTP 3 as a client does"

LONGEST = 4.0
"""Seconds after which a connection that stands has opened; ZeroMQ ends it after two when it has not."""


class Failed(Struct, frozen=True):
    """
    A connection that came to nothing.

    :ivar peer: the address it came from; empty where that is not known for certain.
    """

    peer: str
    reason: str


class _Opening(Struct):
    peer: str
    since: float


class Handshakes:
    """The connections of one bound socket; its methods are called in the order of the monitor's events."""

    def __init__(self) -> None:
        self._opening: dict[int, _Opening] = {}
        self._unclear: list[str] = []
        self._opened = 0
        self._reason: str | None = None
        self._unchecked: set[int] = set()

    @property
    def unclear(self) -> bool:
        """Whether some have ended of which it is not known whether they had opened."""
        return bool(self._unclear)

    def accepted(self, descriptor: int, peer: str, now: float) -> None:
        """
        Take that a connection was accepted.

        :param peer: whose address the descriptor gave now; it counts when `caught_up` comes before the end, since
            another connection may have the descriptor by now.
        """
        self._opening[descriptor] = _Opening(peer, now)
        self._unchecked.add(descriptor)

    def opened(self) -> list[Failed]:
        """Take that some handshake has succeeded."""
        self._opened += 1
        return self._judge()

    def failed(self, reason: str) -> None:
        """Take that a handshake has failed; the end of that connection is the next event."""
        self._reason = reason

    def ended(self, descriptor: int) -> list[Failed]:
        """Take that a connection has ended."""
        reason, self._reason = self._reason, None
        opening = self._opening.pop(descriptor, None)
        peer = "" if opening is None or descriptor in self._unchecked else opening.peer
        self._unchecked.discard(descriptor)
        if reason is not None:
            if opening is None:
                # It stood for so long that it was taken for one that has opened.
                self._opened += 1
            return [Failed(peer, reason), *self._judge()]
        if opening is not None:
            self._unclear.append(peer)
        return self._judge()

    def caught_up(self, now: float) -> list[Failed]:
        """Take that there are no more events up to now."""
        self._unchecked.clear()
        # The oldest come first.
        for descriptor in list(takewhile(lambda one: now - self._opening[one].since >= LONGEST, self._opening)):
            del self._opening[descriptor]
            self._opened -= 1
        return self._judge()

    def _judge(self) -> list[Failed]:
        """Tell what is certain by now."""
        # What is gone and more than have opened at all has failed; who that is, is known when none of them has opened.
        certain = max(len(self._unclear) - max(self._opened, 0), 0)
        failed = [Failed(peer if self._opened <= 0 else "", NOT_ZMTP) for peer in self._unclear[:certain]]
        del self._unclear[:certain]
        if len(self._opening) + len(self._unclear) == self._opened:
            self._opening.clear()
            self._unclear.clear()
            self._opened = 0
        return failed
