"""What several tests of matchmakers need."""

import os

from twisted.logger import formatEvent, globalLogPublisher


def new_path(case):
    """Return the path of a file that does not exist, in a directory of its own."""
    directory = os.path.abspath(case.mktemp())
    os.makedirs(directory)
    return os.path.join(directory, "matchmaker.db")


class LogLines(list):
    """The lines that one logger writes during a test."""

    def __init__(self, case, namespace):
        super().__init__()
        self._namespace = namespace
        globalLogPublisher.addObserver(self._observe)
        case.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event):
        if event.get("log_namespace") == self._namespace:
            self.append(formatEvent(event))
