"""
The deadline of the request whose method runs, which no call that it makes outlasts (docs/adr/0040).

A deadline is lent in a list of one, so that it can be taken back. A context lives on where it was copied: in what a
method has begun and not waited for, and in the timers of a reactor that copies contexts (asyncio's). So what is lent
counts only as long as the method of its request has not ended.

Hot path: to write a context variable takes 0.15 us, which is 5 % of a call at its server. So a method that returns at
once is lent `IN_PLACE`, which is what the variable has where nobody has written it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Lent = list[float | None]
"""A deadline by the monotonic clock; None where there is none, or none any more."""

IN_PLACE: Lent = [None]
"""What the method has that is being called now, before it has returned; `zmqrpc.requests` writes it."""

LENT: ContextVar[Lent] = ContextVar("zmqrpc_deadline", default=IN_PLACE)

_NOTHING: Lent = [None]


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


def bounded(deadline: float, now: float) -> float:
    """Return when a call has to end: at its deadline, or before that with the method that makes it (`Inherited`)."""
    given = LENT.get()[0]
    return deadline if given is None or given >= deadline else Inherited(given, given - now)


def forget() -> None:
    """Take that what follows runs in no method, whatever context the reactor calls it in."""
    if LENT.get() is not IN_PLACE:
        LENT.set(IN_PLACE)


@contextmanager
def detached() -> Iterator[None]:
    """
    Inherit no deadline.

    What a method asks of others ends when the time of its own caller is up. What it asks, or begins, within
    ``with zmqrpc.detached():`` has the time that it is given; what it awaits is cancelled with it all the same.
    """
    before = LENT.get()
    LENT.set(_NOTHING)
    try:
        yield
    finally:
        LENT.set(before)
