"""What is sent again when it could not be sent: what ``retry`` means here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from zmqrpc.errors import DeliveryError

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between two tries; each pause is twice the one before."""

LAST = 0.2
"""Seconds before the end at which it is sent for the last time, so that it is still heard that it was refused."""


class Attempts:
    """
    One message, sent again as long as it may be taken later and has not run, or may run more than once.

    That is so while nobody is known and the matchmaker is away, and of requests also while who should have them has too
    much to do. A broker would keep them meanwhile; here their sender does.

    :param reactor: in which it is sent.
    :param send: sends it, given the seconds that are left as ``timeout``.
    :param seconds: for which all of it may take, from now on.
    :param most: how often it is sent again at most; None, or less than 0, for as often as there is time for.
    :param later: the errors after which it is sent again if it has not run.
    :param even_if_run: those after which it is sent again all the same.
    """

    __slots__ = ("_even_if_run", "_later", "_left", "_pause", "_reactor", "_send", "_until")

    def __init__(
        self,
        reactor: Any,
        send: Callable[..., Deferred[Any]],
        seconds: float,
        most: int | None,
        later: tuple[type[DeliveryError], ...],
        even_if_run: tuple[type[DeliveryError], ...] = (),
    ) -> None:
        self._reactor = reactor
        self._send = send
        self._later = later
        self._even_if_run = even_if_run
        self._left = float("inf") if most is None or most < 0 else most
        self._pause = FIRST_PAUSE
        # Of who waits for it, whatever the reactor does meanwhile.
        self._until = reactor.seconds() + seconds

    def begin(self) -> Deferred[Any]:
        """Send it; in the reactor."""
        return self._again()

    def _failed(self, failure: Failure) -> Any:
        error = failure.value
        again = isinstance(error, self._even_if_run) or (isinstance(error, self._later) and not error.maybe_executed)
        if not again or self._left <= 0:
            return failure
        left = self._until - self._reactor.seconds() - LAST
        if left <= 0:
            return failure
        pause, self._pause = min(self._pause, left), min(2 * self._pause, LONGEST_PAUSE)
        self._left -= 1
        return deferLater(self._reactor, pause, self._again)

    def _again(self) -> Deferred[Any]:
        left = max(0.0, self._until - self._reactor.seconds())
        return self._send(timeout=left).addErrback(self._failed)
