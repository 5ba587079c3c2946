"""Finds the method a request means, and says why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast, overload

import attrs

from zmqrpc.core.envelope import Failure, FailureCode
from zmqrpc.errors import ConfigError
from zmqrpc.spelling import meant_or_some, shortened
from zmqrpc.target import Target
from zmqrpc.threads import Threads

OWN_NAMESPACE = "zmqrpc"
"""The namespace of the methods that every server has (`zmqrpc.introspection`)."""

_MARK = "__zmqrpc_exposed__"
_MOST_FOUND = 10_000
_MOST_LISTED = 8
_POSITIONAL = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
_Method = TypeVar("_Method", bound=Callable[..., Any])


@attrs.frozen
class _Mark:
    """How a method is exposed."""

    thread: bool = False


@overload
def expose(method: _Method) -> _Method: ...


@overload
def expose(*, thread: bool = False) -> Callable[[_Method], _Method]: ...


def expose(method: Any = None, *, thread: bool = False) -> Any:
    """
    Mark a method of an endpoint as callable by clients; nothing else is.

    :param thread: whether the method blocks: it is run in a thread then, while the reactor goes on. There are
        ``rpc_thread_pool_size`` threads at most. A call that is cancelled does not begin, or runs to its end unheard.
    :raises ConfigError: it is given something that is no method.
    """
    if method is None:
        return lambda marked: _marked(marked, _Mark(bool(thread)))
    return _marked(method, _Mark(bool(thread)))


def _marked(method: Any, mark: _Mark) -> Any:
    if not callable(method) and not isinstance(method, (staticmethod, classmethod)):
        raise ConfigError(f"expose marks a method, not {method!r}; write @expose or @expose(thread=True) above its def")
    setattr(method, _MARK, mark)
    return method


def blocks(method: Any) -> bool:
    """Tell whether a method is marked to be run in a thread."""
    mark = getattr(method, _MARK, None)
    return isinstance(mark, _Mark) and mark.thread


@attrs.define(eq=False)
class Exposed:
    """
    A method that clients may call.

    :ivar call: it takes the context, then the arguments by name.
    :ivar signature: of the method, its context included.
    :ivar doc: its docstring, without indentation.
    :ivar waits: whether it may go on when it has returned, as far as is known: it does until it has returned a plain
        value, and for ever when it has not even once.
    :ivar has_waited: whether it has gone on.
    """

    call: Callable[..., Any]
    signature: inspect.Signature
    doc: str = ""
    waits: bool = attrs.field(default=True, init=False)
    has_waited: bool = attrs.field(default=False, init=False)

    def misfit(self, arguments: dict[str, Any]) -> str | None:
        """Return what is wrong with the arguments, naming the parameter; None when they fit."""
        parameters = list(self.signature.parameters.values())[1:]
        named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            for name in arguments:
                if name not in named:
                    return f"there is no parameter {name!r}; there are {', '.join(sorted(named)) or 'none'}"
        for parameter in parameters:
            if parameter.name in named and parameter.default is parameter.empty and parameter.name not in arguments:
                return f"the parameter {parameter.name!r} is missing"
        return None


def fits(wanted: str | None, offered: str | None) -> bool:
    """
    Tell whether an endpoint's version serves a caller's (oslo.messaging's rule): major equal, minor at least.

    None is ``1.0`` on both sides.
    """
    wanted_major, wanted_minor = _numbers(wanted)
    offered_major, offered_minor = _numbers(offered)
    return wanted_major == offered_major and wanted_minor <= offered_minor


def _numbers(version: str | None) -> tuple[int, int]:
    major, _, minor = (version or "1.0").partition(".")
    try:
        return int(major), int(minor or "0")
    except ValueError:
        return -1, 0


def _place(target: Target) -> tuple[str | None, tuple[int, int]]:
    return target.namespace, _numbers(target.version)


class Dispatcher:
    """
    The endpoints of one server.

    An endpoint may have a `target` (a `Target`) with namespace and version; of several versions that fit, the first one
    that has the method is called.

    :param endpoints: objects with `expose`d methods, at least one.
    :param threads: where the methods run that block.
    :raises ConfigError: there is none; one exposes nothing, or what another exposes in the same namespace and version;
        its target is not a `Target`, or it claims `OWN_NAMESPACE`.
    """

    def __init__(self, endpoints: Iterable[object], threads: Threads) -> None:
        self._threads = threads
        self._offers: list[tuple[Target, dict[str, Exposed]]] = []
        self._classes: list[str] = []
        self._found: dict[tuple[str | None, str | None, str], Exposed | Failure] = {}
        if not isinstance(endpoints, Iterable):
            raise ConfigError(f"the endpoints are an object of type {type(endpoints).__name__}; give a list of objects")
        for endpoint in endpoints:
            target = self.add(endpoint)
            if target.namespace == OWN_NAMESPACE:
                raise ConfigError(
                    f"the namespace {OWN_NAMESPACE!r} of {named(endpoint)} is kept for the methods that every server "
                    "has; give the endpoint another"
                )
        if not self._offers:
            raise ConfigError("there is no endpoint; give at least one object with methods marked with @zmqrpc.expose")

    def add(self, endpoint: object) -> Target:
        """
        Serve one more endpoint.

        :return: its target, which has the namespace and version.
        :raises ConfigError: as the class says.
        """
        target = getattr(endpoint, "target", None) or Target()
        if not isinstance(target, Target):
            raise ConfigError(f"the target of {named(endpoint)} is a {type(target).__name__}; give a zmqrpc.Target")
        methods = self._exposed_methods(endpoint)
        if not methods:
            raise ConfigError(f"{named(endpoint)} exposes no method; mark them with @zmqrpc.expose")
        name = type(endpoint).__name__
        for (other, others), other_name in zip(self._offers, self._classes, strict=True):
            both = sorted(methods.keys() & others.keys())
            if both and _place(other) == _place(target):
                listed = ", ".join(both[:_MOST_LISTED]) + (", ..." if len(both) > _MOST_LISTED else "")
                raise ConfigError(
                    f"the endpoints {other_name} and {name} both expose {listed} in "
                    f"{f'the namespace {target.namespace!r}' if target.namespace else 'no namespace'} and version "
                    f"{target.version or '1.0'}, and one would hide the other; give one of them another namespace or "
                    "version, or take a method away"
                )
        self._offers.append((target, methods))
        self._classes.append(name)
        return target

    def offers(self) -> Iterator[tuple[Target, str, Exposed]]:
        """Go through every method that can be called: the target of its endpoint, its name, and itself."""
        for target, methods in self._offers:
            for name, exposed in methods.items():
                yield target, name, exposed

    def find(self, namespace: str | None, version: str | None, method: str) -> Exposed | Failure:
        """Return the method, or why there is none."""
        key = (namespace, version, method)
        found = self._found.get(key)
        if found is None:
            found = self._find(namespace, version, method)
            if isinstance(found, Exposed) and len(self._found) < _MOST_FOUND:
                # Only what exists is remembered: callers choose the names, and there is no end of them.
                self._found[key] = found
        return found

    def _find(self, namespace: str | None, version: str | None, method: str) -> Exposed | Failure:
        versions = []
        fitting = False
        for target, methods in self._offers:
            if target.namespace != namespace:
                continue
            versions.append(target.version or "1.0")
            if fits(version, target.version):
                fitting = True
                if method in methods:
                    return methods[method]
        if fitting or not versions:
            return Failure(FailureCode.NO_SUCH_METHOD, "NoSuchMethod", self._missing(namespace, method, fitting))
        text = f"version {version or '1.0'} is wanted, the endpoints of {namespace or 'no namespace'} serve {versions}"
        return Failure(FailureCode.BAD_INTERFACE, "UnsupportedVersion", text)

    def _missing(self, namespace: str | None, method: str, fitting: bool) -> str:
        """Say that there is no such method, and which there are."""
        offers = [(target.namespace, name) for target, name, _ in self.offers() if target.namespace != OWN_NAMESPACE]
        elsewhere = [_spelled(*offer) for offer in offers if offer[1] == method and offer[0] != namespace]
        if fitting:
            text = f"no endpoint exposes {shortened(_spelled(namespace, method))!r}"
        elif namespace is None:
            text = "every endpoint has a namespace"
        else:
            text = f"no endpoint has the namespace {shortened(namespace)!r}"
        if elsewhere:
            return f"{text}; did you mean {shortened(elsewhere[0])} (namespace, dot, method)?"
        # Once each: one method may be there in several versions.
        names = dict.fromkeys(_spelled(*offer) for offer in offers)
        return f"{text}; {meant_or_some(_spelled(namespace, method), names, 'exposed are')}"

    def _exposed_methods(self, endpoint: object) -> dict[str, Exposed]:
        methods = {}
        for name in dir(type(endpoint)):
            # Looked up on the class first, so that no property of the endpoint is run.
            mark = getattr(getattr(type(endpoint), name, None), _MARK, None)
            if not isinstance(mark, _Mark):
                continue
            call = cast(Callable[..., Any], getattr(endpoint, name))
            signature = inspect.signature(call, follow_wrapped=False)
            full_name = f"{type(endpoint).__name__}.{name}"
            _check_callable(full_name, call, signature, mark.thread)
            exposed = Exposed(call, signature, inspect.getdoc(call) or "")
            if mark.thread:
                exposed = attrs.evolve(exposed, call=_in_thread(full_name, exposed, self._threads))
            methods[name] = exposed
        return methods


def _spelled(namespace: str | None, method: str) -> str:
    return f"{namespace}.{method}" if namespace else method


def _in_thread(name: str, exposed: Exposed, threads: Threads) -> Callable[..., Any]:
    """Return what runs a method in a thread; like the method itself it raises TypeError for what does not fit it."""

    def call(context: Any, /, **arguments: Any) -> Any:
        misfit = exposed.misfit(arguments)
        if misfit is not None:
            raise TypeError(misfit)
        return threads.run(name, exposed.call, context, arguments)

    return call


def _check_callable(name: str, call: Callable[..., Any], signature: inspect.Signature, thread: bool) -> None:
    """Refuse at the start what no caller could call."""
    parameters = list(signature.parameters.values())
    first = parameters[0].kind if parameters else None
    if first not in (inspect.Parameter.POSITIONAL_ONLY, *_POSITIONAL):
        raise ConfigError(f"the exposed method {name} takes no context; its first parameter is the caller's context")
    for parameter in parameters[1:]:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigError(
                f"the parameter {parameter.name!r} of the exposed method {name} is positional only; "
                "arguments come by name"
            )
    if thread and inspect.iscoroutinefunction(call):
        raise ConfigError(
            f"the exposed method {name} is asynchronous and cannot run in a thread; leave out thread=True"
        )
    if inspect.isasyncgenfunction(call) or inspect.isgeneratorfunction(call):
        raise ConfigError(f"the exposed method {name} is a generator; return a list, or answer with one value")


def named(endpoint: object) -> str:
    """Name an endpoint for people: by its class, since its own text is mostly an address in memory."""
    kind = endpoint if isinstance(endpoint, type) else type(endpoint)
    return f"the endpoint {kind.__module__}.{kind.__qualname__}"
