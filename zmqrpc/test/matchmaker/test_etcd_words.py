"""What is said to etcd, what is understood of its answers, and which URL means it: without any member."""

import base64
import contextlib
import json
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._etcd.answers import (
    Change,
    Entry,
    Look,
    OtherFormat,
    read_line,
    read_looks,
    read_page,
    read_refusal,
)
from zmqrpc.matchmaker._etcd.copy import TopicCopy
from zmqrpc.matchmaker._etcd.errors import EtcdRefusal
from zmqrpc.matchmaker._etcd.lease import Lease
from zmqrpc.matchmaker._etcd.names import EtcdNames
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker._etcd.words import EtcdWords
from zmqrpc.record import Role
from zmqrpc.testing.matchmaker import make_record

NAMES = st.text(st.sampled_from("ab%/:25AF3é. "), min_size=1, max_size=8)


class PlaceTests(SynchronousTestCase):
    def test_urls(self):
        for url, hosts, prefix, user, password in (
            ("zmq+etcd://h", (("h", 2379),), "zmqrpc", "", ""),
            ("zmq+etcd://h:1/", (("h", 1),), "zmqrpc", "", ""),
            ("zmq+etcd://one,two:5,three/a/b", (("one", 2379), ("two", 5), ("three", 2379)), "a/b", "", ""),
            ("zmq+etcd://[::1]:5,[::2]/a%20b", (("::1", 5), ("::2", 2379)), "a b", "", ""),
            ("zmq+etcd://u:p%40%2F@h", (("h", 2379),), "zmqrpc", "u", "p@/"),
        ):
            place = EtcdPlace.from_url(url)
            self.assertEqual((place.hosts, place.prefix, place.user, place.password), (hosts, prefix, user, password))

    def test_refused(self):
        """Each with one sentence that says what is wrong."""
        no_host, host = "names no host, or has a comma too many", "has no valid host or no valid port"
        part, user = "has a prefix with an empty part, or one that is . or ..", "names a user without a password"
        printable = "has a prefix that is not printable, or longer than 255 characters"
        for rest, text in (
            *(("", no_host), ("/a", no_host), ("a,", no_host), (",a", no_host), ("a,,b", no_host), (":2379", no_host)),
            *(("a:0", host), ("a:99999", host), ("a:65536", host), ("a:x", host), ("a:", host), ("a:-1", host)),
            *(("a b", host), ("a, b", host), (" a", host), ("a_.5", host), ("a..b", host), ("*", host)),
            *(("0.0.0.0", host), ("[::]", host), ("[::1]x", "cannot be read"), ("[::1", "cannot be read")),
            *(("a,::1", host), ("a,[::1]:0", host), ("http://a", host), ("u:secret@a:x", host)),
            *(
                ("a,b,a", "names a:2379 twice"),
                ("A,a:2379", "names a:2379 twice"),
                ("[::1],[0::1]", "[::1]:2379 twice"),
            ),
            *(("a/b//c", part), ("a/b/../c", part), ("a/..", part), ("a/%2E%2e/b", part), ("a/./b", part)),
            *(("a/b%00", printable), ("a/b%0a", printable), ("a/" + "b" * 256, printable)),
            *(("a/%ff", "has a prefix that is not UTF-8"), ("a\nb", "holds a control character")),
            *(("a#b", "has a #"), ("a/b#c", "has a #"), ("u:a#secret@a", "no valid port")),
            *(("secret@a", user), ("u:@a", user), (":@a", user), ("@a", user)),
            (":secret@a", "has a password without a user"),
            ("u:secret%ff@a", "a user or password that is not UTF-8"),
            ("u:secret%zz@a", "a % in its user or password"),
            ("u:sec@ret@a", "an @ in its user or password"),
        ):
            error = str(self.assertRaises(ConfigError, EtcdPlace.from_url, f"zmq+etcd://{rest}"))
            self.assertIn(text, error, rest)
            self.assertNotIn("secret", error)
            self.assertNotIn("\n", error)

    @given(st.text(min_size=1), st.text(min_size=1))
    def test_any_password(self, user, password):
        """Every character may stand in a user and in a password, written with %."""
        written = "zmq+etcd://" + ":".join(quote(text, safe="", errors="replace") for text in (user, password)) + "@h"
        place = EtcdPlace.from_url(written)
        self.assertEqual((place.user, place.password), (_said(user), _said(password)))

    def test_shown(self):
        """Neither user nor password is in what people read."""
        place = EtcdPlace.from_url("zmq+etcd://me:secret@one,[::1]:5/x")
        self.assertEqual(place.called, "etcd at one:2379, [::1]:5, prefix x")
        self.assertNotIn("secret", repr(place))
        self.assertFalse(place.is_loopback)
        self.assertTrue(EtcdPlace.from_url("zmq+etcd://localhost,127.0.0.1:5,[::1]").is_loopback)


