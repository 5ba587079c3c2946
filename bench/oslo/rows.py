"""The rows of the table: what is measured, in which unit, and what it has to be beside the yardsticks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RABBIT, FAKE = "rabbit", "fake"
"""The yardsticks, by their names in `bench.oslo.buses`."""


@dataclass(frozen=True)
class Measurement:
    """What is done, by the module that does it (`bench.oslo.measure`)."""

    kind: str
    """``calls``, ``simulator`` or ``workers``."""
    threads: int = 1
    """Of the client; green ones in the simulator."""
    server: tuple[str, ...] = ()
    """The words that make the simulator a server."""
    client: tuple[str, ...] = ()
    """The words that make the simulator a client."""


_RPC, _NOTIFY = ("rpc-server",), ("notify-server",)

MEASUREMENTS = {
    "call-1": Measurement("calls"),
    "call-50": Measurement("calls", 50),
    "cast-10": Measurement("simulator", 10, _RPC, ("rpc-client", "--is-cast")),
    "fanout-10": Measurement("simulator", 10, _RPC, ("rpc-client", "--is-cast", "--is-fanout")),
    "notify-10": Measurement("simulator", 10, _NOTIFY, ("notify-client",)),
    "batch-notify-10": Measurement("simulator", 10, ("batch-notify-server",), ("notify-client",)),
    "workers": Measurement("workers"),
}
OPTIONAL = {"batch-notify-10"}
"""The measurements that are made only when they are asked for."""


@dataclass(frozen=True)
class Bound:
    """So many times what a yardstick does in the same run; without a yardstick, the figure itself."""

    factor: float
    of: str = ""


@dataclass(frozen=True)
class Row:
    """One figure of a measurement, and what it has to be."""

    title: str
    measurement: str
    figure: str
    unit: str
    must: Bound
    aim: Bound
    at_most: bool = False
    also: Mapping[str, str] = field(default_factory=dict)
    """Other figures of the same measurement to print beside it, by what they are called there."""


def _received(title: str, measurement: str, must: float) -> Row:
    """Make a row for what a server of the simulator receives."""
    also = {"sent/s": "sent_rate", "by its own clock": "own_rate"}
    return Row(f"{title} received/s, 10 green threads", *(measurement, "rate", "/s"), *_beside(must), also=also)


def _beside(must: float) -> tuple[Bound, Bound]:
    return Bound(must, RABBIT), Bound(0.7, FAKE)


ROWS = {
    "call-1": Row(
        *("calls/s, one blocking thread", "call-1", "rate", "/s", Bound(4, RABBIT), Bound(6, RABBIT)),
        also={"p99 ms": "p99_ms"},
    ),
    "call-1-p50": Row(
        "p50 of a call, one blocking thread", "call-1", "p50_ms", "ms", Bound(0.35), Bound(0.25), at_most=True
    ),
    "call-50": Row(
        *("calls/s, 50 blocking threads", "call-50", "rate", "/s", *_beside(4)),
        also={"p50 ms": "p50_ms", "p99 ms": "p99_ms"},
    ),
    "cast-10": _received("casts", "cast-10", 4),
    "fanout-10": _received("fan-outs", "fanout-10", 3),
    "notify-10": _received("notifications", "notify-10", 3),
    "batch-notify-10": _received("notifications in batches", "batch-notify-10", 3),
    "workers": Row(
        *("busiest over idlest of 64 workers, 8 clients", "workers", "ratio", "x", Bound(1.2), Bound(1.05)),
        at_most=True,
        also={"fewest calls": "fewest", "most": "most", "calls/s": "rate"},
    ),
}

LOST = "lost"
"""The row of what was lost in all measurements of a bus together, which is made of no single one."""
