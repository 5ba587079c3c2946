"""The file that ``--ready-file`` names: it is there exactly while the service is ready."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from twisted.logger import Logger

from zmqrpc.errors import ConfigError
from zmqrpc.tap._later_rights import LaterRights

_OURS = re.compile(rb"\d{1,10}\nready: [^\n]{0,300}\n")
_MOST = 400


class ReadyFile:
    """
    A file that tells health checks on this machine, without a store or a connection, that a service is ready.

    Its first line is the process id, its second what is ready. What a process has left that was killed is removed at
    the next start; until then the process id in it is that of no process, or of another.

    :param path: the absolute path.
    :param owner: the user and group that the process goes on as, -1 for the user that it is; None when both stay.
    """

    log = Logger()

    def __init__(self, path: str, owner: tuple[int, int] | None = None) -> None:
        self.path = path
        self._owner = owner
        self._is_there = False
        self._failed = False

    def begin(self) -> None:
        """
        Remove what another process has left there, and see whether the file can be written.

        :raises ConfigError: it cannot, or what is there was not written by us.
        """
        rights = LaterRights(self._owner)
        path = self._beside
        try:
            with rights:
                _remove(path)
                path = self.path
                os.close(_make(self._beside))
                os.unlink(self._beside)
                _remove(path)
        except OSError as error:
            raise ConfigError(
                f"the ready file {path} cannot be written{rights.user}: {error.strerror}; name one in a directory "
                "where this process may make files (--ready-file)"
            ) from error

    def says(self, ready: str) -> None:
        """
        Tell that it is ready, or not.

        :param ready: one line that begins with ``ready: ``; empty when it is not.
        """
        try:
            if ready:
                self._write(f"{os.getpid()}\n{ready}\n")
                self._is_there = True
            elif self._is_there:
                self._is_there = False
                os.unlink(self.path)
        except OSError as error:
            if not self._failed:
                self.log.warn("the ready file {path} cannot be changed: {error}", path=self.path, error=error)
            self._failed = True
        else:
            self._failed = False

    @property
    def _beside(self) -> str:
        return f"{self.path}.{os.getpid()}"

    def _write(self, text: str) -> None:
        descriptor = _make(self._beside)
        try:
            with open(descriptor, "w") as file:
                file.write(text)
            # Whoever reads it finds all of it.
            os.replace(self._beside, self.path)
        except OSError:
            with suppress(OSError):
                os.unlink(self._beside)
            raise


def _make(path: str) -> int:
    # In a directory that others write to, a link may lead to anything.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _remove(path: str) -> None:
    """
    Remove what a process of ours has left, if it is there.

    :raises ConfigError: it was not written by us.
    """
    try:
        # A pipe would be waited for, and what a link leads to is not ours.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        content = os.read(descriptor, _MOST)
    finally:
        os.close(descriptor)
    if content and not _OURS.fullmatch(content):
        raise ConfigError(
            f"the ready file {path} is there and was not written by us; remove it, or name another (--ready-file)"
        )
    os.unlink(path)