class NamesTests(SynchronousTestCase):
    names = EtcdNames("zmqrpc")

    @given(st.lists(NAMES, min_size=4, max_size=4))
    def test_there_and_back(self, words):
        exchange, topic, member, pool = words
        record = make_record(topic, member, exchange=exchange, pool=pool)
        key = self.names.record(record)
        self.assertTrue(key.startswith(self.names.topic((exchange, topic))))
        self.assertEqual(self.names.split(key), [exchange, topic, "server", member, record.instance, pool])

    @given(NAMES, NAMES, NAMES, NAMES)
    def test_topics_apart(self, exchange, topic, other_exchange, other_topic):
        """What begins as the keys of one topic is of that topic."""
        key = self.names.record(make_record(other_topic, exchange=other_exchange))
        is_within = key.startswith(self.names.topic((exchange, topic)))
        self.assertEqual(is_within, (exchange, topic) == (other_exchange, other_topic))

    @example("a/b////")
    @example("a/b/server/%3A/c/")
    @given(st.text(st.sampled_from("ab%/:25F3A"), max_size=40))
    def test_any_key(self, rest):
        """What is read as a key is the only one that is read so."""
        key = self.names.topics + rest
        words = self.names.split(key)
        if words is not None:
            exchange, topic, role, member, instance, pool = (word.translate(WRITTEN) for word in words)
            self.assertEqual(f"{self.names.topics}{exchange}/{topic}/{role}:{member}:{instance}:{pool}", key)


WRITTEN = str.maketrans({"%": "%25", "/": "%2F", ":": "%3A"})


class WordsTests(SynchronousTestCase):
    words = EtcdWords("zmqrpc")

    def test_look(self):
        path, body = self.words.look([("openstack", "compute"), ("openstack", "volume")])
        said = json.loads(body)
        self.assertEqual(path, "/v3/kv/txn")
        self.assertEqual(said["compare"], [{"key": _b64("/zmqrpc/format"), "target": "VALUE", "value": _b64("1")}])
        self.assertEqual(
            said["success"][1]["request_range"],
            {"key": _b64("/zmqrpc/topic/openstack/compute/"), "range_end": _b64("/zmqrpc/topic/openstack/compute0")},
        )
        self.assertEqual(said["success"][2]["request_range"]["key"], _b64("/zmqrpc/topic/openstack/volume/"))

    def test_watch(self):
        path, body = self.words.watch([(1, ("o", "a"), 5), (2, ("o", "b"), 7)])
        lines = [json.loads(line)["create_request"] for line in body.splitlines()]
        self.assertEqual(path, "/v3/watch")
        self.assertEqual([(line["watch_id"], line["start_revision"]) for line in lines], [(1, 5), (2, 7)])

    def test_within_limits(self):
        """A transaction has at most the 128 operations that etcd allows."""
        entries = {f"k{number}": "v" for number in range(120)}
        for words in (
            self.words.begin(entries, 1, "x"),
            self.words.store(entries, 1),
            self.words.check(dict.fromkeys(entries, 1)),
            self.words.remove(entries),
        ):
            said = json.loads(words[1])
            self.assertLessEqual(max(map(len, (said["compare"], said["success"], said["failure"]))), 128)


