"""`zmqrpc bench`: calls a method over and over, and prints rates and latencies."""

from __future__ import annotations

import gc
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from random import Random
from time import process_time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from zmqrpc.cli._alarm import Alarm
from zmqrpc.cli._configured import configured
from zmqrpc.cli._exit import Exit, exit_for
from zmqrpc.cli._histogram import Histogram
from zmqrpc.cli._load import LATE_SECONDS, ClosedLoop, Measurement, OpenLoop
from zmqrpc.cli._on_reactor import on_reactor
from zmqrpc.cli._report import Report, aligned, described, named
from zmqrpc.cli._request import arguments_of, context_of, target_of
from zmqrpc.dispatcher import OWN_NAMESPACE
from zmqrpc.errors import ConfigError
from zmqrpc.node import connect

_PERCENTILES = (50, 90, 99, 99.9)

_BUSY = 0.9
"""The part of the time that this process used its processor, past which the figures may be its own."""


def run(command: str, options: Namespace, report: Report) -> int:
    """
    Make the load, print what it measured, and return the exit status.

    :raises ConfigError: an option is not valid.
    """
    configuration = configured(options, report)
    target, method = _method(options)
    arguments = arguments_of(options.arguments)
    context = context_of(options.context)
    if options.rate is not None and options.outstanding is not None:
        raise ConfigError("--rate and --outstanding contradict each other; give one of them")

    async def main(reactor: Any) -> int:
        client = await connect(reactor, configuration.settings)

        def call() -> Deferred[Any]:
            return client.call(target, method, arguments, timeout=options.timeout, context=context)

        try:
            await call()
            gc.collect()
            gc.freeze()  # what the start has made need not be looked through during the load
            begins = reactor.seconds() + (1.0 if options.warmup is None else options.warmup)
            measurement = Measurement(call, reactor.seconds, begins, begins + (options.duration or 10.0))
            if options.rate is not None:
                load: OpenLoop | ClosedLoop = OpenLoop(measurement, options.rate, Random(), partial(Alarm, reactor))
            else:
                load = ClosedLoop(reactor, measurement, options.outstanding or 1)
            used, began = process_time(), reactor.seconds()
            load.start()
            try:
                await load.finished
            except CancelledError:
                if reactor.seconds() <= begins:
                    raise
            finally:
                measurement.stop()
                load.close()
            busy = (process_time() - used) / (reactor.seconds() - began)
        finally:
            await client.close()
        title = f"{target} {method}, {_loop(options)}, {measurement.elapsed:.1f} s"
        if report.json:
            report.result({"target": str(target), "method": method, **_described(measurement, options, busy)})
        else:
            report.lines([title, *_lines(measurement, options, busy)])
        return max((exit_for(failed.first) for failed in measurement.failed.values()), default=Exit.DONE)

    return on_reactor(configuration, report, main)


def _method(options: Namespace) -> tuple[Any, str]:
    """Return the target and the method; what every server answers when none is named."""
    if options.method is not None:
        if "=" in options.method:
            raise ConfigError(f"there is no METHOD before {options.method!r}; name one")
        return target_of(options, options.namespace, options.version), options.method
    if options.namespace or options.version:
        raise ConfigError("--namespace and --version need a METHOD; name one")
    return target_of(options, OWN_NAMESPACE), "ping"


def _loop(options: Namespace) -> str:
    if options.rate is not None:
        return f"open loop of {options.rate:g} calls/s"
    return f"closed loop of {options.outstanding or 1} outstanding"


def _lines(measurement: Measurement, options: Namespace, busy: float) -> Iterator[str]:
    seconds = measurement.elapsed
    yield f"  due        {measurement.due} calls, {measurement.due / seconds:.1f}/s"
    yield f"  answered   {measurement.latencies.count} of them; {measurement.answers / seconds:.1f} answers/s"
    if measurement.unsent:
        yield (
            f"  unsent     about {measurement.unsent}: this process could not keep up, "
            "and the latencies leave out what they would have waited"
        )
    if measurement.unfinished:
        yield f"  unfinished {measurement.unfinished} when it was interrupted"
    for kind, failed in sorted(measurement.failed.items()):
        yield f"  failed     {failed.count} with {kind}, the first: {named(failed.first)}"
    if options.rate is not None:
        limit = f"{LATE_SECONDS * 1e3:g} ms"
        late = _figures(measurement.lateness)
        yield (
            f"  late       {measurement.late} were sent more than {limit} after they were due; "
            f"p50 {_ms(late['p50'])}, p99 {_ms(late['p99'])}, max {_ms(late['max'])}"
        )
    yield f"  processor  {busy:.0%} of one was used by this process" + (
        ": the figures may be its limit" if busy > _BUSY else ""
    )
    figures = _figures(measurement.latencies)
    yield ""
    rows = [("latency", *figures), ("", *(_ms(value) for value in figures.values()))]
    yield from (f"  {line}" for line in aligned(rows, right=frozenset(range(1, 7))))


def _figures(times: Histogram) -> dict[str, float | None]:
    """Return percentiles, mean and longest, in seconds; None for each of no times."""
    figures: dict[str, float | None] = {f"p{percent:g}": times.percentile(percent) for percent in _PERCENTILES}
    return {
        **figures,
        "max": times.longest if times.count else None,
        "mean": times.total / times.count if times.count else None,
    }


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3f} ms"


def _described(measurement: Measurement, options: Namespace, busy: float) -> dict[str, Any]:
    """Write it for programs; times in seconds, rates a second."""
    seconds = measurement.elapsed
    return {
        "rate": options.rate,
        "outstanding": None if options.rate is not None else options.outstanding or 1,
        "seconds": seconds,
        "due": measurement.due,
        "answered": measurement.latencies.count,
        "answers_per_second": measurement.answers / seconds,
        "unsent": measurement.unsent,
        "unfinished": measurement.unfinished,
        "late": measurement.late,
        "lateness": _figures(measurement.lateness),
        "latency": _figures(measurement.latencies),
        "errors": {
            kind: {"count": failed.count, "exit_status": int(exit_for(failed.first)), "first": described(failed.first)}
            for kind, failed in sorted(measurement.failed.items())
        },
        "processor": busy,
    }
