"""
Which instances the application has complained about, and for how long they are avoided.

A complaint begins a **term**, in which calls go to others as long as there are others. Then the instance is tried again
by itself; a complaint about it soon after that begins a term twice as long. Complaints within a term are mostly about
what was sent before it, so they only begin the term anew.

====================  ========================  =====================================================
event                 in a term                 not in one
====================  ========================  =====================================================
complaint             the term begins anew      a term begins, twice as long as the last if there was
                                                one and it ended no longer than the longest term ago
acknowledged          it ends, and is forgotten  it is forgotten
the time is up        it ends
its record is gone    it ends, and is forgotten  it is forgotten
====================  ========================  =====================================================
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from zmqrpc.core.agenda import NEVER


class _Term(Struct):
    """
    What is remembered of a link.

    :ivar seconds: how long its term is.
    :ivar until: when its term ends, or when it is forgotten.
    :ivar over: whether its term has ended.
    """

    seconds: float
    until: float = 0.0
    over: bool = False


class Quarantine:
    """
    The links to instances in quarantine.

    :param first: how many seconds the first term takes; 0 for no terms at all.
    :param longest: how many the longest takes.
    :param jitter: gives a number from 0.5 to 1 by which a term is multiplied, so that clients do not come back in step.
    """

    def __init__(self, first: float, longest: float, jitter: Callable[[], float]) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._terms: dict[str, _Term] = {}

    def __contains__(self, key: str) -> bool:
        """Tell whether a link is in quarantine."""
        return key in self._terms and not self._terms[key].over

    @property
    def wake_at(self) -> float:
        """When `tick` next has something; infinity for never."""
        return min((term.until for term in self._terms.values()), default=NEVER)

    def complain(self, key: str, now: float) -> float | None:
        """
        Take a complaint about the instance behind a link.

        :return: the seconds of the term that begins; None when none does, since there is one already, which begins
            anew, or since terms take no time.
        """
        if not self._first:
            return None
        term = self._terms.get(key)
        begins = term is None or term.over
        if term is None:
            term = self._terms[key] = _Term(self._first)
        elif term.over:
            term.seconds = min(2 * term.seconds, self._longest)
            term.over = False
        seconds = term.seconds * self._jitter()
        term.until = now + seconds if begins else max(term.until, now + seconds)
        return seconds if begins else None

    def forget(self, key: str) -> bool:
        """End the term of a link and know nothing of it any more; return whether it was in one."""
        was_in_it = key in self
        self._terms.pop(key, None)
        return was_in_it

    def tick(self, now: float) -> list[str]:
        """Return the links whose terms end; to be called at `wake_at` or later."""
        ended = []
        for key, term in list(self._terms.items()):
            if now < term.until:
                continue
            if term.over:
                del self._terms[key]
                continue
            ended.append(key)
            term.over = True
            term.until = now + self._longest
        return ended
