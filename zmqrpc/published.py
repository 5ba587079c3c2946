"""The fan-outs that come published: each runs once for each member here, and what was missed is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from zmqrpc.core.batch import Batch, decode_batch
from zmqrpc.core.envelope import WIRE_VERSION, Fanout, Unreadable
from zmqrpc.core.fanouts import Fanouts, Missed
from zmqrpc.core.keys import decode_counter, topic_key
from zmqrpc.core.seen import Seen
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.fanout_caller import FanoutCaller
from zmqrpc.notices import Notices
from zmqrpc.requests import Requests
from zmqrpc.target import Target

_NEW = Seen.NEW


class _Served:
    """
    One topic that is served here.

    :ivar members: the names under which it is.
    """

    def __init__(self, exchange: str, name: str) -> None:
        self.exchange = exchange
        self.name = name
        self.members: list[str] = []

    def __str__(self) -> str:
        """Name it as people do."""
        return f"{self.exchange}/{self.name}"


class PublishedFanouts:
    """
    What comes by all subscriptions of a node, under the topics that it serves.

    :param most_clients: how many clients are remembered.
    :param ttl: seconds after which a silent one is forgotten.
    """

    def __init__(self, requests: Requests, notices: Notices, most_clients: int, ttl: float) -> None:
        self._requests = requests
        self._notices = notices
        self._fanouts = Fanouts(most_clients, ttl)
        self._topics: dict[bytes, _Served] = {}
        self._callers: dict[bytes, dict[tuple[bytes, str], FanoutCaller]] = {}

    @property
    def keys(self) -> Iterable[bytes]:
        """The topic-keys under which something is served here."""
        return self._topics.keys()

    def serve(self, target: Target) -> bytes | None:
        """Have a server run what is published for it; return the topic-key when that is a new one."""
        assert target.exchange is not None and target.topic is not None and target.server is not None
        key = topic_key(target.exchange, target.topic)
        topic = self._topics.get(key)
        if topic is not None:
            topic.members.append(target.server)
            return None
        topic = self._topics[key] = _Served(target.exchange, target.topic)
        topic.members.append(target.server)
        return key

    # What arrives

    def malformed(self, address: str, reason: str) -> None:
        """Count a message that was dropped."""
        text = "a message of the publisher {peer} was dropped: {reason}"
        self._notices.count("malformed", text, address, reason=reason)

    def take(self, address: str, key: bytes, counter: bytes, payload: Any, now: float) -> int:
        """
        Take what was published; parameters and result as of `zmqrpc.subscription.Subscribing.published`.

        :param address: of its publisher.
        """
        topic = self._topics.get(key)
        try:
            told = decode_counter(counter)
            batch = None if payload is None else decode_batch(payload)
        except RemoteProtocolError as error:
            self.malformed(address, str(error))
            return 1
        if topic is None:
            self._notices.count("stray")
            return 1
        fresh = self._fanouts.counted(told.publisher, key, told.count, batch is None, now)
        if batch is not None and self._is_ours(address, batch):
            self._run(address, key, topic, batch, len(payload), fresh, now)
        return len(batch.messages) or 1 if batch is not None else 1

    def _is_ours(self, address: str, batch: Batch) -> bool:
        """Tell whether a batch can be taken."""
        if batch.version != WIRE_VERSION:
            text = "client {client} published a batch of wire version {version} at {address}"
            self._notices.count(
                "bad_version",
                text,
                batch.source,
                client=batch.source,
                version=batch.version,
                address=address,
            )
            return False
        if batch.destination is not None:
            self.malformed(address, "what is published is for one instance")
            return False
        return True

    def _run(
        self,
        address: str,
        key: bytes,
        topic: _Served,
        batch: Batch,
        size: int,
        fresh: bool,
        now: float,
    ) -> None:
        """Run what has not come before; tell what comes again."""
        source = batch.source
        client = self._fanouts.client(source, now)
        if client is None:
            text = "the fan-outs of client {client} are refused, too many clients are remembered (max_clients)"
            self._notices.count("overloaded", text, source, client=source)
            return
        series = self._fanouts.series(source, key, now)
        admit = series.admit
        repeats = series.repeats
        new: list[Fanout] = []
        again = False
        name, exchange = topic.name, topic.exchange
        for message in batch.messages:
            if type(message) is not Fanout or message.topic != name or message.exchange != exchange:
                self.malformed(address, _fault_of(message))
                continue
            if message.attempt > 1:
                again = True
            if admit(message.sequence) is _NEW:
                new.append(message)
        repeats = series.repeats - repeats
        if again or (repeats and fresh):
            self._fanouts.repeated(key, now)
        self._notices.count("repeated", number=repeats)
        if not new:
            return
        age = client.age(int(now * 1000), batch.sent)
        for member in topic.members:
            # A fan-out is for each member, and a node may have several.
            named = new if member is topic.members[-1] else [msgspec.structs.replace(message) for message in new]
            for message in named:
                message.member = member
            caller = self._caller(source, key, topic, member)
            self._requests.take(caller, named, now, age, size, [])
            client.until = max(client.until, caller.until)

    def _caller(self, source: bytes, key: bytes, topic: _Served, member: str) -> FanoutCaller:
        callers = self._callers.setdefault(source, {})
        caller = callers.get((key, member))
        if caller is None:
            caller = callers[key, member] = FanoutCaller(source, str(topic), self._notices)
        return caller

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return self._fanouts.wake_at

    def sweep(self, now: float) -> None:
        """Tell what was missed, and forget who is silent."""
        if now < self._fanouts.wake_at:
            return
        missed, forgotten = self._fanouts.sweep(now)
        for each in missed:
            self._tell(each)
        for instance in forgotten:
            self._callers.pop(instance, None)

    def _tell(self, missed: Missed) -> None:
        who = f"client {missed.client.hex()}" if missed.client else f"publisher {(missed.publisher or b'').hex()}"
        topic = str(self._topics[missed.key])
        self._notices.count(
            "fanout_missed",
            "{number} published fan-outs to {topic} never came, as the numbers of {who} show",
            f"{topic} {who}",  # what another client or publisher shows is a line of its own
            topic=topic,
            number=missed.number,
            who=who,
        )


def _fault_of(message: Any) -> str:
    """Say why a message is none that is published under its key."""
    if type(message) is Unreadable:
        return str(message.reason)
    return f"a {type(message).__name__} of another topic" if type(message) is Fanout else f"a {type(message).__name__}"
