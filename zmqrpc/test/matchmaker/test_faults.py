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

IMPATIENT = 0.5
"""
Seconds that a matchmaker waits for a store that hangs: each test of that waits so long, some twice. It is not for those
that wait for a disk with each write, which other tests may keep busy.
"""


class OurFaults(FaultContract):
    """
    The suite, with a store of ours.

    :cvar kind: makes the store, given the test.
    :cvar impatient: whether it may be given up after `IMPATIENT` where it hangs.
    """

    reactor = reactor
    kind: Any
    impatient = False

    def make_store(self):
        store = self.kind(self)
        if self.impatient and self.id().rpartition(".")[2].startswith("test_hung"):
            store.limit = IMPATIENT
        return store


class DummyFaults(OurFaults, TestCase):
    kind = FaultyTable


class RedisFaults(OurFaults, TestCase):
    kind = FaultyRedis
    impatient = True


class SeveralFaults(OurFaults, TestCase):
    kind = FaultySeveral
    impatient = True

    async def over(self, count):
        """Each of the three says it."""
        await super().over(3 * count)


class SqliteFaults(OurFaults, TestCase):
    kind = FaultyFile


class EtcdFaults(OurFaults, TestCase):
    kind = FaultyEtcd


class EtcdClusterFaults(OurFaults, TestCase):
    kind = FaultyEtcdCluster


class _MasterLines(LogLines):
    """Without what is said of each Sentinel, which goes on to be asked for something else."""

    def append(self, line):
        if not line.startswith("listening to the Sentinel"):
            super().append(line)


class SentinelFaults(OurFaults, TestCase):
    kind = FaultySentinels
    impatient = True

    def setUp(self):
        super().setUp()
        self.lines = _MasterLines(self, self.outages)
