"""From the figures of all rounds to the table and to JSON; arithmetic only, nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from bench.rows import Row
from bench.work import Figures


@dataclass
class Summary:
    """The figures of one contender over the rounds."""

    figures: list[float]
    median: float
    """Or the worst, in a row where that counts."""
    spread: float
    """(max - min) / median."""


@dataclass
class Result:
    """One row, measured; what is None could not be."""

    name: str
    title: str
    unit: str
    yardstick: str | None
    must: float
    aim: float
    at_most: bool
    also: dict[str, float] = field(default_factory=dict)
    """Medians of other figures of zmqrpc's that belong beside the row's."""
    ours: Summary | None = None
    theirs: Summary | None = None
    ratio: float | None = None
    """Of the medians; the median itself in a row without a yardstick."""
    ratios: tuple[float, float] | None = None
    """The lowest and the highest ratio of one round."""
    verdict: str = "failed"


def summarise(figures: Sequence[float], middle_of: Callable[[Sequence[float]], float] = median) -> Summary:
    middle = middle_of(figures)
    return Summary(list(figures), middle, (max(figures) - min(figures)) / middle if middle else 0.0)


def judge(name: str, row: Row, rounds: Mapping[str, Sequence[Figures]]) -> Result:
    """
    Return what a row's figures amount to.

    :param rounds: by contender, what it measured in each round; a contender that failed is missing.
    """
    both = (row.ours, row.yardstick or "")
    figures = {who: [each[row.figure] for each in rounds[who]] for who in both if who in rounds}
    result = Result(name, row.title, row.unit, row.yardstick, row.must, row.aim, row.at_most)
    ours, theirs = map(figures.get, both)
    worst = max if row.at_most else min
    result.ours = summarise(ours, worst if row.worst else median) if ours else None
    if ours:
        result.also = {name: median(each[figure] for each in rounds[row.ours]) for name, figure in row.also.items()}
    result.theirs = summarise(theirs) if theirs else None
    if result.ours and row.yardstick is None:
        result.ratio = result.ours.median
    elif result.ours and result.theirs:
        result.ratio = result.ours.median / result.theirs.median
        each = [a / b for a, b in zip(result.ours.figures, result.theirs.figures, strict=False)]
        result.ratios = min(each), max(each)
    if result.ratio is not None:
        sign = -1 if row.at_most else 1
        met = [bound for bound in ("aim", "must") if sign * result.ratio >= sign * getattr(row, bound)]
        result.verdict = met[0] if met else "MISSED"
    return result


def number(value: float) -> str:
    """Return a figure as a person reads it: of three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def said(summary: Summary | None, unit: str) -> str:
    """Return the median with its unit, and the spread in brackets."""
    if summary is None:
        return "-"
    return f"{number(summary.median)} {unit} [{summary.spread:.0%}]".replace(" /s", "/s")


def _cells(result: Result) -> list[str]:
    bound = "<=" if result.at_most else ">="
    by = "x" if result.yardstick or result.unit == "x" else f" {result.unit}"
    ratio = "-" if result.yardstick is None or result.ratio is None else f"{number(result.ratio)}x"
    return [
        result.name,
        result.title,
        ", ".join([said(result.ours, result.unit), *(f"{k} {number(v)}" for k, v in result.also.items())]),
        result.yardstick or "-",
        said(result.theirs, result.unit),
        ratio,
        "{:.2f}..{:.2f}".format(*result.ratios) if result.ratios else "-",
        f"{bound} {result.must:g}{by}",
        f"{bound} {result.aim:g}{by}",
        result.verdict,
    ]


HEAD = ["row", "what", "zmqrpc", "against", "yardstick", "ratio", "by round", "must", "aim", "verdict"]


def table(results: Sequence[Result]) -> str:
    """Return the table that a person reads: medians, in brackets their spread over the rounds."""
    return in_columns([HEAD, *map(_cells, results)])


def in_columns(lines: list[list[str]]) -> str:
    """Return lines of cells as columns; the first line is the head, and is underlined."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    underlined = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in underlined)


def as_json(results: Sequence[Result]) -> list[dict[str, object]]:
    """Return the same for programs, with the figure of every round."""
    return [asdict(result) for result in results]
