"""The run of a cell."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from zmqrpc.test.oslo.suite.cell import Cell
from zmqrpc.test.oslo.suite.child import TEST_SECONDS, Child, Ended
from zmqrpc.test.oslo.suite.results import Result
from zmqrpc.test.oslo.suite.surroundings import Surroundings

PROCESSES = 8
"""Between which the tests of a cell are divided: most of their time they wait."""


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
