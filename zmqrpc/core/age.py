"""
How long a message was under way, without synchronised clocks (docs/spec/wire, Age; design D9).

Stamps are believed with care. Clocks make steps: that of a host stands while it is suspended. Who can write to a port
can write any stamp, in anybody's name. And what waited in a queue is old, however much of it there is.
"""

from __future__ import annotations

LATE_MILLISECONDS = 5000
"""What is read late is so by this at most; by a stamp that differs more from those before it a clock was set anew, or
somebody else wrote it."""

SHORT_ROUND_TRIP = 100
"""Milliseconds; only a PING whose round trip was shorter may set a new base."""

REBASE_AFTER = 60_000
"""Milliseconds after which the base is made anew, because clocks drift, and make steps."""


def is_read_late(sent: int, newest: int) -> bool:
    """
    Tell whether a HELLO is of a connection of the past.

    :param sent: when it was written, ms of the clock of its instance.
    :param newest: when that HELLO was which counts as the newest of this instance.
    """
    return 0 < newest - sent <= LATE_MILLISECONDS


class ClockOffset:
    """
    The smallest (arrival - sent) seen from one instance.

    A batch that makes it smaller by more than `LATE_MILLISECONDS` is not believed; the next PINGs tell.

    :param arrival: our monotonic clock in ms when its HELLO arrived.
    :param sent: its monotonic clock in ms when it wrote HELLO.
    """

    __slots__ = ("_base", "_based_at", "_candidate", "_opened", "_pinged")

    def __init__(self, arrival: int, sent: int) -> None:
        self._base = arrival - sent
        self._based_at = arrival
        self._candidate: int | None = None
        self._pinged = 0  # when the last PING was written
        self._opened: tuple[int, int] | None = None  # arrival and sent of the HELLO of a connection of its own

    def hello(self, arrival: int, sent: int, fresh: bool) -> None:
        """
        Take its next HELLO.

        :param fresh: whether it came by a connection of its own, where whatever follows was sent after our WELCOME.
        """
        self._opened = None
        self.age(arrival, sent)
        if fresh:
            self._opened = arrival, sent

    def age(self, arrival: int, sent: int) -> int:
        """Return how many ms a batch was under way beyond the fastest one seen."""
        age = arrival - sent - self._base
        if age < 0:
            if age >= -LATE_MILLISECONDS:
                self._base += age
            return 0
        return age if age <= SHORT_ROUND_TRIP or self._opened is None else self._since_opened(age, arrival, sent)

    def _since_opened(self, age: int, arrival: int, sent: int) -> int:
        """Believe in no age beyond that of our WELCOME: a clock has stood before HELLO."""
        assert self._opened is not None
        opened_at, hello_sent = self._opened
        most = arrival - opened_at
        if age <= most or sent < hello_sent:
            # No clock that stands shows less than before.
            return age
        self._base += age - most
        return most

    def ping(self, arrival: int, sent: int, last_round_trip: int | None) -> None:
        """
        Take a PING; when the round trip of the one before it was short, that replaces a base that is old or wrong.

        Wrong is one that is off by more than the round trip: a clock has made a step.

        :param last_round_trip: what this PING tells of the one before it, in ms.
        """
        candidate = self._candidate
        if candidate is not None and 0 <= self._pinged - sent <= LATE_MILLISECONDS:
            # It came twice, or is read late: the round trip that it tells is none of the last one.
            return
        if (
            candidate is not None
            and last_round_trip is not None
            and last_round_trip < SHORT_ROUND_TRIP
            and (arrival - self._based_at >= REBASE_AFTER or abs(candidate - self._base) > SHORT_ROUND_TRIP)
        ):
            self._base, self._based_at = candidate, arrival
        self._candidate, self._pinged = arrival - sent, sent


DRIFT_EVERY = 2000
"""In how many milliseconds two monotonic clocks may drift apart by one: what NTP slews at most."""


class DriftingOffset:
    """
    The smallest (arrival - sent) seen from one instance that sends no PING: a client whose fan-outs are published.

    It grows by what the clocks may have drifted. One batch alone does not make it smaller by more than
    `LATE_MILLISECONDS`, two in a row do.

    When nothing comes near it any more its clock has made a step, or there is a queue on the way. What comes of a queue
    gets older, or younger, or a minute of it comes in one go. So it was a step when a batch is as far off as one was a
    minute before, by both clocks, and none between was younger.

    :param arrival: our monotonic clock in ms when the first batch arrived.
    :param sent: its monotonic clock in ms when that was written.
    """

    __slots__ = ("_base", "_doubted", "_far")

    def __init__(self, arrival: int, sent: int) -> None:
        self._base = arrival - sent - arrival // DRIFT_EVERY
        self._doubted: int | None = None
        self._far: tuple[int, int] | None = None  # arrival and sent of the first that was far off

    def age(self, arrival: int, sent: int) -> int:
        """Return how many ms a batch was under way beyond the fastest one seen."""
        # Without the drift that is allowed until now, so that nothing that is kept has to grow.
        offset = arrival - sent - arrival // DRIFT_EVERY
        doubted, self._doubted = self._doubted, None
        if offset < self._base - LATE_MILLISECONDS:
            if doubted is None:
                self._doubted = offset
            else:
                self._rebase(max(offset, doubted))
        elif offset < self._base + SHORT_ROUND_TRIP:
            self._rebase(min(offset, self._base))
        elif self._is_step(arrival, sent):
            self._rebase(offset)
        return max(0, offset - self._base)

    def _is_step(self, arrival: int, sent: int) -> bool:
        """Take a batch that is far off; tell whether it makes a new base."""
        if self._far is not None:
            passed, passed_there = arrival - self._far[0], sent - self._far[1]
            older, drift = passed - passed_there, passed // DRIFT_EVERY
            if older >= -SHORT_ROUND_TRIP - drift:
                return min(passed, passed_there) >= REBASE_AFTER and older <= SHORT_ROUND_TRIP + drift
        self._far = arrival, sent
        return False

    def _rebase(self, base: int) -> None:
        self._base = base
        self._far = None
