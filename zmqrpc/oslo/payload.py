"""
What oslo.messaging sends, on the wire of zmqrpc (docs/spec/oslo).

Its drivers send JSON. What JSON and msgpack both carry as it is goes as a plain call of zmqrpc: method, arguments,
namespace, version and context are those of the request, so that anybody can call what an oslo.messaging server serves,
and the other way round. Anything else is what `oslo_serialization.jsonutils` makes of it, and goes as its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import NoneType
from typing import Any, NamedTuple

from oslo_serialization import jsonutils

from zmqrpc.core.notification import PRIORITIES
from zmqrpc.core.values import MAX_DEPTH, encodes
from zmqrpc.dispatcher import OWN_NAMESPACE
from zmqrpc.errors import ConfigError
from zmqrpc.target import Target

JSON = "oslo.json"
"""The one argument of what goes as text: no parameter of Python can be called so."""

_LOW, _HIGH = -(2**63), 2**64 - 1
_INFINITY = float("inf")
_HOLDERS = frozenset((dict, list, tuple))
_REQUEST = frozenset(("method", "args", "namespace", "version"))
_NOTICE = frozenset(("publisher_id", "event_type", "payload", "message_id", "timestamp", "priority"))


class Parts(NamedTuple):
    """
    A message and its context as the parts of a request.

    :ivar method: or the priority, of a notification.
    """

    method: str
    namespace: str | None
    version: str | None
    arguments: dict[str, Any]
    context: dict[str, Any] | None

    def copied(self) -> Parts:
        """Return the same, for who sends it later: whoever made arguments and context may change them meanwhile."""
        return Parts(self.method, self.namespace, self.version, _copied(self.arguments), _copied(self.context))


def is_plain(value: Any, depth: int = 0) -> bool:
    """Tell whether JSON brings a value as it is, and msgpack too."""
    kind = type(value)
    if kind is str:
        return value.isascii() or encodes(value)
    if kind is int:
        return bool(_LOW <= value <= _HIGH)
    if value is None or kind is bool:
        return True
    if kind is float:
        return bool(-_INFINITY < value < _INFINITY)
    # What holds it all is a value too.
    if depth >= MAX_DEPTH - 1:
        return False
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not (key.isascii() or encodes(key)) or not is_plain(item, depth + 1):
                return False
        return True
    # A tuple would be a list in both.
    return kind in _HOLDERS and all(is_plain(item, depth + 1) for item in value)


def context_of(context: Any) -> dict[str, Any]:
    """Return the dict that a context is; it may be an object that makes one."""
    if isinstance(context, dict):
        return context
    made: dict[str, Any] = context.to_dict()
    return made


def parts_of(context: Any, message: Any) -> Parts:
    """
    Take what a client of oslo.messaging sends apart.

    :param context: a dict, or an object with `to_dict`.
    :param message: a dict with ``method``, ``args``, and perhaps ``namespace`` and ``version``; or what JSON carries.
    :raises TypeError, ValueError: JSON cannot carry it, as `jsonutils.dumps` says.
    """
    context = context_of(context)
    if isinstance(message, dict):
        method, arguments = message.get("method"), message.get("args")
        namespace, version = message.get("namespace"), message.get("version")
        if (
            type(method) is str
            and type(arguments) is dict
            and JSON not in arguments
            and message.keys() <= _REQUEST
            # None that is given would come back as not given.
            and type(namespace) is (str if "namespace" in message else NoneType)
            and type(version) is (str if "version" in message else NoneType)
            and _can_be_meant(namespace, version)
            and is_plain(arguments)
            and is_plain(context)
        ):
            return Parts(method, namespace, version, arguments, context)
    method = str(message.get("method", "")) if isinstance(message, dict) else ""
    return Parts(method, None, None, _as_text(message, context), None)


@lru_cache
def _can_be_meant(namespace: str | None, version: str | None) -> bool:
    """Tell whether a request can name both as they are."""
    try:
        Target(namespace=namespace, version=version)
    except ConfigError:
        return False
    return namespace != OWN_NAMESPACE


def message_of(parts: Parts) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Put together again what `parts_of` has taken apart.

    :return: message and context.
    :raises ValueError: it is none.
    """
    if JSON in parts.arguments:
        return _from_text(parts.arguments)
    message: dict[str, Any] = {"method": parts.method, "args": parts.arguments}
    if parts.namespace is not None:
        message["namespace"] = parts.namespace
    if parts.version is not None:
        message["version"] = parts.version
    return message, parts.context or {}


