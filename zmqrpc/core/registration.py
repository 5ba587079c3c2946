"""When our records are stored, refreshed and withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from zmqrpc.record import Record

RETRY_FIRST, RETRY_MOST = 0.25, 10.0
"""Seconds until a registration that failed is tried again: doubled each time, up to the most."""


class Register(Struct, frozen=True):
    """Store the records; answer with `Registration.succeeded` or `failed`."""

    records: tuple[Record, ...]
    expire: float


class Withdraw(Struct, frozen=True):
    """Remove the records; nothing is to be answered."""

    records: tuple[Record, ...]


Effect: TypeAlias = Register | Withdraw


class Registration:
    """
    The records of one node.

    :param expire: seconds a record lives in the store without a refresh; 0 or less: for ever.
    :param update: seconds between refreshes.
    :param jitter: gives a number from 0.5 to 1, so that nodes do not refresh in step.
    :ivar wake_at: when `tick` has to be called next.
    :ivar current: whether every record is stored as it is now.
    :ivar failures: how many tries have failed in a row.
    """

    def __init__(self, expire: float, update: float, jitter: Callable[[], float]) -> None:
        self.wake_at = float("inf")
        self.current = True
        self.failures = 0
        self._expire = expire
        self._update = update
        self._jitter = jitter
        self._records: tuple[Record, ...] = ()
        self._under_way = False
        self._again = False
        self._gone: tuple[Record, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """The records that are to be stored."""
        return self._records

    def set_records(self, records: tuple[Record, ...]) -> list[Effect]:
        """Take the records as they are from now on; those that are gone are withdrawn, the others stored."""
        kept = {record.key for record in records}
        gone = tuple(record for record in self._records if record.key not in kept)
        self._records = records
        self.current = not records
        effects: list[Effect] = [Withdraw(gone)] if gone else []
        if self._under_way:
            # The Register that is under way may store them once more after this.
            self._gone += gone
        return effects + self._register()

    def refresh(self) -> list[Effect]:
        """Store the records now: the store may have lost them."""
        return self._register()

    def stop(self) -> list[Effect]:
        """Withdraw everything; nothing is stored any more."""
        return self.set_records(())

    def succeeded(self, now: float) -> list[Effect]:
        """Take that the last `Register` was done."""
        effects = self._answered()
        self.failures = 0
        if self._again:
            return effects + self._register()
        self.current = True
        self.wake_at = now + self._update * (0.8 + 0.4 * (self._jitter() - 0.5)) if self._records else float("inf")
        return effects

    def failed(self, now: float) -> list[Effect]:
        """Take that the last `Register` was not done."""
        effects = self._answered()
        self.failures += 1
        self.current = not self._records
        if self._again:
            return effects + self._register()
        wait = min(RETRY_FIRST * 2 ** min(self.failures - 1, 10), RETRY_MOST)
        self.wake_at = now + wait * self._jitter() if self._records else float("inf")
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Do what time asks for; to be called at `wake_at` or later."""
        return self._register() if now >= self.wake_at else []

    def _answered(self) -> list[Effect]:
        self._under_way = False
        kept = {record.key for record in self._records}
        gone, self._gone = tuple(record for record in self._gone if record.key not in kept), ()
        return [Withdraw(gone)] if gone else []

    def _register(self) -> list[Effect]:
        self.wake_at = float("inf")
        self._again = self._under_way
        if self._under_way or not self._records:
            return []
        self._under_way = True
        return [Register(self._records, self._expire)]
