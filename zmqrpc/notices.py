"""What happened that no caller is told of: counted always, logged at most once a second for each name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.logger import Logger

_MOST_TEXT = 300


class Notices:
    """
    The counters of one node.

    :param seconds: the monotonic clock.
    :ivar counts: how often each thing happened.
    """

    log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self._seconds = seconds
        self._quiet_until: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def count(self, name: str, text: str | None = None) -> None:
        """
        Count one event.

        :param text: a sentence for the log; None when the count says enough.
        """
        self.counts[name] += 1
        if text is None:
            return
        now = self._seconds()
        if now < self._quiet_until.get(name, float("-inf")):
            self._unsaid[name] += 1
            return
        self._quiet_until[name] = now + 1
        unsaid = self._unsaid.pop(name, 0)
        self.log.warn(
            "{name}: {text}{more}", name=name, text=_printable(text), more=f" ({unsaid} more)" if unsaid else ""
        )


def _printable(text: str) -> str:
    """Escape what a hostile peer could forge log lines with."""
    return text[:_MOST_TEXT].encode("unicode_escape").decode()
