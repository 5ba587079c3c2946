"""The matchmaker of one machine, among real processes."""

import json
import os
import sys
import time
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from zmqrpc.matchmaker.sqlite import sqlite_matchmaker
from zmqrpc.test.matchmaker.support import new_path
from zmqrpc.test.processes import ENVIRONMENT
from zmqrpc.testing.matchmaker import Heard, MatchmakerContract, make_record

reactor: Any = _reactor

MEMBER = """
import os, sys
from zmqrpc.matchmaker._sqlite.machine import Machine
from zmqrpc.matchmaker._sqlite.file import SqliteFile
from zmqrpc.testing.matchmaker import make_record
SqliteFile(sys.argv[1], Machine()).register(make_record(member=sys.argv[2]), 0)
print("registered", flush=True)
sys.stdin.read()
"""

STRANGER = """
import os, resource, sys
from zmqrpc.matchmaker._sqlite.machine import Machine
from zmqrpc.matchmaker._sqlite.file import SqliteFile
from zmqrpc.testing.matchmaker import make_record
from zmqrpc.errors import MatchmakerUnavailable
Machine().owner()  # what Python imports for it might not be for another user to read
if sys.argv[2] == "no room":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
elif os.getuid() == 0:
    os.setgroups([])
    os.setuid(65534)
file = SqliteFile(sys.argv[1], Machine(), patience=0.1)
try:
    file.register(make_record(), 0)
except MatchmakerUnavailable as error:
    print(error)
"""


class Member(ProcessProtocol):
    """A process that has registered as a member, until it is told to end."""

    def __init__(self):
        self.registered: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data):
        if not self.registered.called:  # with PYTHONUNBUFFERED a line comes in two pieces
            self.registered.callback(None)

    def errReceived(self, data):
        os.write(2, data)

    def processEnded(self, reason):
        self.ended.callback(None)
        if not self.registered.called:
            self.registered.errback(reason)

    def end(self):
        if self.transport is not None:
            self.transport.loseConnection()


class ProcessTests(MatchmakerContract, TestCase):
    """Also what the contract says, with the clock of the machine."""

    reactor = reactor
    shares_doubts = True
    timeout = 60

    def setUp(self):
        self.path = new_path(self)

    def make_matchmaker(self):
        return sqlite_matchmaker(reactor, self.path, limit=10)

    async def start(self, name):
        member = Member()
        reactor.spawnProcess(member, sys.executable, [sys.executable, "-c", MEMBER, self.path, name], env=ENVIRONMENT)
        self.addCleanup(lambda: member.ended)
        self.addCleanup(member.end)
        await member.registered
        return member

    async def test_killed_member(self):
        """What a process registered is found by others and goes with it, though it never expires."""
        matchmaker = self.matchmaker()
        first, _ = await self.start("node-1"), await self.start("node-2")
        self.assertEqual(len(await self.found(matchmaker)), 2)
        first.transport.signalProcess("KILL")
        await first.ended
        self.assertEqual(await self.found(matchmaker), [make_record(member="node-2")])

    async def test_watch_killed_member(self):
        """A watch hears of a killed process soon, also while nobody has waited for it."""
        matchmaker, heard = self.matchmaker(), Heard()
        first, second = await self.start("node-1"), await self.start("node-2")
        matchmaker.watch("openstack", "compute", heard)
        both = [make_record(member=name) for name in ("node-1", "node-2")]
        await self.eventually("the first call", lambda: heard.last(*both))
        first.transport.signalProcess("KILL")
        begin = time.monotonic()
        await self.eventually("the end of the process", lambda: heard.last(both[1]))
        self.assertLess(time.monotonic() - begin, 2.0)  # 0.25 s on an idle machine
        second.end()
        await self.eventually("the end of the other", heard.last)

    async def stranger(self, *arguments):
        command = ["-c", STRANGER, self.path, *arguments]
        out, err, code = await getProcessOutputAndValue(sys.executable, command, env=ENVIRONMENT)
        self.assertEqual((err, code), (b"", 0))
        return out.decode()

    async def test_other_user(self):
        """Who may not read the file is told so."""
        await self.matchmaker().register(make_record(), 0)
        if os.getuid() != 0:
            os.chmod(self.path, 0)
        # Its own interpreter was started by us; only the file is not for it.
        text = await self.stranger("other user")
        self.assertIn(self.path, text)
        self.assertIn("and the rights to its directory", text)

    async def test_no_room(self):
        """Who cannot make the file grow is told so."""
        text = await self.stranger("no room")
        self.assertIn("check the disk and the room on it", text)

    async def test_two_hundred(self):
        """Two hundred processes that register and look up at once all see all, and nothing is left of them."""
        matchmaker, heard = self.matchmaker(), Heard()
        matchmaker.watch("openstack", "compute", heard)
        command = ["-m", "zmqrpc.test.matchmaker.crowd", f"zmq+sqlite://{self.path}", "200"]
        # They are there for a moment, in which a busy machine may not let this process look.
        for _ in range(3):
            out, err, code = await getProcessOutputAndValue(sys.executable, command, env=ENVIRONMENT)
            self.assertEqual(code, 0, out + err)
            self.assertEqual(json.loads(out)["saw"], 200)
            if 200 in map(len, heard.calls):
                break
        self.assertEqual(max(len(call) for call in heard.calls), 200)
        await self.eventually("all of them gone", heard.last)
