"""
What is held against instances: the doubts of links, and the complaints of the application.

Both are told to the matchmaker, as hints that others may use. A complaint puts the instance into quarantine besides, in
this node only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from zmqrpc.core.quarantine import Quarantine
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.topic import link_key
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.record import Record


class Hints:
    """
    The hints of one node.

    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    """

    log = Logger()

    def __init__(
        self,
        matchmaker: IMatchmaker,
        table: RoutingTable,
        quarantine: Quarantine,
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self._matchmaker = matchmaker
        self._table = table
        self._quarantine = quarantine
        self._seconds = seconds
        self._wake_by = wake_by
        self._doubted: dict[str, dict[tuple[str, ...], Record]] = {}
        self._complained: dict[str, dict[tuple[str, ...], Record]] = {}
        self._closed = False

    def close(self) -> None:
        """Say nothing more."""
        self._closed = True

    # What links find out

    def doubted(self, key: str, reason: str) -> None:
        """Take that the records behind a link do not lead to their instance."""
        for record in self._table.leading_to(key):
            self._doubted.setdefault(key, {})[record.key] = record
            self._tell(self._matchmaker.neg_acknowledge, record, reason)

    def answers(self, key: str) -> None:
        """Take that the instance behind a link answers: that ends the doubts of it, and no complaint."""
        for record in self._doubted.pop(key, {}).values():
            if record.key not in self._complained.get(key, {}):
                self._tell(self._matchmaker.acknowledge, record)

    def gone(self, key: str) -> None:
        """Take that no record leads to a link any more."""
        self._doubted.pop(key, None)
        if self._quarantine.forget(key):
            self._ended(key, "its record is gone")

    # What the application says

    def neg_acknowledge(self, records: Iterable[Record], reason: str) -> None:
        """Take that the application complains about the instances of these records."""
        if self._closed:
            return
        now = self._seconds()
        for record in records:
            key = link_key(record)
            seconds = self._quarantine.complain(key, now)
            if seconds is not None:
                self._table.set_quarantined(key, True)
                self._complained[key] = {}
                self.log.warn(
                    "{topic}.{member} at {address} is in quarantine for {seconds:.1f} s, instance {instance}: {reason}",
                    topic=record.topic,
                    member=record.member,
                    address=record.addresses[0],
                    seconds=seconds,
                    instance=record.instance,
                    reason=reason,
                )
            if key in self._quarantine:
                self._complained[key][record.key] = record
            self._tell(self._matchmaker.neg_acknowledge, record, reason)
        self._wake_by(self.wake_at)

    def acknowledge(self, records: Iterable[Record]) -> None:
        """Take that the application finds the instances of these records in order."""
        if self._closed:
            return
        for record in records:
            key = link_key(record)
            self._doubted.get(key, {}).pop(record.key, None)
            if self._quarantine.forget(key):
                self._ended(key, "the application says that it is in order")
            else:
                self._tell(self._matchmaker.acknowledge, record)

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return self._quarantine.wake_at

    def sweep(self, now: float) -> None:
        """Let those out of quarantine whose time is up."""
        for key in self._quarantine.tick(now):
            self._ended(key, "its time is up")

    def _ended(self, key: str, why: str) -> None:
        self._table.set_quarantined(key, False)
        complained = list(self._complained.pop(key).values())
        for record in complained:
            if record.key not in self._doubted.get(key, {}):
                self._tell(self._matchmaker.acknowledge, record)
        name = f"{complained[0].topic}.{complained[0].member} at {complained[0].addresses[0]}"
        self.log.info("{name} is out of quarantine: {why}", name=name, why=why)

    def _tell(self, hint: Callable[..., None], *arguments: Record | str) -> None:
        if not self._closed:
            told = maybeDeferred(hint, *arguments)
            told.addErrback(lambda failure: self.log.failure("the matchmaker raised at a hint", failure=failure))
