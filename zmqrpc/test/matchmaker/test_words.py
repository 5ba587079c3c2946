"""The small parts that matchmakers share."""

from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._outage_watches import OutageWatches
from zmqrpc.matchmaker._room import FEW, Room
from zmqrpc.matchmaker._topic_watches import TopicWatches
from zmqrpc.record import Sighting
from zmqrpc.test.logs import LogLines
from zmqrpc.testing.matchmaker import Heard, make_record

TOPIC = ("openstack", "compute")


class DoubtsTests(SynchronousTestCase):
    def test_doubted(self):
        """A doubt is logged when it begins and when it ends."""
        lines = LogLines(self, "zmqrpc.matchmaker._doubts.Doubts")
        doubts, record = Doubts(), make_record()
        doubts.remove(record)
        doubts.add(record, "connection refused")
        doubts.add(record, "mute")
        self.assertEqual(len(doubts), 1)
        doubts.remove(record)
        self.assertEqual(len(doubts), 0)
        self.assertEqual(
            lines,
            [
                "compute.node-1 at tcp://127.0.0.1:49153 is in doubt: connection refused",
                "compute.node-1 is in doubt no more",
            ],
        )

    def test_bounded(self):
        """Past the limit the oldest doubt is forgotten."""
        doubts = Doubts(limit=2)
        for number in range(3):
            doubts.add(make_record(number=number), "mute")
        self.assertEqual(len(doubts), 2)


class OutageTests(SynchronousTestCase):
    def test_lines(self):
        """One line at the begin of an outage, one at its end with how long and how often, none else."""
        lines, clock = LogLines(self, "zmqrpc.matchmaker._outage.Outage"), Clock()
        outage = Outage(clock, "the store")
        outage.worked()
        for _ in range(2):
            for _ in range(3):
                outage.failed("it is away")
                clock.advance(1)
            outage.worked()
            outage.worked()
        both = ["the store fails: it is away", "the store works again after 3.0 s and 3 failures"]
        self.assertEqual(lines, both * 2)

    def test_parts(self):
        """What has several parts fails with the first of them, and works again with the last."""
        lines, clock = LogLines(self, "zmqrpc.matchmaker._outage.Outage"), Clock()
        outage = Outage(clock, "the file")
        outage.failed("it is locked", "writing")
        outage.worked("reading")
        outage.failed("it is away", "reading")
        self.assertEqual(outage.reason, "it is away")
        outage.failed("it is locked", "writing")
        outage.worked("writing")
        self.assertEqual(outage.reason, "it is away")
        self.assertEqual(lines, ["the file fails: it is locked"])
        outage.failed("it is locked", "writing")
        outage.worked("writing", "reading")
        self.assertEqual(lines[1:], ["the file works again after 0.0 s and 4 failures"])
        self.assertEqual(outage.reason, "")

    def test_turned(self):
        """Each change of what fails, or why, is told when it can be read; no success or failure that is no news."""
        told: list[str] = []
        outage = Outage(Clock(), "the file", lambda: told.append(outage.reason))
        LogLines(self, "zmqrpc.matchmaker._outage.Outage")
        outage.worked()
        outage.failed("it is locked", "writing")
        outage.failed("it is locked", "writing")
        outage.failed("it is away", "reading")
        outage.failed("it is locked", "writing")
        outage.worked("writing")
        outage.failed("it is late", "reading")
        outage.worked("writing", "reading")
        outage.worked("writing", "reading")
        self.assertEqual(told, ["it is locked", "it is away", "it is away", "it is late", ""])


class OutageWatchesTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.state = "", ()
        self.watches = OutageWatches(self.clock, self)
        self.told: list[Any] = []

    def away(self):
        return self.state[0]

    def failing(self):
        return list(self.state[1])

    def turn(self, away, *failing):
        self.state = away, failing
        self.watches.turned()

    def test_told(self):
        """From the reactor, and once for what happens together; either of the two is a change."""
        self.watches.add(lambda: self.told.append(self.state))
        self.turn("", "a")
        self.turn("a, b", "a", "b")
        self.assertEqual(self.told, [])
        self.clock.advance(0)
        self.assertEqual(self.told, [("a, b", ("a", "b"))])
        self.turn("", "a")
        self.clock.advance(0)
        self.assertEqual(self.told[1:], [("", ("a",))])

    def test_no_change(self):
        """What ends at once, or is as before, is not told; nor is what was so before."""
        self.turn("a", "a")
        self.watches.add(lambda: self.told.append(self.state))
        self.turn("", "")
        self.turn("a", "a")
        self.clock.advance(0)
        self.watches.turned()
        self.clock.advance(0)
        self.assertEqual((self.told, self.clock.getDelayedCalls()), ([], []))

    def test_stopped(self):
        """Also by one that is told before it, and the same callable that watches twice is two watches."""
        twice = partial(self.told.append, 1)

        def first():
            stop()

        self.watches.add(first)
        stop = self.watches.add(twice)
        self.watches.add(twice)
        self.turn("a", "a")
        self.clock.advance(0)
        self.assertEqual(self.told, [1])
        stop()

    def test_raises(self):
        """One that raises is logged, and the others are told."""
        self.watches.add(partial(divmod, 1, 0))
        self.watches.add(lambda: self.told.append(self.state))
        self.turn("a", "a")
        self.clock.advance(0)
        self.assertEqual(len(self.told), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_close(self):
        """A close ends every watch and leaves nothing on the clock; nobody watching costs nothing."""
        stop = self.watches.add(lambda: self.told.append(self.state))
        self.turn("a", "a")
        self.watches.close()
        self.turn("", "")
        stop()
        self.assertEqual((self.told, self.clock.getDelayedCalls()), ([], []))


class WatchesTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.watches = TopicWatches(self.clock)
        self.heard = Heard()

    def publish(self, *numbers, age=0.0):
        self.watches.publish(TOPIC, [Sighting(make_record(number=number), age) for number in numbers])

    def test_tells(self):
        """A watch is told from the reactor, the newest of several contents, and nothing that it knows."""
        self.watches.add(TOPIC, self.heard)
        self.publish(1)
        self.publish(1, 2)
        self.assertEqual(self.heard.calls, [])
        self.clock.advance(0)
        self.publish(1, 2, age=5.0)
        self.clock.advance(0)
        self.assertEqual(len(self.heard.calls), 1)
        self.assertTrue(self.heard.last(make_record(number=1), make_record(number=2)))

    def test_newcomer(self):
        """A further watch is told at the next publication, though nothing has changed, with the ages of then."""
        self.watches.add(TOPIC, Heard())
        self.publish(1)
        self.clock.advance(0)
        self.watches.add(TOPIC, self.heard)
        self.publish(1, age=5.0)
        self.clock.advance(0)
        self.assertEqual(self.heard.calls, [[Sighting(make_record(number=1), 5.0)]])

    def test_stopped_by_another(self):
        """A watch that was stopped by the one told before it is not told."""
        self.watches.add(TOPIC, lambda sightings: stop())
        stop = self.watches.add(TOPIC, self.heard)
        self.publish()
        self.clock.advance(0)
        self.assertEqual(self.heard.calls, [])

    def test_close(self):
        """A close ends every watch and leaves nothing on the clock."""
        stop = self.watches.add(TOPIC, self.heard)
        self.publish(1)
        self.watches.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNotIn(TOPIC, self.watches)
        self.publish(2)
        stop()


class RoomTests(SynchronousTestCase):
    """How many may wait for a store."""

    def setUp(self):
        self.clock = Clock()
        self.room = Room(self.clock, 2.0, 1000)

    def test_silent(self):
        """Few once nothing has been said for half the limit, though some wait; many again after the next answer."""
        self.assertEqual(self.room.most(0), 1000)
        self.clock.advance(0.9)
        self.assertEqual(self.room.most(1), 1000)
        self.clock.advance(0.1)
        self.assertEqual(self.room.most(1), FEW)
        self.room.answered()
        self.assertEqual(self.room.most(1), 1000)

    def test_idle(self):
        """That nobody has asked for long is no silence."""
        self.room.answered()
        self.clock.advance(3600)
        self.assertEqual(self.room.most(0), 1000)
        self.clock.advance(0.5)
        self.assertEqual(self.room.most(1), 1000)

    def test_missed(self):
        """What has not answered the last time has to answer first."""
        self.room.most(0)
        self.clock.advance(2)
        self.room.missed()
        self.clock.advance(3600)
        self.assertEqual(self.room.most(0), FEW)
        self.room.answered()
        self.assertEqual(self.room.most(0), 1000)

    def test_small(self):
        """Never more than the bound."""
        room = Room(self.clock, 2.0, 10)
        room.missed()
        self.clock.advance(5)
        self.assertEqual(room.most(0), 10)
