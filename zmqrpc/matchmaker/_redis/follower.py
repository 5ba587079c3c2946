"""Keeping up with the topics that are watched in one Redis database."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zmqrpc.core.backoff import backoff
from zmqrpc.core.spread import Crowd, spread
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.matchmaker._redis.answers import Look, read_change
from zmqrpc.matchmaker._redis.copy import TopicCopy
from zmqrpc.matchmaker._redis.names import topic_channel
from zmqrpc.matchmaker._showing import Showing
from zmqrpc.record import Sighting

FIRST_SECONDS = 0.2
"""Seconds until a topic is looked at though its channel cannot be heard yet."""

POLL_SECONDS = 60.0
"""
Seconds at most after which a topic is looked at though nothing was told: something told may be lost. After three
quarters of that it is when another one is: one question for many costs less than many.
"""

RETRY_SECONDS = 1.0
"""Seconds at most until a look that failed is made again, unless a crowd takes longer."""

AGAIN_SECONDS = 0.02
"""Seconds until a topic is looked at again where what was found, or told, did not fit."""

STRAY_SECONDS = 1.0
"""
Seconds at most between two looks that were made since something told did not fit, and at least where nothing does: a
look is work for the store, and whoever may publish could have it done by everybody who watches.
"""

LAG_SECONDS = 0.3
"""Seconds over which those who know of the same expiry look for it: the first who does tells the others."""

REST_SECONDS = 0.1
"""
Seconds at least until a topic is looked at again for what it holds itself: a server may refuse to remove what has
expired, and answer as fast as it is asked.
"""

QUIET_TURNS = 1.25
"""For how long what all tell who come back is kept back, as a share of the time over which their turns are spread."""

MANY = 10
"""How many records go at once for those whose they were not to hear of it at once."""

MOST_LOOKS = 50
"""How many looks may be under way."""


@attrs.define(eq=False)
class _Followed:
    topic: TopicKey
    look_at: float
    showing: Showing
    copy: TopicCopy = attrs.field(factory=TopicCopy)
    sightings: list[Sighting] | None = None  # what was shown of it; None where that is not so any more
    joins_at: float = inf  # from when on it is looked at with others
    lag: float = 0.0  # how long after an expiry it is looked for
    rests_until: float = -inf  # after a look: what has expired is not looked for before that
    looking: bool = False
    strays: int = 0  # how many looks were made of late since something told did not fit
    stray_at: float = -inf  # when the last one was asked for

    @property
    def due(self) -> float:
        return inf if self.looking else min(self.look_at, max(self.copy.expires + self.lag, self.rests_until))

    def stray(self, now: float) -> float:
        """Take that something told did not fit; return when it may be looked at for that: later each time."""
        if self.stray_at > now:
            return self.stray_at
        if now - self.stray_at >= 2 * STRAY_SECONDS:
            self.strays = 0
        pause = backoff(AGAIN_SECONDS, self.strays - 1, STRAY_SECONDS) if self.strays else 0.0
        self.strays += 1
        self.stray_at = max(now, self.stray_at + pause)
        return self.stray_at


class RedisFollower:
    """
    The copies of the watched topics.

    A copy begins with a look, and follows what is told on the channel of its topic. It is looked at again when that
    begins to be heard, when something told does not fit, when a record of it may have expired, and now and then.

    :param name: the server, for people.
    :param db: the number of the database.
    :param look: looks at a topic, given the version that is known of it and when the first record of it expires.
    :param show: is called with a topic and its records whenever they were read or told, changed or not.
    :param crowd: learns how many there are, and says when it is our turn to look where all want to.
    :param source: returns what the records are seen in, for people.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        name: str,
        db: int,
        look: Callable[[TopicKey, int, int], Deferred[Look]],
        show: Callable[[TopicKey, list[Sighting]], None],
        chance: Random,
        crowd: Crowd,
        source: Callable[[], str] = str,
    ) -> None:
        self._clock = clock
        self._name = name
        self._db = db
        self._look = look
        self._show = show
        self._chance = chance
        self._crowd = crowd
        self._source = source
        self._ours = ""
        self._followed: dict[str, _Followed] = {}
        self._looking = 0
        self._quiet_until = -inf
        self._timer: IDelayedCall | None = None

    def __contains__(self, topic: TopicKey) -> bool:
        return topic_channel(self._db, topic) in self._followed

    def add(self, topic: TopicKey) -> str:
        """Follow a topic; return the channel that is to be heard for it."""
        channel = topic_channel(self._db, topic)
        if channel not in self._followed:
            showing = Showing(self._clock, lambda: self._show_now(followed))
            self._followed[channel] = followed = _Followed(topic, inf, showing)
            self._look_in(followed, FIRST_SECONDS)
        return channel

    def remove(self, topic: TopicKey) -> str:
        """Follow it no longer; return its channel."""
        channel = topic_channel(self._db, topic)
        followed = self._followed.pop(channel, None)
        if followed is not None:
            followed.showing.cancel()
        return channel

    def close(self) -> None:
        """Follow nothing any more."""
        for followed in list(self._followed.values()):
            self.remove(followed.topic)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ours(self, instance: str) -> None:
        """Take which instance it is whose records we register."""
        self._ours = instance

    def again(self, topic: TopicKey) -> None:
        """Show once more what is known of a topic, if anything is: for somebody who has not heard it."""
        followed = self._followed.get(topic_channel(self._db, topic))
        if followed is not None and followed.copy.version >= 0:
            followed.sightings = None  # whose ages are of then
            followed.showing.soon(len(followed.copy))

    def forget(self) -> None:
        """Take nothing that is known for what the server knows as well: it is another one, with versions of its own."""
        for followed in self._followed.values():
            followed.copy.version = -1

    # What comes from the server

    def subscribed(self, channel: str) -> None:
        """Take that everything told on a channel is heard from now on."""
        if channel in self._followed:
            self._look_in(self._followed[channel], 0)

    def heard(self, channel: str, message: bytes) -> None:
        """Take what was told on a channel."""
        if channel not in self._followed:
            return
        now = self._clock.seconds()
        followed = self._followed[channel]
        change = read_change(self._name, followed.topic, message)
        many = change is not None and len(change.gone) > MANY
        held = many and followed.copy.holds(self._ours)
        if change is None or not followed.copy.told(change, now):
            # Others may tell first what they have stored anew, in a database that we still have to look at.
            self._look_at(followed, max(followed.stray(now), self._crowd.turn_at))
        else:
            followed.sightings = None
            # Whose records these were, they all hear it now. Others have nothing to store, and call who is left; where
            # nobody is, a list of the first who are back would send all calls to these.
            waits = many and (not len(followed.copy) or (held and not followed.copy.holds(self._ours)))
            later = self._chance.uniform(0, spread(len(change.gone))) if waits else 0.0
            followed.showing.soon(len(followed.copy), max(later, self._quiet_until - now))
            self._wake_by(followed.due)

    def is_back(self) -> None:
        """
        Take that all who use the database come back to it, or find it new, from now on.

        What each of them tells then is passed on when all have had their turns. To do that for each would be most of
        the work of hundreds, while they have something better to do.
        """
        self._quiet_until = self._clock.seconds() + QUIET_TURNS * self._crowd.seconds

    def found_new(self) -> None:
        """Take that the database is another one: each topic is to be looked at when it is our turn."""
        self.is_back()
        now = self._clock.seconds()
        # All topics at once: the first one that lacks our records has us store them all.
        turn = self._crowd.turn(now)
        for followed in self._followed.values():
            self._look_at(followed, max(turn, followed.stray(now)))

    def asked(self, topic: TopicKey) -> int:
        """Return what `looked` wants to be told when the answer to a lookup is there."""
        followed = self._followed.get(topic_channel(self._db, topic))
        return followed.copy.heard if followed is not None else 0

    def looked(self, topic: TopicKey, look: Look, heard: int) -> None:
        """Take what somebody else's lookup has found."""
        followed = self._followed.get(topic_channel(self._db, topic))
        if followed is not None:
            self._take(followed, look, heard)
            # A look that is due already is for something that this lookup may not have seen.
            if followed.look_at > self._clock.seconds():
                followed.look_at = self._clock.seconds() + self._poll_seconds()
            self._wake_by(followed.due)

    def _look_in(self, followed: _Followed, seconds: float) -> None:
        self._look_at(followed, self._clock.seconds() + seconds)

    def _look_at(self, followed: _Followed, at: float) -> None:
        followed.look_at = min(followed.look_at, at)
        self._wake_by(followed.due)

    def _wake_by(self, at: float) -> None:
        if at == inf or (self._timer is not None and self._timer.getTime() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, at - self._clock.seconds()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        if any(followed.due <= now for followed in self._followed.values()):
            for followed in list(self._followed.values()):
                if min(followed.due, followed.joins_at) <= now and self._looking < MOST_LOOKS:
                    self._begin(followed)
        if self._looking < MOST_LOOKS:
            self._wake_by(min((followed.due for followed in self._followed.values()), default=inf))

    def _begin(self, followed: _Followed) -> None:
        self._looking += 1
        followed.looking = True
        followed.look_at = followed.joins_at = inf
        Deferred.fromCoroutine(self._look_once(followed)).addErrback(
            lambda failure: self._log.failure("A look at {topic} raised", failure, topic=followed.topic[1])
        )

    async def _look_once(self, followed: _Followed) -> None:
        again = rest = max(RETRY_SECONDS, self._crowd.seconds) * self._chance.uniform(0.5, 1)
        heard = followed.copy.heard
        try:
            look = await self._look(followed.topic, followed.copy.version, followed.copy.soonest)
            rest = REST_SECONDS
            if look.unsure:
                again = max(look.unsure, REST_SECONDS)
            elif self._is_followed(followed):
                now = self._clock.seconds()
                again = self._poll_seconds() if self._take(followed, look, heard) else followed.stray(now) - now
        except MatchmakerUnavailable:
            pass  # whose outage is logged where it is asked
        finally:
            followed.looking = False
            followed.rests_until = self._clock.seconds() + rest
            self._looking -= 1
            if self._is_followed(followed):
                self._look_in(followed, again)
            if self._looking == MOST_LOOKS - 1:
                self._wake_by(self._clock.seconds())

    def _is_followed(self, followed: _Followed) -> bool:
        return self._followed.get(topic_channel(self._db, followed.topic)) is followed

    def _take(self, followed: _Followed, look: Look, heard: int) -> bool:
        if not followed.copy.looked(look, heard, self._clock.seconds()):
            return False
        followed.lag = self._chance.uniform(0.005, LAG_SECONDS)
        followed.joins_at = self._clock.seconds() + 0.75 * POLL_SECONDS
        if look.entries is not None:
            followed.sightings = None
        followed.showing.soon(len(followed.copy), sooner=True)
        return True

    def _poll_seconds(self) -> float:
        return POLL_SECONDS * self._chance.uniform(0.75, 1)

    def _show_now(self, followed: _Followed) -> None:
        now = self._clock.seconds()
        sightings = followed.sightings
        if sightings is None:
            # Hundreds are made and sorted here: most of what a client that does nothing would do.
            sightings = followed.sightings = followed.copy.sightings(now, self._source())
        self._crowd.shown([sighting.record.instance for sighting in sightings], self._ours, now)
        self._show(followed.topic, sightings)
