"""A timer of the kernel: those of the reactor are exact to a millisecond, this one to a tenth of that."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_SHORTEST = 50e-6
"""Seconds; for less no timer is set."""


class Alarm:
    """
    The one alarm clock that a process has (setitimer(2), SIGALRM).

    :param ring: what is called, on the reactor, each time that it goes off.
    """

    def __init__(self, reactor: Any, ring: Callable[[], None]) -> None:
        self._reactor = reactor
        self._ring = ring
        self._before = signal.signal(signal.SIGALRM, self._went_off)

    def set(self, wait: float) -> None:
        """Have it go off once after so many seconds, in place of what was set before."""
        if wait < _SHORTEST:
            self._reactor.callLater(0, self._ring)
        else:
            signal.setitimer(signal.ITIMER_REAL, wait)

    def close(self) -> None:
        """Give it back; what has gone off already may ring once more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _went_off(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._ring)
