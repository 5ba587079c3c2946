"""Nodes, servers and the command line with a real Redis server, which is killed, hangs, is emptied or not there."""

import contextlib
import signal
import time

from zmqrpc import Target
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.integration.stores import StoreNodeCase, StoreNodeTests, StoreProcessCase
from zmqrpc.test.integration.support import eventually, pause, reactor
from zmqrpc.test.processes import until
from zmqrpc.test.servers import RedisServer


class RedisNodeTests(StoreNodeTests, StoreNodeCase):
    """In this process."""

    def start_store(self):
        return RedisServer(self)

    def stored(self):
        length = self.store.ask("HLEN", f"zmqrpc:topic:openstack:{self.topic}")
        return max(0, length - 1)

    def ask_to_forget(self):
        self.store.ask("FLUSHALL")

    async def when_forgotten(self, client):
        await self.assertEnds(
            MatchmakerUnavailable, client.call(Target("somebody else"), "echo", timeout=5), "came back empty"
        )

    async def test_notifications(self):
        """Pools are found there, also one that comes later, and after the store has lost them."""
        heard = []

        class Ear:
            def info(self, context, publisher_id, event_type, payload, metadata):
                heard.append(payload)

        async def listen(pool):
            node = self.node()
            node.listener([self.bare], [Ear()], pool)
            node.startService()
            await node.when_ready()

        await listen(None)
        await listen("a:b%")
        node = self.node()
        node.startService()
        notifier = node.notifier("test", [self.bare])
        self.assertEqual(await notifier.info({}, "e", 1), 2)
        await listen("later")
        begin = time.monotonic()
        while await notifier.info({}, "e", 2) != 3:
            self.assertLess(time.monotonic() - begin, 5)
        self.store.ask("FLUSHALL")
        self.assertEqual(await notifier.info({}, "e", 3), 3)
        self.assertEqual((heard.count(1), heard.count(3)), (2, 3))

    async def test_emptied_and_new_here(self):
        """Who asks it first and has never asked it before finds everybody, or hears that it is not known."""
        await self.serve(member="one")
        for _ in range(3):
            self.store.ask("FLUSHALL")
            _, client = self.calling()
            with contextlib.suppress(MatchmakerUnavailable):
                await client.call(self.bare, "echo", {"value": 1}, timeout=5)
            _, client = self.calling()
            await self.assertEnds(
                MatchmakerUnavailable, client.call(Target("somebody else"), "echo", timeout=5), "came back empty"
            )
            await eventually("it is registered", lambda: self.stored() == 1)

    async def test_stop_while_it_hangs(self):
        """A stop waits for the store no longer than a question may take; the record goes when the store goes on."""
        node = await self.serve(member="one", matchmaker_timeout=300)
        self.store.stop_answering()
        begin = time.monotonic()
        await node.stopService()
        self.assertLess(time.monotonic() - begin, 5)  # 0.3 s on an idle machine
        self.store.answer_again()
        await eventually("the withdrawal", lambda: self.stored() == 0)

    async def test_stop_while_it_hangs_for_long(self):
        """So it does where a new connection and a password would be needed. What becomes of the record is open."""
        self.store = RedisServer(self, "--requirepass", "secret")
        url = self.store.url.replace("//", "//:secret@")
        node = await self.serve(member="one", url=url, matchmaker_timeout=300, zmq_target_update=0.2)
        lines = len(self.lines)
        self.store.stop_answering()
        await eventually("a refresh that was not answered", lambda: len(self.lines) > lines)
        begin = time.monotonic()
        await node.stopService()
        self.assertLess(time.monotonic() - begin, 5)
        self.store.answer_again()

    async def test_never_expires(self):
        for number, expire in enumerate((0, -1)):
            await self.serve(member=f"member-{number}", zmq_target_expire=expire)
        fields = self.store.ask("HGETALL", f"zmqrpc:topic:openstack:{self.topic}")
        self.assertEqual([value.split()[1] for value in fields[1::2] if b" " in value], [b"0", b"0"])

    async def test_refreshes(self):
        """Records are refreshed before they expire, not in step, and no watch hears of it."""
        matchmaker = make_matchmaker(reactor, Settings(self.store.url))
        self.addCleanup(matchmaker.close)
        heard: list[int] = []
        for member in ("one", "two", "three"):
            await self.serve(member=member, zmq_target_expire=1, zmq_target_update=0.4)
        matchmaker.watch("openstack", self.topic, lambda sightings: heard.append(len(sightings)))
        stamps = set()
        until_then = time.monotonic() + 2.5
        while time.monotonic() < until_then:
            for value in self.store.ask("HVALS", f"zmqrpc:topic:openstack:{self.topic}"):
                if b" " in value:
                    stamps.add(value.partition(b" ")[0])
            await pause(0.02)
        self.assertEqual((self.stored(), heard), (3, [3]))
        self.assertGreater(len(stamps), 12)


