"""How the bench judges: what a row sees has to be what there was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc.test.fault import misfortune
from zmqrpc.test.fault.processes import Child
from zmqrpc.test.fault.times import end_of, most_open, open_at
from zmqrpc.test.fault.world import World
from zmqrpc.testing.events import Ended, Invoked
from zmqrpc.testing.judge import Case


class Nurse:
    """Starts nobody."""

    def start(self, child: Child, _: Any, children: list[Child]) -> Child:
        children.append(child)
        return child

    def end_all(self, children: list[Child]) -> None:
        pass


class WorldTests(TestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        nurse: Any = Nurse()
        self.world = World(nurse, directory, "static-direct", 0.0)
        self.addCleanup(self.world.close)

    def member(self) -> Child:
        return self.world.member("one", "")

    def figure(self, begin: str) -> Any:
        (figure,) = (each for each in self.world.figures if each.what.startswith(begin))
        return figure

    def ends(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.world.end()))

    def test_the_first_of_a_name_has_grown(self) -> None:
        """What a process grew by counts when another has taken its place, too."""
        old = self.member()
        old.resident = (2**20, 101 * 2**20)
        old.hear({"ended": True, "status": -9}, 1.0)
        new = self.world.again(old)
        new.hear({"ended": True, "status": 0}, 2.0)
        self.ends()
        figure = self.figure("MB that a process grows by")
        self.assertEqual((figure.good, figure.measured), (False, "100"))


class ChildTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.child = Child(1, "member", "one", "", {}, self.mktemp())
        self.has = (1000, 10)
        self.now = 100.0
        self.patch(Child, "used", lambda _: self.has[0])
        self.patch(Child, "open", lambda _: self.has[1])
        self.patch(time, "monotonic", lambda: self.now)

    def after(self, seconds: float, used: int = 1000, descriptors: int = 10) -> None:
        self.now += seconds
        self.has = (used, descriptors)
        self.child.look()

    def test_from_a_second_after_it_is_ready(self) -> None:
        """What starts while its row is played is held against what it has when it has begun."""
        self.child.hear({"pid": 5, "ready": True}, self.now)
        self.after(0.5, 500, 5)
        self.assertEqual(self.child.grown(), 0)
        self.after(0.5)
        self.after(0.1, 3000)
        self.after(0.1, 2000)
        self.assertEqual((self.child.grown(), self.child.descriptors), (2000, 10))

    def test_in_place_of_another(self) -> None:
        """It may have as many descriptors: its peers may be away just now."""
        self.child.descriptors = 14
        self.child.hear({"pid": 5, "ready": True}, self.now)
        self.after(1.0)
        self.assertEqual(self.child.descriptors, 14)

    def test_who_brings_faults_about(self) -> None:
        self.child.kind = "stranger"
        self.child.hear({"pid": 5, "ready": True}, self.now)
        self.after(2.0)
        self.after(2.0, 10**9)
        self.assertEqual(self.child.grown(), 0)


class TimesTests(SynchronousTestCase):
    def case(self, begin: float, end: float | None = None) -> Case:
        case = Case(Invoked(begin, 1, "client", "call", begin + 5))
        case.ended += [] if end is None else [Ended(end, 1, [])]
        return case

    def test_under_way(self) -> None:
        cases = [self.case(1.0, 3.0), self.case(2.0), self.case(3.5)]
        self.assertEqual(list(map(end_of, cases)), [3.0, float("inf"), float("inf")])
        self.assertEqual(list(filter(open_at(2.5), cases)), cases[:2])
        self.assertEqual(list(filter(open_at(3.0), cases)), cases[1:2])
        self.assertEqual((most_open(cases), most_open(cases[:1]), most_open([])), (2, 1, 0))


class MisfortuneTests(SynchronousTestCase):
    def test_each_kind_can_happen(self) -> None:
        for what in set(misfortune._WHAT) - {"wall"}:
            self.assertTrue(hasattr(misfortune.Misfortune, f"_{what}"), what)
