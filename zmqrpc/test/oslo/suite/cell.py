"""The ways to run the suite."""

from __future__ import annotations

from typing import NamedTuple

MATCHMAKERS = ("redis", "sqlite")
TOPOLOGIES = {
    "static-direct": "static-direct",
    "dynamic-direct": "dynamic-direct",
    "router-proxy": "router-proxy",
    "pub-sub": "static-direct+pub-sub",
}
"""What ``zmq_topology`` is in each."""
EXECUTORS = ("eventlet", "threading")


class Cell(NamedTuple):
    """One way to run the suite."""

    matchmaker: str
    topology: str
    executor: str

    def __str__(self) -> str:
        return ",".join(self)
