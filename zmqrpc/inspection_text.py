"""An inspection for people: lines of at most `WIDTH` columns, what is stuck first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from zmqrpc.core.inspected import (
    CallSeen,
    ClientSeen,
    ConnectionSeen,
    EventSeen,
    Inspected,
    LimitSeen,
    LinkSeen,
    ProxySeen,
    RequestSeen,
    TopicSeen,
)
from zmqrpc.spelling import printable

WIDTH = 100

_MOST_TEXT = 1000
_DIGITS = 12
"""Of each instance, as in the ids of messages."""

_INDENT = "    "
_LEAST = 6
"""Columns that a column keeps when the table has to become narrower."""

Row = tuple[tuple[str, ...], str]
"""The cells of a row, and a sentence that stands below them; empty for none."""


def lines(seen: Inspected) -> Iterator[str]:
    """Write an inspection; what peers have written is escaped."""
    yield from _head(seen)
    is_node = seen.kind == "node"
    if is_node or seen.calls:
        yield from _table(
            seen,
            "calls",
            "in flight from it, the oldest first",
            ("AGE", "LEFT", "PHASE", "KIND", "METHOD", "TARGET"),
            map(_call, seen.calls),
            right=(0, 1),
        )
    if is_node or seen.requests:
        yield from _table(
            seen,
            "requests",
            "in flight to it, the oldest first",
            ("AGE", "LEFT", "PHASE", "KIND", "METHOD", "TARGET", "CLIENT"),
            map(_request, seen.requests),
            right=(0, 1),
        )
    for name, about, headings, rows, right in (
        (
            "links",
            "links to instances that it calls",
            ("MEMBER", "PHASE", "SILENT", "QUEUED", "IN FLIGHT", "ADDRESS"),
            map(_link, seen.links),
            (2, 3, 4),
        ),
        ("proxies", "proxies", ("MEMBER", "AS", "PHASE", "SILENT", "ADDRESS"), map(_proxy, seen.proxies), (3,)),
        (
            "clients",
            "clients",
            ("INSTANCE", "SILENT", "RUNNING", "UNSETTLED", "UNREAD", "CONNECTION"),
            map(_client, seen.clients),
            (1, 2, 3, 4),
        ),
        (
            "connections",
            "connections",
            ("ROLE", "PHASE", "SILENT", "PEER"),
            map(_connection, seen.connections),
            (2,),
        ),
        (
            "topics",
            "topics that were looked up",
            ("TOPIC", "KNOWLEDGE", "RECORDS", "ANSWERED", "WAITING"),
            map(_topic, seen.topics),
            (2, 3, 4),
        ),
    ):
        if getattr(seen, name) or seen.left_out.get(name):
            yield from _table(seen, name, about, headings, rows, right)
    used = [limit for limit in seen.limits if limit.used]
    if used:
        headings = ("LIMIT", "USED", "OF", "", "FULLEST")
        yield from _table(seen, "limits", "limits that are used", headings, map(_limit, used), (1, 2, 3))
    if seen.counters:
        counted = ", ".join(f"{name} {number}" for name, number in seen.counters.items())
        yield ""
        yield "counted:"
        yield from _wrapped(counted, _INDENT)
    if seen.events or seen.left_out.get("events"):
        yield ""
        yield f"events, the newest first{_left_out(seen, 'events')}:"
        for event in seen.events:
            yield from _event(event)


def _head(seen: Inspected) -> Iterator[str]:
    where = f" at {seen.address}" if seen.address else ""
    stage = f"{seen.stage} for {_seconds(seen.uptime)}" if seen.stage == "running" else seen.stage
    about = f"instance {seen.instance}, process {seen.process}, zmqrpc {seen.version}"
    yield from _wrapped(f"{seen.kind} {seen.member}{where}, {stage}, {about}")
    if seen.serves:
        yield from _wrapped(f"serves {', '.join(seen.serves)}")
    matchmaker = seen.matchmaker
    says = f"does not answer: {matchmaker.away}" if matchmaker.away else "no outage is known"
    yield from _wrapped(f"matchmaker {matchmaker.name}, {matchmaker.url}: {says}")
    for failing in matchmaker.failing:
        if failing != matchmaker.away:
            yield from _wrapped(f"of its stores: {failing}", _INDENT)
    if matchmaker.not_ready:
        yield from _wrapped(f"not ready: {matchmaker.not_ready}")


# Rows


def _call(call: CallSeen) -> Row:
    times = (_seconds(call.age), _seconds(call.left))
    message = f" (message {call.message})" if call.message else ""
    return (*times, call.phase, call.kind, call.method or "-", call.target), f"{call.where}{message}"


def _request(request: RequestSeen) -> Row:
    times = (_seconds(request.age), _seconds(request.left))
    cells = (*times, request.phase, request.kind, request.method, request.target, request.client[:_DIGITS])
    return cells, request.where


def _link(link: LinkSeen) -> Row:
    numbers = (_seconds(link.silent), str(link.queued), str(link.in_flight))
    facts = [link.trouble] if link.trouble else []
    if link.blocked:
        facts.append("its connection takes no more")
    if link.next_try is not None:
        facts.append(f"tried again in {_seconds(link.next_try)}, {link.tries} tries have come to nothing")
    if link.through:
        facts.append(f"through router proxy {link.through}")
    return (link.member, link.phase, *numbers, link.address), "; ".join(facts)


def _proxy(proxy: ProxySeen) -> Row:
    return (proxy.member or "-", proxy.role, proxy.phase, _seconds(proxy.silent), proxy.address), proxy.trouble


def _client(client: ClientSeen) -> Row:
    numbers = (str(client.running), str(client.unsettled), str(client.unread))
    connection = client.connection if client.connected else "none"
    return (client.instance[:_DIGITS], _seconds(client.silent), *numbers, connection), ""


def _connection(connection: ConnectionSeen) -> Row:
    return (connection.role, connection.phase, _seconds(connection.silent), connection.peer), connection.trouble


def _topic(topic: TopicSeen) -> Row:
    knowledge = f"{topic.knowledge}, asking" if topic.asking else topic.knowledge
    numbers = (str(topic.records), _seconds(topic.answered), str(topic.waiting))
    return (f"{topic.exchange}/{topic.topic}", knowledge, *numbers), ""


def _limit(limit: LimitSeen) -> Row:
    share = f"{100 * limit.used / limit.most:.0f} %" if limit.most > 0 else "-"
    return (limit.option, str(limit.used), str(limit.most), share, limit.where), ""


def _event(event: EventSeen) -> Iterator[str]:
    text = f"{_seconds(event.age):>8} ago  {event.name}: {event.text}"
    yield from _wrapped(text, more=_INDENT * 4)


# Tables


def _table(
    seen: Inspected,
    name: str,
    about: str,
    headings: Sequence[str],
    rows: Iterable[Row],
    right: Iterable[int] = (),
) -> Iterator[str]:
    told = list(rows)
    yield ""
    if not told:
        yield f"nothing is {about.partition(',')[0]}{_left_out(seen, name)}" if about.startswith("in ") else f"{about}:"
        return
    yield f"{about}{_left_out(seen, name)}:"
    cells = [[printable(cell) for cell in row] for row in (headings, *(row for row, _ in told))]
    widths = _fitted([max(map(len, column)) for column in zip(*cells, strict=True)])
    for row, sentence in zip(cells, ("", *(sentence for _, sentence in told)), strict=True):
        shown = [_cut(cell, width) for cell, width in zip(row, widths, strict=True)]
        yield (
            _INDENT[2:]
            + "  ".join(
                cell.rjust(width) if column in right else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(shown, widths, strict=True))
            ).rstrip()
        )
        if sentence:
            yield from _wrapped(sentence, _INDENT * 2)


def _left_out(seen: Inspected, name: str) -> str:
    number = seen.left_out.get(name)
    return f" ({number} more are left out)" if number else ""


def _fitted(widths: list[int]) -> list[int]:
    """Take columns from the widest until all fit side by side."""
    room = WIDTH - 2 - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths) > _LEAST:
        widest = widths.index(max(widths))
        others = sorted(widths)[-2] if len(widths) > 1 else _LEAST
        widths[widest] = max(_LEAST, min(widths[widest] - 1, max(others, widths[widest] - (sum(widths) - room))))
    return widths


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 3]}..."


def _wrapped(text: str, indent: str = "", more: str | None = None) -> list[str]:
    begin, rest = indent, indent or _INDENT if more is None else more
    # A path is to be copied in one piece, if it fits into a line.
    shown = printable(text[:_MOST_TEXT])
    return wrap(shown, WIDTH, initial_indent=begin, subsequent_indent=rest, break_on_hyphens=False)


def _seconds(seconds: float | None) -> str:
    """Write a time so that it can be compared at a glance."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
