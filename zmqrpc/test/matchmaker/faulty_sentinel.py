"""A master, its replicas and its Sentinels, that the suite of matchmakers under faults runs on."""

from __future__ import annotations

from functools import cached_property, partial

from twisted.internet.threads import deferToThread
from zope.interface import implementer

from zmqrpc.test.forwarder import Forwarder
from zmqrpc.test.matchmaker.faulty import SECRET, Whole
from zmqrpc.test.sentinels import GROUP, Sentinel, SentinelSet
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.wall import Wall
from zmqrpc.testing.matchmaker import IFaultyStore

PASSWORD = "right"

DOWN_AFTER = 0.5
"""Seconds after which Sentinel takes a server for dead."""


@implementer(IFaultyStore)
class FaultySentinels(Whole):
    """
    All of it is killed, or hangs, at the same time; or the master alone, and Sentinel makes another.

    The clock that can be set is that of the servers, by which records expire; Sentinels do nothing for half a minute
    when theirs is.
    """

    cannot = frozenset(("split",))
    together = 100

    def __init__(self, case):
        super().__init__()
        self._case = case
        self._wall: Wall | None = None
        self._old: RedisServer | None = None
        self._hosts: str | None = None
        self._way: Forwarder | None = None

    @cached_property
    def _set(self):
        self._wall = Wall(self._case)
        return SentinelSet(
            self._case,
            DOWN_AFTER,
            ("--requirepass", PASSWORD, "--masterauth", PASSWORD),
            [f"sentinel auth-pass {GROUP} {PASSWORD}"],
            self._wall.environment,
        )

    @property
    def named(self):
        return (f"the master {GROUP}", f"the Redis master {GROUP}", f"127.0.0.1:{self._set.servers[0].port}")

    def make_matchmaker(self):
        return self._make(PASSWORD)

    def make_stranger(self):
        return self._make(SECRET)

    async def admit_stranger(self):
        self._set.servers[0].ask("ACL", "SETUSER", "default", f">{SECRET}")

    async def kill(self):
        for process in self._all:
            process.kill()

    async def start(self, empty):
        if self._old is not None:
            self._old.start()
            return
        for process in reversed(self._all):
            process.start()

    async def hang(self):
        for process in self._all:
            process.stop_answering()

    async def resume(self):
        for process in [self._old] if self._old is not None else reversed(self._all):
            process.answer_again()

    async def refuse(self):
        self._set.servers[0].ask("ACL", "SETUSER", "default", "-@write")

    async def accept(self):
        self._set.servers[0].ask("ACL", "SETUSER", "default", "+@all")

    async def slow(self, seconds):
        """Have one Sentinel, of its own, name a slow way to the master."""
        way = Forwarder(self._case, self._set.servers[0].port)
        lines = [f"sentinel monitor {GROUP} 127.0.0.1 {way.port} 1", f"sentinel auth-pass {GROUP} {PASSWORD}"]
        way.delay = seconds
        self._way = way
        self._hosts = f"127.0.0.1:{Sentinel(self._case, lines).port}"

    def turns(self):
        return None if self._way is None else self._way.turns

    async def fail_over(self):
        self._old = self._set.master()
        self._old.kill()
        await self._others_have_a_master()

    async def hang_over(self):
        self._old = self._set.master()
        self._old.stop_answering()
        await self._others_have_a_master()

    async def step_clock(self, seconds):
        assert self._wall is not None
        self._wall.step(seconds)

    @property
    def _all(self):
        """The Sentinels, the replicas, the master: each before what it watches, or follows."""
        return [*self._set.sentinels, *reversed(self._set.servers)]

    def _others_have_a_master(self):
        return deferToThread(self._set.wait, "another master", partial(self._set.has_left, self._old))

    def _make(self, password):
        url = f"zmq+sentinel://:{password}@{self._hosts or self._set.hosts}"
        return self._make_of(url)
