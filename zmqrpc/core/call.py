"""
One request that has not ended, and how far it got.

Hot path: each call sets the fields of one (`PendingCall.begin` and `zmqrpc.core.pending.PendingCalls.hand_over`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import Flag, Outline, outline
from zmqrpc.target import Pool, Target

_MOST_READ = 2**20


class Stage(IntEnum):
    """How far a call got, which its error tells; where a link stands is its `zmqrpc.core.link.Phase`."""

    RESOLVING = 0
    QUEUED = 1
    SENT = 2
    ACKNOWLEDGED = 3
    RUNNING = 4


class Loss(NamedTuple):
    """
    How an instance has taken a request with it.

    :ivar link: the link to that instance.
    :ivar why: how it was lost, a clause of a sentence.
    :ivar sequence: the number that the request had there.
    :ivar stage: how far it had got there.
    """

    link: Any
    why: str
    sequence: int
    stage: Stage


class PendingCall:
    """
    One request that has not ended.

    :ivar kind: CALL, CAST, FANOUT or NOTIFY of `Kind`; a plain int, since msgspec takes longer for an enum.
    :ivar target: where its caller sent it; of a notification the pool.
    :ivar deadline: when it ends at the latest, by the node's monotonic clock.
    :ivar flags: bits of `Flag`.
    :ivar wait_for_ready: whether it waits for somebody to listen.
    :ivar encoded: the whole request as bytes; sequence, attempt and remaining time in it are those of the first
        hand-over.
    :ivar route: the route its links are chosen from, None when it may only go where it is.
    :ivar link: the link it was given to, None before that.
    :ivar stage: how far it got.
    :ivar sequence: its number in the pair, 0 before it is handed over.
    :ivar attempts: how often it was handed over under this number.
    :ivar retry_at: when it is sent again unless acknowledged.
    :ivar tried: the links that refused it.
    :ivar trouble: what went wrong last, for the error text.
    :ivar stopping: which member did not take it because it stops, for the error text; empty when none.
    :ivar may_have_run: whether another instance may have run it: one that is gone (it is idempotent, and went on), or
        gave it back.
    :ivar crowded: which member had no room for it, for the error text; empty when none.
    :ivar moves: how often it was sent to another instance that might have had it, or was refused it for want of room.
    :ivar loss: how it was lost last, if it may go on since it is idempotent; None of any other. When nobody takes it
        after that, this is how it ends.
    :ivar owes: whether nobody was known who could have it again: whoever is found gets it as a repetition, which has to
        be in the budget then.
    :ivar rounds: how often everybody who could take it has given it back.
    :ivar began: when it was made, by the node's monotonic clock, if it had to wait; None if it did not.
    :ivar ended: whether its caller has been told an error; it must not be sent any more.
    :ivar monitor: for how long its instance may be silent, in seconds, 0 for ever; None for as long as for any other.
    :ivar monitored_from: when it was made, if it has a `monitor`: what its instance did not say before does not count.
    :ivar named: how often it had been handed over under this number when its instance named it last, in ACK or BEAT; 0
        before that.
    :ivar put_off: when it had been named last, None if never, and `retry_at`, as its repetition was put off last.
    """

    kind: int
    target: Target | Pool
    deadline: float
    flags: int
    wait_for_ready: bool
    route: Any
    encoded: bytes
    link: Any
    stage: Stage
    sequence: int
    attempts: int
    retry_at: float
    # Not every call needs them. What has a default in the class is slower to set and to read (CPython 3.11).
    tried: tuple[str, ...] = ()
    trouble: str = ""
    may_have_run: bool = False
    ended: bool = False
    stopping: str = ""
    crowded: str = ""
    moves: int = 0
    loss: Loss | None = None
    owes: bool = False
    rounds: int = 0
    monitor: float | None = None
    monitored_from: float = 0.0
    named: int = 0
    put_off: tuple[float | None, float] = (None, NEVER)
    began: float | None = None

    def begin(self, kind: int, target: Target | Pool, encoded: bytes, deadline: float, flags: int = 0) -> None:
        """Set what has no default, as of one that goes where it is given to."""
        self.kind = kind
        self.target = target
        self.deadline = deadline
        self.flags = flags
        self.wait_for_ready = False
        self.route = None
        self.unsent(encoded)

    def unsent(self, encoded: bytes, link: Any = None, stage: Stage = Stage.RESOLVING) -> None:
        """
        Take that it has not been handed over, or not to the instance that it will go to.

        :param encoded: the whole request as bytes, under any number.
        :param link: the link it waits for.
        """
        self.encoded = encoded
        self.link = link
        self.stage = stage
        self.sequence = self.attempts = 0
        self.retry_at = NEVER
        if self.named:
            self.named = 0

    @property
    def idempotent(self) -> bool:
        """Whether it may run more than once."""
        return bool(self.flags & Flag.IDEMPOTENT)

    @property
    def tries(self) -> int:
        """How often it was handed over since its instance named it last, that time included."""
        return self.attempts - self.named + 1 if self.named else self.attempts

    @property
    def outline(self) -> Outline | None:
        """What it asks for; None of a lookup, and of one so large that to look would take long."""
        return outline(self.encoded) if 0 < len(self.encoded) <= _MOST_READ else None

    @property
    def handed_over_at(self) -> float | None:
        """When it was first handed over under its number; None before that, and where nobody has looked."""
        read = self.outline if self.sequence else None
        return None if read is None else self.deadline - read.remaining / 1000

    @property
    def made_at(self) -> float | None:
        """When it was made; None where it is so large that nobody has looked, and it did not wait."""
        # Noting the time would cost every call; it is in the request, as what was left then.
        return self.handed_over_at if self.began is None else self.began
