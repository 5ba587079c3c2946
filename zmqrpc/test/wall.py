"""A clock on the wall that tests can set, for the processes that they start."""

from __future__ import annotations

import os
from pathlib import Path


class Wall:
    """
    A clock on the wall, for processes that are started with its environment: by libfaketime.

    What is monotonic goes on as it does.
    """

    def __init__(self, case) -> None:
        if not list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")):
            raise AssertionError(
                "this test needs libfaketime: run make test, which installs it, or sudo apt-get install faketime"
            )
        directory = Path(case.mktemp()).absolute()
        directory.mkdir(parents=True)
        self._file = directory / "time"
        self._seconds = 0.0
        self.step(0)
        case.addCleanup(_clear_up)

    @property
    def environment(self) -> dict[str, str]:
        """What a process has in its environment; a copy of ours, with what is needed."""
        return os.environ | {
            # The loader knows $LIB. Memory comes from libc rather than from jemalloc, which asks for the time itself,
            # while libfaketime asks for memory to tell it: Redis would hang at its start.
            "LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1 libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: float) -> None:
        """Set it forward, or back where that is less than 0."""
        self._seconds += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._seconds:+g}\n")
        new.rename(self._file)


def _clear_up() -> None:
    """Remove what libfaketime shares among processes, where its process has ended without: by SIGKILL."""
    for path in Path("/dev/shm").glob("*faketime_*"):
        if not Path("/proc", path.name.rpartition("_")[2]).exists():
            path.unlink(missing_ok=True)
