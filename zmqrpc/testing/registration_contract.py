"""What a matchmaker owes to who registers, as tests; docs/howto/write-a-matchmaker."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.testing.heard import PATIENCE, Heard, OutagesHeard, make_record, unheeded
from zmqrpc.testing.lookup_contract import LookupContract


class MatchmakerContract(LookupContract):
    """
    What a matchmaker owes that takes registrations.

    Mix into a `twisted.trial.unittest.TestCase` that has `reactor` and `make_matchmaker`.

    :ivar coarse: seconds by which the store may be late to forget what has expired, and by which the ages that it tells
        may be off. The times of the tests are longer by twice that for each second: with 0.5 they are whole seconds.
    :ivar shares_doubts: whether doubts are shared as records (docs/spec/records), which a matchmaker need not do.
    """

    coarse = 0.0
    shares_doubts = False

    def make_unreachable(self) -> IMatchmaker | None:
        """Make a matchmaker of a store that is not there; None when this cannot be."""
        return None

    async def lose_everything(self) -> bool:
        """
        Have the store lose what it holds, as it does in a crash, and be there again.

        :return: False when this cannot be.
        """
        return False

    def _stretched(self, seconds: float) -> float:
        """Return how long something takes in a store whose times are coarse."""
        return seconds * (1 + 2 * self.coarse)

    async def given(self, *records: Record) -> None:
        """Register these with a matchmaker of their own, and withdraw what is there beside them."""
        matchmaker = self.make_matchmaker()
        keys = {record.key for record in records}
        found = [sighting.record for sighting in await matchmaker.records()]
        await gatherResults([matchmaker.withdraw(record) for record in found if record.key not in keys])
        for start in range(0, len(records), 100):
            await gatherResults([matchmaker.register(record, 300) for record in records[start : start + 100]])
        await matchmaker.close()

    # Records.

    async def test_registered(self) -> None:
        """What is registered is found, at once and by everybody."""
        mine, other = self.matchmaker(), self.matchmaker()
        await mine.register(make_record(), 300)
        self.assertEqual(await self.found(mine), [make_record()])
        self.assertEqual(await self.found(other), [make_record()])

    async def test_every_field(self) -> None:
        """Every field of a record comes back as it was."""
        matchmaker = self.matchmaker()
        record = make_record(
            role=Role.PUBLISHER,
            exchange="nova",
            addresses=("tcp://[::1]:5", "ipc:///run/zmqrpc/x"),
            versions=(1, 7),
            pool="audit",
            subscribes=True,
        )
        await matchmaker.register(record, 300)
        self.assertEqual(await self.found(matchmaker, exchange="nova"), [record])
        self.assertEqual([sighting.record for sighting in await matchmaker.records()], [record])

    async def test_refreshed(self) -> None:
        """A record with the key of another replaces it."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        moved = make_record(addresses=("tcp://10.0.0.1:1",), subscribes=True)
        await matchmaker.register(moved, 300)
        self.assertEqual(await self.found(matchmaker), [moved])

    async def test_age(self) -> None:
        """The age of a record counts from its last refresh, by the store's clock."""
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        await self.pass_time(self._stretched(1.5))
        for age in await self._ages(matchmaker):
            self.assertGreater(age, self._stretched(1.4))
            self.assertLess(age, PATIENCE)
        await matchmaker.register(make_record(), 300)
        for age in await self._ages(matchmaker):
            self.assertGreaterEqual(age, 0)
            self.assertLess(age, self._stretched(1.4))

    async def _ages(self, matchmaker: IMatchmaker) -> list[float]:
        """Return the age of the only record, as `records` tells it, and as a lookup does where the store can tell."""
        (listed,) = await matchmaker.records()
        (found,) = await matchmaker.lookup("openstack", "compute")
        assert listed.age is not None, "records() tells every age"
        return [age for age in (listed.age, found.age) if age is not None]

    async def test_expired(self) -> None:
        """A record that is not refreshed is forgotten, one that is stays, and one with expire 0 or less always does."""
        matchmaker = self.matchmaker()
        refreshed, never, negative = (make_record(number=number) for number in (2, 3, 4))
        await matchmaker.register(make_record(), self._stretched(2))
        await matchmaker.register(refreshed, self._stretched(2))
        await matchmaker.register(never, 0)
        await matchmaker.register(negative, -1)
        await self.pass_time(self._stretched(1.2))
        # Longer than before, since what follows takes its time on a busy machine.
        await matchmaker.register(refreshed, self._stretched(20))
        await self.pass_time(self._stretched(1.2) + self.coarse)
        self.assertEqual(await self.found(matchmaker), [refreshed, never, negative])
        self.assertEqual(len(await matchmaker.records()), 3)
        self.assertEqual(await self.found(self.matchmaker()), [refreshed, never, negative])

    async def test_expire_changed(self) -> None:
        """A refresh says anew after how long the record is forgotten: sooner, later or never."""
        matchmaker = self.matchmaker()
        sooner, later, never = (make_record(number=number) for number in (1, 2, 3))
        short = self._stretched(1)
        for record, first, second in ((sooner, 300, short), (later, short, 300), (never, short, 0)):
            await matchmaker.register(record, first)
            await matchmaker.register(record, second)
        await self.pass_time(self._stretched(1.2) + self.coarse)
        self.assertEqual(await self.found(matchmaker), [later, never])

    async def test_withdrawn(self) -> None:
        """A withdrawn record is not found by anybody, and the records of others are not touched."""
        mine, other = self.matchmaker(), self.matchmaker()
        twin = make_record(number=2)
        await gatherResults([mine.register(make_record(), 300), other.register(twin, 300)])
        await mine.withdraw(make_record(addresses=("tcp://10.0.0.1:1",)))
        self.assertEqual(await self.found(mine), [twin])
        self.assertEqual(await self.found(other), [twin])

    async def test_withdrawn_twice(self) -> None:
        """Withdrawing what is not there is no error."""
        matchmaker = self.matchmaker()
        await matchmaker.withdraw(make_record())
        await matchmaker.register(make_record(), 300)
        await matchmaker.withdraw(make_record())
        await matchmaker.withdraw(make_record())

    async def test_exact_withdrawal(self) -> None:
        """What is withdrawn is compared whole and literally as well."""
        matchmaker = self.matchmaker()
        records = [make_record(topic) for topic in ("c%", "comp*", "comp?", "compute")]
        for record in records:
            await matchmaker.register(record, 300)
        for record in records:
            await matchmaker.withdraw(record)
            self.assertEqual(await self.found(matchmaker, record.topic), [])
        self.assertEqual(await matchmaker.records(), [])

    async def test_separators_in_names(self) -> None:
        """However a store joins names: no two of them become one, and each comes back as it was."""
        matchmaker, heard = self.matchmaker(), Heard()
        words = ["a", "a.b", "a:b", "a/b", "a b", "a%3Ab", "a%", "a%25", "a|b", "a,b", "a\\b", 'a"b', "a*", "{a}"]
        pairs = [(one, other) for one in words for other in ("b", "b.c", "b:c", "a:b")]
        pairs += [("a:b", "c"), ("a", "b:c"), ("a.b", "c"), ("a", "b.c"), ("a%3Ab", "c"), ("a", "b%3Ac")]
        watched = make_record("b:c", exchange="a")
        matchmaker.watch("a", "b:c", heard)
        await self.eventually("the first call", heard.last)
        records = {pair: make_record(pair[1], exchange=pair[0]) for pair in dict.fromkeys(pairs)}
        await gatherResults([matchmaker.register(record, 300) for record in records.values()])
        for (exchange, topic), record in records.items():
            self.assertEqual(await self.found(matchmaker, topic, exchange), [record])
        await self.eventually("the watched one", lambda: heard.last(watched))
        self.assertEqual(len(await matchmaker.records()), len(records))
        entries = [make_record("t", member=one, pool=other, number=1) for one, other in records]
        await gatherResults([matchmaker.register(record, 300) for record in entries])
        self.assertCountEqual(await self.found(matchmaker, "t"), entries)
        for record in entries:
            await matchmaker.withdraw(record)
        self.assertEqual(await self.found(matchmaker, "t"), [])

    async def test_unicode_pool(self) -> None:
        """A pool may be any text, as names may."""
        matchmaker = self.matchmaker()
        records = [make_record(pool=pool) for pool in ("cafe\u0301", "caf\u00e9", "計算")]
        for record in records:
            await matchmaker.register(record, 300)
        self.assertCountEqual(await self.found(matchmaker), records)

    async def test_separate_entries(self) -> None:
        """Two instances of one member, one instance with several pools, and every role: each is an entry."""
        matchmaker = self.matchmaker()
        records = [make_record(number=number) for number in (1, 2)]
        records += [make_record(pool=pool) for pool in ("audit", "billing")]
        records += [make_record(role=role) for role in Role if role is not Role.SERVER]
        records += [make_record(instance="")]
        for record in records:
            await matchmaker.register(record, 300)
        self.assertCountEqual(await self.found(matchmaker), records)
        while records:
            await matchmaker.withdraw(records.pop())
            self.assertCountEqual(await self.found(matchmaker), records)

    async def test_order(self) -> None:
        """A lookup is ordered by member and instance, `records` by role, exchange, topic, member and instance."""
        matchmaker = self.matchmaker()
        members = ["b", "a", "a.c", "Z", "ä", "a-1"]
        records = [
            make_record(topic, member, number, role=role, exchange=exchange)
            for topic in ("compute", "agent")
            for member in members
            for number in (2, 1)
            for role in (Role.SERVER, Role.ROUTER)
            for exchange in ("openstack", "nova")
        ]
        await gatherResults([matchmaker.register(record, 300) for record in records])
        names = [(record.member, record.instance) for record in await self.found(matchmaker)]
        self.assertEqual(names, sorted(names))
        self.assertEqual(len(names), len(members) * 4)
        keys = [sighting.record.key for sighting in await matchmaker.records()]
        self.assertEqual(keys, sorted(record.key for record in records))

    async def test_concurrent(self) -> None:
        """Operations of several matchmakers at once lose nothing and find what was registered before."""
        matchmakers = [self.matchmaker() for _ in range(5)]

        async def use(matchmaker: IMatchmaker, first: int) -> None:
            for number in range(first, first + 20):
                mine = make_record(number=number)
                await matchmaker.register(mine, 300)
                self.assertIn(mine, await self.found(matchmaker))
                if number % 2:
                    await matchmaker.withdraw(mine)

        await gatherResults(
            [Deferred.fromCoroutine(use(matchmaker, 20 * index)) for index, matchmaker in enumerate(matchmakers)]
        )
        self.assertEqual(await self.found(matchmakers[0]), [make_record(number=number) for number in range(0, 100, 2)])

    async def test_shared_doubts(self) -> None:
        """Who shares doubts has others see one, whoever doubts as well, until it is taken back."""
        if not self.shares_doubts:
            return
        matchmaker, second, other, heard = *(self.matchmaker() for _ in range(3)), Heard()
        record = make_record()
        await matchmaker.register(record, 300)
        for each in (matchmaker, second):
            each.watch("openstack", "compute", Heard())
        other.watch("openstack", "compute", heard)
        await self.eventually("the first call", lambda: heard.last(record))
        unheeded(matchmaker.neg_acknowledge(record, "connection refused"))

        def doubts() -> list[Record]:
            return [sighting.record for sighting in heard.calls[-1] if sighting.record.role is Role.DOUBT]

        async def pass_a_moment() -> None:
            await self.pass_time(0.15)
            await self.turn()

        await pass_a_moment()
        await self.eventually("the doubt", lambda: len(doubts()) == 1)
        [doubt] = doubts()
        self.assertEqual((doubt.key[1:5], doubt.reason), (record.key[1:5], "connection refused"))
        unheeded(second.neg_acknowledge(record, "silent"))
        await pass_a_moment()
        unheeded(second.acknowledge(record))
        await pass_a_moment()
        self.assertEqual(doubts(), [doubt])
        unheeded(matchmaker.acknowledge(record))
        await self.eventually("its end", lambda: heard.last(record))

    # Watches.

    async def test_watch_changes(self) -> None:
        """A watch hears of every kind of change, whoever made it, in the order of a lookup."""
        matchmaker, other, heard = self.matchmaker(), self.matchmaker(), Heard()
        first, second = make_record(), make_record(member="node-0")
        moved = make_record(addresses=("tcp://10.0.0.1:1",))
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", heard.last)
        await matchmaker.register(first, 300)
        await self.eventually("a registration of ours", lambda: heard.last(first))
        await other.register(second, 300)
        await self.eventually("a registration of another", lambda: heard.last(second, first))
        await other.register(moved, 300)
        await self.eventually("a new address", lambda: heard.last(second, moved))
        await other.withdraw(second)
        await self.eventually("a withdrawal of another", lambda: heard.last(moved))
        await matchmaker.withdraw(first)
        await self.eventually("a withdrawal of ours", heard.last)

    async def test_watch_expiry(self) -> None:
        """A watch hears that a record has expired."""
        matchmaker, heard = self.matchmaker(), Heard()
        await matchmaker.register(make_record(), self._stretched(1))
        await matchmaker.register(make_record(number=2), 300)
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", lambda: heard.last(make_record(), make_record(number=2)))
        await self.pass_time(self._stretched(1.1))
        await self.eventually("the expiry", lambda: heard.last(make_record(number=2)))

    async def test_watch_expiry_changed(self) -> None:
        """A watch hears of an expiry that a refresh has put off, or brought forward, when it comes."""
        matchmaker, other, heard = self.matchmaker(), self.matchmaker(), Heard()
        first, second = make_record(), make_record(number=2)
        await other.register(first, self._stretched(3))
        await other.register(second, 300)
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", lambda: heard.last(first, second))
        await self.pass_time(self._stretched(1))
        await other.register(first, self._stretched(3))
        await other.register(second, self._stretched(1))
        await self.pass_time(self._stretched(1.1))
        await self.eventually("the expiry that was brought forward", lambda: heard.last(first))
        await self.pass_time(self._stretched(2))
        await self.eventually("the expiry that was put off", heard.last)
        self.assertEqual(len(heard.calls), 3)

    async def test_watch_refresh(self) -> None:
        """A refresh that changes nothing is not told."""
        matchmaker, other, heard = self.matchmaker(), self.matchmaker(), Heard()
        await other.register(make_record(), 300)
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", lambda: heard.last(make_record()))
        for _ in range(3):
            await other.register(make_record(), 300)
            await matchmaker.lookup("openstack", "compute")
        second = make_record(number=2)
        await other.register(second, 300)
        await self.eventually("what has changed", lambda: heard.last(make_record(), second))
        self.assertEqual(len(heard.calls), 2)

    async def test_watch_merges(self) -> None:
        """Changes may become one call; the last call has the newest content, and no call is for nothing."""
        matchmaker, other, heard = self.matchmaker(), self.matchmaker(), Heard()
        records = [make_record(number=number) for number in range(100)]
        matchmaker.watch("openstack", "compute", heard)
        await gatherResults([other.register(record, 300) for record in records])
        await self.eventually("all of them", lambda: heard.last(*records))
        self.assertLessEqual(len(heard.calls), 101)
        contents = [[sighting.record for sighting in call] for call in heard.calls]
        self.assertTrue(all(before != after for before, after in pairwise(contents)))

    async def test_watch_from_within(self) -> None:
        """A watch may stop itself, begin others and change the store while it is called."""
        matchmaker, heard = self.matchmaker(), Heard()
        calls: list[int] = []

        def changed(sightings: list[Sighting]) -> None:
            calls.append(len(sightings))
            stop()
            matchmaker.watch("openstack", "compute", heard)
            matchmaker.register(make_record(), 300)

        stop = matchmaker.watch("openstack", "compute", changed)
        await self.eventually("the change made in a watch", lambda: heard.last(make_record()))
        self.assertEqual(calls, [0])

    # Loss, and a store that is not there.

    async def test_lost(self) -> None:
        """A watch hears that the store has lost everything, which then works as before."""
        matchmaker, heard = self.matchmaker(), Heard()
        await matchmaker.register(make_record(), 300)
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", lambda: heard.last(make_record()))
        if not await self.lose_everything():
            return
        await self.eventually("the loss", heard.last)
        await self.registered(matchmaker, make_record())
        await self.eventually("what was registered again", lambda: heard.last(make_record()))
        second, other = make_record(number=2), self.matchmaker()
        await self.registered(other, second)
        await self.eventually("what another registered", lambda: heard.last(make_record(), second))
        self.assertEqual(await self.found(other), [make_record(), second])

    async def registered(self, matchmaker: IMatchmaker, record: Record) -> None:
        """Register as a node does: until it has worked."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await matchmaker.register(record, 300)
            except MatchmakerUnavailable:
                if time.monotonic() > deadline:
                    raise
                await self.pass_time(0.1)

    async def test_unreachable(self) -> None:
        """Without its store everything that is asked fails in time, with a reason; a watch waits; it can be closed."""
        matchmaker, heard = self.make_unreachable(), Heard()
        if matchmaker is None:
            return
        outages = OutagesHeard(matchmaker)
        matchmaker.watch("openstack", "compute", heard)
        begin = time.monotonic()
        asked: list[Callable[[], Deferred[Any]]] = [
            lambda: matchmaker.register(make_record(), 300),
            lambda: matchmaker.withdraw(make_record()),
            lambda: matchmaker.lookup("openstack", "compute"),
            matchmaker.records,
        ]
        for ask in asked:
            try:
                await ask()
            except MatchmakerUnavailable as error:
                self.assertGreater(len(str(error)), 20, "it names what is the matter")
            else:
                self.fail("it answered")
        self.assertLess(time.monotonic() - begin, PATIENCE)
        if outages.knows:
            # Who is told need not ask.
            await self.eventually("that it is away", lambda: outages.state[0] and outages.are(outages.state))
        told = len(outages.states)
        await matchmaker.close()
        await self.turn()
        self.assertEqual((heard.calls, len(outages.states)), ([], told))

    # The end.

    async def test_close_at_once(self) -> None:
        """What was asked before a close is answered, one way or the other."""
        matchmaker = self.make_matchmaker()
        matchmaker.watch("openstack", "compute", Heard())
        answers: list[object] = []
        matchmaker.register(make_record(), 300).addBoth(answers.append)
        matchmaker.lookup("openstack", "compute").addBoth(answers.append)
        await matchmaker.close()
        await self.eventually("both answers", lambda: len(answers) == 2)
        self.flushLoggedErrors()
