"""The judge of the soak finds every kind of broken promise."""

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.integration.outcomes import LATENESS, SLACK, Run, Sent, judge, summary

A, B = "aa" * 16, "bb" * 16


def call(**changes):
    return Sent(**{"number": 1, "is_call": True, "deadline": 10.0, "ends": [9.0], "result": A, **changes})


def lost(**changes):
    return call(**{"result": None, "error": "ServerLost", "maybe_executed": True, **changes})


class JudgeTests(SynchronousTestCase):
    def faults(self, one, *runs):
        return " ".join(judge([one], [Run(1, at, instance) for at, instance in runs]))

    def test_kept(self):
        self.assertEqual(self.faults(call(), (8.0, A)), "")
        self.assertEqual(self.faults(lost(), (8.0, A)), "")
        self.assertEqual(self.faults(lost(addressed=A[:12]), (8.0, A)), "")
        self.assertEqual(self.faults(lost()), "")
        self.assertEqual(self.faults(lost(maybe_executed=False)), "")
        self.assertEqual(self.faults(call(ends=[10.0 + SLACK]), (10.0 + LATENESS, A)), "")
        # A cast is acknowledged before it runs; who is killed in between runs nothing.
        self.assertEqual(self.faults(call(is_call=False, result=None)), "")

    def test_broken(self):
        self.assertIn("ended 0 times", self.faults(call(ends=[]), (8.0, A)))
        self.assertIn("ended 2 times", self.faults(call(ends=[9.0, 9.0]), (8.0, A)))
        self.assertIn("ended 1.100 s after its deadline", self.faults(call(ends=[11.1]), (8.0, A)))
        self.assertIn("was run 2 times", self.faults(lost(), (8.0, A), (8.1, A)))
        self.assertIn("was run 2 times", self.faults(call(is_call=False, result=None), (8.0, A), (8.1, B)))
        self.assertIn("its caller was told that it was not", self.faults(lost(maybe_executed=False), (8.0, A)))
        self.assertIn("returned, and was run 0 times", self.faults(call()))
        self.assertIn("answered by another instance", self.faults(call(), (8.0, B)))
        self.assertIn("than it was addressed to", self.faults(lost(addressed=B[:12]), (8.0, A)))
        self.assertIn("was run 0.200 s after its deadline", self.faults(lost(), (10.2, A)))
        self.assertIn("2 was run and never sent", judge([], [Run(2, 1.0, A)]))

    def test_summary(self):
        figures = summary([call(), lost(ends=[10.5])], [Run(1, 10.01, A)])
        self.assertEqual(figures["ends"], {"answered": 1, "ServerLost": 1})
        self.assertEqual((figures["worst_overrun_ms"], figures["worst_late_run_ms"]), (500.0, 10.0))
