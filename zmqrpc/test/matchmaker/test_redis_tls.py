"""Redis and Sentinels by TLS, with certificates of all kinds."""

from typing import Any

from twisted.internet import reactor as _reactor

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.certificates import Authority
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.matchmaker.support import StoreCase
from zmqrpc.test.ports import free_port
from zmqrpc.test.sentinels import GROUP, PATIENCE, Sentinel
from zmqrpc.test.servers import RedisServer
from zmqrpc.testing.matchmaker import Heard, make_record

reactor: Any = _reactor


class TlsTests(StoreCase):
    timeout = 120
    logger = "zmqrpc.matchmaker"

    def setUp(self):
        super().setUp()
        self.authority = Authority(self)

    def words(self, certificate, *more):
        """Write the options of a server that speaks TLS at a port of its own; return that and the options."""
        port = free_port()
        path, key = certificate
        options = {"port": port, "cert-file": path, "key-file": key, "ca-cert-file": self.authority.certificate}
        return port, [word for name, value in options.items() for word in (f"--tls-{name}", str(value))] + [*more]

    def redis(self, certificate, *more):
        """Start a server; return it and its port for TLS."""
        port, words = self.words(certificate, *more)
        return RedisServer(self, *words), port

    def lines_of(self, certificate):
        """Write the same for the configuration of a Sentinel."""
        port, words = self.words(certificate, "--tls-replication", "yes")
        return port, [f"{key.removeprefix('--')} {value}" for key, value in zip(words[::2], words[1::2], strict=True)]

    def matchmaker(self, url, **options):
        tls = {"matchmaker_tls": True, "matchmaker_tls_ca": self.authority.certificate}
        return self.closing(make_matchmaker(reactor, Settings(url, **{"matchmaker_timeout": 700, **tls, **options})))

    async def works(self, matchmaker):
        await super().works(matchmaker)
        self.assertEqual(self.lines, [])

    async def is_refused(self, matchmaker, *texts, within=5):
        """Everything that is asked fails with this; the log says it once, and nothing is unhandled."""
        matchmaker.watch("openstack", "compute", Heard())
        for _ in range(2):
            begin = reactor.seconds()
            with self.assertRaises(MatchmakerUnavailable) as caught:
                await matchmaker.register(make_record(), 300)
            self.assertLess(reactor.seconds() - begin, within)
            for text in texts:
                self.assertIn(text, str(caught.exception))
            await pause(0.2)
        said = self.lines.about("the matchmaker in")
        self.assertEqual(len(said), 1, self.lines)
        await matchmaker.close()
        await pause(0.01)
        self.assertEqual(self.flushLoggedErrors(), [])
        del self.lines[:]

    async def test_certificates(self):
        """The right authority and name work; each that is wrong is named, and what to do."""
        server, port = self.redis(self.authority.issue("127.0.0.1"), "--tls-auth-clients", "no")
        url = f"zmq+redis://127.0.0.1:{port}"
        await self.works(self.matchmaker(url))
        server.ask("CONFIG", "SET", "requirepass", "secret")
        server.options += ["--requirepass", "secret"]
        await self.works(self.matchmaker(url.replace("//", "//:secret@") + "/2"))
        await self.is_refused(self.matchmaker(url), f"127.0.0.1:{port} (TLS) asks for a password")
        await self.is_refused(self.matchmaker(url.replace("//", "//:wr0ng@")), "refuses the user or the password")
        stranger = Authority(self, "strangers")
        for options, *texts in (
            (
                {"matchmaker_tls_ca": stranger.certificate},
                "has a certificate that is not accepted; check matchmaker_tls_ca",
                "certificate verify failed",
            ),
            ({"matchmaker_tls_ca": None}, "has a certificate that is not accepted"),
            ({"matchmaker_tls_name": "redis.example.org"}, "has a certificate for another name", "matchmaker_tls_name"),
        ):
            await self.is_refused(self.matchmaker(url, **options), f"the Redis server 127.0.0.1:{port} (TLS) ", *texts)
        _, expired = self.redis(self.authority.issue("127.0.0.1", days=-1), "--tls-auth-clients", "no")
        await self.is_refused(self.matchmaker(f"zmq+redis://127.0.0.1:{expired}"), "that is not accepted", "valid")

    async def test_name(self):
        """One name may be that of the certificates of all servers."""
        _, port = self.redis(self.authority.issue("redis.example.org"), "--tls-auth-clients", "no")
        url = f"zmq+redis://127.0.0.1:{port}"
        await self.works(self.matchmaker(url, matchmaker_tls_name="redis.example.org"))
        await self.is_refused(self.matchmaker(url), "has a certificate for another name")

    async def test_client_certificate(self):
        """A server may want to see who we are."""
        _, port = self.redis(self.authority.issue("127.0.0.1"))
        url = f"zmq+redis://127.0.0.1:{port}"
        mine, key = self.authority.issue("client")
        await self.works(self.matchmaker(url, matchmaker_tls_certificate=mine, matchmaker_tls_key=key))
        await self.is_refused(self.matchmaker(url), "wants to see a certificate; set matchmaker_tls_certificate")
        theirs, key = Authority(self, "strangers").issue("client")
        await self.is_refused(
            self.matchmaker(url, matchmaker_tls_certificate=theirs, matchmaker_tls_key=key),
            "does not accept our certificate",
        )

    async def test_only_one_side(self):
        """TLS that one side expects and the other does not is found out, and said."""
        server, port = self.redis(self.authority.issue("127.0.0.1"), "--tls-auth-clients", "no")
        plain = {"matchmaker_tls": False, "matchmaker_tls_ca": None}
        for user in ("", ":secret@"):
            url = f"zmq+redis://{user}127.0.0.1"
            await self.is_refused(
                self.matchmaker(f"{url}:{port}", **plain), f"127.0.0.1:{port} closed", "expects TLS (option"
            )
            await self.is_refused(
                self.matchmaker(f"{url}:{server.port}"), f"127.0.0.1:{server.port} (TLS) did not answer"
            )

    async def test_sentinel(self):
        """The master is reached by TLS as its Sentinels are, and both are believed only with the right certificate."""
        certificate = self.authority.issue("127.0.0.1")
        _, port = self.redis(certificate, "--tls-replication", "yes")
        sentinel_port, lines = self.lines_of(certificate)
        Sentinel(self, [f"sentinel monitor {GROUP} 127.0.0.1 {port} 1", *lines])
        url = f"zmq+sentinel://127.0.0.1:{sentinel_port}"
        mine, key = self.authority.issue("client")
        ours = {"matchmaker_tls_certificate": mine, "matchmaker_tls_key": key}
        await self.works(self.matchmaker(url, **ours))
        await self.is_refused(
            self.matchmaker(url), f"the Sentinel 127.0.0.1:{sentinel_port} (TLS) wants to see a certificate"
        )
        await self.is_refused(
            self.matchmaker(url, **ours, matchmaker_tls_ca=Authority(self, "strangers").certificate),
            f"the Sentinel 127.0.0.1:{sentinel_port} (TLS) has a certificate that is not accepted",
        )
        await self.is_refused(
            self.matchmaker(url, matchmaker_tls=False, matchmaker_tls_ca=None),
            f"the Sentinel 127.0.0.1:{sentinel_port} closed the connection",
            "whether it expects TLS (option matchmaker_tls)",
        )

    async def test_failover(self):
        """A master and its replica, and the Sentinels that make it the master, all by TLS, with one name for all."""
        certificate = self.authority.issue("controllers.example.org")
        options = ("--tls-replication", "yes", "--repl-diskless-sync-delay", "0")
        old, old_port = self.redis(certificate, *options)
        new, new_port = self.redis(certificate, *options, "--replicaof", f"127.0.0.1 {old_port}")
        await eventually("the replica follows", lambda: len(old.ask("ROLE")[2]) == 1)
        ours = [self.lines_of(certificate) for _ in range(3)]
        sentinels = []
        for port, lines in ours:
            known = [f"known-sentinel {GROUP} 127.0.0.1 {other} {other:040x}" for other, _ in ours if other != port]
            facts = [
                *(f"monitor {GROUP} 127.0.0.1 {old_port} 2", f"myid {port:040x}"),
                *(f"down-after-milliseconds {GROUP} 1000", f"known-replica {GROUP} 127.0.0.1 {new_port}", *known),
            ]
            sentinels.append(Sentinel(self, [*(f"sentinel {fact}" for fact in facts), *lines]))
        for sentinel in sentinels:
            await eventually(
                "it knows a replica that could be the master",
                lambda s=sentinel: [(r["flags"], r["master-link-status"]) for r in s.replicas()] == [("slave", "ok")],
                PATIENCE,
            )
        mine, key = self.authority.issue("client")
        matchmaker = self.matchmaker(
            f"zmq+sentinel://{','.join(f'127.0.0.1:{port}' for port, _ in ours)}",
            matchmaker_timeout=5000,
            matchmaker_tls_name="controllers.example.org",
            matchmaker_tls_certificate=mine,
            matchmaker_tls_key=key,
        )
        await self.works(matchmaker)
        key = "zmqrpc:topic:openstack:compute"
        await eventually("the replica has it", lambda: new.ask("EXISTS", key) == 1)
        old.kill()
        moved = f"has moved from 127.0.0.1:{old_port} to 127.0.0.1:{new_port}"
        await eventually("it has moved", lambda: self.lines.about(moved), PATIENCE)
        self.assertEqual(len(await matchmaker.lookup("openstack", "compute")), 1)
        await matchmaker.withdraw(make_record())
        self.assertEqual(await matchmaker.lookup("openstack", "compute"), [])
