"""
How many repetitions a node may send: a share of what it sends anyway.

When every server is slow, repetitions make them slower; a budget ends that (SRE book, ch. 21; gRFC A6).
"""

from __future__ import annotations

_LENT = 10.0
"""What may be spent before anything was earned; it is earned back before anything is saved."""

_MOST_SAVED = 100.0
_FADED = 0.9
"""
What is left after a second of how much more than that may be saved: calls cease as well since a peer does not answer,
and what was saved is wanted when it is given up some seconds later.
"""

_A_SECOND = 1.0
"""What comes by itself in each second in which less is earned, so that whoever calls rarely may repeat."""


class RetryBudget:
    """
    A bucket of repetitions.

    Whatever happens, in all there are no more repetitions than ten, or the share of the calls where that is more, and
    one for each second in which less than one was earned.

    :param share: repetitions for each call, 0.1 for one in ten; negative for no bound at all.
    :ivar share: the same.
    """

    __slots__ = ("_earned", "_most", "_owed", "_saved", "_since", "_total", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self._saved = self._owed = _LENT
        self._most = _MOST_SAVED
        self._total = 0
        self._earned = 0.0
        self._since: float | None = None

    def sent(self, total: int, now: float) -> None:
        """
        Earn for the calls that have been sent since the last time; to be told once a second while calls are sent.

        :param total: how many calls the node has sent in all, each counted once.
        """
        if self._since is None:
            self._since = now
        earned = max(0, total - self._total) * max(0.0, self.share)
        self._total = max(self._total, total)
        self._earned += earned
        passed = now - self._since
        if passed >= 1:
            # What a second of such calls brings may be saved in any case: a busy node that loses one of its peers has
            # as much to send elsewhere.
            self._most = max(_MOST_SAVED, self._earned / passed, self._most * _FADED**passed)
            self._save(max(0.0, passed * _A_SECOND - self._earned))
            self._since = now
            self._earned = 0.0
        self._save(earned)

    def _save(self, earned: float) -> None:
        paid = min(self._owed, earned)
        self._owed -= paid
        self._saved = min(self._saved + earned - paid, self._most)

    def take(self) -> bool:
        """Spend one repetition; False when there is none."""
        if self.share < 0:
            return True
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
