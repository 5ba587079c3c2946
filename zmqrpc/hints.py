"""
What is held against instances: the doubts of links, the complaints of the application, and the doubts of others.

The first two are told to the matchmaker, as hints that others may use. A complaint puts the instance into quarantine
besides, in this node only. Of what others doubt nothing is believed: the link is to ask the instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.quarantine import Quarantine
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.topic import link_key
from zmqrpc.core.verifying import Verifying
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.notices import Notices
from zmqrpc.record import Record
from zmqrpc.spelling import shown
from zmqrpc.target import Target


class Hints:
    """
    The hints of one node.

    :param look: has a link, by its key, look whether its instance answers.
    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    """

    log = Logger()

    def __init__(
        self,
        matchmaker: IMatchmaker,
        table: RoutingTable,
        quarantine: Quarantine,
        look: Callable[[str], None],
        notices: Notices,
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self._matchmaker = matchmaker
        self._table = table
        self._quarantine = quarantine
        self._look = look
        self._notices = notices
        self._verifying = Verifying()
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
        self._verifying.forget(key)
        if self._quarantine.forget(key):
            self._ended(key, "its record is gone")

    # What others say

    def heard(self, key: str) -> None:
        """Take that the store shows a new doubt of the instance behind a link; perhaps it is our own."""
        if self._closed or key in self._doubted or key in self._complained or not self._table.leading_to(key):
            return
        if not self._verifying.doubted(key, self._seconds()):
            self._notices.count("doubts", "too many instances are in doubt, some are not looked at")
        self._wake_by(self._verifying.wake_at)

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
                    topic=shown(record.topic),
                    member=shown(record.member),
                    address=record.addresses[0],
                    seconds=seconds,
                    instance=record.instance,
                    reason=shown(reason),
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

    def unheeded(self, target: Target, why: str) -> None:
        """Take that what the application said of a target concerns nobody."""
        if not self._closed:
            text = "what was said of {target} concerns nobody: {why}"
            self._notices.count("hint_unheeded", text, target=target, peer=str(target), why=why)

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._quarantine.wake_at, self._verifying.wake_at)

    def sweep(self, now: float) -> None:
        """Let those out of quarantine whose time is up, and look at whom others doubt."""
        for key in self._quarantine.tick(now):
            self._ended(key, "its time is up")
        for key in self._verifying.tick(now):
            # Who has begun to doubt it himself meanwhile knows.
            if key not in self._doubted:
                self._look(key)

    def _ended(self, key: str, why: str) -> None:
        self._table.set_quarantined(key, False)
        complained = list(self._complained.pop(key).values())
        for record in complained:
            if record.key not in self._doubted.get(key, {}):
                self._tell(self._matchmaker.acknowledge, record)
        name = shown(f"{complained[0].topic}.{complained[0].member} at {complained[0].addresses[0]}")
        self.log.info("{name} is out of quarantine: {why}", name=name, why=why)

    def _tell(self, hint: Callable[..., Any], *arguments: Record | str) -> None:
        if not self._closed:
            tell(self._notices, hint, *arguments)


def tell(notices: Notices, hint: Callable[..., Any], *arguments: Record | str) -> None:
    """
    Tell the matchmaker a hint, `IMatchmaker.acknowledge` or `neg_acknowledge`; nobody waits for what becomes of it.

    :param arguments: those of the hint.
    """

    def lost(failure: Failure) -> None:
        if failure.check(MatchmakerUnavailable):
            notices.count("doubt_lost")
        else:
            Hints.log.failure("the matchmaker raised at a hint", failure=failure)

    maybeDeferred(hint, *arguments).addErrback(lost)
