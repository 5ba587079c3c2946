"""The matchmaker in a Redis server, with a real one."""

import re
import time
from random import Random
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from zmqrpc.core import spread
from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker._redis import inquiry, store
from zmqrpc.matchmaker._redis.asker import RedisAsker
from zmqrpc.matchmaker._redis.connection import connect
from zmqrpc.matchmaker._redis.names import record_field
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker.redis import redis_matchmaker
from zmqrpc.record import Role
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.matchmaker.support import StoreCase, everything
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import CHECKOUT
from zmqrpc.test.servers import RedisPeer, RedisServer
from zmqrpc.testing.matchmaker import Heard, MatchmakerContract, make_record

reactor: Any = _reactor

EMPTY = [b"zmqrpc:format", b"zmqrpc:since"]
"""The keys of a database without records."""


class RedisContract(MatchmakerContract, TestCase):
    """The contract."""

    reactor = reactor
    shares_doubts = True

    def setUp(self):
        self.server = RedisServer(self)

    def make_matchmaker(self):
        return redis_matchmaker(reactor, RedisPlace.from_url(self.server.url), 2.0, Random(1))

    def make_unreachable(self):
        return redis_matchmaker(reactor, [RedisPlace("127.0.0.1", free_port())], 2.0, Random(1))

    async def lose_everything(self):
        self.server.restart()
        return True


class RedisCase(StoreCase):
    """A server, and matchmakers of it."""

    options: tuple[str, ...] = ()

    def setUp(self):
        super().setUp()
        self.server = RedisServer(self, *self.options)

    def matchmaker(self, url=None, limit=2.0):
        return self.closing(redis_matchmaker(reactor, RedisPlace.from_url(url or self.server.url), limit, Random(1)))

    async def watching(self, matchmaker, *records):
        """Watch, and wait until everything is heard."""
        heard = await super().watching(matchmaker, *records)
        await eventually("it hears", lambda: len(self.server.ask("PUBSUB", "CHANNELS")) == 2)
        return heard

    def topic(self, name="openstack:compute"):
        """Return the hash of a topic as Redis has it."""
        words = [word.decode() for word in self.server.ask("HGETALL", f"zmqrpc:topic:{name}")]
        return dict(zip(words[::2], words[1::2], strict=True))


