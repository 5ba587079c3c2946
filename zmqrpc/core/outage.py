"""When it is said that something is gone, and that it is back; not of what is back in a moment."""

from __future__ import annotations

from zmqrpc.core.agenda import NEVER

AGAIN_SECONDS = 300.0
"""Seconds after which it is said again that something is still gone: whoever reads only the end of a log is to know."""


class Outage:
    """
    Whether there is an outage.

    :param patience: seconds after which it is one.
    :ivar wake_at: when `tick` has to be called next; infinity for never.
    """

    def __init__(self, patience: float) -> None:
        self.wake_at = NEVER
        self._patience = patience
        self._since: float | None = None
        self._said = False

    def begins(self, now: float) -> None:
        """Take that it is gone; again changes nothing."""
        if self._since is None:
            self._since = now
            self.wake_at = now + self._patience

    def ends(self, now: float) -> float | None:
        """
        Take that it is there.

        :return: the seconds it was gone when that was said, so that this is to be said too; else None.
        """
        since, said = self._since, self._said
        self._since, self._said, self.wake_at = None, False, NEVER
        return now - since if said and since is not None else None

    def tick(self, now: float) -> bool:
        """Tell whether it is to be said now that it is gone, or still is; to be called at `wake_at` or later."""
        if now < self.wake_at:
            return False
        self.wake_at = now + AGAIN_SECONDS
        self._said = True
        return True
