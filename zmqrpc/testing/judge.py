"""
Holds one thing that was asked against what ran for it.

The rules are those of the front page, counted:

=====================  =========================================================================
told                   executions allowed
=====================  =========================================================================
ok, ran: of a call     exactly 1; of an idempotent one at least 1
ok: of a cast          the same; 0 too, where an instance that may have had it died or stood
ok: by an instance     exactly 1 there; of a fan-out 0 too, where that instance died or stood
published              0 or 1 there
info                   0 or 1; of an idempotent call or cast any number
fail                   0
ok: of a notification  at least 1 in as many pools as it says
=====================  =========================================================================

What is idempotent and was lost on its way goes to whoever is there next, under a new number: perhaps once more to the
same instance. A fan-out, and a call of every member, never goes to another instance than the one it is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs

from zmqrpc.testing.events import Ended, Invoked, Ran, Stood, Told


@attrs.frozen
class Troubles:
    """
    What befell processes.

    :ivar died: when each instance died.
    :ivar stood: when each instance stood.
    :ivar members: the instances that each member has had.
    :ivar clients: those that have asked.
    """

    died: Mapping[str, float]
    stood: Mapping[str, Sequence[Stood]]
    members: Mapping[str, set[str]]
    clients: set[str]

    def befell(self, instance: str, since: float, until: float) -> bool:
        """Tell whether an instance died or stood in a span of time."""
        if self.died.get(instance, until + 1) <= until and self.died[instance] >= since:
            return True
        return any(stood.at <= until and stood.at + stood.seconds >= since for stood in self.stood.get(instance, ()))

    def clock_stood(self, instance: str, since: float, until: float) -> float:
        """Return how many seconds the clock of an instance has stood, in stands that touch a span of time."""
        stands = self.stood.get(instance, ())
        return sum(each.seconds for each in stands if each.clock and since - each.seconds <= each.at <= until)

    def goes_on_at(self, instance: str, until: float) -> float:
        """Return when an instance goes on that stood until then; 0 where it did not."""
        stands = self.stood.get(instance, ())
        return max((each.at + each.seconds for each in stands if each.at <= until), default=0.0)


YOUNG = 0.1
"""Seconds under way up to which a message tells its server how the clock of its client stands."""


@attrs.define
class Case:
    """
    Everything about one thing that was asked.

    :ivar quickest: of each instance, how long the quickest fan-out took that it had of the client until then.
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

    def faults(self, troubles: Troubles, ended_within: float, begun_within: float) -> Iterator[str]:
        """Say each promise that was broken."""
        asked = self.asked
        yield from self._untimely(troubles, ended_within, begun_within)
        if len(self.ended) > 1:
            yield "ended more than once"
        counts = Counter(ran.instance for ran in self.ran)
        if asked.kind == "notify":
            yield from self._pools()
            return
        may_move = asked.kind in ("call", "cast")
        if any(count > 1 for count in counts.values()) and not (may_move and asked.idempotent):
            yield "ran more than once at one instance"
        if len(counts) > 1 and may_move and not asked.idempotent:
            yield "ran at more than one instance"
        for told in self.ended[0].told if self.ended else ():
            yield from self._judge(told, counts, troubles)
        if asked.kind == "call_each" and self.ended:
            named = {told.instance for told in self.ended[0].told}
            if "" not in named and not counts.keys() <= named:
                yield "ran at an instance that is not in the list of answers"

    def _untimely(self, troubles: Troubles, ended_within: float, begun_within: float) -> Iterator[str]:
        asked = self.asked
        latest = asked.deadline + ended_within
        latest += troubles.clock_stood(asked.client, asked.at, latest)
        latest = max(latest, troubles.goes_on_at(asked.client, latest) + ended_within)
        if not self.ended:
            if asked.client not in troubles.died:
                yield "never ended"
        elif self.ended[0].at > latest:
            yield f"ended {self.ended[0].at - asked.deadline:.3f} s after its deadline"
        for ran in self.ran:
            shift = troubles.clock_stood(asked.client, asked.at, ran.at)
            # A server whose clock has stood cannot know how old the next message is.
            heard_at = min(asked.at, self.heard.get(ran.instance, 0.0))
            shift += troubles.clock_stood(ran.instance, heard_at, ran.at)
            if asked.kind == "fanout":
                # What is published has no PINGs. Only against the quickest before it is known how long it took.
                shift += self.quickest.get(ran.instance, 0.0)
            if ran.at > asked.deadline + begun_within + shift:
                yield f"began to run {ran.at - asked.deadline:.3f} s after its deadline"
            if ran.at < asked.at:
                yield "ran before it was asked"

    def _judge(self, told: Told, counts: Counter[str], troubles: Troubles) -> Iterator[str]:
        asked, verdict = self.asked, told.verdict
        there = f" at {told.instance[:8]}" if told.instance else ""
        number = counts[told.instance] if told.instance else counts.total()
        if verdict == "unknown":
            yield f"an error of no kind: {told.text}"
        elif verdict == "fail" and number:
            yield f"ran{there}, though its error says that it did not"
        elif verdict in ("ok", "ran") and not number and not self._may_be_gone(told, troubles):
            yield f"said to be done{there}, and did not run"
        if asked.kind not in ("call", "call_each") or verdict not in ("ok", "ran"):
            return
        answers = [[ran.id, ran.instance] for ran in self.ran if not told.instance or ran.instance == told.instance]
        if verdict == "ok":
            if told.result not in answers:
                yield f"a wrong result{there}: {told.result!r}"
        elif told.result is not None and told.result not in map(str, answers):
            yield f"a wrong error{there}: {told.text}"

    def _may_be_gone(self, told: Told, troubles: Troubles) -> bool:
        """Tell whether who has acknowledged it may have lost it."""
        asked = self.asked
        if asked.kind not in ("cast", "fanout"):
            return False
        if told.instance:
            instances = {told.instance}
        else:
            known = set().union(*troubles.members.values())
            # One that died before it ran anything is of no member that is known.
            strangers = troubles.died.keys() - known - troubles.clients
            instances = strangers | (known if asked.member is None else troubles.members.get(asked.member, set()))
        return any(troubles.befell(instance, asked.at, asked.deadline) for instance in instances)

    def _pools(self) -> Iterator[str]:
        told = self.ended[0].told[0] if self.ended else None
        if told is not None and told.verdict == "ok" and told.result > len({ran.member for ran in self.ran}):
            yield f"{told.result} pools are said to have it"
