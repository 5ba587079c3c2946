"""What a subscriber counts, written for tests from docs/spec/wire alone."""

from __future__ import annotations

from zmqrpc.core.keys import decode_counter


class Tally:
    """
    Who applies the rules of docs/spec/wire to the counters that it gets.

    :ivar seen: the last count, by publisher instance and key.
    :ivar base: the first count.
    :ivar missed: how many messages it has missed since.
    :ivar received: how many it has got since.
    :ivar faults: counts that nobody could have missed or got.
    """

    def __init__(self) -> None:
        self.seen: dict[tuple[bytes, bytes], int] = {}
        self.base: dict[tuple[bytes, bytes], int] = {}
        self.missed: dict[tuple[bytes, bytes], int] = {}
        self.received: dict[tuple[bytes, bytes], int] = {}
        self.faults: list[str] = []

    def take(self, key: bytes, frame: bytes, alone: bool) -> None:
        """Take a counter, with a message or alone."""
        counter = decode_counter(frame)
        about = (counter.publisher, key)
        if about not in self.seen:
            # Who has heard no counter before counts from here.
            self.base[about] = counter.count - (0 if alone else 1)
            self.missed[about] = self.received[about] = 0
            self.seen[about] = self.base[about]
        missed = counter.count - self.seen[about] - (0 if alone else 1)
        if missed < 0:
            self.faults.append(f"{counter.count} after {self.seen[about]}")
        self.missed[about] += missed
        self.received[about] += not alone
        self.seen[about] = counter.count
