"""A history that is read back: what became of each call, for the figures of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import attrs

from zmqrpc.testing.history import History
from zmqrpc.testing.judge import Case


@attrs.define
class Cases:
    """
    What was asked, or a part of it.

    :ivar history: what it was read from.
    :ivar cases: in the order in which they were asked.
    """

    history: History
    cases: list[Case]

    @classmethod
    def read(cls, paths: Iterable[str]) -> Cases:
        """Read the logs of several processes."""
        lines = []
        for path in paths:
            with open(path, "rb") as file:
                lines.append(file.readlines())
        history = History.read(*lines)
        return cls(history, list(history.cases().values()))

    def where(self, wanted: Callable[[Case], bool]) -> Cases:
        """Return the part of it that is wanted."""
        return Cases(self.history, [case for case in self.cases if wanted(case)])

    def asked(self, since: float, until: float = float("inf")) -> Cases:
        """Return what was asked in a span of time."""
        return self.where(lambda case: since <= case.asked.at < until)

    def of(self, load: str) -> Cases:
        """Return what a load asked."""
        return self.where(lambda case: str(case.asked.id).split("-")[-2] == load)

    def ran_by(self, instance: str) -> Cases:
        """Return what an instance ran."""
        return self.where(lambda case: any(ran.instance == instance for ran in case.ran))

    @property
    def failed(self) -> Cases:
        """What ended with an error, or never."""
        return self.where(lambda case: not succeeded(case))

    def errors(self) -> list[str]:
        """List the kinds of errors that something ended with."""
        return sorted({error_of(case) for case in self.cases} - {""})

    def ends(self) -> Iterator[float]:
        """Yield when what succeeded did, in order."""
        yield from sorted(case.ended[0].at for case in self.cases if succeeded(case))

    def first_success(self, since: float) -> float:
        """Return after how many seconds something that was asked later has succeeded."""
        ends = self.asked(since).ends()
        return next(ends, float("inf")) - since

    def silence(self, since: float, until: float) -> float:
        """Return for how long at most nothing succeeded, in a span of time."""
        ends = [end for end in self.ends() if since <= end <= until]
        return max(later - before for before, later in pairwise([since, *ends, until]))

    def slowest(self) -> float:
        """Return the most seconds that anything took to its end."""
        return max((case.ended[0].at - case.asked.at for case in self.cases if case.ended), default=0.0)

    def percentile(self, share: float) -> float:
        """Return the seconds within which this share of what has ended did."""
        took = sorted(case.ended[0].at - case.asked.at for case in self.cases if case.ended)
        return took[min(len(took) - 1, int(len(took) * share))] if took else float("inf")


def succeeded(case: Case) -> bool:
    """Tell whether its caller got what was asked for."""
    return bool(case.ended) and all(told.verdict in ("ok", "published") for told in case.ended[0].told)


def error_of(case: Case) -> str:
    """Return the class of the error that it ended with; empty when there is none."""
    for ended in case.ended:
        for told in ended.told:
            if told.text:
                return told.text.partition(":")[0]
    return "" if case.ended else "nothing"


def may_have_run(case: Case) -> bool:
    """Tell whether its error says so."""
    return bool(case.ended) and any(told.verdict in ("info", "ran") for told in case.ended[0].told)
