"""The routing table: what is known of who listens, and whose turn it is."""

from __future__ import annotations

from collections import Counter

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.envelope import Served
from zmqrpc.core.evidence import Evidence
from zmqrpc.core.route import Route
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.topic import Knowledge, Topic, link_key
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.target import Pool, Target

NOW = 1000.0
UNKNOWN, KNOWN, STALE, EMPTY = Knowledge
NONE, UNSURE, UNASKED, ALIVE = Evidence


def sight(name: str, role: Role = Role.SERVER, member: str = "", age: float = 0.0) -> Sighting:
    """Make a sighting whose link is called `name`."""
    return Sighting(Record(role, "x", "compute", member or name, name, ("tcp://10.0.0.1:1",)), age)


def sight_all(names: str) -> list[Sighting]:
    return [sight(name) for name in names]


def make_route(names: str = "") -> tuple[RoutingTable, Topic, Route]:
    table = RoutingTable()
    topic = table.topic("x", "compute")
    route = table.route(Target("compute"), "x")
    if names:
        table.learned(topic, sight_all(names), NOW)
    return table, topic, route


def serving(*members: str, topic: str = "compute") -> frozenset[Served]:
    return frozenset(Served("x", topic, member) for member in members)


def turns(route: Route, number: int) -> str:
    return "".join(route.choose() or "-" for _ in range(number))


class UpcomingTests(SynchronousTestCase):
    def test_it_is_who_has_the_next_turns(self):
        for names in ("", "a", "ab", "abcde"):
            _, _, route = make_route(names)
            for _ in range(2 * len(names) + 1):
                upcoming = "".join(route.upcoming())
                self.assertEqual(upcoming, turns(route, len(names)))
                turns(route, 1)


class KnowledgeTests(SynchronousTestCase):
    # what was known, what the store answered (None: it did not), what is known then, whether it may be used
    ROWS: list[tuple[Knowledge, str | None, Knowledge, bool]] = [
        (UNKNOWN, "a", KNOWN, True),
        (UNKNOWN, "", EMPTY, False),
        (UNKNOWN, None, UNKNOWN, False),
        (EMPTY, "a", KNOWN, True),
        (EMPTY, "", EMPTY, False),
        (EMPTY, None, UNKNOWN, False),
        (KNOWN, "b", KNOWN, True),
        (KNOWN, "", EMPTY, False),
        (KNOWN, None, STALE, True),
        (STALE, "b", KNOWN, True),
        (STALE, "", EMPTY, False),
        (STALE, None, STALE, True),
    ]

    def reach(self, knowledge: Knowledge) -> tuple[RoutingTable, Topic]:
        table, topic, _ = make_route()
        if knowledge is not UNKNOWN:
            table.learned(topic, [] if knowledge is EMPTY else [sight("a")], NOW)
        if knowledge is STALE:
            table.failed(topic)
        self.assertEqual(topic.knowledge, knowledge)
        return table, topic

    def test_rows(self):
        self.assertEqual({row[0] for row in self.ROWS}, set(Knowledge))
        for before, answer, after, usable in self.ROWS:
            table, topic = self.reach(before)
            if answer is None:
                table.failed(topic)
            else:
                table.learned(topic, sight_all(answer), NOW)
            self.assertEqual((topic.knowledge, topic.usable), (after, usable), f"{before} and {answer!r}")

    def test_an_empty_answer_is_never_final(self):
        table, topic, route = make_route()
        for _ in range(3):
            table.learned(topic, [], NOW)
            self.assertIsNone(route.choose())
            table.learned(topic, [sight("a")], NOW)
            self.assertEqual(route.choose(), "a")

    def test_a_failure_keeps_the_routes(self):
        table, topic, route = make_route("ab")
        table.failed(topic)
        self.assertEqual(turns(route, 4), "abab")

    def test_who_is_no_server_makes_nothing_known(self):
        table, topic, route = make_route()
        appeared, _ = table.learned(topic, [sight("r", Role.ROUTER), sight("p", Role.PUBLISHER)], NOW)
        self.assertEqual((topic.knowledge, route.choose(), topic.servers()), (EMPTY, None, []))
        self.assertEqual([record.role for record in appeared], [Role.ROUTER, Role.PUBLISHER])

    def test_a_topic_is_one_topic(self):
        table = RoutingTable()
        self.assertIs(table.topic("x", "compute"), table.topic("x", "compute"))
        self.assertIsNot(table.topic("x", "compute"), table.topic("y", "compute"))
        self.assertEqual(len(table.topics()), 2)

    def test_age_of_a_record(self):
        table, topic, _ = make_route()
        table.learned(topic, [sight("a", age=7), sight("b")], NOW)
        found = [topic.behind(key, Target("compute")) for key in "abc"]
        self.assertEqual([[topic.age(each, NOW + 2) for each in some] for some in found], [[9], [2], []])

    def test_what_is_behind_a_link(self):
        """Of all that one node is, what a target means."""
        _, topic, _ = make_route()
        own = [sight("a", member="m"), sight("a", member="n"), sight("a", Role.LISTENER), sight("a", Role.ROUTER)]
        topic.answer = (*own, sight("b", member="m"))
        for target, found in (
            (Target("compute"), own[:2]),
            (Target("compute", server="n"), own[1:2]),
            (Target("compute", server="o"), []),
            (Pool("x", "compute"), own[2:3]),
            (Pool("x", "compute", "audit"), []),
        ):
            self.assertEqual(topic.behind("a", target), found, target)

    def test_a_record_without_an_instance_goes_by_its_address(self):
        record = sight("a").record
        self.assertEqual(link_key(record), "a")
        self.assertEqual(link_key(attrs.evolve(record, instance="")), "tcp://10.0.0.1:1")


