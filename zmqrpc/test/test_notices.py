"""What is logged of what happened, and how often."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import notices as module
from zmqrpc.notices import Notices
from zmqrpc.test.logs import LogLines


class Unspeakable:
    """Must not be formatted."""

    def __format__(self, spec):
        raise AssertionError("formatted, and not logged")


class NoticesTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.notices = Notices(self.clock.seconds)
        self.lines = LogLines(self, "zmqrpc.notices.Notices")

    def test_one_line_a_second(self):
        """Each kind has one line a second, which says how many were not logged."""
        for _ in range(5):
            self.notices.count("malformed", "a message was dropped")
            self.notices.count("unexpected", "a message was odd")
        self.assertEqual(self.lines, ["malformed: a message was dropped", "unexpected: a message was odd"])
        self.clock.advance(1)
        self.notices.count("malformed", "a message was dropped")
        self.assertEqual(self.lines[2:], ["malformed: a message was dropped (4 more)"])
        self.assertEqual(self.notices.counts, {"malformed": 6, "unexpected": 5})

    def test_events(self):
        """What is counted is an event too; what is only recorded is neither counted nor logged."""
        notices = Notices(self.clock.seconds, 10)
        notices.count("expired")
        notices.count("malformed", "{peer}: {reason}", b"\x01", reason="odd", number=2)
        notices.record("link_up", "{peer} is up", "somebody")
        told = [(event.name, event.peer, event.number, event.sentence) for event in notices.recorder.newest(10)]
        self.assertEqual(
            told,
            [
                ("link_up", "somebody", 1, "somebody is up"),
                ("malformed", "01", 2, "01: odd, 2 times"),
                ("expired", "", 1, ""),
            ],
        )
        self.assertEqual(notices.counts, {"malformed": 2, "expired": 1})
        self.assertEqual(self.lines, ["malformed: 01: odd"])

    def test_each_peer(self):
        """A noisy peer hides no other."""
        for _ in range(5):
            self.notices.count("malformed", "connection {peer}: {reason}", peer=b"\x01\xab", reason="odd")
        self.notices.count("malformed", "connection {peer}: {reason}", peer=b"\x02", reason="{wrong}")
        self.assertEqual(self.lines, ["malformed: connection 01ab: odd", "malformed: connection 02: {wrong}"])
        self.clock.advance(1)
        self.notices.count("malformed", "connection {peer}", peer=b"\x01\xab")
        self.assertEqual(self.lines[2:], ["malformed: connection 01ab (4 more)"])

    def test_facts_are_fields(self):
        """Of the event in the log, cut and escaped as the text is."""
        events: list[Any] = []
        observer: Any = events.append
        self.patch(self.notices, "log", Logger(observer=observer))
        self.notices.count("malformed", "{peer}: {reason}", peer=b"\x01", reason="x\n" * 1000, known=3)
        (event,) = events
        self.assertEqual((event["name"], event["peer"], event["known"]), ("malformed", "01", 3))
        self.assertEqual(event["reason"], "x\\n" * 100)
        self.notices.count("unexpected", "a message was odd")
        self.assertNotIn("peer", events[1])

    def test_without_text(self):
        """What has no text is only counted."""
        self.notices.count("late_reply", peer=b"1")
        self.assertEqual((self.lines, self.notices.counts), ([], {"late_reply": 1}))

    def test_several_at_once(self):
        """Each counts, and the line that tells of them has their number; none leaves no trace."""
        self.notices.count("forgotten", "{number} connections were forgotten", number=3)
        self.notices.count("forgotten", "{number} connections were forgotten", number=2)
        self.notices.count("repeated", number=0)
        self.assertEqual(self.lines, ["forgotten: 3 connections were forgotten"])
        self.assertEqual(dict(self.notices.counts), {"forgotten": 5})
        self.clock.advance(1)
        self.notices.count("forgotten", "{number} connections were forgotten")
        self.assertEqual(self.lines[1:], ["forgotten: 1 connections were forgotten (2 more)"])

    def test_nothing_is_formatted_in_vain(self):
        self.notices.count("malformed", "{reason}", peer=1, reason="odd")
        self.notices.count("malformed", "{reason}", peer=1, reason=Unspeakable())
        self.assertEqual(self.lines, ["malformed: odd"])

    def test_many_peers(self):
        """Beyond the bound all share one line; those who were quiet for a second make room."""
        self.patch(module, "_MOST_PEERS", 3)
        for number in range(50):
            self.notices.count("malformed", "from {peer}", peer=number)
        self.assertEqual(self.lines, [f"malformed: from {number}" for number in range(4)])
        self.clock.advance(0.5)
        self.notices.count("malformed", "from {peer}", peer=50)
        self.clock.advance(0.5)
        self.lines.clear()
        for number in range(50):
            self.notices.count("malformed", "from {peer}", peer=number)
        self.assertEqual(
            self.lines, [*(f"malformed: from {n}" for n in range(3)), "malformed: from 3 (47 more, of others too)"]
        )
        self.assertLess(len(self.notices._lines), 5)

    def test_forged_lines(self):
        """What a peer wrote stays on its line, and is cut."""
        self.notices.count("malformed", "{reason}", reason="odd\nERROR: all is lost" + "x" * 1000)
        [line] = self.lines
        self.assertTrue(line.startswith("malformed: odd\\nERROR: all is lost"))
        self.assertLess(len(line), 400)
