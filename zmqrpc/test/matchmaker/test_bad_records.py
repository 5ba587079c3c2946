"""What others have written into a store, kind by kind, in each store that is for real."""

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from zmqrpc.matchmaker import _entry, collect_skips, make_matchmaker
from zmqrpc.matchmaker._etcd import words
from zmqrpc.settings import Settings
from zmqrpc.test.etcd import single
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.support import new_path
from zmqrpc.test.sentinels import GROUP, Sentinel
from zmqrpc.test.servers import RedisServer
from zmqrpc.testing.matchmaker import Heard, make_record

if TYPE_CHECKING:
    _Case = TestCase
else:
    _Case = object

reactor: Any = _reactor

GOOD = b'{"addresses":["tcp://h:1"]}'
STRANGE = {"member": b"bad", "instance": b"b" * 32}
"""Of a record that is malformed otherwise."""


def addressed(*addresses: str) -> bytes:
    return b'{"addresses":[%s]}' % ",".join(f'"{address}"' for address in addresses).encode()


MALFORMED: list[tuple[dict[str, bytes], str]] = [
    *(({"body": body}, "") for body in (b"", b"x", b"[]", b"{}", b"null", b"[" * 5000, b'{"addresses":[1]}')),
    ({"body": b"\xff\xfe"}, ""),
    ({"body": b'{"addresses":[]}'}, "has no address"),
    ({"body": addressed("rubbish")}, "is neither tcp://host:port nor ipc:///path"),
    ({"body": addressed("tcp://h:99999")}, "has the port"),
    ({"body": addressed("tcp://*:1")}, "has the host"),
    ({"body": addressed("tcp://h:1\\u001b[31m")}, "is not printable"),
    ({"body": addressed(*["tcp://h:1"] * 17)}, "it has 17 addresses"),
    ({"body": GOOD[:-1] + b',"versions":[2,1]}'}, "versions"),
    ({"body": addressed("tcp://" + "x" * 10_000 + ":1")}, "longer than 8192 characters"),
    ({"instance": b"no hex"}, "its instance is not 32 lower-case hex digits"),
    ({"instance": b"\xff" * 32}, ""),
    ({"member": b""}, "member"),
    ({"member": b"m\n\x1b[31m"}, "member"),
    ({"member": b"m" * 10_000}, "member"),
    ({"member": b"\xff"}, ""),
    ({"pool": b"p\0"}, "its pool"),
    ({"pool": b"p" * 256}, "its pool is longer than 255 bytes"),
]
"""What is different from a good record, and what is said of it."""

NO_TOPICS = [b"", b"t" * 10_000, b"a\nb", b"\x1b[31m", b"\xff", "\u202e".encode()]
"""Names that no topic may have, but the last, which may be."""

ODD_NAMES = ["42", "1e3", "-0", "0x1", "null", "a:b", "a/b", "a%3Ab", "a.b.", " ", "$a", "é", "n" * 255]
"""Names that a topic may have."""


