"""Which instances are in doubt."""

from __future__ import annotations

from collections import OrderedDict

from twisted.logger import Logger

from zmqrpc.record import Record


class Doubts:
    """
    The hints of `IMatchmaker.neg_acknowledge`, in the memory of this process only: logged, and shared with nobody.

    :param limit: how many are kept; past it the oldest is forgotten.
    """

    _log = Logger()

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._doubted: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._doubted)

    def add(self, record: Record, reason: str) -> None:
        """Doubt an instance; logged when it was not doubted already."""
        if record.key not in self._doubted:
            self._log.info(
                "{topic}.{member} at {addresses} is in doubt: {reason}",
                topic=record.topic,
                member=record.member,
                addresses=", ".join(record.addresses),
                reason=reason,
            )
        self._doubted[record.key] = None
        if len(self._doubted) > self._limit:
            self._doubted.popitem(last=False)

    def remove(self, record: Record) -> None:
        """Doubt it no longer; logged when it was doubted."""
        if record.key in self._doubted:
            del self._doubted[record.key]
            self._log.info("{topic}.{member} is in doubt no more", topic=record.topic, member=record.member)
