"""
What a router proxy does with each message: looks at its routing key, at what is addressed to itself, and nothing else.

Pure: what has arrived in, effects out. The sockets and publishing are the shell's.

Hot path: `Relay.way` is asked for each message, twice for a call, and costs 0.2 us; so what is forwarded makes no
effect. Each connection has the table of those it may write to, by their routing keys as they stand on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from zmqrpc.core.age import is_read_late
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import RETURN_OVERHEAD, decode_batch
from zmqrpc.core.envelope import (
    WIRE_VERSION,
    Goaway,
    Hello,
    Message,
    Nack,
    Ping,
    Pong,
    Refusal,
    Served,
    Unreadable,
    Welcome,
)
from zmqrpc.core.inspected import INSPECT
from zmqrpc.core.keys import SELF_KEY, instance_key, read_instance, read_topic
from zmqrpc.core.roles import CLIENT, PUBLISH, ROUTER, SERVER
from zmqrpc.errors import RemoteProtocolError

SILENCE = 60.0
"""Seconds without a message after which a connection is forgotten."""

LEAVE = 2.0
"""Seconds of a stop for which a client that says nothing is waited for."""

_LOOK = 5.0
"""Seconds between two looks at who has been silent."""

_MOST_TOLD = 1000
"""Characters at most of why the proxy is not ready: several stores may each say a sentence."""


class Connection:
    """
    One connection that has said HELLO.

    :ivar side: which ROUTER it belongs to.
    :ivar identity: its routing id there.
    :ivar instance: who is behind it.
    :ivar key: the routing key of that.
    :ivar serves: whether its role is that of a server.
    :ivar said: the `sent` of its HELLO.
    :ivar largest: the largest payload that it accepts, bytes.
    :ivar others: whom it may write to: for a client the servers, for a server the clients.
    :ivar spoke: whether it has said something since `heard` was written down.
    :ivar leaving: whether it has said GOAWAY.
    """

    __slots__ = (
        *("heard", "identity", "instance", "key", "largest", "leaving"),
        *("others", "said", "serves", "side", "spoke"),
    )

    def __init__(
        self,
        side: int,
        identity: bytes,
        instance: bytes,
        serves: bool,
        said: int,
        largest: float,
        others: dict[bytes, Connection],
        now: float,
    ) -> None:
        self.side = side
        self.identity = identity
        self.instance = instance
        self.key = instance_key(instance)
        self.serves = serves
        self.said = said
        self.largest = largest
        self.others = others
        self.heard = now
        self.spoke = False
        self.leaving = False


class Answer(Struct, frozen=True):
    """
    Send messages of the proxy itself, under `SELF_KEY`.

    :ivar instance: whom they are for, None where that is not known.
    """

    side: int
    identity: bytes
    instance: bytes | None
    messages: Sequence[Message]


class Publish(Struct, frozen=True):
    """Publish the payload under the key, for a client."""

    connection: Connection
    key: bytes


class Discard(Struct, frozen=True):
    """
    Nothing can be answered: count it.

    :ivar name: what it is counted as.
    :ivar text: why.
    """

    name: str
    text: str


class Came(Struct, frozen=True):
    """Tell what a server serves that has come, or serves something else than before."""

    targets: Sequence[Served]


Effect: TypeAlias = Answer | Publish | Discard | Came


class Relay:
    """
    The dispatch of a router proxy, and which connection is the newest of each instance.

    :param instance: of the proxy.
    :param largest: the largest payload that it accepts, bytes.
    :param most: how many connections it knows; for one more, the one that has been silent for longest is forgotten.
    :param publishes: whether it is a publisher proxy too.
    :ivar forgotten: how many connections were forgotten to make room.
    :ivar not_ready: why others cannot find the proxy, as WELCOME tells it; empty when they can, None to tell nothing.
    :ivar inspect: returns the extensions of a WELCOME which say what is going on, to a HELLO that asks for it.
    :ivar told: is told which connections come and go: ``came``, ``left`` (by GOAWAY) or ``forgotten``, and which.
    """

    def __init__(self, instance: bytes, largest: int, most: int, publishes: bool) -> None:
        self.forgotten = 0
        self.inspect: Callable[[Hello], dict[str, Any]] = lambda hello: {}
        self.told: Callable[[str, Connection], None] = lambda what, connection: None
        self.not_ready: str | None = None
        self._instance = instance
        self._largest = largest
        self._most = most
        self._publishes = publishes
        # In the order in which they were heard of, as far as that has been written down.
        self._known: dict[tuple[int, bytes], Connection] = {}
        self._by_identity: tuple[dict[bytes, Connection], dict[bytes, Connection]] = ({}, {})
        self._clients: dict[bytes, Connection] = {}
        self._servers: dict[bytes, Connection] = {}
        # By whether it serves, and its key: all connections of an instance that has several, the newest last.
        self._siblings: dict[tuple[bool, bytes], dict[Connection, None]] = {}
        self._next_look = NEVER
        self._drained_since = NEVER
        self._goaway = Goaway()
        self._refusals: tuple[tuple[str, str], ...] = ()

    def part(self, frontend: str, backend: str) -> None:
        """Take that each side has a socket of its own, at these addresses: then each is for one role alone."""
        self._refusals = (
            (SERVER, f"{frontend} is the frontend, which is for clients; the backend {backend} is for servers"),
            (CLIENT, f"{backend} is the backend, which is for servers; the frontend {frontend} is for clients"),
        )

    def __len__(self) -> int:
        """Return how many connections are known."""
        return len(self._known)

    def connections(self) -> list[Connection]:
        """List the connections that are known, those first that were heard longest ago."""
        return list(self._known.values())

    # What every message is asked

    def way(self, side: int, identity: bytes, key: bytes) -> Connection | None:
        """Return the connection that a message goes to; None when `dispatch` has to say what becomes of it."""
        connection = self._by_identity[side].get(identity)
        if connection is None:
            return None
        connection.spoke = True
        return connection.others.get(key)

    # What is no common message

    def dispatch(self, side: int, identity: bytes, key: bytes, payload: Any, now: float) -> list[Effect]:
        """
        Decide what becomes of a message that has no way.

        :param payload: bytes, or an object with the buffer interface and a length.
        """
        if key == SELF_KEY:
            return self._own(side, identity, payload, now)
        if read_instance(key) is None and read_topic(key) is None:
            return [Discard("malformed", f"a routing key of {len(key)} bytes that is none of ours")]
        connection = self._by_identity[side].get(identity)
        if connection is None:
            return [Answer(side, identity, None, (Nack(Refusal.WRONG_INSTANCE, []),))]
        if read_instance(key) is None and self._publishes and not connection.serves:
            return [Publish(connection, key)]
        return [self.give_back(side, identity, Refusal.UNROUTABLE, payload)]

    def keyless(self, side: int, identity: bytes, payload: Any) -> Answer | Discard:
        """Decide what becomes of a message without a key: who asks with HELLO is told who is here, and not learned."""
        try:
            batch = decode_batch(payload)
        except RemoteProtocolError as error:
            return Discard("malformed", str(error))
        if batch.version == WIRE_VERSION and len(batch.messages) == 1 and isinstance(batch.messages[0], Hello):
            hello = batch.messages[0]
            if INSPECT in (hello.extensions or {}):
                welcome = self._welcome(batch.sent)
                welcome.extensions = {**(welcome.extensions or {}), **self.inspect(hello)}
                return Answer(side, identity, batch.source, [welcome])
            answer = self._refusal(side, hello) or self._welcome(batch.sent)
            return Answer(side, identity, batch.source, [answer])
        return Discard("malformed", "one frame where a key and a payload belong")

    def largest(self, side: int, identity: bytes) -> float:
        """Return the largest payload that a connection accepts, bytes; 0 where it has not said HELLO."""
        connection = self._by_identity[side].get(identity)
        return 0 if connection is None else connection.largest

    def give_back(self, side: int, identity: bytes, reason: Refusal, payload: Any) -> Answer:
        """Return a payload to its sender, or say at least that it went nowhere when that could not read so much."""
        connection = self._by_identity[side].get(identity)
        fits = connection is None or len(payload) + RETURN_OVERHEAD <= connection.largest
        nack = Nack(reason, [], "", bytes(payload) if fits else None)
        return Answer(side, identity, connection.instance if connection is not None else None, (nack,))

    def undeliverable(self, side: int, identity: bytes, to: Connection, gone: bool, payload: Any) -> Answer:
        """
        Take that a message that came from `identity` could not be written.

        :param gone: whether the connection it was for is gone; else it is full.
        """
        if gone:
            self.forget(to)
        return self.give_back(side, identity, Refusal.UNROUTABLE if gone else Refusal.OVERLOADED, payload)

    def _own(self, side: int, identity: bytes, payload: Any, now: float) -> list[Effect]:
        """Take what is addressed to the proxy; one message that is of no use does not cost the others their answers."""
        try:
            batch = decode_batch(payload)
        except RemoteProtocolError as error:
            return [Discard("malformed", str(error))]
        if batch.version != WIRE_VERSION:
            return [Answer(side, identity, batch.source, [_bad_version(f"{batch.version}")])]
        is_for_us = batch.destination in (None, self._instance)
        effects: list[Effect] = []
        answers: list[Message] = []
        for message in batch.messages:
            if isinstance(message, Unreadable):
                effects.append(Discard("malformed", message.reason))
                continue
            if isinstance(message, Hello):
                refusal = self._refusal(side, message)
                if refusal is not None:
                    answers.append(refusal)
                    break
                answers.append(self._welcome(batch.sent))
                # Who looks for our predecessor on this port is told who is there, and goes.
                if is_for_us:
                    self._learn(side, identity, batch.source, batch.sent, message, now)
                    if message.role == SERVER and message.targets:
                        effects.append(Came(message.targets))
                    if self._drained_since < NEVER:
                        answers.append(self._goaway)
                continue
            connection = self._by_identity[side].get(identity)
            if connection is None or connection.instance != batch.source or not is_for_us:
                answers.append(Nack(Refusal.WRONG_INSTANCE, []))
                break
            if isinstance(message, Ping):
                answers.append(Pong(message.token))
            elif isinstance(message, Goaway):
                self._leave(connection)
            else:
                effects.append(Discard("unexpected", f"a {type(message).__name__} for the proxy"))
        if answers:
            effects.append(Answer(side, identity, batch.source, answers))
        return effects

    def _refusal(self, side: int, hello: Hello) -> Nack | None:
        """Return what a HELLO is refused with, None when it is taken."""
        if not hello.lowest <= WIRE_VERSION <= hello.highest:
            return _bad_version(f"{hello.lowest} to {hello.highest}")
        if hello.role not in (CLIENT, SERVER):
            text = f"a proxy takes the roles {CLIENT} and {SERVER}, not {hello.role[:40]!r}"
            return Nack(Refusal.NOT_SERVED, [], text)
        refused, text = self._refusals[side] if self._refusals else ("", "")
        return Nack(Refusal.NOT_SERVED, [], text) if hello.role == refused else None

    def _welcome(self, echoed: int) -> Welcome:
        features = [PUBLISH] if self._publishes else []
        told = None if self.not_ready is None else {"not_ready": self.not_ready[:_MOST_TOLD]}
        return Welcome(WIRE_VERSION, echoed, ROUTER, features, {"message": self._largest}, [], told)

    # Who is there

    def _learn(self, side: int, identity: bytes, instance: bytes, said: int, hello: Hello, now: float) -> None:
        """
        Take who is behind a connection, which is the newest of the instance, unless its HELLO was read late.
        """
        before = self._by_identity[side].get(identity)
        if before is not None:
            self.forget(before)
        elif len(self._known) >= self._most:
            self._make_room(now)
        serves = hello.role == SERVER
        newest, others = (self._servers, self._clients) if serves else (self._clients, self._servers)
        largest = hello.limits.get("message", self._largest)
        connection = Connection(side, identity, instance, serves, said, largest, others, now)
        self._known[side, identity] = self._by_identity[side][identity] = connection
        self.told("came", connection)
        older = newest.setdefault(connection.key, connection)
        if older is not connection:
            siblings = self._siblings.setdefault((serves, connection.key), {older: None})
            siblings[connection] = None
            if is_read_late(said, older.said):
                siblings[older] = siblings.pop(older)
            else:
                newest[connection.key] = connection
        if self._next_look == NEVER:
            self._next_look = now + _LOOK

    def forget(self, connection: Connection) -> None:
        """Know a connection no more; an unknown one is no error."""
        if self._known.get((connection.side, connection.identity)) is not connection:
            return
        if not connection.leaving:
            self.told("forgotten", connection)
        del self._known[connection.side, connection.identity]
        del self._by_identity[connection.side][connection.identity]
        newest = self._servers if connection.serves else self._clients
        among = connection.serves, connection.key
        siblings = self._siblings.get(among)
        if siblings is None:
            del newest[connection.key]
            return
        del siblings[connection]
        newest[connection.key] = next(reversed(siblings))
        if len(siblings) == 1:
            del self._siblings[among]

    def heir(self, connection: Connection) -> Connection | None:
        """Forget a connection that is gone; return another of its instance, in the same role."""
        self.forget(connection)
        return (self._servers if connection.serves else self._clients).get(connection.key)

    def _leave(self, connection: Connection) -> None:
        """Take that a connection is left; what is for its instance goes by another that is not."""
        if connection.leaving:
            return
        connection.leaving = True
        self.told("left", connection)
        siblings = self._siblings.get((connection.serves, connection.key), {})
        stays = [sibling for sibling in siblings if not sibling.leaving]
        if stays:
            siblings[stays[-1]] = siblings.pop(stays[-1])
            (self._servers if connection.serves else self._clients)[connection.key] = stays[-1]

    def forget_behind(self, side: int, identity: bytes) -> None:
        """Know no more who is behind a connection, as `forget`: it could not be told what it counts on."""
        connection = self._by_identity[side].get(identity)
        if connection is not None:
            self.forget(connection)

    def _make_room(self, now: float) -> None:
        """Forget who has been silent for longest: the first that has not spoken since it was last looked at."""
        self.forgotten += 1
        for _ in range(len(self._known)):
            connection = next(iter(self._known.values()))
            if not connection.spoke:
                break
            self._write_down(connection, now)
        self.forget(next(iter(self._known.values())))

    def _write_down(self, connection: Connection, now: float) -> None:
        """Take that it has spoken, and is the last to be forgotten."""
        connection.spoke = False
        connection.heard = now
        where = connection.side, connection.identity
        self._known[where] = self._known.pop(where)

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return self._next_look

    def sweep(self, now: float) -> None:
        """Write down who has spoken, and forget who has not for a minute."""
        if now < self._next_look:
            return
        self._look(now)
        for connection in list(self._known.values()):
            if connection.heard > now - SILENCE:
                break
            self.forget(connection)
        self._next_look = now + _LOOK if self._known else NEVER

    def _look(self, now: float) -> None:
        for connection in list(self._known.values()):
            if connection.spoke:
                self._write_down(connection, now)

    # The end

    def drain(self, text: str, now: float) -> None:
        """Have the end begin: who says HELLO from now on is told GOAWAY at once."""
        self._goaway = Goaway(text)
        self._drained_since = now

    def goaways(self) -> Iterator[Answer]:
        """Say GOAWAY to all who have not said it themselves."""
        for connection in list(self._known.values()):
            if not connection.leaving:
                yield Answer(connection.side, connection.identity, connection.instance, (self._goaway,))

    def drained(self, now: float) -> bool:
        """Tell whether every client has said GOAWAY, or nothing for two seconds of the stop."""
        self._look(now)
        return all(
            connection.leaving or max(connection.heard, self._drained_since) <= now - LEAVE
            for connection in self._clients.values()
        )


def _bad_version(theirs: str) -> Nack:
    text = f"wire versions {WIRE_VERSION} to {WIRE_VERSION} are spoken here, not {theirs}"
    return Nack(Refusal.BAD_VERSION, [], text)
