"""
The state of one subscription: one connection after the other to one publisher, and the filters it has to hear of.

Filters are subscribed to as soon as the connection stands, and after them a **token**: when that comes back, every
filter before it is in place (docs/spec/wire, Through a publisher proxy). A publisher repeats the counter of each filter
once a second, so silence means that it is gone, and it is connected to anew.

============  ================================================  ==========
phase         event                                             next
============  ================================================  ==========
IDLE          open                                              CONNECTING
CONNECTING    connected                                         UP
CONNECTING    lost, or not connected in time                    BACKOFF
UP            lost, or nothing heard for 3 s                    BACKOFF
BACKOFF       its time is up                                    CONNECTING
any           close                                             IDLE
============  ================================================  ==========
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.backoff import backoff
from zmqrpc.core.keys import token_key


class Open(Struct, frozen=True):
    """Make a socket and connect it; `SubscriptionState.connected` or `lost` tells what came of it."""

    attempt: int


class Subscribe(Struct, frozen=True):
    """Subscribe to a filter."""

    filter: bytes


class Unsubscribe(Struct, frozen=True):
    """Take the subscription to a filter back."""

    filter: bytes


class Confirmed(Struct, frozen=True):
    """Tell the owner that `SubscriptionState.confirmed` has grown."""


class Close(Struct, frozen=True):
    """Close the socket; there may be none."""


class Lost(Struct, frozen=True):
    """Tell the owner that nothing is heard of the publisher until the next `Confirmed`."""

    reason: str


Effect: TypeAlias = Open | Subscribe | Unsubscribe | Confirmed | Close | Lost


class SubscriptionTimers(Struct, frozen=True):
    """
    The times of a subscription in seconds.

    :ivar connect: from the look-up of its host name until the handshake is done.
    :ivar silence: of a publisher, after which it is connected to anew; also from a token until another one is
        subscribed, since a publisher drops what a full connection does not take.
    :ivar doubt: from the end of that silence until it counts: where our reactor was blocked, what came meanwhile is
        read in between.
    :ivar late: by which a tick may be late and still judge the publisher: what it said may not have been read.
    :ivar grace: that a publisher gets when a tick is later.
    :ivar steady: that a connection has to be up for the back-off to begin anew.
    :ivar backoff: until a publisher is connected to again, doubled for each connection in a row that came to nothing;
        up to half of it is taken off at random.
    :ivar longest_backoff: to which that grows; one that is back is to be found within two seconds.
    """

    connect: float = 2.0
    silence: float = 3.0
    doubt: float = 0.1
    late: float = 0.5
    grace: float = 1.0
    steady: float = 1.0
    backoff: float = 0.1
    longest_backoff: float = 1.5


class SubscriptionPhase(Enum):
    """Where a subscription stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    UP = "up"
    BACKOFF = "backing off"


