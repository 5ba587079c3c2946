"""Which member of a cluster is asked."""

from __future__ import annotations

from random import Random


class Rotation:
    """
    One member is asked as long as it answers.

    :param count: how many there are.
    :param chance: which is the first: so that not all processes ask the same.
    :ivar current: the number of that member.
    """

    def __init__(self, count: int, chance: Random) -> None:
        self._count = count
        self.current = chance.randrange(count)

    def __len__(self) -> int:
        return self._count

    def after(self, tried: set[int]) -> int | None:
        """Return who is next, of those that were not tried; None when all were."""
        numbers = ((self.current + step) % self._count for step in range(self._count))
        return next((number for number in numbers if number not in tried), None)

    def failed(self, member: int) -> None:
        """Take that a member did not answer."""
        if member == self.current:
            self.current = (member + 1) % self._count

    def worked(self, member: int) -> None:
        """Take that a member answered first."""
        self.current = member
