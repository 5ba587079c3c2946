"""What a test that waits in vain is told: what is in flight, who serves, what is broken, what came last."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from zmqrpc.core.batch import decode_batch
from zmqrpc.core.envelope import Beat, Ping, Pong, Request
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.record import Record
from zmqrpc.testing.pipe import Item, Mark

if TYPE_CHECKING:
    from zmqrpc.testing.network import Network

_MOST_LISTED = 10


def report(network: Network, *wanted: str) -> str:
    """
    Describe the state of a network, one fact a line.

    :param wanted: the titles of what is described; none for all.
    """
    lines = []
    for title, find in _SECTIONS.items():
        if wanted and title not in wanted:
            continue
        facts = find(network)
        listed = list(facts)
        lines.append(f"{title}:{'' if listed else ' nothing'}")
        lines += [f"  {fact}" for fact in listed[:_MOST_LISTED]]
        if len(listed) > _MOST_LISTED:
            lines.append(f"  and {len(listed) - _MOST_LISTED} more")
    return "\n".join(lines)


def where_it_waits(waited_for: object) -> str:
    """Name a condition by the line that has it, and a coroutine by the line that it waits in."""
    code: Any = getattr(waited_for, "__code__", None)
    line = getattr(code, "co_firstlineno", 0)
    if iscoroutine(waited_for):
        inner: Any = waited_for
        while iscoroutine(inner.cr_await):
            inner = inner.cr_await
        code, line = inner.cr_code, inner.cr_frame.f_lineno if inner.cr_frame else 0
    if code is None:
        return repr(waited_for)
    text = linecache.getline(code.co_filename, line).strip()
    return f"{text or code.co_qualname} ({code.co_filename}:{line})"


def _in_flight(network: Network) -> Iterator[str]:
    now = network.clock.seconds()
    for node in network.nodes:
        if node.state != "killed":
            for asked in node.asked.open():
                yield f"{node.host}: {asked.describe(now)}"


def _serving(network: Network) -> Iterator[str]:
    nodes: dict[str, Any] = {node.instance.hex(): node for node in network.everybody()}
    recorded: set[str] = set()
    for store in {id(node.store): node.store for node in network.everybody()}.values():
        for record in store.records():
            node = nodes.get(record.instance)
            recorded.add(record.instance)
            where = f"{node.state} on {node.host}" if node is not None else "nobody of this network"
            yield f"{_name(record)} at {record.addresses[0]}: {where}"
    for instance, node in nodes.items():
        if instance not in recorded and getattr(node, "address", None) is not None:
            yield f"{node.address}: {node.state} on {node.host}, without a record"


def _name(record: Record) -> str:
    return f"{record.exchange}/{record.topic}.{record.member}"


def _broken(network: Network) -> Iterator[str]:
    for store in {id(node.store): node.store for node in network.everybody()}.values():
        if not store.available:
            yield "the store is down"
        elif not store.writable:
            yield "the store is read-only"
    for path in network.paths():
        if path.cut:
            yield f"nothing gets through from {path.source} to {path.target}"
    for host in network.refusing():
        yield f"{host} refuses connections"
    for node in network.everybody():
        if node.state in ("killed", "stopped"):
            yield f"a {'node' if node in network.nodes else 'proxy'} on {node.host} is {node.state}"


def _events(network: Network) -> Iterator[str]:
    for seconds, what, source, target, item in reversed(network.events):
        content = _content(item)
        if content:
            yield f"{seconds:.4f} s from {source} to {target}: {content} {what}"


def _content(item: Item) -> str:
    """Name what has arrived; empty for what only keeps a link alive."""
    if isinstance(item, Mark):
        return f"{item.value} of a connection"
    if isinstance(item, tuple):
        item = item[-1]
    if not item:
        return "a message"
    try:
        messages = decode_batch(item).messages
    except RemoteProtocolError:
        return f"{len(item)} bytes that cannot be read"
    telling: list[Any] = [message for message in messages if type(message) not in (Ping, Pong, Beat)]
    return ", ".join(_message(message) for message in telling[:5]) + (" ..." if len(telling) > 5 else "")


def _message(message: Any) -> str:
    name = type(message).__name__.upper()
    return f"{name} {message.method}" if isinstance(message, Request) else name


_SECTIONS = {"in flight": _in_flight, "serving": _serving, "broken": _broken, "last events, newest first": _events}
