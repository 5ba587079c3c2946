"""Our matchmakers while their stores fail."""

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from zmqrpc.test.matchmaker.faulty import FaultyFile, FaultyRedis, FaultyTable
from zmqrpc.testing.matchmaker import FaultContract

reactor: Any = _reactor


class DummyFaults(FaultContract, TestCase):
    reactor = reactor

    def make_store(self):
        return FaultyTable()


class RedisFaults(FaultContract, TestCase):
    reactor = reactor

    def make_store(self):
        return FaultyRedis(self)


class SqliteFaults(FaultContract, TestCase):
    reactor = reactor

    def make_store(self):
        return FaultyFile(self)
