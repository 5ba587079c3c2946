"""What the application says of members: who is avoided, for how long, and who is used all the same."""

from __future__ import annotations

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import ConfigError
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")
A, B = Target("work", server="a"), Target("work", server="b")
LONG = {"quarantine_time": 30.0}


class QuarantineScenarios(Scenario):
    async def begin(self, names="ab", **options):
        """Serve these members, and call each once."""
        self.workers = {name: await self.member(name) for name in names}
        self.client = self.world.client(**options)
        await self.client.fanout(WORK, "mark")

    async def called(self, target=WORK, times=6):
        """Return whom so many calls go to."""
        return {await self.client.call(target, "mark", timeout=5) for _ in range(times)}

    async def test_avoided_and_back(self):
        """A member that was complained about is avoided, and comes back by itself."""
        await self.begin(quarantine_time=0.4)
        instance = self.workers["a"].node.instance.hex()
        self.assertEqual(self.client.neg_acknowledge(A, "slow"), [("a", instance)])
        self.assertEqual(await self.called(), {"b"})
        await self.world.sleep(0.45)
        self.assertEqual(await self.called(), {"a", "b"})

    async def test_twice_as_long(self):
        """A complaint soon after the return keeps it away for twice as long."""
        await self.begin(quarantine_time=0.4)
        self.client.neg_acknowledge(A, "slow")
        await self.world.sleep(0.45)
        self.client.neg_acknowledge(A, "slow still")
        await self.world.sleep(0.35)
        self.assertEqual(await self.called(), {"b"})
        await self.world.sleep(0.5)
        self.assertEqual(await self.called(), {"a", "b"})

    async def test_acknowledged(self):
        """It comes back at once when it is acknowledged."""
        await self.begin(**LONG)
        self.client.neg_acknowledge(A, "slow")
        self.assertEqual(await self.called(), {"b"})
        self.assertEqual(self.client.acknowledge(A), [("a", self.workers["a"].node.instance.hex())])
        self.assertEqual(await self.called(), {"a", "b"})

    async def test_no_call_fails_by_it(self):
        """Whoever is meant, or left, is used all the same: by its own name, or as one of nothing but such."""
        await self.begin(**LONG)
        self.client.neg_acknowledge(A, "slow")
        self.assertEqual(await self.called(A), {"a"})
        self.client.neg_acknowledge(B, "slow")
        self.assertEqual(await self.called(), {"a", "b"})
        self.client.acknowledge(B)
        self.world.kill(self.workers["b"].node)
        names = await gatherResults(
            [self.client.call(WORK, "mark", timeout=5, idempotent=True) for _ in range(6)], consumeErrors=True
        )
        self.assertEqual(set(names), {"a"})

    async def test_refused_by_the_others(self):
        """What those refuse that are not in it goes to one that is."""
        await self.begin(**LONG)
        held = self.world.client().call(B, "hold", timeout=20)
        await self.world.eventually("it runs", lambda: self.workers["b"].held)
        self.client.neg_acknowledge(A, "slow")
        requests = self.workers["b"].node._callers._requests
        requests.draining = True
        self.assertEqual(await self.called(), {"a"})
        requests.draining = False
        self.workers["b"].let_go()
        await held

    async def test_everybody(self):
        """A bare topic means everybody who is known."""
        await self.begin(**LONG)
        concerned = self.client.neg_acknowledge(WORK, "all of them")
        self.assertEqual(concerned, await self.client.members(WORK))
        self.assertEqual(await self.called(), {"a", "b"})
        await self.member("c")
        await self.world.eventually("c is known", lambda: len(self.client._delivery.table.topics()[0].servers()) == 3)
        self.assertEqual(await self.called(), {"c"})
        self.client.acknowledge(WORK)
        self.assertEqual(await self.called(), {"a", "b", "c"})

    async def test_still_listed(self):
        """Lists, watches, fan-outs and `call_each` know no quarantine."""
        await self.begin(**LONG)
        listed = await self.client.members(WORK)
        self.client.neg_acknowledge(A, "slow")
        self.assertEqual(await self.client.members(WORK), listed)
        self.assertEqual(list((await self.client.fanout(WORK, "mark")).members), listed)
        self.assertEqual([answer.result for answer in await self.client.call_each(WORK, "mark")], ["a", "b"])

    async def test_other_clients(self):
        """It is this node's, and no other's."""
        await self.begin(**LONG)
        self.client.neg_acknowledge(A, "slow")
        self.client = self.client.node.client()
        self.assertEqual(await self.called(), {"b"})
        self.client = self.world.client()
        self.assertEqual(await self.called(), {"a", "b"})

    async def test_restarted(self):
        """A new instance of the member is not the one that was complained about."""
        await self.begin(**LONG)
        self.client.neg_acknowledge(A, "slow")
        await self.world.stop(self.workers["a"].node)
        await self.member("a")
        await self.world.eventually("it is known", lambda: len(self.client._delivery.table.topics()[0].servers()) == 2)
        self.assertEqual(await self.called(), {"a", "b"})
        self.assertEqual(self.client.node._hints.wake_at, float("inf"))

    async def test_the_matchmaker_is_told(self):
        """The hooks of the matchmaker hear of it, and when it is over, however that comes."""
        await self.begin(quarantine_time=0.2)
        hints = self.world.store.hints
        self.client.neg_acknowledge(A, "slow")
        self.client.neg_acknowledge(A, "very slow")
        self.assertEqual([(record.member, reason) for record, reason in hints], [("a", "slow"), ("a", "very slow")])
        await self.world.eventually("it is over", lambda: len(hints) == 3)
        self.client.neg_acknowledge(B, "slow")
        self.client.acknowledge(B)
        self.assertEqual(
            [(record.member, reason) for record, reason in hints[2:]], [("a", None), ("b", "slow"), ("b", None)]
        )

    async def test_without(self):
        """With a time of 0 nobody is avoided; the matchmaker is told all the same."""
        lines = LogLines(self, "zmqrpc.hints.Hints")
        await self.begin(quarantine_time=0.0)
        instance = self.workers["a"].node.instance.hex()
        for reason in ("slow", "very slow"):
            self.assertEqual(self.client.neg_acknowledge(A, reason), [("a", instance)])
        self.assertEqual(await self.called(), {"a", "b"})
        self.assertEqual(self.client.acknowledge(A), [("a", instance)])
        self.assertEqual([reason for _, reason in self.world.store.hints], ["slow", "very slow", None])
        self.assertEqual(lines, [])

    async def test_log(self):
        """It is logged when it begins and when it ends, once."""
        lines = LogLines(self, "zmqrpc.hints.Hints")
        await self.begin(quarantine_time=0.3)
        for reason in ("slow", "very slow"):
            self.client.neg_acknowledge(A, reason)
        await self.world.eventually("it is over", lambda: len(lines) == 2)
        self.client.neg_acknowledge(A, "slow")
        self.client.acknowledge(A)
        self.client.acknowledge(A)
        self.assertEqual(len(lines), 4)
        self.assertRegex(
            lines[0], r"^work\.a at tcp://\S+ is in quarantine for 0\.[123] s, instance [0-9a-f]{32}: slow$"
        )
        self.assertRegex(lines[1], r"^work\.a at tcp://\S+ is out of quarantine: its time is up$")
        self.assertRegex(lines[3], r"^work\.a at tcp://\S+ is out of quarantine: the application says")

    async def test_log_of_hostile_reasons(self):
        """What a terminal would obey is escaped, and the line stays short."""
        lines = LogLines(self, "zmqrpc.hints.Hints")
        await self.begin(**LONG)
        self.client.neg_acknowledge(A, "\x1b[31mred\nforged line\u202e" + "x" * 1000)
        self.assertTrue(lines[0].isprintable(), lines[0])
        self.assertIn(r": \x1b[31mred\nforged line\u202exxx", lines[0])
        self.assertLess(len(lines[0]), 450)

    async def test_not_looked_up_yet(self):
        """It takes effect as soon as it is known whom it is about, in the order in which it was said."""
        await self.begin()
        fresh = self.client = self.world.client(**LONG)
        self.assertEqual(fresh.neg_acknowledge(A, "slow"), [])
        self.assertEqual(await self.called(), {"b"})
        fresh.acknowledge(A)
        self.assertEqual(await self.called(), {"a", "b"})
        fresh = self.client = self.world.client(**LONG)
        for _ in range(2):
            fresh.neg_acknowledge(A, "slow")
        fresh.acknowledge(A)
        self.assertEqual(await self.called(), {"a", "b"})

    async def test_looked_up_in_vain(self):
        """Where the store does not say who it is about, that is counted and logged."""
        await self.begin()
        fresh = self.world.client(rpc_response_timeout=0.5)
        self.world.store.go_down()
        lines = LogLines(self, "zmqrpc.notices.Notices")
        fresh.neg_acknowledge(A, "slow")
        await self.world.eventually("it is given up", lambda: lines.about("hint_unheeded"))
        self.assertRegex(
            lines[0], r"^hint_unheeded: what was said of \S*work\S* concerns nobody: .*cannot tell who listens"
        )
        self.world.store.come_back()

    async def test_unknown(self):
        """Of whom nothing is known, nothing is told, and that is counted and logged; before the start as well."""
        await self.begin()
        lines = LogLines(self, "zmqrpc.notices.Notices")
        counts = self.client.node.notices.counts
        for number, target in enumerate(
            (Target("nobody"), Target("work", server="nobody"), Target("work", exchange="other")), 1
        ):
            self.assertEqual(self.client.neg_acknowledge(target, "slow"), [])
            self.assertEqual(self.client.acknowledge(target), [])
            await self.world.eventually("both are given up", lambda most=2 * number: counts["hint_unheeded"] == most)
            (line,) = lines.about(str(target))
            self.assertIn(f"what was said of {target} concerns nobody: nobody listens there", line)
        unstarted = self.world.node()
        self.assertEqual(unstarted.client().neg_acknowledge(WORK, "slow"), [])
        self.assertEqual(unstarted.notices.counts["hint_unheeded"], 1)
        await self.world.stop(self.client.node)
        self.client.neg_acknowledge(WORK, "slow")
        self.client.acknowledge(WORK)
        self.assertEqual(self.world.store.hints, [])

    async def test_wrong(self):
        """What is no target and no reason is refused."""
        await self.begin()
        for target, reason in (("work", "slow"), (Target(), "slow"), (WORK, None), (WORK, ValueError("slow"))):
            with self.assertRaises(ConfigError):
                self.client.neg_acknowledge(target, reason)
        with self.assertRaises(ConfigError):
            self.client.acknowledge("work")


class QuarantineInMemory(InMemory, QuarantineScenarios, TestCase):
    pass


class QuarantineOverSockets(OverSockets, QuarantineScenarios, TestCase):
    pass
