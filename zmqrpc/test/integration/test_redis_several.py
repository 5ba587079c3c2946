"""Nodes, servers and the command line with three Redis servers, which are killed and come back in turn."""

import time
from types import SimpleNamespace

from twisted.internet.defer import Deferred

from zmqrpc import Target
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.test.integration.nodes import Echo
from zmqrpc.test.integration.stores import LOOPBACK, StoreNodeCase
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.logs import LogLines
from zmqrpc.test.processes import ProcessTestCase, until
from zmqrpc.test.servers import RedisServer


def url_of(servers):
    return "zmq+redis://" + ",".join(f"{LOOPBACK}:{server.port}" for server in servers)


class SeveralNodeTests(StoreNodeCase):
    """In this process."""

    def start_store(self):
        self.servers = [RedisServer(self) for _ in range(3)]
        self.lost = LogLines(self, "zmqrpc.registrar")
        return SimpleNamespace(url=url_of(self.servers))

    def stored(self):
        """Return how many records of the test's topic each server that is up has."""
        key = f"zmqrpc:topic:openstack:{self.topic}"
        return [max(0, server.ask("HLEN", key) - 1) for server in self.servers]

    async def test_one_after_the_other(self):
        """Calls go on while each server is killed and comes back empty; in the end everything is everywhere again."""
        members = ["one", "two", "three"]
        for member in members:
            await self.serve(member=member)
        _, client = self.calling()
        await client.call(self.bare, "echo", {"value": -1}, timeout=5)
        known = await client.members(self.bare)
        calling, done = True, 0

        async def call():
            nonlocal done
            while calling:
                # Who fails a call, or gets a wrong answer, ends the test.
                self.assertEqual(await client.call(self.bare, "echo", {"value": done}, timeout=5), done)
                done += 1
                await pause(0.005)

        calls = Deferred.fromCoroutine(call())
        for server in self.servers:
            server.kill()
            await pause(0.4)
            late = Echo()
            node = await self.serve(late, member="late")
            await eventually("it is called", lambda ran=late.ran: ran)
            await node.stopService()
            server.start()
            begin = time.monotonic()
            await eventually("all are registered everywhere", lambda: self.stored() == [3, 3, 3])
            self.assertLess(time.monotonic() - begin, 5)  # 1.3 s at most on an idle machine
        calling = False
        await calls
        self.assertGreater(done, 100)
        self.assertEqual(await client.members(self.bare), known)
        self.assertEqual([line for line in self.lost if "may still list" not in line], [], "no registration was lost")
        self.assertEqual(len(self.lost), len(self.servers), "who stopped while one was away says so")

    async def test_all_but_an_empty_one(self):
        """Whoever does not know a topic yet is told that this cannot be known, and never that nobody is there."""
        await self.serve(member="one")
        _, client = self.calling()
        await client.call(self.bare, "echo", {"value": 1}, timeout=5)
        for server in self.servers:
            server.kill()
        await client.call(self.bare, "echo", {"value": 2}, timeout=5)
        self.servers[0].start()
        fresh = self.calling()[1]
        for _ in range(3):
            await self.assertEnds(
                MatchmakerUnavailable, fresh.call(Target("nobody"), "echo", timeout=5), "may not know yet who is there"
            )
        begin = time.monotonic()
        while True:
            try:
                await fresh.call(self.bare, "echo", {"value": 3}, timeout=5)
                break
            except MatchmakerUnavailable:
                self.assertLess(time.monotonic() - begin, 5)
                await pause(0.05)
        for server in self.servers[1:]:
            server.start()
        await eventually("all are registered everywhere", lambda: self.stored() == [1, 1, 1])
        await self.assertEnds(MatchmakerUnavailable, fresh.call(Target("nobody else"), "echo", timeout=5), "came back")

    async def test_emptied_in_turn(self):
        """FLUSHALL of one after the other takes nothing away, and each has everything again."""
        await self.serve(member="one")
        await self.serve(member="two")
        _, client = self.calling()
        for server in self.servers:
            await client.call(self.bare, "echo", {"value": 1}, timeout=5)
            server.ask("FLUSHALL")
            # The others are too young as well to be believed in that nobody is there.
            asked = client.call(Target(f"nobody at {server.port}"), "echo", timeout=5)
            await self.assertEnds(MatchmakerUnavailable, asked, "came back empty")
            await eventually("it has both again", lambda: self.stored() == [2, 2, 2])
        self.assertEqual((self.lines, self.lost), ([], []))

    async def test_withdrawn_while_one_is_away(self):
        """A server that stopped is not registered again by anybody."""
        node = await self.serve(member="one")
        await self.serve(member="two")
        self.servers[1].kill()
        await node.stopService()
        self.servers[1].start()
        await eventually("the other one", lambda: self.stored() == [1, 1, 1])
        await pause(0.6)
        self.assertEqual(self.stored(), [1, 1, 1])

    async def test_many_records(self):
        """A node with hundreds of records registers, and comes back, with a few operations."""
        node = self.node()
        for number in range(250):
            node.server(Target(f"{self.topic}-{number}", server="one"), [self.echo])
        node.startService()
        await node.when_ready()
        for server in self.servers:
            self.assertEqual(server.ask("ZCARD", "zmqrpc:topics"), 250)
        self.servers[2].restart()
        await eventually("all are there again", lambda: self.servers[2].ask("ZCARD", "zmqrpc:topics") == 250)
        self.assertLess(self.servers[2].calls()["eval"], 40)
        await node.stopService()
        self.assertEqual([server.ask("ZCARD", "zmqrpc:topics") for server in self.servers], [0, 0, 0])

    async def test_many_topics(self):
        """A client that begins to call hundreds of topics at once finds them all."""
        node = self.node()
        targets = [Target(f"{self.topic}-{number}") for number in range(300)]
        for target in targets:
            node.server(Target(target.topic, server="one"), [self.echo])
        node.startService()
        await node.when_ready()
        _, client = self.calling()
        asked = [client.call(target, "echo", {"value": number}, timeout=10) for number, target in enumerate(targets)]
        for number, answer in enumerate(asked):
            self.assertEqual(await answer, number)


class SeveralProcessTests(ProcessTestCase):
    """`twistd` and `zmqrpc` as users run them."""

    def test_two_of_three_away(self):
        """Servers start and are called; the log names each server that is away, once."""
        servers = [RedisServer(self) for _ in range(3)]
        url = f"{url_of(servers)}?rpc_zmq_bind_address={LOOPBACK}"
        for server in servers[:2]:
            server.kill()
        running = self.serve("--app", "examples.demo.calc:Calc", "--topic", "calc", "--server", "node-1", url=url)
        ended = self.run_to_end("zmqrpc", "call", "--url", url, "calc", "add", "a=1", "b=2")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        ended = self.run_to_end("zmqrpc", "call", "--url", url, "nobody", "add")
        self.assertEqual(ended.returncode, 6)
        self.assert_one_sentence("may not know yet who is there", ended.stderr)
        for server in servers[:2]:
            self.assertEqual(running.out.count(f"{server.port} fails:"), 1, running.out)
            server.start()
        for server in servers[:2]:
            running.says(f"{server.port} works again")
            until(lambda at=server: at.ask("HLEN", "zmqrpc:topic:openstack:calc") == 2, "it has the record")
        servers[2].kill()
        ended = self.run_to_end("zmqrpc", "call", "--url", url, "calc", "add", "a=1", "b=2")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertNotIn("Traceback", running.out)
