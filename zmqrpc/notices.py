"""
What happened that no caller is told of: counted always, logged at most once a second for each kind and peer.

What is counted is an event of the flight recorder (`zmqrpc.core.recorder`) too, and so is what is only recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import attrs
from twisted.logger import Logger

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.recorder import Recorder
from zmqrpc.spelling import printable

_MOST_TEXT = 300
_MOST_PEERS = 100
"""How many kinds and peers have a line of their own: peers can invent names, and must fill neither memory nor log."""


@attrs.define
class _Line:
    """
    What is remembered of a line in the log.

    :ivar quiet_until: when it may be logged again.
    :ivar unsaid: how often it was not.
    """

    quiet_until: float = -NEVER
    unsaid: int = 0


class Notices:
    """
    The counters of one node.

    :param seconds: the monotonic clock.
    :param events: how many events its flight recorder keeps; 0 for none.
    :ivar counts: how often each thing happened.
    :ivar recorder: the flight recorder.
    """

    log = Logger()

    def __init__(self, seconds: Callable[[], float], events: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self.recorder = Recorder(events)
        self._seconds = seconds
        self._lines: dict[tuple[str, Hashable], _Line] = {}
        self._shared: dict[str, _Line] = {}
        self._forget_at = -NEVER

    def count(
        self, name: str, text: str | None = None, /, peer: Hashable = None, *, number: int = 1, **facts: Any
    ) -> None:
        """
        Count what happened.

        :param text: a sentence for the log, with the names of facts in braces; None when the count says enough.
        :param peer: who brought it about: a line about one keeps back no line about another. It is a fact, too.
        :param number: how often it happened; for 0 nothing is counted. It is a fact, too.
        :param facts: what the sentence names, and the event in the log has as fields; none is called ``name``, ``text``
            or ``more``. They are formatted only when it is logged; bytes are written in hex.
        """
        if not number:
            return
        self.counts[name] += number
        now = self._seconds()
        self.recorder.record(now, name, peer, number, text or "", facts)
        if text is None:
            return
        line = self._lines.get((name, peer)) or self._new_line(name, peer, now)
        if now < line.quiet_until:
            line.unsaid += number
            return
        more = ""
        if line.unsaid:
            more = f" ({line.unsaid} more{', of others too' if line is self._shared.get(name) else ''})"
        line.quiet_until, line.unsaid = now + 1, 0
        facts |= {"peer": peer, "number": number}
        facts = {key: fact.hex() if isinstance(fact, bytes) else fact for key, fact in facts.items()}
        text = text.format(**facts)
        fields = {
            key: fact if isinstance(fact, (int, float)) else printable(str(fact), _MOST_TEXT)
            for key, fact in facts.items()
            if fact is not None
        }
        self.log.warn("{name}: {text}{more}", name=name, text=printable(text, _MOST_TEXT), more=more, **fields)

    def record(self, name: str, text: str = "", /, peer: Hashable = None, *, number: int = 1, **facts: Any) -> None:
        """Note what happened in the flight recorder alone; the parameters are those of `count`."""
        self.recorder.record(self._seconds(), name, peer, number, text, facts)

    def _new_line(self, name: str, peer: Hashable, now: float) -> _Line:
        """Return a line for a kind and peer: the one that all further peers share, when there are too many."""
        if len(self._lines) >= _MOST_PEERS and now >= self._forget_at:
            # Not each time: it would cost a flood of invented peers more of our time than of theirs.
            self._forget_at = now + 1
            self._lines = {key: line for key, line in self._lines.items() if now < line.quiet_until}
        if len(self._lines) >= _MOST_PEERS:
            return self._shared.setdefault(name, _Line())
        line = self._lines[name, peer] = _Line()
        return line
