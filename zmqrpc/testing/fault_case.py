"""What the tests of matchmakers under faults share: a store, matchmakers of it, and what is expected of failures."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.record import Record
from zmqrpc.testing.faulty_store import IFaultyStore
from zmqrpc.testing.heard import PATIENCE, Heard, make_record
from zmqrpc.testing.logs import LogLines

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object

AT_ONCE = 2.0
"""Seconds after which what has to be there at once must be; milliseconds, where nothing else runs on the machine."""

TOPIC = ("openstack", "compute")


class FaultCase(_Case):
    """What the tests of `FaultContract` share; see there."""

    reactor: Any
    outages = "zmqrpc.matchmaker._outage.Outage"
    timeout = 120

    def make_store(self) -> IFaultyStore:
        """Make the store of this test; its programs are there, and have to end with the test."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make the store."""
        self.store = self.make_store()
        self.made = 0
        self.lines = LogLines(self, self.outages)

    def pass_time(self, seconds: float) -> Awaitable[None]:
        """Let time pass for everybody; override it where all clocks can be set."""
        return deferLater(self.reactor, seconds)

    def turn(self) -> Awaitable[None]:
        """Let the reactor work."""
        return deferLater(self.reactor, 0.01)

    def seconds(self) -> float:
        """Tell the time by which the tests wait; override it with `pass_time`."""
        return time.monotonic()

    # What the tests share.

    def matchmaker(self, make: Callable[[], IMatchmaker] | None = None) -> IMatchmaker:
        """Make a matchmaker that is closed after the test."""
        matchmaker = (make or self.store.make_matchmaker)()
        self.made += 1
        self.addCleanup(matchmaker.close)
        return matchmaker

    def cannot(self, *faults: str) -> bool:
        """Tell whether the store says that it cannot have one of these."""
        return any(fault in self.store.cannot for fault in faults)

    async def watching(self, matchmaker: IMatchmaker, *records: Record) -> Heard:
        """Watch, and wait until exactly these are heard."""
        heard = Heard()
        matchmaker.watch(*TOPIC, heard)
        await self.eventually("the first call of a watch", lambda: heard.last(*records))
        return heard

    async def eventually(self, what: str, holds: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait until something holds; fail, saying what, when it does not in time."""
        deadline = self.seconds() + patience
        while not holds():
            if self.seconds() > deadline:
                self.fail(f"waited {patience:g} s for this: {what}")
            await self.turn()

    async def found(self, matchmaker: IMatchmaker) -> list[Record]:
        """Look up, and leave out the ages."""
        return [sighting.record for sighting in await matchmaker.lookup(*TOPIC)]

    async def kept(
        self, matchmaker: IMatchmaker, record: Record, expire: float = 300, within: float = PATIENCE
    ) -> None:
        """Register as a node does: until it has worked."""
        deadline = self.seconds() + within
        while True:
            try:
                return await matchmaker.register(record, expire)
            except MatchmakerUnavailable:
                if self.seconds() > deadline:
                    raise
                await self.pass_time(0.05)

    async def present(self, *records: Record, within: float = AT_ONCE) -> None:
        """Wait until a new matchmaker finds all of these."""
        matchmaker, missing = self.matchmaker(), list(records)
        deadline = self.seconds() + within
        while missing and self.seconds() < deadline:
            try:
                found = await self.found(matchmaker)
            except MatchmakerUnavailable:
                found = []
            missing = [record for record in records if record not in found]
            await self.turn()
        self.assertEqual(missing, [], f"not there within {within:g} s")

    def everything(self, matchmaker: IMatchmaker) -> list[Callable[[], Deferred[Any]]]:
        """List all that can be asked, what reads first."""
        return [
            lambda: matchmaker.lookup(*TOPIC),
            matchmaker.records,
            lambda: matchmaker.register(make_record(number=7), 300),
            lambda: matchmaker.withdraw(make_record(number=8)),
        ]

    async def refused(self, asked: Deferred[Any]) -> str:
        """Check that an operation fails, in time, with a sentence that names the store; return it."""
        begin = self.seconds()
        try:
            answer = await asked
        except MatchmakerUnavailable as error:
            text = str(error)
            self.check_named(text)
        else:
            self.fail(f"it answered: {answer!r}")
        self.assertLess(self.seconds() - begin, self.store.limit + AT_ONCE, "a failure comes in time")
        return text

    def check_named(self, text: str) -> None:
        """Check that a sentence names the store, and says more than that."""
        names = [self.store.named] if isinstance(self.store.named, str) else self.store.named
        found = [name for name in names if name in text]
        self.assertTrue(found, f"a failure names the store, one of {names}: {text!r}")
        self.assertGreater(len(text), len(found[0]) + 10, "a failure says what is the matter")
        self.assertNotIn("\n", text)

    def check_few_lines(self) -> None:
        """Check that what may have been an outage for each matchmaker was logged as one at most."""
        self.assertLessEqual(len(self.lines), 2 * self.made, self.lines)

    async def over(self, count: int) -> None:
        """Check that an outage, and its end where there is one, was logged once by each of so many matchmakers."""
        await self.eventually("the lines about the outage", lambda: len(self.lines) >= count)
        await self.pass_time(0.1)
        self.assertEqual(len(self.lines), count, self.lines)
