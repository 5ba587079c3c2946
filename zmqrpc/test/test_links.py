"""Which links are swept, and when."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import Kind
from zmqrpc.link import Link
from zmqrpc.links import Links
from zmqrpc.notices import Notices
from zmqrpc.settings import Settings
from zmqrpc.strategy_links import StrategyLinks
from zmqrpc.target import Target
from zmqrpc.testing.matchmaker import make_record
from zmqrpc.waiter import Waiter

HOUR = 3600.0
MOST = 1000


class Surroundings:
    """Is told everything that links tell, and answers nothing."""

    def __init__(self) -> None:
        self.overdue_calls: list[Any] = []

    def kick(self):
        pass

    def availability_changed(self, link):
        pass

    def overdue(self, calls, link):
        self.overdue_calls += calls


class SweptLinksTests(SynchronousTestCase):
    def setUp(self):
        self.now = 0.0
        self.surroundings: Any = Surroundings()
        self.links = self.make()

    def make(self):
        def now():
            return self.now

        around = self.surroundings
        return Links(bytes(16), Settings(), around, around, Notices(now), now, lambda when: None)

    def open(self, key="a"):
        return StrategyLinks(self.links, lambda: 1.0).open(key, make_record(member="m"))

    def queue(self, link, deadline):
        call = Waiter(lambda _: None)
        call.begin(Kind.CALL, Target("work"), b"x", deadline)
        link.queue.add(call)
        self.links.wake_by(link, deadline)
        return call

    def sweep(self, now):
        self.now = now
        self.links.sweep(now)

    def test_a_link_that_is_needed_sooner_and_sooner_leaves_little_behind(self):
        link = self.open()
        for turn in range(5000):
            self.links.wake_by(link, HOUR - turn)
        self.assertLess(len(self.links._due), MOST)
        self.assertEqual(self.links.wake_at, HOUR - 4999)

    def test_a_link_that_is_gone_is_late_no_more(self):
        """Nothing keeps it, whether or not another comes up."""
        link = self.open()
        self.links.late["a"] = link
        StrategyLinks(self.links, lambda: 1.0).withdraw("a", "it is gone")
        self.sweep(HOUR)
        self.assertEqual((self.links.all(), self.links.late), ([], {}))

    def test_a_link_that_comes_back_to_a_late_deadline_leaves_little_behind(self):
        links = [self.open(key) for key in "abc"]
        calls = [self.queue(link, HOUR + number) for number, link in enumerate(links)]
        for turn in range(1, 5000):
            for link in links:
                self.links.wake_by(link, turn / 10)
            self.sweep(turn / 10)
        self.assertLess(len(self.links._due), MOST)
        self.assertEqual(self.links.wake_at, HOUR)
        for number in range(3):
            self.sweep(HOUR + number)
            self.assertEqual(self.surroundings.overdue_calls, calls[: number + 1])
        self.assertEqual(self.links.wake_at, NEVER)

    def test_what_is_asked_for_during_a_sweep_is_kept(self):
        """Also when it makes a look at all links due."""
        first, second = self.open("a"), self.open("b")
        calls = [self.queue(first, 1.0), self.queue(second, HOUR)]

        def overdue(late, link):
            self.surroundings.overdue_calls += late
            for turn in range(5000):
                self.links.wake_by(second, HOUR - turn / 10)

        self.surroundings.overdue = overdue
        self.sweep(1.0)
        self.assertEqual((self.surroundings.overdue_calls, self.links.wake_at), (calls[:1], HOUR - 499.9))

    def fail_to_sweep(self, *failing):
        """Have the sweep of some links fail, and list the links that are swept."""
        swept: list[str] = []
        whole = Link.sweep

        def sweep(link, now):
            swept.append(link.key)
            if link.key in failing:
                raise ZeroDivisionError("a fault of the test")
            whole(link, now)

        self.patch(Link, "sweep", sweep)
        return swept

    def test_after_a_fault_a_link_waits_a_second(self):
        broken, sound = self.open("broken"), self.open("sound")
        for link in (broken, sound):
            self.queue(link, 1.0)
        swept = self.fail_to_sweep("broken")
        for turn in range(200):
            self.sweep(1.0 + turn / 100)
        self.assertEqual(swept, ["broken", "sound", "broken"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_after_a_fault_a_blocked_link_waits_too(self):
        link = self.open("broken")
        cast(Any, link)._outbox.put_back(b"refused")
        self.queue(link, 1.0)
        self.fail_to_sweep("broken")
        self.sweep(1.0)
        self.assertEqual((self.links.wake_at, self.links.dirty), (2.0, [link]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
