"""What a fixed table says (docs/spec/records)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from zmqrpc.address import split_address, tcp_address
from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.matchmaker._lines import Pairs, Text, read_lines
from zmqrpc.record import Record, Role
from zmqrpc.target import check_name

FORM = '{"topic": ["host:port", ...]} or {"topic": {"member": "host:port"}}'

_SIDES = {"$proxies": ("frontend", "backend"), "$publishers": ("frontend", "publisher")}
"""The keys that are no topics, and the addresses that an entry of each may name."""


class Line(NamedTuple):
    """
    What the table says of one member of a topic.

    :ivar address: ``host:port``.
    """

    address: str
    record: Record


class FixedTable:
    """
    The content of a fixed table.

    :param text: the text of the file.
    :param exchange: that of topics that name none.
    :ivar topics: the lines of each topic, by member.
    :raises ValueError: it cannot be used; the text begins with the line.
    """

    def __init__(self, text: str, exchange: str) -> None:
        self.topics: dict[TopicKey, dict[str, Line]] = {}
        read = read_lines(text)
        if not isinstance(read, Pairs):
            raise ValueError(f"line 1: this is no object; write {FORM}")
        for key, value in read:
            if key.startswith("$"):
                _check_reserved(key, value)
                continue
            topic = _topic(key, exchange)
            if topic in self.topics:
                raise _wrong(key, f"is the topic {'/'.join(topic)} a second time; write all its members in one place")
            self.topics[topic] = _lines(topic, key, value)
        _check_once(read)

    def records(self) -> list[Record]:
        """List the records of all lines."""
        return [line.record for lines in self.topics.values() for line in lines.values()]

    def has(self, record: Record) -> bool:
        """Tell whether a line says of a member what the record says: where it is."""
        line = self.topics.get((record.exchange, record.topic), {}).get(record.member)
        return line is not None and line.record.addresses == record.addresses

    def line(self, topic: TopicKey, member: str) -> Line:
        """
        Find the line of a member.

        :raises LookupError: there is none; the text says what there is instead.
        """
        lines = self.topics.get(topic)
        if lines is None:
            known = ", ".join(sorted("/".join(known) for known in self.topics)) or "none"
            raise LookupError(f"has no topic {'/'.join(topic)}; its topics are {known}")
        if member not in lines:
            known = ", ".join(sorted(lines)) or "none"
            raise LookupError(f"has no member {member} under the topic {'/'.join(topic)}; its members are {known}")
        return lines[member]


def _wrong(culprit: Text, text: str) -> ValueError:
    return ValueError(f"line {culprit.line}: {str(culprit)!r} {text}")


def _named(what: str, name: str, line: int) -> str:
    try:
        return check_name(what, name)
    except ConfigError as error:
        raise ValueError(f"line {line}: {error}") from None


def _topic(key: Text, exchange: str) -> TopicKey:
    before, slash, after = key.partition("/")
    if not slash:
        return exchange, _named("topic", key, key.line)
    return _named("exchange", before, key.line), _named("topic", after, key.line)


def _check_once(pairs: Pairs) -> None:
    seen: dict[str, Text] = {}
    for name, _ in pairs:
        if name in seen:
            raise _wrong(name, f"is in line {seen[name].line} already; write it once")
        seen[name] = name


def _lines(topic: TopicKey, key: Text, value: Any) -> dict[str, Line]:
    if isinstance(value, Pairs):
        _check_once(value)
        pairs = value
    elif isinstance(value, list):
        pairs = Pairs((_host(key, item), item) for item in value)
    else:
        raise _wrong(key, f"has neither a list nor an object of addresses; write {FORM}")
    lines: dict[str, Line] = {}
    owners: dict[str, Text] = {}
    for member, text in pairs:
        _named("member", member, member.line)
        address = tcp_address(*_address(member, text))
        if address in owners:
            other = owners[address]
            twice = f"is in line {other.line} already; write it once"
            both = f"is the address of both {other} and {member}; give each its own"
            raise _wrong(text, both if isinstance(value, Pairs) else twice)
        if member in lines:
            raise _wrong(
                text,
                f"is a second address on the host {member}, and the hosts of a list are the names of its members; "
                f'name them instead, {{"{key}": {{"a": "{lines[member].address}", "b": "{text}"}}}}',
            )
        owners[address] = member
        record = Record(Role.SERVER, topic[0], topic[1], str(member), addresses=(address,))
        lines[str(member)] = Line(address.removeprefix("tcp://"), record)
    return lines


def _address(name: Text, text: Any) -> tuple[str, int]:
    if not isinstance(text, Text):
        raise _wrong(name, f"has no address; write {FORM}")
    try:
        return split_address(text)
    except ValueError as error:
        raise _wrong(text, str(error)) from None


def _host(key: Text, item: Any) -> Text:
    """Name the member of an entry of a list: the host as it is written, without the brackets of IPv6."""
    _address(key, item)
    member = Text(item.rpartition(":")[0].strip("[]"))
    member.line = item.line
    return member


def _check_reserved(key: Text, value: Any) -> None:
    sides = _SIDES.get(key)
    if sides is None:
        raise _wrong(
            key,
            f"is no topic, as it begins with $; the keys that do are {' and '.join(_SIDES)}, and a topic of that name "
            "is written with its exchange, exchange/topic",
        )
    if not isinstance(value, Pairs):
        raise _wrong(key, f'has no object of entries; write {{"{key}": {{"name": "host:port"}}}}')
    _check_once(value)
    owners: dict[str, str] = {}
    for name, entry in value:
        _named("name", name, name.line)
        for side, text in _sides(name, entry, sides):
            address = tcp_address(*_address(side, text))
            if address in owners:
                raise _wrong(text, f"is the address of both {owners[address]} and {name}; give each its own")
            owners[address] = name


def _sides(name: Text, entry: Any, sides: tuple[str, ...]) -> Iterator[tuple[Text, Any]]:
    if isinstance(entry, Text):
        yield name, entry
        return
    if not isinstance(entry, Pairs) or not entry:
        raise _wrong(name, f'has neither "host:port" nor an object with {" and ".join(sides)}')
    _check_once(entry)
    for side, text in entry:
        if side not in sides:
            raise _wrong(side, f"is nothing that {name} can have; valid are {' and '.join(sides)}")
        yield side, text
