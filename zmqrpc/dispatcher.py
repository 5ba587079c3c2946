"""Finds the method a request means, and says why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import attrs

from zmqrpc.core.envelope import Failure, FailureCode
from zmqrpc.errors import ConfigError
from zmqrpc.target import Target

_MARK = "__zmqrpc_exposed__"
_MOST_FOUND = 10_000
_POSITIONAL = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
_Method = TypeVar("_Method", bound=Callable[..., Any])


def expose(method: _Method) -> _Method:
    """Mark a method of an endpoint as callable by clients; nothing else is."""
    setattr(method, _MARK, True)
    return method


@attrs.frozen
class Exposed:
    """
    A method that clients may call.

    :ivar call: the bound method; it takes the context, then the arguments by name.
    """

    call: Callable[..., Any]
    signature: inspect.Signature

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


class Dispatcher:
    """
    The endpoints of one server.

    An endpoint may have a `target` (a `Target`) with namespace and version; of several endpoints that fit, the first
    one that has the method is called.

    :param endpoints: objects with `expose`d methods.
    :raises ConfigError: an endpoint exposes nothing, or its target is not a `Target`.
    """

    def __init__(self, endpoints: Iterable[object]) -> None:
        self._offers: list[tuple[Target, dict[str, Exposed]]] = []
        self._found: dict[tuple[str | None, str | None, str], Exposed | Failure] = {}
        for endpoint in endpoints:
            target = getattr(endpoint, "target", None) or Target()
            if not isinstance(target, Target):
                raise ConfigError(f"the target of {endpoint!r} is a {type(target).__name__}; give a zmqrpc.Target")
            methods = _exposed_methods(endpoint)
            if not methods:
                raise ConfigError(f"{endpoint!r} exposes no method; mark them with @zmqrpc.expose")
            self._offers.append((target, methods))

    @property
    def offers(self) -> list[tuple[Target, frozenset[str]]]:
        """The target of each endpoint, and the names of what it exposes."""
        return [(target, frozenset(methods)) for target, methods in self._offers]

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
            name = f"{namespace}.{method}" if namespace else method
            text = f"no endpoint exposes {name!r}" if fitting else f"no endpoint has the namespace {namespace!r}"
            return Failure(FailureCode.NO_SUCH_METHOD, "NoSuchMethod", text)
        text = f"version {version or '1.0'} is wanted, the endpoints of {namespace or 'no namespace'} serve {versions}"
        return Failure(FailureCode.BAD_INTERFACE, "UnsupportedVersion", text)


def _exposed_methods(endpoint: object) -> dict[str, Exposed]:
    methods = {}
    for name in dir(type(endpoint)):
        # Looked up on the class first, so that no property of the endpoint is run.
        if getattr(getattr(type(endpoint), name, None), _MARK, False):
            call = cast(Callable[..., Any], getattr(endpoint, name))
            signature = inspect.signature(call, follow_wrapped=False)
            _check_callable(f"{type(endpoint).__name__}.{name}", call, signature)
            methods[name] = Exposed(call, signature)
    return methods


def _check_callable(name: str, call: Callable[..., Any], signature: inspect.Signature) -> None:
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
    if inspect.isasyncgenfunction(call) or inspect.isgeneratorfunction(call):
        raise ConfigError(f"the exposed method {name} is a generator; return a list, or answer with one value")
