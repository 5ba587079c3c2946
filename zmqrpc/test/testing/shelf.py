"""A store in the memory of the test to which everything can happen, a matchmaker of it, and many that are broken."""

from __future__ import annotations

from math import inf
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock, deferLater
from zope.interface import implementer

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker, IOutages
from zmqrpc.matchmaker._entry import lookup_order, records_order
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._outage_watches import OutageWatches
from zmqrpc.matchmaker._topic_watches import TopicWatches
from zmqrpc.record import Sighting
from zmqrpc.testing.matchmaker import IFaultyStore

POLL_SECONDS = 0.05

REST_SECONDS = 0.15
"""Until the next poll after one that failed."""


@attrs.frozen
class Entry:
    record: Any
    stamp: float
    expires: float


@implementer(IFaultyStore)
class FaultyShelf:
    """
    Entries by key.

    :param kind: the class of its matchmakers.
    :ivar entries: what whoever leads has.
    :ivar old: what somebody had when others went on without him; None where all are one.
    :ivar wall: what was added to the clock on the wall.
    """

    cannot: frozenset[str] = frozenset()
    keeps = True
    reads_while_hung = False
    together = 1
    limit = 1.0
    named = "the shelf"
    secret = "wr0ng-s3cret"

    def __init__(self, clock: Clock, kind: Any) -> None:
        self.clock = clock
        self.entries: dict[Any, Entry] = {}
        self.old: dict[Any, Entry] | None = None
        self.up = True
        self.hung = self.refusing = self.admitted = self.cut = self.returned = False
        self.delay = self.wall = 0.0
        self.late: list[Any] = []
        self.made: list[Any] = []
        self._kind = kind
        self._turns = 0
        self.asked = 0

    def make_matchmaker(self):
        return self._kind(self)

    def make_stranger(self):
        return self._kind(self, stranger=True)

    def make_stranded(self):
        return self._kind(self, stranded=True)

    async def admit_stranger(self):
        self.admitted = True

    async def kill(self):
        self.up = False

    async def start(self, empty):
        if empty:
            self.entries.clear()
        self.up = True
        self.returned = self.old is not None

    async def hang(self):
        self.hung = True

    async def resume(self):
        self.hung = False
        self.returned = self.old is not None
        for matchmaker in self.made:
            matchmaker.go_on()
        for act in self.late:
            self.clock.callLater(0.1, act)

    async def slow(self, seconds):
        self.delay = seconds

    def turns(self):
        return self._turns

    def turn(self):
        self._turns += 1

    async def refuse(self):
        self.refusing = True

    async def accept(self):
        self.refusing = False

    def tries(self):
        asked, self.asked = self.asked, 0
        return asked

    async def fail_over(self):
        self.old = dict(self.entries)

    hang_over = fail_over

    async def split(self):
        self.old, self.cut = dict(self.entries), True

    async def heal(self):
        self.old, self.cut = None, False

    async def step_clock(self, seconds):
        self.wall += seconds