class LinkTests(SynchronousTestCase):
    """Which links an answer makes necessary, and which needless; several topics may lead to one."""

    def test_a_link_appears_once_and_goes_with_its_last_topic(self):
        table = RoutingTable()
        one, two = table.topic("x", "one"), table.topic("x", "two")

        def learned(topic: Topic, names: str) -> tuple[str, str]:
            appeared, gone = table.learned(topic, sight_all(names), NOW)
            return "".join(record.instance for record in appeared), "".join(sorted(gone))

        # topic, answer, who appears, who goes
        for topic, names, appears, goes in (
            (one, "ab", "ab", ""),
            (one, "ab", "", ""),
            (two, "bc", "c", ""),
            (one, "", "", "a"),
            (two, "c", "", "b"),
            (one, "cd", "d", ""),
            (two, "", "", ""),
            (one, "a", "a", "cd"),
        ):
            self.assertEqual(learned(topic, names), (appears, goes), f"{topic.name} {names}")

    def test_a_member_seen_twice_is_one_link(self):
        table, topic, route = make_route()
        appeared, _ = table.learned(topic, [sight("a", member="m"), sight("a", member="n")], NOW)
        self.assertEqual((len(appeared), route.choices), (1, ["a"]))

    def test_every_record_that_leads_to_a_link_is_known(self):
        table = RoutingTable()
        one, two = table.topic("x", "one"), table.topic("x", "two")

        def leading(key: str) -> list[str]:
            return [record.member for record in table.leading_to(key)]

        self.assertEqual(leading("a"), [])
        table.learned(one, [sight("a", member="m"), sight("a", member="n"), sight("b")], NOW)
        self.assertEqual([leading(key) for key in "abc"], [["m", "n"], ["b"], []])
        table.learned(two, [sight("a", Role.ROUTER, member="o")], NOW)
        self.assertEqual(leading("a"), ["m", "n", "o"])
        # It is the same link still, and its record says something else now.
        table.learned(one, [sight("a", member="p")], NOW)
        self.assertEqual([leading(key) for key in "abc"], [["p", "o"], [], []])

    def test_who_comes_back_is_available(self):
        table, topic, route = make_route("ab")
        table.set_available("a", False)
        table.learned(topic, sight_all("b"), NOW)
        table.learned(topic, sight_all("ab"), NOW)
        self.assertEqual(route.choices, ["a", "b"])


