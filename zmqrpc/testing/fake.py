"""A server's double for the tests of clients: it answers as it is told, and knows what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from types import EllipsisType
from typing import Any

from zmqrpc.dispatcher import Dispatcher, expose
from zmqrpc.errors import ConfigError
from zmqrpc.testing.asked import spell
from zmqrpc.testing.expectation import Expectation, FakeCall
from zmqrpc.threads import Threads


class UnexpectedCall(AssertionError):
    """A double was called as nobody has told it to expect; its caller gets it as a `RemoteError`."""


class Fake:
    """
    A double of one server.

    What it is told to expect has to come, each exactly once and in any order; what it is told to allow may come at any
    time, any number of times. Everything else fails the call, and `verify`.

    :param like: an endpoint's class, whose methods, parameters and `target` the double takes over: a call that would
        not fit there does not fit here. Or names of methods, which then take any arguments.
    :param name: what the texts of failures call it.
    :param clock: what `Expectation.after` waits by, a clock or a reactor.
    :ivar endpoint: the object to serve.
    :ivar node: the `MemoryNode` that serves it, when `Network.fake` made it.
    :ivar calls: everything that came, in order.
    :raises ConfigError: there is nothing to be like.
    """

    def __init__(self, *like: type | str, name: str, clock: Any) -> None:
        self.node: Any = None
        self.calls: list[FakeCall] = []
        self.endpoint = _endpoint_like(like, self._take)
        self._name = name
        self._clock = clock
        self._expected: list[Expectation] = []
        self._allowed: list[Expectation] = []
        self._unexpected: list[tuple[FakeCall, str]] = []

    def expect(self, method: str, /, *any_arguments: EllipsisType, **arguments: Any) -> Expectation:
        """
        Expect one call.

        :param any_arguments: three dots, ``expect("add", ...)``: whatever the arguments are.
        :param arguments: the arguments that it has to have, exactly these; `unittest.mock.ANY` for any value.
        :raises ConfigError: the double has no such method.
        """
        self._expected.append(self._expectation(method, any_arguments, arguments))
        return self._expected[-1]

    def allow(self, method: str, /, *any_arguments: EllipsisType, **arguments: Any) -> Expectation:
        """Allow a call, any number of times; parameters as for `expect`."""
        self._allowed.append(self._expectation(method, any_arguments, arguments))
        return self._allowed[-1]

    def verify(self) -> None:
        """
        Check that everything came that was expected, and nothing else.

        :raises AssertionError: it did not; the text has what is missing, what came, and how it differs.
        """
        faults = self.faults()
        if faults:
            raise AssertionError("\n".join(faults))

    def faults(self) -> list[str]:
        """Say what is missing and what was not expected, one line each; empty when all is well."""
        missing = [f"{expectation}" for expectation in self._expected if not expectation.came]
        if not missing and not self._unexpected:
            return []
        unexpected = [f"{spell(call.method, call.arguments)}: {why}" for call, why in self._unexpected]
        came = [spell(call.method, call.arguments) for call in self.calls]
        return [
            *(f"{self._name} was to be called, and was not: {text}" for text in missing),
            *(f"{self._name} was not to be called: {text}" for text in unexpected),
            f"{self._name} was called in this order: {', '.join(came) or 'not at all'}",
        ]

    def _expectation(self, method: str, any_arguments: tuple[Any, ...], arguments: dict[str, Any]) -> Expectation:
        if not hasattr(self.endpoint, method):
            raise ConfigError(f"the double of {self._name} has no method {method!r}; name it when the double is made")
        if any_arguments not in ((), (...,)) or (any_arguments and arguments):
            raise ConfigError(f"give the arguments of {method} by name, or three dots for whatever they are")
        return Expectation(method, None if any_arguments else arguments, self._clock)

    def _take(self, call: FakeCall, signature: Signature | None) -> Any:
        self.calls.append(call)
        if signature is not None:
            try:
                signature.bind(call.context, **call.arguments)
            except TypeError as error:
                self._unexpected.append((call, f"it does not fit, {error}"))
                raise
        for expectation in self._expected:
            if not expectation.came and expectation.fits(call):
                return expectation.answer(call)
        for expectation in self._allowed:
            if expectation.fits(call):
                return expectation.answer(call)
        why = self._why_not(call)
        self._unexpected.append((call, why))
        raise UnexpectedCall(f"{spell(call.method, call.arguments)} was not expected: {why}")

    def _why_not(self, call: FakeCall) -> str:
        if any(expectation.fits(call) for expectation in self._expected):
            return "it was expected once, and came before"
        waiting = [expectation for expectation in self._expected if not expectation.came]
        near = [differences for each in [*waiting, *self._allowed] if (differences := each.differs(call))]
        if near:
            nearest: list[str] = min(near, key=len)
            return "; ".join(nearest)
        return f"expected is {' and '.join(str(each) for each in waiting)}" if waiting else "nothing more is expected"


_Take = Callable[[FakeCall, Signature | None], Any]


def _endpoint_like(like: tuple[type | str, ...], take: _Take) -> object:
    members: dict[str, Any] = {}
    for each in like:
        if isinstance(each, str):
            members[each] = _scripted(each, None, take)
            continue
        for target, name, exposed in Dispatcher([_never_begun(each)], Threads(None, 1)).offers():
            members["target"] = target
            members[name] = _scripted(name, exposed.signature, take)
    if not members:
        raise ConfigError("a double needs an endpoint's class with exposed methods, or names of methods")
    return type("FakeEndpoint", (), members)()


def _never_begun(kind: type) -> object:
    """Make an instance that is only asked what methods it has: it need not be made as those that are used are."""
    return object.__new__(type(kind.__name__, (kind,), {"__repr__": lambda self: kind.__qualname__}))


def _scripted(name: str, signature: Signature | None, take: _Take) -> Callable[..., Any]:
    """Make an exposed method that has a signature and asks the script."""

    def method(self: object, context: dict[str, Any], /, **arguments: Any) -> Any:
        return take(FakeCall(name, arguments, context), signature)

    if signature is not None:
        this = Parameter("self", Parameter.POSITIONAL_ONLY)
        method.__signature__ = Signature([this, *signature.parameters.values()])  # type: ignore[attr-defined]
    return expose(method)
