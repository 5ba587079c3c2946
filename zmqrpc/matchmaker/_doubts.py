"""Which instances are in doubt."""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zmqrpc.matchmaker._shared_doubts import SharedDoubts
from zmqrpc.record import Record


class Doubts:
    """
    The hints of `IMatchmaker.neg_acknowledge`: logged, and shared where the store can.

    What names no instance is kept in the memory of this process: it is a line of a fixed table.

    :param shared: what tells others; None for a store that takes no records.
    :param limit: how many are kept; past it the oldest is forgotten.
    """

    _log = Logger()

    def __init__(self, shared: SharedDoubts | None = None, limit: int = 1000) -> None:
        self._shared = shared
        self._limit = limit
        self._doubted: OrderedDict[tuple[str, ...], Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._doubted)

    def add(self, record: Record, reason: str) -> Deferred[None] | None:
        """
        Doubt an instance; logged when it was not doubted already.

        :return: as `IMatchmaker.neg_acknowledge`.
        """
        if record.key not in self._doubted:
            self._log.info(
                "{topic}.{member} at {addresses} is in doubt: {reason}",
                topic=record.topic,
                member=record.member,
                addresses=", ".join(record.addresses),
                reason=reason,
            )
        self._doubted[record.key] = record
        if len(self._doubted) > self._limit:
            self._forget_oldest()
        return self._shared.say(record, reason) if self._shared is not None and record.instance else None

    def remove(self, record: Record) -> Deferred[None] | None:
        """
        Doubt it no longer; logged when it was doubted.

        :return: as `IMatchmaker.acknowledge`.
        """
        if record.key in self._doubted:
            del self._doubted[record.key]
            self._log.info("{topic}.{member} is in doubt no more", topic=record.topic, member=record.member)
        return self._shared.take_back(record) if self._shared is not None else None

    def close(self) -> None:
        """Share nothing any more."""
        if self._shared is not None:
            self._shared.close()

    def _forget_oldest(self) -> None:
        _, record = self._doubted.popitem(last=False)
        if self._shared is not None:
            self._shared.forget(record)
