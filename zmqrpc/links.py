"""
Every link of a node.

Hot path: the loop over replies in `Links.payload_received`, flat because it is every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.answers import NO_WELCOME, Answers
from zmqrpc.carrier import Carrier, DirectCarrier
from zmqrpc.connector import Connector
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import Batch, decode_batch
from zmqrpc.core.due import Due
from zmqrpc.core.envelope import WIRE_VERSION, Goaway, Hello, Nack, Welcome
from zmqrpc.core.link import LinkState, Phase
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.core.numbering import Numbering
from zmqrpc.core.retry import RetryPolicy
from zmqrpc.core.timed import TimedCalls
from zmqrpc.core.ways import Identity, Through
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.interfaces import IConnectionStrategy, ILinkReceiver, ITransport
from zmqrpc.link import Link
from zmqrpc.link_user import LinkUser
from zmqrpc.notices import Notices
from zmqrpc.outbox import RETRY_FULL
from zmqrpc.patience import Patience
from zmqrpc.repetitions import Repetitions
from zmqrpc.settings import ROUND_ROBIN, Settings
from zmqrpc.waiter import Waiter

LINGER_SECONDS = 1.0
"""Most seconds that a stop waits for what was written to others; one that cannot be reached would take them all."""

_SOON = 0.001
_AFTER_FAULT = 1.0


class Others(Protocol):
    """Whose connections there are beside those of links, as `ILinkReceiver`: those to proxies."""

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        """Take what came with a routing key."""

    def late_received(self, way: Through, batch: Batch) -> bool:
        """Take what came by a way that no link has (any more); tell whether it was of use."""

    def malformed_received(self, identity: bytes, reason: str) -> None:
        """Hear of what was dropped."""

    def connection_lost(self, identity: bytes, reason: str) -> None:
        """Hear that a connection has ended."""

    def needed(self) -> None:
        """Take that a link is to go through them, perhaps again."""

    def close(self) -> list[bytes]:
        """Say goodbye, the socket is closed next; return the connections that need not be waited for."""


@implementer(ILinkReceiver)
class Links:
    """
    Every link of a node.

    :param instance: our own instance.
    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    :ivar timers: the times of a link.
    :ivar connector: the connecting socket.
    :ivar by_identity: the links that are connected, or connect.
    :ivar answers: what takes what instances say.
    :ivar patience: what ends, on each link, what has waited for long enough.
    :ivar direct: what carries links that have a connection of their own.
    :ivar carrier: what carries those that go through router proxies.
    :ivar proxies: is told of what is no link's; None while there is none.
    :ivar get: returns the link with a key, or None.
    :ivar gathering: whether a pass is under way at whose end what was gathered is written.
    :ivar late: links that are late, and may have calls that others could take as well, by their keys.
    :ivar dirty: links that have gathered something.
    :ivar times: whether links note how long calls take.
    :ivar numbering: who leads to which instance, and from which number on.
    :ivar repetitions: how many there may be.
    """

    log = Logger()
    strategy: IConnectionStrategy

    def __init__(
        self,
        instance: bytes,
        settings: Settings,
        transport: ITransport,
        user: LinkUser,
        notices: Notices,
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self.instance = instance
        self.settings = settings
        self.user = user
        self.notices = notices
        self.seconds = seconds
        self.gathering = False
        self.dirty: list[Link] = []
        self.late: dict[str, Link] = {}
        self.times = settings.balance != ROUND_ROBIN
        self.policy = (
            RetryPolicy(settings.rpc_ack_timeout_base, settings.rpc_ack_timeout_multiplier, settings.rpc_retry_attempts)
            if settings.rpc_use_acks
            else None
        )
        self.timers = LinkTimers(patience=settings.call_monitor_timeout or NEVER)
        self._transport = transport
        self._wake_by = wake_by
        self.connector = Connector(transport, self, seconds)
        self.answers = Answers(self)
        self.patience = Patience(self)
        self._take = self.answers.take
        self.direct = DirectCarrier(self)
        self.carrier: Carrier = self.direct
        self.proxies: Others | None = None
        self._links: dict[str, Link] = {}
        self.get = self._links.get
        self.numbering: Numbering[Link] = Numbering(self.get)
        self.repetitions = Repetitions(settings.rpc_retry_budget, self._links.values(), notices)
        self.by_identity: dict[Identity, Link] = {}
        self._link_behind = self.by_identity.get
        self._losses: dict[Identity, str] = {}
        self._openings: list[tuple[Link, Welcome | Goaway, bytes, Identity, float]] = []
        self._up: list[Link] = []
        self._first: Link | None = None
        self._in_bursts = False
        self._transient = False
        self._attends = self.times
        self._resting: list[Link] = []
        self._leaving: set[Link] = set()
        self._when_left: list[Deferred[None]] = []
        self._due: Due[Link] = Due(self._links)

    def wire(self, strategy: IConnectionStrategy) -> None:
        """Tell it what decides when its links are connected, which is made with it."""
        self.strategy = strategy
        self._transient = strategy.transient
        self._attends = self._transient or self.times

    # Which links there are

    def add(self, link: Link) -> None:
        """Have one more link."""
        self._links[link.key] = link

    def all(self) -> list[Link]:
        """List every link."""
        return list(self._links.values())

    def forked(self) -> list[Waiter]:
        """Take that this process is a fork: there is no link; return the calls that had not ended in its parent."""
        self.connector.forked()
        links = self.all()
        self._links.clear()
        self.by_identity.clear()
        self.dirty.clear()
        return [call for link in links for call in (*link.pending.outstanding(), *link.queue)]

    def rest(self) -> Deferred[None]:
        """
        Have each link that rests say goodbye and close; it connects again when something is to be sent.

        :return: fires when those who read have read that.
        """
        now = self.seconds()
        for link in self.all():
            reads = not self.is_deaf(link.state)
            self.guarded(link, link.release, now)
            if reads and link.state.phase is Phase.LEAVING:
                self._leaving.add(link)
        left: Deferred[None] = Deferred()
        self._when_left.append(left)
        self._look_whether_all_have_left()
        return left

    def _look_whether_all_have_left(self) -> None:
        if not self._leaving:
            when_left, self._when_left = self._when_left, []
            for left in when_left:
                left.callback(None)

    def close(self) -> list[Waiter]:
        """
        Drop every link and close the socket.

        :return: the calls that had not ended, handed over or not.
        """
        left: list[Waiter] = []
        now = self.seconds()
        connected = [(name, link) for name, link in self.by_identity.items() if type(name) is bytes]
        deaf = [name for name, link in connected if self.is_deaf(link.state)]
        for link in self._links.values():
            link.say_goodbye(now)
            link.flush()
            # Whoever stops the node may do so from within a pass, which then goes on with this link.
            link.state.identity = None
            left += link.queue
            left += link.pending.take_all()
        self._links.clear()
        self.by_identity.clear()
        self.numbering.clear()
        self.dirty.clear()
        self.late.clear()
        self._up.clear()
        self._resting.clear()
        self._leaving.clear()
        self._look_whether_all_have_left()
        self._due.clear()
        if self.proxies is not None:
            # Last, since they carried the farewells above.
            deaf += self.proxies.close()
        # Casts may have ended for their callers when they were handed over; a peer that reads gets them yet.
        self.connector.close(min(self.settings.linger, LINGER_SECONDS), deaf)
        return left

    def is_deaf(self, state: LinkState) -> bool:
        """
        Tell whether a stop need not wait for who is at the other end of a connection.

        Who has not said WELCOME was told nothing but HELLO. Who is silent may read on; what he was told matters only
        where casts have ended for their callers already.
        """
        if state.phase is Phase.CONNECTING:
            return True
        return state.mute and self.settings.rpc_use_acks

    # What links ask for

    def at_rest(self, link: Link) -> None:
        """Take that something may have ended which was the last thing on a link."""
        if self._transient and link.resting:
            self._resting.append(link)
            self._transport.kick()

    def phase_changed(self, link: Link, before: Phase) -> None:
        """Tell the strategy when a link has no connection any more; or soon, when it has come up."""
        if before is Phase.LEAVING:
            self._leaving.discard(link)
            self._look_whether_all_have_left()
        if link.state.phase is Phase.UP and before is Phase.CONNECTING:
            self._up.append(link)
        elif link.state.phase in (Phase.IDLE, Phase.BACKOFF):
            self.strategy.closed(link.key)

    def _opened(self, link: Link) -> None:
        """Take that a link has come up, and others that have come up with it are known."""
        if self.late:
            self._take_over(link)
        self.strategy.opened(link.key)

    def _take_over(self, link: Link) -> None:
        """Give what waits for those that are late to one that has come up, as far as it may go there."""
        for other in list(self.late.values()):
            calls = other.queue.waiting_for_any(link.key) if other.state.late else []
            for call in calls:
                other.queue.remove(call)
            self.user.passed_on(calls, link)
            if not other.queue or not other.state.late:
                self.late.pop(other.key, None)

    def is_up(self, key: str) -> bool:
        """Tell whether the link with a key is up."""
        link = self.get(key)
        return link is not None and link.state.phase is Phase.UP

    def wake_by(self, link: Link, when: float) -> None:
        """Have a link swept at `when` or sooner."""
        if self._due.by(link, when):
            self._wake_by(when)

    def kick(self) -> None:
        """Have a pass soon."""
        self._transport.kick()

    def write_first(self, link: Link) -> None:
        """
        Write now: the first message of an idle moment leaves at once, those that follow it are gathered.

        But where others followed the last one, the first waits for them: whoever calls in bursts would write, and have
        its servers read, two batches for each.
        """
        self._first = link
        if not self._in_bursts:
            link.flush()
        self.gathering = True
        self._transport.kick()

    # ILinkReceiver

    def malformed_received(self, identity: bytes, reason: str) -> None:
        link = self.by_identity.get(identity)
        if link is None and self.proxies is not None:
            self.proxies.malformed_received(identity, reason)
            return
        address = link.address if link else "nowhere"
        self.notices.count("malformed", "a message from {peer} was dropped: {reason}", address, reason=reason)

    def connection_progressed(self, identity: bytes) -> None:
        link = self.by_identity.get(identity)
        if link is not None:
            link.state.progressed(self.seconds())

    def connection_lost(self, identity: Identity | None, reason: str) -> None:
        if identity is None:
            return
        if identity in self.by_identity:
            # Not here: this may be called from within a pass, and a connection is drained before it is dropped.
            self._losses.setdefault(identity, reason)
            self._transport.kick()
        elif self.proxies is not None and type(identity) is bytes:
            self.proxies.connection_lost(identity, reason)

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        if self.proxies is not None and identity not in self.by_identity:
            return self.proxies.keyed_received(identity, key, payload)
        self.malformed_received(identity, "it has a routing key, and is no proxy")
        return 1

    def payload_received(self, identity: Identity, payload: Any, batch: Batch | None = None) -> int:
        link = self._link_behind(identity)
        if link is None:
            self._take_late(identity, batch)
            return 1
        if batch is None:
            try:
                batch = decode_batch(payload)
            except RemoteProtocolError as error:
                self.notices.count("malformed", "{peer}: {error}", link.address, error=error)
                return 1
        if batch.version != WIRE_VERSION:
            text = "{peer} wrote a batch of wire version {version}"
            self.notices.count("bad_version", text, link.address, version=batch.version)
            return 1
        self.gathering = True
        now = self.seconds()
        liveness = link.liveness
        liveness.heard_at = now
        if liveness.mute:
            liveness.mute = False
            self.notices.record("link_heard", "{peer} is heard again, and gets calls", link.address)
            link.perform([], now)
        if batch.destination != self.instance and batch.destination is not None:
            text = "{peer} answers another instance, {instance}"
            self.notices.count("wrong_instance", text, link.address, instance=batch.destination)
            return 1
        state = link.state
        if batch.source != state.instance:
            # A stranger may say who it is, on a link that opens, and nothing about what our instance was given.
            opening = list(filter(_opens, batch.messages)) if state.phase is Phase.CONNECTING else []
            if len(opening) != len(batch.messages):
                text = "{peer} answers as {instance}"
                self.notices.count("wrong_instance", text, link.address, instance=batch.source)
            if not opening:
                return 1
            batch.messages = opening
        calls: list[Waiter] = []
        results: list[Any] = []
        rest: list[Any] = []
        link.pending.take_results(batch.messages, calls, results, rest)
        for call, result in zip(calls, results, strict=True):
            call.succeed(result)
        if len(calls) + len(rest) != len(batch.messages):
            self.notices.count("late_reply")
        for message in rest:
            kind = type(message)
            if kind is Welcome or (kind is Goaway and state.phase is Phase.CONNECTING):
                # Not here: that of another instance drops the connection, and a pass must not do that. Whoever stops
                # says GOAWAY with WELCOME, and it counts after that.
                self._openings.append((link, message, batch.source, identity, now))
            else:
                self._take(link, message, identity, now)
        if not link.ready:
            link.recover(now)
        if self._attends:
            self._attend(link, now)
        return len(batch.messages) or 1

    def _attend(self, link: Link, now: float) -> None:
        """Take what only some nodes want to know of a link when calls may have ended there."""
        if self._transient:
            self._resting.append(link)
        if isinstance(link.pending, TimedCalls):
            link.pending.look(now)

    def _take_late(self, identity: Identity, batch: Batch | None) -> None:
        proxies = self.proxies
        if proxies and batch and isinstance(identity, Through) and proxies.late_received(identity, batch):
            return
        self.notices.count("stray")

    # The end of a pass, and time

    def end_pass(self) -> None:
        """Settle who was welcomed or lost, then write what was gathered."""
        self.gathering = True
        if self._first is not None:
            # Where it waited for the others, it is itself among what was gathered.
            self._in_bursts = self._first.gathered > (1 if self._in_bursts else 0)
            self._first = None
        while self.dirty or self._openings or self._losses or self._resting:
            if self._openings or self._losses:
                self._settle_links()
            if self._resting:
                self._tell_resting()
            dirty, self.dirty = self.dirty, []
            now = self.seconds()
            for link in dirty:
                self.guarded(link, link.end_pass, now)
        self.gathering = False

    def _settle_links(self) -> None:
        openings, self._openings = self._openings, []
        for opened, message, source, identity, now in openings:
            if type(message) is Goaway:
                self.guarded(opened, self._take, opened, message, identity, now)
            else:
                self.guarded(opened, self.answers.welcomed, opened, message, source, identity, now)
        # Of several that have come up together none takes what waits for another of them.
        up, self._up = self._up, []
        for each in up:
            if each.state.phase is Phase.UP:
                self.guarded(each, self._opened, each)
        # Each once: a way through a proxy is the same again when the link goes on through it.
        losses, self._losses = self._losses, {}
        for identity, reason in losses.items():
            link = self.by_identity.get(identity)
            if link is not None and link.state.identity == identity:
                now = self.seconds()
                self.guarded(link, link.perform, link.state.lost(now, reason, bool(link.pending)), now)

    def _tell_resting(self) -> None:
        resting, self._resting = self._resting, []
        for link in resting:
            if link.resting and link.rested_at != link.pending.next_sequence:
                link.rested_at = link.pending.next_sequence
                self.guarded(link, self.strategy.idle, link.key)

    def guarded(self, link: Link, act: Callable[..., None], *arguments: Any) -> bool:
        """
        Do something with one link: whatever is wrong with it, the others have their turn.

        :return: whether it went well.
        """
        try:
            act(*arguments)
        except Exception:
            self.log.failure("the link to {address} failed", address=link.address)
            return False
        return True

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return self._due.wake_at

    def sweep(self, now: float) -> None:
        """Do what time asks for on the links whose time has come: of many links few have, and it does so often."""
        self.gathering = True
        self.repetitions.sweep(now)
        while (link := self._due.pop(now)) is not None:
            # What has failed would fail again, and be logged, as often as it is asked.
            soonest = now + (_SOON if self.guarded(link, link.sweep, now) else _AFTER_FAULT)
            # Only now: what it asked for meanwhile is asked of it below, and not for this very moment.
            link.sweep_at = NEVER
            if link.spent:
                self._links.pop(link.key, None)
                if self.late.get(link.key) is link:
                    del self.late[link.key]
                self.repetitions.gone(link)
                self.numbering.release(link)
                continue
            self.wake_by(link, max(link.wake_at, soonest))
            if link.blocked:
                self.dirty.append(link)
                self.wake_by(link, max(now + RETRY_FULL, soonest))
        self._transport.kick()


def _opens(message: Any) -> bool:
    """Tell whether a message belongs to the opening of a link."""
    kind = type(message)
    return kind is Welcome or kind is Hello or (kind is Nack and message.reason in NO_WELCOME and not message.ranges)
