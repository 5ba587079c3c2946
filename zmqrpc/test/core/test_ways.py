"""Through which proxy a link goes: spread evenly, kept, and asked one after the other."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.ways import ANSWER_SECONDS, ASK_AGAIN_SECONDS, ASK_SECONDS, Search, Through, choose

CLIENT, INSTANCE = b"c" * 16, b"i" * 16
NOW = 1000.0

keys = st.sets(st.text(min_size=1, max_size=8), max_size=6)
instances = st.binary(min_size=16, max_size=16)


class ChoiceTests(SynchronousTestCase):
    def test_none_of_none(self):
        self.assertIsNone(choose(CLIENT, INSTANCE, []))

    @given(instances, instances, keys)
    def test_does_not_depend_on_the_order(self, client, instance, proxies):
        chosen = choose(client, instance, sorted(proxies))
        self.assertEqual(choose(client, instance, sorted(proxies, reverse=True)), chosen)
        self.assertEqual(chosen is None, not proxies)

    @given(instances, instances, keys, st.text(min_size=1, max_size=8))
    def test_changes_only_with_the_proxy_that_was_chosen(self, client, instance, proxies, one):
        chosen = choose(client, instance, proxies)
        self.assertIn(choose(client, instance, proxies | {one}), (chosen, one))
        if one != chosen:
            self.assertEqual(choose(client, instance, proxies - {one}), chosen)

    def test_spreads_evenly(self):
        proxies = ["a", "b", "c"]
        counts = Counter(choose(CLIENT, number.to_bytes(16, "big"), proxies) for number in range(3000))
        self.assertEqual(set(counts), set(proxies))
        self.assertGreater(min(counts.values()), 850)

    def test_clients_differ(self):
        proxies = ["a", "b", "c"]
        self.assertEqual(len({choose(bytes([number]) * 16, INSTANCE, proxies) for number in range(20)}), 3)


class SearchTests(SynchronousTestCase):
    def ask_all(self, search, tiers, now=NOW):
        """Ask until nobody is left, each of whom refuses, and list who was asked."""
        asked = []
        while (key := search.next(CLIENT, INSTANCE, tiers, now)) is not None:
            self.assertEqual((search.asked, search.asked_at), (key, now))
            asked.append(key)
            search.refused.add(key)
        return asked

    def test_asks_each_once(self):
        search = Search.begun(1, NOW)
        self.assertEqual(sorted(self.ask_all(search, [["a", "b", "c"]])), ["a", "b", "c"])

    def test_asks_the_preferred_first(self):
        """A proxy may stand in several groups."""
        asked = self.ask_all(Search.begun(1, NOW), [["z"], ["a", "b", "z"], ["s", "a", "b", "z"]])
        self.assertEqual((asked[0], sorted(asked[1:3]), asked[3]), ("z", ["a", "b"], "s"))

    def test_asks_again_for_a_second(self):
        search = Search.begun(1, NOW)
        now, rounds = NOW, 0
        while True:
            self.ask_all(search, [["a", "b"]], now)
            rounds += 1
            if search.again_at == NEVER:
                break
            self.assertAlmostEqual(search.again_at - now, ASK_AGAIN_SECONDS)
            now = search.again_at
            search.go_on()
        self.assertTrue(ASK_SECONDS - ASK_AGAIN_SECONDS - 0.001 <= now - NOW <= ASK_SECONDS, now - NOW)
        self.assertIn(rounds, (10, 11))

    def wait(self, search, tiers, now=NOW):
        """Ask, nobody answers; list who is asked, and when."""
        asked = []
        while True:
            asked.append((search.next(CLIENT, INSTANCE, tiers, now), round(now - NOW, 3)))
            if search.again_at == NEVER:
                return asked
            now = search.again_at
            search.go_on()

    def test_goes_on_where_nobody_answers(self):
        """After all it begins anew: one may have been silent for a moment."""
        asked = self.wait(Search.begun(1, NOW), [["a", "b"]])
        (first, _), (second, _) = asked[:2]
        self.assertEqual({first, second}, {"a", "b"})
        again = 2 * ANSWER_SECONDS + ASK_AGAIN_SECONDS
        expected = [(first, 0), (second, ANSWER_SECONDS), (None, 2 * ANSWER_SECONDS), (first, again)]
        self.assertEqual(asked, [*expected, (second, again + ANSWER_SECONDS)])

    def test_asks_one_alone_once(self):
        search = Search.begun(1, NOW)
        self.assertEqual(self.wait(search, [["a"]]), [("a", 0), (None, ANSWER_SECONDS)])
        self.assertEqual(search.silent, {"a"})

    def test_one_is_silent_and_one_refuses(self):
        search = Search.begun(1, NOW)
        search.next(CLIENT, INSTANCE, [["a"], ["b"]], NOW)
        search.go_on()
        self.assertEqual(search.next(CLIENT, INSTANCE, [["a"], ["b"]], NOW), "b")
        search.refused.add("b")
        self.assertIsNone(search.next(CLIENT, INSTANCE, [["a"], ["b"]], NOW))
        self.assertEqual(search.again_at, NOW + ASK_AGAIN_SECONDS)
        search.go_on()
        self.assertEqual(search.next(CLIENT, INSTANCE, [["a"], ["b"]], NOW), "a")

    @given(st.lists(keys, max_size=3), keys)
    def test_never_asks_who_has_refused(self, tiers, refused):
        search = Search.begun(1, NOW)
        search.refused |= refused
        asked = self.ask_all(search, tiers)
        self.assertEqual(set(asked), {key for tier in tiers for key in tier} - refused)
        self.assertEqual(len(asked), len(set(asked)))


class ThroughTests(SynchronousTestCase):
    def test_is_a_key_and_names_itself(self):
        way = Through(b"\x01", INSTANCE)
        self.assertEqual({way: 1}[Through(b"\x01", INSTANCE)], 1)
        self.assertEqual(f"{way}", f"{INSTANCE.hex()} through 01")
