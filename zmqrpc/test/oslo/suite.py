"""
Runs oslo.messaging's own functional suite over zmqrpc, for each matchmaker, topology and executor.

::

    python -m zmqrpc.test.oslo.suite                                                      all cells
    python -m zmqrpc.test.oslo.suite --matchmaker redis --topology router-proxy           both executors of one
    python -m zmqrpc.test.oslo.suite --topology pub-sub --test test_fanout                some tests of four

It is the oslo.messaging of this Python that is run; the driver has to be installed beside it. The exit status is 1 when
anything failed, or was skipped that is not to be.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TextIO
from urllib.parse import urlencode

from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import CHECKOUT, ENVIRONMENT, Running, command
from zmqrpc.test.servers import RedisServer

MATCHMAKERS = ("redis", "sqlite")
TOPOLOGIES = {
    "static-direct": "static-direct",
    "dynamic-direct": "dynamic-direct",
    "router-proxy": "router-proxy",
    "pub-sub": "static-direct+pub-sub",
}
"""What ``zmq_topology`` is in each."""
EXECUTORS = ("eventlet", "threading")

PROXIES = ("127.0.0.1", "127.0.0.2")
"""The hosts of those that a cell has."""

PROCESSES = 8
"""Between which the tests of a cell are divided: most of their time they wait."""

TEST_SECONDS = 120.0
"""For which a test may run; one that takes longer hangs, and its process has then written where."""

KEEP = Path("build/oslo")

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


class Cell(NamedTuple):
    """One way to run the suite."""

    matchmaker: str
    topology: str
    executor: str

    def __str__(self) -> str:
        return ",".join(self)


class Result(NamedTuple):
    """What became of a test; the outcome is ``passed``, ``skipped`` or ``failed``, the text says why."""

    name: str
    outcome: str
    seconds: float
    text: str


class Surroundings:
    """
    What a cell needs, running, until it is left.

    :ivar directory: of its files.
    :ivar url: of a service.
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._stack = ExitStack()
        self._directories = count()
        self._proxies: list[Running] = []

    def __enter__(self) -> Surroundings:
        with self._stack as stack:
            self.directory = Path(stack.enter_context(TemporaryDirectory(prefix="zmqrpc-oslo-")))
            self._store = self._started_store()
            self._options = {"zmq_topology": TOPOLOGIES[self._cell.topology], "rpc_zmq_host": "127.0.0.1"}
            if self._cell.topology == "router-proxy":
                self._start_proxies()
            elif self._cell.topology == "pub-sub":
                self._start_proxies("--publisher-port", "0")
                if self._cell.matchmaker == "sqlite":
                    self._start_local_publisher()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"{self._store}?{urlencode(self._options)}"

    def keep_logs(self, directory: Path) -> None:
        """Copy what proxies have printed to a directory."""
        for number, proxy in enumerate(self._proxies):
            (directory / f"proxy-{number}.log").write_text(f"{proxy.out}{proxy.err}")

    # What a test case has for `RedisServer`.

    def mktemp(self) -> str:
        return str(self.directory / str(next(self._directories)))

    def addCleanup(self, function: Callable[[], object]) -> None:
        self._stack.callback(function)

    def _started_store(self) -> str:
        if self._cell.matchmaker == "redis":
            return RedisServer(self).url
        return f"zmq+sqlite://{self.directory}/matchmaker.db"

    def _start_proxies(self, *options: str) -> None:
        started = [self._proxy("--host", host, *options) for host in PROXIES]
        for proxy in started:
            proxy.says("ready: registered")

    def _start_local_publisher(self) -> None:
        """Start one, as one machine has, and have services subscribe there; elsewhere they do at the proxies."""
        port = str(free_port())
        proxy = self._proxy("--local-publisher", "--host", "127.0.0.1", "--publisher-port", port)
        proxy.says("ready: who is told of it can subscribe")
        self._options["subscribe_on"] = f"127.0.0.1:{port}"

    def _proxy(self, *options: str) -> Running:
        words = [*command("twistd"), "-n", "--pidfile=", "zmq-proxy", "--url", self.url, *options]
        running = Running(words, self.directory, ENVIRONMENT)
        self._stack.callback(running.kill)
        self._proxies.append(running)
        return running


class Ended(Exception):
    """A process does not answer."""


class Child:
    """
    A process that runs tests, as `zmqrpc.test.oslo.suite_child` says.

    :param directory: where it runs.
    :param log: where it writes what it prints.
    """

    def __init__(self, executor: str, url: str, directory: Path, log: Path) -> None:
        directory.mkdir()
        environment = {
            **ENVIRONMENT,
            "RPC_TRANSPORT_URL": url,
            "NOTIFY_TRANSPORT_URL": url,
            "OS_OSLO_METRICS__METRICS_SOCKET_FILE": str(directory / "metrics.sock"),
            "OS_OSLO_METRICS__PROMETHEUS_PORT": str(free_port()),
            # Tests start python3, which has to be this one.
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "PYTHONWARNINGS": "ignore",
        }
        environment.pop("TRANSPORT_DRIVER", None)
        words = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            sys.executable,
            "-P",
            str(CHECKOUT / "zmqrpc/test/oslo/suite_child.py"),
        ]
        with open(log, "ab") as written:
            self._process = subprocess.Popen(
                [*words, executor],
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
                start_new_session=True,
            )

    def names(self) -> list[str]:
        """Return the ids of all tests; called once, before any is run."""
        names: list[str] = self._answer()
        return names

    def run(self, name: str) -> Result:
        """Run a test."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Ended from error
        return Result(*self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        timer = threading.Timer(TEST_SECONDS, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise Ended
        return json.loads(line)

    def end(self) -> int:
        """Have it exit, and end what its tests have left running; return its exit status."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(TEST_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        status = self._process.wait()
        self._process.stdout.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return status


