"""What processes of a simulated system have asked of others."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.python.failure import Failure

from zmqrpc.errors import DeliveryError
from zmqrpc.members import Answer
from zmqrpc.testing import History

_HANDED_OVER = DeliveryError("it was handed to the connection, which is all that is known", maybe_executed=True)
"""What a cast brings without acknowledgements, in the words of the history."""


class Asked:
    """
    Writes down what is asked, and what is told.

    :param seconds: the time by no process's clock.
    :ivar faults: what only the one who asks sees.
    :ivar until: when the last of all that was asked has to have ended.
    """

    def __init__(self, history: History, seconds: Callable[[], float]) -> None:
        self.faults: list[str] = []
        self.until = 0.0
        self._open: dict[int, tuple[Any, str]] = {}
        self._history = history
        self._seconds = seconds
        self._numbers = count()

    @property
    def waits(self) -> bool:
        """Whether anything has not ended whose process lives."""
        return any(not process.clock.stopped for process, _ in self._open.values())

    def begin(self, process: Any, kind: str, timeout: float, **facts: Any) -> int:
        """Take that a process is about to ask something; return its id. See `History.invoke`."""
        number = next(self._numbers)
        self._open[number] = process, kind
        self.until = max(self.until, self._seconds() + timeout)
        self._history.invoke(number, process.instance.hex(), kind, timeout, **facts)
        return number

    def ended(self, outcome: Any, number: int) -> Any:
        """Take what it brought; return that, and no failure."""
        process, kind = self._open.pop(number)
        outcome = outcome.value if isinstance(outcome, Failure) else outcome
        early = kind == "cast" and not process.settings.rpc_use_acks and outcome is None
        self._history.ended(number, _HANDED_OVER if early else _light(outcome))
        return outcome


def _light(outcome: Any) -> Any:
    """Return an outcome with what tells of the run alone in its answers, and not the ballast."""
    if type(outcome) is not list:
        return outcome
    if all(type(each) is Answer for each in outcome):
        return [each._replace(result=_light(each.result)) for each in outcome]
    return outcome[:2]
