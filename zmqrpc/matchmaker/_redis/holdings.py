"""What each of several stores is to have (docs/adr/0033)."""

from __future__ import annotations

from math import inf

import attrs

from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.record import Record, Role


@attrs.frozen
class _Held:
    record: Record
    until: float  # when it expires, unless it is refreshed


class Holdings:
    """
    The records that were registered through here, and neither withdrawn nor expired.

    Without doubts: these are anybody's to withdraw, and what a store has lost of them will be said again.
    """

    def __init__(self) -> None:
        self._held: dict[TopicKey, dict[tuple[str, ...], _Held]] = {}

    def put(self, record: Record, expire: float, now: float) -> None:
        """Take a record that is being registered."""
        if record.role is Role.DOUBT:
            return
        until = now + expire if expire > 0 else inf
        self._held.setdefault((record.exchange, record.topic), {})[record.key] = _Held(record, until)

    def remove(self, record: Record) -> None:
        """Take that a record is being withdrawn."""
        topic = (record.exchange, record.topic)
        held = self._held.get(topic, {})
        held.pop(record.key, None)
        if not held:
            self._held.pop(topic, None)

    @property
    def topics(self) -> list[TopicKey]:
        """Those of the records."""
        return list(self._held)

    def of(self, topic: TopicKey, now: float) -> dict[Record, float]:
        """Return the records of a topic, with the seconds for which each still is to be stored, 0 for ever."""
        held = self._held.get(topic)
        if not held:
            return {}
        return {one.record: 0.0 if one.until == inf else one.until - now for one in held.values() if one.until > now}
