"""When a connection counts as made."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.connector import Connector
from zmqrpc.core.link import LinkState
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.test.core.link_states import grow_late

OPENING = 0.03
"""Seconds that opening a socket takes where the processors are busy."""


class Slow:
    """A transport, its socket, and the clock, which goes on while that is opened."""

    def __init__(self) -> None:
        self.now = 100.0

    def seconds(self) -> float:
        return self.now

    def connecting_router(self, receiver: object) -> Slow:
        self.now += OPENING
        return self

    def connect(self, address: str) -> bytes:
        return b"way"

    def send(self, identity: bytes, payload: bytes) -> int:
        raise AssertionError("nothing is to be sent")

    def kick(self) -> None:
        pass


class End:
    """What has a connection."""

    address = "ipc:///somewhere"
    attempt = 1

    def __init__(self) -> None:
        self.state = LinkState(bytes(16), lambda: 1.0, LinkTimers())
        self.state.wanted(100.0)
        self.performed: list[float] = []

    def perform(self, effects: list[Any], now: float) -> None:
        self.performed.append(now)


class ConnectorTests(SynchronousTestCase):
    def test_opening_takes_none_of_the_peers_time(self):
        """A peer has its 50 ms to answer from HELLO on, and not from before there was a socket to send that by."""
        slow: Any = Slow()
        end = End()
        Connector(slow, None, slow.seconds).connect(end, {})
        self.assertEqual(end.performed, [100.0 + OPENING])
        self.assertAlmostEqual(grow_late(end.state), 100.0 + OPENING + LinkTimers().late)
