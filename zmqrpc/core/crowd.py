"""
Who may have how much of a server when more is asked of it than it can do.

As long as nothing waits longer than a pass and nothing is refused, nobody asks here.
"""

from __future__ import annotations

from zmqrpc.core.damping import damped

_FIRST_SHARE = 0.25
_MOST_FIRST = 100.0
"""How many requests of many that run are served first; and how many of them may come together."""

_REMEMBERED = 1.0
"""Seconds for which whoever asks counts, and a refusal makes a crowd."""

_FIRST_GUESS = 0.002
_SMOOTHED = 0.25


class Crowd:
    """
    Those who ask a server for more than it takes.

    Each who asked within the last second may have an equal part of what may run or wait. Who has more gets nothing new
    until he has less; who has less finds room, since the parts together are no more than there is. And of who has
    nothing waiting one request is served before the others (as flows are that are new to fq_codel, RFC 8290), as long
    as that is no more than one in four.

    :param most: how many requests may run or wait.
    :param longest: for how many seconds a request may wait; 0 for ever.
    :ivar there: whether there is anything to be asked here.
    """

    __slots__ = ("_asked", "_each", "_first", "_left_at", "_longest", "_looks_at", "_most", "_until", "there")

    def __init__(self, most: int, longest: float) -> None:
        self.there = False
        self._most = most
        self._longest = longest
        self._each = 0.0
        self._left_at = 0.0
        self._until = 0.0
        self._first = 1.0
        self._asked: dict[bytes, float] = {}
        self._looks_at = 0.0

    def left(self, ran: int, began: float, now: float) -> None:
        """
        Take that something waits on when a pass ends.

        :param ran: how many requests have run in it, one or more.
        :param began: since when; what was done since the pass before, reading and refusing, takes its time as well.
        """
        each = self._each
        taken = (now - (self._left_at if each else began)) / ran
        self._each = each + (damped(taken, each) - each) * _SMOOTHED if each else min(taken, _FIRST_GUESS)
        self._left_at = now
        self._first = min(self._first + ran * _FIRST_SHARE, _MOST_FIRST)
        self.there = True

    def none_left(self) -> None:
        """Take that nothing waits when a pass ends."""
        self._each = 0.0

    def refused(self, now: float) -> None:
        """Take that a request was refused for want of room."""
        self._until = now + _REMEMBERED
        self.there = True

    @property
    def one_first(self) -> bool:
        """Whether one more request may be served before those that wait."""
        return self._first >= 1

    def put_first(self) -> None:
        """Take that one is."""
        self._first -= 1

    def wait(self, waiting: int) -> float:
        """Return how many seconds the next request would wait, with so many before it."""
        return waiting * self._each

    def look(self, waiting: int, running: int, now: float) -> bool:
        """
        Look whether it is tight, and forget who asked when it is not any more.

        It is, and `room` has to be asked, when something was refused of late, or half of what there is is used.

        :param waiting: how many requests wait.
        :param running: how many run.
        """
        if now < self._until or 2 * (waiting + running) > self._most:
            return True
        if self._longest and 2 * self.wait(waiting) > self._longest:
            return True
        self._asked.clear()
        self.there = self._each > 0
        return False

    def room(self, client: bytes, held: int, waits: bool, waiting: int, running: int, now: float) -> int:
        """
        Tell how many requests may wait at most when a client asks, those that do already included.

        :param client: its instance, since what is remembered of who asks must not keep what is known of him.
        :param held: how many of his run or wait.
        :param waits: whether the next has to wait; else it is served first, however long the others wait.
        :param waiting: how many of all wait.
        :param running: how many of all run.
        """
        all_most = most = self._most - running
        if self._longest and self._each:
            most = min(most, int(self._longest / self._each) + 1)
        if now < self._until:
            self._asked[client] = now
            if now >= self._looks_at:
                self._looks_at = now + _REMEMBERED
                self._asked = {each: at for each, at in self._asked.items() if at + _REMEMBERED >= now}
            part = max(1, (most + running) // len(self._asked))
            if held >= part:
                return min(waiting, most)
            # What may wait shrinks when requests begin to take longer; that is for those who have more than their part.
            most = min(waiting + part - held, all_most, 2 * most)
        return most if waits else max(most, min(waiting + 1, all_most))
