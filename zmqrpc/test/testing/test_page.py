"""The page testing-without-a-network.rst: its code runs, and fails with the texts that it shows."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import types
from typing import Any
from unittest import TestLoader, TestResult
from unittest.mock import patch

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from zmqrpc.test.processes import CHECKOUT, ProcessTestCase
from zmqrpc.test.test_examples import blocks, pattern
from zmqrpc.testing import Network

FAILING = ("order_too_much", "wait_in_vain", "forget_a_call")
"""What fails on the page, in the order in which it shows the texts."""

PAGE = CHECKOUT / "docs" / "howto" / "testing-without-a-network.rst"
EXAMPLE = CHECKOUT / "examples" / "testing"


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not PAGE.exists():
            raise SkipTest("the documentation is not here")
        # Only the decorator of the fixture is needed, so pytest is not.
        fake: Any = types.ModuleType("pytest")
        fake.fixture = lambda function: function
        self.names: dict[str, Any] = {"__name__": "example"}
        with patch.dict(sys.modules, {"pytest": fake}):
            for block in blocks(PAGE, "python"):
                exec(block, self.names)  # noqa: S102

    def test_cases(self) -> None:
        """Every test case of the page passes."""
        cases = [value for name, value in self.names.items() if name.endswith("Tests")]
        self.assertEqual(len(cases), 4)
        result = TestResult()
        for case in cases:
            TestLoader().loadTestsFromTestCase(case).run(result)
        self.assertEqual((result.testsRun, result.errors, result.failures), (5, [], []))

    def test_functions(self) -> None:
        """So does every test that is a function."""
        self.names["test_without_a_framework"]()
        (network,) = self.names["network"]()
        self.assertIsInstance(network, Network)
        with Network() as network:
            self.names["test_add"](network)

    def test_texts(self) -> None:
        """What fails says what the page shows."""
        shown = blocks(PAGE, "text")
        for name, text in zip(FAILING, shown, strict=True):
            fails = self.names[name]
            network = Network()
            with self.assertRaises(AssertionError) as caught:
                fails(network)
            said = f"{type(caught.exception).__name__}: {caught.exception}"
            self.assertTrue(pattern(text).fullmatch(said), f"{text}\n{said}")


class ExampleTests(ProcessTestCase):
    """The example has tests of its own, for whatever runs tests."""

    def setUp(self) -> None:
        super().setUp()
        for path in EXAMPLE.glob("*.py"):
            shutil.copy(path, self.directory)

    def run_by(self, *runner: str) -> str:
        """Run the tests of the example; return what is printed."""
        done = self.python("-m", *runner)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_trial(self) -> None:
        self.assertIn("PASSED (successes=9)", self.run_by("twisted.trial", "test_stock", "test_shop"))

    def test_unittest(self) -> None:
        self.assertIn("OK", self.run_by("unittest", "test_stock", "test_shop"))

    def test_pytest(self) -> None:
        """Where it is installed; nothing of ours needs it."""
        if importlib.util.find_spec("pytest"):
            self.assertIn("9 passed", self.run_by("pytest", "-p", "no:cacheprovider"))

    def test_failing(self) -> None:
        """A test of a user that fails shows both what was called and what was expected."""
        source = (self.directory / "shop.py").read_text()
        (self.directory / "shop.py").write_text(source.replace('"article": article', '"article": article.upper()'))
        done = self.python("-m", "twisted.trial", "test_shop.ShopTests.test_ordered")
        self.assertEqual(done.returncode, 1)
        self.assertIn("take(article='tea'), which returns 7", done.stdout)
        self.assertIn("take(article='TEA'): article is 'TEA', expected 'tea'", done.stdout)
        self.assertTrue(re.search(r"'broken'.*\n?.*'ordered, 7 left'", done.stdout), done.stdout)
