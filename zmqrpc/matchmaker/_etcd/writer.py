"""Writing what is ours into etcd."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from math import ceil, inf
from random import Random
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import write_body
from zmqrpc.matchmaker._etcd.answers import read_kept_alive, read_written
from zmqrpc.matchmaker._etcd.asker import MOST_WAITING
from zmqrpc.matchmaker._etcd.errors import LEASE_EXISTS, NO_LEASE, EtcdRefusal
from zmqrpc.matchmaker._etcd.lease import Lease
from zmqrpc.matchmaker._etcd.words import CHUNK, EtcdWords, Words
from zmqrpc.matchmaker._time_limit import TimeLimit
from zmqrpc.record import Record

LONGEST = 9_000_000_000
"""Seconds of the longest lease that etcd makes."""

TRIES = 3
"""How often something is done again that somebody else has undone meanwhile."""

GUARD_SECONDS = 60
"""Seconds of the lease of a guard."""

PATIENCE = 1.5
"""How many times as long as a question a wish may take, which may be four of them, while each is answered in time."""

Question: TypeAlias = Callable[[Words, float], Deferred[bytes]]
"""Asks the cluster, until a time."""


@attrs.define(eq=False)
class _Wish:
    """What is to become of a record: written, or removed where there is no value."""

    key: str
    value: str | None
    seconds: int
    deferred: Deferred[None]


@attrs.define(eq=False)
class _Turn:
    """What was wished in one turn of the reactor."""

    until: float
    wishes: list[_Wish] = attrs.field(factory=list)


class EtcdWriter:
    """
    Registrations and withdrawals, in the order in which they are wished.

    Those of one turn of the reactor are written with one transaction, and so are those that were wished while another
    was under way.

    :param ask: asks the cluster; fails as `EtcdAsker.ask`.
    :param limit: seconds that a question may take.
    :param wrote: is called with keys and the revision of the store when they have been written.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        words: EtcdWords,
        ask: Question,
        chance: Random,
        limit: float,
        wrote: Callable[[Iterable[str], int], None] = lambda keys, revision: None,
    ) -> None:
        self._clock = clock
        self._words = words
        self._ask = ask
        self._chance = chance
        self._limit = limit
        self._wrote = wrote
        self._leases: list[Lease] = []
        self._guards: dict[str, float] = {}  # which may still be there, and until when
        self._turns: list[_Turn] = []
        self._open: _Turn | None = None
        self._turn_end: IDelayedCall | None = None
        self._busy = False

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """Write a record; see `IMatchmaker.register`."""
        seconds = min(max(1, ceil(expire)), LONGEST) if expire > 0 else 0
        return self._wish(self._words.names.record(record), write_body(record), seconds)

    def withdraw(self, record: Record) -> Deferred[None]:
        """Remove a record; see `IMatchmaker.withdraw`."""
        return self._wish(self._words.names.record(record), None, 0)

    def close(self) -> None:
        """Ask at once what would be asked at the end of this turn; to be called when nothing can be asked any more."""
        if self._turn_end is not None and self._turn_end.active():
            self._turn_end.cancel()
            self._end_turn()

    def _wish(self, key: str, value: str | None, seconds: int) -> Deferred[None]:
        if self._open is None:
            if len(self._turns) >= MOST_WAITING:
                return fail(MatchmakerUnavailable(f"{MOST_WAITING} registrations wait for etcd already"))
            self._open = _Turn(self._clock.seconds() + PATIENCE * self._limit)
            self._turns.append(self._open)
            self._turn_end = self._clock.callLater(0, self._end_turn)
        wish = _Wish(key, value, seconds, Deferred())
        self._open.wishes.append(wish)
        return wish.deferred

    def _end_turn(self) -> None:
        self._open = None
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._write()).addErrback(
                lambda failure: self._log.failure("Writing raised", failure)
            )

    async def _write(self) -> None:
        try:
            while turns := [turn for turn in self._turns if turn is not self._open]:
                self._turns = [self._open] if self._open is not None else []
                # What was wished last has all its time, and what was wished before does not wait beyond its own.
                now, until = self._clock.seconds(), turns[-1].until
                limits = [
                    TimeLimit(self._clock, turn.until - now, self._limit, partial(self._time_is_up, turn))
                    for turn in turns
                    if turn.until < until
                ]
                await self._fulfil([wish for turn in turns for wish in turn.wishes], until)
                for limit in limits:
                    limit.cancel()
        finally:
            self._busy = False

    def _time_is_up(self, turn: _Turn) -> None:
        text = f"etcd, which was busy with what came before, did not take it within {PATIENCE * self._limit:g} s"
        for wish in turn.wishes:
            if not wish.deferred.called:
                wish.deferred.errback(MatchmakerUnavailable(text))

    async def _fulfil(self, wishes: list[_Wish], until: float) -> None:
        last = {wish.key: wish for wish in wishes}
        outcome: dict[str, Failure | None] = {}
        lasting: dict[int, dict[str, str]] = {}
        for wish in last.values():
            if wish.value is not None:
                lasting.setdefault(wish.seconds, {})[wish.key] = wish.value
        outcome |= await _outcome(self._remove, [key for key in last if last[key].value is None], until)
        for seconds, entries in lasting.items():
            outcome |= await _outcome(self._store, entries, seconds, until)
        for wish in wishes:
            failure = outcome[wish.key]
            if wish.deferred.called:
                pass  # its own time was up before
            elif failure is None:
                wish.deferred.callback(None)
            else:
                # One for each: a traceback is cut off at whoever handles it.
                wish.deferred.errback(Failure(failure.value))

    async def _remove(self, keys: Collection[str], until: float) -> None:
        now = self._clock.seconds()
        self._guards = {guard: ends for guard, ends in self._guards.items() if ends > now}
        for some in _chunks([*self._guards, *keys]):
            # Not done means that there is nothing yet.
            read_written(await self._ask(self._words.remove(some), until))
            for guard in some:
                self._guards.pop(guard, None)
        for lease in self._leases:
            lease.retired |= lease.holds(keys)
        await self._forget(keys, until)

    async def _forget(self, keys: Collection[str], until: float, but: Lease | None = None) -> None:
        """Take that records are under no lease, but that one, any more; end those under which nothing is left."""
        for lease in [lease for lease in self._leases if lease is not but and lease.forget(keys) and lease.id]:
            self._leases.remove(lease)
            ended = self._ask(self._words.revoke(lease.id), until)
            # What was moved elsewhere is there, whether or not the old lease is still left to end by itself.
            await ended.addErrback(
                lambda failure: failure.trap(*((MatchmakerUnavailable,) if but else ()), EtcdRefusal)
            )

    async def _store(self, entries: Mapping[str, str], seconds: int, until: float) -> None:
        for _ in range(TRIES):
            lease = await self._lease(entries, seconds, until)
            try:
                return await self._write_under(lease, entries, until)
            except EtcdRefusal as refusal:
                if not refusal.says(NO_LEASE):
                    raise
                self._leases.remove(lease)
        raise MatchmakerUnavailable("etcd has lost our lease, and again when it was made anew; see its log")

    async def _lease(self, entries: Mapping[str, str], seconds: int, until: float) -> Lease:
        """Return the lease for some records, made or kept alive just now."""
        now = self._clock.seconds()
        self._leases = [lease for lease in self._leases if lease.ends > now]
        fitting = [lease for lease in self._leases if lease.fits(entries, seconds)]
        lease = max(fitting, key=lambda each: len(each.known(entries)), default=None)
        if lease is not None:
            if not lease.id or read_kept_alive(await self._ask(self._words.keep_alive(lease.id), until)):
                lease.ends = now + seconds if seconds else inf
                return lease
            self._leases.remove(lease)
        lease = Lease(self._chance.randrange(1, 2**63) if seconds else 0, seconds)
        if lease.id:
            await self._grant(lease.id, seconds, until)
            lease.ends = now + seconds
        self._leases.append(lease)
        return lease

    async def _grant(self, lease: int, seconds: int, until: float) -> None:
        try:
            await self._ask(self._words.grant(lease, seconds), until)
        except EtcdRefusal as refusal:
            if not refusal.says(LEASE_EXISTS):  # it was asked twice, or an answer was lost
                raise

    async def _write_under(self, lease: Lease, entries: Mapping[str, str], until: float) -> None:
        known = lease.known(entries)
        missing = {key: value for key, value in entries.items() if key not in known}
        for some in _chunks(known):
            done, _ = read_written(await self._ask(self._words.check({key: known[key] for key in some}), until))
            if not done:
                missing |= {key: entries[key] for key in some}
        for some in _chunks(missing):
            written = {key: missing[key] for key in some}
            lease.may_hold(written)
            if lease.id:
                revision = await self._put(written, lease.id, until)
            else:
                revision = await self._put_for_ever(written, until)
            lease.written(written, revision)
            self._wrote(written, revision)
            await self._forget(written, until, lease)

    async def _put(self, entries: Mapping[str, str], lease: int, until: float) -> int:
        """Write; return the revision of the store then."""
        store = f"{self._chance.getrandbits(128):032x}"
        for _ in range(TRIES):
            for words in (self._words.store(entries, lease), self._words.begin(entries, lease, store)):
                done, revision = read_written(await self._ask(words, until))
                if done:
                    return revision
        raise MatchmakerUnavailable(f"{self._words.names.format} comes and goes in etcd; see who else writes there")

    async def _put_for_ever(self, entries: Mapping[str, str], until: float) -> int:
        """Write what never expires, with a guard; return the revision of the store then."""
        for _ in range(TRIES):
            lease = self._chance.randrange(1, 2**63)
            guard = self._words.names.guard(lease)
            await self._grant(lease, GUARD_SECONDS, until)
            # For longer than it is there: etcd gives a lease its whole time again when its leader changes.
            self._guards[guard] = self._clock.seconds() + 3 * GUARD_SECONDS
            revision = await self._put({guard: ""}, lease, until)
            done, revision = read_written(await self._ask(self._words.keep(entries, guard, revision), until))
            if done:
                del self._guards[guard]
                return revision
        raise MatchmakerUnavailable("etcd did not keep our guard, again and again; see its log")


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(keys)
    while some := list(islice(remaining, CHUNK)):
        yield some


async def _outcome(
    do: Callable[..., Awaitable[None]], keys: Collection[str], *rest: object
) -> dict[str, Failure | None]:
    """Do something with keys; return for each how it ended."""
    try:
        if keys:
            await do(keys, *rest)
    except Exception:
        failure = Failure()
        return dict.fromkeys(keys, failure)
    return dict.fromkeys(keys)
