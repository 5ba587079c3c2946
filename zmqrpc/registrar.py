"""Keeps our records in the matchmaker: the shell of `zmqrpc.core.registration`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.readiness import MUTE, Readiness
from zmqrpc.core.registration import Effect, Register, Registration
from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker, IOutages
from zmqrpc.record import Record, Sighting

_MOST_NAMED = 8

_COUNT_SECONDS = 1.0
"""Seconds after which it is told anew for how many the matchmaker has not answered."""


class Registrar:
    """
    The records of one node and their state in the store.

    Their topics are watched: of all that a matchmaker offers, this costs least to notice that the store has lost them.
    It says when others cannot find the node any more, and when they can again (`not_ready`).

    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    :param record: notes what becomes of the records, as `Notices.record`.
    """

    log = Logger()

    def __init__(
        self,
        registration: Registration,
        matchmaker: IMatchmaker,
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
        record: Callable[..., None],
    ) -> None:
        self._registration = registration
        self._matchmaker = matchmaker
        self._seconds = seconds
        self._wake_by = wake_by
        self._record = record
        self._waiting: list[Deferred[None]] = []
        self._withdrawals: list[Deferred[object]] = []
        self._watches: dict[tuple[str, str], Callable[[], None]] = {}
        self._storing: Deferred[Any] = succeed(None)
        self._refusal: str | None = None
        self._stored: dict[tuple[str, ...], Record] = {}
        self._trouble: object = "it was stored after it had been withdrawn"
        self._outages: Any = IOutages(matchmaker, None)
        self._unwatch_outages: Callable[[], None] | None = None
        self._readiness = Readiness()
        self._asked_at = NEVER
        self._look_at = NEVER
        self._error = ""
        self._is_refused = self._said = False
        self._told: list[Callable[[str], None]] = []

    @property
    def not_ready(self) -> str:
        """Why others cannot find what is registered here, a clause; empty when they can, as far as is known."""
        return self._readiness.trouble if self._registration.records else ""

    def watch_ready(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """
        Call `changed` with `not_ready` whenever that becomes empty, or ceases to be.

        :return: ends it.
        """
        self._told.append(changed)

        def stop() -> None:
            if changed in self._told:
                self._told.remove(changed)

        return stop

    def publish(self, records: tuple[Record, ...]) -> None:
        """Store these records from now on, and no others of ours."""
        self._watch_outages()
        self._perform(self._registration.set_records(records))
        # What names no instance is in a fixed table, which loses nothing by itself.
        self._watch((record.exchange, record.topic) for record in records if record.instance)
        self._judge()

    def when_current(self) -> Deferred[None]:
        """Return a Deferred that fires when every record is stored; `stop` cancels it."""
        if self._registration.current:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def stop(self) -> Deferred[object]:
        """
        Withdraw everything.

        :return: fires when the store has answered or given up, and never fails.
        """
        self._record("withdrawing", "the records are withdrawn")
        self._watch(())
        if self._unwatch_outages is not None:
            self._unwatch_outages()
        self._perform(self._registration.stop())
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.cancel()
        return Deferred.fromCoroutine(self._withdrawn())

    async def _withdrawn(self) -> None:
        # A store that still takes our records is asked once more to remove them when it has answered.
        await self._storing
        await DeferredList(self._withdrawals, consumeErrors=True)
        if self._stored:
            expire = self._registration.expire
            names = list(dict.fromkeys(f"{r.exchange}/{r.topic}.{r.member}" for r in self._stored.values()))
            self.log.warn(
                "the matchmaker may still list what could not be withdrawn at the stop, {names}: {error}; "
                "others may find it {until} (zmq_target_expire)",
                names=", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else ""),
                error=self._trouble,
                until=f"for up to {expire:g} s more"
                if expire > 0
                else "until it is removed there, as it never expires",
            )

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._registration.wake_at, self._readiness.wake_at, self._look_at)

    def sweep(self, now: float) -> None:
        """Refresh what is due, and see whether we are ready."""
        self._perform(self._registration.tick(now))
        self._judge()

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Register):
                self._asked_at = self._seconds()
                stored = [self._register(record, effect.expire) for record in effect.records]
                every = DeferredList(stored, fireOnOneErrback=True, consumeErrors=True)
                self._storing = every.addCallbacks(
                    lambda _: self._succeeded(),
                    lambda failure, records: self._failed(failure.value.subFailure, records),
                    errbackArgs=(effect.records,),
                ).addErrback(self._at_fault)
            else:
                for record in effect.records:
                    self._begin_withdrawal(record)
        self._wake_by(self.wake_at)

    def _judge(self) -> None:
        """See whether we are ready now, and say when that has changed."""
        now = self._seconds()
        registration = self._registration
        if not registration.records:
            self._look_at = NEVER
            return
        mute_at = self._asked_at + MUTE if registration.under_way else NEVER
        self._look_at = mute_at if mute_at > now else now + _COUNT_SECONDS
        before = self._readiness.trouble
        trouble = self._what_is_wrong(now)
        if not trouble:
            seconds = self._readiness.well(now)
            if seconds is not None and self._said:
                self._said = False
                self.log.info("ready again after {seconds:.0f} s: registered with the matchmaker", seconds=seconds)
        elif self._readiness.ill(trouble, now) and not self._is_refused:
            # A refusal is logged where it comes from, once too.
            self._said = True
            self.log.warn("not ready: {trouble}; those who know us are served", trouble=trouble)
        after = self._readiness.trouble
        if bool(before) != bool(after):
            text = "{trouble}" if after else "others can find it"
            self._record("not_ready" if after else "ready", text, trouble=after)
            for changed in list(self._told):
                try:
                    changed(after)
                except Exception:
                    self.log.failure(
                        "what was to be told whether we are ready has raised, a fault of {who}", who=changed
                    )
        self._wake_by(self.wake_at)

    def _what_is_wrong(self, now: float) -> str:
        registration = self._registration
        if away := self._away():
            return away
        if registration.under_way and now - self._asked_at >= MUTE:
            return f"the matchmaker has not answered for {now - self._asked_at:.0f} s what was to be registered"
        if not registration.current:
            return self._error or "not registered with the matchmaker yet"
        return "the matchmaker has lost what we registered" if registration.lacking else ""

    def _watch_outages(self) -> None:
        if self._outages is not None and self._unwatch_outages is None:
            try:
                self._unwatch_outages = self._outages.watch_outages(self._judge)
            except Exception:
                self._knows_no_outages()

    def _away(self) -> str:
        if self._outages is None:
            return ""
        try:
            return str(self._outages.away())
        except Exception:
            self._knows_no_outages()
            return ""

    def _knows_no_outages(self) -> None:
        self.log.failure("the matchmaker could not say whether its store answers, and is not asked again")
        self._outages = None

    def _register(self, record: Record, expire: float) -> Deferred[Any]:
        registered: Deferred[Any] = maybeDeferred(self._matchmaker.register, record, expire)
        return registered.addCallback(lambda _: self._stored.update({record.key: record}))

    def _begin_withdrawal(self, record: Record) -> None:
        def ended(result: object) -> object:
            self._withdrawals.remove(withdrawal)
            return result

        withdrawal = self._withdraw(record)
        self._withdrawals.append(withdrawal)
        withdrawal.addBoth(ended)

    def _withdraw(self, record: Record) -> Deferred[Any]:
        withdrawn: Deferred[Any] = maybeDeferred(self._matchmaker.withdraw, record)
        return withdrawn.addCallbacks(lambda _: self._stored.pop(record.key, None), self._not_withdrawn)

    def _watch(self, topics: Iterable[tuple[str, str]]) -> None:
        """Watch these topics, and no others."""
        wanted = dict.fromkeys(topics)
        for topic in [topic for topic in self._watches if topic not in wanted]:
            self._watches.pop(topic)()
        for topic in wanted:
            if topic not in self._watches:
                self._watches[topic] = lambda: None
                try:
                    self._watches[topic] = self._matchmaker.watch(*topic, partial(self._shown, topic))
                except Exception:
                    self.log.failure("the matchmaker cannot tell whether it loses {topic}", topic=topic[1])

    def _shown(self, topic: tuple[str, str], sightings: list[Sighting]) -> None:
        records = [sighting.record for sighting in sightings]
        if self._registration.shown(*topic, records, self._seconds()):
            self._record("records_lost", "the matchmaker has lost what was registered under {peer}", topic[1])
            self.log.warn("the matchmaker has lost what we registered under {topic}, and gets it again", topic=topic[1])
        self._judge()
        self._wake_by(self.wake_at)

    def _succeeded(self) -> None:
        if self._refusal is not None:
            self._refusal = None
            self.log.info("the matchmaker takes what it refused before")
        self._error, self._is_refused = "", False
        self._record("registered", "{records} records are stored", records=len(self._registration.records))
        self._perform(self._registration.succeeded(self._seconds()))
        self._judge()
        if self._registration.current:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

    def _failed(self, failure: Failure, records: tuple[Record, ...]) -> None:
        if failure.check(ConfigError):
            # A fixed table, whose records name no instance, logs itself which line it lacks.
            if str(failure.value) != self._refusal and any(record.instance for record in records):
                self._refusal = str(failure.value)
                self.log.warn("the matchmaker refuses our records, it is tried again: {error}", error=self._refusal)
        elif not failure.check(MatchmakerUnavailable):
            # A fault of ours or of a plugin. Outages are logged by the matchmaker.
            self.log.failure("the matchmaker failed otherwise than its interface says", failure=failure)
        self._is_refused = failure.check(ConfigError) is not None
        self._error = " ".join(str(failure.value).split())
        self._record(
            "register_failed", "{records} records could not be stored: {why}", records=len(records), why=self._error
        )
        self._perform(self._registration.failed(self._seconds()))
        self._judge()

    def _at_fault(self, failure: Failure) -> None:
        self.log.failure("what the matchmaker answered could not be taken, a fault of ours", failure=failure)

    def _not_withdrawn(self, failure: Failure) -> None:
        self._trouble = failure.value