class AnswersTests(SynchronousTestCase):
    names = EtcdNames("zmqrpc")

    def look(self, **fields):
        answer = {"header": {"revision": "7", "cluster_id": "14841639068965178418"}, **fields}
        [look] = read_looks(self.names, [("openstack", "compute")], json.dumps(answer).encode())
        return look

    def test_look(self):
        record = make_record()
        pair = {
            "key": _b64(self.names.record(record)),
            "value": _b64('{"addresses":["tcp://127.0.0.1:49153"]}'),
            "mod_revision": "5",
            "lease": "9223372036854775807",
        }
        found = self.look(
            succeeded=True, responses=[{"response_range": {}}, {"response_range": {"kvs": [pair], "count": "1"}}]
        )
        self.assertEqual(found, Look("", 7, (Entry(self.names.record(record), record, 5, 2**63 - 1),)))

    def test_looks(self):
        """One answer for several topics, and none that is for another number of them."""
        pair = {"key": _b64(self.names.record(make_record("two"))), "value": _b64('{"addresses":["tcp://h:1"]}')}
        parts = [{"response_range": {}}, {"response_range": {}}, {"response_range": {"kvs": [pair]}}]
        topics = [("openstack", "one"), ("openstack", "two")]
        for count in (2, 3, 4):
            answer = {"header": {"revision": 7}, "succeeded": True, "responses": (parts * 2)[:count]}
            said = json.dumps(answer).encode()
            if count == 3:
                looks = read_looks(self.names, topics, said)
                self.assertEqual([len(look.entries) for look in looks], [0, 1])
                self.assertEqual([entry.key for entry in looks[1].entries], [self.names.record(make_record("two"))])
            else:
                self.assertRaises(ValueError, read_looks, self.names, topics, said)

    def test_no_format(self):
        self.assertEqual(self.look(responses=[{"response_range": {}}]), Look("", 7, ()))
        with self.assertRaises(OtherFormat):
            self.look(responses=[{"response_range": {"kvs": [{"key": "", "value": _b64("2")}]}}])

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda s: (
                st.lists(s)
                | st.dictionaries(
                    st.sampled_from(
                        ["header", "revision", "succeeded", "responses", "response_range", "kvs", "result", "error"]
                    ),
                    s,
                )
            ),
        )
    )
    def test_nonsense(self, said):
        """What is no answer is a ValueError, and nothing else."""
        for answer in (json.dumps(said).encode(), json.dumps(said).encode()[:-1], str(said).encode("utf-16")):
            for read in (read_page, read_line):
                with contextlib.suppress(ValueError, OtherFormat, EtcdRefusal):
                    read(self.names, answer)

    def test_refusals(self):
        """Each names who, what, and what to do."""
        for status, body, text in (
            (403, b'{"error":"etcdserver: permission denied","code":7}', "a role that may read and write our prefix"),
            (429, b'{"message":"etcdserver: mvcc: database space exceeded","code":8}', "has no space left"),
            (503, b'{"message":"etcdserver: no leader","code":14}', "has no leader"),
            (503, b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}', "has no leader"),
            (
                404,
                b"404 page not found",
                "does not answer as etcd 3.4 or later does (HTTP status 404, '404 page not found')",
            ),
            (200, b"<html>" + b"x" * 500, "does not answer as etcd"),
            (400, b'{"message":"something new","code":3}', "refuses what it was asked (something new)"),
        ):
            sentence = read_refusal(status, body).fault.sentence("the etcd server h:1")
            self.assertTrue(sentence.startswith("the etcd server h:1 "), sentence)
            self.assertIn(text, sentence)
            self.assertLess(len(sentence), 500)

    def test_lines(self):
        def line(**fields):
            return read_line(self.names, json.dumps({"result": fields}).encode())

        self.assertEqual(
            line(header={"revision": "3"}, watch_id="2", created=True), Change(2, 3, True, None, False, ())
        )
        self.assertTrue(line(header={}, canceled=True, compact_revision="9").compacted)
        self.assertEqual(line(header={}, canceled=True, cancel_reason="no").ended, "no")
        key = self.names.record(make_record())
        gone = line(
            header={"revision": "4"}, events=[{"type": "DELETE", "kv": {"key": _b64(key), "mod_revision": "4"}}]
        )
        self.assertEqual(gone.entries, (Entry(key, None, 4, 0),))
        self.assertRaises(EtcdRefusal, read_line, self.names, b'{"error":{"grpc_code":14,"message":"no leader"}}')