class BadRecords(_Case):
    """
    Mix in before a store.

    :ivar stores: what people call each store.
    """

    timeout = 120
    stores: tuple[str, ...]
    url: str

    def setUp(self):
        self.patch(_entry, "_said", {})
        self.start()
        self.lines = LogLines(self, "zmqrpc")
        self.matchmaker: Any = make_matchmaker(reactor, Settings(self.url, matchmaker_timeout=5000))
        self.addCleanup(self.matchmaker.close)

    def start(self):
        """Start the store."""
        raise NotImplementedError

    def put(self, topic, **fields):
        """Write an entry past everything that checks."""
        raise NotImplementedError

    def spoil(self, topic: bytes, **fields: bytes) -> None:
        self.put(topic, **{"body": GOOD, "role": b"server", "pool": b"", **STRANGE, **fields})

    async def listed(self):
        return [sighting.record for sighting in await self.matchmaker.records()]

    async def found(self, topic):
        return [sighting.record for sighting in await self.matchmaker.lookup("openstack", topic)]

    def assertSaid(self, count):
        """So many lines for each store, none of which anybody could do harm with."""
        for store in self.stores:
            lines = self.lines.about(f"{store} holds malformed records of ")
            self.assertEqual(len(lines), count, self.lines)
        self.assertEqual(len(self.lines), count * len(self.stores), self.lines)
        for line in self.lines:
            self.assertLess(len(line), 1000)
            self.assertTrue(line.isprintable(), line)
            self.assertNotIn("s3cret", line)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_malformed(self):
        """It is skipped wherever it is seen, with one line that names store, key and fault; the rest is there."""
        good = [make_record(f"t{number:02}") for number in range(len(MALFORMED))]
        heard = [Heard() for _ in good]
        for record, each, (fields, _) in zip(good, heard, MALFORMED, strict=True):
            await self.matchmaker.register(record, 300)
            self.matchmaker.watch("openstack", record.topic, each)
            self.spoil(record.topic.encode(), **fields)
        for record, each in zip(good, heard, strict=True):
            self.assertEqual(await self.found(record.topic), [record])
            await eventually("the watch", lambda record=record, each=each: each.last(record))
        for _ in range(2):
            with collect_skips() as skipped:
                self.assertEqual(await self.listed(), good)
            # What is logged once is told each time to who asks.
            self.assertEqual(
                {store: len(entries) for store, entries in skipped.items()}, dict.fromkeys(self.stores, len(MALFORMED))
            )
        await pause(0.3)
        self.assertSaid(len(MALFORMED))
        for record, (fields, fault) in zip(good, MALFORMED, strict=True):
            for line in self.lines.about(f" malformed records of {record.topic} in exchange openstack, 1 so far"):
                self.assertIn(fault, line, fields)
                _, named, key = line.partition("; the first is ")
                self.assertTrue(named)
                self.assertIn(record.topic, key)

    async def test_newer(self):
        """What a later release adds is read as far as it is known, or passed over, in silence."""
        await self.matchmaker.register(make_record(), 300)
        self.spoil(b"compute", role=b"oracle")
        self.spoil(b"compute", member=b"new", body=GOOD[:-1] + b',"weight":3,"more":{"a":[1]}}')
        newer = make_record(member="new", instance="b" * 32, addresses=["tcp://h:1"])
        self.assertEqual(await self.found("compute"), [newer, make_record()])
        self.assertCountEqual(await self.listed(), [newer, make_record()])
        self.assertSaid(0)

    async def test_topics(self):
        """Names that no topic may have are one line each; whoever asks for one is told that nobody listens."""
        await self.matchmaker.register(make_record(), 300)
        for name in NO_TOPICS:
            self.spoil(name)
        for _ in range(2):
            listed = await self.listed()
            self.assertIn(make_record(), listed)
            self.assertEqual({record.topic for record in listed} - {"compute", "\u202e"}, set())
        for name in NO_TOPICS[:-1]:
            self.assertEqual(await self.found(name.decode(errors="replace")), [])
        for line in self.lines:
            self.assertTrue(line.isprintable() and len(line) < 1000, line)
            self.assertTrue(line.startswith(self.stores), line)
        self.assertLessEqual(len(self.lines), len(NO_TOPICS) * len(self.stores))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_odd_names(self):
        """Names that look like numbers, or hold what separates others, are names."""
        records = [make_record(name, name, pool=name) for name in ODD_NAMES]
        for record in records:
            await self.matchmaker.register(record, 300)
        for record in records:
            self.assertEqual(await self.found(record.topic), [record])
        self.assertCountEqual(await self.listed(), records)
        for record in records:
            await self.matchmaker.withdraw(record)
        self.assertEqual(await self.listed(), [])
        self.assertSaid(0)


def put_into(server, topic, body, member, instance, role, pool):
    """Write into Redis."""
    words = [word.replace(b"%", b"%25").replace(b":", b"%3A") for word in (role, member, instance, pool)]
    topic = topic.replace(b"%", b"%25").replace(b":", b"%3A")
    seconds, _ = map(int, server.ask("TIME"))
    server.ask("HSET", b"zmqrpc:topic:openstack:" + topic, b":".join(words), b"%d 300000 " % (seconds * 1000) + body)
    server.ask("ZADD", "zmqrpc:topics", "inf", b"openstack:" + topic)


