"""What the routing table gives up when nobody uses it, and what it keeps."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.evidence import Evidence
from zmqrpc.core.route import Route
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.topic import Knowledge, Topic
from zmqrpc.target import Target
from zmqrpc.test.core.test_routing import NOW, serving, sight_all


class UnusedTests(SynchronousTestCase):
    def make(self, most: int = 3, names: str = "a") -> tuple[RoutingTable, Topic, Route]:
        """Make a table whose only route was used before the first of four looks."""
        table = RoutingTable(most_routes=most)
        route = table.route(Target("compute"), "x")
        table.learned(route.topic, sight_all(names), NOW)
        for _ in range(4):
            self.assertEqual((table.look(), route.topic.routes), ([], [route]))
        return table, route.topic, route

    def test_what_is_given_up(self):
        def nothing(table: RoutingTable, topic: Topic, route: Route) -> None:
            pass

        def used(table: RoutingTable, topic: Topic, route: Route) -> None:
            route.choose()

        def used_in_vain(table: RoutingTable, topic: Topic, route: Route) -> None:
            table.learned(topic, [], NOW)
            self.assertIsNone(route.choose())

        def static(table: RoutingTable, topic: Topic, route: Route) -> None:
            route.holders = 1

        def stale(table: RoutingTable, topic: Topic, route: Route) -> None:
            table.failed(topic)

        def kept(table: RoutingTable, topic: Topic, route: Route) -> None:
            table.witnessed("a", Evidence.ALIVE, serving("a"))
            table.learned(topic, [], NOW)

        def resolving(table: RoutingTable, topic: Topic, route: Route) -> None:
            topic.resolving = True

        def unknown(table: RoutingTable, topic: Topic, route: Route) -> None:
            table.learned(topic, [], NOW)
            table.failed(topic)

        def news(table: RoutingTable, topic: Topic, route: Route) -> None:
            table.learned(topic, sight_all("bc"), NOW)
            table.set_available("b", False)

        def neighbour(table: RoutingTable, topic: Topic, route: Route) -> None:
            table.route(Target("compute", server="m"), "x")

        # what happens before a look, whether the route is given up then, whether the topic may be
        for before, route_goes, topic_goes in (
            (nothing, True, True),
            (used, False, False),
            (used_in_vain, False, False),
            (static, False, False),
            (stale, True, False),
            (kept, True, False),
            (resolving, True, False),
            (unknown, True, True),
            (news, True, True),
            (neighbour, True, False),
        ):
            with self.subTest(before=before.__name__):
                table, topic, route = self.make()
                before(table, topic, route)
                self.assertEqual(table.look(), [topic] if topic_goes else [])
                self.assertEqual(table.routes.get(route.target), None if route_goes else route)
                self.assertEqual(route in topic.routes, not route_goes)

    def test_not_before_its_time(self):
        table, topic, route = self.make()
        for _ in range(3):
            route.choose()
            self.assertEqual([table.look() for _ in range(4)], [[]] * 4)
        self.assertEqual(table.look(), [topic])

    def test_looks_come_so_often_that_a_route_is_given_up_in_time(self):
        self.assertEqual(RoutingTable(unused_seconds=40).look_seconds, 10)

    def test_a_topic_is_offered_until_it_is_given_up(self):
        # Calls may wait for it at first, which the table does not know.
        table, topic, _ = self.make()
        self.assertEqual((table.look(), table.look()), ([topic], [topic]))
        self.assertEqual(table.give_up(topic), ["a"])
        self.assertEqual((table.look(), table.topics(), table.leading_to("a")), ([], [], []))

    def test_links_that_another_topic_leads_to_stay(self):
        table, topic, _ = self.make(names="abc")
        other = table.topic("x", "other")
        table.learned(other, sight_all("bd"), NOW)
        self.assertEqual((sorted(table.sole_links(topic)), table.sole_links(other)), (["a", "c"], ["d"]))
        table.discard(topic.routes[0])
        self.assertEqual(sorted(table.give_up(topic)), ["a", "c"])
        self.assertEqual(sorted(table.sole_links(other)), ["b", "d"])
        # What is used again is learned again.
        again = table.route(Target("compute"), "x")
        self.assertEqual((again.topic.knowledge, again.choose()), (Knowledge.UNKNOWN, None))
        appeared, _ = table.learned(again.topic, sight_all("ab"), NOW)
        self.assertEqual(([record.instance for record in appeared], again.choices), (["a"], ["a", "b"]))

    def test_nothing_is_kept_of_links_that_are_gone(self):
        table, topic, _ = self.make(names="ab")
        table.set_available("a", False)
        table.set_available("z", False)
        table.give_up(topic)
        table.set_available("b", False)
        self.assertEqual((table._unavailable, table._counts), (set(), {}))

    def test_a_call_in_flight_comes_back_to_a_route_that_is_kept(self):
        table, topic, route = self.make(names="ab")
        self.assertIs(table.renewed(route), route)
        table.discard(route)
        again = table.renewed(route)
        self.assertEqual((again.topic, topic.routes, again.choices), (topic, [again], ["a", "b"]))
        self.assertIs(table.renewed(route), again)
        self.assertIs(table.route(Target("compute"), "x"), again)

    def route(self, table: RoutingTable, name: str) -> Route:
        return table.route(Target("compute", server=name), "x")

    def oldest(self, table: RoutingTable, number: int) -> str:
        """Name the routes to give up first, as long as there are so many."""
        found = islice(table.longest_unused(), number)
        return "".join(route.target.server or "-" for route in found)

    def test_full(self):
        table, _, _ = self.make(most=2)
        self.assertFalse(table.full)
        self.route(table, "m")
        self.assertTrue(table.full)
        self.route(table, "m")
        self.assertEqual(len(table.routes), 2)

    def test_room_is_made_by_what_was_not_used_for_longest(self):
        table, _, first = self.make(most=4)
        routes = [self.route(table, name) for name in "mno"]
        first.choose()
        self.assertEqual(self.oldest(table, 4), "-mno", "all were used: the order is that in which they were made")
        routes[0].choose()
        first.choose()
        self.assertEqual(self.oldest(table, 2), "no")
        self.assertEqual(self.oldest(table, 4), "-mno", "who was passed over comes last, who was used was spared once")
        table.discard(routes[1])
        first.choose()
        table.look()
        self.assertEqual(self.oldest(table, 3), "mo-", "what a look found used is spared as well")

    def test_static_routes_make_no_room(self):
        table, _, first = self.make(most=2)
        other = self.route(table, "m")
        first.holders = other.holders = 1
        self.assertEqual(self.oldest(table, 1), "")
        other.holders = 0
        self.assertEqual(self.oldest(table, 1), "m")
        self.assertEqual(list(RoutingTable().longest_unused()), [])

    @settings(derandomize=True, max_examples=200)
    @given(
        st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(("use", "learn", "look", "drop"))), max_size=60)
    )
    def test_whatever_is_named_the_table_is_bounded(self, events):
        """Routes and topics stay within the bound, and what is counted of links is what the topics that stay say."""
        table = RoutingTable(most_routes=3)
        now = NOW
        for name, what in events:
            now += 1
            if what == "use":
                target = Target(name)
                if table.full and target not in table.routes:
                    oldest = next(iter(table.longest_unused()))
                    table.discard(oldest)
                    table.give_up(oldest.topic)
                table.route(target, "x").choose()
            elif what == "look":
                for topic in table.look():
                    table.give_up(topic)
            for topic in table.topics():
                if what == "learn":
                    table.learned(topic, sight_all(name + topic.name), now)
                elif what == "drop" and topic.name == name:
                    table.learned(topic, [], now)
            self.assertLessEqual(len(table.topics()), len(table.routes))
            self.assertLessEqual(len(table.routes), 3)
            self.assertEqual(
                {id(route) for topic in table.topics() for route in topic.routes}, set(map(id, table.routes.values()))
            )
            links = Counter(
                key for topic in table.topics() for key in {sighting.record.instance for sighting in topic.sightings}
            )
            self.assertEqual(table._counts, dict(links))