class RedisProcessTests(StoreProcessCase):
    def start_store(self):
        return RedisServer(self)

    def stored(self):
        return [field for field in self.store.ask("HKEYS", "zmqrpc:topic:openstack:calc") if field]

    def test_served_and_withdrawn(self):
        running = self.serve(*self.options, "node-1")
        status, out, err = self.zmqrpc("call", "calc", "add", "a=1", "b=2")
        self.assertEqual((status, err), (0, ""))
        self.assertIn('"sum": 3', out)
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertEqual(self.stored(), [])
        self.assertEqual(self.zmqrpc("call", "calc", "add", "a=1", "b=2")[0], 3)

    def test_pushed_to_another_process(self):
        """Who waits for somebody to listen hears of a server in another process."""
        caller = self.start(
            "zmqrpc", "call", "--url", self.url, "calc", "add", "a=1", "b=2", "--wait", "--timeout", "30"
        )
        channel = "zmqrpc:0:topic:openstack:calc"
        until(lambda: self.store.ask("PUBSUB", "NUMSUB", channel)[1] == 1, "the caller watches")
        self.serve(*self.options, "node-1")
        self.assertEqual(caller.ends(), 0, caller.err)
        self.assertIn('"sum": 3', caller.out)

    def test_killed_server_expires(self):
        """Whoever is killed is in the store until the record expires; meanwhile others answer."""
        url = f"{self.url}&zmq_target_expire=3"
        killed = self.serve(*self.options, "node-1", url=url)
        self.serve(*self.options, "node-2", url=url)
        killed.kill()
        self.assertEqual(len(self.stored()), 2)
        for _ in range(2):
            self.assertEqual(self.zmqrpc("call", "calc", "add", "a=1", "b=2")[0], 0)
        until(lambda: len(self.stored()) == 1, "the record of the killed one is removed")
        self.assertTrue(self.stored()[0].startswith(b"server:node-2:"))

    def test_starts_without_redis(self):
        """The server runs, says what it waits for, and is ready when Redis is there."""
        self.store.kill()
        running = self.start("twistd", "-n", "--pidfile=", "zmq-rpc-server", "--url", self.url, *self.options, "node-1")
        running.says("refuses the connection; start it")
        self.assertNotIn("ready", running.out)
        self.store.start()
        running.says("ready: registered")
        self.assertEqual(self.zmqrpc("call", "calc", "add", "a=1", "b=2")[0], 0)
        self.assertEqual(running.out.count("fails:"), 1, running.out)
        running.says("works again")
        self.assertNotIn("Traceback", running.out)

    def test_command_without_redis(self):
        """One line that names the server, status 6, at once."""
        self.store.kill()
        for command in ("call", "cast", "fanout"):
            begin = time.monotonic()
            status, out, err = self.zmqrpc(command, "calc", "add", "a=1", "b=2")
            self.assertEqual((status, out), (6, ""), err)
            self.assert_one_sentence(f"the Redis server 127.0.0.1:{self.store.port} refuses the connection", err)
            self.assertLess(time.monotonic() - begin, 8)

    def test_command_with_a_hanging_redis(self):
        self.store.stop_answering()
        begin = time.monotonic()
        status, _, err = self.zmqrpc("call", "calc", "add", "a=1", "b=2")
        self.assertEqual(status, 6, err)
        self.assert_one_sentence("did not answer within 1 s", err)
        self.assertLess(time.monotonic() - begin, 12)

    def test_command_with_a_wrong_password(self):
        self.store.ask("CONFIG", "SET", "requirepass", "right")
        url = self.store.url.replace("//", "//:wr0ng@")
        status, _, err = self.zmqrpc("call", "calc", "add", "a=1", "b=2", url=url)
        self.assertEqual(status, 6)
        self.assert_one_sentence("refuses the user or the password of the transport URL", err)
        self.assertNotIn("wr0ng", err)

    def test_refused_urls(self):
        for url, text in (
            ("zmq+redis://:6379", "names no host"),
            ("zmq+redis://:secret@a,b,a", "names a:6379 twice"),
            ("zmq+redis://a/x", "a database that is no number"),
        ):
            self.assert_refuses(url, text)
            ended = self.run_to_end("twistd", "-n", "--pidfile=", "zmq-rpc-server", "--url", url, *self.options, "n")
            self.assertEqual(ended.returncode, 2)
            self.assert_one_sentence(text, ended.stderr)

    def test_another_reactor(self):
        """Which reactor runs is not fixed by what we import."""
        for reactor_name in ("poll", "asyncio"):
            running = self.start(
                *("twistd", "--reactor", reactor_name, "-n", "--pidfile=", "zmq-rpc-server", "--url", self.url),
                *(*self.options, "node-1"),
            )
            running.says("ready: registered")
            self.assertEqual(self.zmqrpc("call", "calc", "add", "a=1", "b=2")[0], 0)
            running.signal()
            running.ends()
            self.assertNotIn("Traceback", running.out)
