"""The file that ``--log-file`` names."""

from __future__ import annotations

from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
    textFileLogObserver,
)
from zope.interface import provider

from zmqrpc.errors import ConfigError


class LogFile:
    """
    A log that is appended to from the start of a service to its end.

    :param path: the absolute path.
    :param level: the lowest level that is written.
    """

    def __init__(self, path: str, level: Any = LogLevel.info) -> None:
        self.path = path
        self._level = level
        self._file: TextIO | None = None
        self._observer: Any = None

    def open(self) -> None:
        """
        Begin to write what is logged.

        :raises ConfigError: the file cannot be written.
        """
        self._file = self._try()
        observer = textFileLogObserver(self._file)
        self._observer = FilteringLogObserver(observer, [LogLevelFilterPredicate(self._level)])
        globalLogPublisher.addObserver(self._observer)

    def check(self) -> None:
        """
        Find out whether the file can be written.

        :raises ConfigError: it cannot.
        """
        self._try().close()

    def close(self) -> None:
        """End it."""
        if self._file is not None:
            globalLogPublisher.removeObserver(self._observer)
            self._file.close()
            self._file = None

    def _try(self) -> TextIO:
        try:
            return open(self.path, "a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"the log file {self.path} cannot be written ({error.strerror}); create its directory, "
                "or give the user of this process the right to write there"
            ) from error


def no_other_log() -> Any:
    """Return an observer that keeps nothing: what `twistd` uses when ``--log-file`` is its only log."""

    @provider(ILogObserver)
    def drop(event: dict[str, Any]) -> None:
        pass

    return drop
