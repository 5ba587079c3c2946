"""What becomes of a fan-out that not all have taken, and what is raised for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import oslo_messaging
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import (
    ClientClosed,
    DeliveryError,
    Journey,
    NoRoute,
    Overloaded,
    RemoteError,
    ServerLost,
    ZmqRpcError,
)
from zmqrpc.members import Reached
from zmqrpc.notifier import _summed
from zmqrpc.oslo.attempts import Attempts
from zmqrpc.oslo.calling import _all_reached
from zmqrpc.oslo.failures import raised_for

ONE, TWO, THREE = ("one", "1" * 32), ("two", "2" * 32), ("three", "3" * 32)


def missing(*errors: DeliveryError) -> Any:
    return tuple((*who, error) for who, error in zip((TWO, THREE), errors, strict=False))


class FanoutTests(SynchronousTestCase):
    def error(self, reached: Reached) -> DeliveryError:
        return self.assertRaises(DeliveryError, _all_reached, reached)  # type: ignore[no-any-return]

    def test_all(self) -> None:
        _all_reached(Reached((ONE, TWO)))
        _all_reached(Reached((ONE,), published=(TWO,)))

    def test_nobody(self) -> None:
        """It may be sent again."""
        error = self.error(Reached(missing=missing(Overloaded("full", Journey("x")))))
        self.assertIsInstance(error, Overloaded)
        self.assertFalse(error.maybe_executed)
        self.assertEqual(error.reason, "full")

    def test_some(self) -> None:
        """Where somebody has it, or may have it, it is not sent again; the others are counted."""
        full, lost = Overloaded("full", Journey("x")), ServerLost("gone", Journey("y"), maybe_executed=True)
        for reached in (
            Reached((ONE,), missing(full)),
            Reached(missing=missing(full), published=(ONE,)),
            Reached(missing=missing(full, lost)),
        ):
            error = self.error(reached)
            self.assertIsInstance(error, Overloaded)
            self.assertTrue(error.maybe_executed)
            others = len(reached.missing) - 1
            self.assertEqual(error.reason, "full (and 1 more did not take it)" if others else "full")
            self.assertFalse(full.maybe_executed)


class SummedTests(SynchronousTestCase):
    def test_cancelled_in_a_pause(self) -> None:
        """What is sent to several pools ends when it is cancelled, also where one of them waits to be tried again."""
        clock = Clock()
        full = Attempts(clock, lambda timeout: fail(Overloaded("full")), 10.0, None, (Overloaded,)).begin()
        summed = _summed([full, Deferred()])
        summed.cancel()
        self.failureResultOf(summed)
        self.assertEqual(clock.getDelayedCalls(), [])


class RaisedTests(SynchronousTestCase):
    def test_may_have_run(self) -> None:
        """A call that may have run is no failed delivery: who sees one may repeat it."""
        closed = ClientClosed("stopped", Journey("x"), maybe_executed=True)
        self.assertIsInstance(raised_for(closed, (), True), oslo_messaging.MessagingTimeout)
        for error, is_call in ((ClientClosed("stopped", Journey("x")), True), (closed, False), (NoRoute("no"), True)):
            self.assertIsInstance(raised_for(error, (), is_call), oslo_messaging.MessageDeliveryFailure)

    def test_whatever_else(self) -> None:
        """Each error of ours is one of oslo.messaging's."""
        for kind in _every_kind(ZmqRpcError):
            error = kind("Type", "it is so") if issubclass(kind, RemoteError) else kind("it is so")
            for is_call in (False, True):
                raised = raised_for(error, (), is_call)
                self.assertIsInstance(raised, oslo_messaging.MessagingException)
                self.assertIn("it is so", str(raised))


def _every_kind(kind: type[ZmqRpcError]) -> Iterable[type[ZmqRpcError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _every_kind(each)
