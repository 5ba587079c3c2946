"""What `zmqrpc ls` says of one record."""

from __future__ import annotations

import json
import sys
from io import StringIO
from math import inf

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zmqrpc.cli._listed import HEADINGS, listed, state_of
from zmqrpc.cli._ls import read
from zmqrpc.cli._report import Report, aligned
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IOutages
from zmqrpc.matchmaker._entry import Skips
from zmqrpc.matchmaker._table import Table
from zmqrpc.matchmaker.dummy import DummyMatchmaker
from zmqrpc.record import Record, Role, Sighting

SUSPICION = HEADINGS.index("SUSPICION")
ONE, TWO = "a" * 32, "b" * 32
MINUTE, DAY = 60.0, 86400.0


def make_record(role=Role.SERVER, member="node-1", instance=ONE, **more):
    return Record(role, "openstack", "compute", member, instance, ("tcp://10.0.0.1:5001",), **more)


def told(*sightings, update=None):
    return list(listed(sightings, update, 150.0))


class StateTests(SynchronousTestCase):
    def test_states(self):
        record, line = make_record(), make_record(instance="")
        for sighting, update, state in (
            (Sighting(record, 0.0, lasts=300.0), None, "fresh"),
            (Sighting(record, 160.0, lasts=300.0), None, "fresh"),
            (Sighting(record, 161.0, lasts=300.0), None, "late"),
            # The record tells how long it is kept; that the reader would keep it for longer is of no matter.
            (Sighting(record, 16.0, lasts=20.0), None, "late"),
            (Sighting(record, 16.0, lasts=20.0), 12.0, "fresh"),
            (Sighting(record, 191.0, lasts=inf), None, "late"),
            (Sighting(record, 190.0, lasts=inf), None, "fresh"),
            (Sighting(record, 161.0), None, "late"),
            (Sighting(record, 160.0), None, "fresh"),
            (Sighting(record, None, lasts=300.0), None, "unknown"),
            (Sighting(line, 0.1, lasts=inf), None, "fixed"),
            (Sighting(line, 3.0, lasts=inf), None, "stale"),
        ):
            self.assertEqual(state_of(sighting, update, 150.0), state, sighting)

    def test_for_ever(self):
        """What never expires says so, also when nobody refreshes it."""
        fresh, late, unknown, fixed = told(
            Sighting(make_record(), 5.0, lasts=inf),
            Sighting(make_record(), 9 * DAY, lasts=inf),
            Sighting(make_record(), 5.0),
            Sighting(make_record(instance=""), 0.0, lasts=inf),
        )
        state = HEADINGS.index("STATE")
        self.assertEqual(
            [each.row[state] for each in (fresh, late, unknown, fixed)],
            ["fresh, for ever", "late, for ever", "fresh", "fixed"],
        )
        self.assertEqual([each.for_ever for each in (fresh, late, unknown, fixed)], [True, True, None, True])
        self.assertEqual([each.description["expires_in"] for each in (late, unknown)], [None, None])
        (no_age,) = told(Sighting(make_record(), None, lasts=inf))
        self.assertEqual((no_age.row[state], no_age.for_ever), ("unknown, for ever", True))

    def test_expires_in(self):
        one, past = told(Sighting(make_record(), 100.25, lasts=300.0), Sighting(make_record(), 301.0, lasts=300.0))
        self.assertEqual((one.description["expires_in"], past.description["expires_in"]), (199.75, 0.0))


class DoubtTests(SynchronousTestCase):
    def test_beside_what_it_is_about(self):
        """A doubt is told with every record of its instance under the topic, and with no other; it is none itself."""
        found = told(
            Sighting(make_record(Role.DOUBT, reason="it refuses the connection"), 12.0),
            Sighting(make_record(), 40.0),
            Sighting(make_record(Role.LISTENER, pool="p"), 40.0),
            Sighting(make_record(instance=TWO), 40.0),
            Sighting(make_record(member="node-2"), 40.0),
            Sighting(make_record(instance=""), 0.0),
        )
        self.assertEqual(
            [each.row[SUSPICION] for each in found], ["12 s ago: it refuses the connection"] * 2 + ["-", "-", "-"]
        )
        self.assertEqual(
            [each.description["suspicion"] for each in found],
            [{"reason": "it refuses the connection", "age": 12.0}] * 2 + [None] * 3,
        )

    def test_of_nobody(self):
        self.assertEqual(told(Sighting(make_record(Role.DOUBT), 1.0)), [])

    def test_little_is_told(self):
        (found,) = told(Sighting(make_record(Role.DOUBT), None), Sighting(make_record(), None))
        self.assertEqual(found.row[SUSPICION], "no reason is told")
        self.assertEqual(found.description["suspicion"], {"reason": "", "age": None})


