"""How long the next try is put off: twice as long after each that failed."""

from __future__ import annotations

_MOST_TIMES = 20


def backoff(first: float, fails: int, longest: float) -> float:
    """
    Return how long to wait, before chance takes something off.

    :param first: seconds after no or one failure, as the caller counts; doubled for each of `fails`.
    :param longest: to which that grows.
    """
    # Whoever is gone for days has failed too often for a float.
    return min(first * 2.0 ** min(fails, _MOST_TIMES), longest)
