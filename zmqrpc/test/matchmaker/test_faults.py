"""Our matchmakers while their stores fail."""

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from zmqrpc.test.matchmaker.faulty import FaultyFile, FaultyRedis, FaultySeveral, FaultyTable
from zmqrpc.test.matchmaker.faulty_etcd import FaultyEtcd, FaultyEtcdCluster
from zmqrpc.test.matchmaker.faulty_sentinel import FaultySentinels
from zmqrpc.testing.logs import LogLines
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


class SeveralFaults(FaultContract, TestCase):
    reactor = reactor

    def make_store(self):
        return FaultySeveral(self)

    async def over(self, count):
        """Each of the three says it."""
        await super().over(3 * count)


class SqliteFaults(FaultContract, TestCase):
    reactor = reactor

    def make_store(self):
        return FaultyFile(self)


class EtcdFaults(FaultContract, TestCase):
    reactor = reactor

    def make_store(self):
        return FaultyEtcd(self)


class EtcdClusterFaults(FaultContract, TestCase):
    reactor = reactor

    def make_store(self):
        return FaultyEtcdCluster(self)


class _MasterLines(LogLines):
    """Without what is said of each Sentinel, which goes on to be asked for something else."""

    def append(self, line):
        if not line.startswith("listening to the Sentinel"):
            super().append(line)


class SentinelFaults(FaultContract, TestCase):
    reactor = reactor

    def setUp(self):
        super().setUp()
        self.lines = _MasterLines(self, self.outages)

    def make_store(self):
        return FaultySentinels(self)
