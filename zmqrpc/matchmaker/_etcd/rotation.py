"""Which member of a cluster is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from zmqrpc.matchmaker._etcd.errors import Fault, trouble


class Rotation:
    """
    One member is asked as long as it answers.

    :param names: the addresses of all.
    :param chance: which is the first: so that not all processes ask the same.
    :ivar current: the number of that member.
    :ivar faults: why others have failed since one has answered last, by their numbers.
    """

    def __init__(self, names: Sequence[str], chance: Random) -> None:
        self._names = names
        self._count = len(names)
        self.current = chance.randrange(self._count)
        self.faults: dict[int, Fault] = {}

    def __len__(self) -> int:
        return self._count

    def after(self, tried: set[int]) -> int | None:
        """Return who is next, of those that were not tried; None when all were."""
        numbers = ((self.current + step) % self._count for step in range(self._count))
        return next((number for number in numbers if number not in tried), None)

    def trouble(self, faults: Mapping[int, Fault] | None = None) -> str:
        """
        Say to people what is wrong with those that have failed; there has to be one.

        :param faults: what is known beside that.
        """
        known = self.faults | dict(faults or {})
        return trouble({self._names[member]: known[member] for member in sorted(known)})

    def failed(self, member: int, fault: Fault) -> None:
        """Take that a member did not answer, and why."""
        self.faults[member] = fault
        if member == self.current:
            self.current = (member + 1) % self._count

    def worked(self, member: int) -> None:
        """Take that a member answered first."""
        self.current = member
        self.faults.clear()
