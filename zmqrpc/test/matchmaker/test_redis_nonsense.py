"""What the matchmaker in Redis makes of a server that answers nonsense, and of keys and values that are not ours."""

from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker import _entry, make_matchmaker
from zmqrpc.matchmaker._redis import protocol
from zmqrpc.matchmaker._redis.connection import connect
from zmqrpc.matchmaker._redis.names import join, record_field
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker.redis import redis_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.nonsense import LOOPBACK, NonsenseServer
from zmqrpc.test.matchmaker.support import everything
from zmqrpc.test.servers import RedisServer
from zmqrpc.testing.matchmaker import Heard, make_record

reactor: Any = _reactor

KEY = "zmqrpc:topic:openstack:compute"
GOOD = '{"addresses":["tcp://h:1"]}'


class NonsenseTests(TestCase):
    """Each question ends, with an error that names the server; nothing is logged but the outage."""

    timeout = 60

    async def ends(self, answer, *texts, password=None, **server):
        """Ask a server with this answer, in every way."""
        lines = LogLines(self, "zmqrpc")
        nonsense = NonsenseServer(self, reactor, answer, **server)
        place = RedisPlace(LOOPBACK, nonsense.port, password=password)
        matchmaker, heard = redis_matchmaker(reactor, [place], 0.3, Random(1)), Heard()
        self.addCleanup(matchmaker.close)
        matchmaker.watch("openstack", "compute", heard)
        for ask in everything(matchmaker):
            begin = reactor.seconds()
            with self.assertRaises(MatchmakerUnavailable) as caught:
                await ask()
            self.assertLess(reactor.seconds() - begin, 3)
            self.assertIn(f"the Redis server {LOOPBACK}:{nonsense.port} ", str(caught.exception))
            self.assertTrue(not texts or any(text in str(caught.exception) for text in texts), caught.exception)
            self.assertNotIn("s3cret", str(caught.exception))
            self.assertTrue(str(caught.exception).isprintable())
        await pause(0.2)
        await matchmaker.close()
        self.assertEqual(heard.calls, [])
        self.assertEqual(len(lines), 1, lines)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_web_server(self):
        text = "answered 'HTTP/1.1 400 Bad Request', which is no answer of Redis; see who listens there"
        await self.ends(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", text)

    async def test_ssh_server(self):
        await self.ends(b"SSH-2.0-OpenSSH_9.2\r\n", "answered 'SSH-2.0-OpenSSH_9.2', which is no answer of Redis")

    async def test_expects_tls(self):
        await self.ends(b"\x15\x03\x03\x00\x02\x02\x28", "expects TLS; set the option matchmaker_tls")

    async def test_says_the_password(self):
        await self.ends(b"you said s3cret\r\n", "answered what is no answer of Redis", password=b"s3cret")

    async def test_any_bytes(self):
        await self.ends(bytes(range(256)) * 3 + b"\r\n", "no answer of Redis")
        await self.ends(b"\xff\x00\x1b" * 1000, r"answered '\xff\x00\x1b\xff\x00")

    async def test_silence(self):
        await self.ends(b"", "did not answer within 0.3 s")

    async def test_silence_to_a_new_connection(self):
        """It may take longer than an answer, so it is said what was waited for."""
        port = NonsenseServer(self, reactor, b"").port
        place = RedisPlace(LOOPBACK, port, password=b"s3cret")
        with self.assertRaises(MatchmakerUnavailable) as caught:
            await connect(reactor, place, 0.3)
        self.assertEqual(
            str(caught.exception), f"the Redis server {LOOPBACK}:{port} did not answer within 0.3 s of connecting"
        )

    async def test_half_an_answer(self):
        await self.ends(b"$1000\r\nabc", "did not answer within 0.3 s", "closed the connection")

    async def test_half_a_list(self):
        await self.ends(b"*3\r\n$1\r\na\r\n", "did not answer within 0.3 s", "closed the connection", "no answer")

    async def test_hangs_up(self):
        await self.ends(b"", "closed the connection", hangs_up=True)

    async def test_says_something_and_hangs_up(self):
        await self.ends(b"+OK\r\n", "answered what is no answer", "closed the connection", hangs_up=True)

    async def test_other_types(self):
        """Answers of Redis, to other questions than ours."""
        for answer in (b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"$2\r\n\xc1\xc1\r\n", b"$0\r\n\r\n"):
            await self.ends(answer, "answered what is no answer")

    async def test_errors(self):
        for answer, text in (
            (
                b"-ERR unknown command 'EVAL'\r\n",
                "has no such command; where it is a Sentinel, write zmq+sentinel://HOST",
            ),
            (b"-\r\n", "refuses what it was asked"),
            (b"-" + b"x" * 10_000 + b"\r\n", "x" * 200),
            (b"-\xff\xfe \r\n", "answered what is no answer of Redis; see who listens there"),
            (b"-\x00\x1b[31m\r\n", "refuses what it was asked"),
        ):
            await self.ends(answer, text)

    async def test_no_login(self):
        await self.ends(b"-ERR unknown command 'AUTH', with args beginning with: 's3cret'\r\n", password=b"s3cret")

    async def test_impossible_lengths(self):
        for answer in (b"$99999999999999999999\r\nabc\r\n", b"*99999999999\r\n", b"$-5\r\n", b"$x\r\n", b":x\r\n"):
            await self.ends(answer)

    async def test_endless_line(self):
        await self.ends(b"x" * 65536, "no answer of Redis", endless=True)

    async def test_endless_string(self):
        self.patch(protocol, "LARGEST_ANSWER", 2**20)
        await self.ends(b"$1000000000\r\n" + b"x" * 65536, endless=True)

    async def test_endless_answers(self):
        """To questions that nobody has asked."""
        await self.ends(b"+OK\r\n" * 100, endless=True)

    async def test_sentinel(self):
        """One that says yes to everything is one outage of the Sentinel, and one of the master that nobody names."""
        lines = LogLines(self, "zmqrpc.matchmaker._outage.Outage")
        nonsense = NonsenseServer(self, reactor, b"+OK\r\n" * 5)
        url = f"zmq+sentinel://{LOOPBACK}:{nonsense.port}"
        matchmaker: Any = make_matchmaker(reactor, Settings(url, matchmaker_timeout=300))
        self.addCleanup(matchmaker.close)
        matchmaker.watch("openstack", "compute", Heard())
        for _ in range(15):
            with self.assertRaises(MatchmakerUnavailable):
                await matchmaker.lookup("openstack", "compute")
            await pause(0.1)
        await matchmaker.close()
        self.assertEqual(len([line for line in lines if "listening to the Sentinel" in line]), 1, lines)
        self.assertEqual(len(lines), 2, lines)

    async def test_one_of_three(self):
        """Where others answer it is only a line in the log."""
        lines = LogLines(self, "zmqrpc")
        servers = [RedisServer(self) for _ in range(2)]
        ports = [NonsenseServer(self, reactor, b"+OK\r\n").port, *(server.port for server in servers)]
        matchmaker = redis_matchmaker(reactor, [RedisPlace(LOOPBACK, port) for port in ports], 0.3, Random(1))
        heard = Heard()
        matchmaker.watch("openstack", "compute", heard)
        await matchmaker.register(make_record(), 300)
        (found,) = await matchmaker.lookup("openstack", "compute")
        self.assertEqual(found.record, make_record())
        await eventually("the watch", lambda: heard.last(make_record()))
        with self.assertRaises(MatchmakerUnavailable) as caught:
            await matchmaker.withdraw(make_record())
        self.assertIn(f"{LOOPBACK}:{ports[0]} answered what is no answer of Redis", str(caught.exception))
        await eventually("the withdrawal", lambda: heard.calls[-1] == [] or heard.last())
        await matchmaker.close()
        (line,) = lines
        self.assertIn(f"{LOOPBACK}:{ports[0]}", line)


class StrangeContentTests(TestCase):
    """What others have written under our keys."""

    timeout = 60

    def setUp(self):
        self.server = RedisServer(self)
        self.lines = LogLines(self, "zmqrpc.matchmaker")
        place = RedisPlace(LOOPBACK, self.server.port)
        self.matchmaker = redis_matchmaker(reactor, [place], 2.0, Random(1))
        self.addCleanup(self.matchmaker.close)

    async def refused(self, asked, *texts):
        with self.assertRaises(MatchmakerUnavailable) as caught:
            await asked
        for text in (f"the Redis server {LOOPBACK}:{self.server.port}", *texts):
            self.assertIn(text, str(caught.exception))

    def put(self, field, body, key=KEY):
        seconds, _ = map(int, self.server.ask("TIME"))
        self.server.ask("HSET", key, field, f"{seconds * 1000} 300000 {body}")

    async def test_one_spoiled_topic(self):
        """It is refused with its key, logged once, and in nobody's way, whatever is asked with it."""
        self.server.ask("RPUSH", KEY, "a", "list")
        good = [make_record(f"topic-{number}") for number in range(60)]
        asked = [self.matchmaker.register(record, 300) for record in good[:30]]
        spoiled = self.matchmaker.register(make_record(), 300)
        asked += [self.matchmaker.register(record, 300) for record in good[30:]]
        await gatherResults(asked)
        await self.refused(spoiled, f"something under our keys that is not ours, {KEY};", "WRONGTYPE")
        lookups = [self.matchmaker.lookup("openstack", record.topic) for record in good]
        await self.refused(self.matchmaker.lookup("openstack", "compute"), KEY)
        await self.refused(self.matchmaker.withdraw(make_record()), KEY)
        answers: Any = await gatherResults(lookups)
        found = [sightings[0].record for sightings in answers]
        self.assertEqual(found, good)
        heard = Heard()
        self.matchmaker.watch("openstack", "compute", heard)
        await pause(0.5)
        self.assertEqual(len([line for line in self.lines if KEY in line]), 1, self.lines)
        self.assertEqual(len(self.lines), 1, "and it is no outage")
        self.server.ask("ZADD", "zmqrpc:topics", "inf", "openstack:compute")
        self.assertEqual(len(await self.matchmaker.records()), 60)
        (told,) = self.matchmaker.failing()
        self.assertIn(f"the Redis server {LOOPBACK}:{self.server.port} has something under our keys", told)
        self.assertIn(f"{KEY}; remove it", told)
        self.assertEqual((self.matchmaker.away(), len(self.lines)), ("", 1))
        self.server.ask("DEL", KEY)
        await self.matchmaker.records()
        self.assertEqual(self.matchmaker.failing(), [])
        await self.matchmaker.register(make_record(), 300)
        await eventually("the watch goes on", lambda: heard.last(make_record()))

    async def test_common_keys(self):
        """Those that everything needs: every question is refused, with the key."""
        for key in ("zmqrpc:topics", "zmqrpc:format", "zmqrpc:since"):
            self.server.ask("FLUSHALL")
            await self.matchmaker.register(make_record(), 300)
            self.server.ask("DEL", key)
            self.server.ask("HSET", key, "a", "b")
            await self.refused(self.matchmaker.register(make_record(), 300), "something under our keys", key)
            if key != "zmqrpc:topics":
                await self.refused(self.matchmaker.lookup("openstack", "compute"), "something under our keys", key)
            await self.refused(self.matchmaker.records(), "something under our keys", key)

    async def test_forbidden_key(self):
        """Who may not touch one topic is refused there only."""
        self.server.ask("ACL", "SETUSER", "ada", "on", ">secret", "~zmqrpc:topic:nova:*", "&*", "+@all")
        for key in ("format", "topics", "since"):
            self.server.ask("ACL", "SETUSER", "ada", f"~zmqrpc:{key}")
        place = RedisPlace(LOOPBACK, self.server.port, user=b"ada", password=b"secret")
        matchmaker = redis_matchmaker(reactor, [place], 2.0, Random(1))
        self.addCleanup(matchmaker.close)
        allowed = matchmaker.register(make_record(exchange="nova"), 300)
        with self.assertRaises(ConfigError) as caught:
            await matchmaker.register(make_record(), 300)
        self.assertIn(f"does not allow us the key {KEY}; give our user", str(caught.exception))
        await allowed
        self.assertEqual(len(await matchmaker.lookup("nova", "compute")), 1)
        self.assertEqual([line for line in self.lines if "fails" in line], [])

    async def test_forbidden_own_key(self):
        """Who may not touch what all topics share is told which keys these are."""
        self.server.ask("ACL", "SETUSER", "eve", "on", ">secret", "~zmqrpc:topic:*", "~zmqrpc:format", "&*", "+@all")
        place = RedisPlace(LOOPBACK, self.server.port, user=b"eve", password=b"secret")
        matchmaker = redis_matchmaker(reactor, [place], 2.0, Random(1))
        self.addCleanup(matchmaker.close)
        asked = (matchmaker.register(make_record(), 300), matchmaker.lookup("a", "b"), matchmaker.records())
        for answer in asked:
            with self.assertRaises((ConfigError, MatchmakerUnavailable)) as caught:
                await answer
            self.assertIn("one of the keys zmqrpc:format, zmqrpc:topics, zmqrpc:since", str(caught.exception))

    async def test_strange_entries(self):
        """They are skipped, each logged once in a short line, and the rest is read."""
        self.patch(_entry, "_said", {})
        await self.matchmaker.register(make_record(), 300)
        for field, body in (
            ("", "not a version"),
            ("42", "42"),
            (join(("server", "", "i", "")), GOOD),
            (join(("server", "m\n\x1b[31m", "i", "")), GOOD),
            (join(("server", "m" * 10_000, "i", "")), GOOD),
            (join(("server", "m", "no addresses", "")), "{}"),
            (join(("server", "m", "empty addresses", "")), '{"addresses":[]}'),
            (join(("server", "m", "numbers", "")), '{"addresses":[1]}'),
            (join(("server", "m", "a list", "")), "[]"),
            (join(("server", "m", "versions", "")), GOOD.replace("}", ',"versions":[3,1]}')),
            (join(("server", "m", "no json", "")), "{"),
            (join(("server", "m", "deep", "")), "[" * 5000),
            ("server:a:b:c:d:e", GOOD),
        ):
            self.put(field, body)
        self.server.ask("HSET", KEY, "server:x:y:", "-5 300000 {}")
        self.server.ask("HSET", KEY, "server:x:z:", "99999999999999999999999 1 {}")
        said = 0
        for _ in range(3):
            for sightings in (await self.matchmaker.lookup("openstack", "compute"), await self.matchmaker.records()):
                self.assertEqual([sighting.record for sighting in sightings], [make_record()])
            if not said:
                said = len(self.lines)
        self.assertEqual(len(self.lines), said, "each once")
        self.assertLess(max(map(len, self.lines)), 1000)
        self.assertEqual([line for line in self.lines if not line.isprintable()], [])
        begin = (
            f"the Redis server {LOOPBACK}:{self.server.port} holds malformed records of compute in exchange openstack, "
        )
        self.assertEqual([line for line in self.lines if not line.startswith(begin)], [])
        self.assertEqual([line for line in self.lines if f"; the first is {KEY} " not in line], [])
        await self.matchmaker.register(make_record(number=2), 300)
        self.assertEqual(len(await self.matchmaker.lookup("openstack", "compute")), 2)

    async def test_strange_topics(self):
        """Names that no record may have, in the list of topics."""
        await self.matchmaker.register(make_record(), 300)
        for name in (
            b"",
            b":",
            b"a",
            b"a:b:c",
            b"42",
            b"\xff:\xff",
            b"x:" + b"y" * 10_000,
            b"a:\n\x1b[31m",
            b"none:there",
        ):
            self.server.ask("ZADD", "zmqrpc:topics", "inf", name)
            if name != b"none:there":
                self.put(record_field(make_record()), GOOD, b"zmqrpc:topic:" + name)
        (sighting,) = await self.matchmaker.records()
        self.assertEqual(sighting.record, make_record())
        self.assertLess(max(map(len, self.lines), default=0), 1000)
        self.assertEqual([line for line in self.lines if not line.isprintable()], [])

    async def test_strange_spoiled_topics(self):
        """Keys of another type, for names that no topic may have: a short line each, that nobody can do harm with."""
        names = [b"a:\n\x1b[31m", b"x:" + b"y" * 10_000, "x:\u202e".encode(), b"x:%zz"]
        await self.matchmaker.register(make_record(), 300)
        for name in names:
            self.server.ask("ZADD", "zmqrpc:topics", "inf", name)
            self.server.ask("RPUSH", b"zmqrpc:topic:" + name, "a list")
        for _ in range(2):
            self.assertEqual([each.record for each in await self.matchmaker.records()], [make_record()])
        self.assertEqual(len(self.lines), len(names), self.lines)
        for line in [*self.lines, *self.matchmaker.failing()]:
            self.assertTrue(line.isprintable() and len(line) < 1000, line)
            self.assertIn(f"the Redis server {LOOPBACK}:{self.server.port} has something under our keys", line)
            self.assertIn("zmqrpc:topic:", line)

    async def test_strange_numbers(self):
        """Times and versions that are none, or too large, spoil at most their entry; neighbours are read and told."""
        other = make_record("other")
        await self.matchmaker.register(other, 300)
        digits = "9" * 400
        strange = [("", value) for value in ("inf", "nan", "-5", "1.5", "0x10", "1e400", "1e300", "9" * 25, digits, "")]
        strange += [
            ("server:x:z:", f"{stamp} {lasts} {GOOD}")
            for stamp in ("1", "9" * 17, "9" * 25, digits)
            for lasts in ("0", "9" * 16, "9" * 17, "9" * 25, digits)
        ]
        for field, value in strange:
            self.server.ask("DEL", KEY)
            await self.matchmaker.register(make_record(), 300)
            self.server.ask("HSET", KEY, field, value)
            heard = Heard()
            stop = self.matchmaker.watch("openstack", "compute", heard)
            asked = [self.matchmaker.lookup("openstack", name) for name in ("compute", "other")]
            found: Any = await gatherResults(asked)
            self.assertEqual([[each.record for each in some] for some in found], [[make_record()], [other]], value)
            self.assertEqual([each.record for each in await self.matchmaker.records()], [make_record(), other], value)
            await eventually("the watch", lambda heard=heard: heard.last(make_record()))
            await self.matchmaker.register(make_record(number=2), 300)
            await eventually("what is new", lambda heard=heard: heard.last(make_record(), make_record(number=2)))
            await self.matchmaker.withdraw(make_record(number=2))
            stop()
        for since in ("inf", "x", "-1", f"1 {digits}", f"{digits} 1", "9" * 17):
            self.server.ask("SET", "zmqrpc:since", since)
            self.assertEqual([each.record for each in await self.matchmaker.lookup("openstack", "other")], [other])
        self.assertEqual([line for line in self.lines if " malformed records of compute " not in line], [])
        self.assertEqual((self.matchmaker.away(), self.matchmaker.failing()), ("", []))

    async def test_names_like_numbers(self):
        record = make_record("42", member="1e3", exchange="0", pool="-0")
        await self.matchmaker.register(record, 300)
        await self.matchmaker.register(make_record("42.0", exchange="0"), 300)
        self.assertEqual([one.record for one in await self.matchmaker.lookup("0", "42")], [record])

    async def test_later_version(self):
        """What a later release adds to a record, a role or a key is passed over in silence."""
        await self.matchmaker.register(make_record(), 300)
        self.put(record_field(make_record(number=2)), GOOD.replace("}", ',"weight":3,"more":{"a":[1]}}'))
        self.put("oracle:m:i:", GOOD)
        self.server.ask("SET", "zmqrpc:something", "new")
        self.assertEqual(len(await self.matchmaker.lookup("openstack", "compute")), 2)
        self.assertEqual(len(await self.matchmaker.records()), 2)
        self.assertEqual(self.lines, [])
