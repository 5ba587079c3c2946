"""What a matchmaker owes while its store fails, as tests; docs/howto/write-a-matchmaker."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from zope.interface.verify import verifyObject

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.record import Record, Sighting
from zmqrpc.testing.fault_case import AT_ONCE, TOPIC, FaultCase
from zmqrpc.testing.faulty_store import FAULTS, IFaultyStore
from zmqrpc.testing.heard import PATIENCE, WELL, Heard, OutagesHeard, make_record
from zmqrpc.testing.logs import LogLines

MOST_WAITING = 100
"""Operations that may wait for a store which is known not to answer."""

MOST_TRIES = 10
"""
Tries that a matchmaker makes in a second at most, at one address of a store that is away or refuses, for each topic
that is watched, after the first second. Each of the back-offs of ours says less: docs/adr/0037 has them all.
"""


class FaultContract(FaultCase):
    """
    What a matchmaker owes that takes registrations, whatever happens to its store.

    Mix into a `twisted.trial.unittest.TestCase` that has `reactor` and `make_store`. A test of a fault that the store
    cannot have checks that this is said, and ends.

    :ivar reactor: what the matchmakers run on.
    :ivar outages: how the namespace of the logger begins that logs the begin and the end of an outage, and nothing else
        in these tests.
    """

    # What the store says of itself.

    def test_store(self) -> None:
        """The store is as `IFaultyStore` says, and what it cannot be it says, and nothing else."""
        self.assertTrue(verifyObject(IFaultyStore, self.store))
        self.assertEqual(set(self.store.cannot) - FAULTS, set())
        calls: dict[str, tuple[Any, ...]] = {"start": (False,), "slow": (0.1,), "step_clock": (1,)}
        belongs = {
            "start": {"kill", "fail_over"},
            "resume": {"hang", "hang_over"},
            "accept": {"refuse"},
            "heal": {"split"},
            "make_stranded": {"split"},
        }
        for name in sorted(FAULTS | belongs.keys()):
            if self.store.cannot >= belongs.get(name, {name}):
                self.assertRaises(NotImplementedError, getattr(self.store, name), *calls.get(name, ()))

    # Absent, killed, back.

    async def test_absent(self) -> None:
        """Without the store all fails in time and a watch is silent; when the store is there all works by itself."""
        if self.cannot("kill"):
            return
        await self.store.kill()
        matchmaker, heard = self.matchmaker(), Heard()
        matchmaker.watch(*TOPIC, heard)
        for ask in self.everything(matchmaker):
            await self.refused(ask())
        await self.over(1)
        self.assertEqual(heard.calls, [])
        await self.store.start(True)
        await self.eventually("the first call of the watch", heard.last)
        await self.kept(matchmaker, make_record())
        await self.eventually("what was registered", lambda: heard.last(make_record()))
        await self.over(2)

    async def test_killed(self) -> None:
        """All fails at once or in time, and a watch keeps what it has said; who knows of outages tells of this one."""
        if self.cannot("kill"):
            return
        matchmaker = self.matchmaker()
        outages, ended = OutagesHeard(matchmaker), OutagesHeard(matchmaker)
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        self.assertTrue(outages.are(WELL), outages.states)
        await self.store.kill()
        for _ in range(2):
            for ask in self.everything(matchmaker):
                told = len(outages.states)
                asked = ask()
                self.assertEqual(len(outages.states), told, "an outage was told from within a method")
                await self.refused(asked)
        await self.pass_time(0.3)
        self.assertEqual(len(heard.calls), 1, "nothing is known to be gone")
        await self.over(1)
        if not outages.knows:
            return
        self.assertTrue(outages.are(outages.state), outages.states)
        away, failing = outages.state
        for text in [away, *failing]:
            self.check_named(text)
        self.assertTrue(failing)
        self.assertEqual(ended.states, outages.states)
        ended.stop()
        await self.store.start(False)
        # Who watches, and asks for nothing, is told as well.
        await self.eventually("that it is not away any more", lambda: outages.are(WELL))
        self.assertLess(len(ended.states), len(outages.states), "a watch of outages was told after its end")

    async def test_back_empty(self) -> None:
        """A watch hears the loss, which is registered again by its owner and pushed to others."""
        if self.cannot("kill"):
            return
        mine, other = self.matchmaker(), self.matchmaker()
        await mine.register(make_record(), 300)
        heard, pushed = await self.watching(mine, make_record()), await self.watching(other, make_record())
        await self.store.kill()
        await self.store.start(True)
        await self.eventually("the loss", heard.last)
        await self.kept(mine, make_record())
        await self.eventually("the record, by who registered it", lambda: heard.last(make_record()))
        await self.eventually("the record, by another", lambda: pushed.last(make_record()))
        second = make_record(number=2)
        await self.kept(other, second)
        await self.eventually("a second record", lambda: heard.last(make_record(), second))
        self.assertEqual(await self.found(mine), [make_record(), second])

    async def test_back_with_content(self) -> None:
        """Where the store has kept what it had, a watch says nothing of its absence."""
        if self.cannot("kill") or not self.store.keeps:
            return
        mine, other = self.matchmaker(), self.matchmaker()
        await mine.register(make_record(), 300)
        heard = await self.watching(mine, make_record())
        await self.store.kill()
        await self.refused(mine.lookup(*TOPIC))
        await self.store.start(False)
        await self.present(make_record(), within=PATIENCE)
        second = make_record(number=2)
        await self.kept(other, second)
        await self.eventually("a second record", lambda: heard.last(make_record(), second))
        self.assertEqual([len(call) for call in heard.calls], [1, 2], "what was never gone was never said to be")
        self.assertEqual(await self.found(mine), [make_record(), second])
        await self.over(2)

    # Hung.

    async def test_hung(self) -> None:
        """Each operation ends in time, and when the store goes on the same matchmaker works."""
        if self.cannot("hang"):
            return
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        heard = await self.watching(matchmaker, make_record())
        await self.store.hang()
        asked = [ask() for ask in self.everything(matchmaker)]
        for reading in asked[:2]:
            if self.store.reads_while_hung:
                self.assertEqual(_records(await reading), [make_record()])
            else:
                await self.refused(reading)
        for writing in asked[2:]:
            await self.refused(writing)
        await self.over(1)
        self.assertEqual(len(heard.calls), 1)
        await self.store.resume()
        second = make_record(number=2)
        await self.kept(matchmaker, second)
        await self.eventually("the second record", lambda: bool(heard.calls) and second in _records(heard.calls[-1]))
        self.assertIn(second, await self.found(matchmaker))
        await self.over(2)

    async def test_hung_and_busy(self) -> None:
        """Few wait for a store that is known not to answer; all others are refused at once, and nobody is forgotten."""
        if self.cannot("hang"):
            return
        matchmaker = self.matchmaker()
        await matchmaker.register(make_record(), 300)
        await self.store.hang()
        await self.refused(matchmaker.register(make_record(), 300))
        asked = [matchmaker.register(make_record(number=number), 300) for number in range(3 * MOST_WAITING)]
        # One that gathers for a while, as our Redis does, has its bound in that: no more gatherings fit into its limit.
        waiting = sum(not asking.called for asking in asked)
        self.assertLessEqual(waiting, MOST_WAITING * self.store.together, "how many wait for a store that hangs")
        begin = self.seconds()
        for asking in asked:
            await self.assertFailure(asking, MatchmakerUnavailable)
        self.assertLess(self.seconds() - begin, self.store.limit + AT_ONCE)
        await self.store.resume()
        await self.kept(matchmaker, make_record())

    async def test_hung_in_order(self) -> None:
        """What failed while the store hung does not come back later than what was asked after it."""
        if self.cannot("hang"):
            return
        matchmaker = self.matchmaker()
        gone, back = make_record(number=1), make_record(number=2)
        await matchmaker.register(back, 300)
        await self.store.hang()
        await self.refused(matchmaker.register(gone, 1))
        for withdrawing in [matchmaker.withdraw(gone), matchmaker.withdraw(back)]:
            await self.refused(withdrawing)
        await self.store.resume()
        await self.kept(matchmaker, back)
        await self.pass_time(0.3)
        self.assertIn(back, await self.found(matchmaker), "a withdrawal came later than what was registered after it")
        end = self.seconds() + 2.2  # some stores count in whole seconds
        while gone in await self.found(matchmaker):
            self.assertLess(self.seconds(), end, "it should have expired")
            await self.pass_time(0.05)

    # Slow.

    async def test_slow(self) -> None:
        """A store that answers late is as right as any, and a lookup waits for one answer."""
        if self.cannot("slow"):
            return
        delay = min(0.3, self.store.limit / 10)  # what is asked first may take several answers
        await self.store.slow(delay)
        mine, other = self.matchmaker(), self.matchmaker()
        await mine.register(make_record(), 300)
        self.assertEqual(await self.found(mine), [make_record()])
        before, begin = self.store.turns(), self.seconds()
        self.assertEqual(await self.found(mine), [make_record()])
        took, after = self.seconds() - begin, self.store.turns()
        self.assertGreater(took, delay / 2, "the store was not slow")
        if before is not None and after is not None:
            self.assertEqual(after - before, 1, "round trips of a lookup")
        else:
            self.assertLess(took, 3 * delay)
        heard = await self.watching(other, make_record())
        second = make_record(number=2)
        await mine.register(second, 300)
        await self.eventually("the second record", lambda: heard.last(make_record(), second))
        await mine.withdraw(make_record())
        await self.eventually("the withdrawal", lambda: heard.last(second))
        self.assertEqual(self.lines, [], "late is not away")

    # Refusing.

    async def test_asks_with_pauses(self) -> None:
        """Nobody asks a store that refuses, or is away, all the time, whatever has expired meanwhile."""
        matchmaker = self.matchmaker()
        if not self.cannot("refuse"):
            await self._check_pauses(matchmaker, "refuses", self.store.refuse)
            await self.store.accept()
            await self.kept(matchmaker, make_record(number=3))
        if not self.cannot("kill"):
            await self._check_pauses(matchmaker, "is away", self.store.kill)

    async def _check_pauses(self, matchmaker: IMatchmaker, state: str, fail: Callable[[], Awaitable[None]]) -> None:
        """Have a record of two expire when the store fails, and count for a second what is asked then."""
        short, kept, heard = make_record(number=1), make_record(number=2), Heard()
        await matchmaker.register(kept, 300)
        await matchmaker.register(short, 1)
        stop = matchmaker.watch(*TOPIC, heard)
        await self.eventually("the first call of a watch", lambda: heard.calls)
        await fail()
        await self.pass_time(1.3)
        self.store.tries()
        await self.pass_time(1)
        tries = self.store.tries()
        if tries is not None:
            self.assertLessEqual(tries, MOST_TRIES, f"tries in a second while the store {state}")
        stop()

    # Failing over.

    async def test_fails_over(self) -> None:
        """When another has taken over all works again, a watch goes on, and nothing is lost that was stored since."""
        if self.cannot("fail_over"):
            return
        mine, other = self.matchmaker(), self.matchmaker()
        await mine.register(make_record(), 300)
        heard = await self.watching(other, make_record())
        await self.store.fail_over()
        second, third = make_record(number=2), make_record(number=3)
        await self.kept(mine, second, within=AT_ONCE)
        await self.kept(other, third, within=AT_ONCE)
        await self.kept(mine, make_record(), within=AT_ONCE)
        await self.eventually("a watch goes on", lambda: heard.last(make_record(), second, third))
        await self.store.start(False)
        await self.pass_time(0.3)
        await self.present(make_record(), second, third)
        self.assertTrue(heard.last(make_record(), second, third))
        self.check_few_lines()

    async def test_hangs_over(self) -> None:
        """What is stored while an old leader comes back is there, and a watch ends with the truth."""
        if self.cannot("hang_over"):
            return
        mine, other = self.matchmaker(), self.matchmaker()
        await mine.register(make_record(), 300)
        heard = await self.watching(other, make_record())
        await self.store.hang_over()
        second, third = make_record(number=2), make_record(number=3)
        await self.kept(mine, second, within=AT_ONCE)
        await self.store.resume()
        await self.kept(other, third, within=AT_ONCE)
        await self.kept(mine, make_record(), within=AT_ONCE)
        await self.present(make_record(), second, third)
        await self.eventually("the truth", lambda: heard.last(make_record(), second, third))
        await self.pass_time(0.5)
        self.assertTrue(heard.last(make_record(), second, third))
        self.check_few_lines()

    # Strangers, splits.

    async def test_stranger(self) -> None:
        """With a wrong password all fails with a sentence that does not tell it; put right, all works by itself."""
        if self.cannot("make_stranger"):
            return
        secrets = LogLines(self, "")
        stranger, heard = self.matchmaker(self.store.make_stranger), Heard()
        stranger.watch(*TOPIC, heard)
        for ask in self.everything(stranger):
            self.assertNotIn(self.store.secret, await self.refused(ask()))
        await self.over(1)
        self.assertEqual((heard.calls, secrets.about(self.store.secret)), ([], []))
        if self.cannot("admit_stranger"):
            return
        await self.store.admit_stranger()
        await self.kept(stranger, make_record())
        await self.eventually("the watch", lambda: heard.last(make_record()))
        await self.over(2)
        self.assertEqual(secrets.about(self.store.secret), [])

    async def test_split(self) -> None:
        """A minority is not believed, whatever it says; the majority goes on."""
        if self.cannot("split"):
            return
        mine = self.matchmaker()
        await mine.register(make_record(), 300)
        stranded = self.matchmaker(self.store.make_stranded)
        await self.present(make_record())
        heard = await self.watching(stranded, make_record())
        await self.store.split()
        second = make_record(number=2)
        await self.kept(mine, second)
        for ask in self.everything(stranded):
            await self.refused(ask())
        self.assertEqual(len(heard.calls), 1)
        self.assertEqual(await self.found(mine), [make_record(), second])
        await self.store.heal()
        await self.eventually("what the majority had stored", lambda: heard.last(make_record(), second))

    # The clock on the wall.

    async def test_clock_forward(self) -> None:
        """What is refreshed is there at once; what never expires stays; no age is odd."""
        await self._check_step(7200)

    async def test_clock_back(self) -> None:
        """The same; and nothing lives longer for it than it was stored for."""
        await self._check_step(-7200)

    async def _check_step(self, seconds: float) -> None:
        """Set the clock on the wall of the store."""
        if self.cannot("step_clock"):
            return
        mine, other = self.matchmaker(), self.matchmaker()
        short, kept, stays = (make_record(number=number) for number in (1, 2, 3))
        await mine.register(kept, 300)
        await mine.register(stays, 0)
        heard = await self.watching(other, kept, stays)
        await mine.register(short, 1.5)
        await self.eventually("the third record", lambda: heard.last(short, kept, stays))
        await self.store.step_clock(seconds)
        await mine.register(kept, 300)
        self._check_ages(await mine.lookup(*TOPIC), kept, stays)
        self._check_ages(await mine.records(), kept, stays)
        # Those who watch hear of it without anybody who asks.
        await self.eventually("the expiry", lambda: heard.last(kept, stays))
        self.assertEqual(await self.found(mine), [kept, stays])
        self.assertTrue(all(stays in _records(call) for call in heard.calls), "a watch told what was not")
        await mine.withdraw(kept)
        await self.eventually("the withdrawal", lambda: heard.last(stays))
        await mine.register(kept, 300)
        await self.eventually("the record again", lambda: heard.last(kept, stays))
        self.assertEqual(self.lines, [])

    def _check_ages(self, sightings: list[Sighting], kept: Record, stays: Record) -> None:
        """Check that both are there, and that nothing is from the future, or old though just refreshed."""
        ages = {sighting.record: sighting.age for sighting in sightings}
        self.assertIn(kept, ages)
        self.assertIn(stays, ages)
        for age in ages.values():
            self.assertGreaterEqual(age if age is not None else 0, 0)
        self.assertLess(ages[kept] or 0, PATIENCE)


def _records(sightings: list[Sighting]) -> list[Record]:
    return [sighting.record for sighting in sightings]
