"""Two cells of oslo.messaging's own suite, of those that `make oslo` runs, and how a run is judged."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.oslo.suite.cell import Cell
from zmqrpc.test.oslo.suite.child import Child, Ended
from zmqrpc.test.oslo.suite.results import LEAST, OURS, SKIPPED, Result, wrong
from zmqrpc.test.oslo.suite.running import run


class SuiteTests(SynchronousTestCase):
    def assert_passes(self, *cell: str) -> None:
        results = run(Cell(*cell), Path(self.mktemp()).absolute())
        texts = [result.text for result in results if result.outcome == "failed"]
        self.assertEqual(wrong(results, LEAST), [], "\n".join(texts))
        self.assertEqual(sum(result.name.startswith(OURS) for result in results), 3)

    def test_redis_behind_proxies_with_eventlet(self):
        self.assert_passes("redis", "router-proxy", "eventlet")

    def test_sqlite_directly_with_threads(self):
        self.assert_passes("sqlite", "static-direct", "threading")


class ChildTests(SynchronousTestCase):
    def test_process_that_ends(self):
        """It is no test that passed: who waits for it is told, and its log says why."""
        directory = Path(self.mktemp()).absolute()
        log = directory.with_suffix(".log")
        child = Child("threading", f"zmq+sqlite://{directory}/matchmaker.db", directory, log)
        self.addCleanup(child.end)
        self.assertGreaterEqual(len(child.names()), LEAST)
        self.assertRaises(Ended, child.run, "no.such.test")
        self.assertEqual(child.end(), 1)
        self.assertIn("KeyError: 'no.such.test'", log.read_text())


class WrongTests(SynchronousTestCase):
    """What is wrong with the results of a cell."""

    def test_nothing(self):
        (skipped, reason), *_ = SKIPPED.items()
        results = [Result("here", "passed", 1.0, ""), Result(skipped, "skipped", 0.0, reason)]
        self.assertEqual(wrong(results, 2), [])

    def test_failed(self):
        self.assertEqual(wrong([Result("here", "failed", 1.0, "Traceback ...")], 1), ["here failed"])

    def test_skipped(self):
        """Only what is for RabbitMQ alone may be, and only since it is."""
        (allowed, _), *_ = SKIPPED.items()
        for name in ("here", allowed):
            told = wrong([Result(name, "skipped", 0.0, "no transport")], 1)
            self.assertEqual(told, [f"{name} was skipped: no transport"])

    def test_too_few(self):
        """Ours count for none of oslo.messaging's."""
        results = [Result("here", "passed", 1.0, ""), Result(f"{OURS}here", "passed", 1.0, "")]
        self.assertEqual(wrong(results, 2), ["there were 1 tests of oslo.messaging's, and there have to be 2"])
