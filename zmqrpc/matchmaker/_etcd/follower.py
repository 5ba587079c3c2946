"""Keeping up with the topics that are watched in etcd."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from random import Random
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.backoff import backoff
from zmqrpc.core.pace import Pace
from zmqrpc.core.spread import Crowd
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.matchmaker._etcd.answers import Change, Look
from zmqrpc.matchmaker._etcd.copy import TopicCopy
from zmqrpc.matchmaker._etcd.errors import Fault
from zmqrpc.matchmaker._etcd.rotation import Rotation
from zmqrpc.matchmaker._etcd.stream import EtcdStream
from zmqrpc.matchmaker._showing import Showing
from zmqrpc.record import Sighting

POLL_SECONDS = 300.0
"""Seconds at most after which a topic is looked at though nothing was told."""

AGAIN_SECONDS = 0.02
"""
Seconds until a look is made again that came too early or too late, doubled each time up to `RETRY_SECONDS`; and at
least between two streams.
"""

MOST_STREAMS = 10
"""How many streams begin in a second: what is looked at may never fit them, where two stores answer for one."""

STEADY_SECONDS = 1.0
"""
Seconds that a stream has to last to count as one that works, when the one before did not last that long; half as many
are at least between two that do not.
"""

RETRY_SECONDS, RETRY_MOST = 1.0, 10.0
"""
Seconds at most until a look that failed is made again, unless a crowd takes longer: doubled each time, up to the
second. What can be heard again is looked at whatever this says.
"""

MANY = 10
"""How many records go at once for those whose they were not to hear of it at once."""

ELECTION_SECONDS = 5.0
"""
Seconds for which nothing may be heard, while an election can be the reason, before that is said. It takes one to two
election timeouts of etcd, of a second each where nobody has set another, and as long again where votes are split.
"""

MOST_LOOKS = 200
"""How many topics may be looked at at the same time, many of them with one question."""

MakeStream: TypeAlias = Callable[
    [
        int,
        Callable[[str], Mapping[TopicKey, int]],
        Callable[[TopicKey, Change], None],
        Callable[[], None],
        Callable[[bool, Fault | None], None],
    ],
    EtcdStream,
]
"""Makes a stream at a member; the rest is as `EtcdStream` has it."""


@attrs.define(eq=False)
class _Followed:
    topic: TopicKey
    showing: Showing
    copy: TopicCopy = attrs.field(factory=TopicCopy)
    watched: bool = False  # whether the stream tells of it
    looking: bool = False
    failures: int = 0  # how many looks have failed in a row
    losses: int = 0  # how many streams had failed when the last look that counts was asked for
    wrote: int = 0  # the revision of what we wrote there last; 0 when what was asked for after that is known
    looks: IDelayedCall | None = None


class EtcdFollower:
    """
    The copies of the watched topics.

    A copy begins with a look, and follows what the stream tells from the revision after that. Where topics are added
    another stream begins with all of them, and the one before is heard until it has: there are two at most.

    :param look: looks at a topic.
    :param show: is called with a topic and its records, changed or not.
    :param state: is called with the reason whenever nothing can be heard, and with None when everything can.
    :param crowd: learns how many there are, and says when it is our turn to do what all want to.
    :param source: where the records are from, for people.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        rotation: Rotation,
        make_stream: MakeStream,
        look: Callable[[TopicKey], Deferred[Look]],
        show: Callable[[TopicKey, list[Sighting]], None],
        state: Callable[[str | None], None],
        chance: Random,
        crowd: Crowd,
        source: str,
    ) -> None:
        self._clock = clock
        self._rotation = rotation
        self._make_stream = make_stream
        self._look = look
        self._show = show
        self._state = state
        self._chance = chance
        self._crowd = crowd
        self._source = source
        self._ours = ""
        self._written: set[TopicKey] = set()
        self._followed: dict[TopicKey, _Followed] = {}
        self._to_look_at: deque[_Followed] = deque()
        self._looking = 0
        self._is_going_on = False
        self._stream: EtcdStream | None = None
        self._next: EtcdStream | None = None
        self._number = 0
        self._is_beginning = False
        self._begins: IDelayedCall | None = None
        self._began = -inf
        self._pace = Pace(MOST_STREAMS)
        self._heard_at = -inf  # since when streams tell of everything, one after the other
        self._brief = False  # whether that has failed soon the last time
        self._steady: IDelayedCall | None = None
        self._fails = 0
        self._lost_at = inf  # when the first of those was
        self._losses = 0  # how many streams have failed

    def __contains__(self, topic: TopicKey) -> bool:
        return topic in self._followed

    @property
    def hears(self) -> bool:
        """Whether there is a stream all of whose watches have begun."""
        return self._stream is not None

    def add(self, topic: TopicKey) -> None:
        """Show a topic soon and after each change; one that is followed is shown once more."""
        followed = self._followed.get(topic)
        if followed is None:
            showing = Showing(self._clock, partial(self._show_now, topic))
            self._followed[topic] = followed = _Followed(topic, showing)
            self._look_in(followed, 0)
        elif followed.copy.revision >= 0:
            followed.showing.soon(len(followed.copy))

    def remove(self, topic: TopicKey) -> None:
        """Follow it no longer."""
        followed = self._followed.pop(topic, None)
        if followed is not None:
            followed.showing.cancel()
            if followed.looks is not None and followed.looks.active():
                followed.looks.cancel()
        if not self._followed:
            self._end_stream()

    def close(self) -> None:
        """Follow nothing any more."""
        for topic in list(self._followed):
            self.remove(topic)
        self._end_stream()

    def ours(self, instance: str) -> None:
        """Take which instance it is whose records we register."""
        self._ours = instance

    def wrote(self, topic: TopicKey, revision: int) -> None:
        """
        Take that we have written into a topic.

        What is known of it is not shown before it is as new as that: else it would lack what the store has.
        """
        self._written.add(topic)
        followed = self._followed.get(topic)
        if followed is not None:
            followed.wrote = revision

    # Looks

    def asked(self, topic: TopicKey) -> int:
        """Return what `looked` wants to be told when the answer to a lookup is there."""
        followed = self._followed.get(topic)
        return followed.copy.heard if followed is not None else 0

    def looked(self, topic: TopicKey, look: Look, heard: int) -> None:
        """Take what somebody else's lookup has found."""
        followed = self._followed.get(topic)
        if followed is not None:
            self._take(followed, look, heard)

    def _look_in(self, followed: _Followed, seconds: float) -> None:
        at = self._clock.seconds() + seconds
        if followed.looks is not None and followed.looks.active():
            if followed.looks.getTime() <= at:
                return
            followed.looks.cancel()
        followed.looks = self._clock.callLater(seconds, self._begin_look, followed)

    def _begin_look(self, followed: _Followed) -> None:
        if followed.looking:
            self._look_in(followed, AGAIN_SECONDS)
            return
        followed.looking = True
        self._to_look_at.append(followed)
        self._go_on()

    def _go_on(self) -> None:
        if self._is_going_on:  # one of those below has ended at once: no chain of thousands
            return
        self._is_going_on = True
        while self._to_look_at and self._looking < MOST_LOOKS:
            followed = self._to_look_at.popleft()
            self._looking += 1
            Deferred.fromCoroutine(self._look_once(followed)).addBoth(self._has_looked, followed.topic[1])
        self._is_going_on = False

    def _has_looked(self, outcome: Failure | None, topic: str) -> None:
        if outcome is not None:
            self._log.failure("A look at {topic} raised", outcome, topic=topic)
        self._looking -= 1
        self._go_on()

    async def _look_once(self, followed: _Followed) -> None:
        again, failures = self._retry_seconds(followed), followed.failures
        followed.failures += 1
        heard, wrote, losses = followed.copy.heard, followed.wrote, self._losses
        try:
            if self._is_followed(followed):
                look = await self._look(followed.topic)
                if self._is_followed(followed):
                    if wrote == followed.wrote:
                        followed.wrote = 0  # whatever its revision: the store may have gone back
                    again = backoff(AGAIN_SECONDS, failures, RETRY_SECONDS)
                    if self._take(followed, look, heard):
                        followed.failures, followed.losses = 0, losses
                        again = POLL_SECONDS * self._chance.uniform(0.75, 1)
        except MatchmakerUnavailable:
            pass  # whose outage is logged where it is asked
        finally:
            followed.looking = False
            if self._is_followed(followed):
                self._look_in(followed, again)

    def _retry_seconds(self, followed: _Followed) -> float:
        pause = backoff(max(RETRY_SECONDS, self._crowd.seconds), followed.failures, RETRY_MOST)
        return pause * self._chance.uniform(0.5, 1)

    def _is_followed(self, followed: _Followed) -> bool:
        return self._followed.get(followed.topic) is followed

    def _take(self, followed: _Followed, look: Look, heard: int) -> bool:
        copy = followed.copy
        store, revision = copy.store, copy.revision
        if not copy.looked(look, heard):
            return False
        is_other = bool(store) and look.store != store
        if is_other or look.revision < revision:
            followed.watched = False
        if not followed.watched:
            # Where we register again, all others do so now. What is told of them later comes in one piece; now it
            # would be as many messages to everybody, and five hundred have the store do nothing else.
            self._begin_in(self._crowd.seconds if is_other and followed.topic in self._written else 0)
        followed.showing.soon(len(followed.copy))
        return True

    # The stream

    def _begin_in(self, seconds: float) -> None:
        if self._begins is None or not self._begins.active():
            now = self._clock.seconds()
            pause = STEADY_SECONDS / 2 if self._brief else AGAIN_SECONDS
            at = max(self._began + pause, self._pace.free_at)
            self._begins = self._clock.callLater(max(seconds, at - now), self._begin)

    def _begin(self) -> None:
        if self._is_beginning:  # it is let finish, and what was added meanwhile is for the one after it
            return
        self._began = self._clock.seconds()
        self._pace.take(self._began)
        self._is_beginning = True
        self._number += 1
        number = self._number
        self._next = stream = self._make_stream(
            self._rotation.current, self._begun, self._told, partial(self._hears, number), partial(self._ended, number)
        )
        stream.begin()

    def _begun(self, store: str) -> dict[TopicKey, int]:
        wanted = {}
        for topic, followed in self._followed.items():
            copy = followed.copy
            followed.watched = copy.revision >= 0 and copy.store == store
            if followed.watched:
                wanted[topic] = copy.revision + 1
            elif copy.revision >= 0:
                # This was begun in our turn. Where others are to be found, they take theirs first.
                self._look_in(followed, 0 if topic in self._written else self._crowd.seconds)
        self._is_beginning = bool(wanted)  # else it ends without a word
        return wanted

    def _told(self, topic: TopicKey, change: Change) -> None:
        followed = self._followed.get(topic)
        if followed is None:
            return
        many = sum(entry.record is None for entry in change.entries) > MANY
        held = many and followed.copy.holds(self._ours)
        if change.compacted:
            followed.watched = False
            self._look_in_turn(followed)
        elif change.created and change.revision < followed.copy.revision:
            # The member lags behind, or the store has gone back to a backup.
            self._look_in_turn(followed)
        elif followed.copy.told(change):
            later = 0.0
            if many and not len(followed.copy):
                later = self._emptied(topic, self._until_turn())
            elif held and not followed.copy.holds(self._ours):
                # Whose records these were, they all hear it now; others have nothing to store.
                later = self._until_turn()
            followed.showing.soon(len(followed.copy), later)

    def _emptied(self, topic: TopicKey, turn: float) -> float:
        """
        Take that all whom a topic had are gone at once; hear of it again when all had their turns to come back.

        :param turn: the seconds until ours.
        :return: the seconds until it is shown.
        """
        again = turn + self._crowd.seconds
        self._end_stream()
        self._begin_in(again)
        return turn if topic in self._written else again + RETRY_SECONDS

    def _look_in_turn(self, followed: _Followed) -> None:
        self._look_in(followed, self._until_turn())

    def _until_turn(self) -> float:
        now = self._clock.seconds()
        return self._crowd.turn(now) - now

    def _hears(self, number: int) -> None:
        if number != self._number:
            return
        if self._stream is not None:
            self._stream.end()
        else:
            self._heard_at = self._clock.seconds()
        self._stream, self._next = self._next, None
        self._is_beginning = False
        if not self._brief:
            self._works()
        elif self._steady is None:
            self._steady = self._clock.callLater(STEADY_SECONDS, self._lasts)
        for followed in self._followed.values():
            # The store may have gone back to a backup, and on past what was heard: nothing but its content tells. Where
            # that was looked at since, hundreds would read all of each other once more for nothing.
            if followed.losses != self._losses:
                followed.losses = self._losses
                self._look_in(followed, 0)
        if any(not followed.watched and followed.copy.revision >= 0 for followed in self._followed.values()):
            self._begin_in(0)

    def _lasts(self) -> None:
        self._steady = None
        self._brief = False
        self._works()

    def _works(self) -> None:
        self._fails = 0
        self._crowd.worked()
        self._state(None)

    def _ended(self, number: int, failed: bool, fault: Fault | None) -> None:
        now = self._clock.seconds()
        is_next = number == self._number and self._is_beginning
        stream = self._next if is_next else self._stream
        self._losses += failed
        if failed and stream is not None:
            self._failed(stream.member, fault, now)
        if is_next:
            self._next, self._is_beginning = None, False
        else:
            self._stream = None
            self._stop_steady()
            self._brief = failed and now - self._heard_at < STEADY_SECONDS
        if self._followed and not self._is_beginning:
            self._begin_in(self._crowd.again(now) - now)

    def _stop_steady(self) -> None:
        if self._steady is not None:
            self._steady.cancel()
            self._steady = None

    def _failed(self, member: int, fault: Fault | None, now: float) -> None:
        if fault is not None:
            self._rotation.failed(member, fault)
        if not self._fails:
            self._lost_at = now
        self._fails += 1
        faults = self._rotation.faults.values()
        # One alone has no elections, unless it says so: it is silent for another reason.
        passes = any(fault.passes and (fault.said or len(self._rotation) > 1) for fault in faults)
        # Before all have failed others have not been tried yet.
        if faults and self._fails >= len(self._rotation) and not (passes and now - self._lost_at < ELECTION_SECONDS):
            self._state(self._rotation.trouble())

    def _end_stream(self) -> None:
        self._stop_steady()
        if self._begins is not None and self._begins.active():
            self._begins.cancel()
        for stream in (self._stream, self._next):
            if stream is not None:
                stream.end()
        self._stream = self._next = None
        self._is_beginning = False
        self._number += 1

    def _show_now(self, topic: TopicKey) -> None:
        followed = self._followed[topic]
        if followed.copy.revision < followed.wrote:
            # It is told soon, unless the store has gone back; where the store is busy a look would only add to that.
            self._look_in(followed, self._retry_seconds(followed))
            return
        sightings = followed.copy.sightings(self._source)
        self._crowd.shown([sighting.record.instance for sighting in sightings], self._ours, self._clock.seconds())
        self._show(topic, sightings)