class SubscriptionState:
    """
    One subscription.

    :param random_bytes: gives 16 random bytes, a new token each time.
    :param jitter: gives a number from 0.5 to 1, by which a back-off is multiplied.
    :ivar phase: where it stands.
    :ivar asked: how often filters were added; who adds some is served when `confirmed` has come to this number.
    :ivar confirmed: up to which of them the publisher has confirmed them; -1 while it has confirmed nothing on this
        connection.
    :ivar trouble: why the last connection failed, for log and errors; empty when none did.
    :ivar heard_at: when something was heard last; the shell sets it on every message.
    """

    __slots__ = (
        "_asked_at",
        "_doubted_at",
        "_doubted_until",
        "_fails",
        "_filters",
        "_jitter",
        "_random_bytes",
        "_timers",
        "_tokens",
        "_until",
        "_up_at",
        "asked",
        "attempt",
        "confirmed",
        "heard_at",
        "phase",
        "trouble",
    )

    def __init__(
        self,
        random_bytes: Callable[[], bytes],
        jitter: Callable[[], float],
        timers: SubscriptionTimers = SubscriptionTimers(),  # noqa: B008 (it is frozen)
    ) -> None:
        self.phase = SubscriptionPhase.IDLE
        self.asked = 0
        self.confirmed = -1
        self.attempt = 0
        self.trouble = ""
        self.heard_at = -NEVER
        self._random_bytes = random_bytes
        self._jitter = jitter
        self._timers = timers
        self._filters: dict[bytes, None] = {}
        self._tokens: dict[bytes, int] = {}
        self._fails = 0
        self._until = self._asked_at = self._up_at = NEVER
        # What `heard_at` was when silence was noticed, and until when that is not believed.
        self._doubted_at = self._doubted_until = NEVER

    @property
    def fails(self) -> int:
        """How many connections in a row have come to nothing."""
        return self._fails

    @property
    def refused(self) -> bool:
        """Whether nobody is there: two connections in a row have come to nothing, and none stands."""
        return self._fails >= 2 and self.phase is not SubscriptionPhase.UP

    @property
    def filters(self) -> Iterable[bytes]:
        """What it has to hear of, in the order it was asked for."""
        return self._filters.keys()

    @property
    def current(self) -> bool:
        """Whether the publisher has confirmed every filter."""
        return self.confirmed == self.asked

    def asks_by(self, token: bytes) -> bool:
        """Tell whether a token, given as its filter, is one of its own that was not answered yet."""
        return token in self._tokens

    @property
    def wake_at(self) -> float:
        """When `tick` has to be called next; infinity for never."""
        if self.phase is not SubscriptionPhase.UP:
            return self._until
        # Without a filter nothing is heard, and nothing is missed.
        due = self._silent_at if self._filters or self._tokens else NEVER
        return due if self._doubted_at == self.heard_at else min(due, self._asked_at + self._timers.silence)

    # What its owner wants

    def open(self, now: float) -> list[Effect]:
        """Begin; a subscription that has begun goes on."""
        return self._connect(now) if self.phase is SubscriptionPhase.IDLE else []

    def close(self) -> list[Effect]:
        """End; it can be opened again."""
        self._reset(SubscriptionPhase.IDLE)
        self._until = NEVER
        return [Close()]

    def subscribe(self, filters: Iterable[bytes], now: float) -> list[Effect]:
        """Hear of these filters as well; those it has already change nothing."""
        new = [filter for filter in dict.fromkeys(filters) if filter not in self._filters]
        if not new:
            return []
        if not self._filters and not self._tokens:
            # So far nothing was to be heard.
            self.heard_at = now
        self._filters.update(dict.fromkeys(new))
        self.asked += 1
        if self.phase is not SubscriptionPhase.UP:
            return []
        return [*map(Subscribe, new), *self._ask(now)]

    def unsubscribe(self, filters: Iterable[bytes]) -> list[Effect]:
        """Hear of these filters no more."""
        old = [filter for filter in dict.fromkeys(filters) if filter in self._filters]
        for filter in old:
            del self._filters[filter]
        return [*map(Unsubscribe, old)] if self.phase is SubscriptionPhase.UP else []

    # What the connection does

    def connected(self, now: float) -> list[Effect]:
        """The connection stands."""
        if self.phase is not SubscriptionPhase.CONNECTING:
            return []
        self.phase = SubscriptionPhase.UP
        self.heard_at = self._up_at = now
        return [*map(Subscribe, self._filters), *self._ask(now)]

    def returned(self, token: bytes, now: float) -> list[Effect]:
        """
        Take that the publisher has answered a token.

        :param token: its filter.
        """
        number = self._tokens.get(token)
        if number is None:
            return []
        # Those before it are answered with it.
        answered = [token for token, before in self._tokens.items() if before <= number]
        for token in answered:
            del self._tokens[token]
        if not self._tokens:
            self._asked_at = NEVER
        self.confirmed = number
        self.trouble = ""
        return [*map(Unsubscribe, answered), Confirmed()]

    def lost(self, now: float, reason: str) -> list[Effect]:
        """The connection has ended, or could not be made."""
        if self.phase not in (SubscriptionPhase.CONNECTING, SubscriptionPhase.UP):
            return []
        if self.phase is SubscriptionPhase.UP and self.confirmed >= 0 and now - self._up_at >= self._timers.steady:
            self._fails = 0
        self.trouble = reason
        wait = backoff(self._timers.backoff, self._fails, self._timers.longest_backoff)
        self._fails += 1
        self._reset(SubscriptionPhase.BACKOFF)
        self._until = now + wait * self._jitter()
        return [Close(), Lost(reason)]

    # Time

    @property
    def _silent_at(self) -> float:
        return self._doubted_until if self._doubted_at == self.heard_at else self.heard_at + self._timers.silence

    def tick(self, now: float) -> list[Effect]:
        """Do what time asks for; to be called at `wake_at` or later."""
        timers = self._timers
        late = now - self.wake_at
        if late < 0:
            return []
        if self.phase is SubscriptionPhase.BACKOFF:
            return self._connect(now)
        if late >= timers.late:
            self._excuse(now)
            return []
        if self.phase is SubscriptionPhase.CONNECTING:
            return self.lost(now, f"not connected within {timers.connect:g} s: stopped, blocked or cut off")
        if now >= self._silent_at:
            if self._doubted_at != self.heard_at:
                self._doubted_at, self._doubted_until = self.heard_at, now + timers.doubt
                return []
            what = "its subscriptions" if self.confirmed < 0 else "any filter"
            return self.lost(now, f"heard nothing of {what} for {timers.silence:g} s")
        return self._ask(now)

    # Transitions

    def _connect(self, now: float) -> list[Effect]:
        self.phase = SubscriptionPhase.CONNECTING
        self.attempt += 1
        self._until = now + self._timers.connect
        return [Open(self.attempt)]

    def _ask(self, now: float) -> list[Effect]:
        """Subscribe to a token, in place of those for the same filters."""
        effects: list[Effect] = []
        for token, number in list(self._tokens.items()):
            if number == self.asked:
                del self._tokens[token]
                effects.append(Unsubscribe(token))
        token = token_key(self._random_bytes())
        self._tokens[token] = self.asked
        self._asked_at = now
        return [*effects, Subscribe(token)]

    def _excuse(self, now: float) -> None:
        """Judge the publisher later: we have not read for a while ourselves."""
        timers = self._timers
        if self.phase is SubscriptionPhase.CONNECTING:
            self._until = now + timers.grace
            return
        self.heard_at = max(self.heard_at, now - timers.silence + timers.grace)
        if self._tokens:
            self._asked_at = max(self._asked_at, now - timers.silence + timers.grace)

    def _reset(self, phase: SubscriptionPhase) -> None:
        self.phase = phase
        self.confirmed = -1
        self._tokens.clear()
        self._asked_at = NEVER
