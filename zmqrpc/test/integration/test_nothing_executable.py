"""Nothing that crosses the wire is executed: no pickle is read, and no class is imported by its name."""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import msgspec

from zmqrpc import expose
from zmqrpc.core.envelope import Call, Nack, Reply, Welcome
from zmqrpc.errors import RemoteError
from zmqrpc.test.integration.nodes import NodeCase
from zmqrpc.test.integration.support import RawClient


class Bomb:
    """What makes a file where it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (self._path,)


def raised(name, module):
    """Return an endpoint whose method raises an error of a class that says that it is of some module."""
    kind = type(name, (Exception,), {"__module__": module})

    class Raising:
        @expose
        def fail(self, context):
            raise kind("echo harm")

    return Raising()


class NothingExecutableTests(NodeCase):
    def setUp(self):
        super().setUp()
        self.harm = Path(self.mktemp())
        self.pickled = pickle.dumps(Bomb(str(self.harm)))

    def test_the_bomb_is_one(self):
        """It is made where somebody reads it."""
        pickle.loads(self.pickled)  # noqa: S301
        self.assertTrue(self.harm.exists())

    async def test_pickled_arguments(self):
        """As arguments, as one of them, or as an extension of msgpack: it is refused, or bytes as they came."""
        node = await self.serve()
        client = RawClient(self.peers, node.address)
        await client.open(Welcome)
        extended = msgspec.msgpack.encode({"value": msgspec.msgpack.Ext(1, self.pickled)})
        text = "cos\nsystem\n(S'false'\ntR."
        sent: list[Any] = [self.pickled, {"value": self.pickled}, {"value": text}, extended]
        for number, arguments in enumerate(sent, 1):
            call = Call(number, 1, 0, 5000, "openstack", self.topic, None, None, None, "echo", arguments)
            client.send(call)
            await client.message(Reply | Nack)
        self.assertLessEqual({type(value) for value in self.echo.ran}, {bytes, str})
        self.assertIn(self.pickled, self.echo.ran)
        self.assertFalse(self.harm.exists())

    async def test_pickled_answers(self):
        """What a method returns comes as the bytes that it is."""
        await self.serve()
        _, client = self.calling()
        self.assertEqual(await client.call(self.target, "echo", {"value": self.pickled}, timeout=5), self.pickled)
        self.assertFalse(self.harm.exists())

    async def test_types_of_errors(self):
        """The class of an error is a name: it is neither looked up nor imported."""
        Path("harmful.py").write_text(f"import os; os.mkdir({str(self.harm)!r})\n")
        sys.path.insert(0, os.getcwd())
        self.addCleanup(sys.path.remove, os.getcwd())
        for number, (name, module) in enumerate([("system", "os"), ("os.system", "os"), ("Harm", "harmful")]):
            member = f"m{number}"
            await self.serve(raised(name, module), member=member)
            _, client = self.calling()
            target = self.target.__class__(self.topic, server=member)
            error = await self.assertEnds(RemoteError, client.call(target, "fail", timeout=5), name)
            self.assertIs(type(error), RemoteError)
        self.assertEqual(len(self.flushLoggedErrors()), 3)
        self.assertNotIn("harmful", sys.modules)
        self.assertFalse(self.harm.exists())
