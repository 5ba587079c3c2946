"""The matchmaker in a Redis server, with a real one."""

from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from zmqrpc.matchmaker._redis_place import RedisPlace
from zmqrpc.matchmaker.redis import RedisMatchmaker
from zmqrpc.test.servers import RedisServer
from zmqrpc.testing.matchmaker import MatchmakerContract

reactor: Any = _reactor


class RedisContract(MatchmakerContract, TestCase):
    """The contract."""

    reactor = reactor

    def setUp(self):
        self.server = RedisServer(self)

    def make_matchmaker(self):
        return RedisMatchmaker(reactor, RedisPlace.from_url(self.server.url), Random(1))
