"""
Holds one thing that was asked against what ran for it.

The rules are those of the front page, counted:

=====================  =========================================================================
told                   executions allowed
=====================  =========================================================================
ok, ran: of a call     exactly 1; of an idempotent one 1 to `MOST_RUNS`
ok: of a cast          the same; 0 too, where an instance that may have had it died or stood
ok: by an instance     exactly 1 there; of a fan-out 0 too, where that instance died or stood
published              0 or 1 there
info                   0 or 1; of an idempotent call or cast up to `MOST_RUNS`
fail                   0
ok: of a notification  at least 1 in as many pools as it says
=====================  =========================================================================

*Ran* is told by an error of the method itself, and by one which says that only the answer is lost. *Info* says that it
may have run, as what was cancelled after it was sent. *Stood* excuses who stood when its time was up.

What is idempotent and was lost on its way goes to whoever is there next, under a new number: perhaps once more to the
same instance. `MOST_RUNS` is once, as often as ``rpc_retry_attempts`` says by default, and a hedge; a client with other
options has its own. A fan-out, and a call of every member, never goes to another instance than the one it is for:
unless it was published it runs at no instance that is not listed, and none is listed twice. Nothing but a notification
runs at another member than the one it is for, and what is not idempotent runs at no other instance than the one its
error names.

And for all:

- It ended once, by its deadline and a slack. A process that stands ends its calls later by as much. One that is killed
  within that time need not end them.
- It began to run after it was asked, and before its deadline and a slack. Where the clock of a process has stood, that
  grows by as much: of a client for what it had sent, of a server until it has heard of the client again, by a message
  that was young or for `KNOWN_AGAIN`. How long what is published was under way is known only against the quickest
  before it by the same way, so the slack grows by what that took. The first by a way is not judged.
- The result, or the text of the error, is that of this id at an instance that ran it.
- What a client asks of one instance ran in the order in which it was asked, where the caller of the judge says that
  nothing was lost. What is for any member may first have waited for another, until all have run something of the
  client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from zmqrpc.settings import Settings
from zmqrpc.testing.events import Ended, Event, Id, Invoked, Ran, Told
from zmqrpc.testing.troubles import Troubles

ENDED_WITHIN = 1.0
"""Seconds after its deadline by which a call has to have ended, as the front page says."""

BEGUN_WITHIN = 0.3
"""
Seconds after its deadline that a method may still begin: what ages of messages are uncertain by.