class KeptTests(SynchronousTestCase):
    """What becomes of a record that vanishes from the store, by what the link it leads to shows."""

    # shown before it vanishes, whether it is routed to then; shown afterwards, whether it is then
    ROWS: list[tuple[Evidence, bool, Evidence, bool]] = [
        (NONE, False, NONE, False),
        (NONE, False, UNSURE, False),
        (NONE, False, ALIVE, False),
        (UNSURE, False, UNSURE, False),
        (UNSURE, False, ALIVE, False),
        (UNSURE, False, NONE, False),
        (ALIVE, True, ALIVE, True),
        (ALIVE, True, UNSURE, True),
        (ALIVE, True, NONE, False),
        (UNASKED, True, UNASKED, True),
        (UNASKED, True, ALIVE, True),
        (UNASKED, True, UNSURE, True),
        (UNASKED, True, NONE, False),
        (NONE, False, UNASKED, False),
    ]

    def test_rows(self):
        for before, kept, after, stays in self.ROWS:
            table, topic, route = make_route("a")
            table.witnessed("a", before, serving("a"))
            _, gone = table.learned(topic, [], NOW)
            self.assertEqual((route.choices, gone), (["a"], []) if kept else ([], ["a"]), f"{before}")
            gone = table.witnessed("a", after, serving("a"))
            self.assertEqual((route.choices, gone), self.ends(kept, stays), f"{before}, then {after}")
            self.assertEqual(topic.knowledge, KNOWN if stays else EMPTY)

    def ends(self, kept: bool, stays: bool) -> tuple[list[str], list[str]]:
        if stays:
            return ["a"], []
        return [], ["a"] if kept else []

    def test_it_stays_through_every_answer_without_it(self):
        table, topic, route = make_route("ab")
        table.witnessed("a", ALIVE, serving("a"))
        for names in ("b", "", "cb", "c"):
            table.learned(topic, sight_all(names), NOW)
            self.assertEqual(sorted(route.choices), sorted("a" + names))
        table.witnessed("a", UNSURE, serving("a"))
        table.learned(topic, [], NOW)
        self.assertEqual(route.choices, ["a"])

    def test_it_is_listed_where_the_store_had_it(self):
        table, topic, _ = make_route("ab")
        table.witnessed("a", ALIVE, serving("a"))
        table.learned(topic, sight_all("bc"), NOW)
        self.assertEqual([record.instance for record in topic.servers()], ["a", "b", "c"])
        self.assertEqual([record.instance for record in table.leading_to("a")], ["a"])

    @given(
        st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from([None, "", "a", "b", "ab", "ba"])), max_size=12),
        st.lists(st.sampled_from([NONE, UNSURE, ALIVE]), min_size=12, max_size=12),
    )
    def test_changes(self, steps, evidence):
        """What is told of links that became the only evidence of a record, or are no more, adds up."""
        table = RoutingTable()
        held: dict[str, bool] = {}
        for (name, answer), shown in zip(steps, evidence, strict=False):
            topic = table.topic("x", name)
            if answer is None:
                table.give_up(topic)
            else:
                table.witnessed("ab"[len(answer) % 2], shown, serving("a", "b", topic=name))
                records = [attrs.evolve(sighting.record, topic=name) for sighting in sight_all(answer)]
                table.learned(topic, [Sighting(record) for record in records], NOW)
            held.update({key: table.is_kept(key) for key in table.kept_changes()})
            kept = {link_key(sighting.record) for topic in table.topics() for sighting in topic.kept}
            self.assertEqual({key for key, holds in held.items() if holds}, kept)

    def test_it_is_kept_no_more_when_it_is_back(self):
        table, topic, route = make_route("a")
        table.witnessed("a", ALIVE, serving("a"))
        table.learned(topic, [], NOW)
        appeared, gone = table.learned(topic, sight_all("a"), NOW)
        self.assertEqual((appeared, gone, topic.kept), ([], [], ()))
        self.assertEqual((table.witnessed("a", NONE, serving("a")), route.choices), ([], ["a"]))

    def test_it_ages(self):
        table, topic, _ = make_route()
        table.learned(topic, [sight("a", age=7)], NOW)
        table.witnessed("a", ALIVE, serving("a"))
        for passed in (10, 20, 30):
            table.learned(topic, [], NOW + passed)
            (found,) = topic.behind("a", Target("compute"))
            self.assertEqual(topic.age(found, NOW + passed + 1), 7 + passed + 1)

    def test_what_its_instance_does_not_serve_is_not_kept(self):
        pooled = attrs.evolve(sight("a").record, pool="audit")
        fixed = attrs.evolve(sight("a").record, instance="")
        # record, what its instance says that it serves, whether it is kept
        rows = [
            (sight("a").record, serving("a"), True),
            (sight("a").record, serving("b", "a"), True),
            (sight("a").record, serving("b"), False),
            (sight("a").record, serving("a", topic="other"), False),
            (sight("a").record, serving(), False),
            (pooled, serving("a"), False),
            (pooled, frozenset([Served("x", "compute", "a", "audit")]), True),
            (fixed, serving("a"), False),  # whoever takes a line out of a fixed table means it
        ]
        for record, serves, kept in rows:
            table, topic, route = make_route()
            table.learned(topic, [Sighting(record)], NOW)
            table.witnessed(link_key(record), ALIVE, serves)
            table.learned(topic, [], NOW)
            self.assertEqual(bool(route.choices), kept, f"{record} by one that serves {serves}")

    def test_what_its_instance_serves_no_more_goes(self):
        table, topic, route = make_route()
        table.learned(topic, [sight("a", member="m"), sight("a", member="n")], NOW)
        table.witnessed("a", ALIVE, serving("m", "n"))
        table.learned(topic, [], NOW)
        member = table.route(Target("compute", server="m"), "x")
        self.assertEqual(table.witnessed("a", ALIVE, serving("n")), [])
        self.assertEqual((route.choices, member.choices), (["a"], []))
        self.assertEqual(table.witnessed("a", ALIVE, serving()), ["a"])
        self.assertEqual(route.choices, [])

    def test_its_link_goes_with_the_last_topic_that_has_or_keeps_it(self):
        table = RoutingTable()
        one, two = table.topic("x", "one"), table.topic("x", "two")
        for topic in (one, two):
            record = attrs.evolve(sight("a").record, topic=topic.name)
            table.learned(topic, [Sighting(record)], NOW)
        table.witnessed("a", ALIVE, serving("a", topic="two"))
        self.assertEqual(table.learned(one, [], NOW), ([], []))
        self.assertEqual(table.learned(two, [], NOW), ([], []))
        self.assertEqual((one.knowledge, two.knowledge), (EMPTY, KNOWN))
        self.assertEqual(table.witnessed("a", NONE, serving()), ["a"])

    def test_a_loss_in_an_outage_leaves_the_rest_stale(self):
        table, topic, route = make_route("ab")
        table.witnessed("a", ALIVE, serving("a"))
        table.learned(topic, sight_all("b"), NOW)
        table.failed(topic)
        table.witnessed("a", NONE, serving())
        self.assertEqual((topic.knowledge, route.choices), (STALE, ["b"]))

    def test_the_others_keep_the_order_of_turns(self):
        table, topic, route = make_route("abc")
        for name in "ac":
            table.witnessed(name, ALIVE, serving(name))
        turns(route, 1)
        table.learned(topic, [], NOW)
        self.assertEqual(turns(route, 3), "cac")


