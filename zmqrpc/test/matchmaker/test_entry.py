"""What is read of a store, whoever wrote it: well-formed records, and a few lines in the log for the rest."""

import gc
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.matchmaker import _entry
from zmqrpc.matchmaker._entry import LONGEST_BODY, MOST_SKIPPED_TOPICS, Skips, collect_skips, read_record, write_body
from zmqrpc.record import Record, Sighting, fault_of_record
from zmqrpc.test.logs import LogLines
from zmqrpc.testing.matchmaker import make_record

GOOD = '{"addresses":["tcp://10.0.0.1:1"]}'
TOPIC = ("openstack", "compute")


def read(body=GOOD, role="server", member="m", instance="0" * 32, pool=""):
    return read_record(role, *TOPIC, member, instance, pool, body)


def addressed(*addresses):
    return json.dumps({"addresses": addresses})


class ReadTests(SynchronousTestCase):
    def test_well_formed(self):
        for addresses in (
            ["tcp://127.0.0.1:1"],
            ["tcp://[::1]:65535"],
            ["tcp://host_1.example.org:5001"],
            ["ipc:///run/zmqrpc/x"],
            ["tcp://h:1"] * 16,
            [f"tcp://{'.'.join(['x' * 60] * 4)}:65535"],
        ):
            self.assertEqual(read(addressed(*addresses)).addresses, tuple(addresses))
        self.assertEqual(read(instance="").instance, "")
        self.assertEqual(read(pool="p" * 255).pool, "p" * 255)
        self.assertIsNone(read(role="oracle", instance="zz"))

    def test_malformed(self):
        """Each is told in a clause that is not long, whatever was written."""
        for fields, text in (
            *(
                ({"instance": instance}, "its instance is not 32 lower-case hex digits")
                for instance in ("zz", "A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n", "é" * 16, "٣" * 32)
            ),
            *(({"body": body}, "") for body in ("", "[]", "{}", "nonsense", '{"addresses":[5]}', addressed())),
            ({"body": addressed("rubbish")}, "is neither tcp://host:port nor ipc:///path"),
            ({"body": addressed("")}, "is neither"),
            ({"body": addressed("inproc://x")}, "is neither"),
            ({"body": addressed("ipc://x")}, "is neither"),
            ({"body": addressed("ipc:///a\nb")}, "is not printable"),
            ({"body": addressed("tcp://h:1", "tcp://h:99999999")}, "has the port"),
            ({"body": addressed("tcp://*:1")}, "has the host"),
            ({"body": addressed("tcp://" + "x" * 400 + ":1")}, "longer than 300 bytes"),
            ({"body": addressed("ipc:///" + "é" * 150)}, "longer than 300 bytes"),
            ({"body": addressed(*["tcp://h:1"] * 17)}, "it has 17 addresses, the most is 16"),
            ({"body": addressed("tcp://" + "x" * LONGEST_BODY + ":1")}, f"longer than {LONGEST_BODY} characters"),
            *(
                ({"body": f'{GOOD[:-1]},"versions":{versions}}}'}, "")
                for versions in ("[2,1]", "[-1,1]", "[1,65536]", "[1]", "[1,2,3]", '["1","1"]', "[1,1e400]", "3")
            ),
            ({"pool": "p" * 256}, "its pool is longer than 255 bytes"),
            ({"pool": "a\0b"}, "its pool is empty or holds a control character"),
            ({"member": ""}, "member"),
            ({"member": "m" * 100_000}, "member"),
        ):
            said = read(**fields)
            self.assertIsInstance(said, str, fields)
            self.assertIn(text, said)
            self.assertLess(len(said), 500)

    def test_reasons_are_cut(self):
        body = json.dumps({"addresses": ["tcp://h:1"], "reason": "x" * 1000})
        self.assertEqual(read(body, role="doubt").reason, "x" * 200)

    def test_no_age_that_nobody_told(self):
        self.assertIsNone(Sighting(make_record()).age)

    def test_the_same_object(self):
        """As long as somebody has it, and no longer."""
        record = read()
        self.assertIs(read(), record)
        before = len(_entry._read)
        del record
        gc.collect()
        self.assertLess(len(_entry._read), before)

    @given(st.builds(make_record, pool=st.none() | st.just("audit"), number=st.integers(0, 2**128 - 1)))
    def test_what_is_written_is_read(self, record):
        self.assertEqual(fault_of_record(record), "")
        words = [*record.key, write_body(record)]
        self.assertEqual(read_record(*words), record)

    @given(*[st.text()] * 4)
    def test_nonsense(self, member, instance, pool, body):
        """Whatever it is: a record that can be used, or what is wrong."""
        for written in (body, GOOD, addressed(body)):
            said = read(written, member=member, instance=instance, pool=pool)
            self.assertTrue(isinstance(said, str) or (isinstance(said, Record) and not fault_of_record(said)))