class Run:
    """
    One run of a cell.

    :param wanted: texts of which a test has one in its id, to be run; all are when there are none.
    :param log: the directory for what processes print.
    :param processes: how many run at a time.
    """

    def __init__(
        self, surroundings: Surroundings, executor: str, wanted: Sequence[str], log: Path, processes: int
    ) -> None:
        self._surroundings = surroundings
        self._executor = executor
        self._wanted = wanted
        self._log = log
        self._lock = threading.Lock()
        self._numbers = count()
        self._left: deque[str] | None = None
        self._results: list[Result] = []
        # Nobody runs a test while another uses a processor for importing what it needs: tests have short times.
        self._loaded = threading.Barrier(processes, timeout=TEST_SECONDS)
        self._processes = processes

    def results(self) -> list[Result]:
        """Run the tests."""
        workers = [threading.Thread(target=self._work) for _ in range(self._processes)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sorted(self._results)

    def _work(self) -> None:
        while self._use_one_process():
            pass

    def _use_one_process(self) -> bool:
        """Run tests in one process, as long as it lives; return whether another is needed."""
        with self._lock:
            number = next(self._numbers)
            directory = Path(self._surroundings.mktemp())
        log = self._log / f"process-{number}.log"
        began = time.monotonic()
        child = Child(self._executor, self._surroundings.url, directory, log)
        test = None
        ended = False
        try:
            self._offer(child.names())
            if number < self._processes:
                with suppress(threading.BrokenBarrierError):
                    self._loaded.wait()
            while (test := self._next()) is not None:
                began = time.monotonic()
                self._results.append(child.run(test))
        except Ended:
            ended = True
            self._loaded.abort()
        status = child.end()
        if ended or status:
            text = f"its process exited with status {status} and printed:\n{log.read_text()}"
            self._results.append(Result(test or f"process {number}", "failed", time.monotonic() - began, text))
        return ended and test is not None

    def _offer(self, names: Iterable[str]) -> None:
        with self._lock:
            if self._left is None:
                self._left = deque(
                    name for name in names if not self._wanted or any(text in name for text in self._wanted)
                )

    def _next(self) -> str | None:
        with self._lock:
            return self._left.popleft() if self._left else None


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


def run(cell: Cell, keep: Path, wanted: Sequence[str] = (), processes: int = PROCESSES) -> list[Result]:
    """
    Run a cell.

    :param keep: a directory; what its tests and processes say is kept there, in one that is named as the cell.
    :param wanted: texts of which a test has one in its id, to be run; all are when there are none.
    """
    kept = keep / str(cell)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    with Surroundings(cell) as surroundings:
        try:
            results = Run(surroundings, cell.executor, wanted, kept, processes).results()
        finally:
            surroundings.keep_logs(kept)
    for result in results:
        if result.outcome == "failed":
            (kept / f"{result.name.replace('/', '_')}.txt").write_text(result.text)
    lines = [f"{outcome}  {seconds:5.1f} s  {name}\n" for name, outcome, seconds, _ in results]
    (kept / "results.txt").write_text("".join(lines))
    return results


def summary(results: Iterable[Result]) -> str:
    """Return how many tests ended in each way."""
    counts = Counter((result.name.startswith(OURS), result.outcome) for result in results)
    theirs, ours = (
        ", ".join(f"{counts[whose, outcome]} {outcome}" for outcome in ("passed", "skipped", "failed"))
        for whose in (False, True)
    )
    return f"{theirs}; of ours {ours}"


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    out = out or sys.stdout
    parser = argparse.ArgumentParser(prog="python -m zmqrpc.test.oslo.suite", description=__doc__.split("\n")[1])
    parser.add_argument("--matchmaker", choices=MATCHMAKERS, help="only this one")
    parser.add_argument("--topology", choices=TOPOLOGIES, help="only this one")
    parser.add_argument("--executor", choices=EXECUTORS, help="only this one")
    parser.add_argument("--test", action="append", default=[], metavar="TEXT", help="only tests with it in their ids")
    parser.add_argument("--processes", type=int, default=PROCESSES, metavar="N", help="at a time (%(default)s)")
    parser.add_argument("--least", type=int, default=LEAST, metavar="N", help="tests there have to be (%(default)s)")
    parser.add_argument("--keep", type=Path, default=KEEP, metavar="DIRECTORY", help="for what fails (%(default)s)")
    options = parser.parse_args(arguments)
    ours = version("oslo.messaging")
    keep = options.keep.absolute() / ours
    print(f"oslo.messaging {ours}", file=out, flush=True)
    failed = 0
    for cell in product(
        *(
            [chosen] if chosen else every
            for chosen, every in (
                (options.matchmaker, MATCHMAKERS),
                (options.topology, TOPOLOGIES),
                (options.executor, EXECUTORS),
            )
        )
    ):
        began = time.monotonic()
        results = run(Cell(*cell), keep, options.test, options.processes)
        seconds = time.monotonic() - began
        told = wrong(results, 0 if options.test else options.least)
        print(f"{'  '.join(cell)}: {summary(results)} ({seconds:.0f} s)", file=out, flush=True)
        for sentence in told:
            print(f"    {sentence}", file=out, flush=True)
        failed += bool(told)
    if failed:
        print(f"{failed} cell(s) failed; what was said is in {keep}", file=out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
