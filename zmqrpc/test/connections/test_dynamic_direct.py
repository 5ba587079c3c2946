"""Which links are connected for a message, and which of them gets it; without any link."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zmqrpc.connections.dynamic_direct import MOST_UNMET, PATIENCE, WIDEN, DynamicDirect
from zmqrpc.core.agenda import NEVER
from zmqrpc.interfaces import ILinks
from zmqrpc.testing.matchmaker import make_record

EVERYBODY = "abcdef"
A_MOMENT = 0.005


@implementer(ILinks)
class Links:
    """
    Links without a network, which do what a test tells them.

    :ivar phases: of each link: idle, connecting, up, leaving or backing off.
    :ivar waiting: how many messages wait for each link, which may go anywhere.
    :ivar handed: to which links messages were handed over, in order.
    """

    strategy: DynamicDirect

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        self.phases: dict[str, str] = {}
        self.waiting: dict[str, int] = {}
        self.busy: dict[str, int] = {}
        self.handed: list[str] = []
        self._order: list[str] = []

    # What the strategy does

    def open(self, key, record, proxied=False):
        self.phases.setdefault(key, "idle")
        self.waiting.setdefault(key, 0)
        self.busy.setdefault(key, 0)

    def connect_now(self, key):
        if self.phases.get(key) == "idle":
            self.phases[key] = "connecting"
        return self.phases.get(key) == "connecting"

    def release(self, key):
        if self.phases.get(key) == "up" and not self.waiting[key] and not self.busy[key]:
            self.phases[key] = "leaving"

    def pass_on(self, key, others):
        up = [other for other in self._order if other in others and self.phases.get(other) == "up"]
        if up and self.waiting.get(key):
            count, self.waiting[key] = self.waiting[key], 0
            self._hand_over(up[0], count)
        return bool(self.waiting.get(key) and others)

    def withdraw(self, key, reason):
        self.waiting.pop(key)
        self.busy.pop(key)
        self.phases.pop(key)

    # What a test does

    def _hand_over(self, key, count):
        self.handed += [key] * count
        self.busy[key] += count

    def send(self, key, others=""):
        if self.phases[key] == "up":
            self._hand_over(key, 1)
            return
        self.waiting[key] += 1
        self.connect_now(key)
        self.strategy.needed(key, iter(others))
        self.strategy.sweep(self.seconds())

    def come_up(self, key):
        if self.phases.get(key) == "connecting":
            self.phases[key] = "up"
            self._order = [*(each for each in self._order if each != key), key]
            count, self.waiting[key] = self.waiting[key], 0
            self._hand_over(key, count)
            self.strategy.opened(key)

    def end(self, key):
        if self.busy.get(key):
            self.busy[key] = 0
            self.strategy.idle(key)

    def close(self, key):
        if self.phases.get(key) == "leaving":
            self.phases[key] = "connecting" if self.waiting[key] else "idle"
            if not self.waiting[key]:
                self.strategy.closed(key)

    def fail(self, key):
        """The connection comes to nothing; what waited is given to others, as long as there are any."""
        if self.phases.get(key) == "connecting":
            self.phases[key] = "backing off"
            count, self.waiting[key] = self.waiting[key], 0
            others = [other for other, phase in self.phases.items() if phase != "backing off"]
            for _ in range(count if others else 0):
                self.send(others[0], others)
            self.strategy.closed(key)

    def recover(self, key):
        if self.phases.get(key) == "backing off":
            self.phases[key] = "idle"
            self.strategy.closed(key)

    def in_phase(self, phase):
        return "".join(key for key, its in self.phases.items() if its == phase)


class Case:
    """Mix in: a strategy with links to everybody."""

    def begin(self, most_others: int = 2) -> None:
        self.clock = Clock()
        self.links = Links(self.clock.seconds)
        self.strategy = DynamicDirect(self.links, most_others, self.clock.seconds, lambda when: None)
        self.links.strategy = self.strategy
        for key in EVERYBODY:
            self.strategy.appeared(key, make_record(key))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and be punctual."""
        until = self.clock.seconds() + seconds + A_MOMENT
        while self.strategy.wake_at <= until:
            self.block(max(0.0, self.strategy.wake_at - self.clock.seconds()))
        self.clock.advance(until - self.clock.seconds())

    def block(self, seconds: float) -> None:
        """Look only when time has passed."""
        self.clock.advance(seconds)
        self.strategy.sweep(self.clock.seconds())