class LinesOfAnOutageTests(RedisCase):
    """An outage is one line when it begins and one when it ends, whatever fails, and whatever works meanwhile."""

    async def test_no_memory(self):
        await self.cannot_write(("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "maxmemory")

    async def test_no_memory_for_what_is_new(self):
        """What is withdrawn meanwhile needs none, and does not end it."""
        matchmaker = self.matchmaker()
        for number in range(5):
            await matchmaker.register(make_record(number=number), 300)
        self.server.ask("CONFIG", "SET", "maxmemory", "1")
        for number in range(5):
            await self.refused(matchmaker.register(make_record(number=9), 300), "maxmemory")
            await matchmaker.withdraw(make_record(number=number))
            self.assertIn("maxmemory", matchmaker.away())
        self.assertEqual(len(self.lines), 1, self.lines)
        self.server.ask("CONFIG", "SET", "maxmemory", "0")
        await matchmaker.register(make_record(number=9), 300)
        self.assertEqual((matchmaker.away(), len(self.lines)), ("", 2), self.lines)

    async def test_missing_right(self):
        """That is for who registers to say, once; the store is there for all others."""
        matchmaker = self.matchmaker()
        self.server.ask("ACL", "SETUSER", "default", "-hset")
        for _ in range(3):
            with self.assertRaises(ConfigError) as caught:
                await matchmaker.register(make_record(), 300)
            for text in (f"127.0.0.1:{self.server.port} ", "HSET", "rights"):
                self.assertIn(text, str(caught.exception))
            self.assertEqual(len(await matchmaker.lookup("openstack", "compute")), 0)
        self.server.ask("ACL", "SETUSER", "default", "+hset")
        await matchmaker.register(make_record(), 300)
        self.assertEqual((self.lines, matchmaker.away()), ([], ""))

    async def test_missing_right_to_tell(self):
        """What nobody would be told of is not stored: stored again it would be told no more, and nobody would hear."""
        matchmaker = self.matchmaker()
        heard = await self.watching(matchmaker)
        self.server.ask("ACL", "SETUSER", "default", "-publish")
        for _ in range(3):
            with self.assertRaises(ConfigError) as caught:
                await matchmaker.register(make_record(), 300)
            self.assertIn("PUBLISH", str(caught.exception))
            self.assertEqual(await matchmaker.lookup("openstack", "compute"), [])
        self.server.ask("ACL", "SETUSER", "default", "+publish")
        await matchmaker.register(make_record(), 300)
        await eventually("the record", lambda: heard.last(make_record()))
        self.server.ask("ACL", "SETUSER", "default", "-publish")
        moved = make_record(addresses=("tcp://127.0.0.2:1",))
        with self.assertRaises(ConfigError):
            await matchmaker.register(moved, 300)
        self.assertEqual([s.record for s in await matchmaker.lookup("openstack", "compute")], [make_record()])

    async def test_doubt_is_refused(self):
        """A hint that cannot be stored is no outage: who only calls writes nothing else that would end it."""
        matchmaker = self.matchmaker()
        await matchmaker.lookup("openstack", "compute")
        self.server.ask("REPLICAOF", "127.0.0.1", "1")
        doubt = attrs.evolve(make_record(), role=Role.DOUBT)
        await self.refused(matchmaker.register(doubt, 30), "replica")
        self.assertEqual((self.lines, matchmaker.away()), ([], ""))
        await self.refused(matchmaker.register(make_record(), 30), "replica")
        self.assertEqual(len(self.lines), 1, self.lines)

    async def cannot_write(self, begin, end, *texts):
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        await self.watching(matchmaker, make_record())
        self.server.ask(*begin)
        for _ in range(20):
            await self.refused(matchmaker.register(make_record(), 300), f"127.0.0.1:{self.server.port} ", *texts)
            self.assertEqual(len(await matchmaker.lookup("openstack", "compute")), 1)
            self.assertEqual(len(await matchmaker.records()), 1)
        self.assertEqual(len(self.lines), 1, self.lines)
        self.assertIn("fails: ", self.lines[0])
        self.assertNotEqual((matchmaker.away(), matchmaker.failing()), ("", []))
        self.server.ask(*end)
        await matchmaker.lookup("openstack", "compute")
        self.assertEqual(len(self.lines), 1, "that it can be read does not end it")
        await matchmaker.register(make_record(), 300)
        self.assertEqual(len(self.lines), 2, self.lines)
        self.assertIn("works again after", self.lines[1])
        self.assertEqual((matchmaker.away(), matchmaker.failing()), ("", []))

    async def test_nothing_left_to_write(self):
        """Who does not write again has no outage for ever."""
        self.patch(store, "REFUSED_SECONDS", 0.3)
        matchmaker = self.matchmaker()
        await matchmaker.lookup("openstack", "compute")
        self.server.ask("CONFIG", "SET", "maxmemory", "1")
        await self.refused(matchmaker.register(make_record(), 300), "maxmemory")
        await matchmaker.lookup("openstack", "compute")
        self.assertEqual(len(self.lines), 1)
        await pause(0.3)
        await matchmaker.lookup("openstack", "compute")
        self.assertEqual((len(self.lines), matchmaker.away()), (2, ""))

    async def test_a_refusal_is_unavailable(self):
        """Nobody outside has to know a class of ours."""
        matchmaker = self.matchmaker()
        self.server.ask("SET", "zmqrpc:format", "9")
        for ask in everything(matchmaker):
            with self.assertRaises(MatchmakerUnavailable) as caught:
                await ask()
            self.assertIs(type(caught.exception), MatchmakerUnavailable)


class RoundTripTests(RedisCase):
    """What is asked is one command, whatever it does, in a database that is not just new."""

    def setUp(self):
        super().setUp()
        self.server.ask("MSET", "zmqrpc:format", "1", "zmqrpc:since", round(time.time() * 1000) - 60_000)
        watcher = RedisPeer(self.server)
        self.addCleanup(watcher.__exit__)
        watcher.ask("MONITOR")
        self.watcher = watcher

    def sent(self):
        """Return the names of the commands that clients have sent since the last time, those of the test left out."""
        return [words[0] for words in self.commands()]

    def commands(self):
        """Return their words."""
        self.server.ask("ECHO", "until here")
        commands: list[list[str]] = []
        while True:
            line = self.watcher.read().decode()
            name, *words = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            if name.upper() == "ECHO":
                return commands
            if " lua] " not in line:
                commands.append([name.upper(), *words])

    async def test_one_each(self):
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        self.assertEqual(self.sent(), ["EVAL"], "a registration")
        await matchmaker.register(make_record(), 300)
        self.assertEqual(self.sent(), ["EVAL"], "a refresh")
        await gatherResults([matchmaker.register(make_record(number=number), 300) for number in range(500)])
        self.assertEqual(self.sent(), ["EVAL"] * 5, "five hundred registrations")
        await gatherResults([matchmaker.lookup("openstack", f"topic-{number}") for number in range(300)])
        self.assertEqual(self.sent(), ["EVAL"] * 12, "three hundred lookups")
        self.assertEqual(len(await matchmaker.lookup("openstack", "compute")), 500)
        self.assertEqual(self.sent(), ["EVAL"], "a lookup of five hundred records")
        await matchmaker.lookup("openstack", "nobody")
        self.assertEqual(self.sent(), ["EVAL"], "a lookup of none")
        await matchmaker.records()
        self.assertEqual(self.sent(), ["EVAL"], "all records")
        await matchmaker.withdraw(make_record())
        self.assertEqual(self.sent(), ["EVAL"], "a withdrawal")

    async def test_inquiry(self):
        """Whether the database was emptied is asked with a few bytes, and all is registered again when it was."""
        self.patch(inquiry, "INQUIRY_SECONDS", 0.02)
        self.patch(inquiry, "NEW_EACH", 0)
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.commands()
        sent: list[list[str]] = []
        await eventually("questions", lambda: sent.extend(self.commands()) or len(sent) > 20)
        sent = [words for words in sent if words != ["PUBSUB", "CHANNELS"]]
        self.assertLessEqual({*map(tuple, sent)}, {("GET", "zmqrpc:since"), ("PUBSUB", "NUMSUB", "zmqrpc:0:new")})
        self.server.ask("FLUSHALL")
        await eventually("the loss", heard.last)
        self.assertRegex(self.server.ask("GET", "zmqrpc:since").decode(), r"^\d{13} \d{13}$")
        sent.clear()

        def only_asks() -> bool:
            """Registrations come first, on a busy machine some time later."""
            sent.extend(self.commands())
            if "EVAL" in (name for name, *_ in sent):
                sent.clear()
            return len(sent) > 20

        await eventually("it is known, and asked for with a few bytes again", only_asks)

    async def test_after_a_restart(self):
        """Also when the server has forgotten every script."""
        matchmaker = self.matchmaker()
        await matchmaker.lookup("openstack", "compute")
        self.server.ask("SCRIPT", "FLUSH")
        self.sent()
        await matchmaker.lookup("openstack", "compute")
        self.assertEqual(self.sent(), ["EVAL"])

    async def test_pushed(self):
        """A change costs who watches nothing, and the server one message."""
        matchmaker, other = self.matchmaker(), self.matchmaker()
        heard = await self.watching(matchmaker)
        self.sent()
        for number in range(10):
            await other.register(make_record(number=number), 300)
            await eventually("it is heard", lambda count=number + 1: heard.calls and len(heard.calls[-1]) == count)
        self.assertEqual(self.sent(), ["EVAL"] * 10)
        for _ in range(10):
            await other.register(make_record(number=3), 300)
        await pause(0.1)
        self.assertEqual((self.sent(), len(heard.calls)), (["EVAL"] * 10, 11), "a refresh is not told")

    async def test_watch(self):
        """A watch of a topic that is looked up as well: two channels, the lookup, and a look that finds nothing new."""
        matchmaker = self.matchmaker()
        await self.matchmaker().register(make_record(), 300)
        self.sent()
        heard = Heard()
        matchmaker.watch("openstack", "compute", heard)
        await matchmaker.lookup("openstack", "compute")
        await eventually("the first call", lambda: heard.last(make_record()))
        await pause(0.5)
        self.assertCountEqual(self.sent(), ["EVAL", "EVAL", "SUBSCRIBE", "SUBSCRIBE"])
        self.assertEqual(len(heard.calls), 1)


class StoredTests(RedisCase):
    """What is in the database, as docs/spec/records says."""

    async def test_form(self):
        matchmaker = self.matchmaker()
        record = make_record("a:b", exchange="100%", pool="audit")
        await matchmaker.register(record, 300)
        await matchmaker.register(make_record("c", exchange="x"), 0)
        self.assertCountEqual(
            self.server.ask("KEYS", "*"),
            [*EMPTY, b"zmqrpc:topics", b"zmqrpc:topic:100%25:a%3Ab", b"zmqrpc:topic:x:c"],
        )
        self.assertEqual(self.server.ask("GET", "zmqrpc:format"), b"1")
        since = int(self.server.ask("GET", "zmqrpc:since"))
        fields = self.topic("100%25:a%3Ab")
        self.assertCountEqual(fields, ["", f"server:node-1:{1:032x}:audit"])
        stamp, expire, body = fields[record_field(record)].split(" ")
        seconds, micros = map(int, self.server.ask("TIME"))
        self.assertLess(seconds * 1000 + micros / 1000 - int(stamp), 10_000)
        self.assertTrue(int(stamp) - 10_000 < since <= int(stamp))
        self.assertEqual(expire, "300000")
        self.assertEqual(body, '{"addresses":["tcp://127.0.0.1:49153"]}')
        self.assertEqual(fields[""], stamp)
        ends = dict(zip(*[iter(self.server.ask("ZRANGE", "zmqrpc:topics", 0, -1, "WITHSCORES"))] * 2, strict=True))
        self.assertEqual(ends, {b"100%25:a%3Ab": str(int(stamp) + 300_000).encode(), b"x:c": b"inf"})

    async def test_size(self):
        """Of many records each takes no more than 250 bytes, with all that is kept beside them."""
        matchmaker = self.matchmaker()
        records = [
            make_record(
                member=f"host-{number:04}.example.org", number=number, addresses=(f"tcp://10.0.0.1:{number + 1}",)
            )
            for number in range(500)
        ]
        await gatherResults([matchmaker.register(record, 300) for record in records])
        sizes = [self.server.ask("MEMORY", "USAGE", key, "SAMPLES", 0) for key in self.server.ask("KEYS", "*")]
        self.assertLess(sum(sizes) / len(records), 250)

    async def test_empty_topics_leave_nothing(self):
        """What was withdrawn or has expired leaves nothing behind, also in a topic that nobody looks at again."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        await matchmaker.withdraw(make_record())
        self.assertCountEqual(self.server.ask("KEYS", "*"), EMPTY)
        await matchmaker.register(make_record(), 0.05)
        await pause(0.1)
        self.assertEqual(await matchmaker.lookup("openstack", "compute"), [])
        self.assertCountEqual(self.server.ask("KEYS", "*"), EMPTY)
        for number in range(25):
            await matchmaker.register(make_record(f"topic-{number}"), 0.05)
        await pause(0.1)
        self.assertEqual(await matchmaker.records(), [])
        for _ in range(3):
            await matchmaker.register(make_record(), 300)
        self.assertEqual(self.server.ask("ZRANGE", "zmqrpc:topics", 0, -1), [b"openstack:compute"])
        self.assertEqual(len(self.server.ask("KEYS", "*")), 4)

    async def test_expired_is_removed(self):
        """A look removes what has expired, and nothing else."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 0.05)
        await matchmaker.register(make_record(number=2), 300)
        await pause(0.1)
        self.assertEqual(len(self.topic()), 3)
        await matchmaker.lookup("openstack", "compute")
        self.assertCountEqual(self.topic(), ["", record_field(make_record(number=2))])

    async def test_thousands_expire_at_once(self):
        """More than Lua can unpack at a time."""
        matchmaker = self.matchmaker()
        await matchmaker.lookup("openstack", "compute")
        rest = 'x 1 {"addresses":["tcp://h:1"]}'.replace("x", "1000")
        with RedisPeer(self.server) as peer:
            for start in range(0, 20_000, 1000):
                words = [w for n in range(start, start + 1000) for w in (f"server:m:{n}:", rest)]
                peer.ask("HSET", "zmqrpc:topic:openstack:compute", *words)
        self.assertEqual(await matchmaker.lookup("openstack", "compute"), [])
        self.assertCountEqual(self.server.ask("KEYS", "*"), EMPTY)

    async def test_malformed(self):
        """What somebody else has written there is skipped, and never in the way."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        key = "zmqrpc:topic:openstack:compute"
        for field, value in ((b"\xff", b"\xfe"), ("x", "y"), ("server:a:b:", "1 1"), ("server:c:d:", "9 0 {}")):
            self.server.ask("HSET", key, field, value)
        self.server.ask("ZADD", "zmqrpc:topics", "inf", b"\xff\xfe")
        heard = await self.watching(matchmaker, make_record())
        for answer in (await matchmaker.lookup("openstack", "compute"), await matchmaker.records()):
            self.assertEqual([sighting.record for sighting in answer], [make_record()])
        self.server.ask("HSET", key, "", "no version")
        second = make_record(number=2)
        await self.matchmaker().register(second, 300)
        await eventually("the change", lambda: heard.last(make_record(), second))
        self.server.ask("PUBLISH", "zmqrpc:0:topic:openstack:compute", b"\xc1 no message")
        third = make_record(number=3)
        await self.matchmaker().register(third, 300)
        await eventually("the change", lambda: heard.last(make_record(), second, third))

    async def test_another_type(self):
        self.server.ask("SET", "zmqrpc:topic:openstack:compute", "a string")
        await self.refused(self.matchmaker().register(make_record(), 300), "something under our keys", "WRONGTYPE")
        self.assertEqual(self.server.ask("GET", "zmqrpc:topic:openstack:compute"), b"a string")

    async def test_another_format(self):
        """A database of another format is refused with both numbers, and not changed; another database is not."""
        self.server.ask("SET", "zmqrpc:format", "2")
        matchmaker, heard = self.matchmaker(), Heard()
        matchmaker.watch("openstack", "compute", heard)
        for ask in everything(matchmaker):
            await self.refused(ask(), "format 2", "reads format 1", f"127.0.0.1:{self.server.port}")
        self.assertEqual(self.server.ask("KEYS", "*"), [b"zmqrpc:format"])
        self.assertEqual((len(self.lines), heard.calls), (1, []), self.lines)
        await self.matchmaker(f"{self.server.url}/1").register(make_record(), 300)
        self.server.ask("DEL", "zmqrpc:format")
        await eventually("the watch goes on", heard.last)
        await eventually("the end of the outage", lambda: len(self.lines) == 2)

    async def test_databases(self):
        """Those of one server do not see each other, though channels are common to all."""
        zero, one = self.matchmaker(), self.matchmaker(f"{self.server.url}/1")
        in_zero, in_one = Heard(), Heard()
        zero.watch("openstack", "compute", in_zero)
        one.watch("openstack", "compute", in_one)
        await eventually("the first calls", lambda: in_zero.last() and in_one.last())
        await zero.register(make_record(), 300)
        await eventually("the change", lambda: in_zero.last(make_record()))
        await one.register(make_record(number=2), 300)
        await eventually("the change", lambda: in_one.last(make_record(number=2)))
        self.assertEqual([len(heard.calls) for heard in (in_zero, in_one)], [2, 2])
        self.assertEqual(len(await zero.records()), 1)

    async def test_clock_set_back(self):
        """A record from the future lives as long as one of now, from when it is seen on."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 1)
        key, field = "zmqrpc:topic:openstack:compute", record_field(make_record())
        stamp, rest = self.topic()[field].split(" ", 1)
        self.server.ask("HSET", key, field, f"{int(stamp) + 3_600_000} {rest}")
        (sighting,) = await matchmaker.lookup("openstack", "compute")
        self.assertEqual(sighting.age, 0)
        self.assertLess(int(self.topic()[field].split(" ")[0]) - int(stamp), 10_000)
        await pause(1.1)
        self.assertEqual(await matchmaker.lookup("openstack", "compute"), [])

    async def test_clock_set_forward(self):
        """Everything expires; a watch hears of it with the next change, and registering again works."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        field = record_field(make_record())
        stamp, rest = self.topic()[field].split(" ", 1)
        self.server.ask("HSET", "zmqrpc:topic:openstack:compute", field, f"{int(stamp) - 3_600_000} {rest}")
        await self.matchmaker().lookup("openstack", "compute")
        await eventually("the expiry", heard.last)
        await matchmaker.register(make_record(), 300)
        await eventually("the record again", lambda: heard.last(make_record()))

    async def test_emptied(self):
        """FLUSHALL ends no connection; whoever comes first tells everybody."""
        matchmaker, other = self.matchmaker(), self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.server.ask("FLUSHALL")
        await self.refused(other.lookup("openstack", "something else"), "came back empty less than 10 s ago")
        await eventually("the loss", heard.last)

    async def test_emptied_and_asked(self):
        """Whoever knew the store before says that it is another one: that nobody is there is then not believed."""
        matchmaker, stranger = self.matchmaker(), self.matchmaker()
        self.assertEqual(await stranger.lookup("openstack", "compute"), [], "nobody has known another")
        await self.watching(matchmaker)
        self.server.ask("FLUSHALL")
        await matchmaker.register(make_record("other"), 300)
        self.assertRegex(self.server.ask("GET", "zmqrpc:since").decode(), r"^\d{13} \d{13}$")
        for asking in (stranger, matchmaker, self.matchmaker()):
            with self.assertRaises(MatchmakerUnavailable) as caught:
                await asking.lookup("openstack", "compute")
            self.assertIn("came back empty less than 10 s ago and may not know yet", str(caught.exception))
            self.assertEqual(len(await asking.lookup("openstack", "other")), 1)
        heard = Heard()
        self.matchmaker().watch("openstack", "compute", heard)
        await pause(0.5)
        self.assertEqual(heard.calls, [])
        since, before = self.server.ask("GET", "zmqrpc:since").decode().split()
        self.server.ask("SET", "zmqrpc:since", f"{int(since) - 10_000} {before}")
        self.assertEqual(await self.matchmaker().lookup("openstack", "compute"), [])

    async def test_emptied_and_asked_by_a_stranger(self):
        """Whoever asks first, and has not known it, waits until those who have may have said so."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        await self.watching(matchmaker, make_record())
        for ask in (lambda one: one.lookup("openstack", "compute"), lambda one: one.records()):
            for _ in range(5):
                self.server.ask("FLUSHALL")
                stranger, heard = self.matchmaker(), Heard()
                stranger.watch("openstack", "compute", heard)
                await self.refused(ask(stranger), "came back empty less than 10 s ago and may not know yet")
                self.assertEqual(heard.calls, [])

    async def test_new(self):
        """Who asks a new database is told that nobody is there when nobody has said that he knew it before."""
        stranger, heard = self.matchmaker(), Heard()
        stranger.watch("openstack", "compute", heard)
        self.assertEqual(await stranger.lookup("openstack", "compute"), [])
        await eventually("the watch", lambda: heard.calls == [[]])

    async def test_closed_while_it_is_new(self):
        stranger = self.matchmaker()
        asked = [stranger.lookup("openstack", "compute"), stranger.records()]
        given_up = stranger.lookup("openstack", "compute")
        await eventually("they are asked", lambda: self.server.ask("EXISTS", "zmqrpc:format"))
        await pause(0.1)
        given_up.cancel()
        await self.assertFailure(given_up, CancelledError)
        await stranger.close()
        for one in asked:
            await self.refused(one, "closed")

    async def test_emptied_and_heard(self):
        """Who hears that the store is new says at once that he knew it before, and looks at it when his turn comes."""
        matchmaker = self.matchmaker()
        for number in range(300):
            matchmaker.register(make_record(number=number), 300)
        await self.watching(matchmaker, *(make_record(number=number) for number in range(300)))
        self.patch(spread, "SHORTEST", 60.0)
        self.patch(spread, "LONGEST", 60.0)
        self.server.ask("FLUSHALL")
        await self.refused(self.matchmaker().lookup("openstack", "something else"), "came back empty less than 10 s")
        self.assertIn(b" ", self.server.ask("GET", "zmqrpc:since"))

    async def test_removed_by_hand(self):
        """Who removes a record and the version with it, as docs/howto/redis says, is noticed at the next look."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 0)
        await matchmaker.register(make_record(number=2), 0)
        heard = await self.watching(matchmaker, make_record(), make_record(number=2))
        self.server.ask("HDEL", "zmqrpc:topic:openstack:compute", record_field(make_record()), "")
        self.server.ask("PUBLISH", "zmqrpc:0:new", "")
        await eventually("the removal", lambda: heard.last(make_record(number=2)))
        await self.matchmaker().register(make_record(number=3), 0)
        await eventually("the next change", lambda: heard.last(make_record(number=2), make_record(number=3)))
        for number in (2, 3):
            await matchmaker.withdraw(make_record(number=number))
        await eventually("the end", heard.last)
        self.assertCountEqual(self.server.ask("KEYS", "*"), EMPTY)

    async def test_huge_expire(self):
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 1e30)
        await matchmaker.register(make_record(number=2), 1e-9)
        await pause(0.01)
        self.assertEqual(len(await matchmaker.lookup("openstack", "compute")), 1)

    async def test_later_release(self):
        """What a later release has added to a body, or roles that it has, are no trouble."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(role=Role.SERVER), 300)
        key, field = "zmqrpc:topic:openstack:compute", record_field(make_record())
        self.server.ask("HSET", key, field, self.topic()[field].replace("{", '{"weight":3,'))
        self.server.ask("HSET", key, "oracle:m:i:", self.topic()[field])
        self.assertEqual(len(await matchmaker.lookup("openstack", "compute")), 1)


class SecuredTests(RedisCase):
    """A server that asks who we are."""

    options = ("--requirepass", "s@/cret")

    def url(self, userinfo):
        return self.server.url.replace("//", f"//{userinfo}@") if userinfo else self.server.url

    async def test_password(self):
        matchmaker = self.matchmaker(self.url(":s%40%2Fcret") + "/2")
        await matchmaker.register(make_record(), 300)
        await self.watching(matchmaker, make_record())
        self.assertEqual(self.server.ask("DBSIZE", db=2), 4)

    async def test_wrong_password(self):
        """It is said so, once in the log and never with the password; when it is put right everything works."""
        matchmaker, heard = self.matchmaker(self.url(":wr0ng")), Heard()
        matchmaker.watch("openstack", "compute", heard)
        for _ in range(3):
            await self.refused(matchmaker.register(make_record(), 300), "refuses the user or the password", "WRONGPASS")
        self.assertEqual(len(self.lines), 1)
        self.assertNotIn("wr0ng", self.lines[0])
        self.server.ask("CONFIG", "SET", "requirepass", "wr0ng")
        await eventually("the watch hears", heard.last)
        await matchmaker.register(make_record(), 300)
        await eventually("the change", lambda: heard.last(make_record()))
        self.assertEqual(len(self.lines), 2)
        self.assertIn("works again", self.lines[1])

    async def test_no_password(self):
        await self.refused(self.matchmaker().register(make_record(), 300), "asks for a password")

    async def test_unknown_user(self):
        matchmaker = self.matchmaker(self.url("ada:secret"))
        await self.refused(matchmaker.register(make_record(), 300), "refuses the user or the password")

    async def test_least_rights(self):
        """A user with the rights that docs/howto/redis gives can do everything."""
        configuration = (CHECKOUT / "examples" / "redis" / "redis.conf").read_text()
        (rights,) = re.findall("^user zmqrpc on >change-me (~zmqrpc:.* -@all .*)$", configuration, re.MULTILINE)
        self.server.ask("ACL", "SETUSER", "zmqrpc", "on", ">secret", *rights.split())
        matchmaker = self.matchmaker(self.url("zmqrpc:secret") + "/1")
        heard = await self.watching(matchmaker)
        await matchmaker.register(make_record(), 300)
        await matchmaker.register(make_record(number=2), 0.2)
        await matchmaker.register(make_record("other"), 0.05)
        await eventually("both", lambda: heard.last(make_record(), make_record(number=2)))
        await eventually("the expiry", lambda: heard.last(make_record()))
        await matchmaker.records()
        await matchmaker.register(make_record(), 0)
        await matchmaker.withdraw(make_record())
        await eventually("the withdrawal", heard.last)
        self.assertEqual(self.lines, [])
        self.assertEqual(self.server.ask("ACL", "LOG"), [])

    async def test_read_only(self):
        """Who may only read looks up and hears, and is refused what it registers, for good."""
        await self.matchmaker(self.url(":s%40%2Fcret")).register(make_record(), 300)
        rights = "~zmqrpc:* &zmqrpc:* -@all +eval +time +get +hget +hlen +hgetall +subscribe +ping"
        self.server.ask("ACL", "SETUSER", "ada", "on", ">secret", *rights.split())
        matchmaker = self.matchmaker(self.url("ada:secret"))
        await self.watching(matchmaker, make_record())
        for _ in range(2):
            with self.assertRaises(ConfigError) as caught:
                await matchmaker.register(make_record(number=2), 300)
            self.assertIn("does not allow us what we need; give our user the rights", str(caught.exception))
        await self.refused(matchmaker.withdraw(make_record()), "does not allow us what we need")
        self.assertEqual(len(await matchmaker.lookup("openstack", "compute")), 1)
        self.assertEqual((self.lines, matchmaker.away()), ([], ""))

    async def test_channels_forbidden(self):
        """Who may not subscribe is told so once, and finds changes by looking."""
        self.server.ask("ACL", "SETUSER", "ada", "on", ">secret", "~zmqrpc:*", "resetchannels", "+@all")
        matchmaker, heard = self.matchmaker(self.url("ada:secret")), Heard()
        matchmaker.watch("openstack", "compute", heard)
        await eventually("the first call", heard.last)
        await pause(1)
        (line,) = self.lines
        self.assertIn("NOPERM", line)
        self.assertIn("docs/howto/redis", line)


class RenewedTests(RedisCase):
    async def test_during_the_password(self):
        """A connection that is given up while the server keeps silent about the password takes no question with it."""
        silent = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        secured = RedisServer(self, "--requirepass", "secret")
        ports = iter([silent.getHost().port, secured.port])
        asker = RedisAsker(
            reactor,
            lambda: connect(reactor, RedisPlace("127.0.0.1", next(ports), password=b"secret"), 5.0),
            "the server",
            Random(1),
            5.0,
        )
        self.addCleanup(asker.close)
        asked = asker.ask(("PING",))
        await pause(0.1)
        asker.renew()
        self.assertEqual(await asked, "PONG")


class WithoutPasswordTests(RedisCase):
    async def test_one_too_many(self):
        """A password where none is asked for is refused, rather than ignored."""
        matchmaker = self.matchmaker(self.server.url.replace("//", "//:secret@"))
        await self.refused(matchmaker.register(make_record(), 300), "takes no password, or not this one")
        self.assertEqual(self.server.ask("KEYS", "*"), [])

    async def test_no_such_database(self):
        matchmaker = self.matchmaker(f"{self.server.url}/99")
        await self.refused(matchmaker.register(make_record(), 300), "database 99", "DB index is out of range")
        self.assertEqual(self.server.ask("KEYS", "*"), [])


class OutageTests(RedisCase):
    """The server is away, hangs, or is no Redis."""

    async def test_killed(self):
        """What is asked fails at once; the log has one line, and one when it is back; a watch goes on."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.server.kill()
        for _ in range(5):
            begin = reactor.seconds()
            await self.refused(matchmaker.lookup("openstack", "compute"), "refuses the connection; start it")
            self.assertLess(reactor.seconds() - begin, 1)
            await pause(0.1)
        self.assertTrue(heard.last(make_record()), "nothing is known to be gone")
        self.assertIn(f"the Redis server 127.0.0.1:{self.server.port} ", matchmaker.away())
        self.assertEqual(matchmaker.failing(), [matchmaker.away()])
        self.server.start()
        await eventually("the loss", heard.last)
        await eventually("both lines", lambda: len(self.lines) == 2)
        self.assertIn("fails", self.lines[0])
        self.assertIn("works again", self.lines[1])
        await pause(0.3)
        self.assertEqual(len(self.lines), 2)
        self.assertEqual((matchmaker.away(), matchmaker.failing()), ("", []))

    async def test_hangs(self):
        """Everything that is asked fails in time, however much it is; when it goes on, so do we."""
        matchmaker = self.matchmaker(limit=0.3)
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.server.stop_answering()
        for _ in range(2):
            begin = reactor.seconds()
            asked = [matchmaker.lookup("openstack", f"topic-{number}") for number in range(3000)]
            said: list[str] = []
            for asking in asked:
                with self.assertRaises(MatchmakerUnavailable) as caught:
                    await asking
                said.append(str(caught.exception))
            late = sum("did not answer within 0.3 s" in text for text in said)
            refused = sum("100 questions wait" in text for text in said)
            # Each of those that wait has 25 topics; one may be that of the watch.
            self.assertEqual((late + refused, late in (2500, 2475)), (3000, True), late)
            self.assertLess(reactor.seconds() - begin, 5)
        self.assertIn(f"the Redis server 127.0.0.1:{self.server.port} ", matchmaker.away())
        self.server.answer_again()
        await matchmaker.lookup("openstack", "compute")
        self.assertEqual(len(self.lines), 2, self.lines)
        await self.matchmaker().register(make_record(number=2), 300)
        await eventually("the change", lambda: heard.last(make_record(), make_record(number=2)))

    async def test_hears_nothing(self):
        """A connection for channels that is dead without an end is noticed, and made anew."""
        from zmqrpc.matchmaker._redis import channels

        self.patch(channels, "PING_SECONDS", 0.2)
        self.server.ask("SET", "zmqrpc:format", "1")  # it is not new, so that nobody looks a second time
        matchmaker = self.matchmaker(limit=0.2)
        heard = await self.watching(matchmaker)
        self.server.stop_answering()
        await eventually("the line about the outage", lambda: self.lines)
        self.assertIn("no answer to PING", self.lines[0])
        self.server.answer_again()
        await self.matchmaker().register(make_record(), 300)
        await eventually("the change", lambda: heard.last(make_record()))

    async def test_kept_from_running(self):
        """A server is not unreachable because this process did not run for long."""
        self.server.ask("CONFIG", "SET", "requirepass", "secret")
        connecting = connect(reactor, RedisPlace("127.0.0.1", self.server.port, password=b"secret"), 0.2)
        time.sleep(0.3)
        connection = await connecting
        await connection.abort()

    async def test_idle_connections_closed(self):
        """What the server closes while nothing is asked is made anew, and nobody notices."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        for _ in range(3):
            self.server.ask("CLIENT", "KILL", "TYPE", "normal")
            self.assertEqual(len(await matchmaker.lookup("openstack", "compute")), 1)
        self.assertEqual(self.lines, [])

    async def test_channels_closed(self):
        """A change while nothing was heard is found when it is heard again."""
        matchmaker = self.matchmaker()
        heard = await self.watching(matchmaker)
        self.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await self.matchmaker().register(make_record(), 300)
        await eventually("the change", lambda: heard.last(make_record()))

    async def test_closed_while_it_hangs(self):
        matchmaker = self.matchmaker()
        await self.watching(matchmaker)
        self.server.stop_answering()
        asking = [matchmaker.register(make_record(), 300), matchmaker.lookup("openstack", "compute")]
        await matchmaker.close()
        for asked in asking:
            await self.refused(asked, "closed")
        await self.refused(matchmaker.lookup("openstack", "compute"), "is closed; make a new Node")
        self.assertEqual(self.lines, [])

    async def test_unknown_host(self):
        matchmaker = self.matchmaker("zmq+redis://no.such.host.invalid")
        await self.refused(matchmaker.lookup("openstack", "compute"), "no.such.host.invalid:6379")

    async def test_by_name(self):
        matchmaker = self.matchmaker(self.server.url.replace("127.0.0.1", "localhost"))
        await matchmaker.register(make_record(), 300)
        await self.watching(matchmaker, make_record())

    async def test_full(self):
        """A server without memory takes nothing, and goes on to answer."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        self.server.ask("CONFIG", "SET", "maxmemory", 1)
        await self.refused(matchmaker.register(make_record(number=2), 300), "no memory left", "OOM")
        self.server.ask("CONFIG", "SET", "maxmemory", 0)
        await matchmaker.register(make_record(number=2), 300)

    async def test_replica(self):
        self.server.ask("REPLICAOF", "127.0.0.1", 1)
        await self.refused(self.matchmaker().register(make_record(), 300), "is a replica", "READONLY")
