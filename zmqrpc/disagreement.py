"""Servers and proxies that are configured differently: what one publishes reaches only who subscribes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zmqrpc.core.agenda import NEVER
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.record import Role, Sighting
from zmqrpc.spelling import first_of

_MOST_NAMED = 8


class Disagreement:
    """
    Warns, once for each server, when a router proxy and servers disagree on ``use_pub_sub``.

    :param publishes: what the proxy does.
    :param interval: seconds between two looks at all records.
    :param jitter: gives a number from 0.5 to 1, so that proxies do not look in step.
    """

    log = Logger()

    def __init__(
        self,
        matchmaker: IMatchmaker,
        publishes: bool,
        interval: float,
        jitter: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self.wake_at = NEVER
        self._matchmaker = matchmaker
        self._publishes = publishes
        self._interval = interval
        self._jitter = jitter
        self._wake_by = wake_by
        self._named: set[str] = set()

    def begin(self, now: float) -> None:
        """Look now, and from then on."""
        self.sweep(now)

    def sweep(self, now: float) -> None:
        """Look, and plan the next look."""
        self.wake_at = now + self._interval * (0.8 + 0.4 * (self._jitter() - 0.5))
        self._wake_by(self.wake_at)
        looked: Deferred[list[Sighting]] = self._matchmaker.records()
        # An outage is logged by the matchmaker.
        looked.addCallbacks(self._compare, lambda _: None)

    def stop(self) -> None:
        """Look no more."""
        self.wake_at = NEVER

    def _compare(self, sightings: Iterable[Sighting]) -> None:
        if self.wake_at == NEVER:
            return
        differing = {
            f"{sighting.record.exchange}/{sighting.record.topic}.{sighting.record.member}"
            for sighting in sightings
            if sighting.record.role is Role.SERVER and sighting.record.subscribes is not self._publishes
        }
        new = sorted(differing - self._named)
        # What agrees again is named once more if it differs later.
        self._named = differing
        if not new:
            return
        names = first_of(new, ", ", _MOST_NAMED)
        if self._publishes:
            self.log.warn(
                "use_pub_sub is true here and false for {names}: fan-outs are sent to each of these by itself; "
                "write the same for all services and proxies",
                names=names,
            )
        else:
            self.log.warn(
                "use_pub_sub is false here and true for {names}: this proxy publishes nothing for them; write "
                "the same for all services and proxies",
                names=names,
            )
