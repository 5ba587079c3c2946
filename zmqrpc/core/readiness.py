"""Whether others can find a node now; what is over in a moment is not said."""

from __future__ import annotations

from zmqrpc.core.outage import Outage

PATIENCE = 5.0
"""Seconds that a node which was ready may be in trouble before it is not: longer than a store needs to restart."""

MUTE = 2.0
"""Seconds without an answer after which a registration is in trouble: longer than a store that answers needs."""


class Readiness:
    """
    Whether a node is ready, and why not.

    :ivar trouble: why it is not, a clause; empty while it is ready.
    """

    def __init__(self) -> None:
        self.trouble = "not registered with the matchmaker yet"
        self._outage = Outage(PATIENCE)
        self._was_ready = False

    @property
    def wake_at(self) -> float:
        """When `ill` or `well` has to be called next; infinity for never."""
        return self._outage.wake_at

    def well(self, now: float) -> float | None:
        """
        Take that nothing is wrong.

        :return: the seconds it was not ready when that was said, so that this is to be said too; else None.
        """
        self.trouble = ""
        self._was_ready = True
        return self._outage.ends(now)

    def ill(self, trouble: str, now: float) -> bool:
        """
        Take what is wrong.

        :return: whether it is to be said now. That it is not ready yet is not: whoever started it waits for that.
        """
        if not self._was_ready:
            self.trouble = trouble
            return False
        self._outage.begins(now)
        say = self._outage.tick(now)
        if say or self.trouble:
            self.trouble = trouble
        return say