@implementer(IMatchmaker, IOutages)
class ShelfMatchmaker:
    """One that owes nothing; those below change one thing."""

    def __init__(self, store: FaultyShelf, stranger: bool = False, stranded: bool = False) -> None:
        self.store = store
        store.made.append(self)
        self.clock = store.clock
        self.stranger = stranger
        self.stranded = stranded
        self.watches = TopicWatches(self.clock)
        self.outages = OutageWatches(self.clock, self)
        self.outage = self.new_outage()
        self.topics: set[tuple[str, str]] = set()
        self.polling: set[tuple[str, str]] = set()
        self.waiting: list[tuple[Any, Deferred[Any], Any]] = []
        self.timer = self.clock.callLater(POLL_SECONDS, self.poll)
        self.rests_until = 0.0
        self.closed = False

    # What it is asked.

    def register(self, record, expire):
        return self.do(lambda: self.put(record, expire))

    def withdraw(self, record):
        return self.do(lambda: self.entries().pop(record.key, None)).addCallback(lambda _: None)

    def lookup(self, exchange, topic):
        return self.do(lambda: self.read((exchange, topic)))

    def records(self):
        return self.do(lambda: sorted(self.sightings(), key=records_order))

    def watch(self, exchange, topic, changed):
        self.topics.add((exchange, topic))
        return self.watches.add((exchange, topic), changed)

    def acknowledge(self, record):
        return None

    def neg_acknowledge(self, record, reason):
        return None

    def bind_address(self, target):
        return None

    def away(self):
        return self.outage.reason

    def failing(self):
        return [text for text in [self.away()] if text]

    def watch_outages(self, turned):
        return self.outages.add(turned)

    def new_outage(self):
        return Outage(self.clock, "the matchmaker on the shelf", self.outages.turned)

    def close(self):
        self.closed = True
        self.outages.close()
        self.timer.cancel()
        self.watches.close()
        for timer, _, _ in self.waiting:
            timer.cancel()
        return succeed(None)

    # How it does it.

    def do(self, act):
        return self.ask(act).addCallbacks(self.worked, self.failed)

    def ask(self, act):
        self.store.asked += 1
        if reason := self.why_not():
            return fail(MatchmakerUnavailable(reason))
        if self.store.hung:
            return self.wait(act)
        if self.store.delay:
            self.store.turn()
            return deferLater(self.clock, self.store.delay, act)
        return succeed(act())

    def why_not(self):
        if not self.store.up:
            return "the shelf is not there; put it back"
        if self.store.refusing:
            return "the shelf refuses what it is asked; open it"
        if self.stranger and not self.store.admitted:
            return "the shelf does not let us in; correct the password"
        if self.stranded and self.store.cut:
            return "the shelf has lost the majority; see the others"
        return ""

    most_waiting = 100
    patience = 1.0

    def wait(self, act):
        if len(self.waiting) >= self.most_waiting:
            return fail(MatchmakerUnavailable("too many wait for the shelf already"))
        waiting: Deferred[Any] = Deferred()

        def give_up():
            self.waiting.remove(one)
            waiting.errback(MatchmakerUnavailable("the shelf did not answer in time"))

        one = (self.clock.callLater(self.patience, give_up), waiting, act)
        self.waiting.append(one)
        return waiting

    def go_on(self):
        waiting, self.waiting = self.waiting, []
        for timer, asked, act in waiting:
            timer.cancel()
            asked.callback(act())

    def worked(self, answer):
        self.outage.worked()
        return answer

    def failed(self, failure):
        if not self.closed:
            self.outage.failed(str(failure.value))
        return failure

    def poll(self):
        self.timer = self.clock.callLater(POLL_SECONDS, self.poll)
        if self.clock.seconds() < self.rests_until:
            return
        for topic in self.topics - self.polling:
            self.polling.add(topic)
            asked = self.do(lambda topic=topic: self.read(topic))
            asked.addCallbacks(lambda found, topic=topic: self.publish(topic, found), self.missed)
            asked.addCallback(lambda _, topic=topic: self.polling.discard(topic))

    def publish(self, topic, found):
        self.watches.publish(topic, found)

    def missed(self, failure):
        failure.trap(MatchmakerUnavailable)
        self.rests_until = self.clock.seconds() + REST_SECONDS

    # What is there.

    def entries(self):
        return self.store.entries

    def put(self, record, expire):
        now = self.now()
        self.entries()[record.key] = Entry(record, now, now + expire if expire > 0 else inf)

    def read(self, topic):
        found = (s for s in self.sightings() if (s.record.exchange, s.record.topic) == topic)
        return sorted(found, key=lookup_order)

    def sightings(self):
        now = self.now()
        return [Sighting(e.record, now - e.stamp, "the shelf") for e in self.entries().values() if e.expires > now]

    def now(self):
        return self.clock.seconds()


