"""How many may wait for a store."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

FEW = 100
"""How many may wait for a store that says nothing."""


class Room:
    """
    The bound of what waits for a store: wide while it answers, `FEW` once it has been silent for half the time limit.

    A store that works takes hundreds at once. One that hangs would have as many wait, each for nothing.

    :param limit: seconds that an operation may take.
    :param bound: how many may wait while the store answers.
    """

    def __init__(self, clock: IReactorTime, limit: float, bound: int) -> None:
        self._clock = clock
        self._patience = limit / 2
        self._bound = bound
        self._since = 0.0  # when it has said something last, or was first asked after that
        self._missed = False

    def most(self, waiting: int) -> int:
        """Tell how many may wait now, where so many do: this is called before each operation."""
        now = self._clock.seconds()
        if not waiting and not self._missed:
            self._since = now
        return min(FEW, self._bound) if now - self._since >= self._patience else self._bound

    def answered(self) -> None:
        """Take that the store has said something."""
        self._since = self._clock.seconds()
        self._missed = False

    def missed(self) -> None:
        """Take that it has not, within the time limit."""
        self._missed = True
