"""
Whether the peer that answers HELLO is one that the records promise (docs/spec/wire, HELLO and WELCOME).

A record that names an instance is kept by that instance alone, and the peer itself refuses what it does not serve. A
record without one leads to whoever has the address: then the targets tell whether it is the right peer.
"""

from __future__ import annotations

from collections.abc import Sequence

from zmqrpc.core.envelope import WIRE_VERSION, Welcome
from zmqrpc.core.roles import SERVER
from zmqrpc.record import Record, Role

_SAYS = {Role.LISTENER: SERVER}
"""What the peer calls itself, where that is another role than its record's: who serves and who listens is one node."""

_MOST_NAMED = 3
_LONGEST_NAME = 100


def misfit_of(welcome: Welcome, records: Sequence[Record], by_target: bool) -> str:
    """
    Say what is wrong with a WELCOME, and what was expected; empty when nothing is.

    :param records: what leads to the peer; where nothing does, nothing but the version is expected.
    :param by_target: whether one of the records has to be among what a server says that it serves.
    """
    if welcome.version != WIRE_VERSION:
        return f"it speaks wire version {welcome.version}, and {WIRE_VERSION} was offered"
    roles = {_SAYS.get(record.role, str(record.role)) for record in records}
    if roles and welcome.role not in roles:
        return f"it is a {welcome.role[:_LONGEST_NAME]!r}, and its record says {' or '.join(sorted(roles))}"
    promised = [(record.exchange, record.topic, record.member) for record in records if record.role is Role.SERVER]
    if by_target and promised and welcome.role == SERVER:
        served = [(target.exchange, target.topic, target.member) for target in welcome.targets]
        if set(served).isdisjoint(promised):
            return f"it serves {_name(served)}, and its record says {_name(promised)}"
    return ""


def _name(targets: Sequence[tuple[str, str, str | None]]) -> str:
    """Name a few targets; a peer may have written them, so they are short and without control characters."""
    names = []
    for exchange, topic, member in targets[:_MOST_NAMED]:
        name = f"{exchange}/{topic}" if member is None else f"{exchange}/{topic}.{member}"
        names.append(repr(name[:_LONGEST_NAME]))
    if len(targets) > _MOST_NAMED:
        names.append(f"{len(targets) - _MOST_NAMED} more")
    return ", ".join(names) or "nothing"
