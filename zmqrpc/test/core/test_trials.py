"""The connections of one link that are tried: how long the next is put off, and what is said of the peer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.link_effects import Doubt
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.core.trials import Trials

NOW = 1000.0
TIMERS = LinkTimers(backoff=0.1, brief_backoff=1.0, backoff_share=0.25, longest_backoff=10.0)


def failed(times: int, jitter: float = 1.0) -> Trials:
    trials = Trials(TIMERS, lambda: jitter)
    for number in range(times):
        trials.failed(NOW + number)
    return trials


class TrialsTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        trials = failed(3)
        self.assertEqual([trials.begin(), trials.begin()], [1, 2])
        trials.succeeded()
        self.assertEqual(trials.begin(), 3)

    def test_pause(self) -> None:
        # how often it failed, a second after the other, how long after the first, the seconds until the next
        for times, after, pause in (
            (0, 0, 0.1),
            (1, 0, 0.2),
            (2, 1, 0.4),
            (3, 2, 0.8),
            (4, 3, 1.0),
            (4, 1000, 1.6),
            (10, 12, 3.0),
            (10, 1000, 10.0),
            (10_000, 1e9, 10.0),
        ):
            self.assertAlmostEqual(failed(times).pause(NOW + after), pause, msg=f"{times} after {after} s")
            self.assertAlmostEqual(failed(times, 0.5).pause(NOW + after), pause / 2)

    def test_anew_after_a_success(self) -> None:
        trials = failed(10)
        trials.succeeded()
        self.assertEqual((trials.fails, trials.pause(NOW + 1000)), (0, 0.1))
        trials.failed(NOW + 1000)
        self.assertEqual((trials.fails, trials.pause(NOW + 1000)), (1, 0.2))

    def test_doubted_once(self) -> None:
        trials = failed(2)
        self.assertEqual([trials.doubt("refused"), trials.doubt("refused")], [[Doubt("refused")], []])
        for event in (trials.met_another, trials.succeeded):
            event()
            self.assertEqual([trials.doubt("again"), trials.doubt("again")], [[Doubt("again")], []])
