"""How often something is done at most: what many ask for in the same moment is done little by little."""

from __future__ import annotations

from zmqrpc.core.agenda import NEVER


class Pace:
    """
    So many in a second, and no more; the first of them at once.

    :param most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self._ends = -NEVER

    @property
    def free_at(self) -> float:
        """From when on one more may be done; -infinity for now."""
        return self._ends if not self._left else -NEVER

    def take(self, now: float) -> bool:
        """Tell whether one more may be done, and take that it is."""
        if now >= self._ends:
            self._ends, self._left = now + 1.0, self._most
        if not self._left:
            return False
        self._left -= 1
        return True
