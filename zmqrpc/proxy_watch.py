"""Keeps what is known of the proxies: looked up at the start, watched, and looked up again now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.agenda import NEVER
from zmqrpc.discovery import POLL_SECONDS, RETRY_SECONDS
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.record import PROXIES, Sighting, well_formed


class ProxyWatch:
    """
    The records of all proxies.

    What was known last stays while the matchmaker does not answer.

    :param found: called with all of them, after each answer.
    :param seconds: the monotonic clock.
    :param jitter: gives a number from 0.5 to 1, so that nodes do not ask in step.
    :param wake_by: asks that `sweep` is called at a time.
    :ivar answered: whether the matchmaker ever has.
    """

    log = Logger()

    def __init__(
        self,
        matchmaker: IMatchmaker,
        found: Callable[[list[Sighting]], None],
        seconds: Callable[[], float],
        jitter: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self._matchmaker = matchmaker
        self._found = found
        self._seconds = seconds
        self._jitter = jitter
        self._wake_by = wake_by
        self._stop: Callable[[], None] | None = None
        self._closed = False
        self.answered = False
        self.wake_at = NEVER

    def start(self) -> None:
        """Begin; again does nothing."""
        if self._stop is None and not self._closed:
            self._stop = lambda: None
            self._stop = self._matchmaker.watch(*PROXIES, self._heard)
            self._ask()

    def close(self) -> None:
        """End."""
        self._closed = True
        self.wake_at = NEVER
        if self._stop is not None:
            self._stop()

    def sweep(self, now: float) -> None:
        """Look them up when it is time."""
        if now >= self.wake_at:
            self._ask()

    def _ask(self) -> None:
        self.wake_at = NEVER
        looked_up: Deferred[Any] = self._matchmaker.lookup(*PROXIES)
        looked_up.addCallbacks(self._looked_up, self._failed)

    def _looked_up(self, sightings: list[Sighting]) -> None:
        self._again(POLL_SECONDS)
        self._heard(sightings)

    def _heard(self, sightings: list[Sighting]) -> None:
        if not self._closed:
            self.answered = True
            self._found(well_formed(sightings))

    def _failed(self, failure: Failure) -> None:
        if not failure.check(MatchmakerUnavailable):
            self.log.failure("the matchmaker failed otherwise than its interface says", failure=failure)
        self._again(RETRY_SECONDS)

    def _again(self, seconds: float) -> None:
        if not self._closed:
            self.wake_at = self._seconds() + seconds * self._jitter()
            self._wake_by(self.wake_at)
