"""What the matchmaker in Redis makes of URLs, names, answers and changes: plain calls."""

import contextlib
from itertools import count
from math import inf
from typing import Any

import attrs
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker import _entry, make_matchmaker
from zmqrpc.matchmaker._entry import write_body
from zmqrpc.matchmaker._redis.answers import (
    Change,
    Entry,
    Listing,
    Look,
    read_change,
    read_list,
    read_looks,
    read_written,
)
from zmqrpc.matchmaker._redis.copy import TopicCopy
from zmqrpc.matchmaker._redis.errors import refusal, spoiled, unreachable
from zmqrpc.matchmaker._redis.names import join, record_field, split, topic_channel
from zmqrpc.matchmaker._redis.place import SENTINEL, RedisPlace
from zmqrpc.record import Sighting
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines
from zmqrpc.testing.matchmaker import make_record

TOPIC = ("openstack", "compute")
STORE = "the Redis server h:1"
NOW = 1_795_633_258_000


class PlaceTests(SynchronousTestCase):
    def test_urls(self):
        for url, *places in (
            ("zmq+redis://h", RedisPlace("h")),
            ("zmq+redis://h/", RedisPlace("h")),
            ("zmq+redis://h:7/3", RedisPlace("h", 7, 3)),
            ("zmq+redis://127.0.0.1:6379/0?zmq_target_expire=5", RedisPlace("127.0.0.1")),
            ("zmq+redis://[::1]:7", RedisPlace("::1", 7)),
            ("zmq+redis://[2001:DB8:0::1]", RedisPlace("2001:db8::1")),
            ("zmq+redis://Redis.Example.org:65535/2147483647", RedisPlace("redis.example.org", 65535, 2**31 - 1)),
            ("zmq+redis://:secret@h", RedisPlace("h", password=b"secret")),
            ("zmq+redis://ada:s%40%2F%25@h:7/1", RedisPlace("h", 7, 1, b"ada", b"s@/%")),
            ("zmq+redis://:%FF%00%C3%A9@h", RedisPlace("h", password=b"\xff\0\xc3\xa9")),
            ("zmq+redis://h1:7,h2,h3:6379/1", RedisPlace("h1", 7, 1), RedisPlace("h2", db=1), RedisPlace("h3", db=1)),
            ("zmq+redis://h:1,h:2", RedisPlace("h", 1), RedisPlace("h", 2)),
            ("zmq+redis://a:%2C@h,[::1]:7", RedisPlace("h", 6379, 0, b"a", b","), RedisPlace("::1", 7, 0, b"a", b",")),
            ("zmq+redis://[::1],[::2]:7,h", RedisPlace("::1"), RedisPlace("::2", 7), RedisPlace("h")),
        ):
            self.assertEqual(RedisPlace.from_url(url), places, url)
            self.assertEqual(Settings(url).matchmaker, "redis")

    def test_refused(self):
        for url, text in (
            ("zmq+redis://", "names no host"),
            ("zmq://", "names no host"),
            ("zmq+redis:///1", "names no host"),
            ("zmq+redis://:6379", "names no host"),
            ("zmq+redis://h:x", "no valid port"),
            ("zmq+redis://h:0", "no valid port"),
            ("zmq+redis://h:65536", "no valid port"),
            ("zmq+redis://h/x", "a database that is no number"),
            ("zmq+redis://h/-1", "a database that is no number"),
            ("zmq+redis://h/1/2", "a database that is no number"),
            ("zmq+redis://h/\u0661", "a database that is no number"),
            ("zmq+redis://h/1#2", "a database that is no number"),
            ("zmq+redis://h/99999999999", "a database that is no number from 0 to 2147483647"),
            ("zmq+redis://h/2147483648", "a database that is no number from 0 to 2147483647"),
            ("zmq+redis://ab..c:1", "no valid host"),
            ("zmq+redis://foo bar:1", "no valid host"),
            ("zmq+redis://*:6379", "no valid host"),
            ("zmq+redis://0.0.0.0", "no valid host"),
            ("zmq+redis://::1:6379", "no valid host"),
            ("zmq+redis://h:", "no valid port"),
            ("zmq+redis://ada@h", "a user without a password"),
            ("zmq+redis://ada:secret@", "names no host"),
            ("zmq+redis://ada:@h", "a user without a password"),
            ("zmq+redis://h1,", "a comma too many"),
            ("zmq+redis://,h1", "a comma too many"),
            ("zmq+redis://h1,,h2", "a comma too many"),
            ("zmq+redis://h1,:7", "names no host"),
            ("zmq+redis://h1,h2:x", "no valid port"),
            ("zmq+redis://h1/1,h2/1", "a database that is no number"),
            ("zmq+redis://h1:6379,h2:1,H1", "names h1:6379 twice"),
            ("zmq+redis://:secret@[::1],[0::1]:6379/1", "names [::1]:6379 twice"),
        ):
            error = self.assertRaises(ConfigError, RedisPlace.from_url, url)
            self.assertIn(text, str(error), url)
            self.assertIn("for example zmq+redis://127.0.0.1:6379", str(error))
            self.assertNotIn("secret", str(error))

    def test_second_user(self):
        """User and password are written once, for all."""
        error = self.assertRaises(ConfigError, RedisPlace.from_url, "zmq+redis://:secret@h1,:other@h2")
        self.assertIn("an @ in its user or password", str(error))
        self.assertNotIn("secret", str(error))
        self.assertNotIn("other", str(error))

    def test_brackets(self):
        error = self.assertRaises(ConfigError, RedisPlace.from_url, "zmq+redis://h1,[::1")
        self.assertIn("its hosts are not well-formed", str(error))

    def test_loopback(self):
        """A server without a password that others can reach is warned of."""
        lines = LogLines(self, "zmqrpc.matchmaker.redis")
        for host in ("127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "[::1]", ":secret@redis.example.org"):
            make_matchmaker(Clock(), Settings(f"zmq+redis://{host}"))
        self.assertEqual(lines, [])
        for host in ("redis.example.org", "10.0.0.1:7/1", "[2001:db8::1]", "127.example.org"):
            make_matchmaker(Clock(), Settings(f"zmq+redis://{host}"))
        self.assertEqual(len(lines), 4)
        self.assertIn("10.0.0.1:7, database 1 is used without a password", lines[1])
        make_matchmaker(Clock(), Settings("zmq+redis://10.0.0.1,127.0.0.1,10.0.0.2/1"))
        self.assertEqual(len(lines), 6)

    def test_name(self):
        """The name for people has neither user nor password, and neither has the place itself."""
        for url, name in (
            ("zmq+redis://ada:secret@h", "h:6379"),
            ("zmq+redis://:secret@[::1]:7/2", "[::1]:7, database 2"),
        ):
            (place,) = RedisPlace.from_url(url)
            self.assertEqual(place.name, name)
            self.assertNotIn("secret", repr(place))


class NamesTests(SynchronousTestCase):
    @given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
    def test_joined(self, one, other):
        """What was joined can be split, so that no two lists have one name."""
        self.assertEqual(split(join(one)), one)
        self.assertEqual(join(one) == join(other), one == other)

    def test_readable(self):
        self.assertEqual(join(("a.b", "compute")), "a.b:compute")
        self.assertEqual(topic_channel(3, ("a:b", "100%")), "zmqrpc:3:topic:a%3Ab:100%25")
        self.assertEqual(record_field(make_record(pool="audit")), f"server:node-1:{1:032x}:audit")


class ErrorTests(SynchronousTestCase):
    place = RedisPlace("h", 7, 1, b"ada", b"secret")

    def test_refusals(self):
        for command, text, part in (
            ("AUTH", "WRONGPASS invalid username-password pair", "refuses the user or the password"),
            ("AUTH", "ERR AUTH <password> called without any password configured", "takes no password, or not this"),
            ("AUTH", "ERR unknown command 'AUTH', with args beginning with: 'secret'", "takes no password, or not"),
            (
                "EVAL",
                "NOAUTH Authentication required.",
                "zmq+redis://:PASSWORD@HOST, or USER:PASSWORD where it has users (NOAUTH Authentication required.)",
            ),
            ("EVAL", "FORMAT 2", "holds records of format 2, this zmqrpc reads format 1 (zmqrpc:format); run"),
            ("EVAL", "ERR FORMAT 2", "holds records of format 2, this zmqrpc reads format 1 (zmqrpc:format); run"),
            ("EVAL", "READONLY You can't write against a read only replica.", "is a replica"),
            (
                "EVAL",
                "ERR unknown command 'EVAL', with args beginning with: 'local now",
                "write zmq+sentinel://HOST (ERR ",
            ),
            ("EVAL", "ERR unknown command 'EVAL', with args beginning with: 'local now", "unknown command 'EVAL')"),
            ("SELECT", "ERR DB index is out of range", "has no such database; correct the number at the end of the"),
            (
                "EVAL",
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                "does not allow us one of the keys zmqrpc:format, zmqrpc:topics, zmqrpc:since; give our user",
            ),
            (
                "EVAL",
                "NOPERM No permissions to access a key",
                "does not allow us one of the keys zmqrpc:format, zmqrpc:topics, zmqrpc:since; give our user",
            ),
            (
                "SUBSCRIBE",
                "NOPERM this user has no permissions to access one of the channels used as arguments",
                "does not allow us the channels zmqrpc:1:*; give our user",
            ),
            (
                "EVAL",
                "ERR The user executing the script can't run HSET (zmqrpc:topic:a:b)",
                "does not allow us what we need; give our user the rights that docs/howto/redis lists (ERR The user "
                "executing the script can't run HSET",
            ),
            ("EVAL", "ERR The user executing the script can't publish to the channel", "does not allow us what we"),
            (
                "EVAL",
                "ERR ACL failure in script: User ada has no permissions to run the 'hset' command (k)",
                "does not allow us what we need",
            ),
            ("EVAL", "CLUSTERDOWN Hash slot not served", "is a Redis Cluster, which cannot be used"),
            ("EVAL", "MOVED 3999 10.0.0.2:6379", "is a Redis Cluster, which cannot be used"),
            ("EVAL", "ERR Script attempted to access a non local key in a cluster node", "a Redis Cluster, which"),
            ("EVAL", "ERR Script attempted to access keys that do not hash to the same slot", "a Redis Cluster"),
            ("SELECT", "ERR SELECT is not allowed in cluster mode", "is a Redis Cluster, which cannot be used"),
            ("EVAL", "x" * 1000, "x" * 200),
        ):
            said = str(refusal(self.place, command, text, "1"))
            self.assertTrue(said.startswith("the Redis server h:7, database 1 "), said)
            self.assertIn(part, said)
            self.assertNotIn("secret", said)
            self.assertLess(len(said), 400)

    def test_nobody_named(self):
        """Who names no user is told that it is ``default``, which may be off; who names one is not."""
        off = "WRONGPASS invalid username-password pair or user is disabled."
        without = "ERR AUTH <password> called without any password configured for the default user."
        for named, user_of in (
            ({}, "zmq+redis://USER:PASSWORD@HOST"),
            ({"by_sentinels": True}, "zmq+sentinel://USER:PASSWORD@HOST"),
            ({"kind": SENTINEL}, "sentinel_user"),
        ):
            for text in (off, without):
                place = RedisPlace("h", 7, password=b"secret", **named)
                said = str(refusal(place, "AUTH", text, "1"))
                self.assertIn("no user is named, so it is default; where that is off, name one: ", said)
                self.assertIn(user_of, said)
                said = str(refusal(attrs.evolve(place, user=b"ada"), "AUTH", text, "1"))
                self.assertNotIn("default", said)

    def test_of_masters(self):
        """Where Sentinels name the server, what is to be done is another thing."""
        master = RedisPlace("h", 7, by_sentinels=True)
        for text, part in (
            (
                "NOAUTH Authentication required.",
                "zmq+sentinel://:PASSWORD@HOST, or USER:PASSWORD where it has users (NOAUTH",
            ),
            ("READONLY You can't write against a read only replica.", "may be choosing another master (READONLY"),
            ("WRONGTYPE Operation (zmqrpc:format)", "that is not ours; remove it (WRONGTYPE"),
            ("FORMAT 2", "this zmqrpc reads format 1 (zmqrpc:format); run one release with it"),
            ("OOM command not allowed", "has no memory left"),
        ):
            said = str(refusal(master, "EVAL", text, "1"))
            self.assertTrue(said.startswith("the Redis server h:7 "), said)
            self.assertIn(part, said)
            self.assertNotIn("zmq+redis", said)

    def test_spoiled(self):
        for text, part in (
            ("WRONGTYPE Operation (zmqrpc:topic:a (b):c)", "not ours, zmqrpc:topic:a (b):c"),
            ("WRONGTYPE Operation against a key (k)", "something under our keys that is not ours, k; remove it"),
            ("ERR ACL failure: No permissions to access a key (k)", "does not allow us the key k; give our user"),
            ("?", "the Redis server h:7 answered ?"),
            ("WRONGTYPE x (" + "k" * 10_000 + ")", "k" * 255),
        ):
            said = spoiled("the Redis server h:7", text)
            self.assertIn(part, said)
            self.assertLess(len(said), 500)

    def test_unreachable(self):
        for error, part in (
            (DNSLookupError(), "is not known by that name"),
            (ConnectionRefusedError(), "refuses the connection; start it"),
            (TimeoutError(), "in time"),
            (OSError("no buffers"), "no buffers"),
            (ConnectionDone(), "closed the connection"),
        ):
            self.assertIn(part, unreachable(self.place, error))


def value(record, stamp=NOW, expire=300_000):
    return f"{stamp} {expire} {write_body(record)}"


class AnswerTests(SynchronousTestCase):
    def setUp(self):
        self.lines = LogLines(self, "zmqrpc.matchmaker")

    def read(self, *strings, now=NOW, version=5, soonest=7):
        packed = msgspec.msgpack.encode([now, 3, 2, [[version, soonest, list(strings)]]])
        looks: list[Any] = read_looks(STORE, [TOPIC], packed)
        (look,) = looks
        return look

    def test_look(self):
        record = make_record(pool="audit")
        look = self.read("", "5", record_field(record), value(record, NOW - 1500, 2000))
        entry = Entry(record, NOW - 1500, NOW + 500)
        self.assertEqual(look, Look(NOW, 5, 7, {record_field(record): entry}, 3, 2))
        self.assertEqual(entry.sighting(NOW, "h:1"), Sighting(record, 1.5, "h:1", 2.0))
        self.assertEqual(entry.sighting(NOW - 9000).age, 0)

    def test_never(self):
        record = make_record()
        (entry,) = self.read(record_field(record), value(record, expire=0)).entries.values()
        self.assertEqual((entry.ends, entry.sighting(NOW).lasts), (0, inf))

    def test_unchanged(self):
        (look,) = read_looks(STORE, [TOPIC], msgspec.msgpack.encode([NOW, 3, 2, [[5, 7, False]]]))
        self.assertEqual(look, Look(NOW, 5, 7, None, 3, 2))

    def test_several(self):
        """Each topic has an answer of its own, or an error of its own."""
        record, other = make_record(), ("openstack", "other")
        parts = [[5, 7, [record_field(record), value(record)]], "WRONGTYPE x (key)", [0, 0, []], [9, 0, False]]
        looks = read_looks(STORE, [TOPIC, other, other, other], msgspec.msgpack.encode([NOW, 3, 2, parts]))
        entry = Entry(record, NOW, NOW + 300_000)
        self.assertEqual(looks[0], Look(NOW, 5, 7, {record_field(record): entry}, 3, 2))
        self.assertEqual(looks[1], "WRONGTYPE x (key)")
        self.assertEqual(looks[2:], [Look(NOW, 0, 0, {}, 3, 2), Look(NOW, 9, 0, None, 3, 2)])

    def test_written(self):
        self.assertEqual(read_written(3, msgspec.msgpack.encode([0, 1, "WRONGTYPE"])), [None, None, "WRONGTYPE"])
        answers: list[Any] = [[0], [0, 1, 2, 3], [0, 1, [2]], {}, 3]
        for answer in answers:
            self.assertRaises(ValueError, read_written, 3, msgspec.msgpack.encode(answer))

    def test_skipped(self):
        """What is malformed is skipped and counted in one line, a role of later releases silently; the rest is read."""
        good = make_record()
        self.patch(_entry, "_said", {})
        later = join(("oracle", "m", "i", ""))
        tag = next(_tags)
        bad = [f"{tag}", f"server:{tag}", f"server:{tag}:i::x", f"server:{tag}:i:", f"server:{tag}-2:i:"]
        values = [value(good)] * 3 + [f"{NOW} 300000 no json", "x"]
        strings = [word for pair in zip(bad, values, strict=True) for word in pair]
        for _ in range(3):
            look = self.read(later, value(good), *strings, record_field(good), value(good))
            self.assertEqual(list(look.entries), [record_field(good)])
        (line,) = self.lines
        self.assertIn(f"{STORE} holds malformed records of compute in exchange openstack, 5 so far", line)
        self.assertIn(f"; the first is zmqrpc:topic:openstack:compute {tag} (it is not ROLE:MEMBER", line)

    def test_skipped_elsewhere(self):
        """What is listed and what is told is skipped in the same words."""
        strings = ["server:m:i:", value(make_record())]
        key = "zmqrpc:topic:openstack:compute server:m:i: (its instance is not 32 lower-case hex digits)"
        for read in (
            lambda: read_list(STORE, msgspec.msgpack.encode([NOW, 3, 2, [[join(TOPIC), strings]]])),
            lambda: read_change(STORE, TOPIC, msgspec.msgpack.encode([4, 5, *strings, [], -1])),
        ):
            self.patch(_entry, "_said", {})
            self.lines.clear()
            read()
            (line,) = self.lines
            self.assertTrue(line.startswith(f"{STORE} holds malformed records of compute "), line)
            self.assertIn(key, line)

    def test_stamps(self):
        """A time that is none makes its entry unreadable, and nothing worse."""
        good = make_record()
        for stamp in ("", "-1", "x", "1" * 400, "\u0661", "1.5"):
            entries = self.read("server:m:i:", f"{stamp} 1 {write_body(good)}", record_field(good), value(good)).entries
            self.assertEqual(list(entries), [record_field(good)])

    def test_no_text(self):
        """Bytes that are no text spoil their entry only."""
        good = make_record()
        strings = [b"\xff\xfe", value(good).encode(), record_field(good).encode(), value(good).encode()]
        packed = b"".join(bytes([0xD9, len(string)]) + string for string in strings)
        begin = b"\x94" + msgspec.msgpack.encode(NOW) + b"\x03\x02\x91\x93\x05\x07"
        self.patch(_entry, "_said", {})
        looks: list[Any] = read_looks(STORE, [TOPIC], begin + bytes([0x90 + len(strings)]) + packed)
        (look,) = looks
        (line,) = self.lines
        self.assertIn("; the first is zmqrpc:topic:openstack:compute (a field or value is no text)", line)
        self.assertEqual(list(look.entries), [record_field(good)])

    def test_no_answer(self):
        answers: list[Any] = [b"", b"\xc1", b"OK", 1, None, [], msgspec.msgpack.encode([1, 2, 3, 4])]
        for answer in answers:
            self.assertRaises((ValueError, TypeError), read_looks, STORE, [TOPIC], answer)
            self.assertRaises((ValueError, TypeError), read_written, 1, answer)
            self.assertRaises((ValueError, TypeError), read_list, STORE, answer)
            if isinstance(answer, bytes):
                self.assertIsNone(read_change(STORE, TOPIC, answer))

    @given(st.binary(max_size=60))
    def test_any_answer(self, answer):
        """Whatever comes is read or refused."""
        for read in (
            lambda: read_looks(STORE, [TOPIC], answer),
            lambda: read_list(STORE, answer),
            lambda: read_written(1, answer),
        ):
            with contextlib.suppress(ValueError):
                read()
        read_change(STORE, TOPIC, answer)

    def test_unsure(self):
        """Where nobody is there that says nothing yet in a database that is just new, unless somebody has said so."""
        rows = [
            # since when it is new, when the one before was; the seconds that are left
            (NOW, 0, 0.3),
            (NOW - 100, 0, 0.2),
            (NOW - 300, 0, 0),
            (NOW - 300_000, 0, 0),
            (NOW + 1, 0, 0),  # nonsense
            (NOW, NOW - 1, 0),
        ]
        entry = Entry(make_record(), NOW, 0)
        for since, before, left in rows:
            for nobody in (Look(NOW, 0, 0, {}, since, before), Listing(NOW, since, before, [])):
                self.assertAlmostEqual(nobody.unsure, left)
            for somebody in (Look(NOW, 1, 0, None, since, before), Listing(NOW, since, before, [entry])):
                self.assertEqual(somebody.unsure, 0)

    def test_list(self):
        record, expired, other = make_record(), make_record(number=2), make_record("a:b", exchange="c")
        packed = [
            NOW,
            3,
            2,
            [
                [join(TOPIC), ["", "5", record_field(record), value(record, NOW - 2000)]],
                [join(("c", "a:b")), [record_field(other), value(other)]],
                [join(TOPIC), [record_field(expired), value(expired, NOW - 2000, 2000)]],
                ["no topic", [record_field(record), value(record)]],
                ["x:y", "WRONGTYPE x (key)"],
            ],
        ]
        listing = read_list(STORE, msgspec.msgpack.encode(packed))
        found = [Entry(record, NOW - 2000, NOW + 298_000), Entry(other, NOW, NOW + 300_000)]
        self.assertEqual(listing, Listing(NOW, 3, 2, found, {("x", "y"): "WRONGTYPE x (key)"}))
        self.assertEqual(self.lines, [], "whoever has asked tells it")

    def test_change(self):
        record = make_record()
        message = msgspec.msgpack.encode([4, 5, record_field(record), value(record), ["gone"], -1])
        entry = Entry(record, NOW, NOW + 300_000)
        self.assertEqual(read_change(STORE, TOPIC, message), Change(4, 5, record_field(record), entry, ["gone"], -1))
        message = msgspec.msgpack.encode([4, 5, "", "", [], 0])
        self.assertEqual(read_change(STORE, TOPIC, message), Change(4, 5, "", None, [], 0))


_tags = (f"tag-{number}" for number in count())


class CopyTests(SynchronousTestCase):
    def setUp(self):
        self.copy = TopicCopy()
        self.records = [make_record(number=number) for number in range(4)]

    def look(self, version, *numbers, now=NOW, soonest=0):
        fields = {record_field(self.records[n]): Entry(self.records[n], now, now + 1000) for n in numbers}
        return Look(now, version, soonest, fields)

    def change(self, before, after, number=None, gone=(), soonest=-1, ends=0):
        record = None if number is None else self.records[number]
        return Change(
            before,
            after,
            record_field(record) if record else "",
            Entry(record, NOW, ends) if record else None,
            [record_field(self.records[n]) for n in gone],
            soonest,
        )

    def holds(self, version, *numbers):
        self.assertEqual(self.copy.version, version)
        self.assertEqual([sighting.record for sighting in self.copy.sightings(0)], [self.records[n] for n in numbers])

    def test_changes(self):
        self.assertTrue(self.copy.looked(self.look(5, 1), 0, 0))
        self.assertTrue(self.copy.told(self.change(5, 6, 2), 0))
        self.holds(6, 1, 2)
        self.assertTrue(self.copy.told(self.change(6, 7, gone=[1]), 0))
        self.holds(7, 2)
        self.assertTrue(self.copy.told(self.change(7, 0, gone=[2]), 0))
        self.holds(0)
        self.assertTrue(self.copy.told(self.change(0, 8, 3), 0))
        self.holds(8, 3)

    def test_before_anything_is_known(self):
        self.assertFalse(self.copy.told(self.change(5, 6, 2), 0))
        self.holds(-1)

    def test_missed(self):
        self.copy.looked(self.look(5, 1), 0, 0)
        self.assertFalse(self.copy.told(self.change(6, 7, 2), 0))
        self.assertFalse(self.copy.told(self.change(6, 0, gone=[1]), 0))
        self.assertFalse(self.copy.told(self.change(0, 3, 2), 0), "the server began anew")
        self.holds(5, 1)

    def test_older(self):
        """What a look has seen already is ignored."""
        self.copy.looked(self.look(5, 1), 0, 0)
        self.assertTrue(self.copy.told(self.change(3, 4, 2), 0))
        self.assertTrue(self.copy.told(self.change(4, 5, gone=[2]), 0))
        self.holds(5, 1)

    def test_overtaken(self):
        """A look that a change has overtaken is not taken."""
        self.copy.looked(self.look(5, 1), 0, 0)
        heard = self.copy.heard
        self.copy.told(self.change(5, 6, 2), 0)
        self.assertFalse(self.copy.looked(self.look(5, 1), heard, 0))
        self.holds(6, 1, 2)
        self.assertTrue(self.copy.looked(self.look(7, 3), heard, 0))
        self.holds(7, 3)

    def test_began_anew(self):
        """A server that lost everything and has another clock is believed when nothing was told meanwhile."""
        self.copy.looked(self.look(5, 1), 0, 0)
        self.assertTrue(self.copy.looked(self.look(2, 3), self.copy.heard, 0))
        self.holds(2, 3)
        self.assertTrue(self.copy.looked(self.look(0), self.copy.heard, 0))
        self.holds(0)

    def test_skipped_record(self):
        """A record that became one which has to be skipped is gone."""
        self.copy.looked(self.look(5, 1, 2), 0, 0)
        change = self.change(5, 6, 1)
        self.copy.told(Change(5, 6, change.field, None, [], -1), 0)
        self.holds(6, 2)

    def test_ages(self):
        entry = Entry(self.records[1], NOW - 3000, 0)
        self.copy.looked(Look(NOW, 5, 0, {"f": entry, "future": Entry(self.records[2], NOW + 9000, 0)}), 0, 100.0)
        self.assertEqual([sighting.age for sighting in self.copy.sightings(102.0)], [5.0, 2.0])
        self.copy.told(self.change(5, 6, 3), 103.0)
        self.assertEqual([sighting.age for sighting in self.copy.sightings(104.0)], [7.0, 4.0, 1.0])

    def test_expires(self):
        self.assertEqual(self.copy.expires, inf)
        self.copy.looked(self.look(5, 1, soonest=NOW + 2000), 0, 100.0)
        self.assertAlmostEqual(self.copy.expires, 102.0, 3)
        self.copy.told(self.change(5, 6, 2, ends=NOW + 1000), 100.0)
        self.assertAlmostEqual(self.copy.expires, 101.0, 3)
        self.copy.told(self.change(6, 7, 2, ends=0), 100.0)
        self.assertAlmostEqual(self.copy.expires, 101.0, 3)
        self.copy.told(self.change(7, 8, gone=[2], soonest=NOW + 3000), 100.0)
        self.assertAlmostEqual(self.copy.expires, 103.0, 3)
        self.copy.looked(Look(NOW + 500, 8, 0, None), self.copy.heard, 101.0)
        self.assertAlmostEqual(self.copy.expires, 103.5, 3)
