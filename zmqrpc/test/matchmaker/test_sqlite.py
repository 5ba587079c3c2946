"""The matchmaker of one machine, in one process."""

import os
import sqlite3
import threading
from math import inf
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._sqlite.machine import Machine
from zmqrpc.matchmaker.sqlite import sqlite_matchmaker
from zmqrpc.target import Target
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.support import new_path
from zmqrpc.testing.matchmaker import Heard, MatchmakerContract, make_record

reactor: Any = _reactor


class SqliteTests(MatchmakerContract, TestCase):
    """The contract, with a clock that is set, and what only this matchmaker promises."""

    reactor = reactor
    shares_doubts = True

    def setUp(self):
        self.clock = Clock()
        self.path = new_path(self)
        self.lines = LogLines(self, "zmqrpc.matchmaker._outage.Outage")

    def make_matchmaker(self):
        return sqlite_matchmaker(reactor, self.path, Machine(now=self.clock.seconds))

    def make_unreachable(self):
        return sqlite_matchmaker(reactor, os.path.join(os.path.dirname(self.path), "no", "such", "file"))

    async def lose_everything(self):
        for suffix in ("", "-wal", "-shm"):
            os.unlink(self.path + suffix)
        return True

    def pass_time(self, seconds):
        self.clock.advance(seconds)
        return self.turn()

    def thread(self):
        return [thread for thread in threading.enumerate() if self.path in thread.name]

    async def test_nothing_before_use(self):
        """Neither file nor thread is there before the first use, and no thread after the close."""
        matchmaker = self.make_matchmaker()
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual(self.thread(), [])
        await matchmaker.register(make_record(), 300)
        (thread,) = self.thread()
        self.assertTrue(thread.daemon)
        await matchmaker.close()
        self.assertEqual(self.thread(), [])

    async def test_closed(self):
        """A closed one answers that it is; closing it again is no error."""
        matchmaker = self.make_matchmaker()
        await matchmaker.register(make_record(), 300)
        await matchmaker.close()
        await matchmaker.close()
        await self.assertFailure(matchmaker.lookup("openstack", "compute"), MatchmakerUnavailable)
        matchmaker.watch("openstack", "compute", Heard())()
        self.assertEqual(self.thread(), [])

    async def test_any_address(self):
        """A server may choose its address."""
        self.assertIsNone(self.matchmaker().bind_address(Target("compute", server="node-1")))

    async def test_outage_logged_once(self):
        """An outage is one line in the log, with the reason, and its end another."""
        directory = os.path.dirname(self.path)
        os.rename(directory, directory + "-away")
        matchmaker: Any = self.matchmaker()
        for _ in range(3):
            await self.assertFailure(matchmaker.register(make_record(), 300), MatchmakerUnavailable)
        (line,) = self.lines
        self.assertIn("its directory does not exist", line)
        self.assertEqual(matchmaker.failing(), [matchmaker.away()])
        self.assertIn(f"the matchmaker file {self.path} cannot be made", matchmaker.away())
        os.rename(directory + "-away", directory)
        await matchmaker.register(make_record(), 300)
        await matchmaker.register(make_record(), 300)
        self.assertEqual(len(self.lines), 2)
        self.assertIn("works again", self.lines[1])
        self.assertIn("3 failures", self.lines[1])
        self.assertEqual((matchmaker.failing(), matchmaker.away()), ([], ""))

    async def test_told_of_a_record(self):
        """Where it was read from, and for how long it is kept."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(number=1), 300)
        await matchmaker.register(make_record(number=2), 0)
        told = [(sighting.source, sighting.lasts) for sighting in await matchmaker.records()]
        self.assertEqual(told, [(self.path, 300), (self.path, inf)])

    async def test_missing_logged_once(self):
        """Whoever looks for others in a file that is not there says so once in the log, and finds them later."""
        lines = LogLines(self, "zmqrpc.matchmaker.sqlite.SqliteStore")
        matchmaker = self.matchmaker()
        for _ in range(2):
            self.assertEqual(await self.found(matchmaker), [])
        (line,) = lines
        self.assertIn(f"the matchmaker file {self.path} does not exist; a server makes it at its start", line)
        await self.matchmaker().register(make_record(), 300)
        self.assertEqual(await self.found(matchmaker), [make_record()])
        self.assertEqual(len(lines), 1)

    async def test_missing_and_about_to_be_made(self):
        """Who makes it at this moment says nothing of it."""
        lines = LogLines(self, "zmqrpc.matchmaker.sqlite.SqliteStore")
        matchmaker = self.matchmaker()
        found, registered = matchmaker.lookup("openstack", "compute"), matchmaker.register(make_record(), 300)
        self.assertEqual(await found, [])
        await registered
        self.assertEqual(await self.found(matchmaker), [make_record()])
        self.assertEqual(list(lines), [])

    async def test_watch_outage(self):
        """A watch of a file that cannot be read waits for it; that is logged once, and so is the end."""
        directory = os.path.dirname(self.path)
        os.rename(directory, directory + "-away")
        matchmaker, heard = self.matchmaker(), Heard()
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the line about the outage", lambda: len(self.lines) == 1)
        os.rename(directory + "-away", directory)
        await self.eventually("the first call", heard.last)
        # A look tells what it found before it tells that looking works again.
        await self.eventually("the line about the end", lambda: len(self.lines) == 2)

    async def test_locked(self):
        """While another keeps the file locked, registering fails in time and naming the path, and looking up works."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        locking = sqlite3.connect(self.path, isolation_level=None)
        locking.execute("BEGIN IMMEDIATE")
        registering = matchmaker.register(make_record(number=2), 300)
        error = await self.assertFailure(registering, MatchmakerUnavailable)
        self.assertIn(self.path, str(error))
        self.assertIn("locked", str(error))
        self.assertEqual(await self.found(matchmaker), [make_record()])
        locking.execute("ROLLBACK")
        locking.close()
        await matchmaker.register(make_record(number=2), 300)
        self.assertEqual(len(await self.found(matchmaker)), 2)
        self.assertEqual(len(self.lines), 2, "reading that works does not end the outage of writing")

    async def test_replaced(self):
        """A file that was removed is made again, and a watch hears that it is empty."""
        matchmaker, heard = self.matchmaker(), Heard()
        await matchmaker.register(make_record(), 300)
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", lambda: heard.last(make_record()))
        for suffix in ("", "-wal", "-shm"):
            os.unlink(self.path + suffix)
        await self.eventually("the empty file", heard.last)
        await matchmaker.register(make_record(), 300)
        await self.eventually("the record in the new file", lambda: heard.last(make_record()))
        self.assertEqual(await self.found(self.matchmaker()), [make_record()])
