"""Start the processes of one measurement on one bus, have it measured, and never leave one behind."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.brokers import ContenderFailed, wait
from bench.oslo.buses import Bus, running
from bench.oslo.report import Tally, own_rate, simulated, spread, tallies
from bench.oslo.rows import Measurement
from bench.oslo.slots import BEGIN, COUNTS, Slots
from bench.oslo.upstream import simulator
from bench.processes import last_words, no_orphans, process
from bench.work import Figures, Order

START = 60.0
"""Seconds that a server has to say that it listens; workers have as many more as they are."""
FINISH = 120.0
"""Seconds that a client has beyond those it measures for."""
QUIET = 8.0
"""Seconds without another message after which none is expected any more, and that the simulator has to end."""
LOOK = 0.1


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    seconds: int
    workers: int
    clients: int
    calls: int
    """Of each client of the workers."""


FULL = Size(5, 64, 8, 1250)
QUICK = Size(1, 8, 2, 80)


def measure(measurement: Measurement, bus: Bus, size: Size) -> Figures:
    """
    Return the figures of one round.

    :raises ContenderFailed: there are none; the text says why, and ends with what the processes wrote last.
    """
    directories = tempfile.TemporaryDirectory(prefix="zmqrpc-bench-")
    with directories as directory, no_orphans():
        try:
            with running(bus, directory) as url:
                order = Order(measurement.kind, url, directory=directory, window=measurement.threads)
                order.seconds, order.members, order.count = size.seconds, size.workers, size.calls
                return _KINDS[measurement.kind](measurement, bus, order, size)
        except ContenderFailed as error:
            raise ContenderFailed(f"{error}{last_words(directory)}") from None


def _python(module: str, role: str, order: Order) -> list[str]:
    return [sys.executable, "-m", f"bench.oslo.{module}", role, order.to_json()]


def _line(child: subprocess.Popen[str], seconds: float, who: str) -> str:
    assert child.stdout is not None
    if not select.select([child.stdout], [], [], max(0.0, seconds))[0]:
        raise ContenderFailed(f"{who} said nothing for {seconds:.0f} s")
    line = child.stdout.readline()
    if not line:
        raise ContenderFailed(f"{who} died")
    return line


def _calls(measurement: Measurement, bus: Bus, order: Order, size: Size) -> Figures:
    with contextlib.ExitStack() as stack:
        together = bus.scheme == "fake"
        if not together:
            server = stack.enter_context(process(_python("calls", "server", order), order.directory))
            _line(server, START, "the server")
            order.pids = [server.pid]
        words = _python("calls", "both" if together else "client", order)
        client = stack.enter_context(process(words, order.directory))
        figures: Figures = json.loads(_line(client, size.seconds + FINISH, "the client"))
        return figures


def _workers(measurement: Measurement, bus: Bus, order: Order, size: Size) -> Figures:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(process(_python("workers", "server", order), order.directory))
        _line(server, START + order.members, "the workers")
        clients = [
            stack.enter_context(process(_python("workers", "client", order), order.directory))
            for _ in range(size.clients)
        ]
        for client in clients:
            _line(client, START, "a client of the workers")
        Path(order.directory, BEGIN).touch()
        began = time.monotonic()
        answers = [json.loads(_line(client, FINISH, "a client of the workers")) for client in clients]
        took = time.monotonic() - began
        made = size.clients * size.calls
        counts = Slots(Path(order.directory, COUNTS)).counts()
        answered = sum(got["answered"] for got in answers)
        lost = {"lost": made - answered, "twice": max(0, sum(counts) - made)}
        return {**spread(counts), **lost, "calls": made, "rate": answered / took}


@dataclass(frozen=True)
class _Simulator:
    """Processes of the simulator, of one measurement."""

    order: Order
    path: Path

    @contextlib.contextmanager
    def start(self, name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run one for as long as the context lasts; `counts` has what it counts, by its name."""
        order = self.order
        command = [sys.executable, "-m", "bench.oslo.simulated", str(self.path), f"{order.directory}/{name}"]
        with process([*command, *words], order.directory, talks=False) as child:
            yield child

    def counts(self, name: str) -> dict[str, Tally]:
        path = Path(self.order.directory, name)
        found = tallies(path.read_text()) if path.exists() else None
        return found or {}

    def until(self, name: str, word: str, child: subprocess.Popen[str], seconds: float) -> None:
        """Wait until one has said this word."""

        def found() -> str | None:
            gone = child.poll() is not None  # before the look: it may say it and end
            if word in self.counts(name):
                return word
            if gone:
                raise ContenderFailed(f"the simulator's {name} died")
            return None

        wait(seconds, found, f"the simulator's {name}", f"that it is {word}")


def _simulator(measurement: Measurement, bus: Bus, order: Order, size: Size) -> Figures:
    run = _Simulator(order, simulator())
    topic = "bench-" + measurement.client[-1].strip("-")
    usual = ["--url", order.address, "-tp", topic]
    client_words = [*usual, "-tg", f"{topic}.bench", "-l", str(size.seconds)]
    mode, *flags = measurement.client
    many = ["-p", str(measurement.threads), "--timeout", "30", *flags]
    if bus.scheme == "fake":
        words = ["both", *client_words, *measurement.server, mode, *many]
        with run.start("client", *words) as client:
            run.until("client", "done", client, START + size.seconds + FINISH)
            counts = run.counts("client")
            return simulated(counts, counts, None)
    with contextlib.ExitStack() as stack:
        own = f"{order.directory}/own.json"
        server = stack.enter_context(run.start("server", *usual, "-s", "bench", "-j", own, *measurement.server))
        run.until("server", "ready", server, START)
        with run.start("client", *client_words, mode, *many) as client:
            run.until("client", "done", client, size.seconds + FINISH)
            sent = run.counts("client")
            if not sent.get("client", Tally()).count:
                raise ContenderFailed("the simulator's client sent nothing")
            _until_quiet(lambda: run.counts("server").get("server", Tally()).different, sent["client"].count)
            killed = not _end(client)
        received = run.counts("server")
        server.send_signal(signal.SIGTERM)
        killed += not _end(server)
        figures = simulated(sent, received, own_rate(Path(own).read_text()) if Path(own).exists() else None)
        return {**figures, "killed": int(killed)}


def _end(child: subprocess.Popen[str]) -> bool:
    """Tell whether the simulator ends; when it does not in time, whoever started it kills it."""
    try:
        child.wait(QUIET)
    except subprocess.TimeoutExpired:
        return False
    return True


def _until_quiet(count: Callable[[], int], wanted: int) -> None:
    """Wait until so many messages have come, or none comes any more."""
    before, since = -1, time.monotonic()
    while before < wanted and time.monotonic() < since + QUIET:
        now = count()
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(LOOK)


_KINDS: dict[str, Callable[[Measurement, Bus, Order, Size], Figures]] = {
    "calls": _calls,
    "simulator": _simulator,
    "workers": _workers,
}


def able(measurement: Measurement, bus: Bus) -> bool:
    """Tell whether a bus can be measured so: what stays in one process has no workers, and only calls wait."""
    return bus.scheme != "fake" or measurement.kind == "calls" or (measurement.kind == "simulator" and not bus.woken)


def needs(measurements: Sequence[Measurement]) -> None:
    """Have what these need, before anything is measured."""
    if any(each.kind == "simulator" for each in measurements):
        simulator()
