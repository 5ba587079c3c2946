"""Nodes, servers and the command line with real members of etcd, which are killed, hang, are emptied or not there."""

import os
import signal
import ssl
import subprocess
import time
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import NoRoute
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.certificates import Authority
from zmqrpc.test.etcd import EtcdCluster, allow, ask, single
from zmqrpc.test.integration.nodes import Echo
from zmqrpc.test.integration.stores import LOOPBACK, StoreNodeCase, StoreNodeTests, StoreProcessCase
from zmqrpc.test.integration.support import eventually, pause, reactor
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import CHECKOUT, until
from zmqrpc.test.programs import program
from zmqrpc.testing.matchmaker import Heard, make_record


class EtcdNodeTests(StoreNodeTests, StoreNodeCase):
    """One member."""

    def start_store(self):
        return single(self)

    def stored(self):
        return len(self.store.held(f"/zmqrpc/topic/openstack/{self.topic}/"))

    def ask_to_forget(self):
        self.store.ask("kv/deleterange", key="/zmqrpc/", range_end="/zmqrpc0")

    async def test_lease_withdrawn(self):
        """Who stops is gone from the store with its lease, and that of others is not touched."""
        node = await self.serve(member="one")
        await self.serve(member="two")
        self.assertEqual((self.stored(), len(self.store.ask("lease/leases")["leases"])), (2, 2))
        await node.stopService()
        self.assertEqual((self.stored(), len(self.store.ask("lease/leases")["leases"])), (1, 1))

    async def test_nobody(self):
        await self.assertEnds(NoRoute, self.calling()[1].call(Target("nobody"), "echo", timeout=5))

    async def test_refreshes(self):
        """Records are refreshed before they expire, nothing is written, and no watch hears of it."""
        for member in ("one", "two", "three"):
            await self.serve(member=member, zmq_target_expire=2, zmq_target_update=0.5)
        before = self.store.revision()
        await pause(4)
        self.assertEqual((self.stored(), self.store.revision()), (3, before))


class EtcdClusterNodeTests(StoreNodeCase):
    """Three members."""

    def start_store(self):
        return EtcdCluster(self)

    async def test_leader_killed(self):
        """Two hundred calls a second while the leader is killed: each is answered."""
        for member in ("one", "two"):
            await self.serve(member=member)
        _, client = self.calling()
        await self.calls(client, 5)
        answers = []
        for number in range(600):
            answers.append(client.call(self.bare, "echo", {"value": number}, timeout=5))
            if number == 100:
                self.store.leader().kill()
            await pause(0.005)
        self.assertEqual(await gatherResults(answers, consumeErrors=True), list(range(600)))
        three = Echo()
        await self.serve(three, member="three")
        begin = time.monotonic()
        while not three.ran:
            await client.call(self.bare, "echo", {"value": 1}, timeout=5)
            self.assertLess(time.monotonic() - begin, 5)

    async def test_leader_killed_and_nothing_said(self):
        """Whoever asks while there is no leader waits for one, within his time: nothing fails or is logged."""
        options = {"matchmaker_timeout": 4000, "zmq_target_update": 0.3, "zmq_target_expire": 2}
        await self.serve(member="one", **options)
        _, client = self.calling(**options)
        await self.calls(client, 5)
        self.store.leader().kill()
        starting = Deferred.fromCoroutine(self.serve(member="two", **options))
        begin = time.monotonic()
        while time.monotonic() - begin < 2:
            # Nobody has asked for this topic before, so the store is asked.
            looking = self.assertEnds(NoRoute, client.call(Target(f"new-{time.monotonic_ns()}"), "echo", timeout=5))
            self.assertEqual(await client.call(self.bare, "echo", {"value": 1}, timeout=5), 1)
            await looking
        await starting
        self.assertEqual(self.lines, [])


