"""The matchmaker in the master that Sentinels name, with real ones."""

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.integration.support import TcpServer, eventually, pause
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.support import StoreCase
from zmqrpc.test.ports import free_port
from zmqrpc.test.sentinels import GROUP, PATIENCE, Sentinel, shared_set
from zmqrpc.test.servers import RedisServer
from zmqrpc.testing.matchmaker import Heard, MatchmakerContract, make_record

reactor: Any = _reactor


class SharedSet(TestCase):
    """One master, two replicas and three Sentinels for all tests of a class, none of which ends any of them."""

    timeout = 120

    def setUp(self):
        super().setUp()
        self.set = shared_set(self)

    def made(self, url, **options):
        return make_matchmaker(reactor, Settings(url, **{"matchmaker_timeout": 2000, **options}))


class SentinelContract(MatchmakerContract, SharedSet):
    """The contract."""

    reactor = reactor
    shares_doubts = True

    def setUp(self):
        super().setUp()
        self.set.servers[0].ask("FLUSHALL")

    def make_matchmaker(self):
        return self.made(self.set.url)

    def make_unreachable(self):
        return self.made(f"zmq+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")

    async def lose_everything(self):
        # As after a failover to a replica that has nothing.
        self.set.servers[0].ask("FLUSHALL")
        self.set.servers[0].ask("CLIENT", "KILL", "TYPE", "pubsub")
        return True


class SharedSetCase(SharedSet, StoreCase):
    timeout = 120
    logger = "zmqrpc.matchmaker"

    def matchmaker(self, url, **options):
        return self.closing(self.made(url, **options))