class CopyTests(SynchronousTestCase):
    def entry(self, number, revision, there=True):
        record = make_record(number=number)
        return Entry(f"k{number}", record if there else None, revision, 0)

    def numbers(self, copy):
        return [int(sighting.record.instance, 16) for sighting in copy.sightings("here")]

    def test_followed(self):
        copy = TopicCopy()
        self.assertTrue(copy.looked(Look("s", 5, (self.entry(1, 3),)), 0))
        told = Change(1, 7, False, None, False, (self.entry(2, 6), self.entry(1, 7, there=False), self.entry(3, 7)))
        self.assertTrue(copy.told(told))
        self.assertEqual((self.numbers(copy), copy.revision), ([2, 3], 7))
        self.assertFalse(copy.told(told), "what is told twice is nothing new")

    def test_old_look(self):
        """A look that was asked for before a change was heard does not undo it."""
        copy = TopicCopy()
        copy.looked(Look("s", 5, ()), 0)
        copy.told(Change(1, 7, False, None, False, (self.entry(1, 7),)))
        self.assertFalse(copy.looked(Look("s", 6, ()), 0))
        self.assertEqual(self.numbers(copy), [1])
        self.assertTrue(copy.looked(Look("s", 6, ()), 1), "the store has gone back")
        self.assertEqual(self.numbers(copy), [])

    def test_another_store(self):
        copy = TopicCopy()
        copy.looked(Look("s", 50, (self.entry(1, 3),)), 0)
        copy.told(Change(1, 51, False, None, False, (self.entry(2, 51),)))
        self.assertTrue(copy.looked(Look("other", 2, ()), 0))
        self.assertEqual((self.numbers(copy), copy.revision), ([], 2))


class LeaseTests(SynchronousTestCase):
    def test_fits(self):
        """A lease keeps nothing alive that is not refreshed with it."""
        lease = Lease(7, 30)
        self.assertTrue(lease.fits({"a": "1"}, 30))
        self.assertFalse(lease.fits({"a": "1"}, 300))
        lease.written({"a": "1", "b": "2"}, 5)
        self.assertFalse(lease.fits({"a": "1"}, 30))
        self.assertTrue(lease.fits({"a": "9", "b": "2", "c": "3"}, 30))
        self.assertEqual(lease.known({"a": "9", "b": "2", "c": "3"}), {"b": 5})
        self.assertFalse(lease.forget(["a", "x"]))
        self.assertTrue(lease.forget(["b"]))
        self.assertFalse(lease.forget(["b"]), "it was empty before")

    def test_never(self):
        lease = Lease(0, 0)
        lease.written({"a": "1"}, 5)
        self.assertTrue(lease.fits({"b": "1"}, 0))

    def test_roles(self):
        """Every role has a key that is read again."""
        names = EtcdNames("zmqrpc")
        for role in Role:
            self.assertIsNotNone(names.split(names.record(make_record(role=role))))


def _said(text):
    return text.encode(errors="replace").decode()


def _b64(text):
    return base64.b64encode(text.encode()).decode()
