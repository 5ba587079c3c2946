"""
Brings each call to a link, and to its end.

A call waits here while its topic is looked up, is given to the link whose turn it is, and may come back from there to
go elsewhere (`zmqrpc.elsewhere`). It ends with exactly one typed error (`zmqrpc.outcomes`) unless its waiter got the
result straight from the link.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from zmqrpc.core.call import Stage
from zmqrpc.core.envelope import Kind
from zmqrpc.core.link import Phase
from zmqrpc.core.parked import Parked
from zmqrpc.core.returned import Returned
from zmqrpc.core.route import Route
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.topic import Knowledge, Topic
from zmqrpc.discovery import Discovery
from zmqrpc.elsewhere import Elsewhere
from zmqrpc.errors import ConfigError, MatchmakerUnavailable, NoRoute
from zmqrpc.inherited import detached
from zmqrpc.link import Link
from zmqrpc.links import Links
from zmqrpc.outcomes import MATCHMAKER_AWAY, Outcomes
from zmqrpc.publishing import Publishing
from zmqrpc.record import Record
from zmqrpc.settings import Settings
from zmqrpc.target import Pool, Target
from zmqrpc.waiter import Waiter
from zmqrpc.watches import Watches


class Delivery:
    """
    Every call of a node that has not ended.

    :param instance: our own instance.
    :param seconds: the monotonic clock.
    :param jitter: gives a number from 0.5 to 1.
    :param wake_by: asks that `sweep` is called at a time.
    :ivar elsewhere: brings to other links what one did not take, or has taken with it.
    :ivar publishing: what publishes fan-outs; None when they are sent to each member.
    :param record: notes what went elsewhere, as `Notices.record`.
    :ivar casts_fire_early: whether a cast ends for its caller when it is handed over, not when it is acknowledged.
    """

    links: Links
    discovery: Discovery

    def __init__(
        self,
        instance: bytes,
        settings: Settings,
        table: RoutingTable,
        watches: Watches,
        seconds: Callable[[], float],
        jitter: Callable[[], float],
        wake_by: Callable[[float], None],
        record: Callable[..., None],
    ) -> None:
        self.settings = settings
        self.table = table
        self.watches = watches
        self.seconds = seconds
        self.closed = True
        self.publishing: Publishing | None = None
        self.casts_fire_early = not settings.rpc_use_acks
        self.record = record
        self._wake_by = wake_by
        self._parked: Parked[Waiter] = Parked(settings.max_queued_calls, settings.max_queued_bytes)
        self._returned: Returned[Waiter] = Returned(settings.max_queued_calls, settings.max_queued_bytes, jitter)
        self.outcomes = Outcomes(instance, settings, table, seconds, record)
        # What links tell of these only ends the calls.
        self.overdue = self.outcomes.overdue
        self.given_up = self.outcomes.given_up
        self.elsewhere = Elsewhere(self)
        # And of these sends them elsewhere, as far as may be.
        self.replied = self.elsewhere.replied
        self.refused = self.elsewhere.refused
        self.rerouted = self.elsewhere.rerouted
        self.lost = self.elsewhere.lost

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
            self.outcomes.closed(call)
            return
        route = call.route = self.table.renewed(call.route)
        link = self.choose(route, call.tried)
        if link is None:
            self.park(call)
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
            self.elsewhere.crowded(call, link, now)
        elif link.state.phase is not Phase.UP:
            self.links.strategy.needed(link.key, call.route.upcoming() if call.route is not None else ())

    def give_pinned(self, call: Waiter, key: str) -> None:
        """Give the call to the link with this key and to no other."""
        link = self.links.get(key)
        if link is None or self.closed:
            self.outcomes.fail(call, NoRoute, "its record was withdrawn")
        elif (link.state.available or link.state.last_resort) and not link.state.hopeless:
            self.give(call, link, self.seconds())
        else:
            self.outcomes.unreached(call, link, link.state.trouble)

    def handed_over(self, call: Waiter) -> None:
        """Tell the caller of a cast that it is under way, when that is all it wants to know."""
        if self.casts_fire_early and call.kind == Kind.CAST:
            with detached():
                self.acknowledged([call])

    def choose(self, route: Route, tried: tuple[str, ...]) -> Link | None:
        """
        Return the link whose turn it is, None where nobody can take a call.

        :param tried: the links that would not do.
        """
        for _ in range(len(route.choices)):
            key = route.choose()
            if key is not None and key not in tried:
                return self.links.get(key)
        if tried and (other := route.choose_other(tried)) is not None:
            # Those that are drawn may all have been tried.
            return self.links.get(other)
        for key in route.avoided:
            if key not in tried:
                return self.links.get(key)
        # Better a member that is connected and silent than none: it may only be busy, and the deadline holds.
        silent = [link for link in self._recorded(route) if link.state.last_resort and link.key not in tried]
        return min(silent, key=lambda link: len(link.pending) + len(link.queue)) if silent else None

    def _recorded(self, route: Route) -> list[Link]:
        links = [self.links.get(key) for key in route.recorded]
        return [link for link in links if link is not None]

    def _stopping(self, route: Route) -> list[Link]:
        """List the links to members of a target that are connected and stop; most have withdrawn their records."""
        return [
            link
            for link in self.links.all()
            if link.state.stopping and (link.key in route.recorded or any(map(route.means, link.serves)))
        ]

    # Waiting for discovery

    def park(self, call: Waiter) -> None:
        """Keep a call until discovery knows who can take it."""
        topic = call.route.topic
        if not self._parked.add(call):
            self.outcomes.crowded_out(call, len(self._parked.on(topic)), self._parked.bytes_on(topic))
            return
        call.stage = Stage.RESOLVING
        if call.began is None:
            call.began = self.seconds()
        self._wake_by(self._parked.wake_at)
        self.discovery.resolve(topic)

    def rest(self, call: Waiter, now: float) -> None:
        """Keep a notification for a while, since everybody who could take it has given it back."""
        if self._returned.add(call, now):
            self._wake_by(self._returned.wake_at)
        else:
            self.outcomes.returned_too_much(call)

    def when_known(
        self,
        route: Route,
        target: Target | Pool,
        deadline: float,
        kind: int = 0,
        wait_for_ready: bool = False,
        tried: tuple[str, ...] = (),
    ) -> Deferred[None]:
        """
        Wait until it is known who listens on a target.

        :param kind: what is to be sent to each of them; for NOTIFY, listeners of any pool will do. 0 for nothing, then
            every server of the topic will do.
        :param wait_for_ready: whether to wait for somebody who is connected.
        :param tried: the instances that would not do, in hex: they have refused it.
        :return: fires when somebody listens; fails as a call would.
        """
        call = Waiter(self.cancel)
        call.begin(kind, target, b"", deadline)
        call.wait_for_ready = wait_for_ready
        call.tried = tried
        call.route = route
        if self.closed:
            self.outcomes.closed(call)
        elif self._is_known(call):
            call.succeed(None)
        else:
            self.park(call)
        return call

    def connected(self, route: Route) -> list[str]:
        """List the instances of a target that are connected, or are when needed, and do not stop; in hex."""
        links = [link for link in self._recorded(route) if link.state.promising]
        return [link.instance.hex() if link.instance is not None else link.key for link in links]

    def publishes_to(self, route: Route) -> bool:
        """Tell whether a fan-out to a target is published: somebody subscribes, and it is not for one member."""
        if self.publishing is None or route.group is not None or self.publishing.useless:
            return False
        return bool(route.audience().subscribers)

    def _is_known(self, call: Waiter) -> bool:
        """Tell whether what `when_known` waits for has come."""
        route = call.route
        if call.kind == Kind.NOTIFY:
            return bool(route.topic.pools)
        if not call.kind:
            return bool(route.topic.usable and route.topic.servers())
        if call.wait_for_ready:
            ready = self.publishing is not None and self.publishing.up
            if call.kind == Kind.FANOUT and ready and self.publishes_to(route):
                return True
            return any(instance not in call.tried for instance in self.connected(route))
        return bool(route.recorded)

    def in_use(self, topic: Topic) -> bool:
        """Tell whether calls wait for a topic, or are on a link that only it leads to."""
        if topic in self._parked:
            return True
        links = (self.links.get(key) for key in self.table.sole_links(topic))
        return any(link is not None and (link.pending or link.queue) for link in links)

    def answered(self, topic: Topic, error: MatchmakerUnavailable | None) -> None:
        """Go on with the calls that waited for a topic."""
        self.watches.changed(topic)
        now = self.seconds()
        for call in self._parked.on(topic):
            if not self._parked.holds(call):
                # The callback of one before it cancelled it.
                continue
            call.route = self.table.renewed(call.route)
            link = self.choose(call.route, call.tried) if call.encoded else None
            if not call.encoded and self._is_known(call):
                self._parked.remove(call)
                call.succeed(None)
            elif link is not None:
                self._parked.remove(call)
                self.elsewhere.found(call, link, now)
            elif not call.wait_for_ready and not topic.resolving:
                self._parked.remove(call)
                self._unroutable(call, error)
            elif error is not None:
                call.trouble = f"{MATCHMAKER_AWAY}: {error}"

    def _unroutable(self, call: Waiter, error: MatchmakerUnavailable | None) -> None:
        # Who asks for everybody gets those who cannot be reached as well.
        recorded = self._recorded(call.route) if call.encoded else []
        stopping = self._stopping(call.route) if call.encoded else []
        self.outcomes.unroutable(call, error, recorded, stopping)

    # What is told of them

    def why_nobody(self, call: Waiter) -> str:
        """Say why nobody can take a call that waits until it is known who listens."""
        return self.outcomes.nobody(call, self._recorded(call.route), self._stopping(call.route))[1]

    def parked_on(self, topic: Topic) -> int:
        """Tell how many calls wait for a topic."""
        return len(self._parked.on(topic))

    def waiting(self) -> list[Collection[Waiter]]:
        """List what is not on a link: the calls that wait for each topic, and those that rest."""
        parked: list[Collection[Waiter]] = [self._parked.on(topic) for topic in self._parked.topics()]
        return [*parked, list(self._returned)]

    def room_used(self) -> list[tuple[int, int, str]]:
        """List how many calls and bytes wait for each topic, and rest, with what is said of them."""
        parked, returned = self._parked, self._returned
        used = [(len(parked.on(topic)), parked.bytes_on(topic), "of one topic") for topic in parked.topics()]
        return [*used, (len(returned), returned.bytes, "that rest")]

    # How it ends here

    def cancel(self, call: Any) -> None:
        """End a call (a `Waiter`) because its caller does not want it any more."""
        if not self._parked.remove(call) and not self._returned.remove(call) and call.link is not None:
            call.link.withdraw_call(call, self.seconds())
        self.outcomes.cancelled(call)

    def close(self) -> None:
        """End every call; none can be made any more."""
        self.closed = True
        self.watches.close()
        for call in self._parked.take_all() + self._returned.take_all() + self.links.close():
            self.outcomes.stopped(call)
        if self.publishing is not None:
            self.publishing.close()

    def forked(self, why_not: str) -> None:
        """Take that this process is a fork: every call fails with these words, and none that was made is touched."""
        self.closed = True
        self.outcomes.why_not = why_not
        for call in self.links.forked():
            call.link = None

    def check_process(self) -> None:
        """
        Check that this is the process of the node.

        :raises ConfigError: it is a fork of it.
        """
        if self.outcomes.why_not:
            raise ConfigError(self.outcomes.why_not)

    # What links tell

    def acknowledged(self, calls: list[Waiter]) -> None:
        for call in calls:
            call.succeed(None)

    def passed_on(self, calls: list[Waiter], link: Link) -> None:
        now = self.seconds()
        for call in calls:
            self.give(call, link, now)

    def availability_changed(self, link: Link) -> None:
        self.table.set_available(link.key, link.state.available)
        if link.state.available:
            self.look_again()

    def evidence_changed(self, link: Link) -> None:
        self.discovery.witnessed(link.key, link.state.evidence, link.serves)
        self.watches.changed()
        if link.state.phase is Phase.UP:
            self.look_again()

    def look_again(self) -> None:
        """Go on with the calls that wait for somebody to be ready, if somebody is."""
        for topic in self._parked.topics():
            if any(call.wait_for_ready for call in self._parked.on(topic)):
                self.answered(topic, None)

    def doubted(self, link: Link, reason: str) -> None:
        self.discovery.doubted(link.key, reason)

    def promised(self, link: Link) -> Sequence[Record]:
        return self.table.leading_to(link.key)

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._parked.wake_at, self._returned.wake_at)

    def sweep(self, now: float) -> None:
        """End the calls whose deadline came while they waited for discovery, and give out again what has rested."""
        for call in self._returned.take_due(now):
            if call.deadline <= now:
                self.outcomes.overdue([call])
            else:
                self.deliver(call, now)
        for call in self._parked.overdue(now) if now >= self._parked.wake_at else ():
            if not call.wait_for_ready and call.route.topic.knowledge is Knowledge.EMPTY:
                # The store says so; it was only to be asked once more.
                self._unroutable(call, None)
                continue
            if not self._recorded(call.route) and call.route.topic.knowledge in (Knowledge.UNKNOWN, Knowledge.STALE):
                # What it has failed with, where that is known.
                call.trouble = call.trouble if call.trouble.startswith(MATCHMAKER_AWAY) else MATCHMAKER_AWAY
            else:
                call.trouble = self.why_nobody(call)
            if call.loss is not None:
                self.outcomes.overdue_since_lost(call, call.loss)
            else:
                self.outcomes.overdue([call])
