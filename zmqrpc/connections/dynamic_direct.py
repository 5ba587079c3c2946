"""
Dynamic direct connections: a link is connected when a message is to be sent over it, and closed when that has ended.

A message waits for the link whose turn it is, and at the same time some others are connected that could take it as
well. When the one whose turn it is comes up within `PATIENCE`, the message is sent to it; else to the first of the
others that does, then or later. So it is handed over once, to one that has said WELCOME. Whoever comes up and is not
needed is closed.

Where none of them is up after `WIDEN`, more are connected of those that were not met yet, of whom nobody knows whether
they live; and four times as many after as long again. Their records may be old, and one after the other would take
long; but a member that is only slow is not to cost a connection to each. With them go a few of those that have answered
before: they may be the only ones that live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from zope.interface import implementer

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.own_time import OwnTime
from zmqrpc.core.plan import DYNAMIC
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory, ILinks
from zmqrpc.record import Record
from zmqrpc.settings import Settings

PATIENCE = 0.08
"""
Seconds from the beginning of a connection after which what waits for it may go to another that is up; of time that our
own process has had.
"""

ANYWAY = 0.5
"""The same, whether it has had any or not."""

WIDEN = 0.02
"""Seconds after each of which more are connected; they have as long until what waits for them may go elsewhere."""

MOST_UNMET = 128
"""How many that were not met yet are connected at most, where those before them do not answer."""

_SECOND_LOOK = 0.002
"""
Seconds after which one that is late is looked at again, and only then is late: its WELCOME may have come while our own
process was busy, and sockets are read between two looks.
"""


class _Attempt:
    """
    A link that is being connected.

    Its time begins when the reactor has its turn, since whoever makes many calls at once keeps it from working.

    :param hurried: whether it has less time: it is one of many that are connected as the first few did not answer, or
        was not met yet while others have answered before.
    :ivar others: the links that are connected because they could take what waits for this one.
    :ivar able: those, and more that could: they may be connected, and one that is up is as good.
    :ivar upcoming: who could, as was said last; they are read into `able` when more are to be connected or it is late.
    :ivar look_at: when it is looked at next.
    :ivar width: how many of those may be connected that were not met yet.
    :ivar late: whether what waits for it may go to others, until it is up or has failed: what comes meanwhile does not
        wait once more.
    """

    __slots__ = (
        *("_hurried", "_looks_twice", "_read_at", "_time"),
        *("able", "late", "look_at", "others", "upcoming", "width"),
    )

    def __init__(self, hurried: bool) -> None:
        self.others: dict[str, None] = {}
        self.able: dict[str, None] = {}
        self.upcoming: Iterator[str] | None = None
        self._read_at = -NEVER
        self.look_at = -NEVER
        self.width = 1
        self.late = False
        self._time: OwnTime | None = None
        self._looks_twice = False
        self._hurried = hurried

    def read(self, key: str, most: int, now: float) -> None:
        """Read who else could, unless that was done a moment ago: there may be many, and many calls."""
        if self.upcoming is not None and now >= self._read_at + WIDEN:
            self._read_at = now
            self.able = dict.fromkeys(chain(islice(self.upcoming, most), self.others))
            self.able.pop(key, None)
            self.upcoming = None

    def look(self, now: float) -> bool:
        """Look at it, if it is time; tell whether more are to be connected for it, or it has become late by that."""
        if now < self.look_at:
            return False
        if self._time is None:
            self._time = OwnTime(WIDEN if self._hurried else PATIENCE, ANYWAY, now, WIDEN)
            self.look_at = self._time.look_at
            return False
        is_over = self._time.look(now)
        self._looks_twice = not self._looks_twice
        if self._looks_twice:
            self.look_at = now + _SECOND_LOOK
            return False
        self.late = is_over
        self.width *= 4
        self.look_at = NEVER if self.late else self._time.look_at
        return True


@implementer(IConnectionStrategy)
class DynamicDirect:
    """
    Connections for the time of a message.

    :param links: the links of the node.
    :param most_others: how many others are connected beside the one whose turn it is.
    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    """

    name = DYNAMIC
    transient = True

    def __init__(
        self, links: ILinks, most_others: int, seconds: Callable[[], float], wake_by: Callable[[float], None]
    ) -> None:
        self._links = links
        self._most_others = most_others
        self._seconds = seconds
        self._wake_by = wake_by
        self._attempts: dict[str, _Attempt] = {}
        # Of whom it is known whether they answer.
        self._met: set[str] = set()
        self._answered: set[str] = set()
        # Among the others of how many attempts each link is: it is not closed before they are over.
        self._counts: dict[str, int] = {}

    def appeared(self, key: str, record: Record) -> None:
        self._links.open(key, record)
        self._links.release(key)

    def gone(self, key: str) -> None:
        self._links.withdraw(key, "its record was withdrawn or expired")
        self._end(key)
        self._met.discard(key)
        self._answered.discard(key)

    def needed(self, key: str, others: Iterable[str]) -> None:
        attempt = self._attempt(key)
        upcoming = iter(others)
        # One more than is wanted: it may be among them itself.
        first = list(islice(upcoming, self._most_others + 1))
        if first:
            attempt.upcoming = chain(first, upcoming)
        self._connect_others(attempt, [other for other in first if other != key][: self._most_others])
        if attempt.late:
            attempt.read(key, self._most_others + MOST_UNMET, self._seconds())
            self._pass_on(key, attempt)

    def _connect_others(self, attempt: _Attempt, others: Iterable[str], hurried: bool = False) -> None:
        for other in others:
            if other not in attempt.others:
                attempt.others[other] = attempt.able[other] = None
                self._counts[other] = self._counts.get(other, 0) + 1
                self._connect(other, hurried)

    def opened(self, key: str) -> None:
        self._met.add(key)
        self._answered.add(key)
        self._end(key)
        if key in self._counts:
            for waited_for, attempt in list(self._attempts.items()):
                if attempt.late and key in attempt.others:
                    self._pass_on(waited_for, attempt)
        self._release(key)

    def idle(self, key: str) -> None:
        self._release(key)

    def closed(self, key: str) -> None:
        self._met.add(key)
        self._end(key)
        if key in self._counts:
            # It could not be connected for them sooner, as the connection before was just being closed.
            self._connect(key)

    def _connect(self, key: str, hurried: bool = False) -> None:
        if self._links.connect_now(key):
            self._attempt(key, hurried)

    def _attempt(self, key: str, hurried: bool = False) -> _Attempt:
        attempt = self._attempts.get(key)
        if attempt is None:
            # Nobody waits for one who may be dead as long as for one who has answered, where somebody has.
            stranger = key not in self._met and bool(self._answered)
            attempt = self._attempts[key] = _Attempt(hurried or stranger)
            self._wake_by(self._seconds())
        return attempt

    def _pass_on(self, key: str, attempt: _Attempt) -> bool:
        """Give what waits to others that are up; tell whether something waits yet."""
        waits = self._links.pass_on(key, attempt.able)
        if not waits:
            self._let_go(attempt)
        return waits

    def _end(self, key: str) -> None:
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._let_go(attempt)

    def _let_go(self, attempt: _Attempt) -> None:
        """Take that no other has to take what waits."""
        others, attempt.others = attempt.others, {}
        for other in others:
            self._counts[other] -= 1
            if not self._counts[other]:
                del self._counts[other]
                self._links.release(other)

    def _release(self, key: str) -> None:
        if key not in self._counts:
            self._links.release(key)

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min((attempt.look_at for attempt in self._attempts.values()), default=NEVER)

    def sweep(self, now: float) -> None:
        """Give what waits for those that are late to others."""
        for key, attempt in list(self._attempts.items()):
            if not attempt.look(now):
                continue
            attempt.read(key, self._most_others + MOST_UNMET, now)
            if not attempt.late or self._pass_on(key, attempt):
                answered = (other for other in attempt.able if other in self._answered)
                self._connect_others(attempt, islice(answered, max(1, self._most_others)), hurried=True)
                unmet = [other for other in attempt.able if other not in self._met]
                self._connect_others(attempt, unmet[: attempt.width], hurried=True)


@implementer(IConnectionStrategyFactory)
class DynamicDirectFactory:
    """Makes `DynamicDirect`."""

    name = DYNAMIC

    def make(
        self, links: ILinks, settings: Settings, seconds: Callable[[], float], wake_by: Callable[[float], None]
    ) -> IConnectionStrategy:
        """See `IConnectionStrategyFactory`."""
        return DynamicDirect(links, settings.zmq_failover_connections, seconds, wake_by)


factory = DynamicDirectFactory()
