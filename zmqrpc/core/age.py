"""How long a message was under way, without synchronised clocks (docs/spec/wire, Age; design D9)."""

from __future__ import annotations

SHORT_ROUND_TRIP = 100
"""Milliseconds; only a PING whose round trip was shorter may set a new base."""

REBASE_AFTER = 60_000
"""Milliseconds after which the base is made anew, because clocks drift."""


class ClockOffset:
    """
    The smallest (arrival - sent) seen from one instance.

    :param arrival: our monotonic clock in ms when its HELLO arrived.
    :param sent: its monotonic clock in ms when it wrote HELLO.
    """

    __slots__ = ("_base", "_based_at", "_candidate")

    def __init__(self, arrival: int, sent: int) -> None:
        self._base = arrival - sent
        self._based_at = arrival
        self._candidate: int | None = None

    def age(self, arrival: int, sent: int) -> int:
        """Return how many ms a batch was under way beyond the fastest one seen."""
        age = arrival - sent - self._base
        if age < 0:
            self._base += age
            return 0
        return age

    def ping(self, arrival: int, sent: int, last_round_trip: int | None) -> None:
        """
        Take a PING; the one before it becomes the new base when its round trip was short and the base is old.

        :param last_round_trip: what this PING tells of the one before it, in ms.
        """
        if (
            self._candidate is not None
            and last_round_trip is not None
            and last_round_trip < SHORT_ROUND_TRIP
            and arrival - self._based_at >= REBASE_AFTER
        ):
            self._base, self._based_at = self._candidate, arrival
        self._candidate = arrival - sent


FASTEST_DRIFT = 0.0005
"""By how much two monotonic clocks may drift apart, as a share of the time: what NTP slews at most."""


class DriftingOffset:
    """
    The smallest (arrival - sent) seen from one instance that sends no PING: a client whose fan-outs are published.

    No base can be made anew from a short round trip, so it grows by what the clocks may have drifted, until a faster
    batch comes.

    :param arrival: our monotonic clock in ms when the first batch arrived.
    :param sent: its monotonic clock in ms when that was written.
    """

    __slots__ = ("_base", "_based_at")

    def __init__(self, arrival: int, sent: int) -> None:
        self._base: float = arrival - sent
        self._based_at = arrival

    def age(self, arrival: int, sent: int) -> int:
        """Return how many ms a batch was under way beyond the fastest one seen."""
        offset = arrival - sent
        self._base = min(offset, self._base + FASTEST_DRIFT * max(0, arrival - self._based_at))
        self._based_at = max(arrival, self._based_at)
        return int(offset - self._base)