class RouteTests(SynchronousTestCase):
    def test_turns_are_taken_in_order(self):
        self.assertEqual(turns(make_route("abc")[2], 7), "abcabca")

    def test_nobody_has_no_turn(self):
        self.assertIsNone(make_route()[2].choose())

    def test_a_member_has_its_own_instances_and_no_others(self):
        table, topic, route = make_route()
        member = table.route(Target("compute", server="m"), "x")
        nobody = table.route(Target("compute", server="n"), "x")
        table.learned(topic, [sight("a", member="m"), sight("b", member="o"), sight("c", member="m")], NOW)
        self.assertEqual((turns(member, 4), turns(route, 4), nobody.choose()), ("acac", "abca", None))

    def test_each_route_has_turns_of_its_own(self):
        table, _, route = make_route("abc")
        other = table.route(Target("compute", exchange="x"), "x")
        self.assertEqual((turns(route, 2), turns(other, 2), turns(route, 2)), ("ab", "ab", "ca"))

    def test_only_the_available_have_turns(self):
        table, _, route = make_route("abc")
        table.set_available("b", False)
        self.assertEqual((turns(route, 4), sorted(route.recorded)), ("acac", ["a", "b", "c"]))
        table.set_available("b", True)
        self.assertEqual(turns(route, 3), "abc")
        for name in "abc":
            table.set_available(name, False)
        self.assertIsNone(route.choose())

    def test_the_same_news_changes_nothing(self):
        table, _, route = make_route("abc")
        before = route.choices
        table.set_available("a", True)
        self.assertIs(route.choices, before)
        table.set_available("a", False)
        before = route.choices
        table.set_available("a", False)
        self.assertIs(route.choices, before)

    def test_news_of_strangers_does_not_matter(self):
        table, _, route = make_route("ab")
        table.set_available("z", False)
        self.assertEqual(turns(route, 2), "ab")

    # turns taken of "abcd", who is there then, the turns that follow
    CHANGES = [
        (1, "acd", "cda"),
        (1, "abcde", "bcdea"),
        (1, "eabcd", "bcdea"),
        (2, "abd", "dab"),
        (2, "ab", "ab"),
        (1, "ca", "ca"),  # b and d went, and the store changed the order
        (2, "ba", "ab"),
        (4, "bcd", "bcd"),
        (0, "bcd", "bcd"),
        (3, "xy", "xyx"),
    ]

    def test_whoever_is_left_and_was_next_is_next(self):
        for taken, names, following in self.CHANGES:
            table, topic, route = make_route("abcd")
            turns(route, taken)
            table.learned(topic, sight_all(names), NOW)
            self.assertEqual(turns(route, len(following)), following, f"{taken} turns, then {names}")


