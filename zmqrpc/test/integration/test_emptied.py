"""The matchmaker's file is emptied or removed under Nodes that use it."""

import contextlib
import os
import sqlite3
import time

from twisted.internet.task import deferLater

from zmqrpc.test.integration.nodes import NodeCase
from zmqrpc.test.integration.support import reactor
from zmqrpc.test.matchmaker.support import new_path


def clear(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM record")


def remove(path):
    for suffix in ("", "-wal", "-shm"):
        # Who has noticed already that the first is gone removes the others.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)


def cut(path):
    os.truncate(path, 0)


class EmptiedTests(NodeCase):
    async def test_cleared_and_removed(self):
        await self.emptied(clear, remove)

    async def test_cut(self):
        """Also when only the file itself is cut, and what SQLite keeps beside it is not."""
        await self.emptied(cut, cut)

    async def emptied(self, *harms):
        """No call fails, and who asks the file for the first time finds everybody again in a moment."""
        path = new_path(self)
        options = {"url": f"zmq+sqlite://{path}"}
        members = {("one", (await self.serve(**options)).instance.hex())}
        members.add(("two", (await self.serve(member="two", **options)).instance.hex()))
        _, client = self.calling(**options)
        target = self.target.__class__(self.topic)
        await client.fanout(target, "echo", {"value": 0}, timeout=5)
        for harm in harms:
            harm(path)
            until = time.monotonic() + 1
            value = 0
            while time.monotonic() < until:
                value += 1
                self.assertEqual(await client.call(target, "echo", {"value": value}, timeout=1), value)
                await deferLater(reactor, 0.002)
            _, fresh = self.calling(**options)
            self.assertEqual(set(await fresh.members(target, timeout=5)), members)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
