"""The methods that every server has by itself: whether it lives, what it can do, and what is going on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import attrs

from zmqrpc.core.values import encodable
from zmqrpc.dispatcher import OWN_NAMESPACE, Dispatcher, expose
from zmqrpc.errors import InvalidArguments
from zmqrpc.inspection import EVENTS
from zmqrpc.target import Target

_MOST_TEXT = 4_000
"""Characters of one signature or docstring that are told."""

_MOST_DEFAULT = 100
"""Characters of the default of a parameter; what is longer is shown as three dots."""

_MOST_IN_ALL = 250_000
"""Characters of one description; what is over it is left out: docstrings first, the last ones, then methods."""

_READY = {"ready": True, "not_ready": ""}


class Introspection:
    """
    The endpoint in the namespace ``zmqrpc`` of every server (docs/spec/wire).

    :param described: finds the methods that are described.
    :param not_ready: tells why others cannot find this server, empty when they can.
    :param inspect: tells what is going on in its node, with so many of the last events; raises `AccessDenied`.
    """

    target = Target(namespace=OWN_NAMESPACE)

    def __init__(
        self, described: Dispatcher, not_ready: Callable[[], str], inspect: Callable[[int], dict[str, Any]]
    ) -> None:
        self._described = described
        self._not_ready = not_ready
        self._inspect = inspect
        self._methods: list[dict[str, Any]] | None = None

    @expose
    def ping(self, context: Any) -> dict[str, Any]:
        """Answer, which tells that this server takes calls and runs them; and whether others can find it."""
        text = self._not_ready()
        return {"ready": False, "not_ready": _short(text)} if text else _READY

    @expose
    def describe(self, context: Any) -> list[dict[str, Any]]:
        """List every method that the endpoints expose: namespace, version, method, signature, doc."""
        if self._methods is None:
            self._methods = self._describe()
        return self._methods

    @expose
    def inspect(self, context: Any, events: int = EVENTS) -> dict[str, Any]:
        """Tell what is going on in the node: what is in flight and where it is stuck, and the last events."""
        if type(events) is not int or events < 0:
            raise InvalidArguments("InvalidArguments", f"events is {events!r}; give a number of events, 0 or more")
        return self._inspect(events)

    def _describe(self) -> list[dict[str, Any]]:
        methods: list[dict[str, Any]] = []
        docs = []
        room = _MOST_IN_ALL
        for target, name, exposed in self._described.offers():
            signature = _short(signature_text(exposed.signature))
            room -= len(name) + len(signature) + len(target.namespace or "")
            if target.namespace == OWN_NAMESPACE or room < 0:
                break
            version = target.version or "1.0"
            methods.append(
                {"namespace": target.namespace, "version": version, "method": name, "signature": signature, "doc": ""}
            )
            docs.append(_short(exposed.doc))
        for method, doc in zip(methods, docs, strict=True):
            room -= len(doc)
            if room < 0:
                break
            method["doc"] = doc
        return methods


def nothing_to_inspect(events: int) -> dict[str, Any]:
    """Tell nothing: what stands in the place of an inspection where there is no node."""
    return {}


def signature_text(signature: inspect.Signature) -> str:
    """Write a method's signature as its callers see it: without the context, annotations as they are in its source."""
    parameters = list(signature.parameters.values())[1:]
    returned = _annotation(signature.return_annotation)
    shown = [p.replace(annotation=_annotation(p.annotation), default=_default(p.default)) for p in parameters]
    try:
        return str(inspect.Signature(shown, return_annotation=returned))
    except Exception:
        # Annotations may be anything, also what cannot be written.
        return f"({', '.join(parameter.name for parameter in parameters)})"


@attrs.frozen(repr=False)
class _Bare:
    """A text that is shown without quotation marks."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _annotation(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _default(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return default
    try:
        text = repr(default)
    except Exception:
        text = "..."
    # Where an object stands in memory tells nobody anything.
    return _Bare("..." if " at 0x" in text or len(text) > _MOST_DEFAULT else text)


def _short(text: str) -> str:
    """Write a text as the wire carries it, and cut it when it is too long."""
    text = encodable(text)
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 3] + "..."
