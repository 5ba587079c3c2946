"""When cases ended, and which were under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from zmqrpc.testing.judge import Case


def end_of(case: Case) -> float:
    """Return when it ended; infinity when it never did."""
    return case.ended[0].at if case.ended else float("inf")


def open_at(moment: float) -> Callable[[Case], bool]:
    """Return what tells whether a case was under way at a moment."""
    return lambda case: case.asked.at <= moment < end_of(case)


def deliveries(cases: Iterable[Case], instance: str) -> list[float]:
    """Return the seconds from when each was asked until it ran at an instance, in order."""
    return sorted(ran.at - case.asked.at for case in cases for ran in case.ran if ran.instance == instance)


def share(took: Sequence[float], of: float) -> float:
    """Return the seconds within which a share of what is sorted was done; infinity where there is nothing."""
    return took[min(len(took) - 1, int(len(took) * of))] if took else float("inf")


def most_open(cases: Iterable[Case]) -> int:
    """Return how many were under way at once, at most."""
    steps = [step for case in cases for step in ((case.asked.at, 1), (end_of(case), -1))]
    return max(accumulate(step for _, step in sorted(steps)), default=0)