Real processes need less: of 56,000 calls under two minutes of random faults none began after its deadline, on two
processors that ten processes wanted.
"""


def most_runs(settings: Settings) -> float:
    """Tell how often something idempotent may run by the options of its client; infinity for as often as it likes."""
    if settings.rpc_retry_attempts < 0:
        return float("inf")
    return 1 + settings.rpc_retry_attempts + settings.hedge_calls


MOST_RUNS = most_runs(Settings(hedge_calls=True))
"""How often something idempotent may run: once, as often as it is repeated elsewhere by default, and a hedge."""

YOUNG = 0.1
"""Seconds under way up to which a message tells its server how the clock of its client stands."""

KNOWN_AGAIN = 2.0
"""Seconds after which a server whose clock has stood knows how old messages are: two PINGs have come."""


@attrs.define
class Case:
    """
    Everything about one thing that was asked.

    :ivar quickest: of each instance, how long the quickest took that was published for it by the same client before.
    :ivar heard: of each instance, when it last ran something of the client before that had hardly been under way.
    """

    asked: Invoked
    ran: list[Ran] = attrs.field(factory=list)
    ended: list[Ended] = attrs.field(factory=list)
    quickest: dict[str, float] = attrs.field(factory=dict)
    heard: dict[str, float] = attrs.field(factory=dict)

    def __str__(self) -> str:
        """Return all of it in words."""
        asked = self.asked
        to = f" to {asked.member}" if asked.member else ""
        idempotent = "idempotent " if asked.idempotent else ""
        text = f"{idempotent}{asked.kind} {asked.id}{to} of client {asked.client[:8]}, asked at {asked.at:.3f} s"
        text += f" with {asked.deadline - asked.at:g} s"
        for ran in self.ran:
            text += f"; ran at {ran.at:.3f} s by {ran.member} {ran.instance[:8]}"
        for ended in self.ended:
            said = ", ".join(" ".join(filter(None, (t.verdict, t.instance[:8], t.text))) for t in ended.told)
            text += f"; told at {ended.at:.3f} s: {said or 'nobody was there'}"
        return text

    @property
    def told(self) -> list[Told]:
        """What its caller was told; nothing while it has not ended."""
        return self.ended[0].told if self.ended else []

    @property
    def published(self) -> bool:
        """Whether it is, or may be, a fan-out that was published: then also to who is not known to subscribe."""
        return self.asked.kind == "fanout" and (not self.ended or any(map(_by_publisher, self.told)))

    def published_for(self, instance: str) -> bool:
        """Tell whether it was, or may have been, published for an instance, and not sent to it."""
        told = [each for each in self.told if each.instance == instance]
        return self.published and (not told or any(map(_by_publisher, told)))


def _by_publisher(told: Told) -> bool:
    # What may have run, and names no instance that had it, was given to a publisher.
    return told.verdict == "published" or (told.verdict == "info" and not told.addressed)


@attrs.frozen
class Judge:
    """
    What is allowed to a case.

    :param troubles: what befell processes meanwhile.
    :param ended_within: seconds after its deadline by which a call has to have ended.
    :param begun_within: seconds after its deadline by which a method may still begin.
    :param most_runs: how often something idempotent may run, by the instance of its client; `MOST_RUNS` of any other.
    """

    troubles: Troubles
    ended_within: float
    begun_within: float
    most_runs: Mapping[str, float]

    def faults(self, case: Case) -> Iterator[str]:
        """Say each promise that was broken."""
        asked = case.asked
        yield from self._untimely(case)
        if len(case.ended) > 1:
            yield "ended more than once"
        counts = Counter(ran.instance for ran in case.ran)
        if asked.kind != "notify":
            yield from self._misplaced(case, counts)
        for told in case.told:
            yield from self._contradicted(case, told, counts)

    def _untimely(self, case: Case) -> Iterator[str]:
        asked, troubles = case.asked, self.troubles
        latest = asked.deadline + self.ended_within
        latest += troubles.clock_stood(asked.client, asked.at, latest)
        latest = max(latest, troubles.goes_on_at(asked.client, latest) + self.ended_within)
        if not case.ended:
            if troubles.died.get(asked.client, float("inf")) > latest:
                yield "never ended"
        elif case.ended[0].at > latest:
            yield f"ended {case.ended[0].at - asked.deadline:.3f} s after its deadline"
        for ran in case.ran:
            if ran.at > asked.deadline + self.begun_within + self._unknown_age(case, ran):
                yield f"began to run {ran.at - asked.deadline:.3f} s after its deadline"
            if ran.at < asked.at:
                yield "ran before it was asked"

    def _unknown_age(self, case: Case, ran: Ran) -> float:
        """Return how many seconds older than it knows a message may be to a server."""
        asked, troubles = case.asked, self.troubles
        age = troubles.clock_stood(asked.client, asked.at, ran.at)
        # A server whose clock has stood cannot know how old the next message is.
        heard_at = max(case.heard.get(ran.instance, 0.0), asked.at - KNOWN_AGAIN)
        age += troubles.clock_stood(ran.instance, min(asked.at, heard_at), ran.at)
        if case.published_for(ran.instance):
            # What is published has no PINGs. Only against the quickest before it is known how long it took.
            age += case.quickest.get(ran.instance, float("inf"))
        return age

    def _misplaced(self, case: Case, counts: Counter[str]) -> Iterator[str]:
        asked = case.asked
        may_move = asked.kind in ("call", "cast")
        if asked.member is not None and any(ran.member != asked.member for ran in case.ran):
            yield "ran at another member"
        if may_move and asked.idempotent:
            if counts.total() > self.most_runs.get(asked.client, MOST_RUNS):
                yield f"ran {counts.total()} times"
        else:
            if any(count > 1 for count in counts.values()):
                yield "ran more than once at one instance"
            if may_move and len(counts) > 1:
                yield "ran at more than one instance"
        if not may_move and case.ended:
            listed = [told.instance for told in case.told]
            if len(set(listed)) != len(listed):
                yield "an instance is listed twice"
            if "" not in listed and not case.published and not counts.keys() <= set(listed):
                yield "ran at an instance that is in no list"

    def _contradicted(self, case: Case, told: Told, counts: Counter[str]) -> Iterator[str]:
        asked, verdict = case.asked, told.verdict
        there = f" at {told.instance[:8]}" if told.instance else ""
        number = counts[told.instance] if told.instance else counts.total()
        if verdict == "unknown":
            yield f"an error of no kind: {told.text}"
        elif verdict == "fail" and number:
            yield f"ran{there}, though its error says that it did not"
        if asked.kind == "notify":
            # It may have been given back by one that has run it, and go to another.
            if verdict == "ok" and told.result > len({ran.member for ran in case.ran}):
                yield f"{told.result} pools are said to have it"
            return
        if verdict in ("ok", "ran") and not number and not self._may_be_gone(case, told):
            yield f"said to be done{there}, and did not run"
        ran = [each for each in case.ran if not told.instance or each.instance == told.instance]
        if told.addressed and not asked.idempotent and not all(r.instance.startswith(told.addressed) for r in ran):
            yield f"ran at another instance than had it{there}"
        if asked.kind in ("call", "call_each"):
            yield from self._misquoted(told, there, [[each.id, each.instance] for each in ran])

    def _misquoted(self, told: Told, there: str, answers: list[list[Id]]) -> Iterator[str]:
        if told.verdict == "ok" and told.result not in answers:
            yield f"a wrong result{there}: {told.result!r}"
        elif told.verdict == "ran" and told.result is not None and told.result not in map(str, answers):
            yield f"a wrong error{there}: {told.text}"

    def _may_be_gone(self, case: Case, told: Told) -> bool:
        """Tell whether who has acknowledged it may have lost it."""
        asked = case.asked
        if asked.kind not in ("cast", "fanout"):
            return False
        if case.ended[0].at > asked.deadline - self.begun_within:
            # It came at the last moment, and its time was up when its turn came.
            return True
        instances = {told.instance} if told.instance else self.troubles.may_be(asked.member)
        # A server takes it for older, or younger, by what the clock of its client has stood.
        unknown = self.troubles.clock_stood(asked.client, asked.at, asked.deadline)
        return any(self.troubles.lost(each, asked.at, asked.deadline, unknown, self.ended_within) for each in instances)


def learn_ages(events: Iterable[Event], cases: Mapping[Id, Case]) -> None:
    """Note in each case what its servers could know of the age of its messages."""
    quickest: dict[tuple[str, str], float] = {}
    heard: dict[tuple[str, str], float] = {}
    for event in events:
        case = cases.get(event.id) if type(event) is Ran else None
        if type(event) is not Ran or case is None:
            continue
        pair, took = (case.asked.client, event.instance), event.at - case.asked.at
        if pair in heard:
            case.heard.setdefault(event.instance, heard[pair])
        if took < YOUNG:
            heard[pair] = event.at
        if case.published_for(event.instance):
            if pair in quickest:
                case.quickest[event.instance] = quickest[pair]
            quickest[pair] = min(took, quickest.get(pair, took))


def out_of_order(events: Sequence[Event], cases: Mapping[Id, Case]) -> Iterator[str]:
    """
    Say what ran after something that the same client had asked of the same instance later.

    What is for any member may first have waited for another.
    """
    runs = [
        (event.instance, cases[event.id])
        for event in events
        if type(event) is Ran and event.id in cases and cases[event.id].asked.kind in ("call", "cast")
    ]
    places = {id: place for place, id in enumerate(cases)}
    last: dict[tuple[str, str], Case] = {}
    for instance, case in runs:
        asked = case.asked
        before = last.setdefault((asked.client, instance), case)
        if places[asked.id] >= places[before.asked.id]:
            last[asked.client, instance] = case
        elif asked.member is not None:
            yield f"ran out of order: {case}; after {before}"
