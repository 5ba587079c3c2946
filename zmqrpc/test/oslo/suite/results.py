"""What became of the tests of a cell, and what of it is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

OURS = "zmqrpc.test.oslo."
"""How the ids of those tests begin that are not oslo.messaging's."""

_FUNCTIONAL = "oslo_messaging.tests.functional"
SKIPPED = {
    # Ours of zmqrpc.test.oslo.guarded stand for these two.
    f"{_FUNCTIONAL}.test_functional.CallTestCase.test_mandatory_call": "backend does not support call monitoring",
    f"{_FUNCTIONAL}.test_functional.CallTestCase.test_monitor_long_call": "backend does not support call monitoring",
    **{
        f"{_FUNCTIONAL}.test_rabbitmq.RabbitMQFailoverTests.{name}": "TRANSPORT_DRIVER is not set to a rabbit driver"
        for name in ("test_failover_scenario", "test_failover_scenario_enable_cancel_on_failover")
    },
}
"""The tests that are for RabbitMQ alone, each with the reason that it gives."""

LEAST = 33
"""How many tests oslo.messaging has, by default; where there are fewer, something has not been found."""


class Result(NamedTuple):
    """What became of a test; the outcome is ``passed``, ``skipped`` or ``failed``, the text says why."""

    name: str
    outcome: str
    seconds: float
    text: str


def wrong(results: Sequence[Result], least: int) -> list[str]:
    """
    Say what is wrong with the results of a cell, each in one sentence.

    :param least: how many tests there are at the least.
    """
    told = [f"{result.name} failed" for result in results if result.outcome == "failed"]
    told += [
        f"{result.name} was skipped: {result.text}"
        for result in results
        if result.outcome == "skipped" and SKIPPED.get(result.name) != result.text
    ]
    theirs = sum(not result.name.startswith(OURS) for result in results)
    if theirs < least:
        told.append(f"there were {theirs} tests of oslo.messaging's, and there have to be {least}")
    return told


def summary(results: Iterable[Result]) -> str:
    """Return how many tests ended in each way."""
    counts = Counter((result.name.startswith(OURS), result.outcome) for result in results)
    theirs, ours = (
        ", ".join(f"{counts[whose, outcome]} {outcome}" for outcome in ("passed", "skipped", "failed"))
        for whose in (False, True)
    )
    return f"{theirs}; of ours {ours}"
