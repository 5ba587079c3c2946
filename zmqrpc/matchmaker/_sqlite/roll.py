"""Which processes are known to live."""

from __future__ import annotations

import time
from collections.abc import Callable

from zmqrpc.matchmaker._sqlite.machine import Machine, Owner

INSPECT_EVERY = 0.2
"""Seconds for which a process that was seen to live is only asked for its pid."""


class Roll:
    """
    Whether processes are dead, without reading procfs for each of them each time.

    That a pid does not exist is noticed at once (0.6 us); a zombie, or a pid that was given again, within
    `INSPECT_EVERY` (8 us). Two hundred processes that read each other's records would else do nothing but this.

    :param machine: whose processes.
    :param clock: a monotonic clock.
    """

    def __init__(self, machine: Machine, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine = machine
        self._clock = clock
        self._inspected: dict[Owner, float] = {}

    def is_dead(self, owner: Owner) -> bool:
        """Tell whether it is certain that the owner, a process of our namespace, does not run any more."""
        now = self._clock()
        inspected = self._inspected.get(owner)
        if inspected is not None and now < inspected + INSPECT_EVERY:
            return self._machine.is_gone(owner)
        if self._machine.is_dead(owner):
            self._inspected.pop(owner, None)
            return True
        if len(self._inspected) >= 10000:  # far more than a machine has; what ended elsewhere is forgotten here
            self._inspected.clear()
        self._inspected[owner] = now
        return False
