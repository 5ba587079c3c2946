"""Telling a doubt to those who use the same store, as a record of its own (docs/spec/records, Doubts)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.pace import Pace
from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.record import Record, Role, Sighting

EXPIRE_SECONDS = 30.0
"""Seconds that a doubt is stored, and after which it is said again if it lasts."""

SPREAD_SECONDS = 0.1
"""Seconds over which those who begin to doubt at the same moment are spread, so that one says it for all."""

LATE_SECONDS = 5.0
"""Seconds for which what we have said may be shown after its time: then it is what somebody else has said."""

EACH_SECOND = 20
"""How many doubts are said in a second: who loses many servers at once must not flood the store."""

_MOST_REASON = 200


def doubt_of(record: Record, reason: str) -> Record:
    """Make the record that shares a doubt of the instance behind another."""
    return Record(
        role=Role.DOUBT,
        exchange=record.exchange,
        topic=record.topic,
        member=record.member,
        instance=record.instance,
        addresses=record.addresses[:1],
        reason=reason[:_MOST_REASON],
    )


@attrs.define(eq=False)
class _Said:
    """
    A doubt that is shared, or is to be.

    :ivar due_at: when it is looked whether it has to be said.
    :ivar heard: fires when others know it; None once it has.
    :ivar ours: whether we have said it, and not somebody else.
    :ivar expires_at: when that ends at the latest, as a store may show it for a moment after its time.
    """

    doubt: Record
    due_at: float
    heard: Deferred[None] | None
    ours: bool = False
    expires_at: float = 0.0


class SharedDoubts:
    """
    Says doubts as records of a store, where nobody else has said them.

    One timer: what is due is looked at, and said unless the store shows it already, whoever has said that. It is looked
    at again when it should have expired, for as long as the doubt lasts and the record that it is about is shown.

    :param register: that of `zmqrpc.interfaces.IMatchmaker`, as is `withdraw`.
    :param shown: returns what the store was last seen to have of a topic; None when nobody watches it.
    :param chance: the source of jitter.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        register: Callable[[Record, float], Deferred[None]],
        withdraw: Callable[[Record], Deferred[None]],
        shown: Callable[[TopicKey], Sequence[Sighting] | None],
        chance: Random | None = None,
    ) -> None:
        self._clock = clock
        self._register = register
        self._withdraw = withdraw
        self._shown = shown
        self._chance = chance or Random()
        self._said: dict[tuple[str, ...], _Said] = {}
        self._timer: IDelayedCall | None = None
        self._pace = Pace(EACH_SECOND)
        self._waiting_told = False

    def say(self, record: Record, reason: str) -> Deferred[None] | None:
        """
        Have others know a doubt, soon.

        :return: fires when they can; fails with `MatchmakerUnavailable` when the store does not take it. None when it
            is on its way already, or known.
        """
        doubt = doubt_of(record, reason)
        said = self._said.get(doubt.key)
        if said is not None:
            said.doubt = doubt
            return None
        heard: Deferred[None] = Deferred()
        due_at = self._clock.seconds() + self._chance.uniform(0, SPREAD_SECONDS)
        self._said[doubt.key] = _Said(doubt, due_at, heard)
        self._wake_by(due_at)
        return heard

    def take_back(self, record: Record) -> Deferred[None] | None:
        """
        Have others know that we doubt no more; what somebody else has said stays.

        :return: as of `say`.
        """
        said = self._said.pop(doubt_of(record, "").key, None)
        if said is None:
            return None
        _fire(said)
        return self._withdraw(said.doubt) if said.ours else None

    def forget(self, record: Record) -> None:
        """Do not say it again; what was said stays for its time."""
        said = self._said.pop(doubt_of(record, "").key, None)
        if said is not None:
            _fire(said)

    def seconds(self) -> float:
        """Return the time of the clock by which things are said."""
        return self._clock.seconds()

    def later(self, seconds: float, work: Callable[[], None]) -> IDelayedCall:
        """Do something after so many seconds."""
        return self._clock.callLater(seconds, work)

    def close(self) -> None:
        """Say nothing more; what was said is forgotten by the store in its time."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        while self._said:
            _fire(self._said.popitem()[1])

    def _wake_by(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.getTime() <= when:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        due = sorted((said for said in self._said.values() if said.due_at <= now), key=lambda said: said.due_at)
        for said in due:
            if self._is_over(said):
                del self._said[said.doubt.key]
                _fire(said)
            elif self._is_known(said.doubt) and said.ours and now < said.expires_at:
                said.due_at = now + self._chance.uniform(0.5, 1)
            elif self._is_known(said.doubt):
                said.ours = False
                said.due_at = now + EXPIRE_SECONDS * self._chance.uniform(0.5, 1)
                _fire(said)
            elif self._pace.take(now):
                self._store(said, now)
        waiting = sum(said.heard is not None for said in self._said.values()) if self._pace.free_at > now else 0
        if waiting and not self._waiting_told:
            self._log.warn(
                "{count} more instances are in doubt at once; others are told of {rate} each second",
                count=waiting,
                rate=EACH_SECOND,
            )
        self._waiting_told = bool(waiting)
        if self._said:
            self._wake_by(max(self._pace.free_at, min(said.due_at for said in self._said.values())))

    def _store(self, said: _Said, now: float) -> None:
        said.ours = True
        # A moment later: by then a watch shows that it has expired.
        said.due_at = now + EXPIRE_SECONDS + self._chance.uniform(0.5, 1)
        said.expires_at = now + EXPIRE_SECONDS + LATE_SECONDS
        heard, said.heard = said.heard, None
        stored = self._register(said.doubt, EXPIRE_SECONDS).addErrback(_refused)
        if heard is not None:
            stored.chainDeferred(heard)
        else:
            stored.addErrback(self._not_repeated)

    def _not_repeated(self, failure: Failure) -> None:
        if not failure.check(MatchmakerUnavailable):
            self._log.failure("a doubt could not be said again", failure=failure)

    def _is_over(self, said: _Said) -> bool:
        """Tell whether what it is about is gone, as far as that can be seen here."""
        doubt = said.doubt
        shown = self._shown((doubt.exchange, doubt.topic))
        if shown is None:
            # Who does not watch the topic any more has no use for the instance; the first time it may be too early.
            return said.heard is None
        about = (doubt.member, doubt.instance)
        records = [sighting.record for sighting in shown]
        return all((r.member, r.instance) != about or r.role is Role.DOUBT for r in records)

    def _is_known(self, doubt: Record) -> bool:
        shown = self._shown((doubt.exchange, doubt.topic)) or ()
        return any(sighting.record.key == doubt.key for sighting in shown)


def _refused(failure: Failure) -> None:
    """Say of a doubt that is refused for good what is said of any hint; whoever registers says it as well."""
    failure.trap(ConfigError)
    raise MatchmakerUnavailable(str(failure.value)) from None


def _fire(said: _Said) -> None:
    heard, said.heard = said.heard, None
    if heard is not None:
        heard.callback(None)
