"""Saying once that something does not work, and once that it works again."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


class Outage:
    """
    Something that may stop working, with one log line at the begin of each outage and one at its end.

    It may have several parts, each of which may fail: the outage ends when none does any more.

    :param clock: what measures how long an outage took.
    :param what: what may stop working, for the log lines.
    :param turned: is called when something else fails than before, for another reason, or nothing.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, what: str, turned: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._turned = turned
        self._what = what
        self._since: float | None = None
        self._failures = 0
        self._failing: dict[str, str] = {}  # the newest last

    @property
    def reason(self) -> str:
        """Why it does not work: what was said last that was new, of a part that still fails; empty while it works."""
        return next(reversed(self._failing.values()), "")

    def fails(self, *parts: str) -> bool:
        """Tell whether one of these parts does not work."""
        return not self._failing.keys().isdisjoint(parts)

    def failed(self, reason: str, part: str = "") -> None:
        """Take note of a failure; logged if it is the first after a success."""
        self._failures += 1
        if self._since is None:
            self._since = self._clock.seconds()
            self._log.warn("{what} fails: {reason}", what=self._what, reason=reason)
        if self._failing.get(part) != reason:
            self._failing.pop(part, None)
            self._failing[part] = reason
            self._turned()

    def worked(self, *parts: str) -> None:
        """Take note of a success of these parts, of the only one where none is named; logged if it ends the outage."""
        before = len(self._failing)
        for part in parts or ("",):
            self._failing.pop(part, None)
        if self._since is not None and not self._failing:
            self._log.info(
                "{what} works again after {seconds:.1f} s and {failures} failures",
                what=self._what,
                seconds=self._clock.seconds() - self._since,
                failures=self._failures,
            )
            self._since = None
            self._failures = 0
        if len(self._failing) < before:
            self._turned()