NAMES = "abcdefg"
CHANGES = st.one_of(
    st.permutations(NAMES).flatmap(lambda names: st.integers(0, len(NAMES)).map(lambda n: ("learned", names[:n]))),
    st.tuples(st.sampled_from(("up", "down")), st.sampled_from(NAMES)),
    st.just(("failed", "")),
    st.tuples(st.just("turns"), st.integers(1, 40)),
)


class FairnessTests(SynchronousTestCase):
    @settings(derandomize=True, max_examples=300)
    @given(st.lists(CHANGES, max_size=30))
    def test_strict_round_robin_between_changes(self, changes):
        """
        Over any stretch without a change, nobody is more than one turn ahead of another.

        And nobody who stays has two turns in a row while there is somebody else, not even over a change.
        """
        table, topic, route = make_route()
        recorded = ""
        down: set[str] = set()
        last: str | None = None
        available: set[str] = set()
        for change, what in [*changes, ("turns", 14)]:
            match change:
                case "learned":
                    down &= set(what)
                    recorded = "".join(what)
                    table.learned(topic, sight_all(recorded), NOW)
                case "up":
                    table.set_available(what, True)
                    down.discard(what)
                case "down":
                    table.set_available(what, False)
                    down |= {what} & set(recorded)
                case "failed":
                    table.failed(topic)
                case "turns":
                    self.assertEqual(set(route.choices), available)
                    if not available:
                        self.assertIsNone(route.choose())
                        continue
                    taken: list[str | None] = []
                    for _ in range(what):
                        taken.append(route.choose())
                        self.assertTrue(taken[-1] != last or available == {last}, f"{last} twice in a row")
                        last = taken[-1]
                    counts = Counter(taken)
                    self.assertLessEqual(set(counts), available)
                    self.assertLessEqual(max(counts.values()) - min(counts[name] for name in available), 1)
            available = set(recorded) - down
            last = last if last in available else None


class QuarantineTests(SynchronousTestCase):
    """Who is avoided as long as there are others."""

    # who is recorded, who is not available, who is in quarantine; whose turns follow, who is better than none
    ROWS: list[tuple[str, str, str, str, str]] = [
        ("abc", "", "", "abcabc", ""),
        ("abc", "", "b", "acacac", "b"),
        ("abc", "a", "b", "cccccc", "b"),
        ("abc", "ac", "b", "bbbbbb", "b"),
        ("abc", "b", "b", "acacac", ""),
        ("abc", "", "abc", "abcabc", "abc"),
        ("ab", "ab", "ab", "------", ""),
        ("ab", "", "z", "ababab", ""),
    ]

    def test_rows(self):
        for recorded, unavailable, quarantined, follow, avoided in self.ROWS:
            table, _topic, route = make_route(recorded)
            member = table.route(Target("compute", server="b"), "x")
            for name in unavailable:
                table.set_available(name, False)
            for name in quarantined:
                table.set_quarantined(name, True)
            self.assertEqual((turns(route, 6), "".join(route.avoided)), (follow, avoided), (unavailable, quarantined))
            self.assertEqual(turns(member, 1), "-" if "b" in unavailable or "b" not in recorded else "b")
            self.assertEqual("".join(instance for _, instance in route.listed()), recorded)

    def test_back(self):
        table, _topic, route = make_route("abc")
        table.set_quarantined("b", True)
        self.assertEqual(turns(route, 3), "aca")
        table.set_quarantined("b", False)
        self.assertEqual(Counter(turns(route, 6)), {"a": 2, "b": 2, "c": 2})

    def test_gone(self):
        table, topic, route = make_route("ab")
        table.set_quarantined("a", True)
        table.learned(topic, sight_all("b"), NOW)
        table.learned(topic, sight_all("ab"), NOW)
        self.assertEqual((sorted(route.choices), route.avoided), (["a", "b"], []))
        table.set_quarantined("a", True)
        table.discard(route)
        table.give_up(topic)
        self.assertEqual(table._quarantined, set())
