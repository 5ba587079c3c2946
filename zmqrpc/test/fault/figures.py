"""What was measured, beside what was expected."""

from __future__ import annotations

import attrs

from zmqrpc.test.fault.cases import Cases


@attrs.frozen
class Figure:
    """
    One thing that was measured.

    :ivar expected: in words.
    :ivar measured: in words.
    """

    what: str
    expected: str
    measured: str
    good: bool


class Figures:
    """
    The figures of a row.

    :ivar figures: what was measured.
    """

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def figure(self, what: str, expected: str, measured: object, good: bool) -> None:
        """Note what was measured."""
        self.figures.append(Figure(what, expected, str(measured), good))

    def at_most(self, what: str, most: float, measured: float) -> None:
        """Note a number that has a most."""
        self.figure(what, f"<= {most:g}", f"{measured:.3g}", measured <= most)

    def at_least(self, what: str, least: float, measured: float) -> None:
        """Note a number that has a least."""
        self.figure(what, f">= {least:g}", f"{measured:.6g}", measured >= least)

    def exactly(self, what: str, expected: object, measured: object) -> None:
        """Note what has to be one thing."""
        self.figure(what, str(expected), measured, measured == expected)

    def none(self, what: str, cases: Cases) -> None:
        """Note that there has to be nothing of a kind."""
        seen = f"{len(cases.cases)}: {cases.cases[0]}" if cases.cases else "0"
        self.figure(what, "0", seen, not cases.cases)
