"""Time limits in a process that may be kept from running."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

TURNS = 20
"""How many turns of the reactor an answer may take that was there in time: it comes in pieces, on a new connection."""


class TimeLimit:
    """
    Calls something when the time is up, and `TURNS` turns of the reactor have passed after that.

    A process that was kept from running finds its timers before what has arrived meanwhile. Where it runs as it should,
    these turns take less than a millisecond; otherwise as long as the time limit again at most.

    :param seconds: until then; 0 or less: these turns only.
    :param longest: seconds that the turns may take, beside one.
    :param call: what is called.
    """

    def __init__(self, clock: IReactorTime, seconds: float, longest: float, call: Callable[[], object]) -> None:
        self._clock = clock
        self._call = call
        self._left = TURNS
        seconds = max(0.0, seconds)
        self._latest = clock.seconds() + seconds + longest
        self._timer: IDelayedCall | None = clock.callLater(seconds, self._turn)

    @property
    def is_up(self) -> bool:
        """Whether it has called."""
        return self._timer is None

    def cancel(self) -> None:
        """Call nothing any more; it may have called already."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _turn(self) -> None:
        if self._left and (self._left == TURNS or self._clock.seconds() < self._latest):
            self._left -= 1
            self._timer = self._clock.callLater(0, self._turn)
        else:
            self._timer = None
            self._call()
