"""
The deadline of the request whose method runs, which no call that it makes outlasts (docs/adr/0040).

Hot path: `zmqrpc.requests` writes `DEADLINE` and `IN_PLACE` itself for each call that it runs, and `zmqrpc.client`
reads `DEADLINE` for each that it makes. A write takes 0.05 us, a read 0.02; an object for each request would take
another 0.06.

A context lives on where it was copied: in what a method has begun and not waited for, and in the timers of a reactor
that copies contexts (asyncio's). So a deadline counts only as long as the method of its request has not ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

DEADLINE: ContextVar[float | None] = ContextVar("zmqrpc_deadline", default=None)
"""By the monotonic clock; None where nothing is inherited. Its `id` tells it from its equals, of other requests."""

IN_PLACE: list[float | None] = [None]
"""The deadline of the method that is being called, before it has returned."""

_running: set[int] = set()


class Inherited(float):
    """
    A deadline that a call has of the request whose method made it.

    :ivar left: how many seconds there were, when the call was made.
    """

    left: float

    def __new__(cls, deadline: float, left: float) -> Inherited:
        """Make it of a deadline."""
        inherited = super().__new__(cls, deadline)
        inherited.left = left
        return inherited


def time_up(deadline: float) -> str:
    """Say that a deadline has come, and whose it was."""
    if isinstance(deadline, Inherited):
        return f"its time was up, {deadline.left:.3f} s, which was all that the method that made it had left"
    return "its time was up"


def none_left(deadline: float) -> str:
    """Say that a deadline had come when the call was made."""
    if isinstance(deadline, Inherited):
        return "the time of the method that made it was up; begin in zmqrpc.detached() what may outlast its caller"
    return "its timeout was over at once"


def began(deadline: float) -> None:
    """Take that a method goes on running when it has returned."""
    _running.add(id(deadline))


def ended(deadline: float) -> None:
    """Take that it has ended; what it leaves behind inherits nothing any more."""
    _running.discard(id(deadline))


def bounded(deadline: float, now: float) -> float:
    """Return when a call has to end: at its deadline, or before that with the method that makes it (`Inherited`)."""
    given = DEADLINE.get()
    if given is None or given >= deadline or (given is not IN_PLACE[0] and id(given) not in _running):
        return deadline
    return Inherited(given, given - now)


def forget() -> None:
    """Take that what follows runs in no method, whatever context the reactor calls it in."""
    if DEADLINE.get() is not None:
        DEADLINE.set(None)


@contextmanager
def detached() -> Iterator[None]:
    """
    Inherit no deadline.

    What a method asks of others ends when the time of its own caller is up. What it asks, or begins, within
    ``with zmqrpc.detached():`` has the time that it is given; what it awaits is cancelled with it all the same.
    """
    before = DEADLINE.get()
    DEADLINE.set(None)
    try:
        yield
    finally:
        DEADLINE.set(before)
