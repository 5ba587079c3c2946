"""The arithmetic of the bench of the oslo.messaging driver: what it says is what was counted."""

from __future__ import annotations

import json
import math
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.oslo.report import as_json, judge, own_rate, results, simulated, spread, table, tallies, verdict
from bench.oslo.rows import ROWS
from bench.oslo.slots import Slots

CLEAN = {"lost": 0, "twice": 0}


def received(*rates: float):
    return [{"rate": rate, "sent_rate": rate, "own_rate": None, **CLEAN} for rate in rates]


class SimulatorTests(SynchronousTestCase):
    def test_what_is_written_in_whole_is_read(self):
        text = json.dumps({"server": [5, 5, 10.0, 12.0], "ready": [0, 0, 0.0, 0.0]}).ljust(200)
        found = tallies(text)
        assert found is not None
        self.assertEqual(set(found), {"server", "ready"})
        self.assertEqual(found["server"].rate, 2.0)

    def test_what_is_written_in_part_is_not_there(self):
        self.assertIsNone(tallies(""))
        self.assertIsNone(tallies('{"server": [5, 5,'))

    def test_processor_time_is_of_each_message(self):
        found = tallies('{"server": [5, 5, 10.0, 12.0, 1.0, 1.001], "ready": [0, 0, 0.0, 0.0, 0.0, 0.0]}')
        assert found is not None and found["server"].cpu_us is not None
        self.assertAlmostEqual(found["server"].cpu_us, 200)
        self.assertIsNone(found["ready"].cpu_us)

    def test_one_message_has_no_rate(self):
        found = tallies('{"server": [1, 1, 10.0, 10.0]}')
        assert found is not None
        self.assertIsNone(found["server"].rate)

    def test_one_that_came_twice_does_not_hide_one_that_was_lost(self):
        sent = tallies('{"client": [10, 10, 1.0, 2.0], "error": [1, 1, 1.5, 1.5]}')
        had = tallies('{"server": [10, 9, 1.0, 2.0]}')
        assert sent is not None and had is not None
        figures = simulated(sent, had, 8.5)
        self.assertEqual((figures["lost"], figures["twice"], figures["errors"]), (1, 1, 1))
        self.assertEqual((figures["rate"], figures["sent_rate"], figures["own_rate"]), (9.0, 9.0, 8.5))

    def test_a_server_that_had_nothing_has_lost_all(self):
        sent = tallies('{"client": [10, 10, 1.0, 2.0]}')
        assert sent is not None
        figures = simulated(sent, {}, None)
        self.assertEqual((figures["rate"], figures["lost"]), (None, 10))

    def test_its_own_rate(self):
        self.assertEqual(own_rate('{"series": {}, "summary": {"count": 4, "count_p_s": 2.5}}'), 2.5)

    def test_its_own_rate_after_it_was_killed(self):
        for text in ("", "{", "{}", '{"summary": {"count_p_s": 0}}'):
            self.assertIsNone(own_rate(text))


class WorkersTests(SynchronousTestCase):
    def test_spread(self):
        self.assertEqual(spread([10, 12, 11]), {"ratio": 1.2, "fewest": 10, "most": 12, "counts": [10, 12, 11]})

    def test_one_without_a_call_is_infinitely_uneven(self):
        self.assertEqual(spread([0, 12])["ratio"], math.inf)
        self.assertEqual(verdict(math.inf, 1.2, 1.05, at_most=True), "MISSED")

    def test_slots(self):
        slots = Slots(Path(self.mktemp()))
        slots.make(2)
        self.assertFalse(slots.all_serve())
        slots.put(0, 0)
        self.assertFalse(slots.all_serve())
        slots.put(1, 7)
        self.assertTrue(slots.all_serve())
        self.assertEqual(slots.counts(), [0, 7])


class VerdictTests(SynchronousTestCase):
    def test_at_least(self):
        for figure, word in ((1, "MISSED"), (4, "must"), (6, "aim")):
            self.assertEqual(verdict(figure, 4, 6, at_most=False), word)

    def test_at_most(self):
        for figure, word in ((0.4, "MISSED"), (0.35, "must"), (0.25, "aim")):
            self.assertEqual(verdict(figure, 0.35, 0.25, at_most=True), word)

    def test_an_aim_below_the_must_does_not_save_what_misses_the_must(self):
        self.assertEqual(verdict(3, 4, 2, at_most=False), "MISSED")

    def test_without_the_yardstick_nothing_is_judged(self):
        self.assertEqual(verdict(3, None, 2, at_most=False), "-")
        self.assertEqual(verdict(3, 2, None, at_most=False), "must")


class TableTests(SynchronousTestCase):
    rounds = {
        "rabbit": received(1000, 900, 1100),
        "fake": received(8000, 8000),
        "zmq+redis": received(4400, 3000, 5000),
    }

    def test_medians_are_compared_with_the_yardsticks_of_the_same_run(self):
        result = judge("cast-10", ROWS["cast-10"], "zmq+redis", self.rounds)
        assert result.measured is not None
        self.assertEqual(result.measured.median, 4400)
        self.assertEqual(result.times, {"rabbit": 4.4, "fake": 0.55})
        self.assertEqual((result.must, result.aim, result.verdict), (4000, 5600, "must"))
        self.assertEqual(result.by_round["rabbit"], (3000 / 900, 5000 / 1100))

    def test_a_yardstick_is_not_judged(self):
        self.assertEqual(judge("cast-10", ROWS["cast-10"], "rabbit", self.rounds).verdict, "-")

    def test_a_bus_that_failed(self):
        failed = judge("cast-10", ROWS["cast-10"], "zmq+sqlite", {**self.rounds, "zmq+sqlite": []})
        self.assertEqual((failed.measured, failed.verdict), (None, "failed"))

    def test_what_was_lost_in_any_round_counts(self):
        rounds = {"cast-10": {"zmq+redis": [{**CLEAN, "rate": 1.0}, {"rate": 2.0, "lost": 2, "twice": 1}]}}
        found = results(["cast-10"], ["zmq+redis"], rounds)[-1]
        assert found.measured is not None
        self.assertEqual((found.row, found.measured.median, found.verdict), ("lost", 3, "MISSED"))
        self.assertEqual(found.also, {"cast-10": 3})

    def test_a_bus_that_cannot_be_measured_so_has_no_line(self):
        rounds = {"workers": {"rabbit": [{**spread([5, 5]), **CLEAN, "rate": 1.0}]}}
        self.assertEqual([each.bus for each in results(["workers"], ["rabbit", "fake"], rounds)][:-2], ["rabbit"])

    def test_the_table(self):
        found = results(["cast-10"], ["rabbit", "fake", "zmq+redis"], {"cast-10": self.rounds})
        lines = table(found).splitlines()
        self.assertEqual(len(lines), 2 + 3 + 3)
        self.assertIn("fake (in one process)", lines[3])
        self.assertIn(">= 4x rabbit = 4,000", lines[4])
        self.assertIn(">= 0.7x fake = 5,600", lines[4])
        self.assertTrue(lines[4].endswith("must"))
        json.dumps(as_json(found))