class SkipTests(SynchronousTestCase):
    def setUp(self):
        self.patch(_entry, "_said", {})
        self.lines = LogLines(self, "zmqrpc.matchmaker._entry")

    def leave_out(self, count, topic=TOPIC, store="the store at h:1"):
        skips = Skips(store)
        for number in range(count):
            skips.add(topic, f"/key/m{number}", "it is odd")
        skips.say()

    def test_one_line_for_a_topic(self):
        """It names the store and the key, and says what to do."""
        for _ in range(3):
            self.leave_out(10_000)
        self.assertEqual(
            self.lines,
            [
                "the store at h:1 holds malformed records of compute in exchange openstack, 10000 so far, which are "
                "skipped; remove them there; the first is /key/m0 (it is odd)"
            ],
        )

    def test_collected(self):
        """Who asks is told of all that is skipped meanwhile, once, by store, whether the log has it already or not."""
        self.leave_out(2)
        with collect_skips() as skipped:
            for _ in range(2):
                self.leave_out(2)
            self.leave_out(1, store="other")
            skips = Skips("other")
            for _ in range(2):
                skips.add(TOPIC, "/no\n", "k" * 1000)
            skips.say()
        self.leave_out(3)
        entries = {("/key/m0", 1): "it is odd", ("/key/m1", 1): "it is odd"}
        strange = {("/no\\n", number): "k" * 255 for number in (1, 2)}
        self.assertEqual(skipped, {"the store at h:1": entries, "other": {("/key/m0", 1): "it is odd", **strange}})

    def test_stores_apart(self):
        """What one store has is no reason to be silent about another."""
        for store in ("one", "two", "one", "two"):
            self.leave_out(1, store=store)
        self.assertEqual([line.partition(" holds ")[0] for line in self.lines], ["one", "two"])

    def test_again_when_there_are_twice_as_many(self):
        for count in (1, 1, 2, 3, 0, 1, 4, 7, 3, 8):
            self.leave_out(count)
        self.assertEqual([int(line.split(",")[1].split()[0]) for line in self.lines], [1, 2, 4, 8])

    def test_many_topics(self):
        """Whoever makes up topics does not fill the log either."""
        for number in range(2 * MOST_SKIPPED_TOPICS):
            self.leave_out(1, ("x", str(number)))
        self.assertEqual(len(self.lines), MOST_SKIPPED_TOPICS + 1)
        self.assertIn("silently from now on", self.lines[-1])
        self.assertEqual(len(_entry._said), MOST_SKIPPED_TOPICS)

    def test_short_and_printable(self):
        skips = Skips("s\u202e" * 10_000)
        skips.add(("e" * 10_000, "t\n" * 10_000), "m\x1b" * 10_000, "w" * 10_000)
        skips.say()
        (line,) = self.lines
        self.assertLess(len(line), 1000)
        self.assertTrue(line.isprintable())