class DynamicDirectTests(Case, SynchronousTestCase):
    def setUp(self):
        self.begin()

    def test_a_second_look(self):
        """One is late only when sockets were read between two looks: its WELCOME may lie there."""
        self.begin()
        self.links.send("a", "ab")
        self.links.come_up("b")
        self.clock.advance(2 * PATIENCE)
        for _ in range(3):
            self.strategy.sweep(self.clock.seconds())
        self.assertEqual(self.links.handed, [])
        self.assertGreater(self.strategy.wake_at, self.clock.seconds())
        self.links.come_up("a")
        self.assertEqual(self.links.handed, ["a"])

    def test_nothing_is_connected_before_it_is_needed(self):
        self.assertEqual(self.links.in_phase("idle"), EVERYBODY)
        self.assertEqual(self.strategy.wake_at, NEVER)

    def test_as_many_others_as_configured(self):
        for most_others, connecting in ((0, "b"), (1, "bc"), (2, "bcd"), (9, EVERYBODY)):
            self.begin(most_others)
            self.links.send("b", "cdefab")
            self.assertEqual(self.links.in_phase("connecting"), connecting)

    def test_whose_turn_it_is_gets_it_when_it_is_up_in_time(self):
        self.links.send("a", "bcdefa")
        self.links.come_up("b")
        self.pass_time(PATIENCE - 0.01)
        self.assertEqual(self.links.handed, [])
        self.links.come_up("a")
        self.links.come_up("c")
        self.assertEqual((self.links.handed, self.links.in_phase("leaving")), (["a"], "bc"))
        self.links.end("a")
        self.assertEqual(self.links.in_phase("leaving"), "abc")

    def test_the_first_that_is_up_gets_it_when_it_is_late(self):
        self.links.send("a", "bcdefa")
        for key in "cb":
            self.links.come_up(key)
        self.pass_time(PATIENCE)
        self.assertEqual((self.links.handed, self.links.in_phase("leaving")), (["c"], "b"))
        self.assertEqual(self.strategy.wake_at, NEVER)
        self.links.come_up("a")
        self.assertEqual((self.links.handed, self.links.in_phase("leaving")), (["c"], "ab"))

    def test_when_all_are_late_the_first_gets_it(self):
        for first in "abc":
            self.begin()
            self.links.send("a", "bcdefa")
            self.pass_time(PATIENCE)
            self.pass_time(1)
            self.assertEqual(self.links.handed, [])
            self.links.come_up(first)
            self.assertEqual(self.links.handed, [first])

    def test_who_is_late_keeps_nobody_waiting_again(self):
        self.links.send("a", "bcdefa")
        self.links.come_up("b")
        self.pass_time(PATIENCE)
        self.links.send("a", "bcdefa")
        self.assertEqual(self.links.handed, ["b", "b"])
        self.links.end("b")
        self.links.close("b")
        self.links.send("a", "bcdefa")
        self.links.come_up("b")
        self.assertEqual(self.links.handed, ["b"] * 3)

    def test_more_are_connected_when_the_first_few_do_not_answer(self):
        """Each of those that were not met yet, and the first that is up gets it when it is time."""
        self.links.send("a", "bcdefa")
        self.pass_time(WIDEN)
        self.assertEqual(self.links.in_phase("connecting"), "abcde")
        self.pass_time(WIDEN)
        self.assertEqual(self.links.in_phase("connecting"), EVERYBODY)
        self.links.come_up("f")
        self.assertEqual(self.links.handed, [])
        self.pass_time(PATIENCE)
        self.assertEqual(self.links.handed, ["f"])

    def test_no_more_is_read_than_is_wanted(self):
        """There may be thousands, and as many calls: they are read when more are to be connected, not for each."""
        read = []

        def others():
            for number in range(1000):
                read.append(number)
                yield f"m{number}"

        def needed(calls):
            read.clear()
            for _ in range(calls):
                self.strategy.needed("a", others())
            return len(read)

        self.links.waiting["a"] = 1
        self.links.connect_now("a")
        self.assertEqual(needed(100), 300)
        self.pass_time(WIDEN)
        self.assertEqual(len(read), 300 + MOST_UNMET + 2 - 3)
        self.pass_time(PATIENCE)
        self.assertLessEqual(needed(100), 300 + MOST_UNMET)

    def test_what_comes_for_one_alone_takes_nothing_from_others(self):
        self.links.send("a", "bcdefa")
        self.links.send("a")
        self.pass_time(WIDEN)
        self.assertEqual(self.links.in_phase("connecting"), "abcde")

    def test_not_all_of_those_that_are_known(self):
        """As many of those that came up as are connected otherwise, and none that failed."""
        self.begin(1)
        for key in "def":
            self.links.send(key)
            (self.links.fail if key == "f" else self.links.come_up)(key)
            self.links.end(key)
            self.links.close(key)
        self.links.recover("f")
        self.links.send("a", "bcdefa")
        self.pass_time(PATIENCE / 2)
        self.assertEqual(self.links.in_phase("connecting"), "abcd")

    def test_the_only_one_that_answers_is_known(self):
        """However far from its turn it is, nobody waits for long."""
        for most_others in (0, 1, 2):
            self.begin(most_others)
            self.links.send("f")
            self.links.come_up("f")
            self.links.end("f")
            self.links.close("f")
            self.links.send("a", "bcdefa")
            self.pass_time(WIDEN)
            self.links.come_up("f")
            self.pass_time(PATIENCE)
            self.assertEqual(self.links.handed, ["f", "f"])

    def test_those_that_are_connected_beside_have_less_time(self):
        """What comes for one of them meanwhile waits no longer than until the first would have been late."""
        self.links.send("a", "bcdefa")
        self.pass_time(WIDEN)
        self.links.come_up("c")
        self.links.send("e", "abcdf")
        self.pass_time(WIDEN)
        self.assertEqual(self.links.handed, ["c"])

    def test_who_looks_late_looks_twice(self):
        self.links.send("a", "bcdefa")
        self.links.come_up("c")
        self.block(5)
        self.assertEqual(self.links.handed, [])
        # It came while our own process was busy, and is read now.
        self.links.come_up("a")
        self.pass_time(0)
        self.assertEqual(self.links.handed, ["a"])
        self.begin()
        self.links.send("a", "bcdefa")
        self.links.come_up("c")
        self.block(5)
        self.pass_time(0)
        self.assertEqual(self.links.handed, ["c"])

    def test_an_other_that_is_late_as_well_is_not_given_its_time_again(self):
        self.links.send("a", "bcdefa")
        self.links.come_up("c")
        self.pass_time(PATIENCE / 2)
        self.links.fail("a")
        self.assertEqual((self.links.waiting["b"], self.links.handed), (1, []))
        self.pass_time(PATIENCE / 2)
        self.assertEqual(self.links.handed, ["c"])

    def test_who_was_connected_long_ago_has_its_time(self):
        self.links.send("b")
        self.links.come_up("b")
        self.links.send("a", "bcdefa")
        self.links.come_up("a")
        self.pass_time(10)
        self.links.end("b")
        self.links.close("b")
        self.links.send("b", "acdefb")
        self.links.come_up("c")
        self.assertEqual(self.links.handed, ["b", "a"])

    def test_what_nobody_else_can_take_waits(self):
        self.links.send("a")
        self.assertEqual(self.links.in_phase("connecting"), "a")
        self.pass_time(1)
        self.links.come_up("a")
        self.assertEqual(self.links.handed, ["a"])

    def test_who_is_needed_twice_stays_until_both_are_over(self):
        self.links.send("a", "bcdefa")
        self.links.send("d", "bcefad")
        for key in "bca":
            self.links.come_up(key)
        self.assertEqual(self.links.in_phase("leaving"), "")
        self.links.come_up("d")
        self.assertEqual(self.links.in_phase("leaving"), "bc")

    def test_who_was_just_being_closed_is_connected_after_that(self):
        self.links.send("b")
        self.links.come_up("b")
        self.links.end("b")
        self.assertEqual(self.links.in_phase("leaving"), "b")
        self.links.send("a", "bcdefa")
        self.links.close("b")
        self.assertEqual(self.links.in_phase("connecting"), "abc")

    def test_who_is_gone_keeps_nobody(self):
        self.links.send("a", "bcdefa")
        for key in "bc":
            self.links.come_up(key)
        self.strategy.gone("a")
        self.assertEqual(self.links.in_phase("leaving"), "bc")
        self.assertEqual(self.strategy.wake_at, NEVER)


