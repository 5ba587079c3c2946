"""
Brings each call to a link, and to its end.

A call waits here while its topic is looked up, is given to the link whose turn it is, comes back when it was not handed
over, and ends here with exactly one typed error unless its waiter got the result straight from the link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from zmqrpc.core.envelope import Failure, FailureCode, Kind, Refusal, Reply
from zmqrpc.core.link import Phase
from zmqrpc.core.pending import NEVER, Stage
from zmqrpc.core.route import Route
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.topic import Topic
from zmqrpc.discovery import Discovery
from zmqrpc.errors import (
    AccessDenied,
    Cancelled,
    ClientClosed,
    DeadlineExceeded,
    DeliveryError,
    Draining,
    EncodingError,
    InvalidArguments,
    Journey,
    MatchmakerUnavailable,
    MessageTooLarge,
    NoRoute,
    NoSuchMethod,
    NotAcknowledged,
    Overloaded,
    RemoteError,
    ServerLost,
    UnsupportedVersion,
    ZmqRpcError,
)
from zmqrpc.link import Link
from zmqrpc.links import Links
from zmqrpc.record import Record
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.waiter import Waiter

_REMOTE: dict[FailureCode, type[RemoteError]] = {
    FailureCode.RAISED: RemoteError,
    FailureCode.NO_SUCH_METHOD: NoSuchMethod,
    FailureCode.INVALID_ARGUMENTS: InvalidArguments,
    FailureCode.BAD_INTERFACE: UnsupportedVersion,
    FailureCode.ACCESS_DENIED: AccessDenied,
}
_AFTER_IT_RAN: dict[FailureCode, type[DeliveryError]] = {
    FailureCode.UNENCODABLE: EncodingError,
    FailureCode.TOO_LARGE: MessageTooLarge,
    FailureCode.FORGOTTEN: ServerLost,
    FailureCode.CANCELLED: Cancelled,
}
_ELSEWHERE = frozenset((Refusal.WRONG_INSTANCE, Refusal.DRAINING, Refusal.UNROUTABLE, Refusal.NOT_SERVED))
_REFUSED: dict[Refusal, tuple[type[DeliveryError], str]] = {
    Refusal.EXPIRED: (DeadlineExceeded, "its time was up when it arrived"),
    Refusal.OVERLOADED: (Overloaded, "the member is overloaded, try later or add members"),
    Refusal.TOO_LARGE: (MessageTooLarge, "it is too large for the member"),
}
_STOPPING = "the member is stopping, send it again when it is back"
_ALL_STOPPING = "only members that are stopping could take it, add another or wait for one to start (wait_for_ready)"


class Delivery:
    """
    Every call of a node that has not ended.

    :param instance: our own instance.
    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    :ivar casts_fire_early: whether a cast ends for its caller when it is handed over, not when it is acknowledged.
    """

    links: Links
    discovery: Discovery

    def __init__(
        self,
        instance: bytes,
        settings: Settings,
        table: RoutingTable,
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self.settings = settings
        self.table = table
        self.seconds = seconds
        self.closed = True
        self.casts_fire_early = not settings.rpc_use_acks
        self._instance = instance
        self._wake_by = wake_by
        self._parked: dict[Topic, dict[int, Waiter]] = {}
        self._earliest = NEVER

    def wire(self, links: Links, discovery: Discovery) -> None:
        """Tell it its neighbours, which are made with it."""
        self.links = links
        self.discovery = discovery

    # Where a call goes

    def deliver(self, call: Waiter, now: float) -> None:
        """Give the call to the link whose turn it is, or keep it until one is known."""
        if call.ended:
            # Its caller cancelled it from within the callback of another.
            return
        if self.closed:
            self.fail(call, ClientClosed, "the node does not run")
            return
        route = call.route = self.table.renewed(call.route)
        link = self._choose(route, call.tried)
        if link is None:
            self._park(call)
        else:
            self.give(call, link, now)

    def give(self, call: Waiter, link: Link, now: float) -> None:
        """Give the call to this link."""
        if call.ended:
            return
        if link.ready:
            link.hand_over(call, None, now)
            self.handed_over(call)
        elif not link.enqueue(call, now):
            call.link = link
            self.fail(call, Overloaded, "too much waits for this member already, try later or add members")

    def give_pinned(self, call: Waiter, key: str) -> None:
        """Give the call to the link with this key and to no other."""
        link = self.links.get(key)
        if link is None or self.closed:
            self.fail(call, NoRoute, "its record was withdrawn")
        elif link.state.stopping:
            call.link = link
            self.fail(call, Draining, f"{_STOPPING}: {link.state.trouble}")
        elif not link.state.available and not link.state.mute:
            call.link = link
            self.fail(call, NoRoute, f"the member cannot be reached: {link.state.trouble}")
        else:
            self.give(call, link, self.seconds())

    def handed_over(self, call: Waiter) -> None:
        """Tell the caller of a cast that it is under way, when that is all it wants to know."""
        if self.casts_fire_early and call.kind == Kind.CAST:
            self.acknowledged([call])

    def _choose(self, route: Route, tried: tuple[str, ...]) -> Link | None:
        for _ in range(len(route.choices)):
            key = route.choose()
            if key is not None and key not in tried:
                return self.links.get(key)
        # Better a member that is connected and silent than none: it may only be busy, and the deadline holds.
        silent = [link for link in self._recorded(route) if link.state.mute and link.key not in tried]
        return min(silent, key=lambda link: len(link.pending)) if silent else None

    def _recorded(self, route: Route) -> list[Link]:
        links = [self.links.get(key) for key in route.recorded]
        return [link for link in links if link is not None]

    def _stopping(self, route: Route) -> list[Link]:
        """List the links to members of a target that are connected and stop; most have withdrawn their records."""
        exchange, topic, member = route.topic.exchange, route.topic.name, route.member
        return [
            link
            for link in self.links.all()
            if link.state.stopping
            and (
                link.key in route.recorded
                or any((t.exchange, t.topic) == (exchange, topic) and member in (None, t.member) for t in link.serves)
            )
        ]

    # Waiting for discovery

    def _park(self, call: Waiter) -> None:
        topic = call.route.topic
        parked = self._parked.setdefault(topic, {})
        if len(parked) >= self.settings.max_queued_calls:
            self.fail(call, Overloaded, f"{len(parked)} calls wait for the matchmaker's answer about this topic")
            return
        call.stage = Stage.RESOLVING
        parked[id(call)] = call
        if call.deadline < self._earliest:
            self._earliest = call.deadline
            self._wake_by(call.deadline)
        self.discovery.resolve(topic)

    def await_topic(self, route: Route, target: Target, deadline: float, wait_for_ready: bool) -> Deferred[None]:
        """
        Wait until it is known who listens on a topic.

        :return: fires when somebody does; fails as a call would.
        """
        if route.topic.usable and not self.closed:
            return succeed(None)
        call = Waiter(self.cancel)
        call.begin(Kind.FANOUT, target, b"", deadline)
        call.wait_for_ready = wait_for_ready
        call.route = route
        if self.closed:
            self.fail(call, ClientClosed, "the node does not run")
        else:
            self._park(call)
        return call

    def unpark(self, call: Waiter) -> bool:
        """Take a call out of those that wait for discovery; False when it was not among them."""
        if call.route is None:
            return False
        topic: Topic = call.route.topic
        parked = self._parked.get(topic, {})
        found = parked.pop(id(call), None) is not None
        if found and not parked:
            del self._parked[topic]
        return found

    def in_use(self, topic: Topic) -> bool:
        """Tell whether calls wait for a topic, or are on a link that only it leads to."""
        if topic in self._parked:
            return True
        links = (self.links.get(key) for key in self.table.sole_links(topic))
        return any(link is not None and (link.pending or link.queue) for link in links)

    def answered(self, topic: Topic, error: MatchmakerUnavailable | None) -> None:
        """Go on with the calls that waited for a topic."""
        now = self.seconds()
        for call in list(self._parked.get(topic, {}).values()):
            if id(call) not in self._parked.get(topic, {}):
                # The callback of one before it cancelled it.
                continue
            if call.kind == Kind.FANOUT and topic.usable:
                self.unpark(call)
                self.acknowledged([call])
                continue
            call.route = self.table.renewed(call.route)
            link = self._choose(call.route, call.tried)
            if link is not None:
                self.unpark(call)
                self.give(call, link, now)
            elif not call.wait_for_ready and not topic.resolving:
                self.unpark(call)
                self._unroutable(call, error)

    def _unroutable(self, call: Waiter, error: MatchmakerUnavailable | None) -> None:
        # A fan-out that waits only asks who is recorded.
        asks = call.kind == Kind.FANOUT
        recorded = [] if asks else self._recorded(call.route)
        stopping = [] if asks else self._stopping(call.route)
        if error is not None and not recorded:
            self.fail(call, MatchmakerUnavailable, f"the matchmaker does not answer, look after it: {error}")
        elif stopping or call.stopping:
            others = [link for link in recorded if link not in stopping and link.key not in call.tried]
            troubles = [_trouble(link, call) for link in stopping] or [call.stopping]
            troubles += [f"not reached: {_trouble(link, call)}" for link in others]
            self.fail(call, Draining, f"{_ALL_STOPPING}: {'; '.join(troubles[:5])}")
        elif not recorded:
            self.fail(call, NoRoute, "nobody listens there, start a server or check the name")
        else:
            troubles = [_trouble(link, call) for link in recorded]
            self.fail(call, NoRoute, f"nobody who is recorded can be reached: {'; '.join(troubles[:5])}")

    # How a call ends

    def fail(self, call: Waiter, error: type[DeliveryError], reason: str, maybe_executed: bool = False) -> None:
        """End the call with an error."""
        what = Kind(call.kind).name if call.encoded else "the lookup"
        self._end(call, error(f"{what} failed: {reason}", self.journey(call), maybe_executed))

    def _end(self, call: Waiter, error: ZmqRpcError) -> None:
        call.ended = True
        if call.may_have_run:
            error.maybe_executed = True
        if not call.called:
            call.errback(error)

    def journey(self, call: Waiter) -> Journey:
        """Tell how far a call got."""
        link: Link | None = call.link
        age = None
        if link is not None and call.route is not None:
            age = call.route.topic.age(link.key, self.seconds())
        message_id = ""
        if link is not None and link.instance is not None and call.sequence:
            message_id = f"{self._instance.hex()[:12]}/{link.instance.hex()[:12]}/{call.sequence}"
        return Journey(
            target=str(call.target),
            member=link.member if link is not None else call.target.server,
            address=link.address if link is not None else None,
            message_id=message_id,
            stage=call.stage.name.lower(),
            record_age=age,
        )

    def cancel(self, call: Any) -> None:
        """End a call (a `Waiter`) because its caller does not want it any more."""
        handed = call.stage >= Stage.SENT
        if not self.unpark(call) and call.link is not None:
            call.link.withdraw_call(call, self.seconds())
        self.fail(call, Cancelled, "its caller cancelled it", maybe_executed=handed)

    def close(self) -> None:
        """End every call; none can be made any more."""
        self.closed = True
        left = [call for parked in self._parked.values() for call in parked.values()]
        self._parked.clear()
        for call in left + self.links.close():
            self.fail(call, ClientClosed, "the client was stopped", maybe_executed=call.stage >= Stage.SENT)

    # What links tell

    def replied(self, call: Waiter, reply: Reply) -> None:
        failure = reply.failure
        if failure is None:
            text = f"the reply has the content type {reply.content_type!r}, which is not known here"
            self.fail(call, EncodingError, text, maybe_executed=True)
            return
        code = FailureCode(failure.code)
        if code in _AFTER_IT_RAN:
            self.fail(call, _AFTER_IT_RAN[code], failure.text, maybe_executed=True)
        else:
            self._end(call, self._remote(call, code, failure))

    def _remote(self, call: Waiter, code: FailureCode, failure: Failure) -> RemoteError:
        call.stage = Stage.RUNNING if code is FailureCode.RAISED else Stage.ACKNOWLEDGED
        return _REMOTE[code](failure.type_name, failure.text, failure.traceback, self.journey(call))

    def acknowledged(self, calls: list[Waiter]) -> None:
        for call in calls:
            call.succeed(None)

    def refused(self, call: Waiter, link: Link, reason: Refusal, text: str) -> None:
        call.link = link
        if reason in _ELSEWHERE and call.route is not None:
            call.tried = (*call.tried, link.key)
            call.trouble = f"{reason.words}: {text}"
            if reason is Refusal.DRAINING:
                call.stopping = f"{link.member} at {link.address}: {text}"
            self._again(call)
        elif reason in _REFUSED:
            error, says = _REFUSED[reason]
            self.fail(call, error, f"{says}: {text}")
        elif reason is Refusal.DRAINING:
            self.fail(call, Draining, f"{_STOPPING}: {text}")
        elif reason in _ELSEWHERE:
            self.fail(call, NoRoute, f"the member refused it: {reason.words} {text}")
        else:
            self.fail(call, DeliveryError, f"the member cannot take it: {reason.words} {text}")

    def rerouted(self, calls: list[Waiter], link: Link, reason: str) -> None:
        for call in calls:
            call.trouble = reason
            if call.route is not None:
                if link.state.stopping:
                    call.stopping = f"{link.member} at {link.address}: {reason}"
                self._again(call)
            elif link.state.stopping:
                self.fail(call, Draining, f"{_STOPPING}: {reason}")
            else:
                self.fail(call, NoRoute, f"the member cannot be reached: {reason}")

    def lost(self, calls: list[Waiter], link: Link, reason: str) -> None:
        for call in calls:
            call.trouble = reason
            if call.idempotent and call.route is not None:
                call.may_have_run = True
                self._again(call)
            else:
                self.fail(call, ServerLost, f"the instance that had it is gone: {reason}", maybe_executed=True)

    def overdue(self, calls: list[Waiter], link: Link | None = None) -> None:
        for call in calls:
            handed = call.stage >= Stage.SENT
            trouble = f", {call.trouble}" if call.trouble else ""
            if link is not None and link.state.phase is not Phase.UP:
                trouble = f", the link is {link.state.phase.value}: {link.state.trouble or 'no WELCOME yet'}"
            elif link is not None and link.state.mute:
                trouble = ", the member answers no PING either: it is stopped, blocked or cut off"
            self.fail(call, DeadlineExceeded, f"its time was up{trouble}", maybe_executed=handed)

    def given_up(self, calls: list[Waiter], link: Link) -> None:
        for call in calls:
            text = f"sent {call.attempts} times and never acknowledged, look at the member"
            self.fail(call, NotAcknowledged, text, maybe_executed=True)

    def availability_changed(self, link: Link) -> None:
        self.table.set_available(link.key, link.state.available)
        if link.state.available:
            for topic in list(self._parked):
                if any(call.wait_for_ready for call in self._parked.get(topic, {}).values()):
                    self.answered(topic, None)

    def evidence_changed(self, link: Link) -> None:
        self.discovery.witnessed(link.key, link.state.evidence, link.serves)

    def doubted(self, link: Link, reason: str) -> None:
        self.discovery.doubted(link.key, reason)

    def promised(self, link: Link) -> Sequence[Record]:
        return self.table.leading_to(link.key)

    def _again(self, call: Waiter) -> None:
        call.unsent(call.encoded)
        self.deliver(call, self.seconds())

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return self._earliest

    def sweep(self, now: float) -> None:
        """End the calls whose deadline came while they waited for discovery."""
        if now < self._earliest:
            return
        waiting = list(self._all_parked())
        for call in waiting:
            if call.deadline <= now:
                self.unpark(call)
                self.overdue([call])
        self._earliest = min((call.deadline for call in self._all_parked()), default=NEVER)

    def _all_parked(self) -> Iterable[Waiter]:
        for parked in self._parked.values():
            yield from parked.values()


def _trouble(link: Link, call: Waiter) -> str:
    """Say why a link does not take a call."""
    return f"{link.member} at {link.address}: {link.state.trouble or call.trouble}"