class RedisTests(BadRecords, TestCase):
    """One server."""

    servers = 1

    def start(self):
        self._servers = [RedisServer(self, "--requirepass", "s3cret") for _ in range(self.servers)]
        hosts = [f"127.0.0.1:{server.port}" for server in self._servers]
        self.stores = tuple(f"the Redis server {host}" for host in hosts)
        self.url = f"zmq+redis://:s3cret@{','.join(hosts)}"

    def put(self, topic, **fields):
        for server in self._servers:
            put_into(server, topic, **fields)


class SeveralRedisTests(RedisTests):
    """Two servers, each of which has it."""

    servers = 2


class SentinelTests(BadRecords, TestCase):
    """The master that a Sentinel names."""

    def start(self):
        self._server = RedisServer(self)
        sentinel = Sentinel(self, [f"sentinel monitor {GROUP} 127.0.0.1 {self._server.port} 1"])
        self.stores = (f"the Redis master {GROUP}",)
        self.url = f"zmq+sentinel://127.0.0.1:{sentinel.port}"

    def put(self, topic, **fields):
        put_into(self._server, topic, **fields)


class EtcdTests(BadRecords, TestCase):
    """One member."""

    def start(self):
        self._member = single(self)
        self.stores = (f"etcd at 127.0.0.1:{self._member.port}",)
        self.url = self._member.url

    def put(self, topic, **fields):
        parts = [topic, *(fields[name] for name in ("role", "member", "instance", "pool"))]
        topic, *rest = (part.replace(b"%", b"%25").replace(b"/", b"%2F").replace(b":", b"%3A") for part in parts)
        key = b"/zmqrpc/topic/openstack/" + topic + b"/" + b":".join(rest)
        self._member.ask("kv/put", key=key, value=fields["body"])

    async def test_pages(self):
        """The list goes on behind a key that is no text, and ends."""
        self.patch(words, "PAGE", 2)
        records = [make_record(name) for name in ("a", "b", "z")]
        for record in records:
            await self.matchmaker.register(record, 300)
        for number in range(7):
            self.spoil(b"b\xff%d" % number)
        self.assertEqual(await self.listed(), records)
        self.assertIn("/zmqrpc/topic/openstack/b\\udcff0/server:bad:", self.lines[0])


class SqliteTests(BadRecords, TestCase):
    """A file."""

    def start(self):
        self._path = new_path(self)
        self.stores = (f"the matchmaker file {self._path}",)
        self.url = f"zmq+sqlite://{self._path}"

    def put(self, topic, **fields):
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            names = ("exchange", "topic", *fields, "stamp", "expires", "boot", "namespace", "pid", "started")
            texts = ["CAST(? AS TEXT)"] * (2 + len(fields))
            connection.execute(
                f"INSERT OR REPLACE INTO record ({', '.join(names)}) "
                f"SELECT {', '.join((*texts, *names[-6:]))} FROM record LIMIT 1",
                (b"openstack", topic, *fields.values()),
            )

    async def test_other_types(self):
        """SQLite stores what it is given, in whatever column: a row of other types than ours is skipped as well."""
        good = make_record("good")
        await self.matchmaker.register(good, 300)
        values = (
            *((column, b"\xff\xfe") for column in ("member", "instance", "role", "pool", "body")),
            *((column, value) for column in ("stamp", "expires") for value in (b"\xff", "x", "")),
            *((column, value) for column in ("namespace", "pid", "started") for value in (b"\xff", "x", "", 1.5)),
            *(("stamp", value) for value in (float("inf"), float("-inf"))),
            *((column, b"\xff") for column in ("exchange", "topic")),
        )
        for said, (column, value) in enumerate(values, 1):
            bad = make_record("bad")
            await self.matchmaker.register(bad, 300)
            with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
                connection.execute(f"UPDATE record SET {column} = ? WHERE topic = 'bad'", (value,))
            _entry._said.clear()
            self.assertEqual(await self.listed(), [good], (column, value))
            self.assertEqual(await self.found("bad"), [], (column, value))
            self.assertSaid(said)
            self.assertIn(" the row ", self.lines[-1])
            with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
                connection.execute("DELETE FROM record WHERE topic <> 'good'")
