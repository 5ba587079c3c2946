"""Nodes that call each other while Sentinels make another server the master."""

import json
import os
import time
from typing import Any

from twisted.internet.task import LoopingCall

from zmqrpc import Target
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.integration.nodes import NodeCase
from zmqrpc.test.integration.support import eventually, pause, reactor
from zmqrpc.test.logs import LogLines
from zmqrpc.test.sentinels import GROUP, PATIENCE, Sentinel, SentinelSet, Switches
from zmqrpc.testing.matchmaker import make_record

DOWN_AFTER = float(os.environ.get("DOWN_AFTER", "1"))
SLOW = 10
"""Seconds that may pass on a busy machine where an idle one takes some tenths; what is measured is in docs/adr/0034."""


class Load:
    """
    Calls at a steady rate.

    :ivar failed: what calls have ended with that were not answered.
    """

    def __init__(self, client, target, rate=200):
        self.answered = 0
        self.failed: list[Any] = []
        self._client, self._target = client, target
        self._waiting = 0
        self._loop = LoopingCall(self._call)
        self._loop.start(1 / rate)

    def _call(self):
        self._waiting += 1
        calling = self._client.call(self._target, "echo", {"value": 1}, timeout=10)
        calling.addCallbacks(self._answered, self.failed.append).addBoth(self._over)

    def _answered(self, _):
        self.answered += 1

    def _over(self, _):
        self._waiting -= 1

    async def stop(self):
        if self._loop.running:
            self._loop.stop()
        await eventually("the last answers", lambda: not self._waiting, 15)


class FailoverTests(NodeCase):
    timeout = 180

    def setUp(self):
        super().setUp()
        self.set = SentinelSet(self, DOWN_AFTER)
        self.lines = LogLines(self, "zmqrpc.matchmaker")
        self.bare = Target(self.topic)

    def node(self, **options):
        return super().node(**{"url": self.set.url, "rpc_zmq_bind_address": "127.0.0.1", **options})

    def master_but(self, old):
        """Return the server that says that it is the master now."""
        (new,) = (server for server in self.set.servers if server is not old and server.ask("ROLE")[0] == b"master")
        return new

    def stored(self, server):
        """Return how many records of the test's topic a server has."""
        return max(0, server.ask("HLEN", f"zmqrpc:topic:openstack:{self.topic}") - 1)

    async def begin(self):
        """Serve, and call: return the load, and what hears the switch."""
        for member in ("one", "two", "three"):
            await self.serve(member=member)
        await eventually("the replicas have them", lambda: all(self.stored(server) == 3 for server in self.set.servers))
        _, client = self.calling()
        await client.call(self.bare, "echo", {"value": 1}, timeout=10)
        load = Load(client, self.bare)
        self.addCleanup(load.stop)
        return load, Switches(self, self.set.sentinels)

    async def registering(self, switches):
        """Try to register all the time; return when it first worked after the switch, and the errors before."""
        matchmaker = make_matchmaker(reactor, Settings(self.set.url))
        self.addCleanup(matchmaker.close)
        give_up = time.monotonic() + PATIENCE
        refused: list[str] = []
        while time.monotonic() < give_up:
            try:
                await matchmaker.register(make_record("probe"), 300)
            except MatchmakerUnavailable as error:
                refused.append(str(error))
            else:
                if switches.told:
                    return time.monotonic(), refused
            await pause(0.01)
        self.fail("nothing could be registered any more")

    def told(self, name, switches, begin, **moments):
        """Say what was measured, where somebody wants to know."""
        if "DOWN_AFTER" in os.environ:
            measured = {key: round(moment - switches.told[0], 3) for key, moment in moments.items()}
            print(json.dumps({"test": name, "switch": round(switches.told[0] - begin, 3), **measured}))  # noqa: T201

    async def test_killed(self):
        """No call fails; what the new master does not have is registered there again, soon; the log has three lines."""
        load, switches = await self.begin()
        old = self.set.servers[0]
        # A record that was acknowledged by the master, and that no replica ever gets.
        for replica in self.set.servers[1:]:
            replica.stop_answering()
        old.ask("CLIENT", "KILL", "TYPE", "replica")
        await self.serve(member="four")
        old.kill()
        begin = time.monotonic()
        for replica in self.set.servers[1:]:
            replica.answer_again()
        registered, refused = await self.registering(switches)
        new = self.master_but(old)
        await eventually("all are there", lambda: self.stored(new) == 4, SLOW)
        complete = time.monotonic()
        self.told("killed", switches, begin, registered=registered, complete=complete)
        self.assertLess(registered - switches.told[0], SLOW)
        during = [text for text in refused if "there is no master just now: Sentinel finds it down (s_down" in text]
        self.assertTrue(during, refused)
        await load.stop()
        self.assertEqual(load.failed, [])
        self.assertGreater(load.answered, 100)
        # Of each node and of the matchmaker of the test.
        await eventually("all have moved", lambda: len(self.lines.about("has moved")) == 6)
        text = f"the Redis master {GROUP} has moved from 127.0.0.1:{old.port} to 127.0.0.1:{new.port}"
        self.assertIn(text, self.lines.about("has moved"))
        await eventually("one outage each", lambda: len(self.lines.about("the matchmaker in the Redis master")) == 12)
        # One Sentinel less is noticed in the log only, and so are two.
        for number, sentinel in enumerate(self.set.sentinels[:2]):
            sentinel.kill()
            said = f"listening to the Sentinel 127.0.0.1:{sentinel.port} fails"
            await eventually(
                "each says so once", lambda said=said, nodes=6 + number: len(self.lines.about(said)) == nodes
            )
            await self.serve(member=f"with {2 - number} Sentinels", zmq_target_expire=30)
        self.assertEqual(self.stored(new), 6)

    async def test_hangs(self):
        """
        So it is when the master hangs, and when it goes on and takes itself for the master still.

        What is registered there is registered again where it has to be.
        """
        load, switches = await self.begin()
        old = self.set.servers[0]
        old.stop_answering()
        begin = time.monotonic()
        registered, _ = await self.registering(switches)
        new = self.master_but(old)
        await eventually("all are there", lambda: self.stored(new) == 3, SLOW)
        complete = time.monotonic()
        # Somebody goes by a Sentinel that is cut off from the others, and to which the old master is the master.
        stale = Sentinel(self, [f"sentinel monitor {GROUP} 127.0.0.1 {old.port} 2"])
        old.answer_again()
        misled = self.node(url=f"zmq+sentinel://127.0.0.1:{stale.port}")
        misled.server(Target(self.topic, server="misled"), [self.echo])
        misled.startService()
        await misled.when_ready()
        self.assertEqual((self.stored(old), self.stored(new)), (4, 3), "it has taken what will be destroyed")
        # Then it hears the others, as it does when the network is whole again.
        told = f"127.0.0.1,{self.set.sentinels[0].port},{1:040x},1,{GROUP},127.0.0.1,{new.port},1"
        healed = time.monotonic()
        stale.ask("PUBLISH", "__sentinel__:hello", told)
        await eventually("it is there", lambda: self.stored(new) == 4, SLOW)
        self.told("hangs", switches, begin, registered=registered, complete=complete)
        self.told("healed", switches, begin, misled=switches.told[0] + time.monotonic() - healed)
        await load.stop()
        self.assertEqual(load.failed, [])
        self.assertLess(registered - switches.told[0], SLOW)
