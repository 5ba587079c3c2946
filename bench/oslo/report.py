"""From the figures of all rounds to the table and to JSON; arithmetic only, nothing is measured here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.oslo.rows import FAKE, LOST, RABBIT, ROWS, Bound, Row
from bench.report import Summary, in_columns, number, said, summarise

Figures = Mapping[str, Any]
Rounds = Mapping[str, Mapping[str, Sequence[Figures]]]
"""By measurement and bus, what each round measured; a bus that failed has fewer rounds, or none."""

YARDSTICKS = (RABBIT, FAKE)


@dataclass
class Result:
    """One row of one bus, measured; what is None could not be."""

    row: str
    title: str
    bus: str
    unit: str
    at_most: bool = False
    measured: Summary | None = None
    also: dict[str, float] = field(default_factory=dict)
    """Medians of other figures that belong beside the row's."""
    times: dict[str, float] = field(default_factory=dict)
    """By yardstick, the median over the yardstick's."""
    by_round: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By yardstick, the lowest and the highest ratio of one round."""
    must: float | None = None
    """In the row's unit, from what the yardstick did in the same run."""
    aim: float | None = None
    must_words: str = "-"
    aim_words: str = "-"
    verdict: str = "failed"


def _summary(row: Row, rounds: Sequence[Figures]) -> Summary | None:
    figures = [each[row.figure] for each in rounds if each.get(row.figure) is not None]
    return summarise(figures) if figures else None


def _value(bound: Bound, yardsticks: Mapping[str, Summary | None]) -> float | None:
    if not bound.of:
        return bound.factor
    summary = yardsticks.get(bound.of)
    return bound.factor * summary.median if summary else None


def _words(bound: Bound, value: float | None, row: Row) -> str:
    sign = "<=" if row.at_most else ">="
    if not bound.of:
        return f"{sign} {bound.factor:g} {row.unit}"
    return f"{sign} {bound.factor:g}x {bound.of}" + (f" = {number(value)}" if value is not None else "")


def verdict(figure: float, must: float | None, aim: float | None, *, at_most: bool) -> str:
    """
    Return the better one that is met; who misses the must has not met the aim either.

    :param must: None when its yardstick was not measured, which is not to be judged.
    """

    def met(bound: float | None) -> bool:
        return bound is not None and (figure <= bound if at_most else figure >= bound)

    if must is None:
        return "-"
    if not met(must):
        return "MISSED"
    return "aim" if met(aim) else "must"


def judge(name: str, row: Row, bus: str, rounds: Mapping[str, Sequence[Figures]]) -> Result:
    """
    Return what one row amounts to for one bus.

    :param rounds: by bus, what the rounds of the row's measurement measured.
    """
    mine = _summary(row, rounds.get(bus, ()))
    result = Result(name, row.title, bus, row.unit, row.at_most, mine)
    if mine is None:
        return result
    for called, figure in row.also.items():
        values = [each[figure] for each in rounds[bus] if each.get(figure) is not None]
        if values:
            result.also[called] = median(values)
    yardsticks = {who: _summary(row, rounds.get(who, ())) for who in YARDSTICKS}
    for who, theirs in yardsticks.items():
        if theirs and theirs.median and who != bus:
            result.times[who] = mine.median / theirs.median
            each = [a / b for a, b in zip(mine.figures, theirs.figures, strict=False) if b]
            result.by_round[who] = min(each), max(each)
    if bus.startswith(YARDSTICKS):
        result.verdict = "-"
        return result
    result.must, result.aim = _value(row.must, yardsticks), _value(row.aim, yardsticks)
    result.must_words, result.aim_words = _words(row.must, result.must, row), _words(row.aim, result.aim, row)
    result.verdict = verdict(mine.median, result.must, result.aim, at_most=row.at_most)
    return result


def lost(bus: str, rounds: Rounds) -> Result:
    """Return how many messages a bus has lost in all measurements and rounds; `also` has in which."""
    result = Result(LOST, "lost or run twice, all of the above", bus, "messages", at_most=True)
    of = {name: by_bus[bus] for name, by_bus in rounds.items() if by_bus.get(bus)}
    if not of:
        return result
    each = {name: float(sum(got["lost"] + got["twice"] for got in measured)) for name, measured in of.items()}
    result.measured = Summary(list(each.values()), sum(each.values()), 0.0)
    result.also = {name: count for name, count in each.items() if count}
    result.must = result.aim = 0.0
    if bus.startswith(YARDSTICKS):
        result.verdict = "-"
        return result
    result.must_words = result.aim_words = "0"
    result.verdict = verdict(result.measured.median, 0.0, 0.0, at_most=True)
    return result


