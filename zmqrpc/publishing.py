"""What is published: hands fan-outs to the proxies that publish, and brings them to their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import Refusal
from zmqrpc.core.keys import topic_key
from zmqrpc.core.publishing import PublishingState
from zmqrpc.interfaces import GONE, SENT
from zmqrpc.notices import Notices
from zmqrpc.outcomes import Outcomes
from zmqrpc.publishers import Publishers
from zmqrpc.settings import Settings
from zmqrpc.waiter import Waiter

TO_EACH = object()
"""What a fan-out ends with that was not published, and will not be: it is to be sent to each by itself."""

DECIDE_SECONDS = 1.0
"""How long a fan-out waits at most until it is known which publishers are recorded."""


class PublishingProxy(Protocol):
    """A proxy that publishes, as `zmqrpc.proxies` has it."""

    @property
    def key(self) -> str:
        """Its instance in hex, or its address; another proxy never has the same."""

    @property
    def address(self) -> str:
        """Where we are connected to it."""

    @property
    def member(self) -> str:
        """The name of its host."""

    @property
    def connection(self) -> bytes | None:
        """The routing id of the present connection to it."""

    @property
    def largest(self) -> int:
        """The largest payload that it takes, bytes."""

    def publish(self, key: bytes, payload: bytes) -> int:
        """Have a payload published under a topic-key; return `SENT`, `FULL` or `GONE`."""


class Described(NamedTuple):
    """
    How `Publishing` stands.

    :ivar open: how many fan-outs have not ended.
    :ivar unanswered_bytes: how many bytes publishers were given that they have not answered.
    :ivar publishers: the `key` of the proxy that the fan-outs of each topic-key go by.
    """

    open: int
    unanswered_bytes: int
    publishers: dict[bytes, str]


class Publishing:
    """
    Every fan-out of one node that is to be published.

    :param instance: our own instance.
    :param publishers: those that are recorded.
    :param seconds: the monotonic clock.
    :param kick: asks for a pass soon, at the end of which what was gathered is written.
    :param wake_by: asks that `sweep` is called at a time.
    :param came_up: called when a publisher can be used.
    """

    log = Logger()

    def __init__(
        self,
        instance: bytes,
        settings: Settings,
        outcomes: Outcomes,
        notices: Notices,
        publishers: Publishers,
        seconds: Callable[[], float],
        kick: Callable[[], None],
        wake_by: Callable[[float], None],
        came_up: Callable[[], None],
    ) -> None:
        self._state = PublishingState(
            instance,
            settings.max_message_size,
            settings.max_queued_calls,
            settings.max_queued_bytes,
            settings.max_routes,
        )
        self._outcomes = outcomes
        self._notices = notices
        self._publishers = publishers
        publishers.changed = self._decide
        self._undecided: list[Deferred[None]] = []
        self._decide_at = NEVER
        self._seconds = seconds
        self._kick = kick
        self._wake_by = wake_by
        self._came_up = came_up
        self._proxies: dict[str, PublishingProxy] = {}
        self._names: dict[str, str] = {}
        self._unrepeated = 0

    @property
    def up(self) -> bool:
        """Whether there is a publisher that can be used."""
        return bool(self._names)

    def describe(self) -> Described:
        """Say how it stands."""
        by_name = {name: proxy.key for name, proxy in self._proxies.items()}
        publishers = {key: by_name[name] for key, name in self._state.ways() if name in by_name}
        return Described(len(self._state), self._state.unanswered_bytes, publishers)

    def calls(self) -> list[Waiter]:
        """List what has not ended, in the order in which it came."""
        return self._state.calls()

    def why(self, call: Waiter) -> str:
        """Say why something is not published yet; empty of what is not to be."""
        trouble = self._state.why(call)
        return "" if trouble is None else trouble.value

    # What callers want

    @property
    def useless(self) -> bool:
        """Whether nothing can be published, as the proxies that are recorded do not."""
        return self._publishers.none_publishes and not self.up

    def undecided(self, deadline: float) -> Deferred[None] | None:
        """Return what fires when it is known whether fan-outs can be published, or soon at least; None when it is."""
        if self.up or self._publishers.known:
            return None
        waiter: Deferred[None] = Deferred(self._undecided.remove)
        self._undecided.append(waiter)
        self._decide_at = min(self._decide_at, self._seconds() + DECIDE_SECONDS, deadline)
        self._wake_by(self._decide_at)
        return waiter

    def _decide(self) -> None:
        self._decide_at = NEVER
        undecided, self._undecided = self._undecided, []
        for waiter in undecided:
            waiter.callback(None)
        self._give_back()

    def _give_back(self) -> None:
        """Wait no longer for a publisher where proxies are recorded, and none of them publishes."""
        if self.useless:
            for call in self._state.take_unwritten():
                call.succeed(TO_EACH)

    def publish(self, call: Waiter, exchange: str, topic: str) -> None:
        """
        Publish a fan-out at the end of the pass, or as soon as a publisher is up.

        :param call: succeeds when it is published, or with `TO_EACH`; fails as `RPCClient.fanout` says; it was made
            with `cancel`.
        """
        if call.began is None:
            call.began = self._seconds()
        if not self._state.add(topic_key(exchange, topic), call):
            self._outcomes.crowded_out_of_publishing(call, len(self._state))
            return
        self._kick()
        self._wake_by(self._state.wake_at)

    def cancel(self, call: Any) -> None:
        """End a fan-out (a `Waiter`) because its caller does not want it any more; what is published stays so."""
        self._state.withdraw(call)
        self._outcomes.cancelled(call)

    def close(self) -> None:
        """End every fan-out."""
        self._proxies.clear()
        self._names.clear()
        self._decide()
        for call, _ in self._state.take_all():
            self._outcomes.stopped(call)

    # What proxies tell

    def publisher_up(self, proxy: PublishingProxy) -> None:
        """A proxy that publishes can be used."""
        # What comes by another connection answers nothing that was written to one before.
        self._names[proxy.key] = name = _name(proxy, proxy.connection or b"")
        self._proxies[name] = proxy
        self._state.publisher_up(name, proxy.key, proxy.largest, self._seconds())
        self._kick()
        self._decide()
        self._came_up()

    def publisher_lost(self, proxy: PublishingProxy) -> None:
        """A proxy cannot be used any more; what it answers yet counts."""
        name = self._names.pop(proxy.key, None)
        if name is not None:
            del self._proxies[name]
            self._state.publisher_lost(name, self._seconds())
            self._give_back()
            self._kick()

    def published(self, proxy: PublishingProxy, connection: bytes, key: bytes, counter: bytes) -> None:
        """
        A proxy has published what it was given next under a key.

        :param connection: by which it says so; perhaps one that is lost.
        """
        for call in self._state.published(_name(proxy, connection), key, self._seconds()):
            call.succeed(None)
        self._written()

    def returned(self, proxy: PublishingProxy, connection: bytes, payload: bytes, reason: Refusal) -> None:
        """
        A proxy gave back a payload; nothing follows when it was not to be published.

        :param connection: as for `published`.
        """
        full = reason is not Refusal.UNROUTABLE
        self._state.returned(_name(proxy, connection), payload, full, self._seconds())
        self._written()

    def _written(self) -> None:
        self._kick()
        self._wake_by(self._state.wake_at)

    # The end of a pass, and time

    def end_pass(self) -> None:
        """Write what was gathered."""
        if not self._state.ready:
            return
        now = self._seconds()
        while (batch := self._state.next_batch(now)) is not None:
            fate = self._proxies[batch.publisher].publish(batch.topic.key, batch.payload)
            if fate == SENT:
                self._state.taken(batch)
            else:
                self._state.not_taken(batch, fate == GONE, now)
        for call, uncertain, largest in self._state.take_oversized():
            self._outcomes.unpublishable(call, largest, uncertain)
        if self._state.wake_at < NEVER:
            self._wake_by(self._state.wake_at)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._state.wake_at, self._decide_at)

    def sweep(self, now: float) -> None:
        """End what is past its deadline, and try again what could not be published a moment ago."""
        if now >= self._decide_at:
            self._decide()
        for call, trouble, uncertain in self._state.overdue(now):
            self._outcomes.unpublished(call, trouble, self._publishers.missing, uncertain)
        self._state.resume(now)
        self.end_pass()
        if self._state.unrepeated > self._unrepeated:
            number, self._unrepeated = self._state.unrepeated - self._unrepeated, self._state.unrepeated
            text = (
                "{number} fan-outs that a publisher had published just before it was lost could not be published "
                "again in time, subscribers may have missed them"
            )
            self._notices.count("fanout_unrepeated", text, number=number)


def _name(proxy: PublishingProxy, connection: bytes) -> str:
    return f"{proxy.key}/{connection.hex()}"
