"""Who hears of the outages of one matchmaker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class OutageWatches:
    """
    The watches of `IOutages.watch_outages`.

    The matchmaker calls `turned` whenever something of it may have begun to fail, or works again. Those who watch hear
    of it from the reactor, when it has made a difference: of several turns in a row they hear once, and not of those
    that cancel each other out.

    :param clock: what runs the calls.
    :param matchmaker: provides `IOutages`.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, matchmaker: Any) -> None:
        self._clock = clock
        self._matchmaker = matchmaker
        self._watches: list[list[Callable[[], None]]] = []  # boxes, so that one that is added twice counts twice
        self._told: object = None
        self._call: IDelayedCall | None = None

    def add(self, turned: Callable[[], None]) -> Callable[[], None]:
        """
        Add a watch.

        :return: a callable that ends it; calling it again does nothing.
        """
        if not self._watches:
            self._told = self._state()
        watch = [turned]
        self._watches.append(watch)
        return watch.clear

    def turned(self) -> None:
        """Take that it may not be as it was."""
        if self._call is None and self._watches:
            self._call = self._clock.callLater(0, self._tell)

    def close(self) -> None:
        """End every watch."""
        for watch in self._watches:
            watch.clear()
        self._watches.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _state(self) -> object:
        return self._matchmaker.away(), self._matchmaker.failing()

    def _tell(self) -> None:
        self._call = None
        self._watches = [watch for watch in self._watches if watch]
        state, before = self._state(), self._told
        self._told = state
        if state == before:
            return
        for watch in list(self._watches):
            for turned in list(watch):
                try:
                    turned()
                except Exception:
                    self._log.failure("a watch of outages raised, a fault of {who}", who=turned)
