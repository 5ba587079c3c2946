"""Calls that are pending: what tests of their table begin with."""

from __future__ import annotations

from zmqrpc.core.call import PendingCall
from zmqrpc.core.envelope import Kind
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.retry import RetryPolicy
from zmqrpc.target import Target

NOW = 1000.0
TARGET = Target(topic="compute")
POLICY = RetryPolicy(base=15, multiplier=2, attempts=3)


def make_call(deadline: float = NOW + 60) -> PendingCall:
    call = PendingCall()
    call.begin(Kind.CALL, TARGET, b"", deadline)
    return call


def make_pending(calls: int = 0, policy: RetryPolicy | None = POLICY, window: int = 1000) -> PendingCalls[PendingCall]:
    pending: PendingCalls[PendingCall] = PendingCalls(window, policy)
    for _ in range(calls):
        pending.hand_over(make_call(), NOW)
    return pending


def sequences(calls: list[PendingCall]) -> list[int]:
    return [call.sequence for call in calls]
