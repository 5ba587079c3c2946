"""
When our records are stored, refreshed and withdrawn.

Beside the refreshes there is the **restoration**: a store that is seen without a record of ours has lost it, and gets
it again after a moment. While records are on their way to the store nothing is missing there yet, and what it showed
before says nothing about afterwards.

A watch tells what is different from what it has told last. So what is lost before any show had it may never be told:
what was stored and not shown is stored once more after a while, until it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import TypeAlias

from msgspec import Struct

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.backoff import backoff
from zmqrpc.core.restoration import Restoration
from zmqrpc.core.spread import Crowd
from zmqrpc.record import Record

RETRY_FIRST, RETRY_MOST = 0.25, 10.0
"""Seconds at first, and at most, until a registration that failed is tried again."""

RETRY_SHARE = 0.05
"""How long the next try is put off, as a share of the time for which they have failed: a short outage ends at once."""

RETRY_SLOW = 4.0
"""How many times as long as a failed try took the next one is put off: a store that is too busy to answer gets time."""

UNSEEN_FIRST, UNSEEN_MOST = 2.0, 20.0
"""
Seconds at first, and at most, less by chance, until what was stored and not shown since is stored again: doubled each
time.
"""

UNSEEN_TURNS = 4.0
"""
How many times as long as the turns of all take that is at least: a watch that works shows it sooner, so this costs
nothing unless something was lost.
"""


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
    :ivar expire: as given.
    :ivar current: whether every record is stored as it is now, as far as the store has answered.
    :ivar failures: how many tries have failed in a row.
    """

    def __init__(self, expire: float, update: float, jitter: Callable[[], float]) -> None:
        self.current = True
        self.failures = 0
        self.expire = expire
        self._update = update
        self._jitter = jitter
        self._crowd = Crowd(jitter)
        self._failing_since = NEVER
        self._asked_at = NEVER
        self._records: tuple[Record, ...] = ()
        self._refresh_at = self._unseen_at = NEVER
        self._restoration = Restoration(jitter)
        self._resent = 0
        self._shown: dict[tuple[str, str], Set[tuple[str, ...]]] = {}  # the keys of our instance, as shown last
        self._lacking: set[tuple[str, str]] = set()
        self._under_way = False
        self._again = False
        self._gone: tuple[Record, ...] = ()

    @property
    def lacking(self) -> bool:
        """Whether the store was seen without a record that it had stored."""
        return bool(self._lacking)

    @property
    def under_way(self) -> bool:
        """Whether a `Register` is still to be answered."""
        return self._under_way

    @property
    def records(self) -> tuple[Record, ...]:
        """The records that are to be stored."""
        return self._records

    @property
    def wake_at(self) -> float:
        """When `tick` has to be called next."""
        return min(self._refresh_at, self._restoration.wake_at, self._unseen_at)

    def set_records(self, records: tuple[Record, ...]) -> list[Effect]:
        """Take the records as they are from now on; those that are gone are withdrawn, the others stored."""
        self._asked_at = NEVER
        kept = {record.key for record in records}
        gone = tuple(record for record in self._records if record.key not in kept)
        self._records = records
        topics = {(record.exchange, record.topic) for record in records}
        self._shown = {topic: keys for topic, keys in self._shown.items() if topic in topics}
        self.current = not records
        effects: list[Effect] = [Withdraw(gone)] if gone else []
        if self._under_way:
            # The Register that is under way may store them once more after this.
            self._gone += gone
        return effects + self._register()

    def shown(self, exchange: str, topic: str, records: Iterable[Record], now: float) -> bool:
        """
        Take what the store shows of a topic.

        :return: whether it begins to lack what it had stored.
        """
        records = list(records)
        self._crowd.seen(len(records), now)
        ours = [record for record in self._records if (record.exchange, record.topic) == (exchange, topic)]
        instances = {record.instance for record in ours}
        there = {record.key for record in records if record.instance in instances}
        lacked = bool(self._lacking)
        if ours:
            self._shown[exchange, topic] = there
        if all(record.key in there for record in ours):
            self._lacking.discard((exchange, topic))
        else:
            self._lacking.add((exchange, topic))
        if not self._unseen:
            self._unseen_at, self._resent = NEVER, 0
        self._plan_restoration(now)
        return bool(self._lacking) and not lacked and self.current

    def stop(self) -> list[Effect]:
        """Withdraw everything; nothing is stored any more."""
        return self.set_records(())

    def succeeded(self, now: float) -> list[Effect]:
        """Take that the last `Register` was done."""
        effects = self._answered()
        self.failures = 0
        self._failing_since = NEVER
        if self._again:
            return effects + self._register()
        self.current = True
        self._restoration.over(now)
        self._refresh_at = now + self._update * (0.8 + 0.4 * (self._jitter() - 0.5)) if self._records else NEVER
        self._unseen_at = now + self._unseen_seconds * self._jitter() if self._unseen else NEVER
        self._plan_restoration(now)
        return effects

    def failed(self, now: float) -> list[Effect]:
        """Take that the last `Register` was not done."""
        effects = self._answered()
        self.failures += 1
        self._failing_since = min(self._failing_since, now)
        self.current = not self._records
        if self._again:
            return effects + self._register()
        self._refresh_at = now + self._retry_seconds(now) * self._jitter() if self._records else NEVER
        self._plan_restoration(now)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Do what time asks for; to be called at `wake_at` or later."""
        if now < self.wake_at:
            return []
        self._asked_at = now
        if now >= self._unseen_at:
            self._resent += 1
        if now >= self._restoration.wake_at:
            self._restoration.begin()
        elif not self.failures:
            self._restoration.rest()
        return self._register()

    @property
    def _unseen(self) -> bool:
        # What names no instance is in a fixed table, which nobody watches.
        return any(
            record.instance and record.key not in self._shown.get((record.exchange, record.topic), ())
            for record in self._records
        )

    @property
    def _unseen_seconds(self) -> float:
        return min(
            max(backoff(UNSEEN_FIRST, self._resent, UNSEEN_MOST), UNSEEN_TURNS * self._crowd.seconds), UNSEEN_MOST
        )

    def _plan_restoration(self, now: float) -> None:
        if not self._lacking:
            self._restoration.cancel()
        elif not self._under_way:
            self._restoration.lacks(now)

    def _retry_seconds(self, now: float) -> float:
        waits = (
            self._crowd.seconds,
            (now - self._failing_since) * RETRY_SHARE,
            (now - min(self._asked_at, now)) * RETRY_SLOW,
        )
        return min(max(RETRY_FIRST, *waits), RETRY_MOST)

    def _answered(self) -> list[Effect]:
        self._under_way = False
        kept = {record.key for record in self._records}
        gone, self._gone = tuple(record for record in self._gone if record.key not in kept), ()
        return [Withdraw(gone)] if gone else []

    def _register(self) -> list[Effect]:
        self._refresh_at = self._unseen_at = NEVER
        self._restoration.cancel()
        self._lacking.clear()
        self._again = self._under_way
        if self._under_way or not self._records:
            return []
        self._under_way = True
        return [Register(self._records, self.expire)]
