"""The file of a fixed table."""

from __future__ import annotations

import os
import stat
import time

from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._fixed_table import FORM, FixedTable

MOST_BYTES = 4 * 2**20
"""Size of the largest file that is read: some 100,000 members."""

_SETTLED = 2.0
"""Seconds since a file was changed from which on a further change surely shows in its times."""


class FixedFile:
    """
    A fixed table in a file, and when the file was seen to hold it.

    :param path: the path of the file.
    :param exchange: the exchange of topics that name none.
    :ivar table: what the file said when it could last be used.
    :ivar seen_at: when that was, by the monotonic clock.
    :raises ConfigError: the file cannot be used.
    """

    def __init__(self, path: str, exchange: str) -> None:
        self.path = path
        self._exchange = exchange
        self._stamp: tuple[int, ...] | None = None
        self._content: bytes | None = None
        self.table: FixedTable
        self.seen_at = 0.0
        self.read()

    def read(self) -> FixedTable:
        """
        Return what the file says now, and that is the same object while it says the same.

        :raises ConfigError: it cannot be used; the text names the file, and the line where there is one.
        """
        try:
            if self._stamp is None or _stamp(os.stat(self.path)) != self._stamp:
                self._stamp = None
                self._read()
        except OSError as error:
            raise self._unusable(
                f" cannot be read: {error.strerror}; name a file that this process may read"
            ) from error
        except ValueError as error:
            raise self._unusable(f", {error}") from error
        self.seen_at = time.monotonic()
        return self.table

    def _read(self) -> None:
        # Not blocking: what is there may be a named pipe.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            content = file.read(MOST_BYTES + 1) if stat.S_ISREG(found.st_mode) else None
        if content is None:
            raise self._unusable(f" is no ordinary file; name one that holds {FORM}")
        if len(content) > MOST_BYTES:
            raise self._unusable(f" is larger than {MOST_BYTES} bytes, the most that a fixed table may have")
        if not content.strip():
            raise self._unusable(f" is empty; write {FORM}, or {{}} for nobody")
        if content != self._content:
            self.table = FixedTable(_decoded(content), self._exchange)
            self._content = content
        # A file that was changed a moment ago may be changed once more without another time or size.
        settled = abs(time.time() - max(found.st_mtime, found.st_ctime)) > _SETTLED
        self._stamp = _stamp(found) if settled else None

    def _unusable(self, text: str) -> ConfigError:
        return ConfigError(f"the fixed table {self.path}{text}")


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: this is no text in UTF-8; write {FORM}") from None
