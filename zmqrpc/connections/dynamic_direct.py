"""
Dynamic direct connections: a link is connected when a message is to be sent over it, and closed when that has ended.

A message waits for the link whose turn it is, and at the same time some others are connected that could take it as
well. When the one whose turn it is comes up within `PATIENCE`, the message is sent to it; else to the first of the
others that does, then or later. So it is handed over once, to one that has said WELCOME. Whoever comes up and is not
needed is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from zope.interface import implementer

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.plan import DYNAMIC
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory, ILinks
from zmqrpc.record import Record
from zmqrpc.settings import Settings

PATIENCE = 0.1
"""Seconds from the beginning of a connection after which what waits for it may go to another that is up."""

_SECOND_LOOK = 0.002
"""
Seconds after which one that is late is looked at again, and only then is late: its WELCOME may have come while our own
process was busy, and sockets are read between two looks.
"""


class _Attempt:
    """
    A link that is being connected.

    Its time begins when the reactor has its turn, since whoever makes many calls at once keeps it from working.

    :ivar others: the links that are connected because they could take what waits for this one.
    :ivar look_at: when it is looked at next.
    :ivar looks: how often it was. With the third it is late, until it is up or has failed: what comes meanwhile does
        not wait once more.
    """

    __slots__ = ("look_at", "looks", "others")

    def __init__(self) -> None:
        self.others: dict[str, None] = {}
        self.look_at = -NEVER
        self.looks = 0

    def look(self, now: float) -> bool:
        """Look at it, if it is time; tell whether it has become late by that."""
        if now < self.look_at:
            return False
        self.looks += 1
        self.look_at = NEVER if self.late else now + (PATIENCE if self.looks == 1 else _SECOND_LOOK)
        return self.late

    @property
    def late(self) -> bool:
        """Whether what waits for it may go to others."""
        return self.looks > 2


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
        # Among the others of how many attempts each link is: it is not closed before they are over.
        self._counts: dict[str, int] = {}

    def appeared(self, key: str, record: Record) -> None:
        self._links.open(key, record)
        self._links.release(key)

    def gone(self, key: str) -> None:
        self._links.withdraw(key, "its record was withdrawn or expired")
        self._end(key)

    def needed(self, key: str, others: Iterable[str]) -> None:
        attempt = self._attempt(key)
        for other in list(islice((each for each in others if each != key), self._most_others)):
            if other not in attempt.others:
                attempt.others[other] = None
                self._counts[other] = self._counts.get(other, 0) + 1
                self._connect(other)
        if attempt.late:
            self._pass_on(key, attempt)

    def opened(self, key: str) -> None:
        self._end(key)
        if key in self._counts:
            for waited_for, attempt in list(self._attempts.items()):
                if attempt.late and key in attempt.others:
                    self._pass_on(waited_for, attempt)
        self._release(key)

    def idle(self, key: str) -> None:
        self._release(key)

    def closed(self, key: str) -> None:
        self._end(key)
        if key in self._counts:
            # It could not be connected for them sooner, as the connection before was just being closed.
            self._connect(key)

    def _connect(self, key: str) -> None:
        if self._links.connect_now(key):
            self._attempt(key)

    def _attempt(self, key: str) -> _Attempt:
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._attempts[key] = _Attempt()
            self._wake_by(self._seconds())
        return attempt

    def _pass_on(self, key: str, attempt: _Attempt) -> None:
        if not self._links.pass_on(key, attempt.others):
            self._let_go(attempt)

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
            if attempt.look(now):
                self._pass_on(key, attempt)


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
