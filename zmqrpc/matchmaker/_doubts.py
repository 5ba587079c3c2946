"""What was heard of instances that could not be reached."""

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
        self._reasons: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._reasons)

    def reason(self, record: Record) -> str | None:
        """Return why the instance is doubted, None when it is not."""
        return self._reasons.get(record.key)

    def add(self, record: Record, reason: str) -> None:
        """Doubt an instance; logged when it was not doubted already."""
        if record.key not in self._reasons:
            self._log.info(
                "{topic}.{member} at {addresses} was not reachable: {reason}",
                topic=record.topic,
                member=record.member,
                addresses=", ".join(record.addresses),
                reason=reason,
            )
        self._reasons[record.key] = reason
        if len(self._reasons) > self._limit:
            self._reasons.popitem(last=False)

    def remove(self, record: Record) -> None:
        """Doubt it no longer; logged when it was doubted."""
        if self._reasons.pop(record.key, None) is not None:
            self._log.info("{topic}.{member} answers again", topic=record.topic, member=record.member)