# The broken ones. Each says what it does.


class KeepsWhatHasExpired(ShelfMatchmaker):
    def sightings(self):
        return [Sighting(e.record, self.now() - e.stamp, "the shelf") for e in self.entries().values()]


class GoesByTheWall(ShelfMatchmaker):
    def now(self):
        return self.clock.seconds() + self.store.wall


class ExpiresAllWhenTheClockIsSet(ShelfMatchmaker):
    """Also what never does."""

    def sightings(self):
        return [s for s in super().sightings() if self.store.wall <= 0 or s.age < 0.5]


class HearsOfNoExpiry(ShelfMatchmaker):
    """In a watch."""

    def publish(self, topic, found):
        gone = {s.record.key for s in self.watches.shown(topic) or []} - {s.record.key for s in found}
        if not any(key in self.entries() for key in gone):
            super().publish(topic, found)


class BelievesAMinority(ShelfMatchmaker):
    def why_not(self):
        return "" if self.stranded else super().why_not()

    def entries(self):
        return self.store.old if self.stranded and self.store.old is not None else self.store.entries


class ReadsFromAMinority(BelievesAMinority):
    """But has it store nothing."""

    def register(self, record, expire):
        return self.refuse() or super().register(record, expire)

    def withdraw(self, record):
        return self.refuse() or super().withdraw(record)

    def refuse(self):
        text = ShelfMatchmaker.why_not(self)
        return fail(MatchmakerUnavailable(text)) if text and self.stranded else None


class FollowsAnOldLeader(ShelfMatchmaker):
    """What was stored since the switch is lost when he comes back."""

    def entries(self):
        if self.store.returned:
            self.store.entries, self.store.old, self.store.returned = self.store.old or {}, None, False
        return self.store.entries


class StaysWithAnOldLeader(ShelfMatchmaker):
    """Half of all: what one has stored nobody else finds."""

    def entries(self):
        odd = self.store.made.index(self) % 2
        return self.store.old if odd and self.store.old is not None else self.store.entries


class HearsNothingAfterASwitch(ShelfMatchmaker):
    def poll(self):
        if self.store.old is None:
            super().poll()


class LogsEachFailure(ShelfMatchmaker):
    def failed(self, failure):
        self.outage = self.new_outage()
        return super().failed(failure)


class LogsEachFailureInASwitch(ShelfMatchmaker):
    """While others go on."""

    failures = 0

    def ask(self, act):
        if self.store.old is not None and not self.store.cut and self.failures < 6:
            self.failures += 1
            self.outage = self.new_outage()
            return fail(MatchmakerUnavailable("the shelf has no leader; wait"))
        return super().ask(act)


class LogsNothing(ShelfMatchmaker):
    def failed(self, failure):
        return failure


class LogsNoEnd(ShelfMatchmaker):
    def worked(self, answer):
        self.outage = self.new_outage()
        self.outages.turned()
        return answer


class IsAwayForEver(ShelfMatchmaker):
    """As far as it says so itself."""

    ever = ""

    def away(self):
        self.ever = self.ever or super().away()
        return self.ever


class IsNeverAway(ShelfMatchmaker):
    def away(self):
        return ""


class TellsNoOutage(ShelfMatchmaker):
    def watch_outages(self, turned):
        return lambda: None


class TellsNoEndOfAnOutage(ShelfMatchmaker):
    def watch_outages(self, turned):
        return super().watch_outages(lambda: turned() if self.away() else None)


class TellsEachFailure(ShelfMatchmaker):
    def watch_outages(self, turned):
        self.turned = turned
        return super().watch_outages(turned)

    def failed(self, failure):
        self.clock.callLater(0, self.turned)
        return super().failed(failure)


class TellsOutagesAtOnce(ShelfMatchmaker):
    """From within what was asked."""

    def watch_outages(self, turned):
        self.outage._turned = turned
        return lambda: None