def parts_of_notification(context: Any, message: Any) -> Parts:
    """
    Take what a notifier of oslo.messaging sends apart; the method is the priority, in lower case.

    :raises TypeError, ValueError: as `parts_of`.
    """
    context = context_of(context)
    if isinstance(message, dict) and message.keys() == _NOTICE:
        priority = message["priority"]
        arguments = {name: value for name, value in message.items() if name != "priority"}
        payload = arguments["payload"]
        if (
            type(priority) is str
            and priority.lower() in PRIORITIES
            and priority.isupper()
            and all(type(value) is str for name, value in arguments.items() if name != "payload")
            and not (type(payload) is dict and JSON in payload)
            and is_plain(arguments)
            and is_plain(context)
        ):
            return Parts(priority.lower(), None, None, arguments, context)
    told = message if isinstance(message, Mapping) else {}
    names = ("publisher_id", "event_type", "message_id", "timestamp")
    arguments = {name: value if type(value := told.get(name)) is str and is_plain(value) else "" for name in names}
    priority = str(told.get("priority")).lower()
    arguments["payload"] = _as_text(message, context)
    return Parts(priority if priority in PRIORITIES else "info", None, None, arguments, None)


def notification_of(parts: Parts) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Put together again what `parts_of_notification` has taken apart.

    :return: message and context.
    :raises ValueError: it is none.
    """
    payload = parts.arguments["payload"]
    if type(payload) is dict and JSON in payload:
        return _from_text(payload)
    return {**parts.arguments, "priority": parts.method.upper()}, parts.context or {}


def result_of(value: Any) -> Any:
    """
    Return what a method brought, as it goes over the wire: a copy of it as it is, or as JSON would bring it.

    :raises TypeError, ValueError: JSON cannot carry it, as `jsonutils.dumps` says.
    """
    if is_plain(value) and not _is_text(value):
        return _copied(value)
    brought = jsonutils.loads(text := jsonutils.dumps(value))
    return brought if is_plain(brought) and not _is_text(brought) else {JSON: text}


def value_of(result: Any) -> Any:
    """
    Return the value that a result stands for.

    :raises ValueError: its text is no JSON.
    """
    return _read(result[JSON]) if _is_text(result) else result


def _copied(value: Any) -> Any:
    """Copy what is plain."""
    if type(value) is dict:
        return {name: _copied(item) if type(item) in _HOLDERS else item for name, item in value.items()}
    if type(value) in _HOLDERS:
        return [_copied(item) for item in value]
    return value


def _is_text(value: Any) -> bool:
    return type(value) is dict and value.keys() == {JSON}


def _as_text(message: Any, context: dict[str, Any]) -> dict[str, str]:
    return {JSON: jsonutils.dumps([message, context])}


def _from_text(arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    read = _read(arguments[JSON])
    if not isinstance(read, list) or len(read) != 2 or not isinstance(read[1], dict):
        raise ValueError(f"{JSON} holds no message and context")
    return read[0], read[1]


def _read(text: Any) -> Any:
    if type(text) is not str:
        raise ValueError(f"{JSON} is no text")
    try:
        return jsonutils.loads(text)
    except ValueError as error:
        raise ValueError(f"{JSON} is no JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{JSON} is nested too deep") from None