class ErrorTests(SharedSetCase):
    """What is wrong is said in one sentence, in time."""

    async def test_nobody_answers(self):
        """Each Sentinel is named, with why it does not answer; the log says it once."""
        refusing, silent = free_port(), TcpServer(self).address.removeprefix("tcp://")
        url = f"zmq+sentinel://127.0.0.1:{refusing},{silent},no.such.host.invalid"
        matchmaker = self.matchmaker(url, matchmaker_timeout=500)
        for _ in range(3):
            begin = reactor.seconds()
            await self.refused(
                matchmaker.register(make_record(), 300),
                f"no Sentinel names the master {GROUP}: ",
                f"the Sentinel 127.0.0.1:{refusing} refuses the connection; start it",
                f"the Sentinel {silent} did not answer within 0.4 s",
                "the Sentinel no.such.host.invalid:26379 ",
            )
            self.assertLess(reactor.seconds() - begin, 5)
        self.assertEqual(len(self.lines.about("the matchmaker in the Redis master")), 1, self.lines)
        for host in (f"127.0.0.1:{refusing}", silent):
            await eventually(
                "it is said", lambda host=host: self.lines.about(f"listening to the Sentinel {host} fails")
            )

    async def test_unknown_group(self):
        await self.refused(
            self.matchmaker(f"{self.set.url}/nova").lookup("openstack", "compute"),
            "no Sentinel names the master nova",
            f"knows no master of that name, and knows {GROUP}; correct the end of the transport URL",
        )

    async def test_no_sentinel(self):
        """A server is taken for one; and somebody who is neither."""
        port, odd = self.set.servers[0].port, TcpServer(self, b"-PING\r\n*1\r\n$1\r\nx\r\n:5\r\n")
        for host, text in (
            (f"127.0.0.1:{port}", f"the Sentinel 127.0.0.1:{port} is no Sentinel; name one"),
            (odd.address.removeprefix("tcp://"), f"the Sentinel {odd.address.removeprefix('tcp://')} "),
        ):
            await self.refused(self.matchmaker(f"zmq+sentinel://{host}").lookup("openstack", "compute"), text)

    async def test_disagreement(self):
        """Two Sentinels that know nothing of each other name two masters."""
        one, other = RedisServer(self), RedisServer(self)
        sentinels = [Sentinel(self, [f"sentinel monitor {GROUP} 127.0.0.1 {s.port} 1"]) for s in (one, other)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        said = await self.refused(
            self.matchmaker(f"zmq+sentinel://{hosts}").lookup("openstack", "compute"), "the Sentinels disagree about"
        )
        for sentinel, server in zip(sentinels, (one, other), strict=True):
            self.assertIn(f"the Sentinel 127.0.0.1:{sentinel.port} names 127.0.0.1:{server.port}", said)

    async def test_replica(self):
        """A server that says itself that it is no master is not used, though a Sentinel names it."""
        replica = self.set.servers[1]
        stale = Sentinel(self, [f"sentinel monitor {GROUP} 127.0.0.1 {replica.port} 1"])
        matchmaker = self.matchmaker(f"zmq+sentinel://127.0.0.1:{stale.port}")
        await self.refused(
            matchmaker.register(make_record(), 300),
            f"the Redis server 127.0.0.1:{replica.port}, which Sentinels name as the master, is none",
        )

    async def test_source(self):
        """Whoever looks at a record is told in which server it is just now."""
        matchmaker = self.matchmaker(self.set.url)
        await matchmaker.register(make_record(), 300)
        (listed,) = await matchmaker.records()
        (found,) = await matchmaker.lookup("openstack", "compute")
        where = f"127.0.0.1:{self.set.servers[0].port} (oslo-messaging-zeromq)"
        self.assertEqual((listed.source, found.source), (where, where))
        await matchmaker.withdraw(make_record())

    async def test_too_few_replicas(self):
        master = self.set.servers[0]
        self.addCleanup(master.ask, "CONFIG", "SET", "min-replicas-to-write", 0)
        master.ask("CONFIG", "SET", "min-replicas-to-write", 3)
        matchmaker = self.matchmaker(self.set.url)
        await self.refused(matchmaker.register(make_record(), 300), "too few replicas follow it", "NOREPLICAS")
        master.ask("CONFIG", "SET", "min-replicas-to-write", 2)
        await matchmaker.register(make_record(), 300)

    async def test_some_away(self):
        """One Sentinel that answers is enough; those that do not are named in the log, once each."""
        (host, *_) = self.set.hosts.split(",")
        silent = TcpServer(self).address.removeprefix("tcp://")
        matchmaker = self.matchmaker(f"zmq+sentinel://{silent},{host},127.0.0.1:{free_port()}")
        begin = reactor.seconds()
        await matchmaker.register(make_record(), 300)
        self.assertLess(reactor.seconds() - begin, 1.5)  # 0.5 s on an idle machine
        await eventually("both are named", lambda: len(self.lines) == 2)
        self.assertEqual(self.lines.about("the matchmaker in"), [])
        self.assertEqual(matchmaker.away(), "")
        self.assertCountEqual([silent in text for text in matchmaker.failing()], [True, False])


class SecuredTests(StoreCase):
    """Sentinels and servers that ask who we are."""

    timeout = 120
    logger = "zmqrpc.matchmaker"

    def sentinel(self, server, *lines):
        watch = [f"sentinel monitor {GROUP} 127.0.0.1 {server.port} 1", f"sentinel auth-pass {GROUP} s@/cret", *lines]
        return Sentinel(self, watch)

    def matchmaker(self, sentinel, userinfo="", **options):
        url = f"zmq+sentinel://{userinfo}127.0.0.1:{sentinel.port}"
        return self.closing(make_matchmaker(reactor, Settings(url, matchmaker_timeout=2000, **options)))

    async def is_refused(self, matchmaker, *texts):
        for _ in range(2):
            with self.assertRaises(MatchmakerUnavailable) as caught:
                await matchmaker.register(make_record(), 300)
            for text in texts:
                self.assertIn(text, str(caught.exception))
        await pause(0.3)
        self.assertEqual([line for line in self.lines if "cret" in line or "wr0ng" in line], [])
        self.assertEqual(len(self.lines.about("the matchmaker in")), 1, self.lines)
        await matchmaker.close()
        del self.lines[:]

    async def test_passwords(self):
        server = RedisServer(self, "--requirepass", "s@/cret")
        open_, asking = self.sentinel(server), self.sentinel(server, "requirepass sent1nel")
        url = ":s%40%2Fcret@"
        await self.works(self.matchmaker(open_, url))
        await self.works(self.matchmaker(asking, url, redis_sentinel_password="sent1nel"))
        await self.works(self.matchmaker(self.sentinel(server, "requirepass s@/cret"), url))
        await self.is_refused(
            self.matchmaker(asking, url, redis_sentinel_password="wr0ng"),
            "refuses the user or the password that it was told",
            "sentinel_user and sentinel_password in [matchmaker_redis]",
        )
        await self.is_refused(
            self.matchmaker(asking, ":wr0ng@"), f"the Sentinel 127.0.0.1:{asking.port} refuses the user"
        )
        await self.is_refused(self.matchmaker(asking), "asks for a password; set the options sentinel_user")
        await self.is_refused(
            self.matchmaker(open_, url, redis_sentinel_password="wr0ng"), "takes no password, or not this one"
        )
        await self.is_refused(
            self.matchmaker(open_, ":wr0ng@"),
            f"the Redis server 127.0.0.1:{server.port} refuses the user or the password of the transport URL",
        )
        server.ask("ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all", "-role")
        await self.is_refused(self.matchmaker(open_, "ada:secret@"), "does not allow us ROLE", "docs/howto/sentinel")
        await self.is_refused(self.matchmaker(open_), f"the Redis server 127.0.0.1:{server.port} asks for a password")


class AbsentTests(TestCase):
    timeout = 120

    async def test_everything_absent(self):
        """Nothing is there at the begin, and everything works when it has come; the log says both once."""
        lines = LogLines(self, "zmqrpc.matchmaker")
        server = RedisServer(self)
        sentinel = Sentinel(self, [f"sentinel monitor {GROUP} 127.0.0.1 {server.port} 1"])
        for each in (server, sentinel):
            each.kill()
        matchmaker = make_matchmaker(reactor, Settings(f"zmq+sentinel://127.0.0.1:{sentinel.port}"))
        self.addCleanup(matchmaker.close)
        heard = Heard()
        matchmaker.watch("openstack", "compute", heard)
        await eventually("both lines", lambda: len(lines) == 2)
        sentinel.start()
        await eventually("it hears", lambda: lines.about("listening to the Sentinel") and len(lines) == 3)
        # What the Sentinel was asked before it was there is forgotten a moment later.
        await pause(0.2)
        with self.assertRaises(MatchmakerUnavailable) as caught:
            await matchmaker.register(make_record(), 300)
        self.assertIn(f"the Redis server 127.0.0.1:{server.port} refuses the connection", str(caught.exception))
        server.start()
        await eventually("the first call", heard.last, PATIENCE)
        await matchmaker.register(make_record(), 300)
        await eventually("the change", lambda: heard.last(make_record()))
        await pause(0.3)
        self.assertEqual(len(lines), 4, lines)