@implementer(IOutages)
class SomeFailing(DummyMatchmaker):
    """Several stores, of which one does not answer."""

    def away(self):
        return ""

    def failing(self):
        return ["the Redis server 10.0.0.2:6379 refuses the connection; start it"]

    def watch_outages(self, turned):
        return lambda: None


class FailingStoreTests(SynchronousTestCase):
    def read(self, as_json):
        written = StringIO()
        self.patch(sys, "stderr", written)
        matchmaker = SomeFailing(Table(Clock()))
        self.successResultOf(matchmaker.register(make_record(), 30))
        report = Report("zmqrpc ls", as_json)
        (sighting,) = self.successResultOf(Deferred.fromCoroutine(read(matchmaker, report, "openstack")))
        self.assertEqual(sighting.record, make_record())
        return written.getvalue()

    def test_which_one(self):
        """What the others know is listed, and standard error tells which one did not answer."""
        text = "the Redis server 10.0.0.2:6379 refuses the connection; start it; what is known without it is listed"
        self.assertEqual(self.read(False), f"zmqrpc ls: {text}\n")
        self.assertEqual(json.loads(self.read(True)), {"warning": text})


class Malformed(DummyMatchmaker):
    """Two stores, in which others have written."""

    def records(self):
        for store, count in (("the store a:1", 5), ("the store b:1", 1)):
            skips = Skips(store)
            for number in range(count):
                skips.add(("openstack", "compute"), f"key{number}", "it has no address")
            skips.say()
        return super().records()


class MalformedTests(SynchronousTestCase):
    def read(self, as_json):
        written = StringIO()
        self.patch(sys, "stderr", written)
        matchmaker = Malformed(Table(Clock()))
        self.successResultOf(matchmaker.register(make_record(), 30))
        report = Report("zmqrpc ls", as_json)
        (sighting,) = self.successResultOf(Deferred.fromCoroutine(read(matchmaker, report, "openstack")))
        self.assertEqual(sighting.record, make_record())
        return written.getvalue().splitlines()

    texts = (
        "5 entries are skipped in the store a:1, which cannot be read; remove them there: key0 (it has no address), "
        "key1 (it has no address), key2 (it has no address), and 2 more",
        "1 entry is skipped in the store b:1, which cannot be read; remove it there: key0 (it has no address)",
    )

    def test_told(self):
        """A line for each store, with the first of what is skipped."""
        self.assertEqual(self.read(False), [f"zmqrpc ls: {text}" for text in self.texts])

    def test_told_to_programs(self):
        said = [json.loads(line) for line in self.read(True)]
        for text, store, count, line in zip(self.texts, ("a:1", "b:1"), (5, 1), said, strict=True):
            entries = [{"key": f"key{number}", "reason": "it has no address"} for number in range(count)]
            self.assertEqual(
                line, {"warning": text, "store": f"the store {store}", "skipped": count, "entries": entries}
            )


class Spoiled(SomeFailing):
    """A store that cannot read one topic."""

    def lookup(self, exchange, topic):
        if topic == "spoiled":
            return fail(MatchmakerUnavailable(f"the Redis server a:1 has something under {exchange}:{topic}"))
        return super().lookup(exchange, topic)


class SpoiledTopicTests(SynchronousTestCase):
    def read(self, topic):
        matchmaker = Spoiled(Table(Clock()))
        self.successResultOf(matchmaker.register(make_record(), 30))
        report = Report("zmqrpc ls", False)
        self.patch(sys, "stderr", StringIO())
        return Deferred.fromCoroutine(read(matchmaker, report, "openstack", topic))

    def test_asked_for(self):
        """Who asks for one that cannot be read is not told that nobody listens on it."""
        error = self.failureResultOf(self.read("spoiled"), MatchmakerUnavailable).value
        self.assertIn("under openstack:spoiled", str(error))

    def test_others(self):
        for topic in ("compute", "compute.node-1", "nobody", None):
            self.assertEqual(len(self.successResultOf(self.read(topic))), 1)


class WidthTests(SynchronousTestCase):
    def test_usual_names_fit(self):
        """What is usual fits on 120 characters, so that a terminal shows it without wrapping."""
        sighting = Sighting(make_record(), 100 * MINUTE, "127.0.0.1:6379", lasts=300.0)
        for line in aligned([HEADINGS, *(each.row for each in told(sighting))]):
            self.assertLessEqual(len(line), 120, line)
