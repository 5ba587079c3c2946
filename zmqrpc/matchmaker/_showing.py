"""When the list of a topic is passed on: each is work for everybody, and where many change there would be as many."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime

SHOW_SECONDS, SHOW_EACH = 0.02, 0.0008
"""Seconds between two lists of one topic, at least, and for each record in them."""


class Showing:
    """
    When the list of one topic is passed on.

    :param show: passes on what is known then.
    """

    def __init__(self, clock: IReactorTime, show: Callable[[], None]) -> None:
        self._clock = clock
        self._show = show
        self._last = -inf
        self._call: IDelayedCall | None = None

    def soon(self, count: int, later: float = 0.0, sooner: bool = False) -> None:
        """
        Pass it on, unless that is to come already.

        :param count: how many records it has.
        :param later: seconds until then, at least.
        :param sooner: whether what is to come already is to come now, where it was put off.
        """
        now = self._clock.seconds()
        pace = max(SHOW_SECONDS, count * SHOW_EACH)
        wait = max(0.0, later, self._last + pace - now)
        if self._call is None:
            self._call = self._clock.callLater(wait, self._pass_on)
        elif sooner and self._call.getTime() > now + wait:
            self._call.reset(wait)

    def cancel(self) -> None:
        """Pass nothing on."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _pass_on(self) -> None:
        self._call = None
        self._last = self._clock.seconds()
        self._show()
