"""Which instances are in doubt."""

from __future__ import annotations

from collections import OrderedDict
from math import inf

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from zmqrpc.matchmaker._shared_doubts import SharedDoubts
from zmqrpc.record import Record
from zmqrpc.spelling import shown

MOST_LINES = 5
"""How many lines are logged for those of whom is heard within `TOGETHER_SECONDS`; the others are one line more."""

TOGETHER_SECONDS = 1.0

_IN_DOUBT = "{topic}.{member} at {addresses} is in doubt: {reason}"
_NO_MORE = "{topic}.{member} is in doubt no more"


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
        self._begun = -inf  # since when lines are counted
        self._lines = 0
        self._untold: tuple[str, Record, str] | None = None  # the last that is only counted
        self._timer: IDelayedCall | None = None
        self._doubted: OrderedDict[tuple[str, ...], Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._doubted)

    def add(self, record: Record, reason: str) -> Deferred[None] | None:
        """
        Doubt an instance; logged when it was not doubted already.

        :return: as `IMatchmaker.neg_acknowledge`.
        """
        if record.key not in self._doubted:
            self._tell(_IN_DOUBT, record, reason)
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
            self._tell(_NO_MORE, record, "")
        return self._shared.take_back(record) if self._shared is not None else None

    def close(self) -> None:
        """Share nothing any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
            self._tell_the_rest()
        if self._shared is not None:
            self._shared.close()

    def _tell(self, what: str, record: Record, reason: str) -> None:
        """Log it; where many are told of at once, as after a power cut, the first of them and how many more."""
        if self._shared is not None:
            now = self._shared.seconds()
            if now - self._begun > TOGETHER_SECONDS:
                self._begun, self._lines = now, 0
            self._lines += 1
            if self._lines > MOST_LINES:
                self._untold = (what, record, reason)
                if self._timer is None:
                    self._timer = self._shared.later(TOGETHER_SECONDS, self._tell_the_rest)
                return
        self._log.info("{text}", text=what.format(**_facts(record, reason)))

    def _tell_the_rest(self) -> None:
        self._timer = None
        more, self._lines, self._begun = self._lines - MOST_LINES, 0, -inf
        if self._untold is not None:
            what, record, reason = self._untold
            self._untold = None
            last = what.format(**_facts(record, reason))
            self._log.info("{more} more instances at once, the last: {text}", more=more, text=last)

    def _forget_oldest(self) -> None:
        _, record = self._doubted.popitem(last=False)
        if self._shared is not None:
            self._shared.forget(record)


def _facts(record: Record, reason: str) -> dict[str, str]:
    facts = {"topic": record.topic, "member": record.member, "addresses": ", ".join(record.addresses), "reason": reason}
    return {name: shown(fact) for name, fact in facts.items()}