EVENTS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(EVERYBODY), st.permutations(EVERYBODY)),
    st.tuples(st.sampled_from(["come_up", "end", "close", "fail", "recover"]), st.sampled_from(EVERYBODY)),
    st.tuples(st.just("pass_time"), st.sampled_from([0.01, PATIENCE, 1.0])),
)


class AnyOrderTests(Case, SynchronousTestCase):
    @settings(derandomize=True, max_examples=300)
    @given(st.lists(EVENTS, max_size=60))
    def test_in_whatever_order_all_is_sent_and_all_is_closed(self, events):
        self.begin()
        links = self.links
        for name, *what in events:
            if name == "pass_time":
                self.pass_time(*what)
            elif name == "send" and links.phases[what[0]] != "backing off":
                links.send(what[0], [key for key in what[1] if links.phases[key] != "backing off"])
            elif name != "send":
                getattr(links, name)(*what)
            self.check_late(links)
        for _ in range(4):
            self.pass_time(PATIENCE)
            for name in ("recover", "come_up", "end", "close"):
                for key in EVERYBODY:
                    getattr(links, name)(key)
        self.assertEqual(sum(links.waiting.values()), 0)
        self.assertEqual(links.in_phase("idle"), EVERYBODY)
        self.assertEqual(self.strategy.wake_at, NEVER)
        self.assertEqual((self.strategy._attempts, self.strategy._counts), ({}, {}), "what it remembers is over")

    def check_late(self, links):
        """Nothing waits for one that is late while another is up that was connected for it."""
        for key, attempt in self.strategy._attempts.items():
            if attempt.late and links.waiting[key]:
                self.assertEqual([other for other in attempt.others if links.phases[other] == "up"], [])
