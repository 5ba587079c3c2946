"""What a fixed table says (docs/spec/records)."""

from __future__ import annotations

from typing import Any, NamedTuple

from zmqrpc.address import split_address, tcp_address
from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.matchmaker._lines import Pairs, Text, read_lines
from zmqrpc.record import PROXIES, SIDES, Record, Role
from zmqrpc.target import check_name

FORM = '{"topic": ["host:port", ...]} or {"topic": {"member": "host:port"}}'

_FRONTEND, _BACKEND, _PUBLISHER = SIDES

_RESERVED = {"$proxies": (Role.ROUTER, _FRONTEND, _BACKEND), "$publishers": (Role.PUBLISHER, _FRONTEND, _PUBLISHER)}
"""The keys that are no topics: the role of what they name, and the two addresses of each, as `Record` orders them."""


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
    :ivar proxies: the records of proxies.
    :raises ValueError: it cannot be used; the text begins with the line.
    """

    def __init__(self, text: str, exchange: str) -> None:
        self.topics: dict[TopicKey, dict[str, Line]] = {}
        self.proxies: list[Record] = []
        read = read_lines(text)
        if not isinstance(read, Pairs):
            raise ValueError(f"line 1: this is no object; write {FORM}")
        for key, value in read:
            if key.startswith("$"):
                self.proxies += _proxies(key, value)
                continue
            topic = _topic(key, exchange)
            if topic in self.topics:
                raise _wrong(key, f"is the topic {'/'.join(topic)} a second time; write all its members in one place")
            self.topics[topic] = _lines(topic, key, value)
        _check_once(read)

    def records(self) -> list[Record]:
        """List the records of all lines."""
        return [line.record for lines in self.topics.values() for line in lines.values()] + self.proxies

    def of_topic(self, topic: TopicKey) -> list[Record]:
        """List the records of one topic."""
        return self.proxies if topic == PROXIES else [line.record for line in self.topics.get(topic, {}).values()]

    def has(self, record: Record) -> bool:
        """Tell whether a line says of a member what the record says: where it is."""
        where = (record.role, record.member, record.addresses)
        topic = record.exchange, record.topic
        return any((line.role, line.member, line.addresses) == where for line in self.of_topic(topic))

    def socket_of(self, member: str, side: str) -> str | None:
        """
        Find where a socket of a proxy is.

        :param side: one of `SIDES`.
        :return: ``host:port``; None where the lines of the proxy name no such socket.
        :raises LookupError: there is no line for the proxy; the text says which there are.
        """
        ours = [record for record in self.proxies if record.member == member]
        if not ours:
            known = ", ".join(sorted({record.member for record in self.proxies})) or "none"
            raise LookupError(f"has no proxy {member}; its proxies are {known}")
        for record in ours:
            _, first, last = next(sides for sides in _RESERVED.values() if sides[0] is record.role)
            if side in (first, last):
                return record.addresses[0 if side == first else -1].removeprefix("tcp://")
        return None

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


def _proxies(key: Text, value: Any) -> list[Record]:
    reserved = _RESERVED.get(key)
    if reserved is None:
        raise _wrong(
            key,
            f"is no topic, as it begins with $; the keys that do are {' and '.join(_RESERVED)}, and a topic of that "
            "name is written with its exchange, exchange/topic",
        )
    role, *sides = reserved
    if not isinstance(value, Pairs):
        raise _wrong(key, f'has no object of entries; write {{"{key}": {{"name": {_entry_form(sides)}}}}}')
    _check_once(value)
    owners: dict[str, str] = {}
    records = []
    for name, entry in value:
        _named("name", name, name.line)
        addresses = []
        for side, text in _sides(name, entry, sides):
            address = tcp_address(*_address(side, text))
            if address in owners:
                raise _wrong(text, f"is the address of both {owners[address]} and {name}; give each its own")
            owners[address] = name
            addresses.append(address)
        records.append(Record(role, *PROXIES, str(name), addresses=addresses))
    return records


def _entry_form(sides: list[str]) -> str:
    return "{" + ", ".join(f'"{side}": "host:port"' for side in sides) + "}"


def _sides(name: Text, entry: Any, sides: list[str]) -> list[tuple[Text, Any]]:
    """Return the addresses of an entry, each with what it is called there, in the order of a record."""
    has_one = _BACKEND in sides
    if isinstance(entry, Text) and has_one:
        return [(name, entry)]
    if not isinstance(entry, Pairs) or not entry:
        either = 'neither "host:port" nor' if has_one else "not"
        raise _wrong(name, f"has {either} an object with {' and '.join(sides)}")
    _check_once(entry)
    for given, _ in entry:
        if given not in sides:
            raise _wrong(given, f"is nothing that {name} can have; valid are {' and '.join(sides)}")
    named = {str(given): (given, text) for given, text in entry}
    for side in sides:
        if side not in named and not (has_one and side == _BACKEND):
            raise _wrong(name, f"names no {side}; write {_entry_form(sides)}")
    return [named[side] for side in sides if side in named]
