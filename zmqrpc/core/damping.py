"""How far one measurement counts: a single odd one says little of the others."""

from __future__ import annotations

_MOST_CHANGE = 2.0


def damped(measured: float, known: float) -> float:
    """
    Return a measurement as far as it counts: half of what is known at least, and twice that at most.

    :param known: what was measured before, above 0.
    """
    return min(max(measured, known / _MOST_CHANGE), known * _MOST_CHANGE)
