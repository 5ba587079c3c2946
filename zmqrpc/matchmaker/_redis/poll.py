"""Asking several stores the same, and not waiting for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from zmqrpc.matchmaker._redis.union import PATIENCE_SECONDS

Answer = TypeVar("Answer")


class Poll(Generic[Answer]):
    """
    The answers of several stores to one question: a list with the answer, the failure, or None of each.

    It is over when all have answered. It is over sooner when the answers that there are will do, and no other is worth
    waiting for: none is for longer than `PATIENCE_SECONDS` after the first that will do.

    :param asked: the answers to come.
    :param awaited: which of them are waited for when others will do.
    :param will_do: tells whether answers will do.
    :ivar over: fires with the answers; cancelling it cancels what was asked.
    """

    def __init__(
        self,
        clock: IReactorTime,
        asked: Sequence[Deferred[Answer]],
        awaited: Sequence[bool],
        will_do: Callable[[list[Answer | Failure | None]], bool],
    ) -> None:
        self.over: Deferred[list[Answer | Failure | None]] = Deferred(self._cancelled)
        self._clock = clock
        self._asked = asked
        self._awaited = list(awaited)
        self._will_do = will_do
        self._answers: list[Any] = [None] * len(asked)
        self._missing = set(range(len(asked)))
        self._timer: IDelayedCall | None = None
        self._ended = False
        for number, answer in enumerate(asked):
            answer.addBoth(self._answered, number)

    def _answered(self, answer: Answer | Failure, number: int) -> None:
        self._answers[number] = answer
        self._missing.discard(number)
        if not self._ended:
            self._look()

    def _look(self) -> None:
        if not self._missing:
            self._end()
        elif self._will_do(self._answers):
            if not any(self._awaited[number] for number in self._missing):
                self._end()
            elif self._timer is None:
                self._timer = self._clock.callLater(PATIENCE_SECONDS, self._impatient)

    def _impatient(self) -> None:
        self._awaited = [False] * len(self._asked)
        self._look()

    def _end(self) -> None:
        self._stop()
        self.over.callback(list(self._answers))

    def _stop(self) -> None:
        self._ended = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _cancelled(self, _: object) -> None:
        self._stop()
        for answer in self._asked:
            answer.cancel()
