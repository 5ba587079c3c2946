"""What the thread of a file reads for those who watch, counted; of a file that does what the test says."""

from math import inf
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._sqlite.file import Row
from zmqrpc.matchmaker._sqlite.lookout import Lookout
from zmqrpc.matchmaker._sqlite.machine import Owner
from zmqrpc.testing.matchmaker import make_record

ONE, TWO, THREE = (("openstack", f"topic-{number}") for number in range(3))


class File:
    """
    :ivar reads: the topics that were read since the test last looked.
    """

    def __init__(self):
        self.serial = 0
        self.rows: dict[Any, list[Row]] = {}
        self.error: MatchmakerUnavailable | None = None
        self._reads: list[Any] = []

    def version(self):
        return (1, self.serial, 0)

    def read(self, topic):
        self._reads.append(topic)
        if self.error is not None:
            raise self.error
        return self.rows.get(topic, [])

    def judges(self, owner):
        return True

    @property
    def reads(self):
        reads, self._reads = self._reads, []
        return reads


class Machine:
    def __init__(self):
        self.time = 0.0
        self.dead: set[Owner] = set()

    def now(self):
        return self.time

    def is_gone(self, owner):
        return owner in self.dead

    is_dead = is_gone


class LookoutTests(SynchronousTestCase):
    def setUp(self):
        self.file = File()
        self.machine = Machine()
        self.found: list[Any] = []
        self.lookout: Any = Lookout(
            self.file,  # type: ignore[arg-type]
            self.machine,  # type: ignore[arg-type]
            lambda topic, rows: self.found.append((topic, len(rows))),
            lambda error: None,
        )

    def look(self, *topics):
        for topic in topics:
            self.lookout.watch(topic)
        self.lookout.look()
        found, self.found = self.found, []
        return found

    def row(self, pid, expires=inf):
        return Row(make_record(f"of-{pid}"), 0.0, expires, Owner("boot", 1, pid, 1))

    def test_new_watch(self):
        """A new watch is shown its topic, and costs the reading of that one only."""
        self.assertEqual(self.look(ONE, TWO), [(ONE, 0), (TWO, 0)])
        self.assertEqual(self.file.reads, [ONE, TWO])
        self.assertEqual(self.look(THREE), [(THREE, 0)])
        self.assertEqual(self.file.reads, [THREE])
        self.assertEqual(self.look(), [])
        self.assertEqual(self.file.reads, [])

    def test_changed(self):
        """When the file has changed, all are read, a new one once, and what has changed is shown."""
        self.look(ONE, TWO)
        self.file.serial += 1
        self.file.rows[ONE] = [self.row(1)]
        self.file.reads.clear()
        self.assertEqual(self.look(THREE), [(ONE, 1), (THREE, 0)])
        self.assertEqual(self.file.reads, [ONE, TWO, THREE])

    def test_watched_and_left(self):
        """A topic that is left before the next look is not read."""
        self.look(ONE)
        self.file.reads.clear()
        self.lookout.watch(TWO)
        self.lookout.unwatch(TWO)
        self.assertEqual(self.look(), [])
        self.assertEqual(self.file.reads, [])

    def test_failed(self):
        """A look that failed is made again, as a whole."""
        self.look(ONE)
        self.file.error = MatchmakerUnavailable("it is locked")
        self.assertEqual(self.look(TWO), [])
        self.file.error = None
        self.file.reads.clear()
        self.assertEqual(self.look(), [(TWO, 0)])
        self.assertEqual(self.file.reads, [ONE, TWO])

    def test_old_and_new_ones_go(self):
        """Those of whom the first look and those of whom a later watch has told are both looked after."""
        for number, topic in enumerate((ONE, TWO)):
            self.file.rows[topic] = [self.row(number)]
            self.look(topic)
        for number, topic in enumerate((ONE, TWO)):
            self.machine.dead.add(self.file.rows.pop(topic)[0].owner)
            self.lookout._next_roll_call = 0
            self.assertEqual(self.look(), [(topic, 0)], number)

    def test_old_and_new_ones_expire(self):
        """So are the times when records expire."""
        self.file.rows = {ONE: [self.row(1, 10.0)], TWO: [self.row(2, 5.0)]}
        self.look(ONE)
        self.look(TWO)
        self.machine.time = 5.0
        del self.file.rows[TWO]
        self.assertEqual(self.look(), [(TWO, 0)])
        self.machine.time = 10.0
        del self.file.rows[ONE]
        self.assertEqual(self.look(), [(ONE, 0)])
