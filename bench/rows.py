"""The rows of the table: what is promised, who measures it, and beside what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.work import Order


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work: the modules that are its server and its client."""

    server: str
    client: str
    nats: bool = False


CONTENDERS = {
    "zmqrpc": Contender("bench.zmqrpc_server", "bench.zmqrpc_client"),
    "zmqrpc-deployed": Contender("bench.deployed", "bench.deployed"),
    "zmqrpc-command": Contender("bench.zmqrpc_server", "bench.command"),
    "zmqrpc-crowd": Contender("bench.crowd", "bench.crowd"),
    "pyzmq-bound": Contender("bench.yardsticks.pyzmq_bound", "bench.yardsticks.pyzmq_bound"),
    "pyzmq-blocking": Contender("bench.yardsticks.pyzmq_blocking", "bench.yardsticks.pyzmq_blocking"),
    "txzmq": Contender("bench.yardsticks.txzmq_echo", "bench.yardsticks.txzmq_echo"),
    "nats": Contender("bench.yardsticks.nats_json", "bench.yardsticks.nats_json", nats=True),
}

MODES: dict[str, Callable[[bool], Order]] = {
    "window-1000": lambda quick: Order("window", window=1000, seconds=0.5 if quick else 2.0),
    "window-100": lambda quick: Order("window", window=100, seconds=0.5 if quick else 2.0),
    "casts": lambda quick: Order("casts", window=1000, count=10_000 if quick else 50_000),
    "one": lambda quick: Order("one", count=1000 if quick else 10_000),
    "silent": lambda quick: Order("silent", count=10 if quick else 50),
    "stopped": lambda quick: Order("stopped", count=10 if quick else 50),
    "open": lambda quick: Order("open", window=1000, count=1000 if quick else 10_000, seconds=0.5 if quick else 3.0),
    "command": lambda quick: Order("command", count=2 if quick else 10),
    "crowd": lambda quick: Order("crowd", window=64, count=20 if quick else 500, seconds=0.5 if quick else 2.0),
}
"""Each way of measuring, as the order that its processes get; quick is for seeing that it runs."""


@dataclass(frozen=True)
class Row:
    """
    One promise: a figure of zmqrpc's, divided by the yardstick's unless it has none.

    `figure` names it in what the client answers; `must` and `aim` bound the ratio (or the figure itself) from below, or
    from above when `at_most`.
    """

    title: str
    mode: str
    figure: str
    unit: str
    yardstick: str | None
    must: float
    aim: float
    at_most: bool = False
    also: Mapping[str, str] = field(default_factory=dict)
    """Other figures of zmqrpc's to print beside it, by what they are called there."""
    ours: str = "zmqrpc"
    """Which of the contenders is zmqrpc here."""


def _lateness(mode: str, why: str) -> Row:
    """Make a row for how late a call with a deadline of 50 ms ends; judged by the latest call of a round."""
    also = {"p50": "late_p50_ms", "bare timer": "timer_max_ms"}
    return Row(f"latest end, {why}", mode, "late_max_ms", "ms", None, 20, 5, at_most=True, also=also)


def _crowd(title: str, figure: str, unit: str, must: float, aim: float) -> Row:
    """Make a row for what one client pays for each of its servers."""
    return Row(title, "crowd", figure, unit, None, must, aim, at_most=True, ours="zmqrpc-crowd")


def _command(title: str, figure: str, must: float, aim: float, also: Mapping[str, str]) -> Row:
    """Make a row for what a command takes, median of ten."""
    return Row(title, "command", figure, "s", None, must, aim, at_most=True, also=also, ours="zmqrpc-command")


ROWS = {
    "calls-pyzmq": Row("calls/s, 1000 outstanding", "window-1000", "rate", "/s", "pyzmq-bound", 0.45, 0.7),
    "calls-txzmq": Row("calls/s, 1000 outstanding", "window-1000", "rate", "/s", "txzmq", 7, 11),
    "calls-nats": Row("calls/s, 100 outstanding", "window-100", "rate", "/s", "nats", 3, 6),
    "casts-nats": Row("casts/s, acknowledged", "casts", "rate", "/s", "nats", 2, 3),
    "one-p50": Row("one call at a time, p50", "one", "p50_us", "us", "pyzmq-blocking", 1.4, 1.15, at_most=True),
    "cpu-nats": Row("CPU per call, 100 outstanding", "window-100", "cpu_us", "us", "nats", 0.5, 0.2, at_most=True),
    "deadline-silent": _lateness("silent", "method never answers"),
    "deadline-stopped": _lateness("stopped", "server stopped"),
    "open-loop": Row(
        "p99 at half the peak rate, over p50 when idle",
        "open",
        "p99_over_idle",
        "x",
        None,
        8,
        4,
        at_most=True,
        also={"p99 us": "p99_us", "idle p50 us": "idle_p50_us", "calls/s": "rate", "late %": "late_percent"},
    ),
    "command-call": _command("zmqrpc call, whole process, on SQLite", "wall_s", 0.6, 0.35, {"CPU": "cpu_s"}),
    "command-start": _command("CPU of the start of zmqrpc", "start_cpu_s", 0.3, 0.3, {}),
    "crowd-memory": _crowd("memory for each of 500 servers", "kib_per_peer", "KiB", 64, 44),
    "crowd-descriptors": _crowd("descriptors for each of 500 servers", "fds_per_peer", "fds", 2, 1),
    "crowd-rate": Row(
        "calls/s to 500 servers over calls/s to one, 64 outstanding",
        "crowd",
        "share",
        "x",
        None,
        0.2,
        0.35,
        also={"to all": "rate_all", "to one": "rate_one"},
        ours="zmqrpc-crowd",
    ),
}
