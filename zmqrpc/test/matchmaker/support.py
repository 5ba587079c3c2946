"""What several tests of matchmakers need."""

import os
from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, formatEvent, globalLogPublisher

import zmqrpc

# Where this zmqrpc is, for the children of tests: it need not be installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(zmqrpc.__file__).parent.parent)}


def new_path(case):
    """Return the path of a file that does not exist, in a directory of its own."""
    directory = os.path.abspath(case.mktemp())
    os.makedirs(directory)
    return os.path.join(directory, "matchmaker.db")


class LogLines(list[str]):
    """The lines that one logger writes during a test."""

    def __init__(self, case, namespace):
        super().__init__()
        self._namespace = namespace
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        case.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event):
        if event.get("log_namespace") == self._namespace:
            self.append(formatEvent(event))
