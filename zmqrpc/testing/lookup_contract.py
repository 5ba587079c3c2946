"""What every matchmaker owes to who looks up, as tests; docs/howto/write-a-matchmaker."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from zmqrpc.interfaces import IMatchmaker, IOutages
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.testing.heard import PATIENCE, WELL, Heard, OutagesHeard, by_key, make_record, unheeded

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object


class LookupContract(_Case):
    """
    What every matchmaker owes: it finds, and tells of, what somebody has put into its store.

    Mix into a `twisted.trial.unittest.TestCase` that has `reactor`, `make_matchmaker` and `given`. A matchmaker that
    takes registrations runs `MatchmakerContract` instead, which has all of this and more.

    :ivar reactor: what the matchmakers run on, a reactor or a `task.Clock`.
    """

    reactor: Any

    def make_matchmaker(self) -> IMatchmaker:
        """
        Make a matchmaker; each call within a test makes one more of the same store, which is empty at first.

        The suite closes it.
        """
        raise NotImplementedError

    def given(self, *records: Record) -> Awaitable[None]:
        """Have the store hold exactly these records; its matchmakers are not told."""
        raise NotImplementedError

    def record(self, topic: str = "compute", member: str = "node-1", number: int = 1, **fields: Any) -> Record:
        """Make a record that the store can hold, see `make_record`; override it where that is not every one."""
        return make_record(topic, member, number, **fields)

    def pass_time(self, seconds: float) -> Awaitable[None]:
        """Let time pass for the store; override it where the store's clock can be set."""
        return deferLater(self.reactor, seconds)

    def turn(self) -> Awaitable[None]:
        """Let the reactor work; override it where that is a `task.Clock`."""
        return deferLater(self.reactor, 0.002)

    def matchmaker(self) -> IMatchmaker:
        """Make a matchmaker that is closed after the test."""
        matchmaker = self.make_matchmaker()
        self.addCleanup(matchmaker.close)
        return matchmaker

    async def eventually(self, what: str, holds: Callable[[], object]) -> None:
        """Wait until something holds; fail, saying what, when it does not in `PATIENCE`."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                self.fail(f"waited {PATIENCE} s for this: {what}")
            await self.turn()

    async def found(self, matchmaker: IMatchmaker, topic: str = "compute", exchange: str = "openstack") -> list[Record]:
        """Look up a topic and leave out the ages."""
        return [sighting.record for sighting in await matchmaker.lookup(exchange, topic)]

    # Records.

    def test_provides_interface(self) -> None:
        """It has every method of `IMatchmaker`, with its parameters."""
        self.assertTrue(verifyObject(IMatchmaker, self.matchmaker()))

    def test_outages(self) -> None:
        """One that tells of outages knows of none before its first use; such a watch can be ended twice."""
        matchmaker = self.matchmaker()
        outages = OutagesHeard(matchmaker)
        if outages.knows:
            self.assertTrue(verifyObject(IOutages, matchmaker))
            self.assertTrue(outages.are(WELL), (outages.states, outages.state))
            for _ in range(2):
                outages.stop()

    async def test_nobody(self) -> None:
        """That nobody listens is an answer."""
        matchmaker = self.matchmaker()
        self.assertEqual(await matchmaker.lookup("openstack", "compute"), [])
        self.assertEqual(await matchmaker.records(), [])

    async def test_found(self) -> None:
        """What is in the store is found, by everybody, and so is what comes, changes and goes."""
        mine, other = self.matchmaker(), self.matchmaker()
        first, second = self.record(), self.record(member="node-0", number=2)
        moved = self.record(addresses=("tcp://10.0.0.1:1",))
        for records in ([first], [second, first], [second, moved], [second], []):
            await self.given(*records)
            self.assertEqual(await self.found(mine), records)
            self.assertEqual(await self.found(other), records)
            self.assertEqual([sighting.record for sighting in await mine.records()], sorted(records, key=by_key))

    async def test_exact_names(self) -> None:
        """Exchange and topic are compared whole and literally: no prefix, no pattern, no case folding, no joining."""
        matchmaker = self.matchmaker()
        topics = ["compute", "compute_agent", "comput", "Compute", "compute.", "compute.node-1", "c_mpute", "c%"]
        topics += ["compute*", "comput?", "[c]ompute", "c\\ompute", "'compute'", 'com"pute', "compute:x", "comp/ute"]
        names = [("openstack", topic) for topic in topics]
        names += [("open", "stack.compute"), ("open.stack", "compute"), ("Openstack", "compute"), ("o%", "compute")]
        records = {name: self.record(name[1], exchange=name[0]) for name in names}
        await self.given(*records.values())
        for exchange, topic in names:
            self.assertEqual(await self.found(matchmaker, topic, exchange), [records[exchange, topic]])
        await self.given(*(records[name] for name in names if name != ("openstack", "compute")))
        self.assertEqual(len(await matchmaker.records()), len(names) - 1)

    async def test_unicode_names(self) -> None:
        """Names may be any text; two spellings that look alike are two names."""
        matchmaker = self.matchmaker()
        names = ["caf\u00e9", "cafe\u0301", "計算", "🐇" * 63, "with blank"]
        await self.given(*(self.record(name, member=name, exchange=name) for name in names))
        for name in names:
            (record,) = await self.found(matchmaker, name, name)
            self.assertEqual((record.topic, record.member), (name, name))

    async def test_members_in_order(self) -> None:
        """A lookup is ordered by member, `records` by exchange, topic and member."""
        matchmaker = self.matchmaker()
        records = [
            self.record(topic, member, number, exchange=exchange)
            for topic in ("compute", "agent")
            for number, member in enumerate(["b", "a", "a.c", "Z", "ä", "a-1"])
            for exchange in ("openstack", "nova")
        ]
        await self.given(*records)
        members = [record.member for record in await self.found(matchmaker)]
        self.assertEqual(members, sorted(["b", "a", "a.c", "Z", "ä", "a-1"]))
        self.assertEqual([sighting.record for sighting in await matchmaker.records()], sorted(records, key=by_key))

    async def test_thousand(self) -> None:
        """A thousand records of one topic are found."""
        records = [self.record(member=f"node-{number:04}", number=number) for number in range(1000)]
        await self.given(*records)
        self.assertEqual(await self.found(self.matchmaker()), records)

    async def test_doubts(self) -> None:
        """What is said about an instance that was not reachable never removes its record."""
        matchmaker = self.matchmaker()
        record, stranger = self.record(), self.record(member="node-9", number=9)
        await self.given(record)
        for hinted in (record, stranger):
            unheeded(matchmaker.neg_acknowledge(hinted, "connection refused"))
        self.assertEqual(await self._without_doubts(matchmaker), [record])
        for hinted in (stranger, record):
            unheeded(matchmaker.acknowledge(hinted))
        self.assertEqual(await self._without_doubts(matchmaker), [record])

    async def _without_doubts(self, matchmaker: IMatchmaker) -> list[Record]:
        return [record for record in await self.found(matchmaker) if record.role is not Role.DOUBT]

    # Watches.

    async def test_watch_begins(self) -> None:
        """A watch soon says what there is, be it nothing, and so does a further one."""
        matchmaker, heard, second, empty = self.matchmaker(), Heard(), Heard(), Heard()
        await self.given(self.record())
        matchmaker.watch("openstack", "compute", heard)
        matchmaker.watch("openstack", "nobody", empty)
        self.assertEqual((heard.calls, empty.calls), ([], []), "a watch is not called from within watch()")
        await self.eventually("the first call", lambda: heard.last(self.record()))
        await self.eventually("the first call, with nothing", empty.last)
        matchmaker.watch("openstack", "compute", second)
        await self.eventually("the first call of a second watch", lambda: second.last(self.record()))
        self.assertEqual([len(said.calls) for said in (heard, second, empty)], [1, 1, 1])

    async def test_watch_hears(self) -> None:
        """A watch hears of what comes, changes and goes, in the order of a lookup."""
        matchmaker, heard = self.matchmaker(), Heard()
        first, second = self.record(), self.record(member="node-0", number=2)
        moved = self.record(addresses=("tcp://10.0.0.1:1",))
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", heard.last)
        for records in ([first], [second, first], [second, moved], [moved], []):
            await self.given(*records)
            await self.eventually("the change", partial(heard.last, *records))

    async def test_watch_one_topic(self) -> None:
        """A watch hears nothing of other topics and exchanges."""
        matchmaker, heard, control = self.matchmaker(), Heard(), Heard()
        matchmaker.watch("openstack", "compute", heard)
        matchmaker.watch("openstack", "compute_agent", control)
        await self.eventually("the first call", lambda: heard.last() and control.last())
        agent = self.record("compute_agent")
        await self.given(self.record(exchange="nova"), agent)
        await self.eventually("the change of the other topic", lambda: control.last(agent))
        self.assertEqual(len(heard.calls), 1)

    async def test_watch_stops(self) -> None:
        """A stopped watch hears nothing more, others do; stopping twice does nothing; a topic can be watched again."""
        matchmaker, heard, control, again = self.matchmaker(), Heard(), Heard(), Heard()
        stop = matchmaker.watch("openstack", "compute", heard)
        matchmaker.watch("openstack", "compute", control)
        await self.eventually("the first call", lambda: heard.last() and control.last())
        stop()
        stop()
        await self.given(self.record())
        await self.eventually("the change", lambda: control.last(self.record()))
        self.assertEqual(len(heard.calls), 1)
        stop_again = matchmaker.watch("openstack", "compute", again)
        await self.eventually("the first call of another watch", lambda: again.last(self.record()))
        stop()
        stop_again()

    async def test_watch_stopped_at_once(self) -> None:
        """A watch that is stopped before its first call is never called, and its topic can be watched again."""
        matchmaker, never, heard = self.matchmaker(), Heard(), Heard()
        matchmaker.watch("openstack", "compute", never)()
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", heard.last)
        self.assertEqual(never.calls, [])

    async def test_watch_raises(self) -> None:
        """What a watch raises is logged, and disturbs neither others nor its own later calls."""
        matchmaker, heard, raising = self.matchmaker(), Heard(), Heard()

        def changed(sightings: list[Sighting]) -> None:
            raising(sightings)
            raise ZeroDivisionError("a watch of the test")

        matchmaker.watch("openstack", "compute", changed)
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first calls", lambda: heard.last() and raising.last())
        await self.given(self.record())
        await self.eventually("the second calls", lambda: heard.last(self.record()) and raising.last(self.record()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    # The end.

    async def test_close(self) -> None:
        """A closed matchmaker calls no watch; others, and what is in the store, go on."""
        matchmaker, other, heard, control = self.make_matchmaker(), self.matchmaker(), Heard(), Heard()
        await self.given(self.record())
        stop = matchmaker.watch("openstack", "compute", heard)
        other.watch("openstack", "compute", control)
        await self.eventually("the first call", lambda: heard.last(self.record()) and control.last(self.record()))
        await matchmaker.close()
        both = (self.record(member="node-0", number=2), self.record())
        await self.given(*both)
        await self.eventually("the change", lambda: control.last(*both))
        self.assertEqual(len(heard.calls), 1)
        self.assertEqual(await self.found(other), list(both))
        stop()

    async def test_close_unused(self) -> None:
        """A matchmaker that was never used can be closed."""
        await self.make_matchmaker().close()
