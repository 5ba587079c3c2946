"""
The routing table: which topics are in use, the routes to them, and the links they lead to.

A store may lose what it was told: a restart without persistence, a failover. So a record that vanishes from its answer
while the link it leads to shows that the instance lives, and serves the target, is **kept**: the link is the better
witness. Whoever ends in good order says so on the link, at the latest with GOAWAY.

========================================  ===================  ==========================
what the link shows of the instance       its record vanishes  it was kept before
========================================  ===================  ==========================
ALIVE, and it serves the target           kept                 stays
UNSURE: mute, or lost a moment ago        goes                 stays until it is known
NONE, or it does not serve the target     goes                 goes
========================================  ===================  ==========================

A record that names no instance is never kept: it is of a fixed table, which loses nothing by itself.

What was not used for a while is given up, since callers may name ever new targets: a route first, and a topic when no
route leads to it any more. A STALE topic stays: while the store does not answer, nobody could learn it again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import structs

from zmqrpc.core.envelope import Served
from zmqrpc.core.evidence import Evidence
from zmqrpc.core.route import Route
from zmqrpc.core.topic import Knowledge, Topic, link_key
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.target import Pool, Target

_LOOKS = 4
"""How many looks in a row find a route unused before it is given up. Looks and not seconds: our process may sleep."""


class RoutingTable:
    """
    Every topic that was used, and which links are not available.

    :param first_turn: gives whose turn it is first on a new route: at random, so that many clients that make one call
        each do not all make it to the same member.
    :param most_routes: how many routes there may be; those that are held, or that calls in flight come back to, may be
        more.
    :param unused_seconds: after which a route is given up, and a quarter more at most.
    :param make_route: makes one, to a target, of a topic, with whose turn it is first.
    :ivar routes: the one route to each target.
    :ivar look_seconds: between two looks.
    """

    def __init__(
        self,
        first_turn: Callable[[], int] = int,
        most_routes: int = 10000,
        unused_seconds: float = 600.0,
        make_route: Callable[[Target | Pool, Topic, int], Route] = Route,
    ) -> None:
        self.routes: OrderedDict[Target | Pool, Route] = OrderedDict()
        self._first_turn = first_turn
        self._make_route = make_route
        self._most_routes = most_routes
        self.look_seconds = unused_seconds / _LOOKS
        self._topics: dict[tuple[str, str], Topic] = {}
        self._unavailable: set[str] = set()
        self._quarantined: set[str] = set()
        self._evidence: dict[str, tuple[Evidence, frozenset[Served]]] = {}
        self._counts: dict[str, int] = {}
        self._leading: dict[str, list[Record]] | None = None
        # How many kept records lead to each link, and for which links that has changed.
        self._kept: dict[str, int] = {}
        self._kept_changed: dict[str, None] = {}

    def topic(self, exchange: str, name: str) -> Topic:
        """Return the topic, as UNKNOWN when it is used for the first time."""
        topic = self._topics.get((exchange, name))
        if topic is None:
            topic = self._topics[exchange, name] = Topic(exchange, name)
        return topic

    def known_topic(self, exchange: str, name: str) -> Topic | None:
        """Return the topic; None when it was not used, or not for long."""
        return self._topics.get((exchange, name))

    def topics(self) -> list[Topic]:
        """List every topic that was used."""
        return list(self._topics.values())

    def served(self) -> Iterator[tuple[str, str]]:
        """Go through the exchange and name of every topic with servers."""
        return ((topic.exchange, topic.name) for topic in self._topics.values() if topic.usable and topic.servers())

    def route(self, target: Target | Pool, exchange: str) -> Route:
        """
        Return the route to a target, with turns of its own; made when there is none.

        :param target: has a topic.
        :param exchange: that of a target which names none.
        """
        route = self.routes.get(target)
        if route is None:
            topic = self.topic(target.exchange or exchange, target.topic or "")
            route = self.routes[target] = self._make_route(target, topic, self._first_turn())
            route.update(topic.groups().get(route.group, {}), self._unavailable, self._quarantined)
            topic.routes.append(route)
        return route

    def learned(self, topic: Topic, sightings: Sequence[Sighting], now: float) -> tuple[list[Record], list[str]]:
        """
        Take an answer of the store.

        Nothing is routed by the doubts in it: they are noted in `Topic.doubted`.

        :return: the records that lead to links no topic led to before, and the links no topic leads to any more.
        """
        doubts = [sighting.record for sighting in sightings if sighting.record.role is Role.DOUBT]
        topic.doubted = frozenset(record.instance for record in doubts if record.instance)
        if doubts:
            sightings = [sighting for sighting in sightings if sighting.record.role is not Role.DOUBT]
        answered = {sighting.record.key for sighting in sightings}
        passed = now - topic.learned_at
        kept = [
            structs.replace(sighting, age=sighting.age + passed) if sighting.age is not None else sighting
            for sightings_before, were_kept in ((topic.answer, False), (topic.kept, True))
            for sighting in sightings_before
            if sighting.record.key not in answered and self._keeps(sighting.record, were_kept)
        ]
        topic.learned_at = now
        changed = self._replace(topic, sightings, kept)
        if topic.usable and topic.empty:
            topic.emptied_at = now
        topic.knowledge = Knowledge.EMPTY if topic.empty else Knowledge.KNOWN
        return changed

    def witnessed(self, key: str, evidence: Evidence, serves: frozenset[Served]) -> list[str]:
        """
        Take what a link shows of its instance.

        :param serves: what the instance says that it serves.
        :return: the links no topic leads to any more.
        """
        if evidence is Evidence.NONE:
            self._evidence.pop(key, None)
        else:
            self._evidence[key] = (evidence, serves)
        gone: list[str] = []
        for topic in self._topics.values():
            stay = [sighting for sighting in topic.kept if self._keeps(sighting.record, True)]
            if len(stay) < len(topic.kept):
                gone += self._replace(topic, topic.answer, stay)[1]
                if topic.empty:
                    topic.knowledge = Knowledge.EMPTY
        return gone

    def _keeps(self, record: Record, was_kept: bool) -> bool:
        """Tell whether a record stays that the store does not have."""
        evidence, serves = self._evidence.get(link_key(record), (Evidence.NONE, frozenset()))
        if not record.instance or Served(record.exchange, record.topic, record.member, record.pool) not in serves:
            return False
        if evidence is Evidence.UNSURE:
            return was_kept
        return evidence in (Evidence.ALIVE, Evidence.UNASKED)

    def _replace(
        self, topic: Topic, answer: Iterable[Sighting], kept: Iterable[Sighting]
    ) -> tuple[list[Record], list[str]]:
        before = {link_key(sighting.record): sighting.record for sighting in topic.sightings}
        topic.answer = tuple(answer)
        self._keep(topic, tuple(kept))
        self._leading = None
        after = {link_key(sighting.record): sighting.record for sighting in topic.sightings}
        appeared, gone = [], []
        for key, record in after.items():
            if key not in before:
                self._counts[key] = self._counts.get(key, 0) + 1
                if self._counts[key] == 1:
                    appeared.append(record)
        for key in [key for key in before if key not in after]:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
                self._unavailable.discard(key)
                self._quarantined.discard(key)
                gone.append(key)
        groups = topic.groups()
        topic.pools = tuple(group for group in groups if isinstance(group, Pool))
        for route in topic.routes:
            route.update(groups.get(route.group, {}), self._unavailable, self._quarantined)
        return appeared, gone

    def leading_to(self, key: str) -> list[Record]:
        """List the records of all topics that lead to a link."""
        if self._leading is None:
            # Made anew after a change, and not kept up to date: links ask in a crowd, when they are opened.
            self._leading = {}
            for topic in self._topics.values():
                for sighting in topic.sightings:
                    self._leading.setdefault(link_key(sighting.record), []).append(sighting.record)
        return self._leading.get(key, [])

    def _keep(self, topic: Topic, kept: tuple[Sighting, ...]) -> None:
        for sightings, step in ((kept, 1), (topic.kept, -1)):
            for sighting in sightings:
                key = link_key(sighting.record)
                self._kept[key] = self._kept.get(key, 0) + step
                self._kept_changed[key] = None
                if not self._kept[key]:
                    del self._kept[key]
        topic.kept = kept

    def is_kept(self, key: str) -> bool:
        """Tell whether a link is the only evidence of a record."""
        return key in self._kept

    def kept_changes(self) -> Iterable[str]:
        """Return the links for which `is_kept` may have changed since this was asked last."""
        changed, self._kept_changed = self._kept_changed, {}
        return changed

    def failed(self, topic: Topic) -> None:
        """Take that the store did not answer: what was known is stale, what was empty is unknown again."""
        topic.knowledge = Knowledge.STALE if topic.usable else Knowledge.UNKNOWN

    # What is not used

    @property
    def full(self) -> bool:
        """Whether one route has to be given up for a new one."""
        return len(self.routes) >= self._most_routes

    def look(self) -> list[Topic]:
        """
        Look which routes were used since the last look, and give up those that were not for too long.

        :return: the topics that may be given up, unless calls wait for them.
        """
        for route in list(self.routes.values()):
            if route.used or route.holders:
                route.used = False
                route.unused = 0
                continue
            route.unused += 1
            if route.unused >= _LOOKS:
                self.discard(route)
        return [topic for topic in self._topics.values() if not topic.routes and self.disposable(topic)]

    def longest_unused(self) -> Iterator[Route]:
        """Go through the routes that may be given up, each once; begin with one that was not used for long."""
        passed: set[Target | Pool] = set()
        # Twice around, each time from where the last one ended: who was used is spared the first time.
        for _ in range(2 * len(self.routes)):
            target, route = next(iter(self.routes.items()))
            self.routes.move_to_end(target)
            if route.used or not route.unused:
                route.used = False
                route.unused = 1
            elif not route.holders and target not in passed:
                passed.add(target)
                yield route

    def disposable(self, topic: Topic) -> bool:
        """Tell whether the store knows all that is known of a topic, and no answer about it is under way."""
        return topic.knowledge is not Knowledge.STALE and not topic.kept and not topic.resolving

    def sole_links(self, topic: Topic) -> list[str]:
        """List the links that no other topic leads to."""
        keys = {link_key(sighting.record) for sighting in topic.sightings}
        return [key for key in keys if self._counts.get(key) == 1]

    def discard(self, route: Route) -> None:
        """Give up a route."""
        route.topic.routes.remove(route)
        del self.routes[route.target]

    def give_up(self, topic: Topic) -> list[str]:
        """
        Give up a topic that no route leads to.

        :return: the links no topic leads to any more.
        """
        gone = self.sole_links(topic)
        for key in {link_key(sighting.record) for sighting in topic.sightings}:
            self._counts[key] -= 1
        for key in gone:
            del self._counts[key]
            self._unavailable.discard(key)
            self._quarantined.discard(key)
        self._keep(topic, ())
        del self._topics[topic.exchange, topic.name]
        self._leading = None
        return gone

    def renewed(self, route: Route) -> Route:
        """Return the route to the same target that is kept: another when this one was given up meanwhile."""
        return self.routes.get(route.target) or self.route(route.target, route.topic.exchange)

    # Which links are available

    def set_available(self, key: str, available: bool) -> None:
        """Note whether calls may be given to a link; of one that no record leads to nothing is kept."""
        self._note(key, self._unavailable, not available)

    def set_quarantined(self, key: str, quarantined: bool) -> None:
        """Note whether a link is avoided as long as there are others; as `set_available`."""
        self._note(key, self._quarantined, quarantined)

    def _note(self, key: str, noted: set[str], note: bool) -> None:
        if key not in self._counts or note == (key in noted):
            return
        if note:
            noted.add(key)
        else:
            noted.discard(key)
        for topic in self._topics.values():
            for route in topic.routes:
                if key in route.recorded:
                    route.update(route.recorded, self._unavailable, self._quarantined)
