"""What is said of an instance that is in doubt: by one of many, once, again as long as it lasts, and never too much."""

from random import Random

from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker._doubts import MOST_LINES, TOGETHER_SECONDS, Doubts
from zmqrpc.matchmaker._shared_doubts import EACH_SECOND, EXPIRE_SECONDS, SPREAD_SECONDS, SharedDoubts
from zmqrpc.matchmaker._table import Table
from zmqrpc.record import Role
from zmqrpc.test.logs import LogLines
from zmqrpc.testing.matchmaker import make_record

TOPIC = ("openstack", "compute")


class SharedDoubtsTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.table = Table(self.clock)
        self.registered, self.withdrawn = [], []
        self.fault = None
        self.record = make_record()
        self.table.put(self.record, 0)

    def register(self, record, expire):
        self.registered.append((record, expire))
        if self.fault is not None:
            return fail(self.fault)
        return succeed(self.table.put(record, expire))

    def withdraw(self, record):
        self.withdrawn.append(record)
        return succeed(self.table.remove(record))

    def doubts(self, seed=0, shown=None, limit=1000):
        shared = SharedDoubts(self.clock, self.register, self.withdraw, shown or self.table.of_topic, Random(seed))
        doubts = Doubts(shared, limit)
        self.addCleanup(doubts.close)
        return doubts

    def stored(self):
        return [sighting.record for sighting in self.table.of_topic(TOPIC) if sighting.record.role is Role.DOUBT]

    def pass_time(self, seconds, step=0.05):
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def test_said_as_a_record(self):
        """Soon, with the names of the record and the first of its addresses, for half a minute."""
        said = self.doubts().add(self.record, "refused" * 100)
        self.assertNoResult(said)
        self.assertEqual(self.registered, [])
        self.clock.advance(SPREAD_SECONDS)
        self.assertIsNone(self.successResultOf(said))
        [(doubt, expire)] = self.registered
        self.assertEqual(expire, EXPIRE_SECONDS)
        self.assertEqual(doubt.key, ("doubt", *self.record.key[1:5], ""))
        self.assertEqual(doubt.addresses, self.record.addresses[:1])
        self.assertEqual((len(doubt.reason), doubt.reason[:14]), (200, "refusedrefused"))

    def test_lines_of_hostile_reasons(self):
        """What a terminal would obey is escaped in each line, also in the last of many, and no line is long."""
        lines = LogLines(self, "zmqrpc.matchmaker._doubts.Doubts")
        doubts = self.doubts()
        for number in range(MOST_LINES + 1):
            doubts.add(make_record(number=number), "\x1b[31mred\nforged\u202e" + "x" * 1000)
        self.clock.advance(TOGETHER_SECONDS)
        self.assertEqual(len(lines), MOST_LINES + 1)
        for line in lines:
            self.assertTrue(line.isprintable(), line)
            self.assertIn(r"is in doubt: \x1b[31mred\nforged\u202exxx", line)
            self.assertLess(len(line), 450)

    def test_lines(self):
        """Where many are in doubt at once the log has a few of them, and one line for the others."""
        lines = LogLines(self, "zmqrpc.matchmaker._doubts.Doubts")
        doubts = self.doubts()
        records = [make_record(number=number) for number in range(50)]
        for record in records:
            doubts.add(record, "refused")
        self.assertEqual(len(lines), MOST_LINES)
        self.clock.advance(TOGETHER_SECONDS)
        self.assertEqual(len(lines), MOST_LINES + 1)
        self.assertRegex(
            lines[-1], r"^45 more instances at once, the last: compute\.node-\S+ at .* is in doubt: refused$"
        )
        self.pass_time(TOGETHER_SECONDS)
        for record in records:
            doubts.remove(record)
        self.assertEqual(len(lines), 2 * MOST_LINES + 1)
        doubts.close()
        self.assertEqual(len(lines), 2 * MOST_LINES + 2, "nothing is lost when it ends")
        self.assertIn("45 more instances at once, the last: compute.node-", lines[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_of_many(self):
        """However many doubt it at the same moment, one says so."""
        many = [self.doubts(seed) for seed in range(50)]
        said = [doubts.add(self.record, "refused") for doubts in many]
        self.pass_time(1, 0.001)
        self.assertEqual(len(self.registered), 1)
        for each in said:
            self.assertIsNone(self.successResultOf(each))

    def test_again_while_it_lasts(self):
        """What has expired is said again, by one of those who doubt; the end of the doubt is the end of that."""
        many = [self.doubts(seed) for seed in range(20)]
        for doubts in many:
            doubts.add(self.record, "refused")
        self.pass_time(300)
        self.assertGreater(len(self.registered), 6)
        self.assertLessEqual(len(self.registered), 10)
        for doubts in many:
            doubts.remove(self.record)
        count = len(self.registered)
        self.pass_time(60)
        self.assertEqual((len(self.registered), self.clock.getDelayedCalls()), (count, []))

    def test_taken_back(self):
        """By who has said it; what somebody else has said stays."""
        first, second = self.doubts(1), self.doubts(2)
        first.add(self.record, "refused")
        self.clock.advance(SPREAD_SECONDS)
        second.add(self.record, "refused too")
        self.clock.advance(SPREAD_SECONDS)
        self.assertIsNone(second.remove(self.record))
        self.assertEqual((len(self.stored()), self.withdrawn), (1, []))
        self.assertIsNone(self.successResultOf(first.remove(self.record)))
        self.assertEqual((self.stored(), len(self.withdrawn)), ([], 1))

    def test_taken_back_though_shown_late(self):
        """A store that shows our own doubt for a moment after its time does not make it that of somebody else."""
        late_table = Table(self.clock)
        late_table.put(self.record, 0)
        doubts = self.doubts(shown=late_table.of_topic)
        doubts.add(self.record, "refused")
        self.clock.advance(SPREAD_SECONDS)
        [(doubt, _)] = self.registered
        late_table.put(doubt, EXPIRE_SECONDS + 2)
        self.pass_time(EXPIRE_SECONDS + 1.5)
        self.assertIsNone(self.successResultOf(doubts.remove(self.record)))
        self.assertEqual(self.withdrawn, [doubt])

    def test_said_by_somebody_else_meanwhile(self):
        """What is shown for longer than ours can last is not ours, and stays."""
        doubts = self.doubts()
        doubts.add(self.record, "refused")
        self.clock.advance(SPREAD_SECONDS)
        [(doubt, _)] = self.registered
        self.table.put(doubt, 100)
        self.pass_time(EXPIRE_SECONDS + 10)
        self.assertIsNone(doubts.remove(self.record))
        self.assertEqual((len(self.registered), self.withdrawn), (1, []))

    def test_taken_back_before_it_was_said(self):
        doubts = self.doubts()
        said = doubts.add(self.record, "refused")
        self.assertIsNone(doubts.remove(self.record))
        self.assertIsNone(self.successResultOf(said))
        self.pass_time(60)
        self.assertEqual((self.registered, self.withdrawn), ([], []))

    def test_said_once(self):
        """What is doubted again, for another reason, is no other doubt."""
        doubts = self.doubts()
        for reason in ("refused", "silent"):
            doubts.add(self.record, reason)
        self.clock.advance(SPREAD_SECONDS)
        self.assertIsNone(doubts.add(self.record, "refused again"))
        self.pass_time(10)
        self.assertEqual([doubt.reason for doubt, _ in self.registered], ["silent"])

    def test_ends_with_the_record(self):
        self.doubts().add(self.record, "refused")
        self.clock.advance(SPREAD_SECONDS)
        self.table.remove(self.record)
        self.pass_time(100)
        self.assertEqual((len(self.registered), self.stored()), (1, []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_new_instance_is_not_doubted(self):
        """The successor of a member is another instance."""
        self.doubts().add(self.record, "refused")
        self.clock.advance(SPREAD_SECONDS)
        self.table.remove(self.record)
        successor = make_record(number=2)
        self.table.put(successor, 0)
        self.pass_time(100)
        self.assertEqual(self.stored(), [])

    def test_not_watched(self):
        """Who does not watch a topic says what he is asked to once, and does not repeat it."""
        self.doubts(shown=lambda topic: None).add(self.record, "refused")
        self.pass_time(100)
        self.assertEqual(len(self.registered), 1)

    def test_hundreds_at_once(self):
        """They are said little by little, and the log has one line of how many wait."""
        lines = LogLines(self, "zmqrpc.matchmaker._shared_doubts.SharedDoubts")
        doubts = self.doubts()
        records = [make_record(member=f"node-{number}", number=number) for number in range(500)]
        for record in records:
            self.table.put(record, 0)
            doubts.add(record, "refused")
        self.pass_time(1)
        self.assertEqual(len(self.registered), EACH_SECOND)
        self.assertEqual(lines, ["480 more instances are in doubt at once; others are told of 20 each second"])
        for record in records:
            doubts.remove(record)
        self.assertEqual(len(self.withdrawn), EACH_SECOND)
        self.assertEqual(self.stored(), [])

    def test_hundreds_take_turns(self):
        """Those that are said for the first time are all said before one is said again."""
        doubts = self.doubts()
        for number in range(300):
            record = make_record(member=f"node-{number}", number=number)
            self.table.put(record, 0)
            doubts.add(record, "refused")
        self.pass_time(20)
        self.assertEqual(len({doubt.key for doubt, _ in self.registered}), 300)

    def test_forgotten(self):
        """Past the limit the oldest is not said again; nor is it taken back."""
        doubts = self.doubts(limit=1)
        doubts.add(self.record, "refused")
        other = make_record(member="node-2", number=2)
        self.table.put(other, 0)
        doubts.add(other, "refused")
        self.pass_time(100)
        self.assertEqual({doubt.member for doubt, _ in self.registered}, {"node-2"})
        self.assertEqual(self.withdrawn, [])

    def test_a_store_that_fails(self):
        """The one who asked hears it; it is tried again in half a minute, and then with no more words."""
        self.fault = MatchmakerUnavailable("down")
        said = self.doubts().add(self.record, "refused")
        self.clock.advance(SPREAD_SECONDS)
        self.failureResultOf(said, MatchmakerUnavailable)
        self.pass_time(2 * EXPIRE_SECONDS + 5)
        self.assertEqual(len(self.registered), 3)
        self.fault = None
        self.pass_time(EXPIRE_SECONDS + 2)
        self.assertEqual(len(self.stored()), 1)
        self.fault = ZeroDivisionError("a fault of a test")
        self.pass_time(EXPIRE_SECONDS + 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_store_that_refuses(self):
        """Who may write nothing there is told as of a store that fails: the log has no fault of ours."""
        self.fault = ConfigError("the store does not allow us what we need")
        said = self.doubts().add(self.record, "refused")
        self.clock.advance(SPREAD_SECONDS)
        self.assertEqual(str(self.failureResultOf(said, MatchmakerUnavailable).value), str(self.fault))
        self.pass_time(EXPIRE_SECONDS + 2)
        self.assertEqual(len(self.registered), 2)

    def test_fixed_table(self):
        """What names no instance is not shared, and nothing is by who has no store for it."""
        self.assertIsNone(self.doubts().add(make_record(instance=""), "refused"))
        self.assertIsNone(Doubts().add(self.record, "refused"))
        self.pass_time(1)
        self.assertEqual(self.registered, [])

    def test_closed(self):
        doubts = self.doubts()
        said = doubts.add(self.record, "refused")
        doubts.close()
        self.assertIsNone(self.successResultOf(said))
        self.assertEqual(self.clock.getDelayedCalls(), [])
