"""Notifications: what one says, and where that stands in a NOTIFY (docs/spec/wire)."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from msgspec import Raw, msgpack

from zmqrpc.core.envelope import Notify, Request, encode_message
from zmqrpc.target import Pool

PRIORITIES = ("audit", "critical", "debug", "error", "info", "sample", "warn")
"""The priorities, which are the methods of notifiers and of the endpoints of listeners."""

_ARGUMENTS = ("publisher_id", "event_type", "payload", "message_id", "timestamp")
_TEXTS = frozenset(_ARGUMENTS) - {"payload"}


class Handled(Enum):
    """What an endpoint returns: what becomes of a notification. Whatever else it returns is `HANDLED` as well."""

    HANDLED = "handled"
    REQUEUE = "requeue"


HANDLED, REQUEUE = Handled


class Notification(NamedTuple):
    """
    One notification, as the endpoints of a listener get it.

    :ivar context: the context of whoever sent it.
    :ivar publisher_id: who sent it, as that says.
    :ivar event_type: what has happened, for example ``instance.started``.
    :ivar payload: the facts; any value that can cross the wire.
    :ivar metadata: ``message_id``, which no other notification has, and ``timestamp``, when it was sent by the sender's
        clock on the wall, as `datetime.datetime.fromisoformat` reads it; both text.
    """

    context: dict[str, Any]
    publisher_id: str
    event_type: str
    payload: Any
    metadata: dict[str, str]


class Said(NamedTuple):
    """What all copies of a notification have in common, encoded: whoever made it may change its values meanwhile."""

    priority: str
    arguments: Raw
    context: Raw


def said_of(priority: str, context: dict[str, Any] | None, arguments: dict[str, Any]) -> Said:
    """
    Encode what a notification says.

    :param arguments: of `arguments_of`; of values that can cross the wire.
    """
    return Said(priority, Raw(msgpack.encode(arguments)), Raw(msgpack.encode(context)))


def arguments_of(publisher_id: str, event_type: str, payload: Any, message_id: str, timestamp: str) -> dict[str, Any]:
    """Write the arguments of a NOTIFY."""
    return dict(zip(_ARGUMENTS, (publisher_id, event_type, payload, message_id, timestamp), strict=True))


def encode_copy(pool: Pool, said: Said, flags: int) -> bytes:
    """Encode the NOTIFY for one pool, without a number."""
    arguments: Any = said.arguments
    context: Any = said.context
    return encode_message(
        Notify(0, 1, flags, 0, pool.exchange, pool.topic, pool.name, None, None, said.priority, arguments, context)
    )


def fault_of(request: Request) -> str:
    """Say what is wrong with a NOTIFY; empty when nothing is."""
    arguments = request.arguments
    if request.method not in PRIORITIES:
        return f"there is no priority {request.method[:100]!r}; priorities are {', '.join(PRIORITIES)}"
    if request.content_type is not None or not isinstance(arguments, dict):
        return f"the content type {str(request.content_type)[:100]!r} is not known here; send plain msgpack"
    for name in _ARGUMENTS:
        if name not in arguments:
            return f"the argument {name!r} is missing"
        if name in _TEXTS and type(arguments[name]) is not str:
            return f"the argument {name!r} is no text"
    return ""


def notification_of(request: Request) -> Notification:
    """Read a NOTIFY in which nothing is wrong."""
    arguments = request.arguments
    assert isinstance(arguments, dict)
    publisher_id, event_type, payload, message_id, timestamp = (arguments[name] for name in _ARGUMENTS)
    metadata = {"message_id": message_id, "timestamp": timestamp}
    return Notification(request.context or {}, publisher_id, event_type, payload, metadata)
