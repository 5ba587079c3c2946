"""Asking together what is asked at about the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from zmqrpc.errors import MatchmakerUnavailable

GATHER_SECONDS = 0.01
"""
Seconds for which is gathered while something is under way. So no more than a hundred operations of a kind wait where
each takes a second at most, unless thousands of records or topics are asked at once.
"""

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Gathering(Generic[Asked, Answer]):
    """
    What is asked in one turn of the reactor is asked in one operation.

    :param ask: asks several; its Deferred has an answer for each, or the error that is its own.
    :param most: how many one operation may have.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ask: Callable[[Sequence[Asked]], Deferred[list[Answer | MatchmakerUnavailable]]],
        most: int,
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._most = most
        self._waiting: list[tuple[Asked, Deferred[Answer]]] = []
        self._under_way = 0
        self._timer: IDelayedCall | None = None

    def ask(self, asked: Asked) -> Deferred[Answer]:
        """Ask soon; the Deferred fails as the operation does, or with the error that is its own."""
        deferred: Deferred[Answer] = Deferred()
        self._waiting.append((asked, deferred))
        if self._timer is None:
            self._timer = self._clock.callLater(GATHER_SECONDS if self._under_way else 0, self._go)
        return deferred

    def close(self) -> None:
        """Ask now, and never again, what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._go()

    def _go(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, []
        waiting = [(asked, deferred) for asked, deferred in waiting if not deferred.called]  # others were cancelled
        for first in range(0, len(waiting), self._most):
            some = waiting[first : first + self._most]
            self._under_way += 1
            self._ask([asked for asked, _ in some]).addBoth(self._answered, [deferred for _, deferred in some])

    def _answered(
        self, answers: list[Answer | MatchmakerUnavailable] | Failure, deferreds: list[Deferred[Answer]]
    ) -> None:
        self._under_way -= 1
        if isinstance(answers, Failure):
            error = answers.value
            for deferred in deferreds:
                # One of its own, since an error that is raised again and again grows.
                deferred.errback(copy(error) if isinstance(error, MatchmakerUnavailable) else answers)
            return
        for deferred, answer in zip(deferreds, answers, strict=True):
            if isinstance(answer, MatchmakerUnavailable):
                deferred.errback(answer)
            else:
                deferred.callback(answer)
