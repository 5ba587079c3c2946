"""The example of the page about testing runs."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from unittest import TestLoader, TestResult

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import zmqrpc

PAGE = Path(zmqrpc.__file__).parents[1] / "docs" / "howto" / "testing-without-a-network.rst"


class HowtoTests(SynchronousTestCase):
    def test_example(self):
        if not PAGE.exists():
            raise SkipTest("the documentation is not here")
        block = PAGE.read_text(encoding="utf-8").partition(".. code-block:: python\n")[2]
        lines = block.splitlines()
        end = next(number for number, line in enumerate(lines) if line and not line.startswith(" "))
        names = {"__name__": "example"}
        exec(dedent("\n".join(lines[:end])), names)  # noqa: S102
        result = TestResult()
        TestLoader().loadTestsFromTestCase(names["CalcTests"]).run(result)  # type: ignore[arg-type]
        self.assertEqual((result.testsRun, result.errors, result.failures), (2, [], []))
