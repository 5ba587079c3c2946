"""The contract of matchmakers whose store fails, which zmqrpc brings along."""

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from zmqrpc.testing.matchmaker import FAULTS, FaultContract, IFaultyStore
from zmqrpc_directory import LIMIT, DirectoryMatchmaker


@implementer(IFaultyStore)
class FaultyDirectory:
    """A directory that a file stands in the place of, and whose clock can be set."""

    cannot = FAULTS - {"kill", "step_clock"}
    keeps = True
    reads_while_hung = False
    together = 1
    limit = LIMIT
    secret = ""

    def __init__(self, path):
        self._path = path
        self._away = path.with_name(f"{path.name}-away")
        self.named = str(path)

    def make_matchmaker(self):
        return DirectoryMatchmaker(reactor, self._path)

    async def kill(self):
        if self._path.exists():
            self._path.rename(self._away)
        self._path.write_text("no directory")

    async def start(self, empty):
        self._path.unlink()
        if self._away.exists() and not empty:
            self._away.rename(self._path)

    async def step_clock(self, seconds):
        """Make every file as much older: there are no other times."""
        for file in self._path.glob("*.json"):
            then = file.stat().st_mtime - seconds
            os.utime(file, (then, then))

    def turns(self):
        return None

    tries = turns

    def _impossible(self, *_):
        raise NotImplementedError

    hang = resume = slow = refuse = accept = fail_over = hang_over = split = heal = _impossible
    make_stranger = make_stranded = admit_stranger = _impossible


class DirectoryFaults(FaultContract, TestCase):
    reactor = reactor
    outages = "zmqrpc_directory.DirectoryMatchmaker"

    def make_store(self):
        return FaultyDirectory(Path(self.mktemp()).absolute())
