"""What nodes and processes owe with a store of others, whichever it is."""

import time
from typing import TYPE_CHECKING, Any

from zmqrpc import Target
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.test.integration.nodes import Echo, NodeCase
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.support import OUTAGES
from zmqrpc.test.processes import ProcessTestCase

LOOPBACK = "127.0.0.1"


class StoreNodeCase(NodeCase):
    """
    Nodes of this process with a store.

    :ivar store: what `start_store` has made.
    """

    def start_store(self) -> Any:
        """Start what the nodes use, with an attribute `url`."""
        raise NotImplementedError

    def setUp(self):
        super().setUp()
        self.store = self.start_store()
        self.lines = LogLines(self, OUTAGES)
        self.bare = Target(self.topic)

    def node(self, **options):
        return super().node(**{"url": self.store.url, "rpc_zmq_bind_address": LOOPBACK, **options})

    async def calls(self, client, count=20):
        for number in range(count):
            self.assertEqual(await client.call(self.bare, "echo", {"value": number}, timeout=5), number)
            await pause(0.002)


if TYPE_CHECKING:
    _Case = StoreNodeCase
else:
    _Case = object


class StoreNodeTests(_Case):
    """To be mixed into a `StoreNodeCase` whose store is one program (`zmqrpc.test.programs.Program`)."""

    def stored(self) -> int:
        """Return how many records are in the topic of the test."""
        raise NotImplementedError

    def ask_to_forget(self) -> None:
        """Have somebody delete everything."""
        raise NotImplementedError

    async def test_new_server(self):
        """A client that runs calls a new server soon after it is registered."""
        await self.serve(member="one")
        _, client = self.calling()
        await client.call(self.bare, "echo", {"value": 1}, timeout=5)
        two = Echo()
        await self.serve(two, member="two")
        begin = time.monotonic()
        while not two.ran:
            await client.call(self.bare, "echo", {"value": 1}, timeout=5)
        self.assertLess(time.monotonic() - begin, 5)  # some milliseconds on an idle machine

    async def test_withdrawn(self):
        """Who stops is gone from the store, and others are not touched."""
        node = await self.serve(member="one")
        await self.serve(member="two")
        self.assertEqual(self.stored(), 2)
        await node.stopService()
        self.assertEqual(self.stored(), 1)
        _, client = self.calling()
        self.assertEqual([member for member, _ in await client.members(self.bare)], ["two"])

    async def test_killed_and_empty(self):
        """Calls go on while the store is away; everything is registered again when it is back, empty."""
        for member in ("one", "two", "three"):
            await self.serve(member=member)
        _, client = self.calling()
        await self.calls(client)
        known = await client.members(self.bare)
        self.store.kill()
        await self.calls(client)
        fresh = self.calling()[1]
        with self.assertRaises(MatchmakerUnavailable) as caught:
            await fresh.call(self.bare, "echo", {"value": 1}, timeout=5)
        self.assertIn("refuses the connection", str(caught.exception))
        await pause(1)
        self.store.lose()
        self.store.start()
        begin = time.monotonic()
        await eventually("all are registered", lambda: self.stored() == 3)
        self.assertLess(time.monotonic() - begin, 5)
        await self.calls(client)
        self.assertEqual(await client.members(self.bare), known)
        await self.calls(fresh)

    async def test_emptied(self):
        """A store that loses everything while it is up has everything again as soon as anybody looks."""
        await self.serve(member="one")
        await self.serve(member="two")
        _, client = self.calling()
        await self.calls(client)
        self.ask_to_forget()
        await self.when_forgotten(client)
        await eventually("both are registered", lambda: self.stored() == 2)
        await self.calls(client)

    async def when_forgotten(self, client):
        """Look what becomes of that."""

    async def test_absent_at_the_start(self):
        """The start returns; the node is not ready, and gets ready by itself. Meanwhile it serves who knows it."""
        self.store.kill()
        node = self.node()
        node.server(self.target, [self.echo])
        node.startService()
        ready = node.when_ready()
        await pause(1.5)
        self.assertFalse(ready.called)
        self.assertEqual(len(self.lines), 1, self.lines)
        self.store.start()
        begin = time.monotonic()
        await ready
        self.assertLess(time.monotonic() - begin, 5)  # 1.3 s at most on an idle machine
        await self.calls(self.calling()[1])
        await eventually("the end of the outage", lambda: len(self.lines) == 2)

    async def test_hangs(self):
        """Calls go on while the store hangs; who knows nobody yet hears so in time; a stop does not hang with it."""
        node = await self.serve(member="one")
        _, client = self.calling()
        await self.calls(client)
        self.store.stop_answering()
        await self.calls(client)
        begin = time.monotonic()
        await self.assertEnds(
            MatchmakerUnavailable, client.call(Target("new"), "echo", timeout=30), "did not answer within 1 s"
        )
        await node.stopService()
        self.assertLess(time.monotonic() - begin, 10)
        self.store.answer_again()


class StoreProcessCase(ProcessTestCase):
    """`twistd` and `zmqrpc` as users run them, with a store that `start_store` starts."""

    options = ("--app", "examples.demo.calc:Calc", "--topic", "calc", "--server")

    def start_store(self) -> Any:
        """Start it, with an attribute `url`."""
        raise NotImplementedError

    def setUp(self):
        super().setUp()
        self.store = self.start_store()
        self.url = f"{self.store.url}?rpc_zmq_bind_address={LOOPBACK}"

    def zmqrpc(self, *arguments, url=None):
        """Run it; return status, standard output and standard error."""
        command, *rest = arguments
        ended = self.run_to_end("zmqrpc", command, "--url", url or self.url, *rest)
        return ended.returncode, ended.stdout, ended.stderr

    def assert_refuses(self, url, text):
        """Check that a URL is refused, with one sentence that does not have its password."""
        status, _, err = self.zmqrpc("call", "calc", "add", url=url)
        self.assertEqual(status, 2)
        self.assert_one_sentence(text, err)
        self.assertNotIn("secret", err)
