"""When Sentinels are asked again who the master is, besides whenever a connection is to be made (docs/adr/0034)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from zmqrpc.core.backoff import backoff
from zmqrpc.core.spread import SHORTEST

ROUND_SECONDS = 20.0
"""Seconds at most between two rounds: what Sentinels tell may not reach us, or not in time."""

FIRST_AGAIN = 0.25
"""Seconds at most until they are asked again when they did not answer well enough; doubled up to `ROUND_SECONDS`."""


class NextRound:
    """
    When it is time to ask all Sentinels who the master is.

    Everybody is told of a switch in the same moment, so who is told takes a turn by chance. Whoever may publish there
    could tell of one all the time: no two questions are closer than `SHORTEST`.

    :param chance: gives a number from 0 to 1.
    :ivar wake_at: when to ask; infinity for not before something happens.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self.wake_at = inf
        self._chance = chance
        self._told = False  # since a question has begun
        self._begun_at = -inf
        self._expected = ""
        self._known = ""
        self._fails = 0

    def told(self, now: float, turns: float, name: str = "") -> None:
        """
        Take that there may be another master.

        :param turns: seconds over which the turns of all are spread.
        :param name: the server that is said to be the master now; empty where nobody says.
        """
        if name and name == self._known:
            return
        self._known = ""
        self._expected = name or self._expected
        self._fails = 0
        if not self._told:
            self._told = True
            self.wake_at = max(now + self._chance() * turns, self._begun_at + SHORTEST)

    def begun(self, now: float) -> None:
        """Take that all are being asked."""
        self._told = False
        self._begun_at = now
        self.wake_at = inf

    def over(self, now: float, turns: float, name: str) -> None:
        """
        Take what has come of the question that was begun last.

        :param turns: as of `told`.
        :param name: the server that counts now, for the majority has answered; empty where that has not, or it is not
            clear which counts.
        """
        if self._told:
            return
        if name and self._expected in ("", name):
            self._known, self._expected = name, ""
            self._fails = 0
            pause = ROUND_SECONDS
        else:
            self._known = ""
            pause = max(backoff(FIRST_AGAIN, self._fails, ROUND_SECONDS), turns)
            self._fails += 1
        self.wake_at = now + pause * (1 + self._chance()) / 2
