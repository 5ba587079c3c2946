"""What a double is told to expect, and how it is to answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from zmqrpc.testing.asked import spell


class FakeCall(NamedTuple):
    """
    A call that came to a double.

    :ivar method: the name of the method.
    :ivar arguments: its arguments by name.
    :ivar context: the context of the caller.
    """

    method: str
    arguments: dict[str, Any]
    context: dict[str, Any]


class Expectation:
    """
    What is to come and how it is answered; made by `Fake.expect` and `Fake.allow`.

    Its methods return it, so that they can be written one after the other. Without any the answer is None.

    :param arguments: None for whatever they are.
    :param clock: what `after` waits by.
    :ivar came: how many calls it has answered.
    """

    def __init__(self, method: str, arguments: dict[str, Any] | None, clock: Any) -> None:
        self._method = method
        self._arguments = arguments
        self._clock = clock
        self._delay = 0.0
        self._answer: Callable[..., Any] = lambda **arguments: None
        self._words = "returns None"
        self.came = 0

    def returns(self, result: Any) -> Expectation:
        """Answer with a result."""
        self._answer, self._words = lambda **arguments: result, f"returns {result!r}"
        return self

    def raises(self, error: BaseException) -> Expectation:
        """
        Answer with an error.

        :param error: of any type; the caller gets a `RemoteError` with its type's name and its text.
        """

        def fail(**arguments: Any) -> None:
            raise error

        self._answer, self._words = fail, f"raises {error!r}"
        return self

    def does(self, answer: Callable[..., Any]) -> Expectation:
        """
        Answer with what a callable returns or raises.

        :param answer: takes the arguments by name; may return a Deferred.
        """
        self._answer, self._words = answer, "does what the test says"
        return self

    def never_answers(self) -> Expectation:
        """Run for ever: the caller's deadline ends the call."""
        self._answer, self._words = lambda **arguments: Deferred(), "never answers"
        return self

    def after(self, seconds: float) -> Expectation:
        """Answer only when this time has passed."""
        self._delay = seconds
        return self

    def fits(self, call: FakeCall) -> bool:
        """Tell whether a call is the one that is meant."""
        return self._method == call.method and self._arguments in (None, call.arguments)

    def answer(self, call: FakeCall) -> Any:
        """Do what it was told to."""
        self.came += 1
        if self._delay > 0:
            return deferLater(self._clock, self._delay, self._answer, **call.arguments)
        return self._answer(**call.arguments)

    def differs(self, call: FakeCall) -> list[str]:
        """Say how a call of the same method differs; empty for one of another method."""
        if self._method != call.method or self._arguments is None:
            return []
        missing = object()
        differences = []
        for name in {**self._arguments, **call.arguments}:
            wanted, got = self._arguments.get(name, missing), call.arguments.get(name, missing)
            if wanted is missing:
                differences.append(f"{name} is not expected")
            elif got is missing:
                differences.append(f"{name} is missing")
            elif wanted != got:
                differences.append(f"{name} is {got!r}, expected {wanted!r}")
        return differences

    def __str__(self) -> str:
        """Return what is to come and how it is answered."""
        call = f"{self._method}(...)" if self._arguments is None else spell(self._method, self._arguments)
        delay = f" after {self._delay:g} s" if self._delay > 0 else ""
        return f"{call}, which {self._words}{delay}"
