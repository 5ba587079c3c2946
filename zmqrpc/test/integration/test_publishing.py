"""Publishers and local publishers over real sockets, with more subscribers than a node has."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from random import Random
from time import monotonic

from twisted.trial.unittest import TestCase

from zmqrpc.proxy.local_publisher import LocalPublisher
from zmqrpc.publishing_half import PublishingHalf
from zmqrpc.reactor_zmq import ZmqTransport
from zmqrpc.test.integration.support import eventually, reactor
from zmqrpc.test.processes import ENVIRONMENT, Running
from zmqrpc.test.publishing import KEY, Ground, sighting

SUBSCRIBERS = 2000
MESSAGES = 100
NODES = 4
DESCRIPTORS = 8000


def connections(address: str) -> int:
    """Count the connections to a port of this machine."""
    local = f"0100007F:{int(address.rpartition(':')[2]):04X}"
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(where == local and state == "01" for _, where, _, state, *_ in fields)


class ManySubscribersTests(TestCase):
    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < DESCRIPTORS:
            self.fail(f"this process may open {hard} files, and {DESCRIPTORS} are needed: raise ulimit -Hn")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def ground(self) -> Ground:
        site = Ground(reactor, ZmqTransport(reactor, 2**20), "127.0.0.1", Random(os.urandom(16)), monotonic)
        self.addCleanup(site.stop)
        return site

    async def receive_all(self, publisher: PublishingHalf, addresses: list[str], connected: int) -> None:
        """
        Have everybody subscribe, publish, and check that everybody gets everything.

        :param addresses: where they subscribe.
        :param connected: how many connections there are to be at the publisher.
        """
        module = [sys.executable, "-m", "zmqrpc.test.integration.subscribers"]
        running = Running([*module, str(SUBSCRIBERS), str(MESSAGES), *addresses], self.directory, ENVIRONMENT)
        self.addCleanup(running.kill)
        await eventually("that all are confirmed", lambda: "ready" in running.out or running.process.poll(), 30)
        # On a busy machine some have connected again, and the end of their first connection is still to come.
        await eventually("the connections", lambda: connections(publisher.address) == connected)
        for number in range(MESSAGES):
            self.assertIsNotNone(publisher.publish(KEY, b"%d" % number))
        await eventually("that all have read", lambda: running.process.poll() is not None, 30)
        self.assertEqual((running.ends(), running.err), (0, ""))
        outcome = json.loads(running.out.splitlines()[-1])
        self.assertEqual(outcome, {"complete": SUBSCRIBERS, "missed": 0, "wrong": 0})

    async def test_everybody_gets_everything(self):
        """First from one publisher, then over local ones, of which there is one for each node."""
        site = self.ground()
        publisher = PublishingHalf(site)
        site.run(publisher)
        await self.receive_all(publisher, [publisher.address], SUBSCRIBERS)

        await eventually("that they have gone", lambda: not connections(publisher.address))
        local_publishers = []
        for _ in range(NODES):
            node = self.ground()
            local_publishers.append(LocalPublisher(node))
            node.run(local_publishers[-1])
            local_publishers[-1].found([sighting(site, publisher.address)])
        await self.receive_all(publisher, [each.address for each in local_publishers], NODES)
