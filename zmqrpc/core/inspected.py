"""
What an inspection tells of a node or a proxy (docs/spec/wire, Inspection): names, times and numbers, and no values.

All times are in seconds. Ages count back from when it was told, so that no clock has to be compared with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")

FORMAT = 1

INSPECT, INSPECTION, REFUSED = "inspect", "inspection", "inspection_refused"
"""The extensions of HELLO and of WELCOME by which it is asked for and told (docs/spec/wire)."""


class CallSeen(Struct, kw_only=True):
    """
    A call in flight from it, or a cast, a fan-out, a notification, or a lookup that somebody waits for.

    :ivar method: empty where nobody has looked: of a lookup, or where what it brings is large.
    :ivar phase: ``resolving``, ``queued``, ``publishing``, ``sent``, ``acknowledged``, ``running``, or ``resting`` of a
        notification that was given back.
    :ivar age: since it was made, or first handed over where it did not wait; None where that is not known.
    :ivar left: until its deadline; negative where that has passed.
    :ivar member: who it is given to, None while nobody is chosen; so with `address`, and `through`, the router proxy.
    :ivar message: its id, client instance, server instance and number; empty before it is handed over.
    :ivar attempts: how often it was sent.
    :ivar trouble: what went wrong last, empty for nothing.
    :ivar where: where it is stuck, one clause.
    """

    kind: str
    target: str
    method: str
    phase: str
    age: float | None
    left: float
    where: str
    member: str | None = None
    address: str | None = None
    through: str | None = None
    message: str = ""
    attempts: int = 0
    trouble: str = ""


class RequestSeen(Struct, kw_only=True):
    """
    A request in flight to it.

    :ivar phase: ``waiting`` for its turn, or ``running``.
    :ivar client: the instance of its caller.
    :ivar age: since its method was begun, None before that.
    :ivar left: for which its caller waits yet; None of what nobody waits for.
    :ivar thread: whether its method runs in a thread, or waits for one.
    :ivar where: what it waits for, one clause.
    """

    kind: str
    target: str
    method: str
    client: str
    phase: str
    age: float | None
    left: float | None
    where: str
    thread: bool = False


class LinkSeen(Struct, kw_only=True):
    """
    A link to an instance that it calls.

    :ivar phase: of the link; ``mute`` where it is up and the peer does not answer.
    :ivar silent: since the peer was heard; None before that.
    :ivar queued: calls that wait for it.
    :ivar queued_bytes: bytes of them.
    :ivar in_flight: calls that were handed over and are not answered.
    :ivar blocked: whether its connection takes no more.
    :ivar tries: how many connections in a row have come to nothing.
    :ivar next_try: until the next one; None while none is due.
    :ivar trouble: why the last one failed, or ended; empty for nothing.
    """

    member: str
    address: str
    instance: str
    phase: str
    silent: float | None
    queued: int
    queued_bytes: int
    in_flight: int
    blocked: bool = False
    tries: int = 0
    next_try: float | None = None
    through: str | None = None
    trouble: str = ""


class ClientSeen(Struct, kw_only=True):
    """
    A client instance that it serves.

    :ivar connection: the routing id of its newest connection, or the way to it.
    :ivar silent: since it was heard.
    :ivar running: requests that run for it.
    :ivar unsettled: messages that are remembered for it.
    :ivar unread: bytes of answers that it does not read.
    :ivar connected: whether it has a connection.
    """

    instance: str
    connection: str
    silent: float
    running: int
    unsettled: int
    unread: int
    connected: bool


class ConnectionSeen(Struct, kw_only=True):
    """
    A connection to a proxy.

    :ivar role: ``client``, ``server``, or ``publisher`` that it subscribes to.
    :ivar peer: the instance, or the address of the publisher.
    :ivar phase: ``up``, ``leaving``, or that of a subscription.
    :ivar silent: since it was heard, as far as that is written down (5 s); None where it is not.
    """

    role: str
    peer: str
    phase: str
    silent: float | None = None
    trouble: str = ""


class ProxySeen(Struct, kw_only=True):
    """
    A proxy that a node is connected to, or a publisher that it subscribes to.

    :ivar role: as what it is used: ``frontend`` (for calls), ``backend`` (to be called) or ``publisher``.
    """

    role: str
    member: str
    address: str
    phase: str
    silent: float | None = None
    trouble: str = ""


class TopicSeen(Struct, kw_only=True):
    """
    A topic that it has looked up.

    :ivar knowledge: ``known``, ``stale``, ``empty`` or ``unknown``.
    :ivar asking: whether an answer is awaited.
    :ivar records: how many there are.
    :ivar answered: since the last answer; None before that.
    :ivar waiting: calls that wait for it.
    """

    exchange: str
    topic: str
    knowledge: str
    asking: bool
    records: int
    answered: float | None
    waiting: int


class LimitSeen(Struct, kw_only=True):
    """
    A limit, and how full it is.

    :ivar option: its name; ``LimitNOFILE``, as systemd calls it, for the file descriptors of the process.
    :ivar used: of several that are limited alike, the fullest.
    :ivar where: which one that is; empty where there is one.
    """

    option: str
    used: int
    most: int
    where: str = ""


class EventSeen(Struct, kw_only=True):
    """An event of the flight recorder, as `zmqrpc.core.recorder.Event`."""

    age: float
    name: str
    peer: str
    number: int
    text: str


class Matchmaker(Struct, kw_only=True, frozen=True):
    """
    The name service, as it is known here.

    :ivar url: without its password.
    :ivar away: why it does not answer, empty while it does.
    :ivar failing: why single ones of several stores do not.
    :ivar not_ready: why others cannot find it, empty when they can.
    """

    name: str = ""
    url: str = ""
    away: str = ""
    failing: list[str] = []
    not_ready: str = ""


class Inspected(Struct, kw_only=True):
    """
    A node or a proxy.

    :ivar kind: ``node``, or the name of the kind of proxy.
    :ivar serves: what it serves, ``EXCHANGE/TOPIC.MEMBER``.
    :ivar uptime: since it was started.
    :ivar stage: ``not started``, ``open`` (it is bound), ``running``, ``stopping``, ``stopped`` or ``failed``.
    :ivar calls: in flight from it, the oldest first; `requests` to it.
    :ivar events: the newest first.
    :ivar counters: how often each thing was counted.
    :ivar left_out: of which of these lists how many rows are left out.
    """

    kind: str
    member: str
    instance: str
    address: str = ""
    version: str = ""
    process: int = 0
    uptime: float = 0.0
    stage: str = ""
    format: int = FORMAT
    serves: list[str] = []
    matchmaker: Matchmaker = Matchmaker()
    calls: list[CallSeen] = []
    requests: list[RequestSeen] = []
    links: list[LinkSeen] = []
    clients: list[ClientSeen] = []
    connections: list[ConnectionSeen] = []
    proxies: list[ProxySeen] = []
    topics: list[TopicSeen] = []
    limits: list[LimitSeen] = []
    events: list[EventSeen] = []
    counters: dict[str, int] = {}
    left_out: dict[str, int] = {}

    def first(self, table: str, rows: Sequence[T], most: int) -> Sequence[T]:
        """Return the rows of a list that are told, and note how many are left out."""
        self.leave_out(table, len(rows), min(len(rows), most))
        return rows[:most]

    def leave_out(self, table: str, count: int, told: int) -> None:
        """Note how many rows of a list are left out, if any are."""
        if count > told:
            self.left_out[table] = count - told