class EtcdProcessTests(StoreProcessCase):
    def start_store(self):
        return single(self)

    def stored(self):
        return list(self.store.held("/zmqrpc/topic/openstack/calc/"))

    def test_served_killed_and_withdrawn(self):
        """A server is called, another one is killed and expires, and who ends in good order is gone at once."""
        url = f"{self.url}&zmq_target_expire=2"
        killed = self.serve(*self.options, "node-1", url=url)
        running = self.serve(*self.options, "node-2")
        killed.kill()
        self.assertEqual(len(self.stored()), 2)
        status, out, err = self.zmqrpc("call", "calc", "add", "a=1", "b=2")
        self.assertEqual((status, err), (0, ""))
        self.assertIn('"sum": 3', out)
        until(lambda: len(self.stored()) == 1, "the record of the killed one is removed")
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertEqual(self.stored(), [])
        self.assertEqual(self.zmqrpc("call", "calc", "add", "a=1", "b=2")[0], 3)

    def test_starts_without_etcd(self):
        """The server runs, says what it waits for, and is ready when etcd is there; with which reactor is open."""
        self.store.kill()
        begin = time.monotonic()
        status, out, err = self.zmqrpc("call", "calc", "add", "a=1", "b=2")
        self.assertEqual((status, out), (6, ""), err)
        self.assert_one_sentence(f"the etcd server 127.0.0.1:{self.store.port} refuses the connection", err)
        self.assertLess(time.monotonic() - begin, 8)
        running = self.start(
            *("twistd", "--reactor", "asyncio", "-n", "--pidfile=", "zmq-rpc-server", "--url", self.url),
            *(*self.options, "node-1"),
        )
        running.says("refuses the connection; start it")
        self.assertNotIn("ready", running.out)
        self.store.start()
        running.says("ready: registered")
        self.assertEqual(self.zmqrpc("call", "calc", "add", "a=1", "b=2")[0], 0)
        running.says("works again")
        running.signal()
        running.ends()
        self.assertNotIn("Traceback", running.out)

    def test_refused_urls(self):
        for url, text in (
            ("zmq+etcd://:2379", "names no host, or has a comma too many"),
            ("zmq+etcd://a:99999", "has no valid host or no valid port"),
            ("zmq+etcd://secret@a", "names a user without a password"),
            ("zmq+etcd://:secret@a,b", "has a password without a user"),
            ("zmq+etcd://a,,b", "names no host, or has a comma too many"),
        ):
            self.assert_refuses(url, text)


class EtcdExampleTests(TestCase):
    """The cluster whose configuration docs/howto/etcd shows, with a user who has the rights that it names."""

    timeout = 60

    async def test_three_controllers(self):
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        authority = Authority(self)
        certificate, key = authority.issue(LOOPBACK)
        ports = {f"10.0.0.1{number}:{port}": free_port() for number in (1, 2, 3) for port in (2379, 2380)}
        text = (CHECKOUT / "examples" / "etcd" / "controller-1.env").read_text()
        for number in (1, 2, 3):
            own, rest = text.split("\n\n", 1)
            own = own.replace("controller-1", f"controller-{number}").replace("10.0.0.11", f"10.0.0.1{number}")
            whole = f"{own}\n{rest}"
            for old, new in {
                **{address: f"{LOOPBACK}:{port}" for address, port in ports.items()},
                "/var/lib/etcd/zmqrpc": f"{directory}/data-{number}",
                "/etc/etcd/controller.pem": certificate,
                "/etc/etcd/controller.key": key,
                "/etc/etcd/ca.pem": authority.certificate,
            }.items():
                whole = whole.replace(old, new)
            variables = [line.partition("=")[::2] for line in whole.splitlines() if line.startswith("ETCD_")]
            command = [program("etcd", "etcd-server"), "--unsafe-no-fsync", "--bcrypt-cost=4"]
            with open(directory / f"log-{number}", "wb") as log:
                member = subprocess.Popen(command, env={**os.environ, **dict(variables)}, stdout=log, stderr=log)
            self.addCleanup(member.wait, 20)
            self.addCleanup(member.kill)
        clients = [ports[f"10.0.0.1{number}:2379"] for number in (1, 2, 3)]
        context = ssl.create_default_context(cafile=authority.certificate)
        await self.begun(lambda: ask(f"https://{LOOPBACK}:{clients[0]}", "kv/range", 2, context=context, key="x"))
        allow(partial(ask, f"https://{LOOPBACK}:{clients[0]}", context=context), zmqrpc="READWRITE")
        url = f"zmq+etcd://zmqrpc:secret@{','.join(f'{LOOPBACK}:{port}' for port in clients)}"
        settings = Settings.from_url(url, matchmaker_tls=True, matchmaker_tls_ca=authority.certificate)
        mine, other = make_matchmaker(reactor, settings), make_matchmaker(reactor, settings)
        heard = Heard()
        for each in (mine, other):
            self.addCleanup(each.close)
        mine.watch("openstack", "compute", heard)
        await other.register(make_record(), 300)
        await eventually("it is told", lambda: heard.last(make_record()))
        self.assertEqual([sighting.record for sighting in await mine.records()], [make_record()])

    async def begun(self, ask):
        give_up = time.monotonic() + 30
        while True:
            try:
                return ask()
            except OSError:
                self.assertLess(time.monotonic(), give_up, "the cluster does not start")
                await pause(0.05)