class TellsOutagesForEver(ShelfMatchmaker):
    def watch_outages(self, turned):
        super().watch_outages(turned)
        return lambda: None


class TellsThePassword(ShelfMatchmaker):
    def why_not(self):
        return super().why_not().replace("password", f"password {self.store.secret}")


class LogsThePassword(ShelfMatchmaker):
    def failed(self, failure):
        if self.stranger and not self.outage.reason:
            self.outage.failed(f"{self.store.secret} is wrong")
        return super().failed(failure)


class LetsInNoStranger(ShelfMatchmaker):
    """Once refused, it does not try again."""

    refused = False

    def why_not(self):
        self.refused = self.refused or bool(super().why_not() and self.stranger)
        return "the shelf does not let us in; correct the password" if self.refused else super().why_not()


class LetsInAnybody(ShelfMatchmaker):
    def why_not(self):
        return "" if self.stranger else super().why_not()


class HasAllWait(ShelfMatchmaker):
    most_waiting = 10_000


class WaitsForLong(ShelfMatchmaker):
    patience = 5.0


class WaitsForEver(ShelfMatchmaker):
    patience = 1000.0


class WritesLate(ShelfMatchmaker):
    """What had failed while the store hung is done after it."""

    def wait(self, act):
        self.store.late.append(act)
        return super().wait(act)


class ForgetsToTryAgain(ShelfMatchmaker):
    gone = False

    def why_not(self):
        self.gone = self.gone or not self.store.up
        return "the shelf is not there; put it back" if self.gone else super().why_not()


class NeverRests(ShelfMatchmaker):
    """When nobody answers."""

    def missed(self, failure):
        super().missed(failure)
        self.rests_until = 0.0


class AsksAtOnceWhatIsRefused(ShelfMatchmaker):
    """It rests only while nobody is there."""

    def missed(self, failure):
        super().missed(failure)
        if self.store.refusing:
            self.rests_until = 0.0


class EndsItsWatches(ShelfMatchmaker):
    """With the first outage."""

    def missed(self, failure):
        self.topics.clear()


class SaysThatAllAreGone(ShelfMatchmaker):
    """In a watch, when nobody answers."""

    def missed(self, failure):
        for topic in self.topics:
            self.watches.publish(topic, [])


class FindsNobody(ShelfMatchmaker):
    """When nobody answers."""

    def lookup(self, exchange, topic):
        return super().lookup(exchange, topic).addErrback(lambda _: [])


class ListsNothing(ShelfMatchmaker):
    """When nobody answers."""

    def records(self):
        return super().records().addErrback(lambda _: [])


class StoresIntoNothing(ShelfMatchmaker):
    """When nobody answers."""

    def register(self, record, expire):
        return super().register(record, expire).addErrback(lambda _: None)


class FailsAsItLikes(ShelfMatchmaker):
    def failed(self, failure):
        super().failed(failure)
        raise OSError(str(failure.value))


class NamesNoStore(ShelfMatchmaker):
    def why_not(self):
        return super().why_not() and "it is not there; put it back"


class SaysNothing(ShelfMatchmaker):
    def why_not(self):
        return super().why_not() and "the shelf"


class LooksTwice(ShelfMatchmaker):
    def lookup(self, exchange, topic):
        return super().lookup(exchange, topic).addCallback(lambda _: ShelfMatchmaker.lookup(self, exchange, topic))


class TakesLateForAway(ShelfMatchmaker):
    def ask(self, act):
        if self.store.delay:
            self.clock.callLater(0, self.outage.failed, "the shelf is late")
        return super().ask(act)


class KeepsWhatWasLost(ShelfMatchmaker):
    """It shows what it has seen, though the store came back empty."""

    def read(self, topic):
        found = super().read(topic)
        return found or list(self.watches.shown(topic) or [])


BROKEN = [
    kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, ShelfMatchmaker) and kind is not ShelfMatchmaker
]
