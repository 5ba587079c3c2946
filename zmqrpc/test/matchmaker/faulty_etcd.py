"""One member of etcd, and a cluster of three, that the suite of matchmakers under faults runs on."""

from __future__ import annotations

from functools import cached_property

from twisted.internet.threads import deferToThread
from zope.interface import implementer

from zmqrpc.test.etcd import EtcdCluster, EtcdMember, allow, encoded, single
from zmqrpc.test.matchmaker.faulty import SECRET, OneProgram, Whole, step_own_clock
from zmqrpc.testing.matchmaker import IFaultyStore

USER, PASSWORD = "ada", "secret"

PREFIX, END = "/zmqrpc/", "/zmqrpc0"
"""The keys that are ours."""


@implementer(IFaultyStore)
class FaultyEtcd(OneProgram, Whole):
    """
    One member, which asks everybody who he is.

    Nobody can set its clock: it goes by what the kernel counts, whatever is preloaded, and leases end by the monotonic
    clock. What is set is the clock on the wall of this process, which says nothing about what is stored.
    """

    step_clock = step_own_clock

    @cached_property
    def program(self):
        member = single(self._case)
        allow(member.ask, **{USER: "READWRITE"})
        return member

    @property
    def named(self):
        return f"127.0.0.1:{self.port}"

    def make_matchmaker(self):
        return self._make(PASSWORD)

    def make_stranger(self):
        return self._make(SECRET)

    async def admit_stranger(self):
        self.program.ask("auth/user/changepw", token=self._root(), name=USER, password=SECRET)

    async def start(self, empty):
        if empty:
            self.program.lose()
        self.program.begin()
        await deferToThread(self.program.wait)
        if empty:
            allow(self.program.ask, **{USER: "READWRITE"})

    async def refuse(self):
        self.program.ask("auth/role/revoke", token=self._root(), role=USER, key=PREFIX, range_end=END)

    async def accept(self):
        permission = {"permType": "READWRITE", "key": encoded(PREFIX), "range_end": encoded(END)}
        self.program.ask("auth/role/grant", token=self._root(), name=USER, perm=permission)

    def _root(self):
        return self.program.ask("auth/authenticate", name="root", password="secret")["token"]

    def _make(self, password):
        return self._make_of(f"zmq+etcd://{USER}:{password}@{self.named}")


@implementer(IFaultyStore)
class FaultyEtcdCluster(Whole):
    """Three members, of which the leader fails, or is cut off from the others."""

    cannot = Whole.cannot - {"fail_over", "hang_over", "split"}
    together = 100

    def __init__(self, case):
        super().__init__()
        self._case = case
        self._lost: EtcdMember | None = None

    @cached_property
    def _members(self):
        return EtcdCluster(self._case, started=False)

    @cached_property
    def _cluster(self):
        self._members.start()
        return self._members

    @property
    def named(self):
        return tuple(f"127.0.0.1:{member.port}" for member in self._members.members)

    def make_matchmaker(self):
        return self._make_of(self._cluster.url)

    def make_stranded(self):
        """Make a matchmaker that knows nobody but the leader, which is what is cut off."""
        self._lost = self._cluster.leader()
        return self._make_of(self._lost.url)

    async def start(self, empty):
        assert self._lost is not None and not empty
        self._lost.begin()
        await deferToThread(self._lost.wait)

    async def resume(self):
        assert self._lost is not None
        self._lost.answer_again()

    async def fail_over(self):
        self._lost = self._cluster.leader()
        self._lost.kill()
        await self._others_have_a_leader()

    async def hang_over(self):
        self._lost = self._cluster.leader()
        self._lost.stop_answering()
        await self._others_have_a_leader()

    async def split(self):
        self._cluster.cut_off(self._lost)
        await self._others_have_a_leader()

    async def heal(self):
        self._cluster.join()

    def _others_have_a_leader(self):
        return deferToThread(self._cluster.leader, self._lost)
