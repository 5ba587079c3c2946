"""The file that ``--log-file`` names."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, TextIO, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEventAsClassicLogText,
    globalLogPublisher,
)
from zope.interface import provider

from zmqrpc.errors import ConfigError
from zmqrpc.tap._on_signal import OnSignal
from zmqrpc.tap.log import json_line

FORMATS: dict[str, Callable[[LogEvent], str | None]] = {"text": formatEventAsClassicLogText, "json": json_line}
STANDARD_OUTPUT = "-"


class LogFile:
    """
    A log that is appended to from the start of a service to its end, and opened again at SIGHUP.

    :param path: the absolute path; ``-`` is standard output.
    :param level: the lowest level that is written.
    :param form: a key of `FORMATS`.
    :param owner: user and group id to which a file that is made here is given, so that it can be opened again when the
        rights of root are given up; None for those of the process.
    """

    log = Logger()

    def __init__(
        self, path: str, level: Any = LogLevel.info, form: str = "text", owner: tuple[int, int] | None = None
    ) -> None:
        self.path = path
        self.form = form
        self._level = level
        self._owner = owner
        self._file: TextIO | None = None
        self._observer: Any = None
        self._hang_up: OnSignal | None = None

    def open(self, reactor: Any) -> None:
        """
        Begin to write what is logged.

        :param reactor: in which it is opened again.
        :raises ConfigError: the file cannot be written.
        """
        self._file = self._try()
        observer = FileLogObserver(cast(TextIO, self), FORMATS[self.form])
        self._observer = FilteringLogObserver(observer, [LogLevelFilterPredicate(self._level)])
        globalLogPublisher.addObserver(self._observer)
        self._hang_up = OnSignal(reactor, signal.SIGHUP, self.reopen)
        self._hang_up.begin()

    def check(self) -> None:
        """
        Find out whether the file can be written.

        :raises ConfigError: it cannot.
        """
        self._try().close()

    def reopen(self) -> None:
        """Go on in the file that has the path now; where it cannot be written, in the one that had it, saying so."""
        if self._file is None:
            return
        try:
            new = self._try()
        except ConfigError as error:
            self.log.error("{error}; what is logged still goes to the file that was open", error=error)
            return
        self._file.close()
        self._file = new
        self.log.info("opened {path} again", path=self.path)

    def close(self) -> None:
        """End it."""
        if self._file is not None:
            if self._hang_up is not None:
                self._hang_up.end()
            globalLogPublisher.removeObserver(self._observer)
            self._file.close()
            self._file = None

    # For the observer

    def write(self, text: str) -> None:
        """Write to the file that is open."""
        if self._file is not None:
            self._file.write(text)

    def flush(self) -> None:
        """Let it be read."""
        if self._file is not None:
            self._file.flush()

    def _try(self) -> TextIO:
        try:
            descriptor = os.dup(1) if self.path == STANDARD_OUTPUT else self._descriptor()
            # What a peer or a file name brings may not be text that can be encoded.
            return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise ConfigError(
                f"the log file {self.path} cannot be written ({error.strerror}); create its directory, "
                "or give the user of this process the right to write there"
            ) from error

    def _descriptor(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags | os.O_EXCL, 0o666)
        except FileExistsError:
            # Nobody is given what was there: in a directory that others write to, it may be a link to anything.
            return os.open(self.path, flags, 0o666)
        if self._owner is not None and os.geteuid() == 0:
            os.fchown(descriptor, *self._owner)
        return descriptor


def no_other_log() -> Any:
    """Return an observer that keeps nothing: what `twistd` uses when ``--log-file`` is its only log."""

    @provider(ILogObserver)
    def drop(event: dict[str, Any]) -> None:
        pass

    return drop
