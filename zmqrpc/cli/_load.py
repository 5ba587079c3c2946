"""Load: calls that are made over and over, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zmqrpc.cli._histogram import Histogram
from zmqrpc.cli._report import kind_of

LATE_SECONDS = 0.001
"""A call that is sent so long after it was due counts as late."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.1
"""Seconds to wait after a call that failed, twice as long after each one more in a row: most fail at once."""

_MOST_AT_ONCE = 64
"""Calls that are sent before answers are read again."""


@attrs.define
class Failed:
    """Calls that ended with one class of error: how many, and the first of these errors."""

    count: int
    first: Exception


class Measurement:
    """
    The calls that were due within a time, and what became of them.

    :param call: makes one call.
    :param seconds: the clock that all times are by.
    :param begins: when it begins; what was due before warms up.
    :param ends: when it ends; `stop` brings that forward.
    :ivar due: how many calls were due within it, of which `unsent` were not sent, because the sender could not keep up.
    :ivar answers: how many answers came within it, whenever their call was due.
    :ivar in_flight: how many calls have not ended, and `unfinished` those of them that count.
    :ivar latencies: of the calls that were answered, from when they were due.
    :ivar lateness: from when a call was due until it was sent.
    :ivar late: how many were sent later than `LATE_SECONDS`.
    :ivar failed: those that were not answered, by the name of their error.
    """

    def __init__(
        self, call: Callable[[], Deferred[Any]], seconds: Callable[[], float], begins: float, ends: float
    ) -> None:
        self._call = call
        self.seconds = seconds
        self.begins = begins
        self.ends = ends
        self.due = 0
        self.unsent = 0
        self.answers = 0
        self.in_flight = 0
        self.unfinished = 0
        self.latencies = Histogram()
        self.lateness = Histogram()
        self.late = 0
        self.failed: dict[str, Failed] = {}
        self.ended: Callable[[bool], None] = lambda answered: None
        self._stopped = False

    @property
    def elapsed(self) -> float:
        """How long it lasted, in seconds."""
        return max(0.0, self.ends - self.begins)

    def send(self, due: float | None = None) -> None:
        """
        Make a call; `ended` is called when it has ended.

        :param due: when it was due; None for now, as one is that waited for another to end: it cannot be late.
        """
        now = self.seconds()
        due = now if due is None else due
        counts = self.begins <= due < self.ends
        self.in_flight += 1
        if counts:
            self.due += 1
            self.unfinished += 1
            late = now - due
            self.lateness.record(late)
            if late > LATE_SECONDS:
                self.late += 1
        self._call().addCallbacks(self._answered, self._failed, callbackArgs=(due, counts), errbackArgs=(counts,))

    def stop(self) -> None:
        """End it now; what ends later does not count any more."""
        self.ends = min(self.ends, self.seconds())
        self._stopped = True

    def _answered(self, _: Any, due: float, counts: bool) -> None:
        if self._stopped:
            return
        now = self.seconds()
        self.in_flight -= 1
        if counts:
            self.unfinished -= 1
            self.latencies.record(now - due)
        if self.begins <= now < self.ends:
            self.answers += 1
        self.ended(True)

    def _failed(self, failure: Failure, counts: bool) -> None:
        if self._stopped:
            return
        self.in_flight -= 1
        if counts:
            self.unfinished -= 1
            self._note(failure.value)
        self.ended(False)

    def _note(self, error: Any) -> None:
        kind = kind_of(error)
        if kind in self.failed:
            self.failed[kind].count += 1
        else:
            self.failed[kind] = Failed(1, error)


class ClosedLoop:
    """
    So many calls in flight: each one that ends makes the next; after a failure with a pause.

    :ivar finished: fires when the last one has ended.
    """

    def __init__(self, reactor: Any, measurement: Measurement, outstanding: int) -> None:
        self._reactor = reactor
        self._measurement = measurement
        self._outstanding = outstanding
        self._pause = _SHORTEST_PAUSE
        self._pausing: set[Any] = set()
        self.finished: Deferred[None] = Deferred()

    def start(self) -> None:
        """Make the first calls."""
        self._measurement.ended = self._next
        for _ in range(self._outstanding):
            self._send()

    def close(self) -> None:
        """Make no more calls."""
        pausing, self._pausing = self._pausing, set()
        for timer in pausing:
            timer.cancel()

    def _send(self) -> None:
        self._measurement.send()

    def _next(self, answered: bool) -> None:
        measurement = self._measurement
        if measurement.seconds() >= measurement.ends:
            if not measurement.in_flight and not self.finished.called:
                self.finished.callback(None)
        elif answered:
            self._pause = _SHORTEST_PAUSE
            self._send()
        else:
            self._send_later()

    def _send_later(self) -> None:
        # Not past the end, which nobody should have to wait for.
        pause = min(self._pause, max(0.0, self._measurement.ends - self._measurement.seconds()))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

        def send() -> None:
            self._pausing.discard(timer)
            self._send()

        timer = self._reactor.callLater(pause, send)
        self._pausing.add(timer)


class IAlarm(Protocol):
    """What `OpenLoop` needs of a timer; see `zmqrpc.cli._alarm.Alarm`."""

    def set(self, wait: float) -> None:
        """Ring once after so many seconds."""

    def close(self) -> None:
        """Ring no more."""


class OpenLoop:
    """
    Calls that are due at random times, as those of many callers are who do not know of each other.

    The intervals are exponential. No call waits for others to be answered, and one that is sent late still counts from
    when it was due.

    :param rate: calls a second.
    :param alarm: makes the timer, which calls what it is given.
    :ivar finished: fires when the last one has ended.
    """

    def __init__(
        self,
        measurement: Measurement,
        rate: float,
        chance: Random,
        alarm: Callable[[Callable[[], None]], IAlarm],
    ) -> None:
        self._measurement = measurement
        self._rate = rate
        self._chance = chance
        self._alarm = alarm(self._tick)
        self._due = 0.0
        self._sending = True
        self.finished: Deferred[None] = Deferred()

    def start(self) -> None:
        """Make the first call when it is due."""
        self._measurement.ended = self._ended
        self._due = self._measurement.seconds() + self._chance.expovariate(self._rate)
        self._tick()

    def close(self) -> None:
        """Give the timer back."""
        self._alarm.close()
        self._sending = False

    def _tick(self) -> None:
        if not self._sending:
            return
        measurement = self._measurement
        for _ in range(_MOST_AT_ONCE):
            now = measurement.seconds()
            if now >= measurement.ends:
                self._end()
                return
            if self._due > now:
                break
            measurement.send(self._due)
            self._due += self._chance.expovariate(self._rate)
        self._alarm.set(min(self._due, measurement.ends) - measurement.seconds())

    def _end(self) -> None:
        """Send no more. How many were due by now and were not sent is told without drawing each."""
        measurement = self._measurement
        self._sending = False
        measurement.unsent = round(max(0.0, measurement.ends - max(self._due, measurement.begins)) * self._rate)
        measurement.due += measurement.unsent
        self._ended(True)

    def _ended(self, answered: bool) -> None:
        if not self._sending and not self._measurement.in_flight and not self.finished.called:
            self.finished.callback(None)
