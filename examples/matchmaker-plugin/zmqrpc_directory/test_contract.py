"""The contract of matchmakers, which zmqrpc brings along, and what only this one does."""

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker import find_factory, make_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.testing.matchmaker import MatchmakerContract, make_record
from zmqrpc_directory import DirectoryMatchmaker


class DirectoryTests(MatchmakerContract, TestCase):
    reactor = reactor

    def setUp(self):
        self.path = Path(self.mktemp())

    def make_matchmaker(self):
        return DirectoryMatchmaker(reactor, self.path)

    def pass_time(self, seconds):
        """Make every file older, so that no test has to wait."""
        for file in self.path.glob("*.json"):
            then = file.stat().st_mtime - seconds
            os.utime(file, (then, then))
        return self.turn()

    async def test_expired_long_ago(self):
        """The file of a record that has expired goes."""
        await self.matchmaker().register(make_record(), 5)
        await self.pass_time(4000)
        self.assertEqual(await self.matchmaker().records(), [])
        self.assertEqual(list(self.path.iterdir()), [])

    async def test_strange_file(self):
        """What is no record is left out."""
        await self.matchmaker().register(make_record(), 300)
        for number, text in enumerate(("", "{}", '[["server"], 300]', '[["x", "", "", "", "", []], 300]')):
            (self.path / f"{number}.json").write_text(text)
        self.assertEqual(await self.found(self.matchmaker()), [make_record()])

    async def test_unusable(self):
        """What cannot be used is an outage, and passes."""
        self.path.write_text("no directory")
        matchmaker = self.matchmaker()
        await self.assertFailure(matchmaker.register(make_record(), 300), MatchmakerUnavailable)
        self.path.unlink()
        await matchmaker.register(make_record(), 300)

    def test_found(self):
        """The plugin is installed, and makes what a URL names."""
        self.assertEqual(find_factory("directory").scheme, "directory")
        self.assertIsInstance(make_matchmaker(reactor, Settings("zmq+directory:///run/members")), DirectoryMatchmaker)
        for url in ("zmq+directory://", "zmq+directory://host/run"):
            self.assertRaises(ConfigError, make_matchmaker, reactor, Settings(url))