def results(names: Sequence[str], buses: Sequence[str], rounds: Rounds) -> list[Result]:
    """Return all rows, each with all buses that can be measured so."""
    found = []
    for name in names:
        by_bus = rounds[ROWS[name].measurement]
        found += [judge(name, ROWS[name], bus, by_bus) for bus in buses if bus in by_bus]
    return found + [lost(bus, rounds) for bus in buses]


HEAD = ["row", "what", "bus", "measured", "x rabbit", "by round", "x fake", "must", "aim", "verdict"]


def _cells(result: Result, first: bool) -> list[str]:
    times = {who: f"{number(result.times[who])}x" if who in result.times else "-" for who in YARDSTICKS}
    return [
        *((result.row, result.title) if first else ("", "")),
        result.bus + " (in one process)" * result.bus.startswith(FAKE),
        ", ".join([said(result.measured, result.unit), *(f"{k} {number(v)}" for k, v in result.also.items())]),
        times[RABBIT],
        "{:.2f}..{:.2f}".format(*result.by_round[RABBIT]) if RABBIT in result.by_round else "-",
        times[FAKE],
        result.must_words,
        result.aim_words,
        result.verdict,
    ]


def table(found: Sequence[Result]) -> str:
    """Return the table that a person reads: medians, in brackets their spread over the rounds."""
    lines, before = [HEAD], ""
    for result in found:
        lines.append(_cells(result, result.row != before))
        before = result.row
    return in_columns(lines)


def as_json(found: Sequence[Result]) -> list[dict[str, object]]:
    """Return the same for programs, with the figure of every round."""
    return [asdict(result) for result in found]


@dataclass(frozen=True)
class Tally:
    """What a process of the simulator has counted of one kind of message; times by the clock that processes share."""

    count: int = 0
    different: int = 0
    first: float = 0.0
    last: float = 0.0
    cpu_first: float = 0.0
    """The processor time that the process has used until the first."""
    cpu_last: float = 0.0

    @property
    def rate(self) -> float | None:
        """Messages per second, from the first to the last; None when there is nothing in between."""
        return (self.count - 1) / (self.last - self.first) if self.last > self.first else None

    @property
    def cpu_us(self) -> float | None:
        """Microseconds of processor time of the whole process for each message; None when there were none."""
        return (self.cpu_last - self.cpu_first) / self.count * 1e6 if self.count else None


def tallies(text: str) -> dict[str, Tally] | None:
    """Return what `bench.oslo.simulated` has written, by kind; None when it is not there in whole."""
    try:
        return {kind: Tally(*fields) for kind, fields in json.loads(text).items()}
    except ValueError:
        return None


def simulated(sent: Mapping[str, Tally], received: Mapping[str, Tally], own: float | None) -> dict[str, Any]:
    """
    Return the figures of one run of the simulator, from what its client and its server have counted.

    What the client was told that it could not be sent counts as lost too.

    :param own: what the server of the simulator reckons that its rate was.
    """
    client, server = sent.get("client", Tally()), received.get("server", Tally())
    return {
        "rate": server.rate,
        "own_rate": own,
        "sent_rate": client.rate,
        "client_us": client.cpu_us,
        "server_us": server.cpu_us,
        "sent": client.count,
        "received": server.count,
        "lost": client.count - server.different,
        "twice": server.count - server.different,
        "errors": sent.get("error", Tally()).count,
    }


def own_rate(text: str) -> float | None:
    """Return the messages per second of the simulator's own JSON, which has them by whole seconds; None without any."""
    try:
        return float(json.loads(text)["summary"]["count_p_s"]) or None
    except (ValueError, KeyError):  # it was killed before it had written that
        return None


def spread(counts: Sequence[int]) -> dict[str, Any]:
    """Return how evenly calls are spread over workers; the ratio is infinite when one had none."""
    fewest, most = min(counts), max(counts)
    return {"ratio": most / fewest if fewest else math.inf, "fewest": fewest, "most": most, "counts": list(counts)}
